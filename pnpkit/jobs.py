"""Files in, files out: what every restoring command does around the restoration."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pnpkit import distributed, outcome, startup
from pnpkit.errors import InputError, PnpError, one_line

if TYPE_CHECKING:
    import numpy as np

    from pnpkit.images import Picture
    from pnpkit.problem import Restoration
    from pnpkit.solver import Step

SOME_FAILED, DIVERGED = 1, 3  # exit codes


def expand(inputs: tuple[str, ...], word: str = "", quiet: bool = True) -> list[str]:
    """Files as they are; a folder stands for the images in it, but, where there is a ``word``, not for those that an
    earlier run left: NAME-word beside NAME."""
    from pnpkit.images import EXTENSIONS

    files: list[str] = []
    for name in inputs:
        if not name:
            raise InputError("an input has an empty name: an unset variable of the shell?")
        if Path(name).is_dir():
            found = sorted(p for p in Path(name).iterdir() if p.suffix.lower() in EXTENSIONS and seen(p))
            if not found:
                raise InputError(f"folder {name} holds no image")
            results = {destination(str(p), None, word) for p in found} if word else set()
            files += [str(p) for p in found if p not in results]
            left = len(results & set(found))
            if left and not quiet:
                click.echo(f"{name}: {left} earlier results (*-{word}.*) are left alone")
        else:
            files.append(name)
    return files


def seen(path: Path) -> bool:
    """A file that a person sees in its folder."""
    return path.is_file() and not path.name.startswith(".")


def make_folder(out: str | None, several: bool) -> None:
    """The folder for results, if ``out`` must be one: by a slash at its end, or for want of any other place."""
    if out == "":
        raise InputError("the output has an empty name: an unset variable of the shell?")
    if out is None or Path(out).is_dir() or not (several or out.endswith("/")):
        return
    if Path(out).suffix and not out.endswith("/"):
        raise InputError(f"several images, or those of a folder, need a folder as output, got {out}")
    try:
        Path(out).mkdir(exist_ok=True)
    except OSError as error:
        raise InputError(f"the folder {out} cannot be made: {error.strerror}") from None


@contextmanager
def gone_if_empty(*folders: str | None) -> Iterator[None]:
    """Folders that are not there before the block are not there after it either, unless something is in them."""
    new = [Path(name) for name in folders if name and not Path(name).exists()]
    try:
        yield
    finally:
        for path in new:
            with suppress(OSError):
                path.rmdir()


def destination(name: str, out: str | None, word: str) -> Path:
    """Where the result goes."""
    source = Path(name)
    if out is None:
        return source.with_name(f"{source.stem}-{word}{source.suffix}")
    return Path(out) / source.name if Path(out).is_dir() else Path(out)


def target_for(name: str, out: str | None, word: str, overwrite: bool) -> Path:
    """Where the result goes; refuses what must not be written."""
    from pnpkit import images

    images.check_input(name)
    target = destination(name, out, word)
    images.check_output(target, [Path(name)], overwrite)
    return target


def identity(path: str | os.PathLike[str]) -> object:
    """What two names of one file have in common: its inode or, before there is a file, where it will be."""
    try:
        found = os.stat(path)
    except OSError:
        return os.path.realpath(path)
    return found.st_dev, found.st_ino


def read_mask(name: str) -> np.ndarray:
    """(H, W) booleans: what a mask marks, which is neither black nor transparent; float files by their own values."""
    import numpy as np

    from pnpkit import images

    mask = images.read(Path(name))
    if mask.compression > 0 or Path(name).suffix.lower() in (".jpg", ".jpeg"):
        raise InputError(
            f"{name}: expected a mask saved without loss, got a JPEG, whose black is not 0: save it as PNG"
        )
    values = mask.low + mask.pixels * (mask.high - mask.low)
    black = 1e-9 * max(abs(mask.low), abs(mask.high))  # the way to 0..1 and back rounds
    painted = np.any(np.abs(np.atleast_3d(values)) > black, axis=-1)
    return painted if mask.alpha is None else painted & (mask.alpha > 0)


def check_apart(files: list[str], places: list[Path]) -> None:
    """Refuse two results with one name: the second would take the place of the first."""
    taken: dict[str, str] = {}
    for name, place in zip(files, places, strict=True):
        other = taken.setdefault(os.path.realpath(place), name)
        if other is not name:
            raise InputError(f"{other} and {name} would both be written to {place}: restore them one by one")


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
        from pnpkit.settings import Settings

        Settings.among(self.options).tools()
        self.refuse()
        if self.mask is not None:
            read_mask(self.mask)

    def over_processes(self, files: list[str]) -> int:
        """Under torchrun: every process takes its share of the files, or all work on one; all return the same code."""
        startup.begin()
        import torch

        from pnpkit.networks.tiles import Shared
        from pnpkit.settings import allowed, open_denoiser

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
        from pnpkit import images

        target = target_for(name, self.out, self.word, options["overwrite"])
        json_path = Path(options["json_file"]) if options["json_file"] else None
        if json_path is not None and not json_path.parent.is_dir():
            raise InputError(f"the folder of --json {json_path} does not exist")
        if json_path is not None and json_path.exists() and (json_path.suffix != ".json" or not options["overwrite"]):
            raise InputError(f"--json {json_path} exists: choose another name or, for a .json file, add --overwrite")
        page, gif = places(name, options)
        self.check_written({"the output": target, "--json": json_path, "--report": page, "--gif": gif})
        holes = None if self.mask is None else read_mask(self.mask)
        picture = images.read(Path(name), holes, options["white"])
        images.check_fits(target, picture)
        reference, onto = outcome.sharp(options["reference"], picture, factor) if options["reference"] else (None, None)

        startup.begin()
        import numpy as np
        import torch

        torch.manual_seed(options["seed"])
        from pnpkit import report as pages

        size = (factor * picture.pixels.shape[0], factor * picture.pixels.shape[1])
        frames = pages.Frames(size, options["linear"])
        with Progress(options["quiet"] or not writes) as progress:

            def show(step: Step) -> None:
                progress(step)
                if gif is not None:
                    frames(step)

            run = self.restore(picture, options | self.instead, show)
        if not writes:
            return DIVERGED if run.status.failed else 0
        images.write(target, images.with_pixels(picture, np.asarray(run.image), factor))

        scores = {}
        if reference is not None and onto is not None:
            from pnpkit.metrics import psnr

            scores = {"psnr": psnr(onto(np.asarray(run.image)), reference)}
            if factor == 1:
                scores["psnr_input"] = psnr(onto(picture.pixels), reference)
        if json_path is not None:
            from pnpkit.files import write_whole

            write_whole(json_path, (json.dumps(outcome.fields(run, scores), indent=1, allow_nan=False) + "\n").encode())
        if gif is not None:
            frames.save(gif)
        if page is not None:
            command = shlex.join(["pnpkit", *sys.argv[1:]])
            pages.write(page, pages.page(name, picture.pixels, run, options, command, scores))
        if not options["quiet"]:
            click.echo(outcome.describe(name, target, picture, run, scores))
        if run.status.failed:
            click.echo(f"pnpkit: {name}: {run.status.value}", err=True)
            return DIVERGED
        return 0


def page_of(name: str, folder: str) -> Path:
    """The page of --report."""
    return Path(folder) / f"{Path(name).stem}.html"


def verdict(files: list[str], failed: list[str]) -> int:
    """The exit code for several files; what failed is said once."""
    if failed and distributed.rank() == 0:
        click.echo(f"pnpkit: {len(failed)} of {len(files)} failed: {', '.join(failed)}", err=True)
    return SOME_FAILED if failed else 0


def places(name: str, options: dict[str, Any]) -> tuple[Path | None, Path | None]:
    """Where the page and the animation go; the folder of the pages is made."""
    page = page_of(name, options["report"]) if options["report"] else None
    gif = Path(options["gif"]) if options.get("gif") else None
    if gif is not None and gif.suffix.lower() != ".gif":
        raise InputError(f"--gif {gif}: expected a name that ends with .gif")
    for what, path in (("--report", page), ("--gif", gif)):
        parent = None if path is None else path.parent.parent if what == "--report" else path.parent
        if parent is not None and not parent.is_dir():
            raise InputError(f"the folder of {what} {path} does not exist")
        if path is not None and path.exists() and not options["overwrite"]:
            raise InputError(f"{what} {path} exists: choose another name or add --overwrite")
    if page is not None:
        try:
            page.parent.mkdir(exist_ok=True)
        except OSError as error:
            raise InputError(f"--report {page.parent}: {error.strerror}") from None
    return page, gif


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
