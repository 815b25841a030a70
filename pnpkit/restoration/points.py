"""Fields of points: whether bright places are points or wider, as lamps and windows are; and the sky behind them."""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.ndimage import maximum_filter, minimum_filter
from torch import Tensor

from pnpkit.psf.spread import fwhm
from pnpkit.restoration.defaults import POINT
from pnpkit.restoration.scale import FAR, LOOKED_AT, quantiles, smoothed_sky

BRIGHTEST = 40  # so many of the brightest places are measured
SHARE = 0.25  # the least share of them that is as narrow as a point in a field of points
LEAST_AROUND = 33  # pixels: least side of the square around a place that its sky is taken from
INEXACT = 0.2  # what the square of the width of a point-spread function may be off by, as a share of it


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


def floor_of(y: Tensor, kernel: np.ndarray) -> Tensor:
    """What a field of points is not darker than, place by place: the darkest of y around it without its noise, by a
    Gaussian (``scale.smoothed_sky``), less the noise.

    So no ring around a star can be deeper than the noise of the sky beside it, where that varies, too: near a galaxy.
    The scene inside of a wider dark place is not touched.

    Args:
        y: (B, C, H, W), finite. kernel: (h, w). "Around" reaches past it, so that the light of a star, which the
            kernel spread, does not count as sky.
    """
    smooth, noise = smoothed_sky(y.detach().cpu().double().numpy())
    wide = max(LEAST_AROUND, 2 * max(kernel.shape) + 1)
    return torch.from_numpy(minimum_filter(smooth, (1, 1, wide, wide)) - noise).to(y)
