"""The class of a point-spread function with its sampling, and functions to clean, trim, resample and measure it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pnpkit import kernels
from pnpkit.errors import InputError

CENTRES = ("peak", "centroid")
CORE = 0.3  # the centroid is computed from the samples brighter than this share of the peak
FINE = 100  # points per sample at which a width is read off


@dataclass(frozen=True, eq=False)
class Spread:
    """A point-spread function with its sampling.

    Attributes:
        values: float64 (h, w) or (d, h, w), odd sizes, not negative, sum 1, centre at half the sizes.
        step: distance between two samples along each axis.
        unit: unit of the steps, or "px".
        notes: sentences on the origin of the values and on what was done to them.
    """

    values: np.ndarray
    step: tuple[float, ...]
    unit: str = "px"
    notes: tuple[str, ...] = ()

    def widths(self) -> tuple[float, ...]:
        """Full width at half the maximum along each axis, in ``unit``."""
        return tuple(width * step for width, step in zip(fwhm(self.values), self.step, strict=True))

    def describe(self) -> str:
        """Return the size and the widths as a sentence."""
        names = ("z", "y", "x")[-self.values.ndim :]
        widths = ", ".join(f"{name} {width:.3g}" for name, width in zip(names, self.widths(), strict=True))
        return f"{'x'.join(map(str, self.values.shape))}, full width at half the maximum: {widths} {self.unit}"


def fwhm(values: np.ndarray) -> tuple[float, ...]:
    """Return the full width at half the maximum along each axis, in samples.

    It is the width of the cubic spline through the samples on the line through the peak, or inf if the spline does not
    fall to half the maximum.
    """
    peak = np.unravel_index(int(values.argmax()), values.shape)
    widths = []
    for axis, at in enumerate(peak):
        line = values[tuple(slice(None) if other == axis else peak[other] for other in range(values.ndim))]
        widths.append(_width(np.asarray(line, dtype=np.float64), int(at)))
    return tuple(widths)


def _width(line: np.ndarray, at: int) -> float:
    from scipy.interpolate import CubicSpline

    if len(line) < 4:
        return float("inf")
    fine = np.linspace(0, len(line) - 1, FINE * (len(line) - 1) + 1)
    values = CubicSpline(np.arange(len(line)), line)(fine)
    near = slice(max(0, FINE * (at - 1)), FINE * (at + 1) + 1)
    top = near.start + int(values[near].argmax())
    below = np.flatnonzero(values < values[top] / 2)
    left, right = below[below < top], below[below > top]
    return float(fine[right[0]] - fine[left[-1]]) if len(left) and len(right) else float("inf")


def cleaned(values: np.ndarray, centre: str = "peak", background: float | None = None) -> tuple[np.ndarray, list[str]]:
    """Clean a measured point-spread function and return it with notes on what was done.

    The background is subtracted, the array is cut so that the peak or the centroid is in the middle, negative values
    are set to 0, and the sum becomes 1.

    Args:
        values: (h, w) or (d, h, w), a measurement of one point.
        centre: one of CENTRES. The sample nearest to it becomes the middle.
        background: value to subtract; None uses the median of the rim.

    Raises:
        InputError: the centre is unknown, or nothing is above the background.
    """
    if centre not in CENTRES:
        raise InputError(f"a centre is {' or '.join(CENTRES)}, got '{centre}'")
    values = np.asarray(values, dtype=np.float64).squeeze()
    if values.ndim not in (2, 3) or not np.isfinite(values).all():
        raise InputError(f"a point-spread function is finite, (h, w) or (d, h, w), got {values.shape}")
    level = float(np.median(rim(values))) if background is None else float(background)
    share = level / float(values.max() or 1.0)
    above = values - level
    if not above.max() > 0:
        raise InputError("there is nothing above the background: choose another place or background")
    weights = np.where(above > CORE * above.max(), above, 0.0) if centre == "centroid" else above
    if centre == "centroid":
        from scipy.ndimage import center_of_mass

        found = tuple(int(round(c)) for c in center_of_mass(weights))
    else:
        found = tuple(int(i) for i in np.unravel_index(int(above.argmax()), above.shape))
    reach = [min(at, size - 1 - at) for at, size in zip(found, above.shape, strict=True)]
    cut = above[tuple(slice(at - r, at + r + 1) for at, r in zip(found, reach, strict=True))]
    notes = [
        f"centred on its {centre}, sample {found} of what came",
        f"a background of {level:.6g}, {share:.2%} of the peak, was subtracted",
    ]
    return kernels.normalise(np.maximum(cut, 0)), notes


def rim(values: np.ndarray) -> np.ndarray:
    """Return the outermost samples."""
    inside = np.zeros(values.shape, dtype=bool)
    inside[tuple(slice(1, -1) if size > 2 else slice(None) for size in values.shape)] = True
    return values[~inside] if not inside.all() else values.ravel()


def trimmed(values: np.ndarray, share: float = 1e-3) -> np.ndarray:
    """Cut evenly around the middle along each axis, so that the removed slabs hold at most ``share`` of the sum."""
    total = values.sum()
    for axis in range(values.ndim):
        profile = values.sum(tuple(other for other in range(values.ndim) if other != axis))
        middle = len(profile) // 2
        shells = profile[middle:] + profile[middle::-1]
        shells[0] /= 2
        outside = np.cumsum(shells[::-1])[::-1]  # the sum of what lies at r or further out
        reach = int(np.flatnonzero(outside > share * total)[-1])
        values = np.take(values, range(middle - reach, middle + reach + 1), axis)
    return kernels.normalise(values)


def resampled(spread: Spread, step: tuple[float, ...]) -> Spread:
    """Resample a point-spread function to another grid by linear interpolation.

    In rows and columns the values are means over the new pixel; slices are sampled at their middle.

    Raises:
        InputError: a step is not positive, or there is not one step for each axis.
    """
    if len(step) != spread.values.ndim or not all(s > 0 for s in step):
        raise InputError(f"expected {spread.values.ndim} steps above 0, got {step}")
    if np.allclose(step, spread.step, rtol=0.01):
        return spread
    from scipy.ndimage import map_coordinates

    ratios = [new / old for new, old in zip(step, spread.step, strict=True)]
    total, count = 0.0, 0
    reach = [max(0, int((size // 2) / ratio)) for size, ratio in zip(spread.values.shape, ratios, strict=True)]
    inner = [
        (np.arange(n) + 0.5) / n - 0.5 if axis >= len(ratios) - 2 else np.zeros(1)
        for axis, n in enumerate(max(1, int(np.ceil(ratio))) | 1 for ratio in ratios)
    ]
    grids = [np.arange(-r, r + 1) for r in reach]
    for offsets in np.ndindex(*(len(points) for points in inner)):
        lines = [
            (grid + points[i]) * ratio + size // 2
            for grid, points, i, ratio, size in zip(grids, inner, offsets, ratios, spread.values.shape, strict=True)
        ]
        total = total + map_coordinates(spread.values, np.meshgrid(*lines, indexing="ij"), order=1, mode="constant")
        count += 1
    values = kernels.normalise(np.maximum(total / count, 0))
    told = f"resampled from steps of {_listed(spread.step)} to {_listed(step)} {spread.unit}"
    return Spread(values, tuple(step), spread.unit, (*spread.notes, told))


def _listed(step: tuple[float, ...]) -> str:
    return " x ".join(f"{s:.4g}" for s in step)
