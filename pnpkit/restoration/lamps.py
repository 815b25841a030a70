"""Whether saturated pixels are lamps, brighter than the ceiling, or white things that the ceiling just holds."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from deepinv.physics import LinearPhysics
from torch import Tensor

FACTOR = 2.0  # between the misfit of lamps and the noise; white skies have 0.4 to 0.7, night scenes 5 to 120
STEPS = 40  # of the accelerated projected gradient method
BESIDE = 2  # pixels around the saturated ones that are looked at, too


@torch.no_grad()
def misfit(operator: LinearPhysics, y: Tensor, above: Tensor, start: Tensor, box: tuple[float, float]) -> float:
    """The root mean square of y - A x at the saturated readings and beside them, x in the box, near to the least
    squares of all.

    A white wall fits: of it no pixel is brighter than the ceiling. The edge of a blurred lamp is steeper than any scene
    in the box explains.

    Args:
        operator: A, with ||A|| <= 1 for a blur. start: the first x. box: up to the ceiling.
    """
    x = z = start.clamp(*box)
    momentum = 1.0
    for _ in range(STEPS):
        following = (z - operator.A_adjoint(operator.A(z) - y)).clamp(*box)
        ahead = (1 + math.sqrt(1 + 4 * momentum**2)) / 2
        z, x, momentum = following + (momentum - 1) / ahead * (following - x), following, ahead
    near = F.max_pool2d(above.to(y), 2 * BESIDE + 1, 1, BESIDE) > 0
    return float((operator.A(x) - y)[near].double().square().mean().sqrt())


def are_lamps(
    operator: LinearPhysics, y: Tensor, above: Tensor, start: Tensor, bottom: float, noise: float, kernel_error: float
) -> bool:
    """Whether the misfit is more than noise and what is wrong with the kernel explain.

    Args:
        bottom: of the box; its top is the ceiling. noise, kernel_error: levels.
    """
    found = misfit(operator, y, above, start, (bottom, float(y[above].max())))
    return found > FACTOR * math.hypot(noise, kernel_error)
