"""How a setting of a restoration is declared: a field of ``Settings`` that carries its help, unit and kind of flag."""

from __future__ import annotations

from dataclasses import Field, dataclass, field
from typing import Any, Literal

REQUIRED = object()  # in place of a default, for a setting that has a default of its own in each task


@dataclass(frozen=True)
class Option:
    """What the declaration of a setting says beside its name, type and default.

    The tasks that iterate are those of ``settings.ITERATING``.

    Attributes:
        help: one sentence, for the command line and for the docstring of ``Settings``.
        iterating_help: what the tasks that iterate add to it.
        detail: what the docstring of ``Settings`` adds to it.
        kind: what the flag of the command line takes: a number of at least 0, a whole number of at least 1, a word, a
            folder, or nothing (a switch). "none": there is no such flag.
        unit: of a number, in words.
        words: what may stand in place of a number, beside auto, which stands for None.
        iterating_words: further such words, of the tasks that iterate.
        signed: whether the number may be negative.
        group: the heading in the help of the command line.
        iterating: whether only the tasks that iterate have the setting.
        only: the name of the only task that has it; empty where several have.
    """

    help: str
    iterating_help: str = ""
    detail: str = ""
    kind: Literal["number", "count", "word", "switch", "folder", "none"] = "none"
    unit: str = ""
    words: tuple[str, ...] = ()
    iterating_words: tuple[str, ...] = ()
    signed: bool = False
    group: str = "expert"
    iterating: bool = False
    only: str = ""


def declared(default: Any, help: str, **about: Any) -> Any:
    """A field of ``Settings`` with this default and help; ``about`` holds the other attributes of its ``Option``."""
    option = {"option": Option(help, **about)}
    return field(metadata=option) if default is REQUIRED else field(default=default, metadata=option)


def option_of(setting: Field[Any]) -> Option:
    """The option that a field of ``Settings`` was declared with."""
    option = setting.metadata["option"]
    assert isinstance(option, Option)
    return option
