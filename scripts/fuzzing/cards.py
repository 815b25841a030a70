"""Kinds ``cards`` and ``weights``: a denoiser's folder with something wrong in it."""

from __future__ import annotations

import copy
import hashlib
import json
import math
from functools import lru_cache
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

import pnpkit as pk
from fuzzing import doors, mutations
from fuzzing.cases import Case, hold

TOP = 50 / 255
SMALL: dict[str, tuple[str, dict[str, Any]]] = {  # small networks of every architecture
    "identity": ("identity", {}),
    "tv": ("total-variation", {}),
    "wavelet": ("wavelet", {"levels": 2, "shifts": 1}),
    "euler": ("euler", {"blocks": 2, "channels": 4, "hidden": 4}),
    "mirrored": ("euler", {"blocks": 1, "hidden": 4, "channels": 12, "padding": "mirror", "unshuffle": 2}),
    "ridge": ("ridge", {"channels": [2, 2, 4], "kernel_sizes": [3, 3, 3], "max_steps": 50}),
    "dncnn": ("dncnn", {"depth": 3, "channels": 4}),
}
SLACK = 1e-3  # of a Lipschitz constant, in float64


@lru_cache
def sample(name: str) -> tuple[str, bytes]:
    """A card as text and the bytes of its weights: a small network with random weights."""
    architecture, arguments = SMALL[name]
    torch.manual_seed(0)
    network = doors.build(architecture, arguments)
    data = save({key: tensor.contiguous() for key, tensor in network.state_dict().items()})
    with torch.no_grad():
        certificate = network.eval().known()
    card = {
        "name": name,
        "architecture": architecture,
        "arguments": arguments,
        "sha256": hashlib.sha256(data).hexdigest(),
        "sigma_range": [0.0, TOP],
        "certificate": certificate.to_json(),
        "training": {"data": "none", "command": "none", "steps": 10, "hours": 0.1, "device": "cpu", "date": "today"},
        "scores": {"25": {"psnr": 30.0, "ssim": 0.9, "seconds": 0.1}, "command": "none", "date": "today"},
        "paper": "none",
        "licence": "MIT",
        "audit": {"25": {"lipschitz": 0.99, "averagedness": 0.4, "falsified": False}, "command": "none"},
    }
    return json.dumps(card, indent=1), data


def opened(case: Case, text: bytes, data: bytes) -> Any:
    """Read the card, load the network, denoise once. Whatever is wrong must be a ``PnpError``."""
    (case.place / "card.json").write_bytes(text)
    (case.place / "weights.safetensors").write_bytes(data)
    card = doors.registry.read_card(case.place)
    json.dumps(card.to_json())
    str(card.certificate)
    network = doors.registry.load_from(case.place, card)
    denoised(network, 8, 3)
    return card, network


def denoised(network: Any, side: int, channels: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """A small random picture and what the network makes of it at half of its largest level, in float64."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand((1, channels, side, side), generator=generator, dtype=torch.float64)
    with torch.no_grad():
        return x, network(x, 0.5 * network.top)


def cards(case: Case) -> None:
    """A card of which a field, or the text itself, is changed; the weights are those of before."""
    name = case.random.choice(tuple(SMALL))
    case.note(name)
    text, data = sample(name)
    if case.chance(0.2):
        content = mutations.broken_text(case, text)
    else:
        record = json.loads(text)
        branch = case.random.choice((*record, "arguments", "arguments", "certificate", "certificate"))
        for _ in range(1 if case.chance(0.7) else 2):
            if case.chance(0.7) and isinstance(record, dict) and record.get(branch):
                record[branch] = mutations.changed(case, copy.deepcopy(record[branch]))
            else:
                record = mutations.changed(case, record)
        content = json.dumps(record).encode("utf-8", "surrogatepass")
    card, network = opened(case, content, data)
    doors.registry.model_card(card)
    claimed, proven = network.certificate, network.known()
    whole = isinstance(claimed.bounded, bool) and all(isinstance(premise, str) for premise in claimed.premises)
    hold("a card that loads has fields of their types", whole, f"{claimed.bounded!r}, {claimed.premises!r}")
    text = f"{claimed.lipschitz}, {claimed.averagedness}, {claimed.bounded}"
    hold("a card claims no more than its weights prove", no_more(claimed, proven), text)


def no_more(claimed: pk.Certificate, proven: pk.Certificate) -> bool:
    """Whether the second certificate covers all that the first claims."""
    if claimed.side is not pk.Side.PROVEN:
        return True
    if proven.side is not pk.Side.PROVEN:
        return not math.isfinite(claimed.lipschitz) and claimed.averagedness is None
    alphas = [math.inf if c.averagedness is None else c.averagedness for c in (claimed, proven)]
    constants = claimed.lipschitz >= proven.lipschitz - 1e-9 and alphas[0] >= alphas[1] - 1e-9
    return constants and claimed.bounded <= proven.bounded and set(claimed.premises) >= set(proven.premises)


def weights(case: Case) -> None:
    """A weights file with changed bytes or values, and a card that has its hash."""
    name = case.random.choice(tuple(SMALL))
    case.note(name)
    text, data = sample(name)
    data = file_changed(case, data) if case.chance(0.6) else values_changed(case, data)
    record = json.loads(text)
    if case.chance(0.95):
        record["sha256"] = hashlib.sha256(data).hexdigest()
    _, network = opened(case, json.dumps(record).encode(), data)
    proven = network.known()
    if not proven.nonexpansive:
        return
    for channels in (1, 3):
        x, one = denoised(network, 8, channels)
        z, two = denoised(network, 8, channels, seed=1)
        apart, images = float((x - z).norm()), float((one - two).norm())
        hold("what is proven nonexpansive is finite", math.isfinite(images), name)
        hold(
            "what is proven nonexpansive expands nothing", images <= (1 + SLACK) * apart, f"{images} of {apart}, {name}"
        )


def file_changed(case: Case, data: bytes) -> bytes:
    """Bytes, or the JSON in front of them, changed."""
    if case.chance(0.4):
        return mutations.mutated(case, data)
    size = int.from_bytes(data[:8], "little")
    try:
        header = mutations.changed(case, json.loads(data[8 : 8 + size]))
    except ValueError:
        return mutations.mutated(case, data)
    inside = json.dumps(header).encode("utf-8", "surrogatepass")
    length = len(inside) if case.chance(0.9) else case.random.choice((0, 1, 2**20, 2**31, 2**63))
    return length.to_bytes(8, "little") + inside + data[8 + size :]


def values_changed(case: Case, data: bytes) -> bytes:
    """Tensors with other values, types, shapes or names, written as they should be."""
    tensors = load(data)
    if not tensors:
        return save({case.random.choice(("extra", "", "a.b")): torch.zeros(case.random.choice((0, 1, 5)))})
    name = case.random.choice(tuple(tensors))
    tensor = tensors[name]
    what = case.random.choice(("value", "value", "value", "type", "shape", "missing", "extra", "scale"))
    case.note(what, name, tuple(tensor.shape))
    if what == "value":
        flat = tensor.clone().flatten()
        number = case.random.choice((math.nan, math.inf, -math.inf, 3e38, -3e38, 1e-45, 0.0, -1.0, 1e20))
        flat[case.random.randrange(max(1, len(flat)))] = number
        case.note(number)
        tensors[name] = flat.view(tensor.shape)
    elif what == "type":
        kind = case.random.choice((torch.float64, torch.float16, torch.bfloat16, torch.int32, torch.bool, torch.uint8))
        tensors[name] = tensor.to(kind)
    elif what == "shape":
        tensors[name] = (
            case.random.choice(
                (tensor.flatten(), tensor[None], tensor[..., :0], tensor.repeat(2, *[1] * (tensor.ndim - 1)))
            )
            if tensor.ndim
            else tensor[None]
        )
    elif what == "missing":
        del tensors[name]
    elif what == "extra":
        tensors[case.random.choice(("extra", "", name + "."))] = torch.zeros(3)
    else:
        tensors[name] = tensor * case.random.choice((-1, 0, 1e3, 1e15, 1e30, 1e-30))
    return save({key: value.contiguous() for key, value in tensors.items()})
