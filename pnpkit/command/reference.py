"""The reference picture of ``--reference``: its frame and its units."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pnpkit.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from pnpkit.images.picture import Picture


APART = 100.0  # factor between the ranges of two float files from which on they are in different units


UNIT = 2.0  # floats up to here are taken as on the 0..1 scale, which noise leaves; larger ones as counts, like integers


def sharp(name: str, picture: Picture, factor: int = 1) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]:
    """The reference's pixels, and the map of the picture's pixels to their scale.

    A reference larger than the picture is cut to its centre: `pnpkit blur` keeps only the valid part.

    Args:
        name: of the reference. factor: the result is so many times as large as the picture.

    Raises:
        InputError: another frame, or float files in different units.
    """
    from pnpkit.images import files
    from pnpkit.images.pixels import FRACTIONS

    stored, size = files.read(Path(name)), picture.pixels.shape
    scene = stored.pixels
    size = (factor * size[0], factor * size[1], *size[2:])
    margins = [scene.shape[axis] - size[axis] for axis in (0, 1)]
    if scene.ndim != len(size) or any(margin < 0 or margin % 2 for margin in margins):
        found, wanted = (framed(shape) for shape in (scene.shape, size))
        raise InputError(f"{name}: the reference is {found}, the result {wanted}: not the same frame")
    spans = [p.high - p.low for p in (picture, stored) if p.dtype.name not in FRACTIONS]
    if len(spans) == 2 and max(spans) > APART * min(spans) > 0:
        ranges = [f"{p.low:.4g} to {p.high:.4g}" for p in (stored, picture)]
        raise InputError(
            f"{name}: the reference goes from {ranges[0]}, the picture from {ranges[1]}: not the same units"
        )
    rows, columns = (margin // 2 for margin in margins)
    return scene[rows : rows + size[0], columns : columns + size[1]], same_units(picture, stored)


def framed(shape: tuple[int, ...]) -> str:
    """The size of a picture in words, as in "40 x 35 pixels, colour"."""
    return f"{shape[1]} x {shape[0]} pixels, {'grey' if len(shape) == 2 else 'colour'}"


def same_units(picture: Picture, reference: Picture) -> Callable[[np.ndarray], np.ndarray]:
    """The map from the picture's 0..1 scale to the reference's: floats beyond 0..1 were stretched by their own range.

    Integers count as fractions of the largest that their type holds, but by their values where the other file holds
    floats beyond ``UNIT``.
    """
    import numpy as np

    from pnpkit.images.pixels import FRACTIONS

    floats = [p for p in (picture, reference) if p.dtype.name not in FRACTIONS]
    stored = any(max(abs(p.low), abs(p.high)) > UNIT for p in floats)

    def range_of(p: Picture) -> tuple[float, float]:
        if p.dtype.name not in FRACTIONS or stored:
            return (p.low, p.high - p.low or 1.0)
        return (0.0, p.high / np.iinfo(p.dtype).max)

    (low, span), (zero, unit) = range_of(picture), range_of(reference)
    return lambda pixels: (low - zero + pixels * span) / unit
