r"""Data fidelities: convex f with an L-Lipschitz gradient, with L, mu, and on which side of the truth they stand."""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cached_property
from numbers import Real
from typing import Any

import torch
from deepinv.physics import LinearPhysics
from deepinv.utils import TensorList
from torch import Tensor

from pnpkit import certificates
from pnpkit.certificates import Bound, Certificate, Kind, Side
from pnpkit.errors import InputError, StepSizeError, one_line
from pnpkit.maps import Map
from pnpkit.operators import normal_equations
from pnpkit.operators.adjoint import adjoint_gap, has_adjoint, pieces
from pnpkit.operators.integrity import state, unchanged, unwritten, written
from pnpkit.operators.norms import SLACK, check_stack, norm_bound, refute, smallest_singular_value, squares


class Fidelity(ABC):
    """f, convex and L-smooth.

    Attributes:
        L: smoothness constant, an upper bound when ``side`` is PROVEN.
        mu: strong convexity constant, a proven lower bound, often 0.
        method, premises: how L is known, and what is assumed.
    """

    L: float
    mu: float
    side: Side
    method: str
    premises: tuple[str, ...]

    @abstractmethod
    def value(self, x: Tensor) -> Tensor:
        """f(x) per image, shape (B,)."""

    @abstractmethod
    def gradient(self, x: Tensor) -> Tensor:
        """grad f(x)."""

    def __add__(self, other: Fidelity) -> Fidelity:
        """f + g, with L and mu added."""
        return Sum(self, other)

    def step_size(self, tau_L: float) -> float:
        """tau with the product ``tau_L`` of step and smoothness constant; 1 where L is 0."""
        return tau_L / self.L if self.L > 0 else 1.0

    def default_step_size(self) -> float:
        """1.9 / L, near the end of the legal interval: the fewest iterations at a given proof."""
        return self.step_size(1.9)

    def unit_step_size(self) -> float:
        """1 / L: the largest step at which f is majorised, as FISTA needs it."""
        return self.step_size(1)

    def check_step_size(self, tau: float) -> None:
        """Raise ``StepSizeError`` unless tau is in (0, 2/L)."""
        largest = 2 / self.L if self.L > 0 else math.inf
        if not 0 < tau < largest:
            raise StepSizeError(
                f"step size tau = {tau:.6g} is not in (0, 2/L) with {self.method}: choose tau below {largest:.6g}"
            )

    def gradient_step(self, tau: float | None = None) -> Map:
        """G(x) = x - tau grad f(x): (tau L / 2)-averaged for tau in (0, 2/L).

        A contraction with factor max(|1 - tau mu|, |1 - tau L|) when mu > 0. An L that was only measured
        proves nothing, and the certificate says so.
        """
        tau = self.default_step_size() if tau is None else float(tau)
        self.check_step_size(tau)
        certificate, magnitude = self.certify_step(tau), tau * self.magnitude()
        return Map(lambda x: x - tau * self.gradient(x), certificate, pace=self.pace(tau), magnitude=magnitude)

    def magnitude(self) -> float:
        """The size of grad f(0), the largest of a batch: what gradients cancel near a minimum. 0 where not known."""
        return 0.0

    def pace(self, tau: float) -> float:
        """min(1, tau L), the length of a step relative to one with 1 / L; see ``Map``."""
        return min(1.0, tau * self.L) if self.L > 0 else 1.0

    def certify_step(self, tau: float) -> Certificate:
        """The certificate of ``gradient_step``."""
        name = "(id - tau grad f)"
        if self.side is not Side.PROVEN:
            return certificates.nothing(name, f"L was only measured: {self.method}")
        factor = max(abs(1 - tau * self.mu), abs(1 - tau * self.L)) if self.mu > 0 else 1.0
        averagedness = tau * self.L / 2
        method = f"tau = {tau:.6g} < 2/L, {self.method}, mu >= {self.mu:.3g}"
        if averagedness == 0:
            return certificates.identity(name)
        return Certificate(
            name, min(factor, 1.0), averagedness, Side.PROVEN, method, self.premises, kind=Kind.GRADIENT_STEP
        )


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


class LeastSquares(Fidelity):
    """f(x) = 1/2 ||A x - y||^2, summed over pixels and channels, per image of the batch.

    Args:
        operator: the forward model A, any deepinv ``LinearPhysics``, as it is now: f refuses to go on with one whose
            tensors were replaced or written to, since L is that of before. (Other attributes are not watched.)
        y: the measurement, (B, C, H, W); a ``TensorList`` for a stack of operators. It is watched, too.
        norm: a bound on ||A|| that the user vouches for; it is named as a premise, and refused where a few steps of
            power iteration refute it; or a ``Bound``, which is not looked at, and is a premise, too. Without it the
            bound comes from ``operators.norms.norm_bound``: proven where the structure of A allows it or A carries a
            proof, measured otherwise.

    Raises:
        InputError: a norm that is none, or too small, a stack without its adjoint, a y that is empty, not finite, of
            another type than float32 or float64, or of another size than what A gives; later, an operator or a
            measurement that was changed.
    """

    def __init__(self, operator: LinearPhysics, y: Tensor | TensorList, norm: float | Bound | None = None):
        check_data(operator, y)
        self.operator, self.y, self._state, self._measured = operator, y, state(operator), written(y)
        smallest = smallest_singular_value(operator)
        self.mu = smallest * smallest
        self.norm, self.premises = self._bound(norm)
        self.L = self.norm.value * self.norm.value
        if not math.isfinite(self.L):
            raise InputError(f"||A||^2 must be a finite number, ||A|| is {self.norm.value:.3g}: scale A and y")
        self.side = self.norm.side
        sign = "<=" if self.side is Side.PROVEN else ">="
        self.method = f"L = ||A||^2 {sign} {self.L:.6g} ({self.norm.method})"
        if norm is not None and self.side is Side.PROVEN and not self.has_adjoint:
            self.side, self.method = Side.MEASURED, f"A_adjoint is not the adjoint of A: {self._gap()}"

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
        if math.sqrt(self.mu) > norm * (1 + SLACK):
            raise InputError(f"||A|| is at least {math.sqrt(self.mu):.6g} (smallest gain): {norm:.6g} is no bound")
        refute(self.operator, self.start(), float(norm), "the user")
        return Bound(float(norm), Side.PROVEN, "given by the user"), (f"||A|| <= {norm:.6g}, given by the user",)

    def __getstate__(self) -> dict[str, Any]:
        """For copies and pickles, whose tensors have counts of their own."""
        self.model()
        return {name: value for name, value in vars(self).items() if name not in ("_state", "_measured")}

    def __setstate__(self, values: dict[str, Any]) -> None:
        vars(self).update(values)
        self._state, self._measured = state(self.operator), written(self.y)

    def with_data(self, y: Tensor | TensorList) -> LeastSquares:
        """f for another measurement y; A and the bound on its norm stay."""
        other = copy.copy(self)
        other.y, other._measured = y, written(y)
        return other

    def model(self) -> LinearPhysics:
        """A, if it and y are still those that f was made for."""
        if not unchanged(self._state, self.operator):
            raise InputError("the operator was changed after its norm was found: make a new LeastSquares")
        if not unwritten(self._measured, self.y):
            raise InputError("y was changed after f was made: f.with_data(y) is f for other measurements")
        return self.operator

    def start(self) -> Tensor:
        """An image of the domain: A^T y."""
        return self.model().A_adjoint(self.y)

    def magnitude(self) -> float:
        """||A^T y||, the largest of a batch."""
        return float(torch.linalg.vector_norm(self.start().flatten(1), dim=1).max())

    def value(self, x: Tensor) -> Tensor:
        """f(x) per image, shape (B,)."""
        return 0.5 * squares(self.model().A(x) - self.y)

    def gradient(self, x: Tensor) -> Tensor:
        """A^T (A x - y)."""
        return self.model().A_adjoint(self.operator.A(x) - self.y)

    @cached_property
    def has_adjoint(self) -> bool:
        """Whether ``A_adjoint`` passes for the adjoint of A on random images; of a framed blur it is known to be."""
        start = self.start()
        framed = isinstance(start, Tensor) and normal_equations.frame_of(self.operator, start) is not None
        return framed or has_adjoint(self.operator, start)

    @cached_property
    def has_closed_prox(self) -> bool:
        """Whether prox_{tau f} is known in closed form."""
        return normal_equations.is_closed(self.operator, self.start())

    def _gap(self) -> str:
        return f"|<A u, w> - <u, A^T w>| is {adjoint_gap(self.operator, self.start()):.2g} of ||A u|| ||w||"

    def prox(self, tau: float) -> Map:
        """prox_{tau f}(x) = argmin_u f(u) + 1/(2 tau) ||u - x||^2, for any tau > 0: firmly nonexpansive.

        In closed form where the physics has a singular value decomposition; otherwise by conjugate gradients to a
        proven error, which is named as a premise; see ``operators.normal_equations``. The proof needs no norm of A;
        how large the error may be is counted by tau L.

        Raises:
            InputError: a tau that is not finite, not > 0, or too large for the precision of y; an A whose A_adjoint is
                not its adjoint.
        """
        dtype = pieces(self.y)[0].dtype
        if not 0 < float(torch.as_tensor(tau, dtype=dtype)) < math.inf:
            raise InputError(f"a proximal map needs a finite tau > 0, got {tau}")
        closed, size = self.has_closed_prox, tau * self.L
        if not closed and not self.has_adjoint:
            raise InputError(f"the proximal map of f needs the adjoint of A, and A_adjoint is none: {self._gap()}")
        method = f"proximal map of a convex function, tau = {tau:.6g}, " + ("closed form" if closed else "iterative")
        premises = normal_equations.premises(self.operator, size, dtype, closed)
        if premises and not closed and self.side is not Side.PROVEN:
            premises += (f"that error counts on ||A||^2 = {self.L:.4g}, which was only measured",)
        certificate = Certificate("prox tau f", 1.0, 0.5, Side.PROVEN, method, premises, kind=Kind.PROX)
        point = normal_equations.proximal_point(self.model(), self.y, tau, self.L, closed)

        def nearest(x: Tensor) -> Tensor:
            self.model()  # refuses what was changed
            return point(x)

        return Map(
            nearest,
            certificate,
            objective=lambda x: tau * self.value(x),
            pace=self.pace(tau),
            error=0.0 if closed else normal_equations.solver_error(size, dtype),
            magnitude=min(tau, 1 / self.L if self.L > 0 else tau) * self.magnitude(),
        )


class Smooth(Fidelity):
    """A convex f known by functions, and an L with its side: a deepinv data fidelity, or one's own.

    Args:
        value: f(x) per image.
        gradient: grad f(x).
        L: smoothness constant.
        side: PROVEN when L is an upper bound.
        method: how L is known.
        premises: what is assumed, the convexity for instance.
        mu: a proven strong convexity constant.
    """

    def __init__(
        self,
        value: Callable[[Tensor], Tensor],
        gradient: Callable[[Tensor], Tensor],
        L: float,
        *,
        side: Side = Side.PROVEN,
        method: str = "L given by the user",
        premises: tuple[str, ...] = ("f is convex and L-smooth with the L given by the user",),
        mu: float = 0.0,
    ):
        if not (L > 0 and math.isfinite(L) and 0 <= mu <= L):
            raise InputError(f"a smooth fidelity needs 0 <= mu <= L, L > 0, both finite; got mu = {mu}, L = {L}")
        self._value, self._gradient = value, gradient
        self.L, self.mu, self.side, self.method, self.premises = L, mu, side, method, premises

    def value(self, x: Tensor) -> Tensor:
        """f(x) per image, shape (B,)."""
        return self._value(x)

    def gradient(self, x: Tensor) -> Tensor:
        """grad f(x)."""
        return self._gradient(x)


class Sum(Fidelity):
    """f + g: gradients add, and so do L and mu; PROVEN when both are."""

    def __init__(self, f: Fidelity, g: Fidelity):
        self.f, self.g = f, g
        self.L, self.mu = f.L + g.L, f.mu + g.mu
        self.side = Side.PROVEN if f.side is g.side is Side.PROVEN else Side.MEASURED
        self.method = f"{f.method} plus {g.method}"
        self.premises = tuple(dict.fromkeys((*f.premises, *g.premises)))

    def value(self, x: Tensor) -> Tensor:
        """f(x) + g(x) per image, shape (B,)."""
        return self.f.value(x) + self.g.value(x)

    def gradient(self, x: Tensor) -> Tensor:
        """grad f(x) + grad g(x)."""
        return self.f.gradient(x) + self.g.gradient(x)
