"""The point-spread function of a microscope, measured from beads in a stack."""

from __future__ import annotations

import numpy as np

from pnpkit.errors import InputError
from pnpkit.psf.spread import CORE, Spread, cleaned, fwhm

SMOOTHED = 1.0  # sigma in samples of the Gaussian that is applied before the search for peaks
BRIGHT = 0.25  # least brightness of a bead, relative to the brightest peak
SIGMAS = 8.0  # least height of a bead above the background, in standard deviations of the background
LIKE = 0.5  # least correlation of a bead with the median of all beads
MOST_BEADS = 100


def beads(stack: np.ndarray, step: tuple[float, ...] = (), unit: str = "px", size: tuple[int, ...] = ()) -> Spread:
    """Return the mean of isolated beads. Each bead is centred by subpixel shifts and divided by its total light.

    Beads are peaks of the smoothed stack that are far above the background, and far from each other and from the sides.
    Beads that saturate or do not look like the median of all are left out.

    Args:
        stack: (D, H, W), or (H, W) for one plane.
        step: sampling along each axis, in ``unit``.
        unit: the unit of ``step``.
        size: samples of the result along each axis; () uses six widths of the brightest bead.

    Raises:
        InputError: no bead stands alone.
    """
    data = np.asarray(stack, dtype=np.float64)
    if data.ndim not in (2, 3) or not np.isfinite(data).all():
        raise InputError(f"expected a finite stack (D, H, W) or picture (H, W), got {data.shape}")
    level, noise = background(data)
    peaks, smooth = found_peaks(data, level, noise)
    if not len(peaks):
        raise InputError("no bead rises above the background: give the stack that shows the beads")
    reach = tuple(s // 2 for s in size) if size else reach_of(smooth - level, tuple(peaks[0]))
    alone = isolated(peaks, reach, data.shape)
    top = float(data.max())
    integers = stack.dtype.kind in "iu"
    full = integers and top == np.iinfo(stack.dtype).max
    cuts = [(around(data, peak, reach), peak) for peak in alone]
    kept = [own(cut, peak, peaks) for cut, peak in cuts if not (full and (cut == top).sum() > 1)]
    if not kept:
        raise InputError(
            f"none of {len(peaks)} beads stands alone, unsaturated, {reach} samples from the sides: "
            "give a smaller `size`"
        )
    aligned = [moved(cut) for cut in kept]
    middle = np.median(aligned, axis=0)
    same = [cut for cut in aligned if np.corrcoef(cut.ravel(), middle.ravel())[0, 1] >= LIKE] or aligned
    values, notes = cleaned(np.mean(same, axis=0), "centroid")
    told = f"mean of {len(same)} beads of {len(peaks)} found, each moved to its centroid"
    return Spread(values, step or (1.0,) * data.ndim, unit if step else "px", (told, *notes))


def background(data: np.ndarray) -> tuple[float, float]:
    """Return the median, and a robust standard deviation of the values below it."""
    level = float(np.median(data))
    below = data[data < level]
    spread = float(np.sqrt(np.mean((below - level) ** 2))) if below.size > 100 else 0.0
    return level, max(spread, 1.4826 * float(np.median(np.abs(data - level))), 1e-3 * float(np.ptp(data)))


def found_peaks(data: np.ndarray, level: float, noise: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the peaks of the smoothed data, brightest first, (n, dimensions), and the smoothed data."""
    from scipy.ndimage import gaussian_filter
    from skimage.feature import peak_local_max

    smooth = gaussian_filter(data, SMOOTHED)
    least = max(level + SIGMAS * noise / 4, level + BRIGHT * (float(smooth.max()) - level))
    peaks = peak_local_max(smooth, min_distance=3, threshold_abs=least, exclude_border=False, num_peaks=MOST_BEADS)
    return np.asarray(peaks), smooth


def reach_of(above: np.ndarray, peak: tuple[int, ...]) -> tuple[int, ...]:
    """Return three widths of the bead along each axis: at least 4 samples, and inside the stack."""
    shape = above.shape
    local = np.zeros(shape)
    near = tuple(slice(max(0, p - 30), p + 31) for p in peak)
    local[near] = above[near]
    widths = fwhm(local)
    return tuple(
        int(min(max(4, np.ceil(3 * (w if np.isfinite(w) else n / 6))), (n - 1) // 2))
        for w, n in zip(widths, shape, strict=True)
    )


def isolated(peaks: np.ndarray, reach: tuple[int, ...], shape: tuple[int, ...]) -> list[np.ndarray]:
    """Return the peaks with enough room around them and no other peak in it.

    In depth, where light spreads far, less room is enough.
    """
    alone = []
    for i, peak in enumerate(peaks):
        inside = all(r <= p < n - r for p, r, n in zip(peak, reach, shape, strict=True))
        others = np.delete(peaks, i, axis=0)
        free = not any(all(abs(q - p) <= r for p, q, r in zip(peak, other, reach, strict=True)) for other in others)
        if inside and free:
            alone.append(peak)
    return alone


def around(data: np.ndarray, peak: np.ndarray, reach: tuple[int, ...]) -> np.ndarray:
    """Return a copy of the samples around a peak."""
    return data[tuple(slice(p - r, p + r + 1) for p, r in zip(peak, reach, strict=True))].copy()


def own(cut: np.ndarray, peak: np.ndarray, peaks: np.ndarray) -> np.ndarray:
    """Return the cut around a peak, without its background and without samples nearer, across, to another peak."""
    clear = cut - rim_level(cut)
    rows, columns = (np.arange(n) - n // 2 + p for n, p in zip(cut.shape[-2:], peak[-2:], strict=True))
    to_own, *to_others = (
        (rows[:, None] - y) ** 2 + (columns - x) ** 2
        for y, x in [peak[-2:], *(p[-2:] for p in peaks if tuple(p) != tuple(peak))]
    )
    foreign = np.any([to_own > other for other in to_others], axis=0) if to_others else np.zeros(1, bool)
    return np.where(foreign, 0.0, clear)


def rim_level(cut: np.ndarray) -> float:
    """Return the background around one bead: the median of its outermost samples."""
    from pnpkit.psf.spread import rim

    return float(np.median(rim(cut)))


def moved(cut: np.ndarray) -> np.ndarray:
    """Shift a bead by cubic splines so that its centroid is in the middle, and divide it by its sum."""
    from scipy.ndimage import center_of_mass, shift

    core = np.where(cut > CORE * cut.max(), cut, 0.0)
    offset = [n // 2 - c for n, c in zip(cut.shape, center_of_mass(core), strict=True)]
    placed = shift(cut, offset, order=3, mode="nearest")
    return placed / float(placed[placed > 0].sum())
