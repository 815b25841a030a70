"""All that the harness uses of pnpkit beyond its public names, and the one way into the command line.

Where a module of the package moves, this file follows, and no other of the harness.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import sys
import tempfile
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pnpkit as pk
from pnpkit import kernels as kernels
from pnpkit import proximal as proximal
from pnpkit import registry as registry

PACKAGE = Path(pk.__file__).parent


def found(name: str, *modules: str) -> Any:
    """The name, from the first of the modules that has it."""
    for place in modules:
        try:
            return getattr(importlib.import_module(f"pnpkit.{place}"), name)
        except (ImportError, AttributeError):
            continue
    raise ImportError(f"pnpkit has no {name} in {', '.join(modules)}: tell scripts/fuzzing/doors.py where it is")


build = found("build", "networks.architectures", "networks")
from_matrix = found("from_matrix", "operators", "operators.matrix")


@dataclass(frozen=True)
class Ending:
    """Exit code, stdout and stderr of a command."""

    code: Any
    out: str
    err: str


def entry() -> ModuleType:
    """The module whose ``main`` is the command."""
    import pnpkit.__main__ as module

    return module


@contextlib.contextmanager
def descriptor_kept(number: int) -> Iterator[list[str]]:
    """What C libraries write to a file descriptor, in a list that is filled at the end."""
    found: list[str] = []
    old = os.dup(number)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), number)
        try:
            yield found
        finally:
            os.dup2(old, number)
            os.close(old)
            file.seek(0)
            found.append(file.read().decode(errors="replace"))


def command(*words: str) -> Ending:
    """Run ``pnpkit WORDS`` in this process. What is neither SystemExit nor an answer goes on as it is."""
    out, err, before = io.StringIO(), io.StringIO(), sys.argv
    sys.argv = ["pnpkit", *words]
    code: Any = None
    try:
        with descriptor_kept(2) as native, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                entry().main()
            except SystemExit as stop:
                code = stop.code
    finally:
        sys.argv = before
    return Ending(code, out.getvalue(), err.getvalue() + native[0])


def origin(error: BaseException) -> tuple[str, str]:
    """The package's line that raised, else the last one; and the last line of all."""
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return "", ""
    inside = [frame for frame in frames if Path(frame.filename).is_relative_to(PACKAGE)]
    return told(inside[-1] if inside else frames[-1]), told(frames[-1])


def told(frame: traceback.FrameSummary) -> str:
    """A line of code with its place."""
    path = Path(frame.filename)
    name = str(path.relative_to(PACKAGE.parent)) if path.is_relative_to(PACKAGE.parent) else path.name
    return f"{name}:{frame.lineno} {frame.name}: {frame.line}"
