"""The name of an image: of a file, or of one image in a file: ``field.fits[SCI]``, ``field.fits[1]``."""

from __future__ import annotations

import os
import re
from pathlib import Path

MARKS = (".zgroup", ".zarray", "zarr.json")  # one of these is in every group and array of zarr
_PART = re.compile(r"(.+)\[([^\[\]/]+)\]")


def split(name: str | os.PathLike[str]) -> tuple[Path, str]:
    """The file and the part of it that a name means; "" for the file as such.

    A file whose own name ends so is taken as it is.
    """
    text = os.fspath(name)
    found = None if os.path.exists(text) else _PART.fullmatch(text)
    return (Path(text), "") if found is None else (Path(found[1]), found[2])


def file_of(name: str | os.PathLike[str]) -> Path:
    """The file of a name."""
    return split(name)[0]


def is_zarr(name: str | os.PathLike[str]) -> bool:
    """Whether it is a folder that zarr wrote, which stands for a file."""
    return os.path.isdir(name) and any(os.path.isfile(os.path.join(name, mark)) for mark in MARKS)
