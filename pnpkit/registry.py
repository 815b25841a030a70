"""Denoisers: trained networks, each a folder with weights, a card and a curve. Offline; every load checks the hash."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pnpkit.certificates import Certificate
from pnpkit.errors import CardError, InputError, UnknownName, one_line
from pnpkit.machine.files import read_verified, write_whole

if TYPE_CHECKING:
    from pnpkit.networks.base import Network


WEIGHTS, CARD, DEEPINV = "weights.safetensors", "card.json", "deepinv:"


@dataclass(frozen=True)
class Card:
    """What a denoiser is, where it comes from and what is proven about it. Levels are on the 0..1 scale.

    Attributes:
        name: its name in the registry.
        architecture, arguments: build the network (``networks.architectures.build``).
        sha256: of the weights file.
        sigma_range: noise levels it was trained for and accepts.
        certificate: derived from the weights at export, see ``certify`` to derive it again.
        training: data, command, seed, steps, hours, device, date.
        scores: per noise level (out of 255), with the command that measured them.
        audit: the worst that a search for expansion found, per noise level (out of 255), with its command.
        paper, licence: what to cite, and the terms.
    """

    name: str
    architecture: str
    arguments: dict[str, Any]
    sha256: str
    sigma_range: tuple[float, float]
    certificate: Certificate
    training: dict[str, Any]
    scores: dict[str, Any]
    paper: str
    licence: str
    audit: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain values for ``json.dumps``."""
        return {**asdict(self), "certificate": self.certificate.to_json(), "sigma_range": list(self.sigma_range)}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Card:
        """The inverse of ``to_json``; an unknown or missing field is an error."""
        try:
            low, high = data["sigma_range"]
            certificate = Certificate.from_json(data["certificate"])
            return cls(**{**data, "sigma_range": (float(low), float(high)), "certificate": certificate})
        except (KeyError, TypeError, ValueError) as error:
            raise CardError(f"not a denoiser's card: {error}") from error


def folder() -> Path:
    """Where the denoisers are: inside the installed package, else in the checkout."""
    package = Path(__file__).parent
    installed = package / "_denoisers"
    return installed if installed.is_dir() else package.parent / "denoisers"


def denoisers() -> dict[str, Card]:
    """Every denoiser of the registry by name."""
    return {path.parent.name: read_card(path.parent) for path in sorted(folder().glob(f"*/{CARD}"))}


def read_card(place: Path) -> Card:
    """The card in a denoiser's folder."""
    try:
        return Card.from_json(json.loads((place / CARD).read_text(encoding="utf-8")))
    except (OSError, json.JSONDecodeError) as error:
        raise CardError(f"cannot read {place / CARD}: {error}") from error


def load_denoiser(name: str, *, device: str = "cpu") -> Network:
    """The denoiser ``name``: D(x, sigma), ``D.at(sigma)`` a Map, ``D.certificate``.

    ``deepinv:NAME`` is that denoiser of deepinv, with weights by deepinv's own rules (it may fetch them) and no claim.
    Otherwise its weights must have the hash on the card, so the certificate derived at export speaks of the same bytes.

    Raises:
        UnknownName: with the nearest name and all there are.
        CardError: the folder does not hold what its card says.
    """
    if isinstance(name, str) and name.startswith(DEEPINV):
        return load_foreign(name.removeprefix(DEEPINV)).to(device)
    names = sorted(path.parent.name for path in folder().glob(f"*/{CARD}"))
    if name not in names:
        raise UnknownName("denoiser", name, names)
    place = folder() / name
    network = load_from(place, read_card(place))
    network.to(device)
    return network


def load_from(place: Path, card: Card) -> Network:
    """The network of a denoiser's folder, ready to use, with the certificate of its card."""
    from safetensors.torch import load

    from pnpkit.networks.architectures import build

    data = read_verified(place / WEIGHTS, card.sha256)
    network = build(card.architecture, card.arguments)
    network.load_state_dict(load(data))
    network.name = card.name
    network.eval().requires_grad_(False)
    network.remember(card.certificate)
    return network


def load_foreign(name: str) -> Network:
    """A denoiser of deepinv, by the name of its class; whatever stops it becomes one sentence."""
    from pnpkit.networks.foreign import from_deepinv

    try:
        return from_deepinv(name)
    except KeyError:
        raise InputError(f"deepinv.models has no denoiser called '{name}'") from None
    except (ImportError, OSError, RuntimeError, TypeError, ValueError) as error:
        raise InputError(f"deepinv's {name} cannot be made here: {one_line(error)[:200]}") from error


def certify(name: str) -> Certificate:
    """Derive a denoiser's certificate again, from its weights alone."""
    return load_denoiser(name).certify()


def export(network: Network, card: Card, place: Path) -> Card:
    """Write weights and card into a denoiser's folder; returns the card with the hash of what was written."""
    from safetensors.torch import save

    place.mkdir(parents=True, exist_ok=True)
    data = save({name: tensor.contiguous().cpu() for name, tensor in network.state_dict().items()})
    written = replace(card, sha256=hashlib.sha256(data).hexdigest())
    write_whole(place / WEIGHTS, data)
    write_card(written, place)
    return written


def write_card(card: Card, place: Path) -> None:
    """``card.json`` and the same for people, ``README.md``."""
    write_whole(place / CARD, (json.dumps(card.to_json(), indent=1) + "\n").encode())
    write_whole(place / "README.md", model_card(card).encode())


def model_card(card: Card) -> str:
    """The model card: what it is, how it was made, what it does, what is proven, what it is not for."""
    training, low, high = card.training, *card.sigma_range
    some = f", the first {card.scores['pictures']} pictures" if "pictures" in card.scores else ""
    scores = [
        f"| {level} | {s['psnr']:.2f} | {s['ssim']:.4f} |" for level, s in card.scores.items() if isinstance(s, dict)
    ]
    paragraphs = [
        f"# {card.name}",
        f"Architecture {card.architecture}, {card.arguments}. Colour and grey pictures of any size, noise levels from "
        f"{255 * low:.0f}/255 to {255 * high:.0f}/255. Source: {card.paper}. Licence: {card.licence}.",
        *(_training(training) if training.get("steps") else ["Nothing is learnt."]),
        "## Scores",
        f"BSDS500 val{some}, by `{card.scores.get('command', 'not measured yet')}` ({card.scores.get('date', '-')}):",
        "| sigma (of 255) | PSNR (dB) | SSIM |\n| --- | --- | --- |\n" + "\n".join(scores),
        "## What is proven",
        f"```\n{card.certificate}\n```",
        "A search for pairs that contradict it (adversarial points, clean, noisy, black and random 32 x 32 pictures; "
        f"`{card.audit.get('command', 'not run yet')}`, {card.audit.get('date', '-')}):",
        "| sigma (of 255) | Lipschitz constant at least | averagedness at least |\n| --- | --- | --- |\n"
        + "\n".join(
            f"| {level} | {found['lipschitz']:.5f} | {found['averagedness']} |"
            for level, found in card.audit.items()
            if isinstance(found, dict)
        ),
        "## Not for",
        "Noise that is not white and Gaussian, levels outside the range, and claims that a restored detail was there.",
    ]
    return "\n\n".join(paragraphs) + "\n"


def _training(training: dict[str, Any]) -> list[str]:
    return [
        "## Training",
        f"{training.get('data', '')}. {training.get('steps', '?')} steps in {training.get('hours', '?')} hours on "
        f"{training.get('device', '?')}, {training.get('date', '?')}; curve in `training.csv` (PSNR on eight centre "
        "crops of val, not the table below). Command:",
        f"```sh\n{training.get('command', '')}\n```",
    ]


def set_scores(name: str, scores: dict[str, Any]) -> None:
    """Write measured scores onto a card; weights and certificate stay as they are."""
    write_card(replace(denoisers()[name], scores=scores), folder() / name)


def set_audit(name: str, found: dict[str, Any]) -> None:
    """Write the outcome of a search for expansion onto a card."""
    write_card(replace(denoisers()[name], audit=found), folder() / name)
