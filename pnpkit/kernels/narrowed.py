r"""A narrower blur, for a restoration in which points keep a given width.

    k = argmin_{k' >= 0} || g * k' - kernel ||,    g a Gaussian of the given width

A point between two pixels cannot be shown on the grid with a width of one pixel, but it can be shown with a larger
width (Magain, Courbin & Sohy, Astrophysical Journal 494 (1998) 472). If y = kernel * scene, then k blurs g * scene
into y.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.fft import irfft2, next_fast_len, rfft2

STEPS = 500  # accelerated projected gradient steps


def narrowed(kernel: np.ndarray, fwhm: float) -> tuple[np.ndarray, float]:
    """Return k with sum 1, and the largest value of |g * k - kernel| relative to the peak of the kernel.

    Args:
        kernel: (h, w), odd sizes, not negative, sum 1.
        fwhm: > 0, full width at half the maximum of g, in pixels.
    """
    sigma = fwhm / math.sqrt(8 * math.log(2))
    shape = tuple(next_fast_len(n + 2 * math.ceil(4 * sigma), real=True) for n in kernel.shape)
    down, across = np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])[None]
    g = np.exp(-2 * (math.pi * sigma) ** 2 * (down**2 + across**2))  # at most 1, so steps of 1 are short enough
    h, w = kernel.shape
    whole = g * rfft2(kernel, shape)

    def correlated(spectrum: np.ndarray) -> np.ndarray:
        return np.asarray(irfft2(spectrum, shape)[:h, :w])

    k = u = kernel
    momentum = 1.0
    for _ in range(STEPS):
        new = np.maximum(u - correlated(g * g * rfft2(u, shape) - whole), 0)
        after = (1 + math.sqrt(1 + 4 * momentum**2)) / 2
        k, u, momentum = new, new + (momentum - 1) / after * (new - k), after
    misfit = float(np.abs(correlated(g * rfft2(k, shape)) - kernel).max() / kernel.max())
    return k / k.sum(), misfit
