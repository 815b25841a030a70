"""The result of a run: its status, residuals, certificate, and the theorem that covers it."""

from __future__ import annotations

import enum
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from pnpkit.certificates import Certificate
from pnpkit.solvers.guarantee import Guarantee, Lack, assumed, covered, uncovered, withdrawn
from pnpkit.solvers.iterations import Iteration


def contraction_factor(residuals: Sequence[float]) -> float:
    """The measured linear rate: the geometric mean of the last half of the ratios r_{k+1} / r_k."""
    half = [r for r in residuals if r > 0][-max(2, len(residuals) // 2) :]
    if len(half) < 2:
        return math.nan
    return (half[-1] / half[0]) ** (1 / (len(half) - 1))


RISE_LIMIT = 1e-3  # a relative rise above the allowed value that rounding cannot explain


class Status(enum.Enum):
    """How a run ended. The value is a sentence of advice."""

    CONVERGED = "converged: the fixed-point residual is below the tolerance"
    APPLIED = "done: the denoiser was applied once, nothing was iterated"
    STEP_LIMIT = "step limit: it ran out of steps before the tolerance was met; allow more steps or a larger tolerance"
    DIVERGED = "diverged: the residual grew; this is the last iterate before it did; use a certified denoiser or step"
    NOT_FINITE = "stopped: NaN or infinity appeared; this is the last finite iterate; check the input and the operator"
    FALSIFIED = "stopped: the run contradicts what is certified about its map; its certificate or operator is wrong"

    @property
    def failed(self) -> bool:
        """Whether the run went wrong. Then the image is the last good iterate."""
        return self in (Status.DIVERGED, Status.NOT_FINITE, Status.FALSIFIED)


@dataclass(frozen=True)
class Step:
    """The argument of a callback, which is called after each evaluation of the map.

    Attributes:
        number: number of the evaluation, from 1.
        x: what the run would return if it ended here, before ``Map.readout``: T x_k, or the last good iterate of an
            image that failed.
        residual: relative residual of each image.
        tol: the residual at which the present stage ends.
        phase: the present stage in a word or two; empty if the run has no stages.
    """

    number: int
    x: Tensor
    residual: tuple[float, ...]
    tol: float = 0.0
    phase: str = ""


@dataclass(frozen=True)
class Result:
    """The outcome of a run.

    Attributes:
        x: the images (B, C, H, W), a tensor, or a numpy array if the data were numpy. For an image that converged this
            is T x_k for the x_k whose residual met the tolerance; its ||x - T x|| is no larger if T is nonexpansive.
            For an image that failed it is the last good iterate.
        status: the worst status over the batch; ``statuses`` has one per image.
        steps: number of evaluations of the map.
        residuals: relative residual per evaluation, of the worst image of the batch; ``residuals_per_image`` has all.
        cropped: whether the residuals refer to a part of the pixels only; see ``shown`` of ``solve``.
        certificate: what is proven about the map.
        guarantee: the convergence theorem that covers the run, or why none does; it is true if one does.
        seconds: wall time, in seconds.
        bounds: the theorem's bound on each of ``residuals``, computed with a proven ||x_0 - x*|| (``farthest``). Empty
            if the theorem gives no rate, or if no bound on the distance is known.
        objective: the value at x of the function that the map minimises, per image; empty if there is none.
    """

    x: Any
    status: Status
    statuses: tuple[Status, ...]
    steps: int
    residuals: tuple[float, ...]
    residuals_per_image: tuple[tuple[float, ...], ...]
    certificate: Certificate
    guarantee: Guarantee
    seconds: float
    bounds: tuple[float, ...] = ()
    objective: tuple[float, ...] = ()
    cropped: bool = False

    def __repr__(self) -> str:
        size = "x".join(str(side) for side in self.x.shape)
        proven = "proven" if self.guarantee else "nothing is guaranteed"
        last = f", residual {self.residuals[-1]:.2g}" if self.residuals else ""
        return f"<Result {size}: {self.status.value.split(':')[0]} in {self.steps} steps{last}, {proven}>"

    def explain(self) -> str:
        """Explain the run in half a page: the theorem, its constants, the assumptions, the checks, what happened."""
        c = self.certificate
        rises = sum(b > a * (1 + RISE_LIMIT) for a, b in zip(self.residuals, self.residuals[1:], strict=False))
        rate = contraction_factor(self.residuals)
        part, whole = (" of the pixels in the frame", ", of all pixels,") if self.cropped else ("", "")
        lines = [
            f"What happened. {_sentence(self.status.value)} The map T was applied {self.steps} times; the relative "
            f"residual ||x - T x|| / ||x||{part}, in units of a full step, went from {self.residuals[0]:.2e} to "
            f"{self.residuals[-1]:.2e} (by a factor of about {rate:.4f} a step at the end) and rose {rises} times.",
            f"What is guaranteed. {_sentence(str(self.guarantee))}",
            f"The constants. {c.describe(1)}",
        ]
        if c.averaged and c.averagedness is not None:
            share = c.averagedness / (1 - c.averagedness)
            lines.append(
                "What averagedness means. T is a mixture of the identity and a map that never moves two images apart, "
                f"with weight {c.averagedness:.6g} on the second. Under Picard's iteration the residuals ||x - T x||"
                f"{whole} never rise, and their squares sum to at most {share:.4g} times the squared distance from "
                "start to fixed point."
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
        lines.append(f"What was assumed and not checked. {'; '.join(assumed(c)) or 'Nothing'}.")
        return "\n\n".join(lines)


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def guarantee(
    certificate: Certificate, iteration: Iteration, statuses: Sequence[Status] = (), violation: str = ""
) -> Guarantee:
    """Return the theorem whose hypotheses the certificate proves, or the reason why there is none.

    There is also none if the run overflows or contradicts the certificate; ``violation`` describes how.
    """
    theorem = iteration.theorem(certificate)
    if Status.FALSIFIED in statuses:
        return withdrawn(Lack.CONTRADICTED, f"{Lack.CONTRADICTED.value}: {violation}" if violation else "")
    if theorem is None:
        return uncovered(certificate, iteration)
    if any(status.failed for status in statuses):
        return withdrawn(Lack.OVERFLOW)
    return covered(certificate, theorem)


def worst(row: tuple[float, ...]) -> float:
    """Return the largest residual of a batch. NaN counts as larger than any number."""
    return max(row, key=lambda value: math.inf if math.isnan(value) else value)
