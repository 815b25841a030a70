r"""Hamiltonian systems q' = dH/dp, p' = -dH/dq with reference solutions and conserved quantities.

Points are (..., 2d) in float64, z = (q, p). Masses, lengths and the gravitational constants are 1.
Reference: the closed form where there is one (oscillator, Kepler), otherwise Dormand and Prince of order 8 (DOP853,
Hairer, Norsett, Wanner 1993) at relative tolerance 1e-12.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from pnpkit.dynamics import trajectories
from pnpkit.errors import InputError, UnknownName

Function = Callable[[Tensor], Tensor]


Flow = Callable[[Tensor, Tensor], Tensor]


Sampler = Callable[[int, torch.Generator], Tensor]


@dataclass(frozen=True)
class System:
    """One Hamiltonian system, with the settings of its experiment.

    Attributes:
        energy: H, (..., 2d) -> (...).
        sample: a function that draws training points (N, 2d).
        start: (2d,), the first point of the rollout.
        step: time between the points of a training pair, and of a rollout.
        horizon: length of the rollout in time.
        exact: closed-form flow (z (2d,), times (T,)) -> (T, 2d), if there is one.
        invariants: further conserved quantities by name.
        even: whether H(q, -p) = H(q, p), so that the flow is reversible.
    """

    name: str
    dimension: int
    energy: Function
    sample: Sampler
    start: tuple[float, ...]
    step: float
    horizon: float
    exact: Flow | None = None
    invariants: Mapping[str, Function] = field(default_factory=dict)
    even: bool = True

    def velocity(self, z: Tensor) -> Tensor:
        """(dH/dp, -dH/dq), (..., 2d) -> (..., 2d)."""
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            (slope,) = torch.autograd.grad(self.energy(z).sum(), z)
        q, p = slope.chunk(2, dim=-1)
        return torch.cat([p, -q], dim=-1)

    def flow(self, z: Tensor, times: Tensor) -> Tensor:
        """Return the reference solution from one point (2d,): (T, 2d) at increasing ``times`` >= 0."""
        if z.ndim != 1 or times.ndim != 1:
            raise InputError(f"expected one point (2d,) and times (T,), got {tuple(z.shape)} and {tuple(times.shape)}")
        return self.exact(z, times) if self.exact else self.integrate(z, times)

    def integrate(self, z: Tensor, times: Tensor) -> Tensor:
        """Integrate by DOP853 from z (..., 2d), with all points as one system: (T, ..., 2d)."""

        def field(states: np.ndarray) -> np.ndarray:
            return self.velocity(torch.from_numpy(states)).numpy()

        return trajectories.reference(field, z, times)

    def pairs(self, count: int, seed: int) -> tuple[Tensor, Tensor]:
        """Return points (N, 2d) and the points to which the flow takes them in one ``step``."""
        z = self.sample(count, torch.Generator().manual_seed(seed))
        return z, self.integrate(z, torch.tensor([self.step], dtype=torch.float64))[0]

    def times(self, horizon: float | None = None) -> Tensor:
        """Return the times 0, step, 2 step, ... up to the horizon."""
        return torch.arange(round((horizon or self.horizon) / self.step) + 1, dtype=torch.float64) * self.step


def _box(low: tuple[float, ...], high: tuple[float, ...]) -> Sampler:
    a, b = torch.tensor(low, dtype=torch.float64), torch.tensor(high, dtype=torch.float64)
    return lambda count, generator: a + (b - a) * torch.rand(count, len(a), generator=generator, dtype=torch.float64)


def _oscillator_energy(z: Tensor) -> Tensor:
    return z.square().sum(-1) / 2


def _oscillator_flow(z: Tensor, times: Tensor) -> Tensor:
    q, p = z
    c, s = times.cos(), times.sin()
    return torch.stack([q * c + p * s, p * c - q * s], dim=-1)


def _pendulum_energy(z: Tensor) -> Tensor:
    q, p = z.unbind(-1)
    return p.square() / 2 - q.cos()


def _double_pendulum_energy(z: Tensor) -> Tensor:
    """The energy of two rods with equal masses at their ends, given angles from the vertical and their momenta."""
    a, b, p, r = z.unbind(-1)
    kinetic = (p.square() + 2 * r.square() - 2 * p * r * (a - b).cos()) / (2 * (1 + (a - b).sin().square()))
    return kinetic - 2 * a.cos() - b.cos()


def _henon_heiles_energy(z: Tensor) -> Tensor:
    x, y, _, _ = z.unbind(-1)
    return z.square().sum(-1) / 2 + x.square() * y - y**3 / 3


def _henon_heiles_sample(count: int, generator: torch.Generator) -> Tensor:
    """Draw points uniformly in a box, inside the well and with energies below 1/7 (above 1/6 points escape)."""
    box, kept = _box((-0.8, -0.5, -0.5, -0.5), (0.8, 0.9, 0.5, 0.5)), torch.zeros(0, 4, dtype=torch.float64)
    while len(kept) < count:
        z = box(4 * count, generator)
        kept = torch.cat([kept, z[_henon_heiles_energy(z) < 1 / 7]])
    return kept[:count]


def _kepler_energy(z: Tensor) -> Tensor:
    q, p = z.chunk(2, dim=-1)
    return p.square().sum(-1) / 2 - 1 / torch.linalg.vector_norm(q, dim=-1)


def _kepler_momentum(z: Tensor) -> Tensor:
    x, y, u, v = z.unbind(-1)
    return x * v - y * u


def _kepler_flow(z: Tensor, times: Tensor) -> Tensor:
    """Compute elliptic motion by Lagrange's f and g, with Kepler's equation solved by Newton's method."""
    q, p = z[:2], z[2:]
    r = float(torch.linalg.vector_norm(q))
    a = -0.5 / float(_kepler_energy(z))
    if a <= 0:
        raise InputError("the closed form is for bound orbits: the energy must be negative")
    rate, ec, es = a**-1.5, 1 - r / a, float(q @ p) / math.sqrt(a)
    turn = rate * times
    angle = turn.clone()
    for _ in range(50):  # x - ec sin x + es (1 - cos x) = turn
        miss = angle - ec * angle.sin() + es * (1 - angle.cos()) - turn
        angle = angle - miss / (1 - ec * angle.cos() + es * angle.sin())
    c, s = angle.cos()[:, None], angle.sin()[:, None]
    f, g = 1 - a / r * (1 - c), times[:, None] - (angle[:, None] - s) / rate
    radius = a * (1 - ec * c + es * s)
    return torch.cat([f * q + g * p, -math.sqrt(a) / (radius * r) * s * q + (1 - a / radius * (1 - c)) * p], dim=-1)


def _kepler_sample(count: int, generator: torch.Generator) -> Tensor:
    """Draw orbits of semi-major axis 0.85 to 1.15 and eccentricity up to 0.45, at a uniform eccentric anomaly."""
    draw = torch.rand(count, 4, generator=generator, dtype=torch.float64)
    a, e = 0.85 + 0.3 * draw[:, 0], 0.45 * draw[:, 1]
    angle, turn = 2 * torch.pi * draw[:, 2], 2 * torch.pi * draw[:, 3]
    b, radius = a * (1 - e.square()).sqrt(), a * (1 - e * angle.cos())
    q = torch.stack([a * (angle.cos() - e), b * angle.sin()], dim=-1)
    p = torch.stack([-a * angle.sin(), b * angle.cos()], dim=-1) / (a.sqrt() * radius)[:, None]
    rotation = torch.stack([turn.cos(), -turn.sin(), turn.sin(), turn.cos()], dim=-1).view(-1, 2, 2)
    return torch.cat([(rotation @ q[..., None])[..., 0], (rotation @ p[..., None])[..., 0]], dim=-1)


FIGURE_EIGHT = (  # Chenciner and Montgomery (2000), initial values of Simo; period 6.32591398
    (0.97000436, -0.24308753, -0.97000436, 0.24308753, 0.0, 0.0)
    + (0.466203685, 0.43236573, 0.466203685, 0.43236573, -0.93240737, -0.86473146)
)


FIGURE_EIGHT_PERIOD = 6.32591398


def _three_bodies_energy(z: Tensor) -> Tensor:
    """The energy of equal masses in the plane, where z = (x1, y1, x2, y2, x3, y3, and their momenta)."""
    q, p = z.chunk(2, dim=-1)
    a, b, c = q.unflatten(-1, (3, 2)).unbind(-2)
    distances = [torch.linalg.vector_norm(d, dim=-1) for d in (a - b, b - c, c - a)]
    return p.square().sum(-1) / 2 - sum(1 / d for d in distances)


def _three_bodies_spin(z: Tensor) -> Tensor:
    q, p = (part.unflatten(-1, (3, 2)) for part in z.chunk(2, dim=-1))
    return (q[..., 0] * p[..., 1] - q[..., 1] * p[..., 0]).sum(-1)


def _three_bodies_sample(count: int, generator: torch.Generator) -> Tensor:
    """Draw points of the figure eight at uniform times, plus noise N(0, 0.03^2)."""
    starts = torch.tensor([FIGURE_EIGHT], dtype=torch.float64)
    times = torch.rand(count, generator=generator, dtype=torch.float64) * FIGURE_EIGHT_PERIOD
    order = times.argsort()
    z = SYSTEMS["three-bodies"].integrate(starts, times[order])[:, 0]
    return z + 0.03 * torch.randn(z.shape, generator=generator, dtype=torch.float64)


SYSTEMS: dict[str, System] = {
    system.name: system
    for system in (
        System(
            "oscillator",
            1,
            _oscillator_energy,
            _box((-1, -1), (1, 1)),
            (1.0, 0.0),
            0.1,
            100.0,
            _oscillator_flow,
        ),
        System(
            "pendulum",
            1,
            _pendulum_energy,
            _box((-math.sqrt(2), -math.pi / 2), (math.sqrt(2), math.pi / 2)),
            (1.0, 0.0),
            0.1,
            100.0,
        ),
        System(
            "henon-heiles",
            2,
            _henon_heiles_energy,
            _henon_heiles_sample,
            (0.0, 0.1, 0.35, 0.1),
            0.1,
            100.0,
        ),
        System(
            "kepler",
            2,
            _kepler_energy,
            _kepler_sample,
            (0.7, 0.0, 0.0, math.sqrt(1.3 / 0.7)),
            0.1,
            100.0,
            _kepler_flow,
            {"angular momentum": _kepler_momentum},
        ),
        System(
            "double-pendulum",
            2,
            _double_pendulum_energy,
            _box((-1.2, -1.2, -1.5, -1.0), (1.2, 1.2, 1.5, 1.0)),
            (0.5, 0.5, 0.0, 0.0),
            0.1,
            50.0,
        ),
        System(
            "three-bodies",
            6,
            _three_bodies_energy,
            _three_bodies_sample,
            FIGURE_EIGHT,
            0.05,
            2 * FIGURE_EIGHT_PERIOD,
            None,
            {"angular momentum": _three_bodies_spin},
        ),
    )
}


def system(name: str) -> System:
    """Return the system with this name. For an unknown name, UnknownName lists all names."""
    if name not in SYSTEMS:
        raise UnknownName("system", name, SYSTEMS)
    return SYSTEMS[name]
