"""The phases of a long piece of work, as they are told to who waits for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Phase:
    """A phase that begins: its name and, where it has several parts, which of how many begins."""

    name: str
    part: int = 1
    parts: int = 1

    def __str__(self) -> str:
        return self.name if self.parts == 1 else f"{self.name}, {self.part} of {self.parts}"


Listener = Callable[[Phase], None]


def nobody(_: Phase) -> None:
    """The listener where nobody waits."""
