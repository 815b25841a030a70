"""Stacks and volumes, file in, file out: read with their axes, restored piece by piece, written as they came."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from pnpkit.command import record, summary
from pnpkit.command.job import Job, Layout
from pnpkit.command.messages import DIVERGED, say
from pnpkit.command.options import Options
from pnpkit.command.places import Places, check_places
from pnpkit.command.progress import Progress
from pnpkit.command.tasks import Deblur, Task
from pnpkit.command.verdict import Verdict, assurance, duration
from pnpkit.command.weights import weights_of_stack
from pnpkit.errors import InputError
from pnpkit.machine import startup
from pnpkit.restoration.settings import Settings, settings_of

if TYPE_CHECKING:
    import numpy as np

    from pnpkit.images.picture import Picture
    from pnpkit.images.stacks import Stack
    from pnpkit.kernels import Kernel
    from pnpkit.restoration.result import Restoration


class Steps(click.ParamType):
    """Z,Y,X in µm."""

    name = "Z,Y,X"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        try:
            found = tuple(float(word) for word in str(value).split(","))
        except ValueError:
            found = ()
        if len(found) != 3 or not all(0 < step < float("inf") for step in found):
            self.fail(f"expected three numbers Z,Y,X above 0 in µm, such as 0.3,0.1,0.1, got '{value}'", param, ctx)
        return found


def is_stack(name: str, task: Task, layout: Layout) -> bool:
    """Whether the file is restored as a stack."""
    from pnpkit.images import stacks

    return task.name in ("deblur", "denoise") and layout.page is None and (bool(layout.axes) or stacks.is_stack(name))


def page_of(name: str, layout: Layout, holes: np.ndarray | None, white: float | None, black: float | None) -> Picture:
    """One plane of a stack as a picture.

    Args:
        holes: (H, W), true where a pixel is unknown, or None. white, black: as in ``images.files.read``.

    Raises:
        InputError: fewer planes, or holes of another size.
    """
    from pnpkit.images import stacks
    from pnpkit.images.picture import Stored, developed

    stack, page = stacks.read(name, axes=layout.axes), layout.page or 1
    planes = stack.samples.reshape(-1, *stack.samples.shape[-2:])
    if page > len(planes):
        raise InputError(f"{name}: expected a page from 1 to {len(planes)}, got {page}")
    where = f"page {page} of {len(planes)} ({stack.axes})"
    return developed(f"{name}: ", Stored(planes[page - 1], notes=(where,)), holes, white, black, True)


def restore(job: Job, name: str) -> int:
    """Restore a stack, file in, file out; returns the exit code, 0 or ``DIVERGED``."""
    task, options, layout = job.task, job.options, job.layout
    check(task, options)
    import numpy as np

    from pnpkit.images import stacks

    places = Places.of(name, task.word, options)
    check_places(places, options, job.guarded, stacks.SUFFIXES)
    from pnpkit.restoration.kept_blocks import keeping, stopped

    with Progress(not options.quiet, name) as progress, keeping(places.output.parent):
        stack = stacks.read(name, axes=layout.axes)
        stack = stacks.as_floats(stack) if options.floats else stack
        if layout.step:
            stack = replace(stack, steps={**stack.steps, **dict(zip("ZYX", layout.step, strict=True))}, unit="µm")
        startup.begin()
        run = restored(stack, task, in_units(stack, job.settings), layout, progress, name)
        result = replace(stack, samples=np.asarray(run.image), history=summary.history(task, run))
        stacks.write(places.output, result, options.overwrite)
    told = verdict(stack, run, job.settings.quick)
    if places.json is not None:
        again = record.repeat(options.seed, job.settings, (name, *record.existing(task.reads)))
        summary.write_json(places.json, summary.fields(run, told, {}) | again, options.overwrite)
    if not options.quiet:
        remarks = (*stack.notes, *data_words(run), *stopped(places.output.parent))
        notes = [f"note: {note}" for note in remarks]
        line = f"{name} -> {places.output}: {duration(progress.course.elapsed)}; {assurance(run)}"
        say("\n".join((*told.sentences, *notes, line)))
        summary.say_more(run, options)
    if run.status.failed:
        say(f"pnpkit: {name}: {run.status.value}", error=True)
    return DIVERGED if run.status.failed else 0


def check(task: Task, options: Options) -> None:
    """Refuse what is for pictures alone."""
    asked = {
        "--region": options.region,
        "--preview": options.preview or None,
        "--reference": options.reference,
        "--report": options.report,
        "--gif": options.gif,
        "--mask": task.mask,
        "--weights": task.weights if task.name != "deblur" else None,
        "--guide": task.guide,
        "--white": options.white,
        "--black": options.black,
    }
    found = [flag for flag, value in asked.items() if value is not None]
    if found:
        raise InputError(f"{', '.join(found)}: for pictures, got a stack: leave it out, or choose one --page of it")


def in_units(stack: Stack, settings: Settings) -> Settings:
    """The settings with levels in the units of the array; on the command line they are shares of the file's range."""
    import numpy as np

    from pnpkit.images.pixels import FRACTIONS, largest_of, scale_of

    if stack.samples.dtype.name in FRACTIONS:
        return settings
    known = stack.samples[np.isfinite(stack.samples)] if stack.samples.dtype.kind == "f" else stack.samples
    low, high, _ = scale_of("", known, None)
    share, strength = (high - low) / largest_of(stack.samples.dtype), settings.strength
    return replace(
        settings,
        noise_level=None if settings.noise_level is None else settings.noise_level * share,
        strength=strength * share if isinstance(strength, float) else strength,
    )


def restored(
    stack: Stack, task: Task, settings: Settings, layout: Layout, progress: Progress, name: str
) -> Restoration:
    """The result of the task's function on the array of a stack, with its progress shown."""
    from pnpkit.restoration import deblur, denoise
    from pnpkit.restoration.volumes import telling

    chosen = {entry.name: getattr(settings, entry.name) for entry in settings_of(task.name)}

    def told(piece: str) -> None:
        progress.name = f"{name}, {piece}" if piece else name

    with telling(told):
        if not isinstance(task, Deblur):
            return denoise.denoise(stack.samples, axes=stack.axes, **chosen)
        chosen |= {"progress": progress.enter, "callback": progress.step, "directions": layout.directions}
        kernels = [kernel_for(word, stack, layout) for word in task.kernels]
        one = kernels if len(kernels) > 1 else kernels[0]
        weights, chosen["weights_are"] = weights_of_stack(task.weights, name, settings.weights_are)
        return deblur.deblur(stack.samples, one, weights=weights, boundary=task.boundary, axes=stack.axes, **chosen)


def kernel_for(word: str, stack: Stack, layout: Layout) -> Kernel:
    """A kernel, on the sampling of the stack where both are known.

    Raises:
        InputError: ``auto``, or a kernel that is none.
    """
    from pnpkit.images import stacks
    from pnpkit.psf.spread import Spread, resampled
    from pnpkit.restoration.blur_kernel import given_kernel

    kernel = given_kernel(word)
    own = layout.kernel_step
    if not own and os.path.isfile(word) and stacks.is_stack(word):
        read = stacks.read(word)
        own = read.step() or () if read.unit == stack.unit else ()
    wanted = stack.step()
    if kernel.weights.ndim != 3 or not own or wanted is None:
        return kernel
    made = resampled(Spread(kernel.weights, tuple(own), stack.unit), wanted)
    return replace(kernel, weights=made.values, origin="; ".join((kernel.origin, *made.notes)))


def verdict(stack: Stack, run: Restoration, quick: bool = False) -> Verdict:
    """The verdict on a stack: its axes and sampling, what was done, and what to try; ``quick``: as the run was."""
    from pnpkit.solvers.result import Status

    sizes = " x ".join(f"{axis} {n}" for axis, n in zip(stack.axes, stack.samples.shape, strict=True))
    steps = ", ".join(f"{axis.lower()} {stack.steps[axis]:.4g}" for axis in stack.axes if axis in stack.steps)
    found = f"A stack {sizes}, {stack.samples.dtype}" + (f", sampled at {steps} {stack.unit}." if steps else ".")
    how = run.kernel_note or "denoised slice by slice"
    done = f"{how[:1].upper()}{how[1:]}. Noise level {run.noise_level:.4g}{ended(run)}."
    if run.status is not Status.STEP_LIMIT:
        return Verdict(found, done)
    longer = f"It may still get better: allow it --max-steps {2 * run.steps}."
    return Verdict(found, done, "Without --quick it takes longer and gets better." if quick else longer)


def data_words(run: Restoration) -> list[str]:
    """What the data were taken for, in at most one remark; of several pieces, those of the one that fared worst."""
    if run.data is None or run.data.plain:
        return []
    if len(run.each) < 2:
        return ["; ".join(run.data.sentences())]
    found = "; ".join(replace(run.data, flux=None).sentences())
    return [f"{found} (of one of the {len(run.each)}, the one that fared worst)"]


def ended(run: Restoration) -> str:
    """How the run ended, of several the worst, as the end of a sentence; nothing where nothing was iterated."""
    from pnpkit.solvers.result import Status

    if not run.residuals:
        return ""
    words = {Status.CONVERGED: "it settled", Status.STEP_LIMIT: "it was stopped, before it had settled,"}
    many = f", the slowest of {len(run.each)}" if run.each else ""
    steps = f"{run.steps} step{'s' * (run.steps != 1)}"
    return f"; {words.get(run.status, run.status.value.split(':')[0])} after {steps}{many}"
