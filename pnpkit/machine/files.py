"""Files appear whole or not at all, written beside their place and then renamed; and are what their hash says."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from pnpkit.errors import CardError


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


def read_verified(path: Path, sha256: str) -> bytes:
    """The bytes of ``path``, once they have that hash.

    Raises:
        CardError: it cannot be read, or holds other bytes.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CardError(f"cannot read {path}: {error}") from error
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise CardError(f"{path} has sha256 {found[:12]}..., its card says {sha256[:12]}...")
    return data
