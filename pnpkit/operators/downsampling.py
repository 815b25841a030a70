"""Downsampling: the mean of each square of pixels."""

from __future__ import annotations

import torch
from deepinv.physics import Downsampling
from torch import Tensor


def area_downsampling(y: Tensor, factor: int) -> Downsampling:
    """deepinv physics from (factor H, factor W) to the (H, W) of y: the mean of each square."""
    size = (y.shape[1], factor * y.shape[-2], factor * y.shape[-1])
    filters = torch.full((1, 1, factor, factor), 1 / factor**2, dtype=y.dtype, device=y.device)
    return Downsampling(img_size=size, filter=filters, factor=factor, padding="valid", device=y.device)
