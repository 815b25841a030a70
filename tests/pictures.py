"""Pictures for the tests of files: of every type, put together by hand, and how a refusal must look."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import ImageCms

from pnpkit.errors import InputError
from pnpkit.images import files
from pnpkit.images.picture import Picture

ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def random_picture(dtype: str, channels: int, with_alpha: bool, shape: tuple[int, int] = (11, 14)) -> Picture:
    """Every pixel on a value that the dtype can hold, both ends of the range included."""
    rng = np.random.default_rng(7)
    size = shape if channels == 1 else (*shape, 3)
    if dtype.startswith("uint"):
        high = float(np.iinfo(dtype).max)
        single = np.float64 if dtype == "uint32" else np.float32
        pixels = (rng.integers(0, int(high), size, endpoint=True) / high).astype(single)
        alpha = rng.integers(0, int(high), shape, endpoint=True).astype(dtype)
    elif dtype.startswith("int"):
        high = float(np.iinfo(dtype).max)
        pixels = rng.integers(-int(high), int(high), size, endpoint=True) / high
        alpha = rng.integers(0, int(high), shape, endpoint=True).astype(dtype)
        pixels.flat[2] = -1
    else:
        high = 1.0
        pixels, alpha = rng.random(size).astype(dtype), rng.random(shape).astype(dtype)
    pixels.flat[0], pixels.flat[1] = 0, 1
    alpha.flat[5] = 0  # colours under full transparency must survive too
    return Picture(pixels, alpha if with_alpha else None, np.dtype(dtype), 0.0, high)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_bytes(samples: np.ndarray, colour_type: int, depth: int, extra: bytes = b"", size: Any = None) -> bytes:
    """A PNG put together by hand from the specification, independent of the code under test."""
    height, width = size or samples.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2" if depth == 16 else "u1").tobytes() for row in samples)
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    body = extra + chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body + chunk(b"IEND", b"")


def refused(path: Path, *words: str, action: Callable[[], object] | None = None) -> str:
    """The action raises InputError: one line, with the path and the words."""
    with pytest.raises(InputError) as caught:
        (action or (lambda: files.read(path)))()
    message = str(caught.value)
    assert "\n" not in message
    for word in (str(path), *words):
        assert word in message
    return message
