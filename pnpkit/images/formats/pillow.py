"""Functions shared by the formats that Pillow reads and writes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image
from PIL.ImageFile import ImageFile

from pnpkit.images.picture import DENSEST, INCH, ORIENTATION, Picture, Stored, check_header, per_inch, raw_exif

Opener = Callable[[Path], ImageFile]  # a class of Pillow, not Image.open: that enforces its own pixel limit, a global
# setting, and treats a phone's JPEG with an embedded preview as an animation


_CONVERTED = {  # Pillow's mode -> the mode to convert to and the note
    "1": ("L", "1 bit converted to 8 bit grey"),
    "P": ("RGB", "palette converted to RGB"),
    "CMYK": ("RGB", "CMYK converted to RGB without its colour profile"),
}


def decode(path: Path, opener: Opener, most: int, densest: float = DENSEST) -> Stored:
    """Decode a file at 8 bits a sample, or at 16 if it is grey without transparency.

    ``densest`` is as in ``images.picture.check_header``.
    """
    with opener(path) as image:
        check_header(path, image.width, image.height, most, getattr(image, "n_frames", 1), densest)
        image.load()
        return stored(image, converted(image))


def converted(image: Image.Image) -> np.ndarray:
    """Return the samples as grey or RGB, with alpha if something is transparent."""
    mode = _CONVERTED.get(image.mode, (image.mode, ""))[0]
    transparent = image.has_transparency_data and mode in ("L", "RGB")
    return np.asarray(image.convert(mode + "A" if transparent else mode))


def stored(image: ImageFile, samples: np.ndarray) -> Stored:
    """Return the samples with the metadata of the image that they come from."""
    notes: tuple[str, ...] = (_CONVERTED.get(image.mode, ("", ""))[1],)
    try:
        tags = image.getexif()
        orientation, exif = tags.pop(ORIENTATION, 1), raw_exif(tags)
    except Exception:  # damaged metadata must not cost the picture
        orientation, exif, notes = 1, None, (*notes, "damaged EXIF left out")
    dpi = image.info.get("dpi")
    return Stored(
        samples,
        kind=image.mode,
        notes=notes,
        orientation=orientation,
        icc=None if image.mode == "CMYK" else image.info.get("icc_profile"),
        exif=exif,
        density=None if dpi is None else [(value, 1) for value in dpi],
        unit=INCH,
    )


def encode(file: BinaryIO, samples: np.ndarray, picture: Picture, form: str, **options: Any) -> None:
    """Write the samples with the metadata that the format can hold."""
    metadata = {"exif": picture.exif, "icc_profile": picture.icc, "dpi": per_inch(picture)}
    Image.fromarray(samples).save(file, form, **options, **{key: data for key, data in metadata.items() if data})
