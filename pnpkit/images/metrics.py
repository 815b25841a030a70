"""Metrics of the distance between an image and its reference, both on the 0..1 scale."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from pnpkit.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor


_WINDOW = 7  # side in pixels of the windows of SSIM, as in scikit-image


def psnr(image: np.ndarray | Tensor, reference: np.ndarray | Tensor) -> float:
    """10 log10(1 / mean((clip(image, 0, 1) - reference)^2)) in dB, over all pixels and channels; inf if equal.

    Both images are floats on the 0..1 scale: arrays (H, W) or (H, W, 3), or tensors (1, C, H, W); one may be an array
    and the other a tensor. Raises InputError if the shapes differ or the values are not floats.

    Example:
        >>> import numpy as np
        >>> round(psnr(np.full((4, 4), 0.6), np.full((4, 4), 0.5)), 3)
        20.0
    """
    x, y = _pair(image, reference)
    error = float(np.mean((x - y) ** 2))
    return math.inf if error == 0 else -10 * math.log10(error)


def ssim(image: np.ndarray | Tensor, reference: np.ndarray | Tensor) -> float:
    """Structural similarity (Wang et al. 2004), at most 1: scikit-image's mean over 7 x 7 windows and channels.

    Arguments and errors are as in ``psnr``, and the image is clipped in the same way. An image smaller than 7 pixels is
    compared in the largest odd window that fits. Below 3 pixels there is none, and InputError is raised.
    """
    from skimage.metrics import structural_similarity

    x, y = _pair(image, reference)
    side = min(_WINDOW, *x.shape[:2])
    if side < 3:
        raise InputError(f"SSIM: expected an image of at least 3 x 3 pixels, got {x.shape}: use psnr")
    window = side if side % 2 else side - 1
    axis = -1 if x.ndim == 3 else None
    return float(structural_similarity(x, y, win_size=window, channel_axis=axis, data_range=1.0))


def _pair(image: np.ndarray | Tensor, reference: np.ndarray | Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Return both in float64 with channels last, and the image clipped to 0..1."""
    x, y = _channels_last(image), _channels_last(reference)
    if x.shape != y.shape:
        came = f"{tuple(image.shape)} and {tuple(reference.shape)}"
        raise InputError(f"expected image and reference of the same shape, got {came}: crop one to the other")
    return np.clip(x, 0.0, 1.0), y


def _channels_last(image: np.ndarray | Tensor) -> np.ndarray:
    if isinstance(image, np.ndarray):
        array = image
    else:
        array = image.detach().cpu().numpy()
        if array.ndim != 4 or array.shape[0] != 1:
            raise InputError(f"expected a tensor (1, C, H, W), got {tuple(image.shape)}: pass one image at a time")
        array = array[0, 0] if array.shape[1] == 1 else np.moveaxis(array[0], 0, -1)
    if array.dtype.kind != "f" or array.ndim not in (2, 3) or array.size == 0:
        raise InputError(f"expected a float image on the 0..1 scale, got {array.dtype} {array.shape}: see as_float")
    return array.astype(np.float64)
