"""Cards and weights files, damaged in every way: refused, or as good as before; and whose claims are believed."""

from __future__ import annotations

import copy
import hashlib
import json
import random
import resource
import shutil
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import catalogue
import pytest
import torch

import pnpkit
from pnpkit import cards, registry
from pnpkit.certificates import Side
from pnpkit.errors import CardError, UnknownName
from pnpkit.networks import architectures
from pnpkit.networks.base import Network, Traits
from pnpkit.registry import Card

JUNK = [
    None,
    True,
    -1,
    0,
    3,
    2**70,
    1e308,
    -0.5,
    "",
    "x" * 300,
    "proven",
    [],
    [1],
    [[]],
    {},
    {"a": 1},
    "\ud800",
    "é\x00",
]


def export(place: Path, network: Network | None = None) -> Card:
    network = network or catalogue.euler(blocks=1, channels=4, hidden=4)
    architecture = next(name for name, row in architectures.NETWORKS.items() if row[0] is type(network))
    card = Card(
        "small", architecture, vars(network.config), "", (0.0, network.top), network.certificate, {}, {}, "", ""
    )
    return registry.export(network, card, place)


def leaves(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) inside of a JSON value."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, entry in pairs:
        yield value, key
        yield from leaves(entry)


def mutated(card: dict[str, Any], weights: bytes, dice: random.Random) -> tuple[bytes, bytes]:
    """A card and a weights file of which one is damaged; the hash on the card is that of the damaged weights."""
    card, data = copy.deepcopy(card), bytearray(weights)
    kind = dice.randrange(8)
    where, key = dice.choice(list(leaves(card)))
    if kind <= 2:
        where[key] = copy.deepcopy(dice.choice(JUNK))
    elif kind == 3:
        del where[key]
    elif kind == 4:
        card["arguments"][dice.choice(list(card["arguments"]))] = copy.deepcopy(dice.choice([*JUNK, 65_536, 16_000]))
    elif kind == 5:
        size = struct.unpack("<Q", data[:8])[0] + 8
        for _ in range(dice.randint(1, 4)):
            data[dice.randrange(size)] = dice.randrange(256)
    elif kind == 6:
        data = (
            bytearray(dice.randbytes(dice.randrange(64))) if dice.random() < 0.5 else data[: dice.randrange(len(data))]
        )
    if kind in (5, 6):
        card["sha256"] = hashlib.sha256(data).hexdigest()
    text = bytearray(json.dumps(card).encode())
    if kind == 7:
        for _ in range(dice.randint(1, 3)):
            text[dice.randrange(len(text))] = dice.randrange(256)
    return bytes(text), bytes(data)


def test_of_a_thousand_damaged_files_every_failure_is_a_card_error(tmp_path: Path) -> None:
    place, dice, refused = tmp_path / "small", random.Random(0), 0
    export(place)
    card, weights = json.loads((place / cards.CARD).read_text()), (place / cards.WEIGHTS).read_bytes()
    for _ in range(1000):
        text, data = mutated(card, weights, dice)
        (place / cards.CARD).write_bytes(text)
        (place / cards.WEIGHTS).write_bytes(data)
        try:
            registry.load_from(place, registry.read_card(place))
        except CardError:
            refused += 1
    assert 400 < refused < 1000, "some damage, as to a sentence, is none"


@pytest.mark.parametrize(
    "text",
    [b"\xff\xfe", b"[" * 100_000, b'{"a":' * 100_000, b"{}" + b" " * cards.LARGEST_CARD, b"3", b'{"name": NaN}', b""],
)
def test_what_is_no_card_is_refused(tmp_path: Path, text: bytes) -> None:
    (tmp_path / cards.CARD).write_bytes(text)
    with pytest.raises(CardError, match="card.json"):
        registry.read_card(tmp_path)


@pytest.mark.parametrize(("channels", "words"), [(65_536, "argument channels"), (16_000, "larger than its weights")])
def test_sizes_are_checked_before_memory_is_taken(tmp_path: Path, channels: int, words: str) -> None:
    export(tmp_path / "small")
    path = tmp_path / "small" / cards.CARD
    card = json.loads(path.read_text())
    card["arguments"] |= {"channels": channels, "hidden": channels, "blocks": 1}
    path.write_text(json.dumps(card))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(CardError, match=words):
        pnpkit.load_denoiser(tmp_path / "small")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 1024, "KiB"


def test_a_card_of_many_more_blocks_than_its_weights_is_refused_before_they_are_built(tmp_path: Path) -> None:
    export(tmp_path / "small")
    path = tmp_path / "small" / cards.CARD
    card = json.loads(path.read_text())
    card["arguments"]["blocks"] = 1000
    path.write_text(json.dumps(card))
    before = time.process_time()
    with pytest.raises(CardError, match="more parts than its weights"):
        pnpkit.load_denoiser(tmp_path / "small")
    assert time.process_time() - before < 5


@pytest.mark.parametrize("name", sorted(catalogue.NETWORKS))
def test_every_architecture_can_be_built_in_what_its_weights_allow(name: str, tmp_path: Path) -> None:
    network = catalogue.NETWORKS[name]()
    written = export(tmp_path / "small", network)
    again = pnpkit.load_denoiser(tmp_path / "small")
    x = catalogue.image().float()
    torch.testing.assert_close(again(x, 0.1), network(x, 0.1))
    assert again.config == network.config and again.certificate.side is written.certificate.side


FALSE = {"lipschitz": 1.0, "averagedness": 0.5, "side": "proven", "bounded": True}


@pytest.mark.parametrize("claimed", [{}, FALSE, {"bounded": True}, {"premises": []}])
def test_a_claim_that_is_not_listed_is_derived_anew(tmp_path: Path, claimed: dict[str, Any]) -> None:
    """dncnn under another card: what the card says of it is not believed, wherever the folder stands."""
    place = tmp_path / "dncnn"
    shutil.copytree(registry.folder() / "dncnn", place)
    card = json.loads((place / cards.CARD).read_text())
    card["certificate"] |= claimed
    (place / cards.CARD).write_text(json.dumps(card))
    network = pnpkit.load_denoiser(place)
    assert network.certificate.side is Side.MEASURED and not network.certificate.bounded
    assert not registry.card_of(place).certificate.averaged
    (tmp_path / cards.CLAIMS).write_text(json.dumps({"dncnn": "0" * 64}))
    assert pnpkit.load_denoiser(str(place)).certificate.side is Side.MEASURED


def test_every_shipped_claim_is_listed() -> None:
    listed = cards.claims(registry.folder())
    found = {name: registry.as_written(registry.folder() / name).claim() for name in registry.denoisers()}
    assert listed == found


@pytest.mark.parametrize("change", ["weights", "arguments", "certificate"])
def test_the_claim_covers_weights_arguments_and_certificate(tmp_path: Path, change: str) -> None:
    card = export(tmp_path / "small")
    assert registry.listed(tmp_path / "small", card)
    other = copy.deepcopy(card)
    values = {"weights": ("sha256", "1" * 64), "arguments": ("arguments", {**card.arguments, "padding": "circular"})}
    values["certificate"] = ("certificate", catalogue.dncnn().certificate)
    object.__setattr__(other, *values[change])
    assert not registry.listed(tmp_path / "small", other)


def test_a_folder_of_ones_own_is_a_denoiser(tmp_path: Path) -> None:
    network = catalogue.euler(blocks=1)
    export(tmp_path / "mine", network)
    (tmp_path / cards.CLAIMS).unlink()
    own = pnpkit.load_denoiser(tmp_path / "mine")
    assert own.certificate.averagedness == pytest.approx(network.certificate.averagedness)
    x = catalogue.image(1, 3, 20, 22).float()
    by_path = pnpkit.deblur(x, "box:3", denoiser=str(tmp_path / "mine"), noise_level=0.05, max_steps=3)
    again = pnpkit.deblur(x, "box:3", denoiser=own, noise_level=0.05, max_steps=3)
    assert torch.equal(torch.as_tensor(by_path.image), torch.as_tensor(again.image)) and by_path.certificate.averaged
    with pytest.raises(UnknownName, match="unknown denoiser"):
        pnpkit.load_denoiser(tmp_path)


def test_an_architecture_of_ones_own_is_a_class_and_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Built by name, exported, loaded, tiled or refused, secured and used: by nothing beside these two places."""

    @dataclass(frozen=True)
    class HalfConfig:
        factor: float = 0.5
        top: float = 50 / 255

    class Half(Network):
        paper = "nobody, 2026"

        def __init__(self, config: HalfConfig):
            super().__init__()
            self.config, self.traits = config, Traits(config.top)
            self.factor = torch.nn.Parameter(torch.tensor(config.factor))

        def denoise(self, x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
            return x * self.factor.to(x.dtype)

        def certify(self) -> pnpkit.Certificate:
            return catalogue.build("identity", {}).certificate

    monkeypatch.setitem(architectures.NETWORKS, "half", (Half, HalfConfig))
    network = architectures.build("half", {"factor": 0.25}).eval()
    export(tmp_path / "half", network)
    own = pnpkit.load_denoiser(tmp_path / "half")
    assert own.looks() == (own, None) and own.regulariser(0.1, (4, 4)) is None and own.certificate.averaged
    own.secure()
    x = catalogue.image(1, 3, 20, 22).float()
    torch.testing.assert_close(own(x, 0.1), x / 4)
    assert pnpkit.deblur(x, "box:3", denoiser=own, noise_level=0.05, max_steps=2).steps == 2
