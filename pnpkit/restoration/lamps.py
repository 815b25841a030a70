"""What saturated pixels are: lamps far brighter than the ceiling, lighted things little above it, or white things.

White things fit below the ceiling: a scene that is no brighter explains the readings around them.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from deepinv.physics import LinearPhysics
from torch import Tensor

from pnpkit.operators.normal_equations import framed
from pnpkit.restoration.defaults import DIM

FACTOR = 2.0  # least misfit of lamps, in noise levels; white skies have 0.3 to 0.8, night scenes 4 to 13
EXPLAINED = 1.0  # largest misfit of what is no brighter than ``DIM`` times the ceiling, likewise (docs/lab-book)
STEPS, LOOKS = 40, (2, 5, 10, 20)  # of the search at most, and after how many of them its scene is looked at
BESIDE = 2  # pixels around the saturated ones that are looked at, too


@torch.no_grad()
def explained(
    operator: LinearPhysics,
    y: Tensor,
    clipped: Tensor,
    start: Tensor,
    box: tuple[float, float],
    one_sided: bool,
    most: float,
) -> bool:
    """Whether a scene in the box explains the saturated readings and those beside them.

    It explains them if the root mean square of y - A x there is at most ``most``.

    A white wall is explained: no pixel of it is brighter than the ceiling. The edge of a blurred lamp is steeper than
    any scene in the box makes it. The search is an accelerated projected gradient method, ``STEPS`` steps at most.

    Args:
        operator: A, with ||A|| <= 1, as of a blur. y: (1, C, H, W). clipped: likewise, true where a reading saturates.
        start: the first x. box: of x. one_sided: whether saturated readings say "at least so bright" only.
    """
    blur = framed(operator, start) or operator  # the same A in a period whose transforms are fast
    near = F.max_pool2d(clipped.to(y), 2 * BESIDE + 1, 1, BESIDE) > 0

    def gap(x: Tensor) -> Tensor:
        found = blur.A(x) - y
        return torch.where(clipped & (found > 0), 0.0, found) if one_sided else found

    def explains(x: Tensor) -> bool:
        return float(gap(x)[near].double().square().mean().sqrt()) <= most

    x = z = start.clamp(*box)
    momentum = 1.0
    for step in range(STEPS):
        if step in LOOKS and explains(x):
            return True
        following = (z - blur.A_adjoint(gap(z))).clamp(*box)
        ahead = (1 + math.sqrt(1 + 4 * momentum**2)) / 2
        z, x, momentum = following + (momentum - 1) / ahead * (following - x), following, ahead
    return explains(x)


def are_lamps(operator: LinearPhysics, y: Tensor, clipped: Tensor, start: Tensor, bottom: float, level: float) -> bool:
    """Whether no scene up to the ceiling explains the readings by noise and what is wrong with the kernel.

    Args:
        bottom: of the box; its top is the ceiling. level: of noise and kernel error together.
    """
    return not explained(operator, y, clipped, start, (bottom, float(y[clipped].max())), False, FACTOR * level)


def are_dim(operator: LinearPhysics, y: Tensor, clipped: Tensor, start: Tensor, bottom: float, level: float) -> bool:
    """Whether a scene up to ``DIM`` times the ceiling explains the readings, taken one-sidedly."""
    top = bottom + DIM * (float(y[clipped].max()) - bottom)
    return explained(operator, y, clipped, start, (bottom, top), True, EXPLAINED * level)


def with_edges(y: Tensor, above: Tensor, holes: np.ndarray | None) -> Tensor:
    """The saturated readings with the edges of their parts: true where y is as bright as the least that is ``above``.

    Args:
        y: (1, C, H, W). above: likewise, true inside of saturated parts. holes: (H, W), false there, or None.
    """
    least = torch.where(above, y, math.inf).amin((-2, -1), keepdim=True)
    found = y >= least
    return found if holes is None else found & ~torch.from_numpy(holes).to(y.device)
