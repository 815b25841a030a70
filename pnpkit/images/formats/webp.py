"""WebP, which is written without loss."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path

from PIL.WebPImagePlugin import WebPImageFile

from pnpkit.images.formats import pillow
from pnpkit.images.formats.codec import Codec
from pnpkit.images.picture import Stored


def decode(path: Path, head: bytes, most: int) -> Stored:
    """Decode 8 bits, RGB, with or without alpha."""
    return pillow.decode(path, WebPImageFile, most, densest=math.inf)  # a picture of one colour needs no bits


CODEC = Codec(
    (b"RIFF",),
    decode,
    (".webp",),
    partial(pillow.encode, form="WEBP", lossless=True, exact=True),
    ("uint8",),
    alpha=True,
)
