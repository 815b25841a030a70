"""Trained classifiers: each a folder with weights and a card. Offline; every load checks the hash."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

from pnpkit.certificates import Certificate
from pnpkit.errors import CardError, UnknownName
from pnpkit.machine.files import read_verified, write_whole
from pnpkit.robust.classifier import Classifier, ClassifierConfig

WEIGHTS, CARD = "weights.safetensors", "card.json"


FOLDER = Path(__file__).parent / "models"


@dataclass(frozen=True)
class ClassifierCard:
    """What a classifier is, where it comes from and what is proven about it.

    Attributes:
        name: its name among the shipped ones.
        data: a name of ``datasets.DATASETS``.
        arguments: of ``ClassifierConfig``.
        sha256: of the weights file.
        certificate: derived from the weights at export.
        training: command, settings, seed, seconds, date.
        scores: on the test set, with the command that measured them.
        paper, licence: what to cite, and the terms.
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
        """Plain values for ``json.dumps``."""
        return {**asdict(self), "certificate": self.certificate.to_json()}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> ClassifierCard:
        """The inverse of ``to_json``; an unknown or missing field is an error."""
        try:
            return cls(**{**data, "certificate": Certificate.from_json(data["certificate"])})
        except (KeyError, TypeError, ValueError) as error:
            raise CardError(f"not a classifier's card: {error}") from error


def classifiers() -> dict[str, ClassifierCard]:
    """Every shipped classifier by name."""
    return {path.parent.name: read_card(path.parent) for path in sorted(FOLDER.glob(f"*/{CARD}"))}


def read_card(place: Path) -> ClassifierCard:
    """The card in a classifier's folder."""
    try:
        return ClassifierCard.from_json(json.loads((place / CARD).read_text(encoding="utf-8")))
    except (OSError, json.JSONDecodeError) as error:
        raise CardError(f"cannot read {place / CARD}: {error}") from error


def load_classifier(name: str, *, device: str = "cpu") -> Classifier:
    """The shipped classifier ``name``, or the one in the folder of that path.

    Raises:
        UnknownName: with the nearest name and all there are.
        CardError: the folder does not hold what its card says.
    """
    return load_from(place_of(name)).to(device)


def card_of(name: str) -> ClassifierCard:
    """The card of the shipped classifier ``name``, or of the one in the folder of that path."""
    return read_card(place_of(name))


def place_of(name: str) -> Path:
    """Where the classifier is."""
    names = sorted(path.parent.name for path in FOLDER.glob(f"*/{CARD}"))
    if name not in names and not (isinstance(name, (str, Path)) and (Path(name) / CARD).is_file()):
        raise UnknownName("classifier", name, names)
    return FOLDER / name if name in names else Path(name)


def set_scores(name: str, scores: dict[str, Any]) -> None:
    """Write measured scores onto a shipped card; weights and certificate stay as they are."""
    write_card(replace(card_of(name), scores=scores), place_of(name))


def load_from(place: Path) -> Classifier:
    """The classifier of a folder, ready to use, once its weights have the hash on the card."""
    card = read_card(place)
    data = read_verified(place / WEIGHTS, card.sha256)
    classifier = Classifier(ClassifierConfig(**card.arguments))
    classifier.load_state_dict(load(data))
    classifier.name = card.name
    return classifier.eval().requires_grad_(False)


def export(classifier: Classifier, card: ClassifierCard, place: Path) -> ClassifierCard:
    """Write weights and card into a folder; returns the card with the hash of what was written."""
    place.mkdir(parents=True, exist_ok=True)
    data = save({name: smallest(tensor.contiguous().cpu()) for name, tensor in classifier.state_dict().items()})
    written = replace(card, sha256=hashlib.sha256(data).hexdigest())
    write_whole(place / WEIGHTS, data)
    write_card(written, place)
    return written


def smallest(tensor: Tensor) -> Tensor:
    """The tensor as float16 when that holds every entry exactly, otherwise as it is: nothing is lost."""
    half = tensor.half()
    return half if torch.equal(half.to(tensor.dtype), tensor) else tensor


def write_card(card: ClassifierCard, place: Path) -> None:
    """``card.json``."""
    write_whole(place / CARD, (json.dumps(card.to_json(), indent=1) + "\n").encode())
