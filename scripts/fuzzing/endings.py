"""What every command keeps to, whatever it is given."""

from __future__ import annotations

from pathlib import Path

from fuzzing.cases import Case, Refused, hold
from fuzzing.doors import Ending, command

DONE, SOME_FAILED, BAD_INPUT, DIVERGED = 0, 1, 2, 3
LINE = "pnpkit"  # how a line on stderr begins


def listed(place: Path) -> set[str]:
    """Every file of a folder."""
    return {str(path.relative_to(place)) for path in place.rglob("*") if path.is_file()}


def checked(case: Case, *words: str) -> Ending:
    """Run a command and hold it to its promises; raises ``Refused`` where it refuses as it must."""
    before = listed(case.place)
    ending = command(*words)
    made = listed(case.place) - before
    lines = ending.err.splitlines()
    hold("an exit code is 0, 1, 2 or 3", ending.code in (DONE, SOME_FAILED, BAD_INPUT, DIVERGED), repr(ending.code))
    hold("nothing half written is left", not any(".part" in name for name in made), str(sorted(made)))
    hold("no escape code reaches the terminal", "\x1b" not in ending.out + ending.err, repr(ending.err[:200]))
    for line in lines:
        hold("what stands on stderr begins with pnpkit", line.startswith(LINE), repr(line[:200]))
    if ending.code == BAD_INPUT:
        hold("exit 2 comes with one line on stderr", len(lines) == 1, f"{len(lines)} lines: {ending.err[:200]!r}")
        hold("exit 2 leaves no file", not made, str(sorted(made)))
        short = ("allocate", "MemoryError", "emory")
        lacked = "damaged" in lines[0] and any(part in lines[0].split("damaged", 1)[1] for part in short)
        hold("memory that runs out is not called damage", not lacked, lines[0][-200:])
        raise Refused(lines[0])
    if ending.code == DONE:
        warned = all(": warning: " in line for line in lines)
        hold("exit 0 has nothing but warnings on stderr", warned, ending.err[:200])
    if ending.code in (SOME_FAILED, DIVERGED):
        hold("a failure is said on stderr", bool(lines), repr(ending.code))
    return ending
