"""The phases of a long computation, as they are reported to the user who waits for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Phase:
    """A phase that begins: its name and, if it has several parts, the number of the part and of all parts."""

    name: str
    part: int = 1
    parts: int = 1

    def __str__(self) -> str:
        return self.name if self.parts == 1 else f"{self.name}, {self.part} of {self.parts}"


Listener = Callable[[Phase], None]


def nobody(_: Phase) -> None:
    """Ignore a phase: the listener that is used if nobody waits."""
