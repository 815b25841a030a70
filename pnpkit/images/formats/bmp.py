"""BMP without alpha, since Pillow does not read alpha back from it."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from PIL.BmpImagePlugin import BmpImageFile

from pnpkit.images.formats import pillow
from pnpkit.images.formats.codec import Codec
from pnpkit.images.picture import Stored


def decode(path: Path, head: bytes, most: int) -> Stored:
    """Decode 8 bits, grey or RGB. Palettes are converted."""
    return pillow.decode(path, BmpImageFile, most)


CODEC = Codec((b"BM",), decode, (".bmp",), partial(pillow.encode, form="BMP"), ("uint8",))
