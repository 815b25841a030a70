"""Several files in turn or over processes: what is refused before the first one, where each goes, and which failed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace

from pnpkit.command import pictures, stacks
from pnpkit.command.job import Job
from pnpkit.command.messages import SOME_FAILED, say, sentence
from pnpkit.command.options import Options
from pnpkit.command.places import (
    Places,
    check_apart,
    check_name,
    expand,
    file_key,
    gone_if_empty,
    is_folder,
    is_page,
    make_folder,
)
from pnpkit.errors import InputError
from pnpkit.machine import distributed, startup
from pnpkit.restoration.defaults import NOISIEST
from pnpkit.restoration.settings import check_level


def restore_all(job: Job, inputs: Sequence[str]) -> int:
    """Restore every file and return the exit code; with several, one that fails does not stop the rest."""
    options = job.options
    check_options(options)
    files = expand(inputs, "" if options.out else job.word, options.quiet, ".png" if options.preview else "")
    if len(files) > 1 and (options.json_file or options.reference or options.gif or job.task.guide):
        raise InputError("--json, --reference, --gif and --guide take one image")
    if len(files) > 1 and options.report and is_page(options.report):
        raise InputError(f"--report {options.report}: for several images expected a folder for their pages")
    if job.task.guide is not None:
        check_name(job.task.guide, "--guide")
        if options.preview or options.region:
            raise InputError("--guide is for the whole picture: leave out --preview and --region")
    into_folder = len(files) > 1 or any(is_folder(name) for name in inputs)
    if into_folder:
        check_settings(job)
    with gone_if_empty(options.out, options.report):
        return restore_files(job, files, into_folder)


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


def check_settings(job: Job) -> None:
    """Refuse settings that no picture could be restored with, before the first of several is read."""
    startup.begin()
    from pnpkit.restoration.checks import open_tools

    settings = job.settings
    _, network = open_tools(settings)
    if isinstance(settings.strength, float) and job.options.white is None:  # the span of a file is at most 1,
        stretched = (settings.noise_level or 0.0) / NOISIEST  # unless noise stretches it
        check_level("strength", settings.strength, network.top * max(1.0, stretched))
    job.task.check(settings)


def restore_files(job: Job, files: list[str], into_folder: bool) -> int:
    """Restore the files, each to its place, and return the exit code; ``into_folder``: the output is a folder."""
    make_folder(job.options.out, into_folder)
    where = [Places.of(name, job.word, job.options) for name in files]
    if len(files) > 1:
        check_apart(files, [places.output for places in where])
        if job.options.report:
            check_apart(files, [places.page for places in where if places.page is not None])
    job = replace(job, guarded=frozenset(file_key(name) for name in (*files, *job.reads())))
    if job.options.skip_existing:
        files = without_result(where, job.options.quiet)
    if distributed.world() > 1:
        return over_processes(job, files)
    if len(files) == len(where) == 1:
        return restore_one(job, files[0])
    return tally(files, in_turn(job, files))


def without_result(where: list[Places], quiet: bool) -> list[str]:
    """The inputs whose result does not exist; the others are named, unless ``quiet``."""
    for places in where:
        if places.output.exists() and not quiet and distributed.rank() == 0:
            say(f"{places.source}: skipped, {places.output} exists")
    return [places.source for places in where if not places.output.exists()]


def over_processes(job: Job, files: list[str]) -> int:
    """Under torchrun each process restores its share of the files; a single picture is restored by all together.

    Every process returns the same exit code.
    """
    startup.begin()

    from pnpkit.machine.memory import allowed
    from pnpkit.networks.tiles import Shared
    from pnpkit.registry import open_denoiser

    with distributed.together(job.settings.device or "auto") as device:
        memory = job.settings.max_memory
        memory = allowed(None) / 2**30 / distributed.neighbours() if memory is None else memory
        job = replace(job, settings=replace(job.settings, max_memory=memory))
        if len(files) == 1 and not stacks.is_stack(files[0], job.task, job.layout):
            shared = Shared(open_denoiser(job.settings.denoiser, device=str(device)))
            helped = replace(job, shared=shared)
            return max(distributed.gather(pictures.restore(helped, files[0], distributed.rank() == 0)))
        shares = distributed.gather(in_turn(job, files[distributed.rank() :: distributed.world()]))
    return tally(files, [name for share in shares for name in share])


def in_turn(job: Job, files: list[str]) -> list[str]:
    """Restore one file after the other; returns those that failed, of whatever kind the failure was."""
    failed = []
    for name in files:
        try:
            if restore_one(job, name) != 0:
                failed.append(name)
        except Exception as error:
            if os.environ.get("PNPKIT_DEBUG"):
                raise
            failed.append(name)
            text = sentence(error)
            say(f"pnpkit: {'' if name in text else f'{name}: '}{text}", error=True)
    return failed


def restore_one(job: Job, name: str) -> int:
    """Restore one file, a picture or a stack, and return the exit code."""
    if stacks.is_stack(name, job.task, job.layout):
        return stacks.restore(job, name)
    return pictures.restore(job, name)


def tally(files: list[str], failed: list[str]) -> int:
    """The exit code for several files. Under torchrun the first process alone says which failed."""
    if failed and distributed.rank() == 0:
        say(f"pnpkit: {len(failed)} of {len(files)} failed: {', '.join(failed)}", error=True)
    return SOME_FAILED if failed else 0
