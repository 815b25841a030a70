"""The registry of trained classifiers. Each is a folder with weights and a card.

The registry works offline. Every load checks the hash of the weights.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from pnpkit import cards
from pnpkit.cards import CARD, WEIGHTS
from pnpkit.certificates import Certificate
from pnpkit.errors import UnknownName
from pnpkit.machine.files import write_whole
from pnpkit.robust.classifier import Classifier, ClassifierConfig

FOLDER = Path(__file__).parent / "models"


SCHEMA = {
    "name": str,
    "data": str,
    "arguments": dict,
    "sha256": str,
    "certificate": dict,
    "training": dict,
    "scores": dict,
    "paper": str,
    "licence": str,
}


@dataclass(frozen=True)
class ClassifierCard:
    """A classifier, its origin, and what is proven about it.

    Attributes:
        name: its name among the shipped ones.
        data: a name of ``datasets.DATASETS``.
        arguments: arguments of ``ClassifierConfig``.
        sha256: hash of the weights file.
        certificate: derived from the weights at export.
        training: command, settings, seed, seconds, date.
        scores: scores on the test set, with the command that measured them.
        paper, licence: what to cite, and the terms of use.
    """

    name: str
    data: str
    arguments: dict[str, Any]
    sha256: str
    certificate: Certificate
    training: dict[str, Any]
    scores: dict[str, Any]
    paper: str
    licence: str

    def to_json(self) -> dict[str, Any]:
        """Return plain values for ``json.dumps``."""
        return {**asdict(self), "certificate": self.certificate.to_json()}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> ClassifierCard:
        """Build the card from the values that ``to_json`` returned.

        Raises:
            CardError: a field is unknown, missing, of another type or out of range.
        """
        with cards.trouble_with("not a classifier's card"):
            cards.checked(data, SCHEMA)
            cards.sha256(data["sha256"])
            return cls(**{**data, "certificate": cards.certificate(data["certificate"])})


def classifiers() -> dict[str, ClassifierCard]:
    """Return the cards of all shipped classifiers, by name."""
    return {path.parent.name: read_card(path.parent) for path in sorted(FOLDER.glob(f"*/{CARD}"))}


def read_card(place: Path) -> ClassifierCard:
    """Read the card in a classifier's folder."""
    with cards.trouble_with(place / CARD):
        return ClassifierCard.from_json(cards.read_json(place / CARD))


def load_classifier(name: str, *, device: str = "cpu") -> Classifier:
    """Load the shipped classifier ``name``, or the one in the folder with this path.

    Raises:
        UnknownName: there is no such classifier. The message gives the nearest name and all names.
        CardError: the folder does not match its card.
    """
    return load_from(place_of(name)).to(device)


def card_of(name: str) -> ClassifierCard:
    """Return the card of the shipped classifier ``name``, or of the one in the folder with this path."""
    return read_card(place_of(name))


def place_of(name: str) -> Path:
    """Return the folder of a classifier."""
    names = sorted(path.parent.name for path in FOLDER.glob(f"*/{CARD}"))
    if name not in names and not (isinstance(name, (str, Path)) and (Path(name) / CARD).is_file()):
        raise UnknownName("classifier", name, names)
    return FOLDER / name if name in names else Path(name)


def set_scores(name: str, scores: dict[str, Any]) -> None:
    """Write measured scores into a shipped card; weights and certificate do not change."""
    write_card(replace(card_of(name), scores=scores), place_of(name))


def load_from(place: Path) -> Classifier:
    """Load the classifier of a folder after checking that its weights have the hash on the card."""
    card = read_card(place)
    with cards.trouble_with(place):
        config = cards.arguments(ClassifierConfig, card.arguments)
        tensors = cards.weights(place, card.sha256)
        classifier = cards.built(lambda: Classifier(config), tensors)
        classifier.load_state_dict(tensors)
    classifier.name = card.name
    return classifier.eval().requires_grad_(False)


def export(classifier: Classifier, card: ClassifierCard, place: Path) -> ClassifierCard:
    """Write weights and card into a folder. Returns the card with the hash of the weights."""
    place.mkdir(parents=True, exist_ok=True)
    data = save({name: smallest(tensor.contiguous().cpu()) for name, tensor in classifier.state_dict().items()})
    written = replace(card, sha256=hashlib.sha256(data).hexdigest())
    write_whole(place / WEIGHTS, data)
    write_card(written, place)
    return written


def smallest(tensor: Tensor) -> Tensor:
    """Return the tensor as float16 if that holds every entry exactly, otherwise unchanged."""
    half = tensor.half()
    return half if torch.equal(half.to(tensor.dtype), tensor) else tensor


def write_card(card: ClassifierCard, place: Path) -> None:
    """Write ``card.json``."""
    cards.write_json(place / CARD, card.to_json())
