"""Simulate a blurred and noisy picture."""

from __future__ import annotations

import math
import os

import numpy as np
import torch
from torch import Tensor

from pnpkit import kernels
from pnpkit.images import srgb
from pnpkit.images.pixels import as_array, as_float, from_tensor, to_tensor
from pnpkit.operators.blur import blur
from pnpkit.restoration.blur_kernel import given_kernel
from pnpkit.restoration.settings import check_level


def simulate(
    image: np.ndarray,
    kernel: str | os.PathLike[str] | np.ndarray | Tensor,
    noise_level: float = 0.0,
    *,
    boundary: str = "unknown",
    seed: int = 0,
    linear: bool = False,
) -> np.ndarray:
    """A degraded picture: K image + noise_level * N(0, 1), in float64, not clipped.

    Args:
        image: (H, W) or (H, W, 3). It and the noise level are in the units of the picture, see ``Settings``.
        kernel: a spec or an array; not ``auto``.
        boundary: ``unknown`` keeps the valid part, (H - h + 1, W - w + 1); ``circular`` and ``zero`` keep the size.
        seed: of ``numpy.random.default_rng``; the noise has the shape of the result.
        linear: blur and add noise in linear light, between the sRGB curve's inverse and itself.

    Example:
        >>> import numpy as np
        >>> import pnpkit as pk
        >>> pk.simulate(np.ones((9, 9)), "box:3").shape
        (7, 7)
    """
    check_level("noise level", noise_level, math.inf)
    pixels, _ = as_float(as_array(image))
    x = to_tensor(pixels, torch.float64)
    weights = kernels.parse(kernel) if isinstance(kernel, str) else given_kernel(kernel).weights
    operator = blur(weights, boundary, (x.shape[-2], x.shape[-1]), dtype=x.dtype)
    clean = from_tensor(operator.A(srgb.decode(x) if linear else x))
    noisy = clean + noise_level * np.random.default_rng(seed).standard_normal(clean.shape)
    return srgb.encode(torch.from_numpy(noisy)).numpy() if linear else noisy
