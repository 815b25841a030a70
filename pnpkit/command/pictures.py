"""Pictures, file in, file out: what every restoring command does around the restoration of one picture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pnpkit.command import record, stacks, summary
from pnpkit.command.forecast import forecast
from pnpkit.command.job import Job
from pnpkit.command.masks import read_mask
from pnpkit.command.messages import DIVERGED, say
from pnpkit.command.part import Part, beside, eight_bits, for_preview, overlooked, part_for, part_words, whole_words
from pnpkit.command.places import Places, check_places, file_key
from pnpkit.command.progress import Progress
from pnpkit.command.reference import sharp
from pnpkit.command.summary import say_more
from pnpkit.command.tasks import Deblur, check_noise_level
from pnpkit.command.verdict import Verdict, verdict
from pnpkit.command.weights import weighted
from pnpkit.machine import startup
from pnpkit.machine.phases import Phase
from pnpkit.restoration.settings import hurried

if TYPE_CHECKING:
    import numpy as np

    from pnpkit.command.frames import Frames
    from pnpkit.images.picture import Picture
    from pnpkit.restoration.result import Restoration
    from pnpkit.solvers.result import Step


@dataclass(frozen=True)
class Work:
    """What was read for the restoration of one picture.

    Attributes:
        places: where everything goes. picture: the input.
        reference: the pixels of --reference and the way of the picture's to their scale, where one was given.
        part: of the whole, where --region or --preview ask for one; ``picture`` is then cut, and ``whole`` is not.
    """

    places: Places
    picture: Picture
    reference: tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]] | None = None
    part: Part | None = None
    whole: Picture | None = None


def restore(job: Job, name: str, writes: bool = True) -> int:
    """Restore one picture, file in, file out; returns the exit code, 0 or ``DIVERGED``.

    Everything that can be refused is refused before the work begins. A process that does not write only helps the
    one that does.
    """
    with Progress(writes and not job.options.quiet, name) as progress:
        work = read(job, name)
        run, frames = restored(job, work, progress)
        if writes:
            words = with_candidate(job, work, run, progress)
            progress.enter(Phase("writing"))
            work, run = without_surroundings(job, work, run)
            told, scores = verdict_on(job, work, run), scores_of(job, work, run)
            told = replace(told, advice=words or told.advice)
            write(job, work, run, told, scores, frames)
    if writes:
        tell(job, work, run, told, scores, progress.course.elapsed)
    return DIVERGED if run.status.failed else 0


def read(job: Job, name: str) -> Work:
    """Check all places, read the input, and the reference if there is one."""
    from pnpkit.images import files
    from pnpkit.images.picture import as_floats, seen

    options, task = job.options, job.task
    places = Places.of(name, job.word, options)
    check_places(places, options, job.guarded)
    holes = None if task.mask is None else read_mask(task.mask)
    if job.layout.page is None:
        picture = files.read(name, holes, options.white, options.black, unknown=True)
    else:
        picture = stacks.page_of(name, job.layout, holes, options.white, options.black)
    check_noise_level(picture, job.settings.noise_level)
    picture = weighted(picture, task.weights, name, job.settings.weights_are)
    picture = picture if task.keeps else seen(picture)
    picture = as_floats(picture) if options.floats else picture
    reference = sharp(options.reference, picture, task.factor) if options.reference else None
    if options.region is None and not options.preview:
        files.check_storable(places.output, picture)
        return Work(places, picture, reference)
    part = part_for(task, picture, options.region, options.preview)
    if reference is not None:
        reference = part.sharp(reference[0], task.factor), reference[1]
    cut = part.of(picture)
    files.check_storable(places.output, eight_bits(cut) if options.preview else cut)
    return Work(places, cut, reference, part, picture)


def without_surroundings(job: Job, work: Work, run: Restoration) -> tuple[Work, Restoration]:
    """Picture and result without what was restored around the region; as they are where there is no region."""
    import numpy as np

    if work.part is None:
        return work, run
    image = work.part.kept(np.asarray(run.image), job.task.factor)
    return replace(work, picture=work.part.picture(work.picture)), replace(run, image=image)


def verdict_on(job: Job, work: Work, run: Restoration) -> Verdict:
    """The verdict on a run; where a part was restored, it says which, and how to restore all."""
    told = verdict(job.task, job.settings, work.picture, run)
    if work.part is None or work.whole is None:
        return told
    words = part_words(work.part, job.options.region, job.options.preview)
    if job.options.preview and not job.options.quiet and job.shared is None:
        words += f" {whole_words(job.task, job.settings, work.whole, run.blur)}"
    return replace(told, part=words, advice=overlooked(work.part, run.blur) or told.advice)


def restored(job: Job, work: Work, progress: Progress) -> tuple[Restoration, Frames]:
    """Restore the picture, with its progress shown; the iterates are collected where --gif asks for them."""
    startup.begin()
    import torch

    from pnpkit.command.frames import Frames
    from pnpkit.machine.memory import choose_device
    from pnpkit.registry import open_denoiser

    torch.manual_seed(job.options.seed)
    task, settings = job.task, job.settings
    if job.options.preview and work.part is not None:
        task, settings = for_preview(task, settings, work.part.factor)
    settings = hurried(settings)
    network = job.shared or open_denoiser(settings.denoiser, device=str(choose_device(settings.device)))
    settings = replace(settings, denoiser=network, progress=progress.enter)
    if job.shared is None and progress.shown:
        progress.foresee(forecast(task, replace(settings, progress=None), work.picture))
    rows, columns = work.picture.pixels.shape[:2]
    frames = Frames((job.task.factor * rows, job.task.factor * columns), settings.linear)

    def show(step: Step) -> None:
        progress.step(step)
        if work.places.gif is not None:
            frames(step)

    return task.restore(work.picture, settings, show), frames


def with_candidate(job: Job, work: Work, run: Restoration, progress: Progress) -> str:
    """Restore the picture by the likeliest blur, too, where it is not sure that there is none.

    Returns what to say of that, or nothing.
    """
    likeliest = None if run.blur is None else run.blur.candidate
    if likeliest is None or not isinstance(job.task, Deblur):
        return ""
    import numpy as np

    from pnpkit.command import candidate
    from pnpkit.images import files
    from pnpkit.images.picture import with_pixels

    if job.options.preview or job.shared is not None:
        return candidate.tried(likeliest, None)
    place = candidate.place_of(work.places, own=job.options.out is None)
    if file_key(place) in job.guarded or (place.exists() and not job.options.overwrite):
        return candidate.tried(likeliest, place, stays=True)
    tried = replace(job, task=replace(job.task, found=likeliest), options=replace(job.options, gif=None))
    other, _ = restored(tried, replace(work, places=replace(work.places, gif=None)), progress)
    kept, other = without_surroundings(job, work, other)
    result = with_pixels(kept.picture, np.asarray(other.image), job.task.factor)
    files.write(place, replace(result, history=summary.history(job.task, other)), job.options.overwrite)
    return candidate.tried(likeliest, place)


def scores_of(job: Job, work: Work, run: Restoration) -> dict[str, float]:
    """PSNR in dB of the result and, where it has the same size, of the input, if there is a reference."""
    if work.reference is None:
        return {}
    import numpy as np

    from pnpkit.images.metrics import psnr

    reference, onto = work.reference
    scores = {"psnr": psnr(onto(np.asarray(run.image)), reference)}
    if job.task.factor == 1:
        scores["psnr_input"] = psnr(onto(work.picture.pixels), reference)
    return scores


def write(job: Job, work: Work, run: Restoration, told: Verdict, scores: dict[str, float], frames: Frames) -> None:
    """Write the result, and what --json, --gif and --report ask for."""
    import numpy as np

    from pnpkit.command import document, page
    from pnpkit.images import files
    from pnpkit.images.picture import with_pixels

    places, over = work.places, job.options.overwrite
    result = with_pixels(work.picture, np.asarray(run.image), job.task.factor)
    result = replace(result, history=summary.history(job.task, run))
    both = result if work.part is None or work.part.telling is None else beside(work.picture, result)
    files.write(places.output, eight_bits(both) if job.options.preview else result, over)
    if places.json is not None:
        found = summary.fields(run, told, scores, work.picture.low, work.picture.high)
        again = record.repeat(job.options.seed, job.settings, (places.source, *job.reads()))
        summary.write_json(places.json, found | again, over)
    if places.gif is not None:
        frames.save(places.gif, over)
    if places.page is not None:
        words, facts = told.sentences, job.facts()
        shown = page.page(places.source, work.picture.pixels, run, words, facts, record.command_line(), scores)
        document.write(places.page, shown, over)


def tell(job: Job, work: Work, run: Restoration, told: Verdict, scores: dict[str, float], seconds: float) -> None:
    """Print what a person wants to know: the verdict, then what --explain and --proof ask for.

    Args:
        seconds: since the file was opened, with loading, probes and writing; those of the run are in --json.
    """
    places, options = work.places, job.options
    if not options.quiet:
        say(summary.describe(places, work.picture, run, told, scores, seconds))
        say_more(run, options)
    if run.status.failed:
        say(f"pnpkit: {places.source}: {run.status.value}", error=True)
