r"""SympNets: compositions of shears. Each shear is the exact flow of a Hamiltonian of p alone or of q alone.

    up:   (q, p) -> (q + h grad T(p), p)          low:  (q, p) -> (q, p - h grad V(q))

Every shear is symplectic for any potential, F'^T J F' = J with J = [0 I; -I 0], and its inverse is the shear with
-h. The potentials of Jin, Zhang, Zhu, Tang and Karniadakis (Neural Networks 132, 2020):

    gradient module   grad V(x) = K^T diag(u) sigma(K x + a)
    linear module     grad V(x) = S x + b, S symmetric; products of them give every linear symplectic map
    activation module grad V(x) = diag(u) sigma(x)

Phase space points are tensors (..., 2d), z = (q, p).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pnpkit.dynamics.potentials import LogCosh
from pnpkit.errors import InputError

KINDS = ("G", "LA")


STARTS = ("scaled", "paper")


PAPER_DEVIATION = 0.01  # Jin et al. draw every weight from N(0, 0.01^2)


@dataclass(frozen=True)
class SympNetConfig:
    """The architecture.

    Attributes:
        dimension: d, the number of positions; a point has 2d coordinates.
        kind: "G", ``layers`` gradient modules of ``width`` neurons, or "LA", ``layers`` linear modules with an
            activation module between neighbours. Modules alternate between up and low.
        layers: at least 1.
        width: number of neurons of a gradient module (G only).
        sublayers: number of triangular factors of a linear module (LA only); the last two carry a bias.
        symmetric: the network is followed by its adjoint, each with half the step. Then F_{-h} = F_h^{-1}, the order in
            h is even, and without biases in the shears of p the network is reversible: R F R = F^{-1},
            R(q, p) = (q, -p).
        start: "scaled" draws weights at a size with which training works; "paper" draws N(0, 0.01^2).

    The LA network with d = 1, 3 layers and 2 sublayers is the one of Jin et al. with 14 parameters.
    """

    dimension: int = 1
    kind: str = "G"
    layers: int = 6
    width: int = 8
    sublayers: int = 2
    symmetric: bool = False
    start: str = "scaled"

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InputError(f"kind must be one of {', '.join(KINDS)}, got {self.kind!r}")
        if self.start not in STARTS:
            raise InputError(f"start must be one of {', '.join(STARTS)}, got {self.start!r}")
        if min(self.dimension, self.layers, self.width, self.sublayers) < 1:
            raise InputError("dimension, layers, width and sublayers are at least 1")


class Quadratic(nn.Module):
    """grad V(x) = S x + b, S = (M + M^T) / 2."""

    def __init__(self, dimension: int, deviation: float | None = None, bias: bool = True):
        super().__init__()
        reach = 0.5 / math.sqrt(dimension) if deviation is None else deviation
        self.matrix = nn.Parameter(torch.randn(dimension, dimension) * reach)
        self.offset = nn.Parameter(torch.zeros(dimension)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        y = x @ (self.matrix + self.matrix.mT) / 2
        return y if self.offset is None else y + self.offset


class Activation(nn.Module):
    """grad V(x) = diag(u) tanh(x)."""

    def __init__(self, dimension: int, deviation: float | None = None):
        super().__init__()
        self.strengths = nn.Parameter(torch.randn(dimension) * (0.5 if deviation is None else deviation))

    def forward(self, x: Tensor) -> Tensor:
        return self.strengths * torch.tanh(x)


class Shear(nn.Module):
    """One shear: ``up`` changes q by h ``slope``(p), low changes p by -h ``slope``(q)."""

    def __init__(self, slope: nn.Module, up: bool):
        super().__init__()
        self.slope, self.up = slope, up

    def forward(self, z: Tensor, step: float | Tensor) -> Tensor:
        q, p = z.chunk(2, dim=-1)
        if self.up:
            return torch.cat([q + step * self.slope(p), p], dim=-1)
        return torch.cat([q, p - step * self.slope(q)], dim=-1)


class SympNet(nn.Module):
    """F_h = S_n ∘ ... ∘ S_1, where each shear has the step h. F_0 = id.

    If symmetric, the shears are applied forth and back with h / 2.
    """

    def __init__(self, config: SympNetConfig):
        super().__init__()
        self.config = config
        self.shears = nn.ModuleList(_gradient_shears(config) if config.kind == "G" else _linear_shears(config))

    def _sequence(self, step: float | Tensor) -> tuple[list[nn.Module], float | Tensor]:
        shears = list(self.shears)
        return (shears + shears[::-1], step / 2) if self.config.symmetric else (shears, step)

    def forward(self, z: Tensor, step: float | Tensor) -> Tensor:
        """Map points (..., 2d) at time t to points at time t + ``step``. The step is a number or (..., 1)."""
        shears, step = self._sequence(step)
        for shear in shears:
            z = shear(z, step)
        return z

    def inverse(self, z: Tensor, step: float | Tensor) -> Tensor:
        """Compute the exact inverse of ``forward`` for the same step: the inverse shears in reverse order."""
        shears, step = self._sequence(step)
        for shear in reversed(shears):
            z = shear(z, -step)
        return z


def _gradient_shears(config: SympNetConfig) -> list[Shear]:
    deviation = PAPER_DEVIATION if config.start == "paper" else None
    shears = []
    for number in range(config.layers):
        up = number % 2 == 0
        shears.append(Shear(LogCosh(config.dimension, config.width, deviation, not (config.symmetric and up)), up))
    return shears


def _linear_shears(config: SympNetConfig) -> list[Shear]:
    deviation = PAPER_DEVIATION if config.start == "paper" else None
    shears: list[Shear] = []
    for number in range(config.layers):
        first_up = number % 2 == 0
        for factor in range(config.sublayers):
            up = first_up == (factor % 2 == 0)
            bias = factor >= config.sublayers - 2 and not (config.symmetric and up)
            shears.append(Shear(Quadratic(config.dimension, deviation, bias), up))
        if number < config.layers - 1:
            shears.append(Shear(Activation(config.dimension, deviation), first_up))
    return shears
