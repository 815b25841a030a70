r"""Networks without structure, which are the baselines of the structured ones.

MLP:     x -> W_n tanh(... tanh(W_1 x + b_1) ...) + b_n
ResNet:  x -> x + h B_j tanh(A_j x + b_j),  j = 1, ..., n: explicit Euler steps of x' = B(t) tanh(A(t) x + b(t))
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


class MLP(nn.Module):
    """Linear maps with an activation between them and none after the last: (..., sizes[0]) -> (..., sizes[-1])."""

    def __init__(self, *sizes: int, activation: Callable[[Tensor], Tensor] = torch.tanh):
        super().__init__()
        self.linears = nn.ModuleList(nn.Linear(a, b) for a, b in zip(sizes[:-1], sizes[1:], strict=True))
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        for linear in self.linears[:-1]:
            x = self.activation(linear(x))
        return self.linears[-1](x)


class ResidualBlock(nn.Module):
    """x + h B tanh(A x + b), with A of size hidden x dimension."""

    def __init__(self, dimension: int, hidden: int, activation: Callable[[Tensor], Tensor] = torch.tanh):
        super().__init__()
        self.inner = nn.Linear(dimension, hidden)
        self.outer = nn.Linear(hidden, dimension, bias=False)
        self.activation = activation

    def forward(self, x: Tensor, step: float | Tensor = 1.0) -> Tensor:
        return x + step * self.outer(self.activation(self.inner(x)))


class ResNet(nn.Module):
    """``blocks`` residual blocks in sequence; ``step`` is the h of each."""

    def __init__(self, dimension: int, hidden: int, blocks: int):
        super().__init__()
        self.blocks = nn.ModuleList(ResidualBlock(dimension, hidden) for _ in range(blocks))

    def forward(self, x: Tensor, step: float | Tensor = 1.0) -> Tensor:
        for block in self.blocks:
            x = block(x, step)
        return x


def parameter_count(model: nn.Module) -> int:
    """The number of learned parameters."""
    return sum(p.numel() for p in model.parameters())
