r"""Wasserstein-1 by Kantorovich-Rubinstein duality, with a critic that is proven 1-Lipschitz.

    W1(P, Q) = sup { E_P f - E_Q f : f 1-Lipschitz }

The critic is f = w . phi_L(... phi_1(Q x)), where Q is an isometric lift (zeros appended), phi a gradient-flow step and
||w|| = 1. It is 1-Lipschitz by its certificate, so E_P f - E_Q f is a lower bound on W1 for any training: exactly
between two empirical measures, and up to sampling error between the distributions that they are drawn from. Penalised
critics give no bound.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from pnpkit import certificates
from pnpkit.certificates import Certificate, Side
from pnpkit.dynamics.ensembles import EnsembleTraining, Model, ensemble, train_ensemble
from pnpkit.errors import InputError
from pnpkit.layers.dense import GradientFlowDense

Sets = Callable[[int, torch.Generator], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class CriticConfig:
    """The sizes of the critic and of its training, which uses full batches."""

    features: int = 16
    layers: int = 6
    steps: int = 400
    rate: float = 1e-2
    seeds: int = 5
    seed: int = 0


class Critic(nn.Module):
    """The critic, a 1-Lipschitz function (..., dimension) -> (...)."""

    def __init__(self, dimension: int, config: CriticConfig):
        super().__init__()
        if dimension > config.features:
            raise InputError(f"the lift needs at least {dimension} features, got {config.features}")
        self.spare = config.features - dimension
        self.steps = nn.ModuleList(GradientFlowDense(config.features, config.features) for _ in range(config.layers))
        self.direction = nn.Parameter(torch.randn(config.features))

    def flows(self) -> list[GradientFlowDense]:
        """The steps phi_1 ... phi_L."""
        return [step for step in self.steps if isinstance(step, GradientFlowDense)]

    def forward(self, x: Tensor) -> Tensor:
        x = F.pad(x, (0, self.spare))
        for step in self.steps:
            x = step(x)
        return x @ (self.direction / torch.linalg.vector_norm(self.direction))

    def certify(self) -> Certificate:
        """Certify the composition of the layers. The lift and the projection onto w / ||w|| have norm 1."""
        parts = [
            step.certify(f"phi_{k}") for k, step in enumerate(self.steps, 1) if isinstance(step, GradientFlowDense)
        ]
        body = certificates.compose(tuple(reversed(parts)), "critic")
        return Certificate(
            "critic", body.lipschitz, None, Side.PROVEN, "lift, gradient flows, unit vector", parts=(body,)
        )


def gap(model: Model, p: Tensor, q: Tensor) -> Tensor:
    """Return the loss -(mean f(p) - mean f(q))."""
    return model(q).mean() - model(p).mean()


def estimate(p: Tensor, q: Tensor, config: CriticConfig) -> tuple[list[float], list[Critic]]:
    """Return lower bounds on W1 between two sets (N, d) by critics from several seeds, and these critics."""
    critics = ensemble(config.seeds, config.seed, partial(Critic, p.shape[-1], config))
    for critic in critics:
        for step in critic.flows():
            step.steer()
    train_ensemble(critics, (p, q), EnsembleTraining(config.steps, 0, config.rate, seed=config.seed), gap)
    bounds = []
    for critic in critics:
        for step in critic.flows():
            step.release()
            step.secure()
        with torch.no_grad():
            bounds.append(-float(gap(critic, p, q)) / critic.certify().lipschitz)
    return bounds, critics


def exact(p: Tensor, q: Tensor) -> float:
    """Return W1 between two sets of equal size: by sorting in one dimension, otherwise by an optimal assignment."""
    if p.shape != q.shape:
        raise InputError(f"expected two sets of one size, got {tuple(p.shape)} and {tuple(q.shape)}")
    if p.shape[-1] == 1:
        return float((p.sort(0).values - q.sort(0).values).abs().mean())
    costs = torch.cdist(p, q).numpy()
    return float(costs[linear_sum_assignment(costs)].mean())


def _normal(count: int, dimension: int, generator: torch.Generator) -> Tensor:
    return torch.randn(count, dimension, generator=generator, dtype=torch.float64)


def _shifted(dimension: int, shift: float) -> Sets:
    def draw(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        p, q = _normal(count, dimension, generator), _normal(count, dimension, generator)
        p[:, 0] += shift
        return p, q

    return draw


def _two_humps(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    sides = torch.where(torch.rand(count, 1, generator=generator, dtype=torch.float64) < 0.5, -2.0, 2.0)
    return sides + 0.5 * _normal(count, 1, generator), _normal(count, 1, generator)


def _ring_and_disc(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    p, q = _normal(count, 2, generator), _normal(count, 2, generator)
    radius = torch.rand(count, 1, generator=generator, dtype=torch.float64).sqrt()
    return F.normalize(p, dim=-1) * 2, F.normalize(q, dim=-1) * radius


@dataclass(frozen=True)
class Case:
    """Two distributions and, if known, the W1 between them (not between samples)."""

    draw: Sets
    truth: float | None
    dimension: int


CASES: Mapping[str, Case] = {
    "shifted Gaussians, d = 1, shift 2": Case(_shifted(1, 2.0), 2.0, 1),
    "two humps and a Gaussian, d = 1": Case(_two_humps, None, 1),
    "shifted Gaussians, d = 2, shift 3": Case(_shifted(2, 3.0), 3.0, 2),
    "circle of radius 2 and unit disc, d = 2": Case(_ring_and_disc, 4 / 3, 2),
    "shifted Gaussians, d = 8, shift 4": Case(_shifted(8, 4.0), 4.0, 8),
}
