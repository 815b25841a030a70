"""Checks of a measured kernel for a shift or a background."""

from __future__ import annotations

import numpy as np

SHIFTED, BACKGROUND = 1.0, 0.01  # limits that raise a doubt: px off the middle; least value of the rim over the peak


FLAT = 0.9  # a kernel is a box if its least value over its peak is at least this


def doubts(kernel: np.ndarray) -> str:
    """Say what may be wrong with a measured kernel: a shifted centre, or a background; empty if nothing is.

    A kernel of camera shake may lie anywhere. But a point source that is cut out again has its centre of mass at
    (h // 2, w // 2).
    """
    from scipy.ndimage import center_of_mass

    if kernel.ndim == 3:
        return doubts_of_volume(kernel)
    down, right = (at - size // 2 for at, size in zip(center_of_mass(kernel), kernel.shape, strict=True))
    found = []
    if max(abs(down), abs(right)) >= SHIFTED:
        found.append(
            f"its centre of mass is {down:+.1f} px down, {right:+.1f} px right of its middle, which moves the result"
        )
    rim = np.ones(kernel.shape, dtype=bool)
    rim[1:-1, 1:-1] = False
    flat = kernel.min() >= FLAT * kernel.max()  # a box: its rim is as bright as its middle
    if min(kernel.shape) >= 5 and not flat and kernel[rim].min() >= BACKGROUND * kernel.max():
        share = float(kernel[rim].sum())
        found.append(f"{share:.0%} of it lies on its rim, which is nowhere dark: if that is a background, subtract it")
    return "; ".join(found)


def doubts_of_volume(kernel: np.ndarray) -> str:
    """Do what ``doubts`` does for a point-spread function (d, h, w): check the place of its peak, and its rim."""
    peak = np.unravel_index(int(kernel.argmax()), kernel.shape)
    shift = [int(at) - size // 2 for at, size in zip(peak, kernel.shape, strict=True)]
    found = []
    if max(map(abs, shift)) > SHIFTED:  # more than one sample, since the middle may be the centroid
        found.append(f"its peak is {shift[0]:+d} slices, {shift[1]:+d} px down, {shift[2]:+d} px right of its middle")
    inner = kernel[tuple(slice(1, -1) if size > 2 else slice(None) for size in kernel.shape)]
    rim = (kernel.sum() - inner.sum()) / (kernel.size - inner.size)
    if min(kernel.shape) >= 5 and rim >= BACKGROUND * kernel.max():
        found.append(
            f"its rim has {rim / kernel.max():.1%} of the peak, as a floor {rim * kernel.size:.0%} of all: "
            "if that is a background, subtract it (pnpkit psf measured)"
        )
    return "; ".join(found)
