r"""Descent on F = f + g / tau by proximal gradient steps with backtracking. Here g is smooth, but not convex.

    T x = prox_{tau f}(x - grad g(x)),   x_{k+1} = prox_{t f}(x_k - (t / tau) grad g(x_k)),

where t is the first of tau, tau / 2, tau / 4 ... for which F(x_{k+1}) <= F(x_k) - GAMMA / t ||x_{k+1} - x_k||^2. With a
gradient-step denoiser D = id - grad g this is T = prox_{tau f} ∘ D: half-quadratic splitting that applies D first, and
that uses backtracking.

f is convex and F >= 0. So F(x_k) falls, the sum of GAMMA / t_k ||x_{k+1} - x_k||^2 is at most F(x_0), and the steps
tend to 0. If grad g is locally Lipschitz, t stays away from 0 near a limit point. The limit point is then a fixed point
of T: 0 is in df(x) + grad g(x) / tau. Every step tries tau first, so the method needs no unknown constants. This does
not prove that the iterates converge, nor that F is near its least value.

Attouch, Bolte & Svaiter, Math. Program. 137, 2013; Hurault, Leclaire & Papadakis, ICLR 2022, Theorem 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from pnpkit import certificates
from pnpkit.certificates import Certificate
from pnpkit.errors import InputError
from pnpkit.fidelities.data import DataTerm
from pnpkit.maps import Map
from pnpkit.solvers.guarantee import Theorem
from pnpkit.solvers.iterations import Iteration

Potential = Callable[[Tensor], tuple[Tensor, Tensor]]  # x -> g(x) per image, float64, and grad g(x)
DESCENT = "descent"  # the splitting's name
GAMMA = 0.1
HALVINGS = 30  # most halvings of t; if F falls for none of them, rounding hides any decrease, and x does not move


@dataclass(frozen=True, eq=False)
class Objective:
    """F = f + g / tau, and its proximal gradient steps.

    Attributes:
        fidelity: f, with its proximal map.
        potential: g >= 0 with its gradient, which is locally Lipschitz.
        tau: a finite number > 0.
    """

    fidelity: DataTerm
    potential: Potential
    tau: float
    _known: dict[str, tuple[Tensor, int, tuple[Tensor, Tensor]]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if not 0 < self.tau < math.inf:
            raise InputError(f"descent needs a finite tau > 0, got {self.tau}")

    def part(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return g(x) and grad g(x). The last result is kept, since F(x_{k+1}) and T x_{k+1} both need it."""
        seen = self._known.get("last")
        if seen is None or seen[0] is not x or seen[1] != x._version:
            seen = self._known["last"] = (x, x._version, self.potential(x))
        return seen[2]

    def value(self, x: Tensor) -> Tensor:
        """F(x) per image, in float64."""
        return self.fidelity.value(x).double() + self.part(x)[0].double() / self.tau

    def step(self, x: Tensor, t: float) -> Tensor:
        """prox_{t f}(x - (t / tau) grad g(x))."""
        return self.fidelity.prox(t)(x - (t / self.tau) * self.part(x)[1])

    def map(self, name: str = "D") -> Map:
        """Return T, whose fixed points are the critical points of F. T is not proven to be nonexpansive."""
        prox = self.fidelity.prox(self.tau)
        what = f"prox tau f ∘ {name}"
        certificate = certificates.nothing(what, "F = f + g / tau is watched, T may expand", (prox.certificate,))
        return Map(
            lambda x: prox(x - self.part(x)[1]),
            certificate,
            objective=self.value,
            pace=prox.pace,
            error=prox.error,
            magnitude=prox.magnitude,
        )


@dataclass(frozen=True)
class Descent(Iteration):
    """x_{k+1} is the first of the steps with t = tau, tau / 2, ... that makes F fall enough; see the module.

    F is computed and compared at every step, so it cannot rise. The required decrease may be missed by ``eps`` F, the
    rounding error of F.
    """

    objective: Objective
    _chosen: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict, repr=False)

    @property
    def copies(self) -> int:
        """Three copies: x, its gradient, and a trial."""
        return 3

    def accepted(self, x: Tensor, Tx: Tensor) -> Tensor:
        known = self._chosen.get("last")
        if known is None or known[0] is not x:
            known = self._chosen["last"] = (x, self.fallen(x, Tx))
        return known[1]

    def fallen(self, x: Tensor, Tx: Tensor) -> Tensor:
        """Return the accepted step from x, image by image. ``Tx`` = T x is the first trial."""
        t, trial, out = self.objective.tau, Tx, x
        before, gradient = self.objective.value(x), self.objective.part(x)[1]
        waiting = torch.ones(len(x), dtype=torch.bool, device=x.device)
        for _ in range(HALVINGS):
            after = self.objective.value(trial)
            moved = (trial - x).flatten(1).double().square().sum(1)
            enough = before - GAMMA / t * moved + torch.finfo(x.dtype).eps * before
            good = waiting & (after <= before) & (after <= enough)
            if bool(good.all()):
                return trial
            out = torch.where(good.view(-1, *[1] * (x.ndim - 1)), trial, out)
            waiting = waiting & ~good
            if not bool(waiting.any()):
                return out
            t = t / 2
            trial = self.objective.fidelity.prox(t)(x - (t / self.objective.tau) * gradient)
        return out

    def next(self, k: int, x: Tensor, Tx: Tensor, memory: None) -> tuple[Tensor, None]:
        return self.accepted(x, Tx), None

    def theorem(self, certificate: Certificate) -> Theorem | None:
        hypothesis = "F = f + g / tau was compared at every step, f is convex, grad g is locally Lipschitz"
        claim = "F = f + g / tau never rises, and limit points of the iterates are critical points of F"
        return Theorem("descent with backtracking (Hurault et al. 2022)", hypothesis, claim)
