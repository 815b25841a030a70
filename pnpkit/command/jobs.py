"""Files in, files out: what every restoring command does around the restoration."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pnpkit.command import summary
from pnpkit.command.places import (
    check_apart,
    destination,
    expand,
    gone_if_empty,
    identity,
    make_folder,
    page_of,
    places,
    target_for,
)
from pnpkit.command.reference import sharp
from pnpkit.errors import InputError, PnpError, one_line
from pnpkit.machine import distributed, startup

if TYPE_CHECKING:
    import numpy as np

    from pnpkit.images.picture import Picture
    from pnpkit.restoration.result import Restoration
    from pnpkit.solvers.result import Step


SOME_FAILED, DIVERGED = 1, 3  # exit codes


def read_mask(name: str) -> np.ndarray:
    """(H, W) booleans: what a mask marks, which is neither black nor transparent; float files by their own values."""
    import numpy as np

    from pnpkit.images import files as images_files

    mask = images_files.read(Path(name))
    if mask.compression > 0 or Path(name).suffix.lower() in (".jpg", ".jpeg"):
        raise InputError(
            f"{name}: expected a mask saved without loss, got a JPEG, whose black is not 0: save it as PNG"
        )
    values = mask.low + mask.pixels * (mask.high - mask.low)
    black = 1e-9 * max(abs(mask.low), abs(mask.high))  # the way to 0..1 and back rounds
    painted = np.any(np.abs(np.atleast_3d(values)) > black, axis=-1)
    return painted if mask.alpha is None else painted & (mask.alpha > 0)


@dataclass(frozen=True)
class Job:
    """What is done to every file: ``restore(picture, options, show)``, with the options of the command line.

    Attributes:
        refuse: raises an error for options that suit no picture, beyond what ``Settings`` refuses.
        out: file or folder for the results, or None: beside the input, ``word`` added to its name.
        factor: the result is so many times as large as the input.
        mask: a picture of what is missing from every file, where that is known.
        guarded: the ``identity`` of all that is read, and so is never written.
        instead: options of which the restoration hears another value than the page of --report.
    """

    out: str | None
    word: str
    restore: Callable[[Picture, dict[str, Any], Callable[[Step], None]], Restoration]
    options: dict[str, Any]
    refuse: Callable[[], None] = lambda: None
    factor: int = 1
    mask: str | None = None
    guarded: frozenset[object] = frozenset()
    instead: dict[str, Any] = field(default_factory=dict)

    def each(self, inputs: tuple[str, ...]) -> int:
        """Restore every file; with several, one that fails does not stop the rest. Returns the exit code."""
        for name in ("json", "json_file", "report", "gif", "reference"):
            if self.options.get(name) == "":
                raise InputError(f"--{name.split('_')[0]} has an empty name: an unset variable of the shell?")
            if self.options.get(name) == "-":
                raise InputError(f"--{name.split('_')[0]} -: expected a name, nothing is written to the terminal")
        files = expand(inputs, "" if self.out else self.word, self.options["quiet"])
        if len(files) > 1 and (self.options["json_file"] or self.options["reference"] or self.options.get("gif")):
            raise InputError("--json, --reference and --gif take one image")
        folder = len(files) > 1 or any(Path(name).is_dir() for name in inputs)
        if folder:
            self.check()
        with gone_if_empty(self.out, self.options["report"]):
            return self.all_of(files, folder)

    def all_of(self, files: list[str], folder: bool) -> int:
        """Restore the files, each to its place; ``folder`` if they go into one."""
        make_folder(self.out, folder)
        if len(files) > 1:
            check_apart(files, [destination(name, self.out, self.word) for name in files])
            if self.options["report"]:
                check_apart(files, [page_of(name, self.options["report"]) for name in files])
        read = (*files, self.mask, self.options.get("kernel"), self.options["reference"])
        job = replace(self, guarded=frozenset(identity(name) for name in read if name and os.path.exists(name)))
        if distributed.world() > 1:
            return job.over_processes(files)
        if len(files) == 1:
            return job.one(files[0])
        return verdict(files, job.in_turn(files))

    def check(self) -> None:
        """Refuse options that no picture could be restored with, before the first of several is read."""
        from pnpkit.restoration.settings import Settings

        Settings.among(self.options).tools()
        self.refuse()
        if self.mask is not None:
            read_mask(self.mask)

    def over_processes(self, files: list[str]) -> int:
        """Under torchrun: every process takes its share of the files, or all work on one; all return the same code."""
        startup.begin()
        import torch

        from pnpkit.machine.memory import allowed
        from pnpkit.networks.tiles import Shared
        from pnpkit.restoration.settings import open_denoiser

        with distributed.together(self.options["device"]) as device:
            memory = self.options["max_memory"]
            memory = allowed(None) / 2**30 / distributed.neighbours() if memory is None else memory
            job = replace(self, options=self.options | {"max_memory": memory})
            if len(files) == 1:
                shared = Shared(open_denoiser(self.options["denoiser"], torch.device(device)))
                job = replace(job, instead={"denoiser": shared})
                return max(distributed.gather(job.one(files[0], distributed.rank() == 0)))
            shares = distributed.gather(job.in_turn(files[distributed.rank() :: distributed.world()]))
        return verdict(files, [name for share in shares for name in share])

    def in_turn(self, files: list[str]) -> list[str]:
        """Restore one file after the other; returns those that failed."""
        failed = []
        for name in files:
            try:
                if self.one(name) != 0:
                    failed.append(name)
            except (PnpError, OSError) as error:
                failed.append(name)
                where = "" if name in str(error) else f"{name}: "
                click.echo(f"pnpkit: {where}{one_line(error)}", err=True)
        return failed

    def check_written(self, places: dict[str, Path | None]) -> None:
        """Refuse to write over what is read, to one place twice, over a folder, or where nothing may be written."""
        taken: dict[object, str] = {}
        for what, path in places.items():
            if path is None:
                continue
            if identity(path) in self.guarded:
                raise InputError(f"{path}: {what} is a file that is read: choose another name, inputs stay untouched")
            other = taken.setdefault(identity(path), what)
            if other != what:
                raise InputError(f"{path}: both {other} and {what} would be written there: choose another name")
            if path.is_dir() or not os.access(path.parent, os.W_OK):
                came = "a folder" if path.is_dir() else f"a file in {path.parent}, which may not be written to"
                raise InputError(f"{path}: expected a place for {what}, got {came}: choose another")

    def one(self, name: str, writes: bool = True) -> int:
        """Read, restore, write, report. Everything that can be refused is refused before the work begins.

        A process that does not write only helps the one that does.
        """
        options, factor = self.options, self.factor
        from pnpkit.images import files as images_files
        from pnpkit.images.picture import with_pixels

        target = target_for(name, self.out, self.word, options["overwrite"])
        json_path = Path(options["json_file"]) if options["json_file"] else None
        if json_path is not None and not json_path.parent.is_dir():
            raise InputError(f"the folder of --json {json_path} does not exist")
        if json_path is not None and json_path.exists() and (json_path.suffix != ".json" or not options["overwrite"]):
            raise InputError(f"--json {json_path} exists: choose another name or, for a .json file, add --overwrite")
        page, gif = places(name, options)
        self.check_written({"the output": target, "--json": json_path, "--report": page, "--gif": gif})
        holes = None if self.mask is None else read_mask(self.mask)
        picture = images_files.read(Path(name), holes, options["white"])
        images_files.check_fits(target, picture)
        reference, onto = sharp(options["reference"], picture, factor) if options["reference"] else (None, None)

        startup.begin()
        import numpy as np
        import torch

        torch.manual_seed(options["seed"])
        from pnpkit.command import page as command_page

        size = (factor * picture.pixels.shape[0], factor * picture.pixels.shape[1])
        frames = command_page.Frames(size, options["linear"])
        with Progress(options["quiet"] or not writes) as progress:

            def show(step: Step) -> None:
                progress(step)
                if gif is not None:
                    frames(step)

            run = self.restore(picture, options | self.instead, show)
        if not writes:
            return DIVERGED if run.status.failed else 0
        images_files.write(target, with_pixels(picture, np.asarray(run.image), factor))

        scores = {}
        if reference is not None and onto is not None:
            from pnpkit.images.metrics import psnr

            scores = {"psnr": psnr(onto(np.asarray(run.image)), reference)}
            if factor == 1:
                scores["psnr_input"] = psnr(onto(picture.pixels), reference)
        if json_path is not None:
            from pnpkit.machine.files import write_whole

            write_whole(json_path, (json.dumps(summary.fields(run, scores), indent=1, allow_nan=False) + "\n").encode())
        if gif is not None:
            frames.save(gif)
        if page is not None:
            command = shlex.join(["pnpkit", *sys.argv[1:]])
            command_page.write(page, command_page.page(name, picture.pixels, run, options, command, scores))
        if not options["quiet"]:
            click.echo(summary.describe(name, target, picture, run, scores))
        if run.status.failed:
            click.echo(f"pnpkit: {name}: {run.status.value}", err=True)
            return DIVERGED
        return 0


def verdict(files: list[str], failed: list[str]) -> int:
    """The exit code for several files; what failed is said once."""
    if failed and distributed.rank() == 0:
        click.echo(f"pnpkit: {len(failed)} of {len(files)} failed: {', '.join(failed)}", err=True)
    return SOME_FAILED if failed else 0


class Progress:
    """A bar on a terminal, nothing elsewhere."""

    def __init__(self, quiet: bool):
        self.shown = not quiet and sys.stderr.isatty()

    def __enter__(self) -> Progress:
        from tqdm import tqdm

        self.bar = tqdm(desc="restoring", unit="step", disable=not self.shown, leave=False)
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()

    def __call__(self, step: Step) -> None:
        self.bar.set_postfix(residual=f"{max(step.residual):.1e}", refresh=False)
        self.bar.update()
