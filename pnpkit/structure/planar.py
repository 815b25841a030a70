r"""Planar points separated by a ResNet that is the flow of x' = B(t) tanh(A(t) x + b(t)) in R^3.

The points get a third coordinate, 0, and are moved by explicit Euler steps of size T / layers. A linear function of the
result separates the disc from the ring. A flow in the plane cannot do that, because it cannot open a ring.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pnpkit.dynamics.ensembles import EnsembleTraining, Model, ensemble, train_ensemble
from pnpkit.dynamics.plain import ResidualBlock


@dataclass(frozen=True)
class PlanarConfig:
    """The setting of the lecture: 3,000 points, 2,000 of them for training, 15 layers, T = 1."""

    points: int = 3000
    train: int = 2000
    layers: int = 15
    end: float = 1.0
    hidden: int = 3
    steps: int = 1500
    batch: int = 100
    seeds: int = 5
    seed: int = 0


@dataclass(frozen=True)
class PlanarRun:
    """The results.

    The states of the test points before the first layer and after each layer, (layers + 1, N, 3), and the plane
    w . x + c = 0 are those of the seed that is best on the training points. ``accuracy`` is that on the test points,
    per seed.
    """

    states: Tensor
    labels: Tensor
    accuracy: Tensor
    normal: Tensor
    offset: float


def disc_and_ring(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw points (N, 2) and labels (N,): a disc of radius 1 (label 0), a ring from 1.5 to 2.5 (label 1), uniformly."""
    labels = torch.arange(count) % 2
    draw = torch.rand(count, 2, generator=generator, dtype=torch.float64)
    inner, outer = 1.5 * labels, 1 + 1.5 * labels
    radius, angle = (inner**2 + draw[:, 0] * (outer**2 - inner**2)).sqrt(), 2 * math.pi * draw[:, 1]
    return radius[:, None] * torch.stack([angle.cos(), angle.sin()], dim=-1), labels


class FlowClassifier(nn.Module):
    """A classifier R^2 -> R^3 -> Euler steps -> one logit."""

    def __init__(self, layers: int, end: float, hidden: int):
        super().__init__()
        self.blocks = nn.ModuleList(ResidualBlock(3, hidden) for _ in range(layers))
        self.head, self.step = nn.Linear(3, 1), end / layers

    def states(self, x: Tensor) -> list[Tensor]:
        """Return the points before the first layer and after each layer."""
        states = [F.pad(x, (0, 1))]
        for block in self.blocks:
            states.append(block(states[-1], self.step))
        return states

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.states(x)[-1])[..., 0]


def cross_entropy(model: Model, x: Tensor, label: Tensor) -> Tensor:
    """Return the binary cross-entropy from logits."""
    return F.binary_cross_entropy_with_logits(model(x), label)


def run(config: PlanarConfig) -> PlanarRun:
    """Train ``seeds`` classifiers and record the test points in the layers of the best one."""
    x, labels = disc_and_ring(config.points, torch.Generator().manual_seed(config.seed))
    make = partial(FlowClassifier, config.layers, config.end, config.hidden)
    models = ensemble(config.seeds, config.seed, make)
    data = (x[: config.train], labels[: config.train].double())
    train_ensemble(models, data, EnsembleTraining(config.steps, config.batch, 1e-2, seed=config.seed), cross_entropy)
    test, truth = x[config.train :], labels[config.train :]
    with torch.no_grad():
        accuracy = torch.stack([((model(test) > 0) == (truth == 1)).double().mean() for model in models])
        trained = torch.stack([((model(data[0]) > 0) == (data[1] == 1)).double().mean() for model in models])
        best = models[int(trained.argmax())]
        states = torch.stack(best.states(test))
    return PlanarRun(states, truth, accuracy, best.head.weight.detach()[0], float(best.head.bias.detach()))
