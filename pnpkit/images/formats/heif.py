"""HEIC, read by pillow-heif, and AVIF, read by Pillow: the formats of photographs from telephones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from pnpkit.errors import InputError
from pnpkit.images.formats import pillow
from pnpkit.images.formats.codec import Codec
from pnpkit.images.picture import Stored

AVIF = (b"ftypavif", b"ftypavis")  # these start at the fifth byte
_BRANDS = (*AVIF, b"ftypheic", b"ftypheix", b"ftyphevc", b"ftypmif1", b"ftypmsf1")


EXTENSIONS = (".heic", ".heif", ".avif")


DENSEST = 1e6  # most pixels per byte: a flat picture is predicted from a corner


def is_heif(head: bytes) -> bool:
    """Whether a file begins like a HEIC or AVIF file."""
    return head[4:12] in _BRANDS


def decode(path: Path, head: bytes, most: int) -> Stored:
    """Decode 8 bits, or 16 if a HEIC has more than 8; grey or RGB, with or without alpha, upright.

    Raises:
        InputError: the library is missing. The message says what to do.
    """
    if head[4:12] in AVIF:
        try:
            from PIL.AvifImagePlugin import AvifImageFile
        except ImportError:  # before Pillow 11.3
            raise refusal(path, "AVIF", "install Pillow 11.3 or newer (pip install -U pillow)") from None
        return pillow.decode(path, AvifImageFile, most, DENSEST)
    try:
        import pillow_heif
    except ImportError:
        raise refusal(path, "HEIC", "install the extra (pip install 'pnpkit[heif]')") from None
    stored = pillow.decode(path, pillow_heif.HeifImageFile, most, DENSEST)
    deep = pillow_heif.open_heif(str(path), convert_hdr_to_8bit=False)
    return replace(stored, samples=np.asarray(deep)) if deep.mode.endswith(";16") else stored


def refusal(path: Path, what: str, advice: str) -> InputError:
    """Return the error for a missing library."""
    return InputError(
        f"{path}: expected an image, got a {what} file: {advice}, or convert it to PNG or JPEG (heif-convert, or "
        "'Most compatible' in the phone's camera settings)"
    )


CODEC = Codec((), decode, lossy=True)  # recognised by bytes that are not at the start of the file
