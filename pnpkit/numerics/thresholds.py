"""Thresholds of tensors: the soft threshold, and the projection onto a simplex, which is one threshold per row."""

from __future__ import annotations

import torch
from torch import Tensor


def shrink(z: Tensor, weight: float | Tensor) -> Tensor:
    """z / |z| max(|z| - weight, 0), and 0 where z = 0: the soft threshold, entry by entry."""
    if z.is_complex():
        return z * (1 - weight / z.abs().clamp_min(1e-30)).clamp_min(0)
    return z.sign() * (z.abs() - weight).clamp_min(0)


def onto_simplex(z: Tensor, total: float) -> Tensor:
    """Project each row of z, (B, N), onto the simplex of sum ``total``."""
    z = z - z.amax(1, keepdim=True)  # does not change the projection, and reduces rounding errors
    falling = z.sort(dim=1, descending=True).values
    count = torch.arange(1, z.shape[1] + 1, dtype=z.dtype, device=z.device)
    thresholds = (falling.cumsum(1) - total) / count
    last = (falling > thresholds).sum(1, keepdim=True) - 1
    return (z - thresholds.gather(1, last)).clamp_min(0)
