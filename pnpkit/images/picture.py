"""Pictures in memory: pixels on the 0..1 scale, with the metadata of the file."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pnpkit.errors import InputError
from pnpkit.images import address
from pnpkit.images.pixels import FRACTIONS, check_holes, check_pixels, covered, nearest, scale_of

SMALL, DENSEST = 4_000_000, 1e5  # pixels any file may claim; most pixels per byte: a white row of group 4 takes one bit
MAX_PIXELS = 500_000_000  # a file whose header claims more is refused before anything is decoded


_TURNED = (5, 6, 7, 8)  # orientations that exchange rows and columns


ORIENTATION = 0x0112  # the tag of EXIF and of TIFF


TEXTS = (271, 272, 306, 315, 33432)  # tags of EXIF and of TIFF: maker, model, date and time, artist, copyright


_NO_UNIT, INCH, _CENTIMETRE = 1, 2, 3  # units of TIFF


_DENSEST = 65535  # pixels per inch that every format can hold


@dataclass(frozen=True)
class Packing:
    """How a FITS stores values as integers: value = zero + scale * integer. ``blank`` stands for NaN, if it is used."""

    dtype: str
    scale: float
    zero: float
    blank: int | None = None


@dataclass(frozen=True, eq=False)
class Picture:
    """An image with all that is needed to write it back in its original form.

    A value in the file is low + pixels * (high - low).

    Attributes:
        pixels: float32 or float64, (H, W) or (H, W, 3), without alpha; on the 0..1 scale, or beyond it if a white was
            given.
        alpha: (H, W), the file's own values, or None.
        dtype: dtype of the file, one of ``pixels.TYPES``.
        low, high: the values in the file that correspond to 0 and 1.
        notes: sentences on what was changed by reading.
        exif, icc: raw bytes or None.
        compression: root mean square error of the pixels, estimated from a JPEG's tables, on the scale of ``pixels``; 0
            for all other formats.
        density: pixels per unit across and down, and the unit as TIFF numbers it (1 none, 2 inch, 3 centimetre), or
            None.
        description: the text of a TIFF, e.g. the unit of ImageJ's scale.
        holes: (H, W) booleans, true where the file was not read, or None.
        weights: (H, W) or (H, W, 3), inverse variances of ``pixels`` that came beside the file, or None.
        relative: whether the weights are known only up to a factor.
        planar: whether a TIFF stores its colours one after the other.
        cards: headers of a FITS, that of the file and that of the image, as text; or none.
        packed: how a FITS stores its numbers as integers; None if it stores them as they are.
        moved: changes of the frame since it was read: (factor, rows cut, columns cut), in pixels of the file.
        history: sentences on what was done to the image, for formats that keep them.
    """

    pixels: np.ndarray
    alpha: np.ndarray | None = None
    dtype: np.dtype[Any] = np.dtype(np.uint8)
    low: float = 0.0
    high: float = 255.0
    notes: tuple[str, ...] = ()
    exif: bytes | None = None
    icc: bytes | None = None
    compression: float = 0.0
    density: tuple[float, float, int] | None = None
    description: str = ""
    holes: np.ndarray | None = None
    weights: np.ndarray | None = None
    relative: bool = True
    planar: bool = False
    cards: tuple[str, ...] = ()
    packed: Packing | None = None
    moved: tuple[int, int, int] = (1, 0, 0)
    history: tuple[str, ...] = ()


def seen(picture: Picture) -> Picture:
    """Replace the colour under full transparency by that of the nearest visible pixel.

    The colour that alpha hides is unknown. The stored colour, often black, must not leak into the visible part.
    """
    if picture.alpha is None:
        return picture
    hidden = picture.alpha == 0
    if not hidden.any() or hidden.all():
        return picture
    rows, columns = nearest(hidden)
    return replace(picture, pixels=picture.pixels[rows, columns])


def with_pixels(picture: Picture, pixels: np.ndarray, factor: int = 1) -> Picture:
    """Return the picture with other pixels, ``factor`` times as dense.

    Alpha is adapted. If there are fewer pixels, as in the valid part of a convolution, its middle is kept. If the
    pixels are denser, each takes the nearest sample.
    """
    if picture.density is not None:
        across, down, unit = picture.density
        picture = replace(picture, density=(factor * across, factor * down, unit))
    if pixels.shape[:2] != picture.pixels.shape[:2]:
        lines = picture.description.splitlines() if picture.description.startswith("ImageJ=") else ()
        units = [line for line in lines if line.startswith(("ImageJ=", "unit="))]  # other lines may give the old size
        top, left = (max(0, (picture.pixels.shape[axis] - pixels.shape[axis] // factor) // 2) for axis in (0, 1))
        _, down, right = picture.moved  # what was cut before
        picture = replace(picture, description="\n".join(units), moved=(factor, down + top, right + left))
    if picture.alpha is None:
        return replace(picture, pixels=pixels)
    sizes = list(zip(pixels.shape[:2], picture.alpha.shape, strict=True))
    if any(n > factor * old for n, old in sizes):
        raise InputError(f"expected at most {factor} times the pixels of alpha {picture.alpha.shape}, got {sizes}")
    rows, columns = (np.arange(n) // factor + (old - n // factor) // 2 for n, old in sizes)
    return replace(picture, pixels=pixels, alpha=picture.alpha[np.ix_(rows, columns)])


def as_floats(picture: Picture) -> Picture:
    """Return the picture as float32 in the units of its file. Alpha becomes a fraction of its largest value."""
    alpha = picture.alpha
    if alpha is not None and alpha.dtype.kind in "iu":
        alpha = (alpha / np.iinfo(alpha.dtype).max).astype(np.float32)
    return replace(picture, dtype=np.dtype(np.float32), packed=None, alpha=alpha)


def check_header(path: Path, width: int, height: int, most: int, frames: int = 1, densest: float = DENSEST) -> None:
    """Raise InputError if a header claims no pixels, too many pixels, or several frames.

    Too many are more than ``most``, or more than the size of the file can hold at ``densest`` pixels per byte.
    """
    if width < 1 or height < 1:
        raise InputError(f"{path}: expected an image with pixels in it, got {width} x {height}: get the file again")
    if width * height > most:
        raise InputError(f"{path}: expected at most {most} pixels, got {width} x {height}: crop or shrink it")
    size = address.file_of(path).stat().st_size
    if width * height > max(SMALL, densest * size):
        raise InputError(
            f"{path}: expected a whole image, got {width} x {height} pixels in {size} bytes: get the file again"
        )
    if frames != 1:
        raise InputError(f"{path}: expected a still image, got {frames} frames: extract the one to use")


def raw_exif(tags: Image.Exif) -> bytes | None:
    """Return the original bytes of EXIF. Pillow reads its text as Latin 1 and would write it as ASCII."""
    tags.update({code: text.encode("latin-1", "replace") for code, text in tags.items() if isinstance(text, str)})
    return tags.tobytes() if len(tags) else None


@dataclass(frozen=True, eq=False)
class Stored:
    """The content of a file, as its codec decodes it.

    Attributes:
        samples: (H, W) or (H, W, channels), alpha last if there are 2 or 4 channels, in native byte order.
        kind: how the colours are stored, in the term of the format, such as P of Pillow or MINISWHITE of TIFF.
        notes: sentences on what decoding changed; empty ones are dropped.
        orientation: the number that EXIF uses.
        icc, exif, description, planar, cards, packed: see ``Picture``.
        compression: root mean square error of a JPEG, as a share of the largest value of the type.
        density: pixels per unit across and down, each a fraction (numerator, denominator); None or invalid if unknown.
        unit: the number that TIFF uses.
        title: the name of the image in the file.
    """

    samples: np.ndarray
    kind: str = ""
    notes: tuple[str, ...] = ()
    orientation: int = 1
    icc: bytes | None = None
    exif: bytes | None = None
    compression: float = 0.0
    density: Any = None
    unit: Any = INCH
    description: str = ""
    planar: bool = False
    cards: tuple[str, ...] = ()
    packed: Packing | None = None
    title: str = ""


def upright(stored: Stored) -> np.ndarray:
    """Return the samples in the orientation that EXIF gives."""
    samples = stored.samples
    if stored.orientation in _TURNED:
        samples = samples.swapaxes(0, 1)
    if stored.orientation in (2, 3, 6, 7):
        samples = samples[:, ::-1]
    return samples[::-1] if stored.orientation in (3, 4, 7, 8) else samples


def developed(
    where: str,
    stored: Stored,
    holes: np.ndarray | None = None,
    white: float | None = None,
    black: float | None = None,
    unknown: bool = False,
) -> Picture:
    """Make a picture from the content of a file: upright, with alpha split off and values mapped to 0..1.

    ``where`` begins every message. The other arguments are as in ``images.files.read``.
    """
    samples, notes = upright(stored), stored.notes
    if stored.orientation in range(2, 9):
        notes += ("EXIF orientation applied",)
    samples = np.atleast_3d(samples)
    channels, dtype = samples.shape[2], samples.dtype
    colours = samples[..., :3] if channels > 2 else samples[..., 0]
    alpha = samples[..., -1].copy() if channels in (2, 4) else None
    if holes is not None:
        check_holes(where, holes, colours.shape[:2])
    if unknown and dtype.kind == "f" and np.isnan(colours).any():
        nowhere = np.isnan(np.atleast_3d(colours)).any(-1)
        marked = nowhere if holes is None else holes | nowhere
        added = int(np.count_nonzero(marked)) - (0 if holes is None else int(np.count_nonzero(holes)))
        notes += (f"{added} pixels are NaN, and so unknown",) if added else ()
        holes = marked
    if holes is not None:
        colours = covered(colours, holes)
    check_pixels(where, colours)
    low, high, note = scale_of(where, colours, white, black)
    fraction = dtype.name in FRACTIONS
    single = fraction or (dtype != np.float64 and (low, high) == (0, 1))
    top = float(np.iinfo(dtype).max) if fraction else 1.0
    return Picture(
        pixels=(colours.astype(np.float32 if single else np.float64, order="C") - low) / (high - low or 1.0),
        alpha=alpha,
        dtype=dtype,
        low=low,
        high=high,
        notes=tuple(filter(None, (*notes, note))),
        exif=stored.exif,
        icc=stored.icc,
        compression=stored.compression * top / high if stored.compression else 0.0,
        density=density_of(stored),
        description=stored.description,
        holes=holes,
        planar=stored.planar,
        cards=stored.cards,
        packed=stored.packed,
    )


def density_of(stored: Stored) -> tuple[float, float, int] | None:
    """Return pixels per unit across and down, in the orientation of the picture, and the unit; None if invalid."""
    try:
        across, down = (float(top / bottom) for top, bottom in stored.density)
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):  # invalid tags must not prevent reading
        return None
    if not (0 < across < math.inf and 0 < down < math.inf and stored.unit in (_NO_UNIT, INCH, _CENTIMETRE)):
        return None
    return (down, across, stored.unit) if stored.orientation in _TURNED else (across, down, stored.unit)


def per_inch(picture: Picture) -> tuple[float, float] | None:
    """Return pixels per inch across and down; None if they are unknown or a format cannot hold them."""
    across, down, unit = picture.density or (0.0, 0.0, _NO_UNIT)
    scale = {INCH: 1.0, _CENTIMETRE: 2.54}.get(unit)
    return None if scale is None or scale * max(across, down) > _DENSEST else (scale * across, scale * down)


def texts(exif: bytes | None) -> list[tuple[int, bytes]]:
    """Return the texts of EXIF that TIFF has tags for, byte for byte, since cameras write other alphabets as UTF-8."""
    tags = Image.Exif()
    tags.load(exif or b"")
    return [(code, str(tags[code]).encode("latin-1", "replace")) for code in TEXTS if code in tags]
