"""A run in stages: each stage iterates its own map and starts where the stage before it ended.

A convergent iteration converges from any start. So earlier stages may do anything, and the theorem, the certificate and
the last residuals of the run are those of the last stage.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from pnpkit.errors import InputError
from pnpkit.maps import Map
from pnpkit.solvers.guarantee import Before
from pnpkit.solvers.iterations import Iteration
from pnpkit.solvers.loop import solve
from pnpkit.solvers.result import Result, Status, Step, worst


@dataclass(frozen=True)
class Stage:
    """One stage of a run: its map, and when the next stage begins.

    Attributes:
        map: a function that makes T from the result of the last converged stage before this one, or from None if there
            is none.
        tol: relative residual at which the stage has converged.
        iteration: the iteration that runs T.
        role: the purpose of these steps, for the guarantee of a run that goes on after them.
        patience: None means that the next stage begins only if this one has converged. With a number, the next stage
            begins in any case, since nothing is proven about this one. This stage then also ends after that many steps
            without a new smallest residual, and it leaves at least one step to the next.
        note: a remark on the steps after this stage, for instance "in float32".
        phase: the ``phase`` of this stage's ``Step`` values, in a word.
    """

    map: Callable[[Result | None], Map]
    tol: float
    iteration: Iteration
    role: str = ""
    patience: int | None = None
    note: str = ""
    phase: str = ""


def solve_in_stages(
    stages: Sequence[Stage],
    x0: Tensor,
    *,
    max_steps: int,
    callback: Callable[[Step], None] | None = None,
    shown: Callable[[Tensor], Tensor] | None = None,
) -> Result:
    """Call ``solve`` for each stage in turn, starting from the x of the stage before.

    ``max_steps`` limits the steps of all stages together. Steps, residuals and seconds of the result are those of all
    stages. Certificate, guarantee, bounds and status are those of the last stage that began. If no step is left for the
    next stage, the run ends with STEP_LIMIT, even if the stage has converged.

    Raises:
        InputError: there is no stage, or the last stage has a patience, so nothing would be proven about it; also in
            the cases that ``solve`` names.
    """
    if not stages or stages[-1].patience is not None:
        raise InputError("a run in stages needs a last stage without patience: its theorem is that of the run")
    started = time.perf_counter()
    runs: list[Result] = []
    before: tuple[Before, ...] = ()
    settled: Result | None = None
    x, ratio = x0, 1.0
    for stage, last in zip(stages, [False] * (len(stages) - 1) + [True], strict=True):
        done = sum(run.steps for run in runs)
        limit = max_steps - done if stage.patience is None else max_steps - done - 1
        if stage.patience is not None and limit < 1:
            continue  # the last step is for a stage that can end the run
        run = solve(
            stage.map(settled),
            x,
            iteration=stage.iteration.resumed(ratio),
            tol=stage.tol,
            max_steps=limit,
            callback=numbered_from(done, stage.phase, callback),
            patience=stage.patience,
            shown=shown,
        )
        runs.append(run)
        x, done = run.x, done + run.steps
        if stage.patience is not None:  # the next stage has a smaller first residual, and safeguards are relative to it
            ratio = max(run.residuals_per_image[0]) / max(max(run.residuals_per_image[-1]), 1e-30)
            before = (*before, Before(done, stage.role, stage.note))
            continue
        if last or run.status is not Status.CONVERGED:
            break
        if done >= max_steps:
            runs[-1] = replace(run, status=Status.STEP_LIMIT)
            break
        settled, ratio = run, 1.0
        before = (Before(done, stage.role, stage.note),)  # earlier stages no longer matter
    return joined(runs, before, time.perf_counter() - started)


def joined(runs: Sequence[Result], before: tuple[Before, ...], seconds: float) -> Result:
    """Return the last of ``runs`` with the steps and residuals of all runs."""
    end, past = runs[-1], [row for run in runs[:-1] for row in run.residuals_per_image]
    return replace(
        end,
        steps=len(past) + end.steps,
        residuals=(*(worst(row) for row in past), *end.residuals),
        residuals_per_image=(*past, *end.residuals_per_image),
        guarantee=replace(end.guarantee, before=before),
        seconds=seconds,
        bounds=(math.inf,) * len(past) + end.bounds if end.bounds else (),
    )


def numbered_from(done: int, phase: str, callback: Callable[[Step], None] | None) -> Callable[[Step], None] | None:
    """Return the callback for a stage that begins after ``done`` steps: it continues their numbers."""
    if callback is None:
        return None
    return lambda step: callback(replace(step, number=done + step.number, phase=phase))
