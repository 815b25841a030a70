r"""The precision of a run: early steps may be cheap, since a convergent map converges from any start.

With ``bfloat16`` the denoiser's convolutions of the early steps run in that type; nothing is claimed of this rough map.
From where its residual meets ``ROUGH``, or stops falling, the map itself is iterated, and its certificate, its
residuals and its theorem are those of a run that begins there.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from pnpkit import certificates, distributed, hardware
from pnpkit.errors import UnknownName
from pnpkit.iterations import Anderson, Iteration
from pnpkit.maps import Map
from pnpkit.networks.base import Network
from pnpkit.networks.guided import Given
from pnpkit.networks.tiles import Shared
from pnpkit.solver import Result, Step, continued, numbered_from, solve, worst

PRECISIONS = ("auto", "float32", "bfloat16", "float64")
ROUGH = 2e-3  # residual at which the rough map has done its part; its own floor is lower, about 6e-4
PATIENCE = 5  # rough steps without a new smallest residual before it is given up

LARGE = 100_000  # pixels below which a run is over soon and a probe is not worth its time
WORTH = 0.25


def convert(y: Tensor, precision: str) -> Tensor:
    """The picture in the type that the run computes in; ``auto`` leaves it in its own."""
    if precision not in PRECISIONS:
        raise UnknownName("precision", precision, PRECISIONS)
    return y if precision == "auto" else y.to(torch.float64 if precision == "float64" else torch.float32)


def decide(precision: str, network: Network, y: Tensor) -> str:
    """What ``auto`` means here: bfloat16 first where a probe finds it much faster and the picture is worth the probe.

    Much faster is ``WORTH`` of the float32 time or less: a judgement. At half of it the second stage, starting anew,
    gave back nearly all that the rough steps had saved (docs/lab-book.md).
    """
    if precision != "auto":
        return precision
    if y.dtype == torch.float32 and y.shape[-2] * y.shape[-1] >= LARGE and network.convolutional:
        faster = hardware.prefers_bfloat16(y.device, WORTH)
        evaluated = network.look if isinstance(network, Given) else network
        if isinstance(evaluated, Shared):  # processes that disagreed would wait for each other for ever
            faster = distributed.gather(faster)[0]
        if faster:
            return "bfloat16"
    return str(y.dtype).removeprefix("torch.")


def rough_denoisers(network: Network) -> Callable[[float], Map]:
    """sigma -> D(., sigma), or at the largest sigma that it has, multiplied in bfloat16 and added up in the type of its
    input. Nothing is known about it."""
    nothing = certificates.nothing(f"{network.name}(., sigma)", "rounded to bfloat16: no bound is known")

    def at(sigma: float) -> Map:
        def function(x: Tensor) -> Tensor:
            with torch.autocast(x.device.type, torch.bfloat16):
                return network(x, min(sigma, network.top)).to(x.dtype)

        return Map(function, nothing)

    return at


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
