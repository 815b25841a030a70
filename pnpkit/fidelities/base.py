r"""Data fidelities: convex f with an L-Lipschitz gradient, with L, mu, and on which side of the truth they stand."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable

from torch import Tensor

from pnpkit import certificates
from pnpkit.certificates import Certificate, Kind, Side
from pnpkit.errors import InputError, StepSizeError
from pnpkit.maps import Map


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
