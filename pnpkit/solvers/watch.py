"""Watch the residual of each image of a batch, and decide when its run ends."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pnpkit.maps import Map
from pnpkit.solvers.iterations import Iteration
from pnpkit.solvers.result import RISE_LIMIT, Status

GROWTH_LIMIT = 100.0  # a residual this much above the smallest seen is called divergence


def farthest(map: Map, x0: Tensor, gaps: list[float]) -> list[float]:
    """Proven bounds on ||x_0 - x*|| per image, x* any fixed point of T, from the gaps ||x_0 - T x_0||; inf if unknown.

    x* = T x* lies in the box of T's values: it is no farther than the farthest corner. For a contraction with factor
    c, ||x_0 - x*|| <= ||x_0 - T x_0|| + c ||x_0 - x*||.
    """
    found = [math.inf] * len(x0)
    if map.box is not None:
        corner = torch.maximum((x0 - map.box[0]).abs(), (x0 - map.box[1]).abs())
        found = torch.linalg.vector_norm(corner.flatten(1), dim=1).tolist()
    if map.certificate.contractive:
        found = [min(d, gap / (1 - map.certificate.lipschitz)) for d, gap in zip(found, gaps, strict=True)]
    return found


def relative_bounds(
    map: Map,
    iteration: Iteration,
    distances: list[float],
    sizes: list[list[float]],
    looks: list[int],
) -> tuple[float, ...]:
    """The proven bound on the relative residual at every step, worst image of the batch; empty where there is none.

    An image that stopped after ``looks`` evaluations stays where it was, and so does its bound.
    """
    certificate = map.certificate
    if not (math.isfinite(iteration.bound(certificate, 1.0, 0)) and all(math.isfinite(d) for d in distances)):
        return ()
    return tuple(
        max(
            iteration.bound(certificate, d, min(k, last - 1)) / map.pace / max(size, 1e-30)
            for d, size, last in zip(distances, row, looks, strict=True)
        )
        for k, row in enumerate(sizes)
    )


class Watch:
    """Follows the residual of each image and decides when its run is over.

    ``covered`` is the iteration where a theorem covers it, and so tells how far the residual can rise. ``pace`` and
    ``error`` are those of the map: two values of T, each off by its error, may move a residual by twice that.
    """

    def __init__(
        self, count: int, tol: float, covered: Iteration | None, eps: float, pace: float = 1.0, error: float = 0.0
    ):
        self.tol, self.covered, self.eps, self.pace, self.error = tol, covered, eps, pace, error
        self.statuses: list[Status | None] = [None] * count
        self.smallest = [math.inf] * count
        self.looks = [0] * count  # evaluations until an image stopped
        self.sizes: list[list[float]] = []  # ||x_k|| per step and image
        self.first: list[float] = []  # ||x_0 - T x_0|| per image

    @property
    def running(self) -> list[bool]:
        return [status is None for status in self.statuses]

    def look(self, x: Tensor, image: Tensor) -> tuple[float, ...]:
        """Relative residuals of this evaluation; updates the statuses of the images still running."""
        gaps = torch.linalg.vector_norm((x - image).flatten(1), dim=1).tolist()
        sizes = torch.linalg.vector_norm(x.flatten(1), dim=1).tolist()
        self.sizes.append(sizes)
        self.first = self.first or gaps
        relative = []
        least = self.eps if self.pace < 1 else 0.0  # of a short step, rounding may have taken all that there was
        for index, (gap, size) in enumerate(zip(gaps, sizes, strict=True)):
            relative.append(max(gap / max(size, 1e-30), least) / self.pace)
            if self.statuses[index] is None:
                unit = math.sqrt(x[index].numel())
                rounding = 100 * self.eps * max(size, unit) + 2 * self.error * unit
                self.statuses[index] = self.verdict(index, gap, relative[-1], rounding)
                self.smallest[index] = min(self.smallest[index], gap)
                self.looks[index] += 1
        return tuple(relative)

    def verdict(self, index: int, gap: float, residual: float, rounding: float) -> Status | None:
        if not math.isfinite(gap):
            return Status.NOT_FINITE
        if residual <= self.tol:
            return Status.CONVERGED
        if self.covered is None:
            return Status.DIVERGED if gap > GROWTH_LIMIT * self.smallest[index] + rounding else None
        # what rounding adds to every step adds up as the first residual does
        allowed = self.covered.allowed(self.looks[index], self.first[index] + rounding, self.smallest[index])
        return Status.FALSIFIED if gap > allowed * (1 + RISE_LIMIT) + rounding else None
