"""Downsampling by the mean of each square of pixels."""

from __future__ import annotations

import torch
from deepinv.physics import Downsampling
from torch import Tensor


def area_downsampling(y: Tensor, factor: int) -> Downsampling:
    """Return the operator that takes the mean of each square of factor x factor pixels.

    It maps (B, C, factor H, factor W) to (B, C, H, W), the size of y.
    """
    size = (y.shape[1], factor * y.shape[-2], factor * y.shape[-1])
    filters = torch.full((1, 1, factor, factor), 1 / factor**2, dtype=y.dtype, device=y.device)
    return Downsampling(img_size=size, filter=filters, factor=factor, padding="valid", device=y.device)
