"""Pictures, file in, file out: what every restoring command does around the restoration of one picture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from pnpkit.command import record, stacks, summary
from pnpkit.command.forecast import forecast
from pnpkit.command.masks import read_mask
from pnpkit.command.messages import DIVERGED, say
from pnpkit.command.options import Options
from pnpkit.command.part import Part, beside, eight_bits, overlooked, part_for, part_words, quick, whole_words
from pnpkit.command.places import Places, check_places, file_key
from pnpkit.command.progress import Progress
from pnpkit.command.reference import sharp
from pnpkit.command.stacks import Layout
from pnpkit.command.summary import say_more
from pnpkit.command.tasks import Deblur, Task
from pnpkit.command.verdict import Verdict, verdict
from pnpkit.command.weights import weighted
from pnpkit.machine import startup
from pnpkit.machine.phases import Phase
from pnpkit.restoration.settings import Settings, check_level, hurried

if TYPE_CHECKING:
    import numpy as np

    from pnpkit.command.frames import Frames
    from pnpkit.images.picture import Picture
    from pnpkit.networks.base import Network
    from pnpkit.restoration.result import Restoration
    from pnpkit.solvers.result import Step


@dataclass(frozen=True)
class Work:
    """What was read for one restoration.

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


@dataclass(frozen=True)
class Job:
    """What a command asks for, the same for each of its files.

    Attributes:
        task: the command. settings: of its function. options: what is read and written around it.
        guarded: the ``file_key`` of all that is read, and so is never written.
        shared: the denoiser over several processes, in place of the one that the settings name.
        layout: of stacks, what is said beside their files.
    """

    task: Task
    settings: Settings
    options: Options = Options()
    guarded: frozenset[object] = frozenset()
    shared: Network | None = None
    layout: Layout = Layout()

    @property
    def word(self) -> str:
        """What is added to the name of an input for that of its result."""
        if self.options.preview:
            return "preview"
        return self.task.word + ("-region" if self.options.region else "")

    def reads(self) -> tuple[str, ...]:
        """The files that are read beside the inputs."""
        return record.existing((*self.task.reads, self.options.reference))

    def restore_file(self, name: str, writes: bool = True) -> int:
        """Restore one picture, file in, file out, and return the exit code.

        Everything that can be refused is refused before the work begins. A process that does not write only helps the
        one that does.
        """
        with Progress(writes and not self.options.quiet, name) as progress:
            work = self.read(name)
            run, frames = self.restore(work, progress)
            if writes:
                words = self.try_candidate(work, run, progress)
                progress.enter(Phase("writing"))
                work, run = self.kept(work, run)
                told, scores = self.verdict(work, run), self.score(work, run)
                told = replace(told, advice=words or told.advice)
                self.write(work, run, told, scores, frames)
        if writes:
            self.tell(work, run, told, scores, progress.course.elapsed)
        return DIVERGED if run.status.failed else 0

    def read(self, name: str) -> Work:
        """Check all places, read the input, and the reference if there is one."""
        from pnpkit.images import files
        from pnpkit.images.picture import as_floats, seen

        options, task = self.options, self.task
        places = Places.of(name, self.word, options)
        check_places(places, options, self.guarded)
        holes = None if task.mask is None else read_mask(task.mask)
        if self.layout.page is None:
            picture = files.read(name, holes, options.white, options.black, unknown=True)
        else:
            picture = stacks.page_of(name, self.layout, options.white, options.black)
        if picture.dtype.kind == "u" and self.settings.noise_level is not None:
            check_level("noise level", self.settings.noise_level)
        picture = weighted(picture, task.weights, name, self.settings.weights_are)
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

    def kept(self, work: Work, run: Restoration) -> tuple[Work, Restoration]:
        """Without what surrounds the region."""
        import numpy as np

        if work.part is None:
            return work, run
        image = work.part.kept(np.asarray(run.image), self.task.factor)
        return replace(work, picture=work.part.picture(work.picture)), replace(run, image=image)

    def verdict(self, work: Work, run: Restoration) -> Verdict:
        """The verdict, with what the output is where it is a part."""
        told = verdict(self.task, self.settings, work.picture, run)
        if work.part is None or work.whole is None:
            return told
        words = part_words(work.part, self.options.region, self.options.preview)
        if self.options.preview and not self.options.quiet and self.shared is None:
            words += f" {whole_words(self.task, self.settings, work.whole, run.blur)}"
        return replace(told, part=words, advice=overlooked(work.part, run.blur) or told.advice)

    def restore(self, work: Work, progress: Progress) -> tuple[Restoration, Frames]:
        """Restore the picture, with its progress shown; the iterates are collected where --gif asks for them."""
        startup.begin()
        import torch

        from pnpkit.command.frames import Frames
        from pnpkit.machine.memory import choose_device
        from pnpkit.registry import open_denoiser

        torch.manual_seed(self.options.seed)
        task, settings = self.task, self.settings
        if self.options.preview and work.part is not None:
            task, settings = quick(task, settings, work.part.factor)
        settings = hurried(settings)
        network = self.shared or open_denoiser(settings.denoiser, device=str(choose_device(settings.device)))
        settings = replace(settings, denoiser=network, progress=progress.enter)
        if self.shared is None and progress.shown:
            progress.foresee(forecast(task, replace(settings, progress=None), work.picture))
        rows, columns = work.picture.pixels.shape[:2]
        frames = Frames((self.task.factor * rows, self.task.factor * columns), settings.linear)

        def show(step: Step) -> None:
            progress.step(step)
            if work.places.gif is not None:
                frames(step)

        return task.restore(work.picture, settings, show), frames

    def try_candidate(self, work: Work, run: Restoration, progress: Progress) -> str:
        """Restore the picture by the likeliest blur, too, where it is not sure that there is none; returns what to say
        of it, if anything."""
        likeliest = None if run.blur is None else run.blur.candidate
        if likeliest is None or not isinstance(self.task, Deblur):
            return ""
        import numpy as np

        from pnpkit.command import candidate
        from pnpkit.images import files
        from pnpkit.images.picture import with_pixels

        if self.options.preview or self.shared is not None:
            return candidate.tried(likeliest, None)
        place = candidate.place_of(work.places, own=self.options.out is None)
        if file_key(place) in self.guarded or (place.exists() and not self.options.overwrite):
            return candidate.tried(likeliest, place, stays=True)
        job = replace(self, task=replace(self.task, found=likeliest), options=replace(self.options, gif=None))
        other, _ = job.restore(replace(work, places=replace(work.places, gif=None)), progress)
        kept, other = self.kept(work, other)
        result = with_pixels(kept.picture, np.asarray(other.image), self.task.factor)
        files.write(place, replace(result, history=summary.history(self.task, other)), self.options.overwrite)
        return candidate.tried(likeliest, place)

    def score(self, work: Work, run: Restoration) -> dict[str, float]:
        """PSNR in dB of the result and, where it has the same size, of the input, if there is a reference."""
        if work.reference is None:
            return {}
        import numpy as np

        from pnpkit.images.metrics import psnr

        reference, onto = work.reference
        scores = {"psnr": psnr(onto(np.asarray(run.image)), reference)}
        if self.task.factor == 1:
            scores["psnr_input"] = psnr(onto(work.picture.pixels), reference)
        return scores

    def write(self, work: Work, run: Restoration, told: Verdict, scores: dict[str, float], frames: Frames) -> None:
        """The result, and what --json, --gif and --report ask for."""
        import numpy as np

        from pnpkit.command import document, page
        from pnpkit.images import files
        from pnpkit.images.picture import with_pixels

        places, over = work.places, self.options.overwrite
        result = with_pixels(work.picture, np.asarray(run.image), self.task.factor)
        result = replace(result, history=summary.history(self.task, run))
        both = result if work.part is None or work.part.telling is None else beside(work.picture, result)
        files.write(places.output, eight_bits(both) if self.options.preview else result, over)
        if places.json is not None:
            found = summary.fields(run, told, scores, work.picture.low, work.picture.high)
            again = record.repeat(self.options.seed, self.settings, (places.source, *self.reads()))
            summary.write_json(places.json, found | again, over)
        if places.gif is not None:
            frames.save(places.gif, over)
        if places.page is not None:
            words, facts = told.sentences, self.facts()
            shown = page.page(places.source, work.picture.pixels, run, words, facts, record.command_line(), scores)
            document.write(places.page, shown, over)

    def tell(self, work: Work, run: Restoration, told: Verdict, scores: dict[str, float], seconds: float) -> None:
        """What a person wants to know on the terminal: the verdict, then what --explain and --proof ask for.

        Args:
            seconds: since the file was opened, with loading, probes and writing; those of the run are in --json.
        """
        places, options = work.places, self.options
        if not options.quiet:
            say(summary.describe(places, work.picture, run, told, scores, seconds))
            say_more(run, options)
        if run.status.failed:
            say(f"pnpkit: {places.source}: {run.status.value}", error=True)

    def facts(self) -> dict[str, Any]:
        """All that was asked for, by name: of the task, of the settings and around them."""
        found: dict[str, Any] = {}
        for part in (self.task, self.settings, self.options):
            found |= {entry.name: getattr(part, entry.name) for entry in fields(part)}  # type: ignore[arg-type]
        return {
            name: value
            for name, value in found.items()
            if name not in ("callback", "progress", "limits", "compression")
        }
