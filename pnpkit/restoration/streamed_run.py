"""The iteration of a volume that is larger than the memory: that of ``solvers.loop``, with every iterate in a file.

Norms and products are sums over parts. The proximal map goes block by block, the denoiser slice by slice, each exactly;
so what comes out is what the run on the whole gives, up to rounding.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pnpkit.errors import InputError
from pnpkit.machine.fields import Field, Place
from pnpkit.maps import Map
from pnpkit.networks.base import Network
from pnpkit.networks.volumes import DIRECTIONS, slices_at_once
from pnpkit.restoration.streamed_data import Measured, square
from pnpkit.solvers.iterations import Anderson, Iteration, Picard, mixing
from pnpkit.solvers.result import Result, Status, Step, guarantee, worst
from pnpkit.solvers.watch import Watch


@dataclass(frozen=True)
class Denoiser:
    """D(., sigma) of slices, with guide and hint where it is guided.

    Attributes:
        network: D, or what a guide and a hint make one of. sigma: its strength.
        directions: a key of ``networks.volumes.DIRECTIONS``. guide, hint: of the whole scene, or None.
    """

    network: Network
    sigma: float
    directions: str
    guide: Field | None = None
    hint: Field | None = None

    def __call__(self, x: Tensor, place: Place, axis: int, measured: Measured) -> Tensor:
        """D of the part ``place`` of the scene, (d, h, w), in slices across ``axis``."""
        network = self.network
        if self.guide is not None and self.hint is not None:
            cut = [measured.at(field[place])[0, 0].movedim(axis, 0)[:, None] for field in (self.guide, self.hint)]
            network = network.given(*cut)
        return network(x.movedim(axis, 0)[:, None], min(self.sigma, network.top))[:, 0].movedim(0, axis)


@dataclass(frozen=True)
class Stage:
    """One map T = proj ∘ D ∘ prox_{tau f + box}, and how it is iterated.

    Attributes:
        map: T on a small volume, whose certificate is that of T on the whole. denoiser: D. tau: of the proximal map.
        limits: the box. tol: the relative residual to stop at. limit: steps at most. iteration: Picard or Anderson.
        callback: of the settings, or None. told: hears which piece of work begins. phase: the name of the stage.
    """

    map: Map
    denoiser: Denoiser
    tau: float
    limits: tuple[float, float]
    tol: float
    limit: int
    iteration: Iteration
    callback: Callable[[Step], None] | None
    told: Callable[[str], None]
    phase: str


def check_iteration(iteration: Iteration) -> None:
    """Raise ``InputError`` unless volumes in blocks can have this iteration."""
    if not isinstance(iteration, (Picard, Anderson)):
        raise InputError("a volume beyond the memory takes the method picard or anderson, or more `max_memory`")


def past(iteration: Iteration) -> int:
    """How many points x and values T x the iteration looks at, the present ones among them."""
    return (iteration.depth if isinstance(iteration, Anderson) else 1) + 1


def run_stage(stage: Stage, measured: Measured, start: Field, done: int) -> tuple[Result, Field]:
    """Iterate the map, as ``solvers.loop.solve`` does; the result, and the field that it ends at.

    Args:
        start: the first iterate, in the box. done: steps that were made before this stage.
    """
    started, keeps = time.perf_counter(), past(stage.iteration)
    small = torch.empty(1, 1, dtype=measured.store.dtype)
    watch = Watch(stage.map, small, stage.iteration, stage.tol)
    points: list[Field] = []
    values: list[Field] = []
    x, history, scale, accelerated = start, list[tuple[float, ...]](), 0.0, 0
    for k in range(stage.limit):
        end = evaluated(stage, measured, x, k, done, keeps)
        points, values = [*points, x][-keeps:], [*values, end][-keeps:]
        sums, products = compared(stage, measured, points, values)
        history.append(observed(watch, sums, math.prod(measured.scene)))
        if stage.callback is not None:
            middle = tuple(slice(n // 2, n // 2 + 1) for n in measured.scene)
            stage.callback(Step(k + 1, end[middle][None, None], history[-1], stage.tol, stage.phase))
        if not any(watch.running):
            break
        x = end
        if isinstance(stage.iteration, Anderson):
            if len(points) == 1:
                scale = math.sqrt(sums.gap)
            else:
                allowed = stage.iteration.D * scale * (accelerated + 1) ** -1.1
                found, error = extrapolated(measured, values, products, k, keeps)
                accept = math.isfinite(error) and error <= allowed
                x, accelerated = (found if accept else end), accelerated + accept
    failed = any(status is not None and status.failed for status in watch.statuses)
    last = values[-1] if not failed else values[-2] if len(values) > 1 else start
    statuses = tuple(status or Status.STEP_LIMIT for status in watch.statuses)
    words = "; ".join(filter(None, watch.violation))
    run = Result(
        x=last[tuple(slice(0, 1) for _ in measured.scene)][None, None],
        status=statuses[0],
        statuses=statuses,
        steps=len(history),
        residuals=tuple(worst(row) for row in history),
        residuals_per_image=tuple(history),
        certificate=stage.map.certificate,
        guarantee=guarantee(stage.map.certificate, stage.iteration, statuses, words),
        seconds=time.perf_counter() - started,
        bounds=watch.bounds(),
    )
    return run, last


def evaluated(stage: Stage, measured: Measured, x: Field, k: int, done: int, keeps: int) -> Field:
    """T x, in a field of a ring that is long enough for the past."""
    store, scene, number = measured.store, measured.scene, done + k + 1
    near = measured.prox(x, stage.tau, stage.limits, lambda step: stage.told(f"step {number}, data {step + 1}"))
    axes = [axis - 2 for axis in DIRECTIONS[stage.denoiser.directions]]
    made = []
    for axis in axes:
        out = store.field(f"denoised{axis}", scene)
        made.append(out)
        count = slices_at_once(math.prod(scene) // scene[axis])
        units = [(low, min(low + count, scene[axis])) for low in range(0, scene[axis], count)]

        def denoised(unit: tuple[int, int], axis: int = axis, out: Field = out) -> tuple[float, ...]:
            place = tuple(slice(*unit) if a == axis else slice(0, n) for a, n in enumerate(scene))
            out[place] = stage.denoiser(near[place].to(measured.device), place, axis, measured)
            return (0.0,)

        stage.told(f"step {number}, denoising")
        store.each(units, denoised)
    end = store.field(f"value{k % (keeps + 1)}", scene)

    def together(part: tuple[int, int]) -> tuple[float, ...]:
        mean = made[0].part(*part) / len(made)
        for field in made[1:]:
            mean += field.part(*part) / len(made)
        end.put(part[0], mean.clamp(*stage.limits))
        return (0.0,)

    store.each(end.parts(), together)
    return end


@dataclass(frozen=True)
class Sums:
    """What the watch sees of an evaluation, from sums over its parts.

    Attributes:
        gap, size, end: squared norms of x - T x, x and T x. far: of x less the farthest corner of the box.
        least, most: the least and the largest value of T x.
        moved, ends, turned: squared norms of the changes of x, T x and x - T x since the evaluation before.
    """

    gap: float
    size: float
    end: float
    far: float
    least: float
    most: float
    moved: float = 0.0
    ends: float = 0.0
    turned: float = 0.0


def compared(stage: Stage, measured: Measured, points: list[Field], values: list[Field]) -> tuple[Sums, list[float]]:
    """The ``Sums`` of the last evaluation, and the products that ``extrapolated`` needs.

    These are the products of the changes of the residual with each other, then with the residual.
    """
    accelerates = isinstance(stage.iteration, Anderson)
    low, high = stage.limits

    def work(part: tuple[int, int]) -> tuple[float, ...]:
        chosen = slice(None) if accelerates else slice(-2, None)
        x = [field.part(*part) for field in points[chosen]]
        t = [field.part(*part) for field in values[chosen]]
        corner = torch.maximum((x[-1] - low).abs(), (x[-1] - high).abs())
        found = [square(x[-1] - t[-1]), square(x[-1]), square(t[-1]), square(corner)]
        found += [float(t[-1].min()), float(t[-1].max())]
        if len(x) > 1:
            turned = (x[-1] - t[-1]) - (x[-2] - t[-2])
            found += [square(x[-1] - x[-2]), square(t[-1] - t[-2]), square(turned)]
        if accelerates and len(x) > 1:
            gap = torch.stack([a - b for a, b in zip(x, t, strict=True)], -1)
            changes = gap.diff(dim=-1)
            found += (changes.mT @ changes).double().flatten().tolist()
            found += (changes.mT @ gap[:, -1]).double().tolist()
        return tuple(found)

    columns = measured.store.each(values[-1].parts(), work)
    added = [math.fsum(column) for column in columns]
    added[4:6] = [min(columns[4]), max(columns[5])]
    return Sums(*added[:9]), added[9:]


def observed(watch: Watch, sums: Sums, count: int) -> tuple[float, ...]:
    """The relative residuals of an evaluation, as ``Watch.observe`` finds them, from its norms."""
    small = watch.x0
    gap, size, end = ([math.sqrt(value)] for value in (sums.gap, sums.size, sums.end))
    now = watch.weighed(small, small, gap, size, end, count)
    words = watch.beyond(sums.least, sums.most)
    if watch.last is None:
        watch.distances = [math.sqrt(sums.far)]
    elif watch.map.certificate.proven:
        rounding = max(now.rounding[0], watch.last.rounding[0])
        moved, ends, turned = (math.sqrt(value) for value in (sums.moved, sums.ends, sums.turned))
        words = words or watch.contradicted(moved, ends, turned, rounding, watch.evaluations[0] + 1)
    return watch.record(now, [words])


def extrapolated(
    measured: Measured, values: list[Field], products: list[float], k: int, keeps: int
) -> tuple[Field, float]:
    """The candidate of Anderson's method after step k, and its distance from T x."""
    many = len(values) - 1
    table = torch.tensor(products, dtype=torch.float64)
    weights = mixing(table[: many * many].view(1, many, many), table[many * many :].view(1, many, 1))[0, :, 0]
    out = measured.store.field(f"point{(k + 1) % (keeps + 1)}", measured.scene)

    def work(part: tuple[int, int]) -> tuple[float, ...]:
        t = [field.part(*part) for field in values]
        change = [after - before for before, after in itertools.pairwise(t)]
        found = t[-1] - torch.stack(change, -1) @ weights.to(t[-1].dtype)
        out.put(part[0], found)
        return (square(found - t[-1]),)

    (squares,) = measured.store.each(out.parts(), work)
    return out, math.sqrt(math.fsum(squares))
