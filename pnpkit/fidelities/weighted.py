r"""Weighted least squares, 1/2 sum_i w_i ((A x)_i - y_i)^2."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from deepinv.physics import LinearPhysics
from torch import Tensor

from pnpkit.certificates import Bound
from pnpkit.fidelities.pointwise import Pointwise
from pnpkit.fidelities.separable import Separable, readings, weights_for


@dataclass(frozen=True)
class Squares(Pointwise):
    """w/2 (v - y)^2."""

    weights: Tensor
    quadratic: ClassVar[bool] = True

    def value(self, v: Tensor) -> Tensor:
        """w/2 (v - y)^2."""
        return self.weights / 2 * (v - self.y).square()

    def slope(self, v: Tensor) -> Tensor:
        """w (v - y)."""
        return self.weights * (v - self.y)

    def curvature(self, v: Tensor) -> Tensor:
        """w."""
        return self.weights.expand_as(v)

    @property
    def steepest(self) -> Tensor:
        """w."""
        return self.weights

    @property
    def flattest(self) -> float:
        """The least weight."""
        return float(self.weights.min())


class WeightedLeastSquares(Separable):
    """f(x) = 1/2 sum_i w_i ((A x)_i - y_i)^2, per image of the batch; L = max_i w_i ||A||^2.

    With w_i = 1 / variance of reading i it is the negative log-likelihood of independent Gaussian noise. w_i = 0 leaves
    a reading out: dead pixels, no data.

    Args:
        operator, y, norm: as those of ``LeastSquares``; y is one tensor.
        weights: w, numbers >= 0, of a shape that broadcasts to that of y.

    Raises:
        InputError: as ``LeastSquares``; weights of another size, negative, not finite, or all 0 for an image.
    """

    name = "max w "

    def __init__(self, operator: LinearPhysics, y: Tensor, weights: Any, norm: float | Bound | None = None):
        y = readings(operator, y)
        super().__init__(operator, Squares(y, weights_for(y, weights)), norm)

    @property
    def weights(self) -> Tensor:
        """w, of a shape that broadcasts to that of y."""
        assert isinstance(self.phi, Squares)
        return self.phi.weights
