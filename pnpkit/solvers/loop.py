r"""The one loop. It runs a map with an iteration, watches the residual, and reports what happened and what is proven.

The residual is that of the unrelaxed map, per image, in units of a full step: r_k = ||x_k - T x_k|| / (pace ||x_k||);
see ``Map``. The module ``watch`` says what is checked at each evaluation.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from numbers import Real

import torch
from torch import Tensor

from pnpkit.errors import InputError
from pnpkit.maps import Map, checked
from pnpkit.solvers.iterations import Iteration, Picard
from pnpkit.solvers.result import Result, Status, Step, guarantee, worst
from pnpkit.solvers.watch import Watch


def solve(
    map: Map,
    x0: Tensor,
    *,
    iteration: Iteration | None = None,
    tol: float = 1e-4,
    max_steps: int = 1000,
    callback: Callable[[Step], None] | None = None,
    patience: int | None = None,
    shown: Callable[[Tensor], Tensor] | None = None,
) -> Result:
    """Iterate until ||x - T x|| / ||x|| <= tol pace(T) for every image, or for ``max_steps`` evaluations of T.

    Each image of the batch stops by itself. An image stops at once in these cases:

    - its residual is NaN or infinite;
    - it contradicts the certificate of T or the theorem of the run by more than rounding (``watch``);
    - no theorem applies, and its residual grows above its first value and above ``GROWTH_LIMIT`` times its smallest.

    Args:
        map: T, with its certificate.
        x0: the first iterate, (B, C, H, W), finite.
        iteration: default ``Picard()``.
        tol: relative fixed-point residual, >= 0.
        max_steps: >= 1.
        callback: called with a ``Step`` after each evaluation.
        patience: also stop after this many evaluations in a row without a new smallest residual. None: never.
        shown: a restriction R of images to some of their pixels, (B, C, H, W) -> (B, C, h, w). Then residuals are
            ||R (x - T x)|| / ||R x||. The checks against the certificate still use all pixels.

    Raises:
        InputError: the first iterate is not finite or not a batch; tol or max_steps is outside its range; ``map`` is
            not a Map, or it changes the shape; ``iteration`` is not an Iteration.

    Example:
        >>> import torch
        >>> import pnpkit as pk
        >>> from pnpkit import proximal
        >>> T = proximal.box(0, 1) @ proximal.tikhonov(1.0)
        >>> run = pk.solve(T, torch.full((1, 2), 0.5), tol=0.0, max_steps=3)
        >>> run.x.tolist(), bool(run.guarantee)
        ([[0.0625, 0.0625]], True)
    """
    iteration = Picard() if iteration is None else iteration
    check_run(map, x0, iteration, tol, max_steps)
    started = time.perf_counter()
    watch = Watch(map, x0, iteration, tol, shown)
    x, out, history = x0, x0.clone(), []
    memory = iteration.start(x0)
    with torch.no_grad():
        for k in range(int(max_steps)):
            Tx = map(x)
            if Tx.shape != x.shape:
                raise InputError(f"T must keep the shape of x, {tuple(x.shape)} came back as {tuple(Tx.shape)}")
            running = watch.running
            history.append(watch.observe(x, Tx))
            accepted = [r and not (s and s.failed) for r, s in zip(running, watch.statuses, strict=True)]
            out = _where(accepted, iteration.accepted(x, Tx), out)
            if callback is not None:
                callback(Step(k + 1, out, history[-1], tol))
            if not any(watch.running) or stalled(history, patience):
                break
            following, memory = iteration.next(k, x, Tx, memory)
            x = _where(watch.running, following, x)
        picture = map.readout(out)
        objective = () if map.objective is None else tuple(map.objective(picture).tolist())
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
        guarantee=guarantee(map.certificate, iteration, statuses, "; ".join(filter(None, watch.violation))),
        seconds=time.perf_counter() - started,
        bounds=watch.bounds(),
        objective=objective,
        cropped=shown is not None,
    )


def stalled(history: list[tuple[float, ...]], patience: int | None) -> bool:
    """Whether none of the last ``patience`` residuals is smaller than all residuals before them.

    The residual of a step is that of the worst image of the batch.
    """
    if patience is None or len(history) <= patience:
        return False
    seen = [worst(row) for row in history]
    return not min(seen[-patience:]) < min(seen[:-patience])


def check_run(map: Map, x0: Tensor, iteration: Iteration, tol: float, max_steps: int) -> None:
    """Raise unless the arguments of ``solve`` are valid."""
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


def _where(flags: list[bool], chosen: Tensor, other: Tensor) -> Tensor:
    """Select images: ``chosen`` where the flag is set, otherwise ``other``."""
    if all(flags):
        return chosen
    return torch.where(torch.tensor(flags, device=chosen.device).view(-1, *[1] * (chosen.ndim - 1)), chosen, other)
