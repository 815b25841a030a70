r"""A curve on the unit circle learned in three ways: plain, penalised, normalised.

    z(t) = (cos phi(t), sin phi(t)),  phi(t) = t + 0.6 sin 2t - 0.15 cos 3t

The plain network N(t) may leave the circle. A penalty lambda (||N(t)|| - 1)^2 keeps it near the circle, and only near
the training points. N(t) / ||N(t)|| cannot leave it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from pnpkit.dynamics.ensembles import EnsembleTraining, Model, ensemble, train_ensemble
from pnpkit.dynamics.plain import MLP

WAYS = ("plain", "penalised", "normalised")


@dataclass(frozen=True)
class CircleConfig:
    """The settings: ``points`` training points on [0, 2 pi] with noise N(0, ``noise``^2); ``penalty`` is lambda."""

    points: int = 80
    noise: float = 0.05
    penalty: float = 1.0
    width: int = 12
    seeds: int = 6
    steps: int = 1000
    seed: int = 0


@dataclass(frozen=True)
class CircleRun:
    """The results on a fine grid: curves (seeds, T, 2), root mean square error and largest | ||z|| - 1 | per seed."""

    way: str
    curves: Tensor
    error: Tensor
    violation: Tensor


def curve(t: Tensor) -> Tensor:
    """z(t), (...) -> (..., 2)."""
    angle = t + 0.6 * (2 * t).sin() - 0.15 * (3 * t).cos()
    return torch.stack([angle.cos(), angle.sin()], dim=-1)


class Planar(nn.Module):
    """t -> R^2 by an MLP of (cos t, sin t), divided by its norm if ``normalised``."""

    def __init__(self, width: int, normalised: bool):
        super().__init__()
        self.body, self.normalised = MLP(2, width, width, 2), normalised

    def forward(self, t: Tensor) -> Tensor:
        z = self.body(torch.stack([t.cos(), t.sin()], dim=-1))
        return z / torch.linalg.vector_norm(z, dim=-1, keepdim=True) if self.normalised else z


def penalised(weight: float) -> Callable[[Model, Tensor, Tensor], Tensor]:
    """The loss: mean square error plus lambda (||N(t)|| - 1)^2."""

    def loss(model: Model, t: Tensor, target: Tensor) -> Tensor:
        z = model(t)
        return (z - target).square().mean() + weight * (torch.linalg.vector_norm(z, dim=-1) - 1).square().mean()

    return loss


def run(config: CircleConfig) -> list[CircleRun]:
    """Train the three networks on the same points, in float64."""
    generator = torch.Generator().manual_seed(config.seed)
    t = 2 * math.pi * torch.rand(config.points, generator=generator, dtype=torch.float64)
    target = curve(t) + config.noise * torch.randn(config.points, 2, generator=generator, dtype=torch.float64)
    grid = torch.linspace(0, 2 * math.pi, 1000, dtype=torch.float64)
    runs = []
    for way in WAYS:
        models = ensemble(config.seeds, config.seed, partial(Planar, config.width, way == "normalised"))
        loss = penalised(config.penalty if way == "penalised" else 0.0)
        train_ensemble(models, (t, target), EnsembleTraining(config.steps, 0, 1e-2, seed=config.seed), loss)
        with torch.no_grad():
            curves = torch.stack([model(grid) for model in models])
        error = (curves - curve(grid)).square().sum(-1).mean(-1).sqrt()
        violation = (torch.linalg.vector_norm(curves, dim=-1) - 1).abs().amax(-1)
        runs.append(CircleRun(way, curves, error, violation))
    return runs
