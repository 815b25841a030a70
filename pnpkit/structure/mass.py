r"""A preserved mass: the flow of the SIR epidemic model, learned by a network whose layers conserve the total.

    S' = -beta S I,  I' = beta S I - gamma I,  R' = gamma I,     S + I + R = 1

A layer x + h (A(x) - A(x)^T) 1 with any matrix A(x) conserves 1^T x: the matrix A - A^T is skew, so
1^T (A - A^T) 1 = 0. Its entry (i, j) is the flow from compartment j to compartment i.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from pnpkit.dynamics import trajectories
from pnpkit.dynamics.ensembles import EnsembleTraining, ensemble, levenberg_marquardt, train_ensemble
from pnpkit.dynamics.plain import MLP

KINDS = ("structured", "plain")


@dataclass(frozen=True)
class MassConfig:
    """The settings: 1,000 points on the simplex as in the lecture; ``time`` is the length of the learned flow.

    Both networks are trained by ``steps`` steps of Adam, then ``polish`` steps of Levenberg-Marquardt.
    """

    points: int = 1000
    test: int = 1000
    time: float = 1.0
    infection: float = 2.0
    recovery: float = 0.5
    layers: int = 4
    width: int = 10
    steps: int = 800
    polish: int = 25
    seeds: int = 5
    rollout: int = 30
    seed: int = 0


@dataclass(frozen=True)
class MassRun:
    """The results of one network.

    ``error`` is the mean square error on the test set, per seed. The rest describes a rollout from (0.99, 0.01, 0): the
    states (seeds, steps + 1, 3), and per seed the largest distance from the reference and the largest change of mass.
    """

    kind: str
    error: Tensor
    states: Tensor
    distance: Tensor
    violation: Tensor


class Exchange(nn.Module):
    """x + h (A(x) - A(x)^T) 1, where A is a network with one hidden layer."""

    def __init__(self, compartments: int, width: int):
        super().__init__()
        self.matrix, self.compartments = MLP(compartments, width, compartments**2), compartments

    def forward(self, x: Tensor, step: float) -> Tensor:
        a = self.matrix(x).unflatten(-1, (self.compartments, self.compartments))
        return x + step * (a - a.transpose(-1, -2)).sum(-1)


class Free(nn.Module):
    """x + h N(x), where N is a network with one hidden layer."""

    def __init__(self, compartments: int, width: int):
        super().__init__()
        self.field = MLP(compartments, width, compartments)

    def forward(self, x: Tensor, step: float) -> Tensor:
        return x + step * self.field(x)


class Flow(nn.Module):
    """Layers of one kind in sequence, each with h = 1 / layers."""

    def __init__(self, kind: str, layers: int, width: int, compartments: int = 3):
        super().__init__()
        layer = Exchange if kind == "structured" else Free
        self.layers = nn.ModuleList(layer(compartments, width) for _ in range(layers))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x, 1 / len(self.layers))
        return x


def simplex(count: int, generator: torch.Generator) -> Tensor:
    """Draw uniform points (N, 3) with entries >= 0 that sum to 1."""
    draw = -torch.rand(count, 3, generator=generator, dtype=torch.float64).log()
    return draw / draw.sum(-1, keepdim=True)


def reference(x: Tensor, times: Tensor, config: MassConfig) -> Tensor:
    """Integrate the SIR model from x (N, 3) to the times, by DOP853: (T, N, 3)."""

    def field(states: np.ndarray) -> np.ndarray:
        s, i, _ = states.T
        new, over = config.infection * s * i, config.recovery * i
        return np.stack([-new, new - over, over], axis=-1)

    return trajectories.reference(field, x, times)


def run(config: MassConfig) -> list[MassRun]:
    """Train both networks on the same pairs, in float64, then apply them repeatedly."""
    generator = torch.Generator().manual_seed(config.seed)
    x = simplex(config.points + config.test, generator)
    after = reference(x, torch.tensor([config.time], dtype=torch.float64), config)[0]
    start = torch.tensor([[0.99, 0.01, 0.0]], dtype=torch.float64)
    times = torch.arange(config.rollout + 1, dtype=torch.float64) * config.time
    truth = reference(start, times, config)[:, 0]
    runs = []
    for kind in KINDS:
        models = ensemble(config.seeds, config.seed, partial(Flow, kind, config.layers, config.width))
        data = (x[: config.points], after[: config.points])
        train_ensemble(models, data, EnsembleTraining(config.steps, 128, 1e-2, seed=config.seed))
        for model in models:
            levenberg_marquardt(model, data, config.polish)
        with torch.no_grad():
            error = torch.stack([(m(x[config.points :]) - after[config.points :]).square().mean() for m in models])
            states = torch.stack([trajectories.rollout(m, start[0], config.rollout) for m in models])
        distance = torch.linalg.vector_norm(states - truth, dim=-1).amax(-1)
        runs.append(MassRun(kind, error, states, distance, (states.sum(-1) - 1).abs().amax(-1)))
    return runs
