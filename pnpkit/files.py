"""Files appear whole or not at all: written beside their place and then renamed."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A binary file that takes the place of ``path`` when the block ends well, and vanishes when it does not.

    Raises OSError as ``open`` does. Not by ``tempfile``: its files are readable by their owner only.
    """
    path = Path(path)
    temporary = path.parent / f".pnpkit-{secrets.token_hex(8)}.part"
    try:
        with temporary.open("xb") as file:
            yield file
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_whole(path: str | os.PathLike[str], data: bytes) -> None:
    """``path`` holds exactly ``data``, or what it held before."""
    with replacing(path) as file:
        file.write(data)
