r"""A rough deconvolution of a volume, which a run starts from and takes its scale from.

    u <- u / A^T m  A^T (m y / A u),   m = 1 where a reading is known

Richardson (1972) and Lucy (1974): what is not negative and explains the data ever better, from flat. A run may start
anywhere; its proof is that of its map.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pnpkit.operators.volume import VolumeBlur

STEPS, FEWER, LARGE = 100, 20, 20_000_000  # iterations, and how many for volumes of so many voxels
TOP = 0.999  # quantile of the result that counts as bright


def richardson_lucy(operator: VolumeBlur, y: Tensor, known: Tensor | None = None, steps: int | None = None) -> Tensor:
    """The scene (1, 1, *scene) after some iterations.

    Args:
        y: (1, 1, *frame); what is negative counts as 0. known: true where a reading is known; None: everywhere.
    """
    steps = steps_of(y.numel()) if steps is None else steps
    data, mask = y.clamp_min(0), torch.ones_like(y) if known is None else known.to(y)
    floor = 1e-6 * float(data.max()) + 1e-30
    shares = operator.A_adjoint(mask).clamp_min(1e-3)
    u = torch.full_like(shares, max(float((data * mask).sum() / mask.sum()), floor))
    for _ in range(steps):
        seen = operator.A(u).clamp_min(floor)
        u = (u * operator.A_adjoint(mask * data / seen) / shares).clamp_min(0)
    return u


def steps_of(voxels: int) -> int:
    """How many iterations a volume gets."""
    return STEPS if voxels < LARGE else FEWER


def brightest(u: Tensor) -> float:
    """The ``TOP`` quantile of a volume."""
    flat = u.flatten()
    values = flat[:: max(1, len(flat) // 1_000_000)].double()
    return float(torch.quantile(values, TOP))
