"""Names of images. A name means a file, or one image in a file: ``field.fits[SCI]``, ``field.fits[1]``."""

from __future__ import annotations

import os
import re
from pathlib import Path

MARKS = (".zgroup", ".zarray", "zarr.json")  # every group and array of zarr contains one of these files
_PART = re.compile(r"(.+)\[([^\[\]/]+)\]")


def split(name: str | os.PathLike[str]) -> tuple[Path, str]:
    """Split a name into the file and the part of it; "" means the file itself.

    If a file exists whose own name ends in brackets, the name means that file.
    """
    text = os.fspath(name)
    found = None if os.path.exists(text) else _PART.fullmatch(text)
    return (Path(text), "") if found is None else (Path(found[1]), found[2])


def file_of(name: str | os.PathLike[str]) -> Path:
    """Return the file that a name refers to."""
    return split(name)[0]


def is_zarr(name: str | os.PathLike[str]) -> bool:
    """Whether the name is a folder written by zarr, which is treated like a file."""
    return os.path.isdir(name) and any(os.path.isfile(os.path.join(name, mark)) for mark in MARKS)
