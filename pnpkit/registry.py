"""The registry of denoisers. Each is a folder with weights, a card and a training curve.

The registry works offline. Loading checks the hash of the weights.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pnpkit import cards
from pnpkit.cards import CARD, CLAIMS, WEIGHTS
from pnpkit.certificates import Certificate, nothing
from pnpkit.errors import CardError, InputError, UnknownName, one_line
from pnpkit.machine.files import write_whole

if TYPE_CHECKING:
    from pnpkit.networks.base import Network


DEEPINV = "deepinv:"


SCHEMA = {
    "name": str,
    "architecture": str,
    "arguments": dict,
    "sha256": str,
    "sigma_range": list,
    "certificate": dict,
    "training": dict,
    "scores": dict,
    "paper": str,
    "licence": str,
    "audit": dict,
}


UNLISTED = f"the claim on this card is not the one in {CLAIMS}: the loaded denoiser derives it from its weights"


@dataclass(frozen=True)
class Card:
    """What a denoiser is, where it comes from and what is proven about it. Levels are on the 0..1 scale.

    Attributes:
        name: its name in the registry.
        architecture, arguments: the arguments of ``networks.architectures.build``, which builds the network.
        sha256: hash of the weights file.
        sigma_range: noise levels that the denoiser was trained for and accepts.
        certificate: derived from the weights at export; ``certify`` derives it again. It claims nothing if the claim
            is not listed in ``cards.CLAIMS``.
        training: data, command, seed, steps, hours, device, date.
        scores: scores per noise level (out of 255), with the command that measured them.
        audit: the largest constants that a search for expansion found, per noise level (out of 255), with its command.
        paper, licence: what to cite, and the terms of use.
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
        """Return plain values for ``json.dumps``."""
        return {**asdict(self), "certificate": self.certificate.to_json(), "sigma_range": list(self.sigma_range)}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Card:
        """Build the card from the values that ``to_json`` returned.

        Raises:
            CardError: a field is unknown, missing, of another type or out of range.
        """
        with cards.trouble_with("not a denoiser's card"):
            cards.checked(data, SCHEMA, optional=("audit",))
            cards.sha256(data["sha256"])
            low, high = data["sigma_range"]
            low, high = cards.number(low, "sigma_range", 0, 1), cards.number(high, "sigma_range", 0, 1)
            for what, names in (("scores", ("psnr", "ssim")), ("audit", ("lipschitz",))):
                for entry in data.get(what, {}).values():
                    for name in names if isinstance(entry, dict) else ():
                        cards.number(entry[name], name, -1e9, 1e9)
                    if what == "audit" and isinstance(entry, dict) and "averagedness" not in entry:
                        raise CardError("an audit says what averagedness was found, or null")
            certificate = cards.certificate(data["certificate"])
            return cls(**{**data, "sigma_range": (low, high), "certificate": certificate})

    def claim(self) -> str:
        """The hash that binds the certificate of the card to weights and arguments."""
        return cards.claim(self.sha256, {"architecture": self.architecture, **self.arguments}, self.certificate)


def folder() -> Path:
    """Return the folder of the shipped denoisers: inside the installed package, otherwise in the checkout."""
    package = Path(__file__).parent
    installed = package / "_denoisers"
    return installed if installed.is_dir() else package.parent / "denoisers"


def denoisers() -> dict[str, Card]:
    """Return the cards of all denoisers of the registry, by name.

    Example:
        >>> import pnpkit as pk
        >>> "euler" in pk.denoisers()
        True
    """
    return {path.parent.name: read_card(path.parent) for path in sorted(folder().glob(f"*/{CARD}"))}


def read_card(place: Path) -> Card:
    """Read the card in a denoiser's folder, with its certificate only if the list beside the folder has its claim."""
    card = as_written(place)
    return card if listed(place, card) else replace(card, certificate=nothing(f"{card.name}(., sigma)", UNLISTED))


def as_written(place: Path) -> Card:
    """Read the card in a denoiser's folder with its certificate, whether its claim is listed or not."""
    with cards.trouble_with(place / CARD):
        return Card.from_json(cards.read_json(place / CARD))


def listed(place: Path, card: Card) -> bool:
    """Whether the list beside the folder ``place`` contains the claim of its card."""
    return cards.claims(place.parent).get(place.name) == card.claim()


def place_of(name: str | os.PathLike[str]) -> Path:
    """Return the folder of a denoiser, given its name in the registry or the path of the user's own folder.

    Raises:
        UnknownName: there is no such denoiser. The message gives the nearest name and all names.
    """
    names = sorted(path.parent.name for path in folder().glob(f"*/{CARD}"))
    if name in names:
        return folder() / name
    if isinstance(name, (str, os.PathLike)) and (Path(name) / CARD).is_file():
        return Path(name).absolute()
    raise UnknownName("denoiser", name, names)


def card_of(name: str | os.PathLike[str]) -> Card:
    """Return the card of a denoiser, given its name or path."""
    return read_card(place_of(name))


def load_denoiser(name: str | os.PathLike[str], *, device: str = "cpu") -> Network:
    """Load a denoiser D. ``D(x, sigma)`` denoises, ``D.at(sigma)`` is a Map, ``D.certificate`` says what is proven.

    The weights must have the hash on the card. The certificate that was derived at export is taken over if
    ``claims.json`` beside the folder lists the hash of weights, arguments and certificate. Otherwise it is derived from
    the weights.

    Args:
        name: one of three:

            - a name in the registry;
            - the path of a folder with a card and weights, as ``export`` writes it;
            - ``deepinv:NAME`` for a denoiser of deepinv, about which nothing is claimed. deepinv finds its weights by
              its own rules and may download them.
        device: where the weights are placed.

    Raises:
        UnknownName: there is no such denoiser. The message gives the nearest name and all names.
        CardError: the content of the folder contradicts its card.

    Example:
        >>> import torch
        >>> import pnpkit as pk
        >>> D = pk.load_denoiser("wavelet")
        >>> D(torch.rand(1, 3, 16, 16), 0.1).shape, D.at(0.1).certificate.averagedness
        (torch.Size([1, 3, 16, 16]), 0.5)
    """
    if isinstance(name, str) and name.startswith(DEEPINV):
        return load_foreign(name.removeprefix(DEEPINV)).to(device)
    place = place_of(name)
    network = load_from(place, read_card(place))
    network.to(device)
    return network


def open_denoiser(denoiser: object, *, device: str = "cpu") -> Network:
    """Return a denoiser as a network on the device, in whichever form it is given.

    Args:
        denoiser: what ``load_denoiser`` takes, a pnpkit network, a deepinv ``Denoiser``, or a function D(x, sigma) of
            images (B, 3, H, W) and a number. Nothing is proven about the last two.
        device: where the weights are placed.

    Raises:
        InputError: anything else.
    """
    import os

    from pnpkit.maps import Map
    from pnpkit.networks.base import Network
    from pnpkit.networks.foreign import wrapped

    if isinstance(denoiser, (str, os.PathLike)):
        return load_denoiser(os.fspath(denoiser), device=device)
    if isinstance(denoiser, Network):
        return denoiser.to(device)
    if callable(denoiser) and not isinstance(denoiser, Map):
        return wrapped(denoiser).to(device)
    raise InputError(
        "a denoiser is a name or a path, a network, a deepinv denoiser or a function D(x, sigma), got "
        f"{type(denoiser).__name__}"
    )


def load_from(place: Path, card: Card) -> Network:
    """Load the network of a denoiser's folder, with the certificate of its card if that claim is listed.

    Raises:
        CardError: anything is wrong with the card or the weights.
    """
    from pnpkit.layers.gradient_flow import to_be_loaded
    from pnpkit.networks.architectures import NETWORKS

    with cards.trouble_with(place):
        if card.architecture not in NETWORKS:
            raise UnknownName("architecture", card.architecture, NETWORKS)
        network, config = NETWORKS[card.architecture]
        arguments = cards.arguments(config, card.arguments)
        tensors = cards.weights(place, card.sha256)
        with to_be_loaded():
            built: Network = cards.built(lambda: network(arguments), tensors)
        built.load_state_dict(tensors)
        if card.sigma_range[1] > built.top or not 0 < built.top <= 1:
            raise CardError(f"sigma_range ends at {card.sigma_range[1]:g}, the network at {built.top:g}")
    built.name = card.name
    built.eval().requires_grad_(False)
    if listed(place, card):
        built.remember(card.certificate)
    return built


def load_foreign(name: str) -> Network:
    """Load a denoiser of deepinv, given the name of its class.

    Raises:
        InputError: there is no such class, or it cannot be built here. The message gives the reason in one sentence.
    """
    from pnpkit.networks.foreign import from_deepinv

    try:
        return from_deepinv(name)
    except KeyError:
        raise InputError(f"deepinv.models has no denoiser called '{name}'") from None
    except (ImportError, OSError, RuntimeError, TypeError, ValueError) as error:
        raise InputError(f"deepinv's {name} cannot be built here: {one_line(error)[:200]}") from error


def certify(name: str | os.PathLike[str]) -> Certificate:
    """Derive a denoiser's certificate again from its weights alone."""
    return load_denoiser(name).known()


def export(network: Network, card: Card, place: Path) -> Card:
    """Write weights and card into a denoiser's folder, and the claim of the card into the list beside the folder.

    Returns:
        The card with the hash of the weights that were written.
    """
    from safetensors.torch import save

    place.mkdir(parents=True, exist_ok=True)
    data = save({name: tensor.contiguous().cpu() for name, tensor in network.state_dict().items()})
    written = replace(card, sha256=hashlib.sha256(data).hexdigest())
    write_whole(place / WEIGHTS, data)
    write_card(written, place)
    cards.list_claim(place, written.claim())
    return written


def write_card(card: Card, place: Path) -> None:
    """Write ``card.json`` and its readable form, ``README.md``."""
    cards.write_json(place / CARD, card.to_json())
    write_whole(place / "README.md", model_card(card).encode())


def model_card(card: Card) -> str:
    """Return the model card as text: what the denoiser is, its training, scores, proven constants and limits."""
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
        f"Measured on BSDS500 val{some} by `{card.scores.get('command', 'not measured yet')}` "
        f"({card.scores.get('date', '-')}):",
        "| sigma (of 255) | PSNR (dB) | SSIM |\n| --- | --- | --- |\n" + "\n".join(scores),
        "## What is proven",
        f"```\n{card.certificate}\n```",
        "A search looks for pairs of pictures that contradict this. It starts at adversarial points and at clean, "
        "noisy, black and random pictures of 32 x 32 pixels. It found the following lower bounds "
        f"(`{card.audit.get('command', 'not run yet')}`, {card.audit.get('date', '-')}):",
        "| sigma (of 255) | Lipschitz constant at least | averagedness at least |\n| --- | --- | --- |\n"
        + "\n".join(
            f"| {level} | {found['lipschitz']:.5f} | {found['averagedness']} |"
            for level, found in card.audit.items()
            if isinstance(found, dict)
        ),
        "## Not for",
        "Do not use it for noise that is not white and Gaussian, for levels outside the range, or to claim that a "
        "restored detail was there.",
    ]
    return "\n\n".join(paragraphs) + "\n"


def _training(training: dict[str, Any]) -> list[str]:
    return [
        "## Training",
        f"{training.get('data', '')}. {training.get('steps', '?')} steps in {training.get('hours', '?')} hours on "
        f"{training.get('device', '?')}, {training.get('date', '?')}. The training curve is in `training.csv`: PSNR on "
        "eight centre crops of val, not the values of the table below. Command:",
        f"```sh\n{training.get('command', '')}\n```",
    ]


def set_scores(name: str, scores: dict[str, Any]) -> None:
    """Write measured scores onto a card. Weights and certificate stay as they are."""
    write_card(replace(as_written(place_of(name)), scores=scores), place_of(name))


def set_audit(name: str, found: dict[str, Any]) -> None:
    """Write the result of a search for expansion onto a card."""
    write_card(replace(as_written(place_of(name)), audit=found), place_of(name))
