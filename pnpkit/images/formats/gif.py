"""GIF of one frame, for reading only."""

from __future__ import annotations

from pathlib import Path

from PIL.GifImagePlugin import GifImageFile

from pnpkit.images.formats import pillow
from pnpkit.images.formats.codec import Codec
from pnpkit.images.picture import Stored


def decode(path: Path, head: bytes, most: int) -> Stored:
    """Decode 8 bits. The palette is converted to RGB."""
    return pillow.decode(path, GifImageFile, most, densest=1500)  # 4096 codes of 12 bits, each longer by one


CODEC = Codec((b"GIF8",), decode)
