r"""Least squares that is one-sided at clipped readings: a pixel at the ceiling says "at least so bright"."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from deepinv.physics import LinearPhysics
from torch import Tensor

from pnpkit.certificates import Bound
from pnpkit.errors import InputError
from pnpkit.fidelities.pointwise import Pointwise
from pnpkit.fidelities.separable import Separable, like, readings, weights_for


@dataclass(frozen=True)
class Clipped(Pointwise):
    """phi(v) = w/2 (v - y)^2, but 0 for v > y where ``above`` and for v < y where ``below``."""

    weights: Tensor
    above: Tensor
    below: Tensor

    def gap(self, v: Tensor) -> Tensor:
        """v - y where it counts, else 0."""
        gap = v - self.y
        return torch.where(self.satisfied(gap), 0.0, gap)

    def satisfied(self, gap: Tensor) -> Tensor:
        """Where v - y contradicts no clipped reading."""
        return (self.above & (gap > 0)) | (self.below & (gap < 0))

    def value(self, v: Tensor) -> Tensor:
        """w/2 (v - y)^2 where it counts."""
        return self.weights / 2 * self.gap(v).square()

    def slope(self, v: Tensor) -> Tensor:
        """w (v - y) where it counts."""
        return self.weights * self.gap(v)

    def curvature(self, v: Tensor) -> Tensor:
        """w where v - y counts."""
        return torch.where(self.satisfied(v - self.y), 0.0, self.weights)

    @property
    def steepest(self) -> Tensor:
        """w."""
        return self.weights

    @property
    def flattest(self) -> float:
        """The least weight, 0 where something is clipped."""
        return 0.0 if bool(self.above.any()) or bool(self.below.any()) else float(self.weights.min())


class ClippedLeastSquares(Separable):
    """f(x) = sum_i w_i/2 d_i^2, d = A x - y, with max(0, -d_i) for d_i at the ceiling and max(0, d_i) at the floor.

    A reading that saturated says that the scene is at least so bright there, one that was cut to 0 that it is at most
    so bright. L = max_i w_i ||A||^2.

    Args:
        operator, y, norm: as those of ``LeastSquares``; y is one tensor.
        weights: w, numbers >= 0, of a shape that broadcasts to that of y; None is 1.
        above: true where the reading is at the ceiling; of a shape that broadcasts to that of y. None is nowhere.
        below: true where the reading was cut to the floor, likewise.

    Raises:
        InputError: as ``WeightedLeastSquares``; a mask of another size or that is not of booleans; a reading that is
            both.
    """

    name = "max w "

    def __init__(
        self,
        operator: LinearPhysics,
        y: Tensor,
        weights: Any = None,
        above: Any = None,
        below: Any = None,
        norm: float | Bound | None = None,
    ):
        y = readings(operator, y)
        one, other = (mask_for(y, name, given) for name, given in (("above", above), ("below", below)))
        if bool((one & other).any()):
            raise InputError("a reading cannot be both at the ceiling and cut to the floor: above and below overlap")
        super().__init__(operator, Clipped(y, weights_for(y, weights), one, other), norm)


def mask_for(y: Tensor, name: str, given: Any) -> Tensor:
    """The mask as booleans that broadcast to y, False for None; ``InputError`` for anything else."""
    if given is None:
        return torch.zeros((1,) * y.ndim, dtype=torch.bool, device=y.device)
    kind = str(getattr(given, "dtype", "")).removeprefix("torch.")
    if kind != "bool":
        raise InputError(f"{name} must be a mask of booleans, got {kind or type(given).__name__}: mask > 0 makes one")
    return like(y, name, given, torch.bool)
