"""Go on from where the last map ended: a run in stages, of which the last one has the proof."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace

from torch import Tensor

from pnpkit.maps import Map
from pnpkit.solvers.iterations import Anderson, Iteration
from pnpkit.solvers.loop import solve
from pnpkit.solvers.result import Result, Step, worst

ROUGH = 2e-3  # residual at which the rough map has done its part; its own floor is lower, about 6e-4


PATIENCE = 5  # rough steps without a new smallest residual before it is given up


class _Stalled(Exception):
    """The rough map has nothing more to give."""


def solve_from(
    rough: Map | None,
    map: Map,
    x0: Tensor,
    *,
    iteration: Iteration,
    tol: float,
    max_steps: int,
    callback: Callable[[Step], None] | None = None,
    done: int = 0,
) -> Result:
    """``solve`` for ``map`` = T, from where steps of ``rough`` end, if there is one; ``done`` steps came before both.

    Steps, residuals and seconds of the result are those of both stages, certificate, bounds and status of the second.
    At most ``max_steps`` - 1 steps are rough: the last word has the map itself.
    """
    if rough is None or max_steps == 1:
        return solve(map, x0, iteration=iteration, tol=tol, max_steps=max_steps, callback=callback)
    started = time.perf_counter()
    x, past = roughly(rough, x0, iteration, max(tol, ROUGH), max_steps - 1, callback)
    count = len(past)

    if isinstance(iteration, Anderson):  # its safeguard is in units of the first residual, which is now smaller
        iteration = replace(iteration, D=iteration.D * max(past[0]) / max(max(past[-1]), 1e-30))
    run = solve(
        map, x, iteration=iteration, tol=tol, max_steps=max_steps - count, callback=numbered_from(count, callback)
    )
    kind = str(x0.dtype).removeprefix("torch.")
    words = (
        f"from step {done + count + 1} on, in {kind}: {run.guarantee}; what came before, in bfloat16, proves nothing "
        "and only chose where it starts"
    )
    return continued(run, tuple(past), words, time.perf_counter() - started)


def roughly(
    map: Map, x0: Tensor, iteration: Iteration, tol: float, max_steps: int, callback: Callable[[Step], None] | None
) -> tuple[Tensor, list[tuple[float, ...]]]:
    """Iterate until ``tol``, or until the residual stops falling: the last good iterate, and all residuals."""
    x, past = x0, []

    def watch(step: Step) -> None:
        nonlocal x
        x = step.x
        past.append(step.residual)
        if callback is not None:
            callback(step)
        seen = [worst(row) for row in past]
        if len(seen) > PATIENCE and not min(seen[-PATIENCE:]) < min(seen[:-PATIENCE]):
            raise _Stalled

    try:
        solve(map, x0, iteration=iteration, tol=tol, max_steps=max_steps, callback=watch)
    except _Stalled:
        pass
    return x, past


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
