r"""An unknown Hamiltonian learned from short, noisy trajectories: H(q, p) = T(p) + V(q), here a double well.

    truth: H = p^2 / 2 + q^4 / 4 - q^2 / 2

T and V are single-layer potentials. They are trained through the leapfrog method of Stoermer and Verlet, which is
symplectic, so a Hamiltonian is learned and rollouts preserve it. The plain network is a field N(z) with the classical
Runge-Kutta method, which has a higher order and no structure.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from pnpkit.dynamics import trajectories
from pnpkit.dynamics.ensembles import EnsembleTraining, ensemble, train_ensemble
from pnpkit.dynamics.plain import MLP
from pnpkit.dynamics.potentials import LogCosh

KINDS = ("structured", "plain")


@dataclass(frozen=True)
class EnergyConfig:
    """The settings: ``trajectories`` of ``length`` steps of size ``step``, observed with noise N(0, ``noise``^2)."""

    trajectories: int = 200
    length: int = 5
    step: float = 0.1
    noise: float = 0.01
    width: int = 16
    steps: int = 800
    seeds: int = 5
    rollout: int = 1000
    seed: int = 0


@dataclass(frozen=True)
class EnergyRun:
    """The results per seed: a rollout from (1.2, 0), (seeds, steps + 1, 2), its energy error, and its distance.

    The energy is the true one, and the distance is that from the reference. For the structured network there is also V
    on ``GRID``, with V(1) = -1/4.
    """

    kind: str
    states: Tensor
    energy_error: Tensor
    distance: Tensor
    potential: Tensor | None


GRID = torch.linspace(-1.5, 1.5, 121, dtype=torch.float64)


def energy(z: Tensor) -> Tensor:
    """Return the true H, (..., 2) -> (...)."""
    q, p = z.unbind(-1)
    return p.square() / 2 + q**4 / 4 - q.square() / 2


def reference(z: Tensor, times: Tensor) -> Tensor:
    """Integrate by DOP853 from z (N, 2): (T, N, 2)."""

    def field(states: np.ndarray) -> np.ndarray:
        q, p = states.T
        return np.stack([p, q - q**3], axis=-1)

    return trajectories.reference(field, z, times)


class Leapfrog(nn.Module):
    """(z, a trajectory of n steps) -> the n states after z, by leapfrog with learned T and V."""

    def __init__(self, width: int, step: float):
        super().__init__()
        self.kinetic, self.rest, self.step = LogCosh(1, width), LogCosh(1, width), step

    def advance(self, z: Tensor) -> Tensor:
        q, p = z.chunk(2, dim=-1)
        p = p - self.step / 2 * self.rest(q)
        q = q + self.step * self.kinetic(p)
        return torch.cat([q, p - self.step / 2 * self.rest(q)], dim=-1)

    def forward(self, z: Tensor, count: int) -> Tensor:
        return _follow(self, z, count)


class RungeKutta(nn.Module):
    """The same with a learned field and the classical Runge-Kutta method of order 4."""

    def __init__(self, width: int, step: float):
        super().__init__()
        self.field, self.step = MLP(2, width, width, 2), step

    def advance(self, z: Tensor) -> Tensor:
        h, f = self.step, self.field
        a = f(z)
        b = f(z + h / 2 * a)
        c = f(z + h / 2 * b)
        return z + h / 6 * (a + 2 * b + 2 * c + f(z + h * c))

    def forward(self, z: Tensor, count: int) -> Tensor:
        return _follow(self, z, count)


def _follow(model: Leapfrog | RungeKutta, z: Tensor, count: int) -> Tensor:
    states = []
    for _ in range(count):
        z = model.advance(z)
        states.append(z)
    return torch.stack(states, dim=-2)


def run(config: EnergyConfig) -> list[EnergyRun]:
    """Train both networks on the same noisy trajectories, each from its first, noisy observation."""
    generator = torch.Generator().manual_seed(config.seed)
    low, high = torch.tensor([-1.5, -1.0]).double(), torch.tensor([1.5, 1.0]).double()
    starts = low + (high - low) * torch.rand(config.trajectories, 2, generator=generator, dtype=torch.float64)
    clean = reference(starts, torch.arange(config.length + 1, dtype=torch.float64) * config.step).transpose(0, 1)
    seen = clean + config.noise * torch.randn(clean.shape, generator=generator, dtype=torch.float64)
    start = torch.tensor([1.2, 0.0], dtype=torch.float64)
    truth = reference(start[None], torch.arange(config.rollout + 1, dtype=torch.float64) * config.step)[:, 0]
    runs = []
    for kind in KINDS:
        made: type[Leapfrog] | type[RungeKutta] = Leapfrog if kind == "structured" else RungeKutta
        models = ensemble(config.seeds, config.seed, partial(made, config.width, config.step))
        train_ensemble(
            models,
            (seen[:, 0], seen[:, 1:]),
            EnsembleTraining(config.steps, 64, 1e-2, seed=config.seed),
            lambda model, z, after: (model(z, after.shape[-2]) - after).square().mean(),
        )
        with torch.no_grad():
            states = torch.stack([torch.cat([start[None], m(start, config.rollout)]) for m in models])
            wells = [m.rest.potential(GRID[:, None]) for m in models if isinstance(m, Leapfrog)]
            at_one = [m.rest.potential(torch.ones(1).double()) for m in models if isinstance(m, Leapfrog)]
        potential = torch.stack([w - a - 0.25 for w, a in zip(wells, at_one, strict=True)]) if wells else None
        errors = energy(states) - energy(start)
        runs.append(EnergyRun(kind, states, errors, torch.linalg.vector_norm(states - truth, dim=-1), potential))
    return runs
