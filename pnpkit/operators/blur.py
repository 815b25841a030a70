r"""Blur, y = k * x, as deepinv physics, with one of three boundary conditions.

- ``circular``: the picture is one period of a periodic scene, as in simulations.
- ``zero``: the scene is black outside the frame.
- ``unknown``: nothing is known outside the frame, as in photographs. The scene is larger than the frame by the size of
  the kernel, and the operator keeps the valid part: scene (H + h - 1, W + w - 1) -> frame (H, W).
"""

from __future__ import annotations

import numpy as np
import torch
from deepinv.physics import Blur, BlurFFT, LinearPhysics
from torch import Tensor

from pnpkit.errors import InputError, UnknownName
from pnpkit.numerics.arrays import real

BOUNDARIES = ("unknown", "circular", "zero")


def blur(
    kernel: np.ndarray | Tensor,
    boundary: str = "unknown",
    image_size: tuple[int, int] | None = None,
    *,
    dtype: torch.dtype = torch.float32,
    device: str | torch.device = "cpu",
) -> LinearPhysics:
    """Return the blur operator: a true convolution, per channel, with an odd-sized kernel centred at size // 2.

    Args:
        kernel: (h, w), odd sizes.
        boundary: ``unknown``, ``circular`` or ``zero``.
        image_size: (H, W) of the blurred frame. ``circular`` needs it. If it is given, the kernel must fit into it.
        dtype, device: those of the operator; pictures must have the same.

    Raises:
        InputError: the kernel is not 2-D with odd sides, not real, not finite, or larger than the image; or a circular
            blur has no ``image_size``.
        UnknownName: ``boundary`` is not one of BOUNDARIES.

    Example:
        >>> import torch
        >>> import pnpkit as pk
        >>> from pnpkit import kernels
        >>> A = pk.blur(kernels.box(3))
        >>> A.A(torch.ones(1, 3, 10, 10)).shape
        torch.Size([1, 3, 8, 8])
    """
    weights = real(kernel if isinstance(kernel, Tensor) else np.asarray(kernel), "a blur kernel").to(device, dtype)
    if weights.ndim != 2 or weights.shape[0] % 2 == 0 or weights.shape[1] % 2 == 0:
        raise InputError(f"a blur kernel is 2-D with odd sizes, got {tuple(weights.shape)}: see kernels.normalise")
    if image_size is not None and (weights.shape[0] > image_size[0] or weights.shape[1] > image_size[1]):
        size = "x".join(map(str, weights.shape))
        raise InputError(f"the kernel ({size}) is larger than the image ({image_size[0]}x{image_size[1]})")
    filters = weights[None, None]
    if boundary == "circular":
        if image_size is None:
            raise InputError("a circular blur needs image_size=(H, W)")
        return BlurFFT(img_size=(1, *image_size), filter=filters, device=device)
    if boundary == "zero":
        return Blur(filters, padding="constant", use_fft=True, device=device)
    if boundary == "unknown":
        return Blur(filters, padding="valid", use_fft=True, device=device)
    raise UnknownName("boundary", boundary, BOUNDARIES)
