r"""Huber's loss, for readings of which a few are wrong: cosmic rays, hot pixels (Huber 1964)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from deepinv.physics import LinearPhysics
from torch import Tensor

from pnpkit.certificates import Bound
from pnpkit.fidelities.pointwise import Pointwise
from pnpkit.fidelities.separable import Separable, positive, readings, weights_for


@dataclass(frozen=True)
class Loss(Pointwise):
    """phi(v) = w/2 r^2 for r = v - y in [-delta, delta], w delta (|r| - delta/2) beyond."""

    weights: Tensor
    delta: float

    def value(self, v: Tensor) -> Tensor:
        """w/2 r^2, or w delta (|r| - delta/2)."""
        size = (v - self.y).abs()
        near = size.clamp(max=self.delta)
        return self.weights * near * (size - near / 2)

    def slope(self, v: Tensor) -> Tensor:
        """w r, cut at w delta."""
        return self.weights * (v - self.y).clamp(-self.delta, self.delta)

    def curvature(self, v: Tensor) -> Tensor:
        """w inside, 0 beyond."""
        return torch.where((v - self.y).abs() <= self.delta, self.weights, 0.0)

    @property
    def steepest(self) -> Tensor:
        """w."""
        return self.weights


class Huber(Separable):
    """f(x) = sum_i w_i h((A x - y)_i), h(r) = r^2/2 for |r| <= delta, delta (|r| - delta/2) beyond; L = max w ||A||^2.

    Readings that are off by more than delta pull with a constant force only.

    Args:
        operator, y, norm: as those of ``LeastSquares``; y is one tensor.
        delta: > 0, in units of y; a few standard deviations of the noise.
        weights: w, numbers >= 0, of a shape that broadcasts to that of y; None is 1.

    Raises:
        InputError: as ``WeightedLeastSquares``; a delta that is not a finite number > 0.
    """

    name = "max w "

    def __init__(
        self,
        operator: LinearPhysics,
        y: Tensor,
        delta: float,
        weights: Any = None,
        norm: float | Bound | None = None,
    ):
        y = readings(operator, y)
        super().__init__(operator, Loss(y, weights_for(y, weights), positive("delta", delta)), norm)
