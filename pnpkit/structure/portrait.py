r"""The gradient flow x' = -W^T relu(W x), its explicit Euler map, and the Lipschitz constants of both.

With W = 1/2 [[sqrt 2, -sqrt 2], [sqrt 2, sqrt 2]], a rotation, u = W x obeys u' = -relu(u): positive coordinates decay,
negative ones stay. The flow is 1-Lipschitz for every t >= 0. The Euler map has the constant max(1, |1 - tau|), so it
is 1-Lipschitz exactly for tau in [0, 2] = [0, 2 / ||W||^2].
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from pnpkit.numerics.norms import matrix_norm_bound

W = torch.tensor([[1.0, -1.0], [1.0, 1.0]], dtype=torch.float64) / math.sqrt(2)


LARGEST_STEP = 2 / matrix_norm_bound(W) ** 2


def field(x: Tensor, matrix: Tensor = W) -> Tensor:
    """Return -W^T relu(W x), (..., 2) -> (..., 2)."""
    return -torch.relu(x @ matrix.mT) @ matrix


def euler(x: Tensor, step: float, matrix: Tensor = W) -> Tensor:
    """x - tau W^T relu(W x)."""
    return x + step * field(x, matrix)


def flow(x: Tensor, time: float) -> Tensor:
    """Return the exact solution for the W above: W^T (u e^-t where u > 0, u elsewhere) with u = W x."""
    u = x @ W.mT
    return torch.where(u > 0, u * math.exp(-time), u) @ W


def largest_ratio(map: Callable[[Tensor], Tensor], pairs: int = 2000, seed: int = 0) -> float:
    """Return max ||map(x) - map(y)|| / ||x - y|| over distant and close random pairs: a bound from below."""
    generator = torch.Generator().manual_seed(seed)
    x = 2 * torch.randn(pairs, 2, generator=generator, dtype=torch.float64)
    reach = torch.logspace(-3, 1, pairs, dtype=torch.float64)[:, None]
    y = x + reach * torch.randn(pairs, 2, generator=generator, dtype=torch.float64)
    moved = torch.linalg.vector_norm(map(x) - map(y), dim=-1)
    return float((moved / torch.linalg.vector_norm(x - y, dim=-1)).max())
