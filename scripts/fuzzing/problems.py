"""Kind ``problems``: how a run on a small linear problem ends, beside what its iterates say in float64.

The map is recorded as it runs. From the recorded x_k and a dense matrix the residuals, the status, the image, the
objective, the bounds and the constants of the certificate are computed again, by other code, and must agree.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import torch

import pnpkit as pk
from fuzzing.cases import Case, hold
from fuzzing.models import SPLITTINGS, Array, Problem, build, dense, operator

ROUNDING = 300  # of a step, in units of eps times all that is added and taken away in it
LOOSE = 2e-3  # relative: above what the loop allows a residual to rise
UNSEEN = 400  # of a pair of iterates, in units of eps sqrt(N): the watch takes pictures to be about 1 at least
LEAST = 1.5e-45  # the distance between two numbers near 0 in float32
TINY = 1e-20  # a picture of that size underflows where it is squared


COUNTED = 10.0  # of an iterate that has grown by more, no more than this counts in the residual
GROWN = 100  # times the smallest residual: divergence, as the package says it


def problems(case: Case) -> None:
    """A run of a random problem."""
    dtype = torch.float64 if case.chance(0.5) else torch.float32
    name, physics, shape = operator(case, dtype)
    matrix = dense(physics, shape, dtype)
    batch = case.random.choice((1, 1, 2))
    scene = torch.from_numpy(case.numbers.random((batch, *shape))).to(dtype)
    y = physics.A(scene)
    y = y + 0.1 * torch.from_numpy(case.numbers.standard_normal(tuple(y.shape))).to(dtype)
    scale = case.random.choice((1.0, 1.0, 1.0, 1.0, 1e-3, 1e3, 1e-30, 0.0))
    y = scale * y
    if case.chance(0.1):
        y.view(-1)[0] = case.random.choice((1e4, 1e6, -1e6))
    case.note(name, shape, f"batch {batch}", dtype, f"scale {scale}")
    sharp = np.linalg.norm(matrix, 2)
    norm = None if case.chance(0.9) else float(sharp) * case.random.choice((1.0, 1.2, 0.5, 0.99)) or None
    f = pk.LeastSquares(physics, y, norm)
    if norm is None or norm >= sharp:
        told(f, matrix)
    problem = build(case, f, matrix, y.flatten(1).double().numpy(), case.random.choice(SPLITTINGS), shape)
    if norm is not None and norm < sharp * (1 - 1e-6):
        problem = replace(problem, honest=False)
    iteration: Any = case.weighted(
        {
            pk.Picard(): 4,
            pk.KrasnoselskiiMann(case.random.choice((0.5, 0.9, 1.0, 1.5))): 2,
            pk.Halpern(): 2,
            pk.Anderson(depth=case.random.choice((1, 3, 5))): 3,
            pk.Fista(): 1.5,
        }
    )
    start = f.start() if case.chance(0.5) else torch.from_numpy(case.numbers.standard_normal((batch, *shape))).to(dtype)
    start = torch.zeros_like(start) if case.chance(0.1) else start
    tol = case.random.choice((1e-2, 1e-3, 1e-4, 1e-6, 1e-10, 0.0))
    limit = case.random.choice((1, 2, 5, 20, 60))
    limit = min(limit, 5) if any(note.endswith("wavelet") for note in case.notes) else limit  # it takes longer
    case.note(iteration, f"tol {tol}, {limit} steps")
    recorded: list[tuple[Array, Array]] = []

    def record(x: torch.Tensor) -> torch.Tensor:
        out = problem.map.function(x)
        recorded.append((x.flatten(1).double().numpy(), out.flatten(1).double().numpy()))
        return out

    run = pk.solve(replace(problem.map, function=record), start, iteration=iteration, tol=tol, max_steps=limit)
    with np.errstate(all="ignore"):
        Ending(name, problem, run, recorded, iteration, tol, limit, matrix, y, torch.finfo(dtype).eps).check()


def told(f: pk.LeastSquares, matrix: Array) -> None:
    """L and mu beside the singular values."""
    values = np.linalg.svd(matrix, compute_uv=False)
    largest = values[0] ** 2
    smallest = values[-1] ** 2 if matrix.shape[0] >= matrix.shape[1] else 0.0
    if f.side is pk.Side.PROVEN:
        hold("a proven L is at least ||A||^2", f.L >= largest * (1 - 1e-5), f"{f.L} {largest}")
    hold("mu is at most the least square", f.mu <= smallest * (1 + 1e-5) + 1e-6 * largest, f"{f.mu} {smallest}")


def keeps(certificate: pk.Certificate, apart: float, images: float, moved: float, near: float) -> bool:
    """Whether ||x - z||, ||T x - T z|| and ||(x - T x) - (z - T z)|| agree with the constants of T up to ``near``."""
    most = min(certificate.lipschitz, 1.0 if certificate.averaged else math.inf) * apart
    if images > most * (1 + LOOSE) + near:
        return False
    if not certificate.averaged or certificate.averagedness is None:
        return True
    share = (1 - certificate.averagedness) / certificate.averagedness
    return images**2 + share * max(0.0, moved - near) ** 2 <= (apart * (1 + LOOSE) + near) ** 2


def length(x: Array) -> Array:
    return np.asarray(np.linalg.norm(x, axis=1))


class Ending:
    """What a run says, and what its iterates say."""

    def __init__(
        self,
        name: str,
        problem: Problem,
        run: pk.Result,
        recorded: list[tuple[Array, Array]],
        iteration: Any,
        tol: float,
        limit: int,
        matrix: Array,
        y: torch.Tensor,
        eps: float,
    ):
        self.name, self.problem, self.run, self.recorded, self.iteration = name, problem, run, recorded, iteration
        self.tol, self.limit, self.eps = tol, limit, eps
        norm = float(np.linalg.norm(matrix, 2))
        data = length(y.flatten(1).double().numpy())
        unit = math.sqrt(matrix.shape[1])
        self.allowance: list[Array] = []  # rounding and the inner solver's error, per step and image
        for x, image in recorded:
            values = length(x) + length(image) + problem.size
            handled = values + problem.tau * norm * (norm * values + data)
            # what a map that is not known to be nonexpansive makes of an error is not in ``map.error``
            errors = (36 if problem.covered is False else 4) * problem.map.error * unit
            self.allowance.append(ROUNDING * (eps * handled + LEAST * unit) + errors)
        self.last = [self.stopped(index) for index in range(len(run.statuses))]

    def stopped(self, index: int) -> int:
        """The step at which an image of the batch stopped, by the residuals that the run tells."""
        if self.run.statuses[index] is pk.Status.CONVERGED:
            below = [k for k, row in enumerate(self.run.residuals_per_image) if row[index] <= self.tol]
            hold("converged is below the tolerance", bool(below), f"{self.run.residuals[-1]} {self.tol}")
            return below[0]
        return len(self.recorded) - 1

    def check(self) -> None:
        """Everything, in the order in which one follows from the other."""
        run = self.run
        hold("as many residuals as steps", run.steps == len(run.residuals) == len(self.recorded), str(run.steps))
        hold("no more steps than allowed", run.steps <= self.limit, f"{run.steps} {self.limit}")
        self.maps()
        self.residuals()
        for index, status in enumerate(run.statuses):
            self.status(index, status)
            self.constants(index, status)
        self.picture()
        self.theorem()

    def finite(self, k: int) -> bool:
        return all(bool(np.isfinite(part).all()) for part in self.recorded[k])

    def maps(self) -> None:
        """T x_k beside T in float64."""
        for k, (x, image) in enumerate(self.recorded):
            if not self.finite(k):
                return
            far, near = length(image - self.problem.exact(x)), self.allowance[k]
            hold(
                f"T is the map that it is said to be, of {self.name}",
                bool((far <= near).all()),
                f"{far} beyond {near}, step {k}",
            )

    def residuals(self) -> None:
        """||x - T x|| / (pace ||x||) beside what is told."""
        for k, (x, image) in enumerate(self.recorded):
            if not self.finite(k):
                return
            first, image_0 = self.recorded[0]
            began = np.maximum(length(first), length(first - image_0) / self.problem.pace)
            size = self.problem.pace * np.minimum(length(x), COUNTED * began)
            gap, near = length(x - image), self.eps * 20 * (length(x) + length(image))
            for index, row in enumerate(self.run.residuals_per_image[k]):
                if size[index] == 0:
                    hold("what underflows is told as it is", row > 1 or gap[index] == 0, f"{row} of nothing, step {k}")
                    continue
                true, off = gap[index] / size[index], near[index] / size[index]
                least = self.eps / self.problem.pace if self.problem.pace < 1 else 0.0
                kept = true * (1 - LOOSE) - off <= row <= max(true, least) * (1 + LOOSE) + off
                detail = f"{row:.6g}, not {true:.6g} +- {off:.2g}, step {k}"
                if length(x)[index] < TINY:
                    hold("what underflows is told as it is", kept, detail)
                hold("a residual is ||x - T x|| over ||x||, or over what the run began with", kept, detail)

    def gaps(self, index: int) -> list[float]:
        """||x_k - T x_k|| of one image, in float64, while it ran."""
        return [float(length(x - image)[index]) for x, image in self.recorded[: self.last[index] + 1]]

    def status(self, index: int, status: pk.Status) -> None:
        """The status of an image beside its residuals."""
        gaps, rows = self.gaps(index), [row[index] for row in self.run.residuals_per_image]
        last = self.last[index]
        if status is pk.Status.CONVERGED:
            x, image = self.recorded[last]
            true = float(length(x - self.problem.exact(x))[index])
            most = self.tol * self.problem.pace * float(length(x)[index]) + float(self.allowance[last][index])
            hold("converged is below the tolerance", true <= most * (1 + LOOSE), f"{true:.4g} above {most:.4g}")
        elif status is pk.Status.STEP_LIMIT:
            hold("a step limit is at the limit", self.run.steps == self.limit, f"{self.run.steps} {self.limit}")
            hold("a step limit is above the tolerance", not rows[-1] <= self.tol, f"{rows[-1]} {self.tol}")
        elif status is pk.Status.NOT_FINITE:
            hold("not finite is not finite", any(not math.isfinite(gap) for gap in gaps), str(gaps[-1]))
        elif status is pk.Status.DIVERGED:
            grown = gaps[-1] > GROWN * min(gaps)
            hold("what diverged grew a hundredfold", grown, f"{gaps[-1]:.4g} after {min(gaps):.4g}")
        elif status is pk.Status.FALSIFIED:
            hold(
                "no true certificate is falsified", not self.problem.honest, f"{self.run.certificate.name} {gaps[-2:]}"
            )

    def constants(self, index: int, status: pk.Status) -> None:
        """The inequality of averagedness on consecutive pairs, and the bounds of the theorem."""
        certificate = self.run.certificate
        if certificate.side is not pk.Side.PROVEN:
            return
        seen = status is pk.Status.FALSIFIED or not self.problem.honest
        for k in range(self.last[index]):
            if not (self.finite(k) and self.finite(k + 1)):
                return
            (x, tx), (z, tz) = ([part[index] for part in pair] for pair in self.recorded[k : k + 2])
            near = 2 * float(self.allowance[k][index] + self.allowance[k + 1][index])
            apart, images = float(np.linalg.norm(x - z)), float(np.linalg.norm(tx - tz))
            moved = float(np.linalg.norm((x - tx) - (z - tz)))
            kept = keeps(certificate, apart, images, moved, near)
            detail = f"{images:.6g} of {apart:.6g} at step {k}, {certificate.name[:60]}, ends as {status.name}"
            hold("a true certificate holds on every pair of iterates", kept or not self.problem.honest, detail)
            unseen = UNSEEN * self.eps * max(math.sqrt(len(x)), self.problem.map.magnitude)  # that of the whole batch
            kept = keeps(certificate, apart, images, moved, near + unseen)
            hold("a pair of iterates against the certificate falsifies it", kept or seen and status.failed, detail)
        for k, bound in enumerate(self.run.bounds[: self.run.steps]):
            true = self.run.residuals[k]
            passed_on = np.max(self.allowance[: k + 1], axis=0)  # the rounding of earlier steps, too
            off = float((passed_on / length(self.recorded[k][0]).clip(1e-300)).max()) + self.eps
            off /= self.problem.pace  # a short step is told with eps at least
            kept = true <= bound * (1 + LOOSE) + off
            detail = f"{true:.4g} above {bound:.4g} at step {k}, {certificate.name[:60]}, ends as {status.name}"
            hold("a residual above its bound falsifies the certificate", kept or status.failed, detail)
            hold("the residuals of a true certificate are within their bounds", kept or not self.problem.honest, detail)

    def picture(self) -> None:
        """The image, and the value of the objective there."""
        out = np.asarray(self.run.x.flatten(1).double())
        for index, status in enumerate(self.run.statuses):
            last = self.last[index]
            if status.failed or not self.finite(last):
                hold("a picture is finite", bool(np.isfinite(out[index]).all()), status.name)
                continue
            wanted = self.problem.readout(self.recorded[last][1])[index]
            far, near = float(np.linalg.norm(out[index] - wanted)), float(self.allowance[last][index])
            hold(
                f"the picture is that of the last T x, of {self.name}",
                far <= near,
                f"{far:.4g} beyond {near:.4g}, {status.name}",
            )
        if self.run.objective and self.problem.objective is not None and np.isfinite(out).all():
            true = self.problem.objective(out)
            for told_, value, near in zip(self.run.objective, true, self.allowance[-1], strict=True):
                kept = not math.isfinite(told_) or abs(told_ - value) <= LOOSE * abs(value) + (1 + abs(value)) * near
                hold("the objective is f + g", kept, f"{told_:.8g}, not {value:.8g}")

    def theorem(self) -> None:
        """What is guaranteed beside how the run ended."""
        told_ = str(self.run.guarantee)
        claimed = not told_.startswith("nothing is guaranteed")
        failed = any(status.failed for status in self.run.statuses)
        hold("a run that failed has no guarantee", not (claimed and failed), told_)
        if self.problem.covered is False and not isinstance(self.iteration, pk.Fista):
            open_ = self.run.certificate.side is not pk.Side.PROVEN
            hold("nothing is claimed of an unproven map", not claimed or not open_, told_)
        plain = not isinstance(self.iteration, pk.Fista) and not (
            isinstance(self.iteration, pk.KrasnoselskiiMann) and self.iteration.relaxation >= 1
        )
        if self.problem.covered and plain and not failed:
            hold("a proven map under Picard and its kin is guaranteed", claimed, told_)
