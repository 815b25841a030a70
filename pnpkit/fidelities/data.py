r"""Data terms f(x) = phi(A x): an operator and its readings, both watched, the bound on ||A||, and a proximal map."""

from __future__ import annotations

import copy
import math
from abc import abstractmethod
from dataclasses import dataclass
from functools import cached_property
from numbers import Real
from typing import Any, TypeVar

import torch
from deepinv.physics import LinearPhysics
from deepinv.utils import TensorList
from torch import Tensor

from pnpkit.certificates import Bound, Certificate, Kind, Side
from pnpkit.errors import InputError, one_line
from pnpkit.fidelities.base import Fidelity
from pnpkit.maps import Map
from pnpkit.operators import normal_equations
from pnpkit.operators.adjoint import adjoint_gap, has_adjoint, pieces
from pnpkit.operators.integrity import state, unchanged, unwritten, written
from pnpkit.operators.normal_equations import Linear
from pnpkit.operators.norms import SLACK, check_stack, norm_bound, refute, smallest_singular_value

D = TypeVar("D", bound="DataTerm")


def check_data(operator: LinearPhysics, y: Tensor | TensorList) -> None:
    """Raise ``InputError`` unless A is an operator, and y finite floats of the shape that A gives."""
    if not isinstance(operator, LinearPhysics):
        raise InputError(
            f"expected a deepinv LinearPhysics, got {type(operator).__name__}: operators.matrix.from_matrix makes one "
            "of a matrix, deepinv.physics.LinearPhysics(A=A, A_adjoint=A_adjoint) of two functions"
        )
    check_stack(operator)
    for part in pieces(y):
        if not (isinstance(part, Tensor) and part.numel() and part.dtype in (torch.float32, torch.float64)):
            came = f"{part.dtype} {tuple(part.shape)}" if isinstance(part, Tensor) else type(part).__name__
            raise InputError(f"y must be a tensor of float32 or float64 with numbers in it, got {came}")
        if not bool(torch.isfinite(part).all()):
            raise InputError("y must hold finite numbers, got NaN or infinity")
    try:
        back = operator.A(operator.A_adjoint(y))
    except InputError:
        raise
    except (IndexError, RuntimeError, TypeError, ValueError) as error:
        raise InputError(f"y does not fit A: A(A_adjoint(y)) ends in: {one_line(error)[:200]}") from error
    given, asked = ([tuple(part.shape) for part in pieces(v)] for v in (y, back))
    if given != asked:
        raise InputError(f"y does not fit A: A gives {asked}, got {given}")


@dataclass(frozen=True)
class ProximalPoint:
    """x -> argmin_u tau f(u) + 1/2 ||u - x||^2 as it is computed.

    Attributes:
        function: the map.
        error: a bound on the root mean square error of its values, 0 for a closed form.
        premises: what that bound assumes.
    """

    function: Linear
    error: float
    premises: tuple[str, ...]


class DataTerm(Fidelity):
    """f(x) = phi(A x), phi convex and between ``flattest`` and ``steepest`` curved: mu and L by the gains of A.

    Args:
        operator: the forward model A, any deepinv ``LinearPhysics``, as it is now: f refuses to go on with one whose
            tensors were replaced or written to, since L is that of before. (Other attributes are not watched.)
        y: the measurement, (B, C, H, W). It is watched, too.
        norm: a bound on ||A|| that the user vouches for; it is named as a premise, and refused where a few steps of
            power iteration refute it; or a ``Bound``, which is not looked at, and is a premise, too. Without it the
            bound comes from ``operators.norms.norm_bound``: proven where the structure of A allows it or A carries a
            proof, measured otherwise.

    Attributes:
        norm: the bound on ||A||.

    Raises:
        InputError: a norm that is none, or too small, a stack without its adjoint, a y that is empty, not finite, of
            another type than float32 or float64, or of another size than what A gives; later, an operator or a
            measurement that was changed.
    """

    def __init__(self, operator: LinearPhysics, y: Tensor | TensorList, norm: float | Bound | None = None):
        check_data(operator, y)
        self.operator, self.y = operator, y
        self._watch()
        self.smallest = smallest_singular_value(operator)
        self.norm, self.premises = self._bound(norm)
        if not math.isfinite(self.norm.value * self.norm.value):
            raise InputError(f"||A||^2 must be a finite number, ||A|| is {self.norm.value:.3g}: scale A and y")
        self._vouched = norm is not None
        self.set_constants()

    def set_constants(self, flattest: float = 1.0, steepest: float = 1.0, name: str = "") -> None:
        """mu, L, side and method, for phi curved between ``flattest`` and ``steepest``, which is called ``name``."""
        self.mu = flattest * self.smallest * self.smallest
        self.L = steepest * self.norm.value * self.norm.value if steepest > 0 else 0.0
        self.side = self.norm.side
        sign = "<=" if self.side is Side.PROVEN else ">="
        self.method = f"L = {name}||A||^2 {sign} {self.L:.6g} ({self.norm.method})"
        if self._vouched and self.side is Side.PROVEN and not self.has_adjoint:
            self.side, self.method = Side.MEASURED, f"A_adjoint is not the adjoint of A: {self.gap()}"

    def _bound(self, norm: float | Bound | None) -> tuple[Bound, tuple[str, ...]]:
        """The bound on ||A||, given or found, and what it assumes."""
        if norm is None:
            found = norm_bound(self.operator, self.start())
            return found, tuple(map(str, found.premises))
        if isinstance(norm, Bound):
            given = (f"||A|| <= {norm.value:.6g}, given as {norm.method}", *map(str, norm.premises))
            return norm, given if norm.side is Side.PROVEN else ()
        if not (isinstance(norm, Real) and 0 < norm < math.inf):
            raise InputError(f"a norm is a finite number > 0, got {norm}")
        if self.smallest > norm * (1 + SLACK):
            raise InputError(f"||A|| is at least {self.smallest:.6g} (smallest gain): {norm:.6g} is no bound")
        refute(self.operator, self.start(), float(norm), "the user")
        return Bound(float(norm), Side.PROVEN, "given by the user"), (f"||A|| <= {norm:.6g}, given by the user",)

    def watched(self) -> list[Tensor]:
        """The tensors of phi that must stay as they are: y, and what else phi is made of."""
        return pieces(self.y)

    def _watch(self) -> None:
        self._state, self._measured = state(self.operator), written(TensorList(self.watched()))

    def __getstate__(self) -> dict[str, Any]:
        """For copies and pickles, whose tensors have counts of their own."""
        self.model()
        return {name: value for name, value in vars(self).items() if name not in ("_state", "_measured")}

    def __setstate__(self, values: dict[str, Any]) -> None:
        vars(self).update(values)
        self._watch()

    def with_data(self: D, y: Tensor | TensorList) -> D:
        """f for another measurement y; A and the bound on its norm stay."""
        other = copy.copy(self)
        other.y = y
        other._watch()
        return other

    def model(self) -> LinearPhysics:
        """A, if it and y are still those that f was made for."""
        if not unchanged(self._state, self.operator):
            raise InputError(f"the operator was changed after its norm was found: make a new {type(self).__name__}")
        if not unwritten(self._measured, TensorList(self.watched())):
            raise InputError("y was changed after f was made: f.with_data(y) is f for other measurements")
        return self.operator

    def start(self) -> Tensor:
        """An image of the domain: A^T y."""
        return self.model().A_adjoint(self.y)

    @cached_property
    def has_adjoint(self) -> bool:
        """Whether ``A_adjoint`` passes for the adjoint of A on random images; of a framed blur it is known to be."""
        start = self.start()
        framed = isinstance(start, Tensor) and normal_equations.frame_of(self.operator, start) is not None
        return framed or has_adjoint(self.operator, start)

    @cached_property
    def has_closed_prox(self) -> bool:
        """Whether prox_{tau f} is known in closed form."""
        return False

    def gap(self) -> str:
        """By how much ``A_adjoint`` fails to be the adjoint of A, in words."""
        return f"|<A u, w> - <u, A^T w>| is {adjoint_gap(self.operator, self.start()):.2g} of ||A u|| ||w||"

    def check_prox(self, tau: float) -> float:
        """tau as a number: of a tensor the one that it holds now.

        Raises:
            InputError: it is not finite and > 0 in the type of y, or A_adjoint is not the adjoint of A.
        """
        if not 0 < float(torch.as_tensor(tau, dtype=pieces(self.y)[0].dtype)) < math.inf:
            raise InputError(f"a proximal map needs a finite tau > 0, got {tau}")
        if not self.has_closed_prox and not self.has_adjoint:
            raise InputError(f"the proximal map of f needs the adjoint of A, and A_adjoint is none: {self.gap()}")
        return float(tau)

    def prox(self, tau: float) -> Map:
        """prox_{tau f}(x) = argmin_u f(u) + 1/(2 tau) ||u - x||^2, for any tau > 0: firmly nonexpansive.

        In closed form or by an inner solver whose error is proven and named as a premise; see ``proximal_point``. The
        proof needs no norm of A; how large the error may be is counted by tau L and the size of the data.

        Raises:
            InputError: a tau that is not finite, not > 0, or too large for the precision of y; an A whose A_adjoint is
                not its adjoint.
        """
        tau = self.check_prox(tau)
        point = self.proximal_point(tau)
        method = f"proximal map of a convex function, tau = {tau:.6g}, "
        method += "closed form" if self.has_closed_prox else "iterative"
        premises = point.premises
        if premises and not self.has_closed_prox and self.side is not Side.PROVEN:
            premises += (f"that error counts on ||A|| = {self.norm.value:.4g}, which was only measured",)

        def nearest(x: Tensor) -> Tensor:
            self.model()  # refuses what was changed
            return point.function(x)

        return Map(
            nearest,
            Certificate("prox tau f", 1.0, 0.5, Side.PROVEN, method, premises, kind=Kind.PROX),
            objective=lambda x: tau * self.value(x),
            pace=self.pace(tau),
            error=point.error,
            magnitude=min(tau, 1 / self.L if self.L > 0 else tau) * self.magnitude(),
        )

    @abstractmethod
    def proximal_point(self, tau: float) -> ProximalPoint:
        """How prox_{tau f} is computed: the closed form or the inner solver of this f."""
