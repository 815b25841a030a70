r"""f(x) = sum_i phi_i((A x)_i) with phi_i convex: what every reading says by itself of the picture."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import torch
from deepinv.physics import LinearPhysics
from deepinv.utils import TensorList
from torch import Tensor

from pnpkit.certificates import Bound
from pnpkit.errors import InputError
from pnpkit.fidelities import newton
from pnpkit.fidelities.data import DataTerm, ProximalPoint, check_data
from pnpkit.fidelities.pointwise import Pointwise
from pnpkit.numerics.conjugate_gradients import length

S = TypeVar("S", bound="Separable")


class Separable(DataTerm):
    """f(x) = sum_i phi_i((A x)_i), phi_i convex: value, gradient and a proximal map whose error is proven.

    Smooth with L = max_i c_i ||A||^2 where phi_i is c_i-smooth. Its proximal map is that of a convex function, so it is
    firmly nonexpansive, and found by Newton's method to an error that the gradient proves; see ``newton``.
    """

    name = ""  # of the factor of ||A||^2 in L
    phi: Pointwise

    def __init__(self, operator: LinearPhysics, phi: Pointwise, norm: float | Bound | None = None):
        self.phi = phi
        super().__init__(operator, phi.y, norm)

    def set_constants(self, flattest: float = 1.0, steepest: float = 1.0, name: str = "") -> None:
        """mu and L by the curvature of phi."""
        super().set_constants(self.phi.flattest, float(self.phi.steepest.max()), name or self.name)

    def watched(self) -> list[Tensor]:
        """The tensors that phi is made of, and y."""
        return [self.y, *self.phi.tensors()]

    def with_data(self: S, y: Tensor | TensorList) -> S:
        """f for another measurement y; A, the bound on its norm, and weights stay."""
        given = readings(self.operator, y)
        if given.shape != self.y.shape:
            raise InputError(
                f"other measurements must have the shape of y, {tuple(self.y.shape)}, got {tuple(y.shape)}"
            )
        other = super().with_data(given)
        other.phi = replace(self.phi, y=given)
        other._watch()
        other.set_constants()
        return other

    def value(self, x: Tensor) -> Tensor:
        """f(x) per image, shape (B,)."""
        return self.phi.value(self.model().A(x)).flatten(1).sum(1)

    def gradient(self, x: Tensor) -> Tensor:
        """A^T phi'(A x)."""
        operator = self.model()
        return self.operator.A_adjoint(self.phi.slope(operator.A(x)))

    def magnitude(self) -> float:
        """||grad f(0)||, the largest of a batch."""
        return float(length(self.gradient(torch.zeros_like(self.start()))).max())

    def proximal_point(self, tau: float) -> ProximalPoint:
        """By Newton's method to an error that its gradient proves; see ``newton``."""
        function, error = newton.proximal_map(self.model(), self.start(), self.phi, tau, self.norm.value)
        return ProximalPoint(function, error, newton.premises(error))


def readings(operator: LinearPhysics, y: Any) -> Tensor:
    """y, if it fits A and is one tensor of finite floats; ``InputError`` otherwise."""
    if isinstance(y, TensorList):
        raise InputError("this fidelity takes one tensor of readings, got a TensorList: LeastSquares takes stacks")
    check_data(operator, y)
    given: Tensor = y
    return given


def positive(name: str, value: Any) -> float:
    """A finite number > 0; ``InputError`` for others."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not 0 < number < math.inf:
        raise InputError(f"{name} must be a finite number > 0, got {value}")
    return number


def like(y: Tensor, name: str, given: Any, dtype: torch.dtype | None = None) -> Tensor:
    """A number or an array as a tensor that broadcasts to y: a copy, on the device of y.

    Raises:
        InputError: it does not broadcast to the shape of y, or is none.
    """
    try:
        values = torch.as_tensor(np.asarray(given) if isinstance(given, (list, tuple)) else given)
        values = values.detach().to(y.device, y.dtype if dtype is None else dtype, copy=True)
        fits = torch.broadcast_shapes(values.shape, y.shape) == y.shape
    except (RuntimeError, TypeError, ValueError):
        fits = False
    if not fits:
        came = tuple(np.shape(given)) or type(given).__name__
        raise InputError(f"{name} must have the shape of y, {tuple(y.shape)}, or broadcast to it, got {came}")
    return values


def weights_for(y: Tensor, weights: Any) -> Tensor:
    """Weights as a tensor that broadcasts to y: 1 for None.

    Raises:
        InputError: another size, negative or not finite, or an image of the batch with weight 0 everywhere.
    """
    given = like(y, "weights", 1.0 if weights is None else weights)
    if not bool((torch.isfinite(given) & (given >= 0)).all()):
        raise InputError("weights must be finite numbers >= 0, 0 where a reading does not count")
    if not bool((given.expand(y.shape) > 0).flatten(1).any(1).all()):
        raise InputError("every reading of an image has weight 0: nothing was measured; a reading that counts is > 0")
    return given
