"""JPEG, with an estimate of its compression error. It is written at quality 95 with full chroma."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from PIL.JpegImagePlugin import JpegImageFile

from pnpkit.images.formats import pillow
from pnpkit.images.formats.codec import Codec
from pnpkit.images.jpeg import compression_error
from pnpkit.images.picture import Stored, check_header


def decode(path: Path, head: bytes, most: int) -> Stored:
    """Decode 8 bits, grey or RGB. CMYK is converted."""
    with JpegImageFile(path) as image:
        check_header(path, image.width, image.height, most, densest=1000)  # 64 pixels need at least one bit
        image.load()
        return replace(pillow.stored(image, pillow.converted(image)), compression=compression_error(image))


CODEC = Codec(
    (b"\xff\xd8\xff",),
    decode,
    (".jpg", ".jpeg"),
    partial(pillow.encode, form="JPEG", quality=95, subsampling=0),
    ("uint8",),
    lossy=True,
)
