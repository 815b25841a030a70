r"""A preserved constraint: the spherical pendulum, with positions on the unit sphere and velocities tangent to it.

    q'' = -g e_3 + (g q_3 - ||q'||^2) q,    ||q|| = 1,  q . q' = 0,  g = 1

The structured network rotates: with (xi, a) = N(q, v),

    q+ = exp(h [xi]_x) q,    v+ = P (exp(h [xi]_x) v + h a),    P = I - q+ q+^T

so both constraints hold up to rounding (a Lie group method, Iserles et al. 2000). The plain network is
(q, v) + h N(q, v). A third one projects the plain step onto the constraint set.
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

KINDS = ("structured", "projected afterwards", "plain")


@dataclass(frozen=True)
class SphereConfig:
    """The settings: ``points`` pairs, ``step`` apart in time, with speeds up to ``speed``.

    There are ``steps`` steps of Adam and ``polish`` steps of Levenberg-Marquardt.
    """

    points: int = 1000
    step: float = 0.1
    speed: float = 1.2
    width: int = 20
    steps: int = 500
    polish: int = 20
    seeds: int = 5
    rollout: int = 500
    seed: int = 0


@dataclass(frozen=True)
class SphereRun:
    """The results: a rollout, (seeds, steps + 1, 6), and its errors, each (seeds, steps + 1).

    The errors are the distance from the reference, the violation max(| ||q|| - 1 |, |q . v|) and the energy error.
    """

    kind: str
    states: Tensor
    distance: Tensor
    violation: Tensor
    energy_error: Tensor


def energy(z: Tensor) -> Tensor:
    """||v||^2 / 2 + q_3."""
    return z[..., 3:].square().sum(-1) / 2 + z[..., 2]


def violation(z: Tensor) -> Tensor:
    """Return the larger of | ||q|| - 1 | and |q . v|."""
    q, v = z.chunk(2, dim=-1)
    return torch.maximum((torch.linalg.vector_norm(q, dim=-1) - 1).abs(), (q * v).sum(-1).abs())


def reference(z: Tensor, times: Tensor) -> Tensor:
    """Integrate by DOP853 from z (N, 6): (T, N, 6)."""
    down = np.array([0.0, 0.0, 1.0])

    def field(states: np.ndarray) -> np.ndarray:
        q, v = states[:, :3], states[:, 3:]
        pull = q[:, 2:] - (v**2).sum(-1, keepdims=True)
        return np.concatenate([v, pull * q - down], axis=1)

    return trajectories.reference(field, z, times)


def sample(count: int, speed: float, generator: torch.Generator) -> Tensor:
    """Draw uniform positions and tangent velocities of uniform size up to ``speed``: (N, 6)."""
    draw = torch.randn(count, 6, generator=generator, dtype=torch.float64)
    size = speed * torch.rand(count, 1, generator=generator, dtype=torch.float64)
    q = draw[:, :3] / torch.linalg.vector_norm(draw[:, :3], dim=-1, keepdim=True)
    v = draw[:, 3:] - (draw[:, 3:] * q).sum(-1, keepdim=True) * q
    return torch.cat([q, size * v / torch.linalg.vector_norm(v, dim=-1, keepdim=True)], dim=-1)


def rotate(turn: Tensor, x: Tensor) -> Tensor:
    """exp([turn]_x) x by Rodrigues' formula, smooth at 0: (..., 3), (..., 3) -> (..., 3)."""
    square = turn.square().sum(-1, keepdim=True)
    small = square < 1e-8
    angle = torch.where(small, torch.ones_like(square), square).sqrt()
    first = torch.where(small, 1 - square / 6, angle.sin() / angle)
    second = torch.where(small, 0.5 - square / 24, 2 * (angle / 2).sin().square() / angle.square())
    once = torch.linalg.cross(turn, x)
    return x + first * once + second * torch.linalg.cross(turn, once)


class Integrator(nn.Module):
    """One step of size h of one of the three networks: (..., 6) -> (..., 6)."""

    def __init__(self, kind: str, width: int, step: float):
        super().__init__()
        self.body, self.kind, self.step = MLP(6, width, width, 6), kind, step

    def forward(self, z: Tensor) -> Tensor:
        q, v = z.chunk(2, dim=-1)
        first, second = self.body(z).chunk(2, dim=-1)
        if self.kind == "structured":
            turn = self.step * first
            return onto(rotate(turn, q), rotate(turn, v) + self.step * second)
        q, v = q + self.step * first, v + self.step * second
        return onto(q, v) if self.kind == "projected afterwards" else torch.cat([q, v], dim=-1)


def onto(q: Tensor, v: Tensor) -> Tensor:
    """Return q / ||q||, and the part of v that is tangent to the sphere there."""
    q = q / torch.linalg.vector_norm(q, dim=-1, keepdim=True)
    return torch.cat([q, v - (v * q).sum(-1, keepdim=True) * q], dim=-1)


def run(config: SphereConfig) -> list[SphereRun]:
    """Train the three networks on the same pairs, in float64, and roll them out from one start."""
    z = sample(config.points, config.speed, torch.Generator().manual_seed(config.seed))
    after = reference(z, torch.tensor([config.step], dtype=torch.float64))[0]
    start = torch.tensor([0.6, 0.0, -0.8, 0.0, 0.7, 0.0], dtype=torch.float64)
    truth = reference(start[None], torch.arange(config.rollout + 1, dtype=torch.float64) * config.step)[:, 0]
    runs = []
    for kind in KINDS:
        models = ensemble(config.seeds, config.seed, partial(Integrator, kind, config.width, config.step))
        train_ensemble(models, (z, after), EnsembleTraining(config.steps, 128, 1e-2, seed=config.seed))
        for model in models:
            levenberg_marquardt(model, (z, after), config.polish)
        with torch.no_grad():
            states = torch.stack([trajectories.rollout(model, start, config.rollout) for model in models])
        errors = (energy(states) - energy(start)).abs()
        runs.append(
            SphereRun(kind, states, torch.linalg.vector_norm(states - truth, dim=-1), violation(states), errors)
        )
    return runs
