"""A volume larger than the memory: the run of the whole, with all arrays in files and the work block by block.

Noise, scale, strength and tau are taken once; every step of the iteration is that of the whole, up to rounding, and
there is one run with one proof. A folder holds the files and a journal until the end, so that a run that was killed
goes on at the block or slice where it was.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from pnpkit.errors import InputError
from pnpkit.fidelities.constrained import Constrained
from pnpkit.fidelities.least_squares import LeastSquares
from pnpkit.fidelities.weighted import WeightedLeastSquares
from pnpkit.images.pixels import largest_of, quantised
from pnpkit.kernels import Kernel
from pnpkit.machine.fields import Field, Journal
from pnpkit.machine.memory import allowed, choose_device
from pnpkit.machine.phases import nobody
from pnpkit.networks.base import Network
from pnpkit.networks.tiles import within_memory
from pnpkit.networks.volumes import DIRECTIONS, Volumetric
from pnpkit.noise.models import PoissonGaussian
from pnpkit.operators.volume import VolumeBlur
from pnpkit.restoration.blocks import cut
from pnpkit.restoration.checks import open_tools
from pnpkit.restoration.data import Data, data_of
from pnpkit.restoration.defaults import GUIDE, KERNEL_ERROR
from pnpkit.restoration.picture import Opened, on_scale
from pnpkit.restoration.pipeline import FIRST, SECOND, Halves, box, few_steps, mixed, plan_for, with_strength
from pnpkit.restoration.plan import GUIDING, penalty_for
from pnpkit.restoration.problem import Problem
from pnpkit.restoration.result import Restoration
from pnpkit.restoration.settings import Settings
from pnpkit.restoration.streamed_data import Measured, Store, total
from pnpkit.restoration.streamed_run import Denoiser, Stage, check_iteration, past, run_stage
from pnpkit.restoration.streamed_source import Source, opened_source, slices
from pnpkit.restoration.survey import Survey
from pnpkit.restoration.weighing import Weights
from pnpkit.solvers.guarantee import Before
from pnpkit.solvers.iterations import Anderson, Iteration
from pnpkit.solvers.result import Result, Status
from pnpkit.solvers.splittings import HALF_QUADRATIC
from pnpkit.solvers.stages import joined, numbered_from

BESIDE = 10  # fields beside those of the iteration and what is denoised
SHORT = "to fit onto the disk Anderson's method looks back {0.depth} steps only"
WORDS = "in {} of {}, with all arrays in files: each step is that of the whole, up to rounding"


def check_streamed(settings: Settings, boundary: str, iteration: Iteration) -> None:
    """Raise for what a volume in blocks cannot have."""
    if boundary != "unknown":
        raise InputError(
            f"a volume beyond the memory is restored in blocks, and these have the boundary unknown, got "
            f"`boundary={boundary}`: leave it out, or give more `max_memory`"
        )
    check_iteration(iteration)
    asked = {
        f"splitting {settings.splitting}": settings.splitting not in ("auto", HALF_QUADRATIC),
        "strength sure": settings.strength == "sure",
        "precision bfloat16": settings.precision == "bfloat16",
    }
    for what, given in asked.items():
        if given:
            raise InputError(f"{what} is for what fits into memory: leave it out, or give more `max_memory`")


def restore_streamed(
    volume: np.ndarray,
    kernel: Kernel,
    taps: np.ndarray,
    notes: tuple[str, ...],
    directions: str,
    sides: tuple[int, ...],
    settings: Settings,
    survey: Survey,
    weights: Weights | None,
    folder: Path,
    told: Callable[[str], None],
) -> Restoration:
    """The result of ``volumes.deblur_volume``, with all arrays in files of ``folder``.

    Args:
        kernel: as it was given. taps: its weights, cut to the volume.
        notes: sentences on kernel and denoiser, for the result. directions: a key of ``networks.volumes.DIRECTIONS``.
        sides: of the blocks. survey: noise and scale; how bright the result will be is found here.
        weights: what the readings are worth, or None. told: hears which piece of work begins.
    """
    started = time.perf_counter()
    image = np.array(volume)  # the memory of the result is taken now, not after hours
    working = torch.float64 if settings.precision == "float64" else torch.float32
    reach = tuple(n // 2 for n in taps.shape)
    blocks = cut(volume.shape, reach, sides)
    with Journal(folder / "journal") as journal:
        store, device = Store(folder, journal, working), choose_device(settings.device)
        scene = tuple(n + side - 1 for n, side in zip(volume.shape, taps.shape, strict=True))
        lighter = within_disk(open_tools(settings)[0], store, scene, directions)
        y = store.field("readings", volume.shape)
        measured = Measured(taps, volume.shape, blocks, store, device, y)
        source, measured = opened_source(Source(volume, survey, weights), measured, told)
        work = Run(source, measured, directions, settings, kernel, told, started, lighter)
        run, end = work.restored()
        before, opened = journal.before, work.opened
        run = few_steps(run) if opened.settings.quick else run
        run = mixed(run, run.x, float(settings.amount))
        data = written(image, source, measured, opened, end, float(settings.amount))
    for file in folder.glob("*.raw"):  # readings and end suffice to give the same result again, without a step
        if file not in (end.path, y.path):
            file.unlink()
    shortened = "" if work.iteration == opened.iteration else SHORT.format(work.iteration)
    many = f"{len(blocks)} blocks" if len(blocks) > 1 else "one block"
    note = WORDS.format(many, "x".join(map(str, sides)))
    note += f"; {before} of {journal.next} pieces of work are of a run that was stopped" if before else ""
    return Restoration(
        image=image,
        run=run,
        plan=work.plan,
        noise_level=opened.noise * source.survey.scale.span,
        seconds=time.perf_counter() - started,
        blur=replace(kernel, weights=taps),
        notes=(*notes, shortened, note),
        span=source.survey.scale.span,
        data=data,
        amount=float(settings.amount),
    )


class Run:
    """Plan and stages of a volume in files, as ``pipeline.restore`` has them of what fits into memory.

    Certificates and rules follow from a small volume of the same kernel: its L and its noise are those of the whole.
    """

    def __init__(
        self,
        source: Source,
        measured: Measured,
        directions: str,
        settings: Settings,
        kernel: Kernel,
        told: Callable[[str], None],
        started: float,
        lighter: Iteration,
    ):
        self.source, self.measured, self.directions, self.told = source, measured, directions, told
        scale, volume = source.survey.scale, source.volume
        iteration, network = open_tools(settings)
        readings = source.readings(slices(volume.shape)[0])
        self.opened = Opened(
            y=torch.full((1, 1, *measured.taps.shape), measured.size, dtype=measured.store.dtype),
            back=lambda z: z,
            readings=replace(readings, known=None),
            settings=on_scale(settings, scale, network),
            scale=scale,
            unit=largest_of(volume.dtype),
            iteration=iteration,
            network=network,
            started=started,
            told=settings.progress or nobody,
        )
        self.iteration = lighter
        self.first, self.second = self.networks(allowed(settings.max_memory) - volume.nbytes)
        operator = VolumeBlur(measured.taps, "unknown", measured.taps.shape, dtype=measured.store.dtype)
        guess = torch.zeros(1, 1, *operator.scene, dtype=measured.store.dtype)
        self.problem = Problem(
            operator,
            self.opened.y,
            guess,
            self.opened.back,
            self.opened.noise,
            kernel=kernel,
            splitting=HALF_QUADRATIC,
            kernel_error=KERNEL_ERROR / source.survey.times,
            boxed=True,
        )
        chosen, plain = self.opened.settings, self.fidelity().inner
        plan = plan_for(self.problem, chosen, self.first, plain)
        self.plan, _ = with_strength(plan, self.problem, chosen, plain, self.first, network.top, self.opened.readings)

    def networks(self, memory: float) -> tuple[Network, Network | None]:
        """The networks of both passes, or one and None; in tiles where a slice does not fit into ``memory`` bytes."""
        shape = (1, 1, *sorted(self.measured.scene)[1:])
        first, second = self.opened.network.looks()
        second = None if second is None or self.opened.settings.quick else within_memory(second, shape, memory, 0)
        return within_memory(first, shape, memory, 0), second

    def restored(self) -> tuple[Result, Field]:
        """The result of the run, and the field that it ends at."""
        measured, settings, plan = self.measured, self.opened.settings, self.plan
        tol = plan.tol if self.second is None else max(plan.tol, GUIDE)
        self.opened.told(FIRST if self.second is None else replace(FIRST, parts=2))
        start = measured.store.field("start", measured.scene)
        run, end = run_stage(self.stage(self.first, tol, FIRST.name, 0), measured, start, 0)
        if self.second is None or run.status is not Status.CONVERGED:
            return run, end
        if run.steps >= settings.max_steps:
            return replace(run, status=Status.STEP_LIMIT), end
        self.opened.told(SECOND)
        guide = self.copied(end, "guide")
        self.refine(guide)
        tau = penalty_for(max(plan.level, self.problem.kernel_error), self.first)
        hint = measured.prox(guide, tau, box(settings), lambda step: self.told(f"hint, data {step + 1}"))
        guided = guide, self.copied(hint, "hint")
        again, end = run_stage(
            self.stage(self.second, plan.tol, SECOND.name, run.steps, guided), measured, guide, run.steps
        )
        before = (Before(run.steps, GUIDING),)
        return joined([run, again], before, run.seconds + again.seconds), end

    def stage(
        self, network: Network, tol: float, phase: str, done: int, guided: tuple[Field, Field] | tuple[()] = ()
    ) -> Stage:
        """The stage of a network, after ``done`` steps; the second pass has guide and hint as ``guided``."""
        settings, small, plan = self.opened.settings, Volumetric(network, self.directions), self.plan
        whole = small.given(self.problem.guess, self.problem.guess) if guided else small
        return Stage(
            map=Halves(self.fidelity(), plan, settings, self.opened.readings).exact(whole),
            denoiser=Denoiser(network, plan.strength, self.directions, *guided),
            tau=plan.tau,
            limits=box(settings),
            tol=tol,
            limit=settings.max_steps - done,
            iteration=self.iteration,
            callback=numbered_from(done, phase, settings.callback),
            told=self.told,
            phase=phase,
        )

    def fidelity(self) -> Constrained:
        """f + box of a small volume, with the constants of the whole."""
        problem = self.problem
        limits, norm = box(self.opened.settings), problem.operator.norm_bound()
        if self.measured.weights is None:
            return Constrained(LeastSquares(problem.operator, problem.y, norm), limits)
        return Constrained(WeightedLeastSquares(problem.operator, problem.y, self.measured.heaviest, norm), limits)

    def refine(self, x: Field) -> None:
        """Weigh the readings anew, by their variances at A x, where the variance follows what is read."""
        measured, source = self.measured, self.source
        if measured.weights is None or not self.opened.readings.follows:
            return
        weights = measured.weights

        def work(number: int) -> tuple[float, ...]:
            block = measured.blocks[number]
            blurred = measured.operator(block).A(measured.at(x[block.wide])).cpu()
            found = source.readings(block.seen).weights(blurred)[0, 0]
            weights[block.seen] = found
            return (float(found.max()),)

        (tops,) = measured.store.each(range(len(measured.blocks)), work)
        measured.heaviest = max(tops)

    def copied(self, field: Field, name: str) -> Field:
        """A copy of the field, under another name."""
        out = self.measured.store.field(name, field.shape)

        def work(part: tuple[int, int]) -> tuple[float, ...]:
            out.put(part[0], field.part(*part))
            return (0.0,)

        self.measured.store.each(out.parts(), work)
        return out


def within_disk(iteration: Iteration, store: Store, scene: tuple[int, ...], directions: str) -> Iteration:
    """The iteration, its past cut to what the disk holds. A run that goes on keeps what it was cut to at first.

    Raises:
        InputError: the disk does not even hold the fields of a run without a past.
    """
    size = math.prod(scene) * torch.finfo(store.dtype).bits // 8

    def needed(of: Iteration) -> int:
        ring = (past(of) + 1) * (2 if isinstance(of, Anderson) else 1)
        return (BESIDE + len(DIRECTIONS[directions]) + ring) * size

    def look(_: int) -> tuple[float, ...]:
        room, chosen = shutil.disk_usage(store.folder).free, iteration
        while needed(chosen) > room:
            following = chosen.lighter()
            if following is None:
                gib = [n / 2**30 for n in (needed(iteration), room)]
                other = ", or `method=picard`" if isinstance(iteration, Anderson) else ""
                raise InputError(
                    f"a volume in blocks needs {gib[0]:.2g} GiB on the disk of {store.folder.parent}, there are "
                    f"{gib[1]:.2g}: choose an output (in Python, a cache) on another disk{other}"
                )
            chosen = following
        return (float(past(chosen)),)

    ((kept,),) = store.each([0], look)
    chosen = iteration
    while past(chosen) > kept:
        chosen = chosen.lighter() or iteration
    return chosen


def written(image: np.ndarray, source: Source, measured: Measured, opened: Opened, end: Field, amount: float) -> Data:
    """Write the result into ``image``, in the type of the volume, and return its ``Data``."""
    scale, unit, dtype = opened.scale, opened.unit, image.dtype
    model = source.survey.model if isinstance(source.survey.model, PoissonGaussian) else None
    sums, lost = list[tuple[float, float]](), 0
    reach = [taps // 2 for taps in measured.taps.shape]
    for place in slices(measured.frame):
        inner = tuple(slice(s.start + r, s.stop + r) for s, r in zip(place, reach, strict=True))
        z, y, known = end[inner], measured.y[place], source.known(place)
        z = y + amount * (z - y) if amount < 1 else z
        image[place] = quantised(scale.outward(z).numpy(), dtype, 0.0, unit if dtype.kind in "iu" else 1.0)
        lost += 0 if known is None else int((~known).sum())
        if model is not None:
            counted = torch.ones_like(y, dtype=torch.bool) if known is None else known[0, 0]
            offset = model.offset * unit
            after = torch.from_numpy(image[place].astype(np.float64))
            sums.append((total((scale.outward(y) * unit - offset)[counted]), total((after - offset)[counted])))
    data = data_of(opened, opened.y)
    flux = None if model is None else (math.fsum(a for a, _ in sums), math.fsum(b for _, b in sums))
    return replace(data, unknown=lost, flux=flux)
