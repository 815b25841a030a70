"""PNG: 8 bits and grey 16 bits by Pillow, other 16 bits by pypng, since Pillow keeps only 8 bits of those."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import numpy as np
import png
from PIL.PngImagePlugin import PngImageFile

from pnpkit.images.formats import pillow
from pnpkit.images.formats.codec import Codec
from pnpkit.images.picture import Picture, Stored, check_header, per_inch

MAGIC = b"\x89PNG\r\n\x1a\n"


def decode(path: Path, head: bytes, most: int) -> Stored:
    """Decode 8 or 16 bits, grey or RGB, with or without alpha. Palettes and 1 bit are converted."""
    width, height, depth = struct.unpack(">IIB", head[16:25])
    check_header(path, width, height, most)  # checked here, since Pillow does not recognise a PNG without pixels
    with PngImageFile(path) as image:
        check_header(path, image.width, image.height, most, getattr(image, "n_frames", 1))
        image.load()
        deep = depth == 16 and (image.mode != "I;16" or image.has_transparency_data)
        return pillow.stored(image, deep_samples(path) if deep else pillow.converted(image))


def deep_samples(path: Path) -> np.ndarray:
    """Return 16-bit samples (H, W, channels), with alpha if one colour is transparent."""
    with path.open("rb") as file:
        width, height, rows, info = png.Reader(file=file).read()
        samples = np.array(list(rows), np.uint16).reshape(height, width, info["planes"])
    if "transparent" not in info:
        return samples
    opaque = (samples != info["transparent"]).any(axis=-1)
    return np.dstack([samples, np.where(opaque, 65535, 0).astype(np.uint16)])


def text(path: Path, key: str) -> str:
    """Return the text that a PNG holds under a key before its pixels; empty if there is none, or no PNG."""
    try:
        with PngImageFile(path) as image:
            return str(image.info.get(key, ""))
    except (OSError, ValueError, SyntaxError):  # errors of Pillow for other and for damaged files
        return ""


def encode(file: BinaryIO, samples: np.ndarray, picture: Picture) -> None:
    """Write without loss, at the bit depth of the samples."""
    if samples.dtype == np.uint8 or samples.ndim == 2:
        return pillow.encode(file, samples, picture, "PNG")
    height, width, channels = samples.shape
    encoded = BytesIO()
    writer = png.Writer(width, height, greyscale=channels == 2, alpha=channels != 3, bitdepth=16)
    writer.write_packed(encoded, (row.tobytes() for row in samples.astype(">u2")))
    chunks = list(png.Reader(bytes=encoded.getvalue()).chunks())
    if picture.exif:
        chunks.insert(1, (b"eXIf", picture.exif.removeprefix(b"Exif\0\0")))
    if picture.icc:
        chunks.insert(1, (b"iCCP", b"ICC profile\0\0" + zlib.compress(picture.icc)))
    dpi = per_inch(picture)
    if dpi is not None:
        chunks.insert(1, (b"pHYs", struct.pack(">IIB", *(round(value / 0.0254) for value in dpi), 1)))
    png.write_chunks(file, chunks)


CODEC = Codec((MAGIC,), decode, (".png",), encode, ("uint8", "uint16"), alpha=True)
