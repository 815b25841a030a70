r"""Checks during a run: the residual of each image, when the image stops, and whether it contradicts the certificate.

Every evaluation, of every iteration, is checked against the certificate of T and the theorem of the run:

- each pair of consecutive points x, y: for an alpha-averaged T
  ||T x - T y||^2 + (1 - alpha)/alpha ||(x - T x) - (y - T y)||^2 <= ||x - y||^2, for an L-Lipschitz one
  ||T x - T y|| <= L ||x - y||;
- the box that contains the values of T;
- the bound of the theorem on ||x_k - T x_k||, and how far it may rise (``Iteration.bound``, ``Iteration.allowed``).

Rounding is allowed for. The error of a computed T x is taken to be at most

    r = ROUNDINGS eps max(||x||, ||T x||, magnitude(T), sqrt(N)) + sqrt(N) error(T),

where N is the number of values of an image and magnitude(T) is the size of what is added and cancelled inside T
(``Map``).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pnpkit.maps import Map
from pnpkit.solvers.iterations import Iteration
from pnpkit.solvers.result import RISE_LIMIT, Status

GROWTH_LIMIT = 100.0  # divergence: the residual is above the first one and this many times the smallest one


ROUNDINGS = 100.0  # the error allowed for an evaluation of T, in units of rounding


SLACK = 1e-6  # relative uncertainty of a constant, which is derived in float64; at least ROUNDINGS times 100 eps
GROWN = 10.0  # largest unit of residuals, as a multiple of the first iterate or step; see ``Watch.unit``


TINY = 1e-300


def norms(x: Tensor) -> list[float]:
    """Return ||x|| per image. The sum is in float64, because squares in float32 would underflow."""
    return [float(n) for n in torch.linalg.vector_norm(x.flatten(1), dim=1, dtype=torch.float64)]


def farthest(map: Map, x0: Tensor, gaps: list[float]) -> list[float]:
    """Return a proven bound on ||x_0 - x*|| per image, where x* is any fixed point of T; inf if none is known.

    ``gaps`` are the distances ||x_0 - T x_0||. x* = T x* lies in the box of T's values, so its distance is at most that
    of the farthest corner. For a contraction with factor c, ||x_0 - x*|| <= ||x_0 - T x_0|| + c ||x_0 - x*||.
    """
    found = [math.inf] * len(x0)
    if map.box is not None:
        found = norms(torch.maximum((x0 - map.box[0]).abs(), (x0 - map.box[1]).abs()))
    if map.certificate.contractive:
        found = [min(d, gap / (1 - map.certificate.lipschitz)) for d, gap in zip(found, gaps, strict=True)]
    return found


@dataclass(frozen=True)
class Evaluation:
    """One evaluation: x and T x, and for each image ||x - T x||, ||x|| and the rounding r.

    The first two norms are also given for the shown part of the image.
    """

    x: Tensor
    Tx: Tensor
    gaps: list[float]
    sizes: list[float]
    rounding: list[float]
    seen_gaps: list[float]
    seen_sizes: list[float]


class Watch:
    """Records the residual of each image and decides when the image stops.

    ``shown`` restricts images to some of their pixels. Relative residuals are then those of this part. The checks
    against the certificate and the theorem use the whole image.

    Attributes:
        statuses: the status of each image; None while it runs.
        violation: for each image, how it contradicts the certificate, in words; empty if it does not.
    """

    def __init__(
        self,
        map: Map,
        x0: Tensor,
        iteration: Iteration,
        tol: float,
        shown: Callable[[Tensor], Tensor] | None = None,
    ):
        count, certificate = len(x0), map.certificate
        self.map, self.iteration, self.tol, self.x0, self.shown = map, iteration, tol, x0, shown
        self.covered = iteration.theorem(certificate) is not None and certificate.nonexpansive
        self.eps = torch.finfo(x0.dtype).eps
        self.slack = max(SLACK, 100 * ROUNDINGS * self.eps)
        self.statuses: list[Status | None] = [None] * count
        self.violation = [""] * count
        self.smallest = [math.inf] * count
        self.evaluations = [0] * count  # per image, up to the step where it stopped
        self.units: list[list[float]] = []  # the denominators of relative residuals, per step and image
        self.first: Evaluation | None = None
        self.last: Evaluation | None = None
        self.distances = [math.inf] * count  # proven bounds on ||x_0 - x*||

    @property
    def running(self) -> list[bool]:
        return [status is None for status in self.statuses]

    def observe(self, x: Tensor, Tx: Tensor) -> tuple[float, ...]:
        """Record x and T x, update the statuses of running images, and return the relative residuals."""
        now = self.evaluated(x, Tx)
        if self.last is None:
            self.distances = farthest(self.map, self.x0, now.gaps)
        return self.record(now, self.broken(now))

    def record(self, now: Evaluation, broken: list[str]) -> tuple[float, ...]:
        """Do what ``observe`` does, given the norms of an evaluation.

        ``broken`` says for each image, in words, how it contradicts the certificate.
        """
        self.first = self.first or now
        units = [self.unit(index, size) for index, size in enumerate(now.seen_sizes)]
        self.units.append(units)
        relative = []
        least = self.eps if self.map.pace < 1 else 0.0  # a short step may be smaller than rounding
        for index, (gap, seen, unit) in enumerate(zip(now.gaps, now.seen_gaps, units, strict=True)):
            relative.append(max(seen / unit, least) / self.map.pace)
            if self.statuses[index] is None:
                self.violation[index] = broken[index] or self.risen(index, now)
                self.statuses[index] = self.verdict(index, gap, relative[-1], now.rounding[index])
                self.smallest[index] = min(self.smallest[index], gap)
                self.evaluations[index] += 1
        self.last = now
        return tuple(relative)

    def evaluated(self, x: Tensor, Tx: Tensor) -> Evaluation:
        """Return the evaluation of T at x with its norms."""
        now = self.weighed(x, Tx, norms(x - Tx), norms(x), norms(Tx), x[0].numel())
        if self.shown is None:
            return now
        return replace(now, seen_gaps=norms(self.shown(x - Tx)), seen_sizes=norms(self.shown(x)))

    def weighed(
        self, x: Tensor, Tx: Tensor, gaps: list[float], sizes: list[float], ends: list[float], count: int
    ) -> Evaluation:
        """Return the evaluation, given ||x - T x||, ||x|| and ||T x|| of images with ``count`` values each."""
        unit = math.sqrt(count)
        rounding = [
            ROUNDINGS * self.eps * max(size, end, self.map.magnitude, unit) + self.map.error * unit
            for size, end in zip(sizes, ends, strict=True)
        ]
        return Evaluation(x, Tx, gaps, sizes, rounding, gaps, sizes)

    def unit(self, index: int, size: float) -> float:
        """Return the unit of the relative residual: ||x_k||, but at most GROWN times the start.

        The start is the larger of ||x_0|| and the first step at full length. All norms are those of the shown part. The
        limit is needed for maps such as T x = x + 1, which has no fixed point: after many steps its residual is small
        relative to ||x_k||.
        """
        assert self.first is not None
        began = max(self.first.seen_sizes[index], self.first.seen_gaps[index] / self.map.pace)
        return max(min(size, GROWN * began), TINY)

    def verdict(self, index: int, gap: float, residual: float, rounding: float) -> Status | None:
        if not math.isfinite(gap):
            return Status.NOT_FINITE
        if self.violation[index]:
            return Status.FALSIFIED
        if residual <= self.tol:
            return Status.CONVERGED
        assert self.first is not None
        least = max(GROWTH_LIMIT * self.smallest[index], self.first.gaps[index])
        return Status.DIVERGED if not self.covered and gap > least + rounding else None

    def risen(self, index: int, now: Evaluation) -> str:
        """Say how the residual contradicts the theorem. Empty if it does not, or if no theorem applies.

        Rounding accumulates. It enlarges ||x_k - x*|| by at most k r, and the residual of a contraction with factor c
        by at most 2 r (1 + c + c^2 + ...).
        """
        if not self.covered:
            return ""
        assert self.first is not None
        k, gap, rounding = self.evaluations[index], now.gaps[index], now.rounding[index]
        allowed = self.iteration.allowed(k, self.first.gaps[index] + rounding, self.smallest[index])
        if gap > allowed * (1 + RISE_LIMIT) + 2 * rounding:
            return (
                f"at step {k + 1} the residual ||x - T x|| was {gap:.3g}, under the theorem it is at most {allowed:.3g}"
            )
        distance = self.distances[index] + k * rounding
        bound = self.iteration.bound(self.map.certificate, distance, k) if math.isfinite(distance) else math.inf
        sums = 1 / max(1 - self.map.certificate.lipschitz, 1 / (k + 1))
        if gap > bound * (1 + RISE_LIMIT) + 2 * rounding * (1 + sums):
            return f"at step {k + 1} the residual ||x - T x|| was {gap:.3g}, the theorem bounds it by {bound:.3g}"
        return ""

    def broken(self, now: Evaluation) -> list[str]:
        """Say per image how this evaluation and the one before contradict the certificate; empty if they do not."""
        outside = self.outside(now.Tx)
        if self.last is None or not self.map.certificate.proven:
            return outside
        moved, ends = norms(now.x - self.last.x), norms(now.Tx - self.last.Tx)
        turned = norms((now.x - now.Tx) - (self.last.x - self.last.Tx))
        found = []
        for index, words in enumerate(outside):
            rounding = max(now.rounding[index], self.last.rounding[index])
            pair = (moved[index], ends[index], turned[index])
            found.append(words or self.contradicted(*pair, rounding, self.evaluations[index] + 1))
        return found

    def contradicted(self, moved: float, ends: float, turned: float, rounding: float, step: int) -> str:
        """Say how ||x - y||, ||T x - T y|| and ||(x - T x) - (y - T y)|| contradict the constants of T."""
        certificate, words = self.map.certificate, f"between steps {step - 1} and {step} "
        reach = moved * (1 + self.slack)
        apart = max(ends - 2 * rounding, 0.0)
        if apart > certificate.lipschitz * reach:
            return f"{words}T moved two points from {moved:.3g} to {ends:.3g} apart"
        alpha = certificate.averagedness
        if alpha is None or not certificate.averaged:
            return ""
        gap = max(turned - 2 * rounding, 0.0)
        if gap > 0 and math.hypot(apart, math.sqrt((1 - alpha) / alpha) * gap) > reach:
            return (
                f"{words}two points {moved:.3g} apart had values {ends:.3g} and residuals {turned:.3g} apart, "
                f"too much for {alpha:.6g}-averaged"
            )
        return ""

    def outside(self, Tx: Tensor) -> list[str]:
        """For each image, name a value of T x outside of the box of all values of T; empty if there is none."""
        if self.map.box is None:
            return [""] * len(Tx)
        flat = Tx.flatten(1)
        return [self.beyond(*ends) for ends in zip(flat.amin(1).tolist(), flat.amax(1).tolist(), strict=True)]

    def beyond(self, least: float, most: float) -> str:
        """Do what ``outside`` does, for one image with these smallest and largest values."""
        if self.map.box is None:
            return ""
        low, high = self.map.box
        allowed = 4 * self.eps * max(abs(low), abs(high))
        if not (least < low - allowed or most > high + allowed):
            return ""
        value = least if least < low - allowed else most
        return f"a value {value:.6g} lies outside of the box [{low:g}, {high:g}] of all values of T"

    def bounds(self) -> tuple[float, ...]:
        """Return proven bounds on the relative residual at each step, for the worst image; empty if there are none.

        The bound of an image that stopped stays constant.
        """
        certificate, iteration = self.map.certificate, self.iteration
        known = math.isfinite(iteration.bound(certificate, 1.0, 0)) and all(map(math.isfinite, self.distances))
        if not known:
            return ()
        return tuple(
            max(
                iteration.bound(certificate, d, min(k, last - 1)) / self.map.pace / unit
                for d, unit, last in zip(self.distances, row, self.evaluations, strict=True)
            )
            for k, row in enumerate(self.units)
        )
