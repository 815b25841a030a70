r"""Measures that tell symplectic maps from others: defects of the Jacobian, energy drift, the error at a horizon.

A bounded energy is not enough, since a plain network can keep it for a while. So each is measured separately.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import jacrev, vmap

from pnpkit.errors import InputError

Function = Callable[[Tensor], Tensor]


def structure_matrix(dimension: int) -> Tensor:
    """Return J = [0 I; -I 0] of size 2d x 2d, float64."""
    eye, zero = torch.eye(dimension, dtype=torch.float64), torch.zeros(dimension, dimension, dtype=torch.float64)
    return torch.cat([torch.cat([zero, eye], 1), torch.cat([-eye, zero], 1)], 0)


def jacobians(map: Function, points: Tensor) -> Tensor:
    """Return F' at every point: (N, 2d) -> (N, 2d, 2d)."""
    return vmap(jacrev(map))(points).detach()


def symplecticity_defect(map: Function, points: Tensor) -> float:
    """max over the points of ||F'^T J F' - J||_2: 0 for a symplectic map, to rounding."""
    return defects(jacobians(map, points))[0]


def volume_defect(map: Function, points: Tensor) -> float:
    """max over the points of |det F' - 1|."""
    return defects(jacobians(map, points))[1]


def defects(slopes: Tensor) -> tuple[float, float]:
    """Return the symplecticity defect and the volume defect, given Jacobians (N, 2d, 2d)."""
    structure = structure_matrix(slopes.shape[-1] // 2).to(slopes)
    shape = torch.linalg.matrix_norm(slopes.mT @ structure @ slopes - structure, 2).max()
    return float(shape), float((torch.linalg.det(slopes) - 1).abs().max())


def reversibility_defect(map: Function, points: Tensor) -> float:
    """max ||R F(R F(z)) - z||, R(q, p) = (q, -p): 0 for the flow of an H that is even in p, and for reversible maps."""

    def turn(z: Tensor) -> Tensor:
        q, p = z.chunk(2, dim=-1)
        return torch.cat([q, -p], dim=-1)

    with torch.no_grad():
        back = turn(map(turn(map(points))))
    return float(torch.linalg.vector_norm(back - points, dim=-1).max())


def rollout(map: Function, start: Tensor, steps: int) -> Tensor:
    """Return start, F(start), F(F(start)), ... as (steps + 1, *start.shape).

    After a value that is above 1e6 or not finite the states are NaN.
    """
    states = [start]
    with torch.no_grad():
        for _ in range(steps):
            last = states[-1]
            gone = ~torch.isfinite(last) | (last.abs() > 1e6)
            states.append(torch.where(gone.any(-1, keepdim=True), torch.nan, map(last)))
    return torch.stack(states)


@dataclass(frozen=True)
class EnergySplit:
    """H(t) - H(0) = bounded oscillation + secular drift.

    Attributes:
        largest: max |H(t) - H(0)|.
        oscillation: half the range of the energy minus the fitted line.
        drift: slope of the line, energy per unit of time.
        uncertainty: standard error of the slope, from the scatter of block means.
    """

    largest: float
    oscillation: float
    drift: float
    uncertainty: float

    @property
    def drifts(self) -> bool:
        """Whether the slope exceeds three standard errors and rounding, or the run is not finite."""
        return not math.isfinite(self.largest) or abs(self.drift) > 3 * self.uncertainty + 1e-14


def split_energy(times: Tensor, energy: Tensor, blocks: int = 20) -> EnergySplit:
    """Fit a line to the means of ``blocks`` equal pieces of the energies (T,). This averages oscillation, not drift."""
    size = len(times) // blocks
    if size < 2:
        raise InputError(f"expected at least {2 * blocks} times, got {len(times)}")
    if not bool(torch.isfinite(energy).all()):
        return EnergySplit(math.inf, math.inf, math.nan, math.nan)
    error = energy - energy[0]
    t = times[: size * blocks].view(blocks, size).mean(1)
    e = error[: size * blocks].view(blocks, size).mean(1)
    centred = t - t.mean()
    slope = (centred * e).sum() / centred.square().sum()
    line = e.mean() + slope * centred
    uncertainty = ((e - line).square().sum() / (blocks - 2) / centred.square().sum()).sqrt()
    rest = error - slope * (times - t.mean()) - e.mean()
    return EnergySplit(float(error.abs().max()), float((rest.max() - rest.min()) / 2), float(slope), float(uncertainty))


def horizon(times: Tensor, error: Tensor, tolerance: float) -> float:
    """Return the first time at which the error (T,) exceeds ``tolerance`` or is not finite; inf if there is none."""
    outside = ~(error <= tolerance)
    return float(times[int(outside.int().argmax())]) if bool(outside.any()) else math.inf


def growth_exponent(times: Tensor, error: Tensor) -> float:
    """Return k of error ~ t^k, fitted over the last nine tenths of the time.

    It is near 1 for a symplectic map on an integrable system, and near 2 for other maps.
    """
    kept = (times > times[-1] / 10) & torch.isfinite(error) & (error > 0)
    if int(kept.sum()) < 10:
        return math.nan
    x, y = times[kept].log(), error[kept].log()
    x = x - x.mean()
    return float((x * y).sum() / x.square().sum())
