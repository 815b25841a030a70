r"""Learned potentials of a single layer, whose gradients are known in closed form."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class LogCosh(nn.Module):
    """grad V(x) = K^T diag(u) tanh(K x + a), the gradient of V(x) = sum_i u_i log cosh(k_i . x + a_i)."""

    def __init__(self, dimension: int, width: int, deviation: float | None = None, bias: bool = True):
        super().__init__()
        scaled = deviation is None
        reach = 1 / math.sqrt(dimension) if deviation is None else deviation
        self.directions = nn.Parameter(torch.randn(width, dimension) * reach)
        self.strengths = nn.Parameter(torch.randn(width) * (1 / width if deviation is None else deviation))
        self.offsets = nn.Parameter(torch.randn(width) * (0.5 if scaled else 0.0)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        z = x @ self.directions.mT
        return (self.strengths * torch.tanh(z if self.offsets is None else z + self.offsets)) @ self.directions

    def potential(self, x: Tensor) -> Tensor:
        """V(x): (..., d) -> (...)."""
        z = x @ self.directions.mT
        z = z if self.offsets is None else z + self.offsets
        return (self.strengths * (torch.logaddexp(z, -z) - math.log(2))).sum(-1)
