r"""The one loop: runs a map with an iteration, watches the residual, and says what happened and what was proven.

The residual is that of the unrelaxed map at full pace, per image: r_k = ||x_k - T x_k|| / (pace ||x_k||); see ``Map``.
"""

from __future__ import annotations

import enum
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from pnpkit.certificates import Certificate
from pnpkit.diagnostics import contraction_factor
from pnpkit.errors import InputError
from pnpkit.iterations import Iteration, Picard
from pnpkit.maps import Map, checked

GROWTH_LIMIT = 100.0  # a residual this much above the smallest seen is called divergence
RISE_LIMIT = 1e-3  # relative rise beyond the allowed one that rounding cannot explain


class Status(enum.Enum):
    """How a run ended; the value is a sentence of advice."""

    CONVERGED = "converged: the fixed-point residual is below the tolerance"
    APPLIED = "done: the denoiser was applied once, nothing was iterated"
    STEP_LIMIT = "step limit: the residual is still above the tolerance; allow more steps or a larger tolerance"
    DIVERGED = "diverged: the residual grew; this is the last iterate before it did; use a certified denoiser or step"
    NOT_FINITE = "stopped: NaN or infinity appeared; this is the last finite iterate; check the input and the operator"
    FALSIFIED = "stopped: the residual of a map certified nonexpansive rose; its certificate or operator is wrong"

    @property
    def failed(self) -> bool:
        return self in (Status.DIVERGED, Status.NOT_FINITE, Status.FALSIFIED)


@dataclass(frozen=True)
class Step:
    """What a callback sees after each evaluation of the map."""

    number: int
    x: Tensor
    residual: tuple[float, ...]


@dataclass(frozen=True)
class Result:
    """The outcome of a run.

    Attributes:
        x: (B, C, H, W), a tensor, or numpy when the data came as numpy. Of an image that converged: T x_k for the x_k
            whose residual met the tolerance (its own residual is no larger when T is nonexpansive). Of one that
            failed: the last good iterate.
        status: the worst status over the batch; ``statuses`` has one per image.
        steps: evaluations of the map.
        residuals: relative residual per evaluation, worst image of the batch; ``residuals_per_image`` has all.
        certificate: what is proven about the map.
        guarantee: the convergence theorem that covers the run, or why none does.
        seconds: wall time.
        bounds: what the theorem bounds each of ``residuals`` by, with a proven ||x_0 - x*|| (``farthest``). Empty where
            the theorem gives no rate, or nothing is known of the distance.
        objective: per image, the value at x of the function that the map minimises; empty where there is none.
    """

    x: Any
    status: Status
    statuses: tuple[Status, ...]
    steps: int
    residuals: tuple[float, ...]
    residuals_per_image: tuple[tuple[float, ...], ...]
    certificate: Certificate
    guarantee: str
    seconds: float
    bounds: tuple[float, ...] = ()
    objective: tuple[float, ...] = ()

    def explain(self) -> str:
        """Half a page: the theorem, its constants, what was assumed, what was checked, what happened."""
        c = self.certificate
        rises = sum(b > a * (1 + RISE_LIMIT) for a, b in zip(self.residuals, self.residuals[1:], strict=False))
        rate = contraction_factor(self.residuals)
        lines = [
            f"What happened. {_sentence(self.status.value)} The map T was applied {self.steps} times; the relative "
            f"residual ||x - T x|| / ||x||, in units of a full step, went from {self.residuals[0]:.2e} to "
            f"{self.residuals[-1]:.2e} (by a factor of about {rate:.4f} a step at the end) and rose {rises} times.",
            f"What is guaranteed. {_sentence(self.guarantee)}",
            f"The constants. {c.describe(1)}",
        ]
        if c.averaged and c.averagedness is not None:
            share = c.averagedness / (1 - c.averagedness)
            lines.append(
                "What averagedness means. T is a mixture of the identity and a map that never moves two images apart, "
                f"with weight {c.averagedness:.6g} on the second. Under Picard's iteration the residuals never rise, "
                f"and their squares sum to at most {share:.4g} times the squared distance from start to fixed point."
            )
        else:
            lines.append(
                "What that means. A small residual alone does not make the picture right, nor does it promise that a "
                "longer run would stay where this one ended: look at the picture, and at the residual curve."
            )
        if c.contractive:
            lines.append(f"The predicted linear rate is {c.lipschitz:.6g} a step, in the worst case.")
        if self.bounds:
            lines.append(
                f"Measured against proven. From the distance that a fixed point can have from the start, the theorem "
                f"bounds the last residual by {self.bounds[-1]:.2e}; measured: {self.residuals[-1]:.2e}."
            )
        if self.objective:
            lines.append("The objective at the end: " + ", ".join(f"{value:.8g}" for value in self.objective) + ".")
        premises = c.all_premises()
        if c.averaged and not (c.bounded or c.contractive):
            premises = (*premises, "T has a fixed point")
        lines.append("What was assumed and not checked. " + ("; ".join(premises) if premises else "Nothing") + ".")
        return "\n\n".join(lines)


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def guarantee(certificate: Certificate, iteration: Iteration, statuses: Sequence[Status] = ()) -> str:
    """The theorem whose hypotheses were checked, with what is left to assume; or that there is none, or that a run
    that ended so is none that it speaks of."""
    theorem = iteration.theorem(certificate)
    if Status.FALSIFIED in statuses:
        return "nothing is guaranteed: the run contradicts the certificate"
    if theorem is not None and any(status.failed for status in statuses):
        return "nothing is guaranteed: the run left the numbers that its theorem speaks of"
    if theorem is None:
        if not math.isfinite(certificate.lipschitz):
            return f"nothing is guaranteed: {certificate.method}"
        alpha = "" if certificate.averagedness is None else f", {certificate.averagedness:.6g}-averaged"
        kind = f"{certificate.lipschitz:.6g}-Lipschitz{alpha} map"
        return f"nothing is guaranteed: no theorem covers {iteration} of a {kind}"
    given = "; under the premises that the certificate names" if certificate.all_premises() else ""
    if certificate.contractive:
        return f"converges to the unique fixed point from any start ({theorem}{given})"
    if certificate.bounded:
        exist = "fixed points exist: bounded range, Browder 1965"
        return f"converges to a fixed point from any start ({theorem}; {exist}{given})"
    return f"converges to a fixed point if there is one ({theorem}; the existence is assumed, not checked{given})"


def solve(
    map: Map,
    x0: Tensor,
    *,
    iteration: Iteration | None = None,
    tol: float = 1e-4,
    max_steps: int = 1000,
    callback: Callable[[Step], None] | None = None,
) -> Result:
    """Iterate until ||x - T x|| / ||x|| <= tol pace(T) for every image, or ``max_steps`` evaluations of T.

    Each image of the batch stops by itself. The run ends at once for an image whose residual becomes NaN or
    infinite, or grows: where a theorem applies beyond what it allows (``Iteration.allowed``) and
    rounding, where none does to ``GROWTH_LIMIT`` times its smallest value.

    Args:
        map: T, with its certificate.
        x0: the first iterate, (B, C, H, W), finite.
        iteration: default ``Picard()``.
        tol: relative fixed-point residual, >= 0.
        max_steps: >= 1.
        callback: called with a ``Step`` after each evaluation.

    Raises:
        InputError: a first iterate that is not finite, or tol or max_steps outside their ranges; anything that is no
            map, no iteration, no batch; a map that gives another shape than it takes.
    """
    iteration = Picard() if iteration is None else iteration
    check_run(map, x0, iteration, tol, max_steps)
    started = time.perf_counter()
    covered = iteration.theorem(map.certificate) is not None and map.certificate.nonexpansive
    watch = Watch(len(x0), tol, iteration if covered else None, torch.finfo(x0.dtype).eps, map.pace, map.error)
    x, out, history = x0, x0.clone(), []
    memory = iteration.start(x0)
    with torch.no_grad():
        for k in range(int(max_steps)):
            image = map(x)
            if image.shape != x.shape:
                raise InputError(f"T must give what it takes, {tuple(x.shape)} came back as {tuple(image.shape)}")
            running = watch.running
            history.append(watch.look(x, image))
            accepted = [r and not (s and s.failed) for r, s in zip(running, watch.statuses, strict=True)]
            out = _where(accepted, image, out)
            if callback is not None:
                callback(Step(k + 1, out, history[-1]))
            if not any(watch.running):
                break
            following, memory = iteration.next(k, x, image, memory)
            x = _where(watch.running, following, x)
        picture = map.readout(out)
        objective = () if map.objective is None else tuple(map.objective(picture).tolist())
        distances = farthest(map, x0, watch.first)
    statuses = tuple(status or Status.STEP_LIMIT for status in watch.statuses)
    order = list(Status)
    return Result(
        x=picture,
        status=max(statuses, key=order.index),
        statuses=statuses,
        steps=len(history),
        residuals=tuple(worst(row) for row in history),
        residuals_per_image=tuple(history),
        certificate=map.certificate,
        guarantee=guarantee(map.certificate, iteration, statuses),
        seconds=time.perf_counter() - started,
        bounds=relative_bounds(map, iteration, distances, watch.sizes, watch.looks),
        objective=objective,
    )


def check_run(map: Map, x0: Tensor, iteration: Iteration, tol: float, max_steps: int) -> None:
    """Refuse what cannot be run."""
    checked(map)
    if isinstance(iteration, type) or not isinstance(iteration, Iteration):
        raise InputError(f"expected an iteration, Picard() or Anderson() for instance, got {iteration!r}")
    if not (isinstance(tol, Real) and isinstance(max_steps, Real)):
        raise InputError(f"tol and max_steps are numbers, got {tol!r}, {max_steps!r}")
    if not (tol >= 0 and 1 <= max_steps < math.inf and max_steps == int(max_steps)):
        raise InputError(f"a run needs tol >= 0, max_steps a number >= 1, got tol = {tol}, max_steps = {max_steps}")
    if not (isinstance(x0, Tensor) and x0.is_floating_point() and x0.ndim > 1):
        came = f"{x0.dtype} {tuple(x0.shape)}" if isinstance(x0, Tensor) else type(x0).__name__
        raise InputError(f"the first iterate is a float tensor (B, C, H, W), or (B, n), got {came}")
    if x0.numel() == 0:
        raise InputError(f"the first iterate is empty: {tuple(x0.shape)}")
    if not bool(torch.isfinite(x0).all()):
        raise InputError("the first iterate holds NaN or infinity: check the measurement and the operator")


def continued(run: Result, past: tuple[tuple[float, ...], ...], guarantee: str, seconds: float) -> Result:
    """``run`` as the end of a longer one; ``past`` are the residuals before, per step and image."""
    return replace(
        run,
        steps=len(past) + run.steps,
        residuals=(*(worst(row) for row in past), *run.residuals),
        residuals_per_image=(*past, *run.residuals_per_image),
        guarantee=guarantee,
        seconds=seconds,
        bounds=(math.inf,) * len(past) + run.bounds if run.bounds else (),
    )


def numbered_from(done: int, callback: Callable[[Step], None] | None) -> Callable[[Step], None] | None:
    """The callback of a run that goes on after ``done`` steps of another."""
    if callback is None or done == 0:
        return callback
    return lambda step: callback(replace(step, number=done + step.number))


def worst(row: tuple[float, ...]) -> float:
    """The largest residual of a batch; NaN is larger than any."""
    return max(row, key=lambda value: math.inf if math.isnan(value) else value)


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


def _where(flags: list[bool], chosen: Tensor, other: Tensor) -> Tensor:
    """Image by image: ``chosen`` where its flag is set, else ``other``."""
    if all(flags):
        return chosen
    return torch.where(torch.tensor(flags, device=chosen.device).view(-1, *[1] * (chosen.ndim - 1)), chosen, other)


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
