"""Files in, files out: what every restoring command does around the restoration."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from pnpkit.command import record, stacks, summary
from pnpkit.command.forecast import forecast
from pnpkit.command.masks import read_mask
from pnpkit.command.messages import DIVERGED, SOME_FAILED, say, sentence
from pnpkit.command.options import Options
from pnpkit.command.part import Part, beside, eight_bits, overlooked, part_for, part_words, quick, whole_words
from pnpkit.command.places import (
    Places,
    check_apart,
    check_name,
    check_places,
    expand,
    file_key,
    gone_if_empty,
    is_folder,
    is_page,
    make_folder,
)
from pnpkit.command.progress import Progress
from pnpkit.command.reference import sharp
from pnpkit.command.stacks import Layout
from pnpkit.command.tasks import Deblur, Task
from pnpkit.command.verdict import Verdict, verdict
from pnpkit.command.weights import weighted
from pnpkit.errors import InputError
from pnpkit.images import address
from pnpkit.machine import distributed, startup
from pnpkit.machine.phases import Phase
from pnpkit.restoration.defaults import NOISIEST
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
    """What is done to every file.

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

    def each(self, inputs: Sequence[str]) -> int:
        """Restore every file; with several, one that fails does not stop the rest. Returns the exit code."""
        options = self.options
        check_options(options)
        files = expand(inputs, "" if options.out else self.word, options.quiet, ".png" if options.preview else "")
        if len(files) > 1 and (options.json_file or options.reference or options.gif or self.task.guide):
            raise InputError("--json, --reference, --gif and --guide take one image")
        if len(files) > 1 and options.report and is_page(options.report):
            raise InputError(f"--report {options.report}: for several images expected a folder for their pages")
        if self.task.guide is not None:
            check_name(self.task.guide, "--guide")
            if options.preview or options.region:
                raise InputError("--guide is for the whole picture: leave out --preview and --region")
        folder = len(files) > 1 or any(is_folder(name) for name in inputs)
        if folder:
            self.check()
        with gone_if_empty(options.out, options.report):
            return self.all_of(files, folder)

    @property
    def word(self) -> str:
        """What is added to the name of an input for that of its result."""
        if self.options.preview:
            return "preview"
        return self.task.word + ("-region" if self.options.region else "")

    def all_of(self, files: list[str], folder: bool) -> int:
        """Restore the files, each to its place; ``folder`` if they go into one."""
        make_folder(self.options.out, folder)
        where = [Places.of(name, self.word, self.options) for name in files]
        if len(files) > 1:
            check_apart(files, [places.output for places in where])
            if self.options.report:
                check_apart(files, [places.page for places in where if places.page is not None])
        job = replace(self, guarded=frozenset(file_key(name) for name in (*files, *self.reads())))
        if self.options.skip_existing:
            files = job.missing(where)
        if distributed.world() > 1:
            return job.over_processes(files)
        if len(files) == len(where) == 1:
            return job.one(files[0])
        return tally(files, job.in_turn(files))

    def reads(self) -> tuple[str, ...]:
        """The files that are read beside the inputs."""
        names = (*self.task.reads, self.options.reference)
        return tuple(name for name in names if name and os.path.isfile(address.file_of(name)))

    def check(self) -> None:
        """Refuse settings that no picture could be restored with, before the first of several is read."""
        startup.begin()
        from pnpkit.restoration.checks import open_tools

        settings = self.settings
        _, network = open_tools(settings)
        if isinstance(settings.strength, float) and self.options.white is None:  # the span of a file is at most 1,
            stretched = (settings.noise_level or 0.0) / NOISIEST  # unless noise stretches it
            check_level("strength", settings.strength, network.top * max(1.0, stretched))
        self.task.check(settings)

    def missing(self, where: list[Places]) -> list[str]:
        """The inputs whose output does not exist; the others are named."""
        for places in where:
            if places.output.exists() and not self.options.quiet and distributed.rank() == 0:
                say(f"{places.source}: skipped, {places.output} exists")
        return [places.source for places in where if not places.output.exists()]

    def over_processes(self, files: list[str]) -> int:
        """Under torchrun: every process takes its share of the files, or all work on one picture; all return the same
        code."""
        startup.begin()

        from pnpkit.machine.memory import allowed
        from pnpkit.networks.tiles import Shared
        from pnpkit.registry import open_denoiser

        with distributed.together(self.settings.device or "auto") as device:
            memory = self.settings.max_memory
            memory = allowed(None) / 2**30 / distributed.neighbours() if memory is None else memory
            job = replace(self, settings=replace(self.settings, max_memory=memory))
            if len(files) == 1 and not stacks.is_stack(files[0], self.task, self.layout):
                shared = Shared(open_denoiser(self.settings.denoiser, device=str(device)))
                return max(distributed.gather(replace(job, shared=shared).one(files[0], distributed.rank() == 0)))
            shares = distributed.gather(job.in_turn(files[distributed.rank() :: distributed.world()]))
        return tally(files, [name for share in shares for name in share])

    def in_turn(self, files: list[str]) -> list[str]:
        """Restore one file after the other; returns those that failed, of whatever kind the failure was."""
        failed = []
        for name in files:
            try:
                if self.one(name) != 0:
                    failed.append(name)
            except Exception as error:
                if os.environ.get("PNPKIT_DEBUG"):
                    raise
                failed.append(name)
                text = sentence(error)
                say(f"pnpkit: {'' if name in text else f'{name}: '}{text}", error=True)
        return failed

    def one(self, name: str, writes: bool = True) -> int:
        """Restore one file. Everything that can be refused is refused before the work begins.

        A process that does not write only helps the one that does. Returns the exit code.
        """
        if stacks.is_stack(name, self.task, self.layout):
            given = self.task, self.settings, self.options, self.layout, self.guarded, command_line()
            return stacks.restore(name, *given)
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
        files.write(place, replace(result, history=self.history(other)), self.options.overwrite)
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
        from pnpkit.machine.files import write_whole

        places, over = work.places, self.options.overwrite
        result = with_pixels(work.picture, np.asarray(run.image), self.task.factor)
        result = replace(result, history=self.history(run))
        both = result if work.part is None or work.part.telling is None else beside(work.picture, result)
        files.write(places.output, eight_bits(both) if self.options.preview else result, over)
        if places.json is not None:
            again = record.repeat(command_line(), self.options.seed, self.settings, (places.source, *self.reads()))
            found = summary.fields(run, told, scores, work.picture.low, work.picture.high)
            text = json.dumps(found | again, indent=1, allow_nan=False) + "\n"
            write_whole(places.json, text.encode(), over)
        if places.gif is not None:
            frames.save(places.gif, over)
        if places.page is not None:
            words, facts = told.sentences, self.facts()
            shown = page.page(places.source, work.picture.pixels, run, words, facts, command_line(), scores)
            document.write(places.page, shown, over)

    def history(self, run: Restoration) -> tuple[str, ...]:
        """What was done, for the header of the result."""
        from pnpkit import __version__

        weights = f", weights {self.task.weights}" if self.task.weights else ""
        done = f"pnpkit {__version__} {self.task.name}: {run.kernel_note or 'no kernel'}{weights}"
        return done, f"noise level {run.noise_level:.6g}, strength {run.strength:.6g}, {run.status.name.lower()}"

    def tell(self, work: Work, run: Restoration, told: Verdict, scores: dict[str, float], seconds: float) -> None:
        """What a person wants to know on the terminal: the verdict, then what --explain and --proof ask for.

        Args:
            seconds: since the file was opened, with loading, probes and writing; those of the run are in --json.
        """
        places, options = work.places, self.options
        if not options.quiet:
            say(summary.describe(places, work.picture, run, told, scores, seconds))
            if options.explain:
                say(f"\n{run.explain()}")
            if options.proof:
                say(f"\n{summary.proof(run)}")
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


def check_options(options: Options) -> None:
    """Refuse names that are none, and flags that contradict each other."""
    names = {"json": options.json_file, "report": options.report, "gif": options.gif, "reference": options.reference}
    for flag, name in names.items():
        if name is not None:
            check_name(name, f"--{flag}")
        if name == "-":
            raise InputError(f"--{flag} -: expected a name, nothing is written to the terminal")
    if options.skip_existing and options.overwrite:
        raise InputError("--skip-existing and --overwrite contradict each other: choose one")


def command_line() -> str:
    """The line that repeats the command."""
    return shlex.join(["pnpkit", *sys.argv[1:]])


def tally(files: list[str], failed: list[str]) -> int:
    """The exit code for several files; what failed is said once."""
    if failed and distributed.rank() == 0:
        say(f"pnpkit: {len(failed)} of {len(files)} failed: {', '.join(failed)}", error=True)
    return SOME_FAILED if failed else 0
