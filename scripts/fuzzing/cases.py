"""One input: its random numbers follow from (kind, seed) alone. And what can be wrong with the answer to it."""

from __future__ import annotations

import random
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

T = TypeVar("T")


class Untrue(Exception):
    """A promise that is broken. ``promise`` is the same for every input, ``detail`` holds the numbers."""

    def __init__(self, promise: str, detail: str = ""):
        super().__init__(f"{promise}: {detail}" if detail else promise)
        self.promise = promise


class Refused(Exception):
    """The input is refused as it must be: exit code 2 and one line."""


class Hang(BaseException):
    """The limit of processor time is over. No ``except Exception`` stops it."""


@dataclass
class Case:
    """An input in the making.

    Attributes:
        kind, seed: all that the input depends on.
        place: an empty folder.
        random, numbers: generators.
        notes: what the input is, for a person.
    """

    kind: str
    seed: int
    place: Path
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = random.Random(f"{self.kind} {self.seed}")
        self.numbers = np.random.default_rng([zlib.crc32(self.kind.encode()), self.seed])

    def chance(self, share: float) -> bool:
        """True in this share of the cases."""
        return self.random.random() < share

    def weighted(self, table: dict[T, float]) -> T:
        """A key, with its value as weight."""
        return self.random.choices(list(table), list(table.values()))[0]

    def pick(self, good: Sequence[Any], odd: Sequence[Any], share: float = 0.85) -> Any:
        """One of the good values in this share of the cases, else one of the odd ones."""
        return self.random.choice(good if self.chance(share) else odd)

    def note(self, *words: Any) -> None:
        self.notes.append(" ".join(map(str, words)))


def hold(promise: str, kept: bool, detail: str = "") -> None:
    """Raise ``Untrue`` unless the promise is kept."""
    if not kept:
        raise Untrue(promise, detail)
