"""Whether the bright places of a field of points are points: stars, or lamps and windows, which are wider."""

from __future__ import annotations

import math

import numpy as np
from scipy.ndimage import maximum_filter
from torch import Tensor

from pnpkit.psf.spread import fwhm
from pnpkit.restoration.defaults import POINT
from pnpkit.restoration.scale import FAR, LOOKED_AT, quantiles

BRIGHTEST = 40  # places that are looked at
SHARE = 0.25  # of them that are points at least, where it is a field of points
INEXACT = 0.2  # of the square of a width: what a point-spread function may be off


def are_points(y: Tensor, kernel: np.ndarray, unsure: Tensor | None = None) -> bool:
    """Whether ``SHARE`` of the bright places are no wider than points of ``POINT`` pixels that the kernel blurred.

    Squares of widths add: those of the bright places, less that of the kernel, are of the scene. A scene that is wider
    than a point would be undone to be too wide, with a kernel that leaves points their width.

    Args:
        y: (1, C, H, W), finite. kernel: (h, w). unsure: (1, C or 1, H, W), true where a reading saturates or is
            unknown, which makes what is around it wider than it is; or None.
    """
    plane = y[0].double().mean(0).cpu().numpy()
    width = math.prod(fwhm(np.pad(kernel, 3)))  # of the two sides, in pixels squared
    if not math.isfinite(width):
        return True
    half = math.ceil(1.5 * math.sqrt(width)) + 3
    low, usual, _ = quantiles(plane.reshape(-1)[:: max(1, plane.size // LOOKED_AT)])
    tops = (plane == maximum_filter(plane, 2 * half + 1)) & (plane > low + FAR * (usual - low))
    if unsure is not None:
        tops &= ~maximum_filter(unsure[0].any(0).cpu().numpy(), half)
    tops[:half], tops[-half:], tops[:, :half], tops[:, -half:] = False, False, False, False
    places = sorted(map(tuple, np.argwhere(tops)), key=lambda place: -plane[place])[:BRIGHTEST]
    middle = float(np.median(plane))
    cuts = [plane[i - half : i + half + 1, j - half : j + half + 1] - middle for i, j in places]
    squares = [math.prod(fwhm(cut)) - width for cut in cuts]
    return not squares or bool(np.quantile(squares, SHARE) <= max(POINT**2, INEXACT * width))
