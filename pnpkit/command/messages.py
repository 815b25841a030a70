"""What the commands say and end with: flags for argument names, one line for every error, nothing that a terminal would
obey, and the exit codes."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

import click

from pnpkit.errors import PnpError, one_line

SOME_FAILED, BAD_INPUT, DIVERGED = 1, 2, 3  # exit codes; 0 where all went well


_ARGUMENT = re.compile(r"`([a-z_]+)(?:=([\w.:,-]+))?`")


def in_flags(text: str) -> str:
    """A message of the library in the words of the command line: `max_steps` is --max-steps, `device=cpu` is
    --device cpu. Words that are not marked so stay as they are."""

    def flag(found: re.Match[str]) -> str:
        name, value = found.groups()
        return f"--{name.replace('_', '-')}" + (f" {value}" if value else "")

    return _ARGUMENT.sub(flag, text)


def printable(text: str) -> str:
    """The text without control characters, which a terminal would obey: a file's name may hold any."""
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)


def say(text: str, error: bool = False) -> None:
    """Print, on stderr for an error."""
    click.echo(printable(in_flags(text)), err=error)


def say_notes(notes: Iterable[str]) -> None:
    """Print what had to be changed or assumed on reading, a line each."""
    for note in notes:
        say(f"note: {note}")


def sentence(error: BaseException) -> str:
    """What went wrong and what to do, on one line."""
    if out_of_memory(error):
        return "memory ran out: give a smaller `max_memory` (the network then works on tiles) or restore a smaller part"
    if isinstance(error, PnpError):
        return one_line(error)
    if isinstance(error, click.ClickException):
        return one_line(error.format_message())
    if isinstance(error, OSError):
        where = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, (str, bytes)) else ""
        return one_line(where + (error.strerror or str(error)))
    what = f"{type(error).__name__}: {one_line(error)}".removesuffix(": ")
    return f"an error that pnpkit does not expect, {what}: please report it (PNPKIT_DEBUG=1 shows where it arose)"


def out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out: numpy and Python raise MemoryError, torch a RuntimeError of its own or of any kind."""
    words = ("out of memory", "can't allocate memory", "not enough memory", "cannot allocate memory")
    if isinstance(error, OSError):
        return error.errno == 12
    said = isinstance(error, RuntimeError) and any(word in str(error).lower() for word in words)
    return isinstance(error, MemoryError) or said
