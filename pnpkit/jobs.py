"""Files in, files out: what every restoring command does around the restoration, and what it says about it."""

from __future__ import annotations

import json
import platform
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pnpkit import __version__, distributed, startup
from pnpkit.errors import InputError, PnpError

if TYPE_CHECKING:
    import numpy as np

    from pnpkit.images import Picture
    from pnpkit.problem import Restoration
    from pnpkit.solver import Step

SOME_FAILED, DIVERGED = 1, 3  # exit codes


def expand(inputs: tuple[str, ...]) -> list[str]:
    """Files as they are; a folder stands for the images in it."""
    from pnpkit.images import EXTENSIONS

    files: list[str] = []
    for name in inputs:
        if Path(name).is_dir():
            found = sorted(str(p) for p in Path(name).iterdir() if p.suffix.lower() in EXTENSIONS)
            if not found:
                raise InputError(f"folder {name} holds no image")
            files += found
        else:
            files.append(name)
    return files


def make_folder(out: str | None, several: bool) -> None:
    """The folder for results, if ``out`` must be one: by a slash at its end, or for want of any other place."""
    if out is None or Path(out).is_dir() or not (several or out.endswith("/")):
        return
    if Path(out).suffix and not out.endswith("/"):
        raise InputError(f"several images need a folder as output, got {out}")
    try:
        Path(out).mkdir(exist_ok=True)
    except OSError as error:
        raise InputError(f"the folder {out} cannot be made: {error.strerror}") from None


def target_for(name: str, out: str | None, word: str, overwrite: bool) -> Path:
    """Where the result goes; refuses what must not be written."""
    from pnpkit import images

    source = Path(name)
    if out is None:
        target = source.with_name(f"{source.stem}-{word}{source.suffix}")
    elif Path(out).is_dir():
        target = Path(out) / source.name
    else:
        target = Path(out)
    images.check_output(target, [source], overwrite)
    return target


@dataclass(frozen=True)
class Job:
    """What is done to every file: ``restore``, with the options of the command line.

    Attributes:
        out: file or folder for the results, or None: beside the input, ``word`` added to its name.
        factor: the result is so many times as large as the input.
    """

    out: str | None
    word: str
    restore: Callable[[Picture, Callable[[Step], None]], Restoration]
    options: dict[str, Any]
    factor: int = 1

    def each(self, files: list[str]) -> int:
        """Restore every file; with several, one that fails does not stop the rest. Returns the exit code."""
        if len(files) > 1 and (self.options["json_file"] or self.options["reference"] or self.options.get("gif")):
            raise InputError("--json, --reference and --gif take one image")
        make_folder(self.out, len(files) > 1)
        if distributed.world() > 1:
            return self.over_processes(files)
        if len(files) == 1:
            return self.one(files[0])
        return verdict(files, self.in_turn(files))

    def over_processes(self, files: list[str]) -> int:
        """Under torchrun: every process takes its share of the files, or all work on one; all return the same code."""
        startup.begin()
        import torch

        from pnpkit.networks.tiles import Shared
        from pnpkit.problem import allowed, open_denoiser

        with distributed.together(self.options["device"]) as device:
            if self.options["max_memory"] is None:
                self.options["max_memory"] = allowed(None) / 2**30 / distributed.neighbours()
            if len(files) == 1:
                shown = replace(self, options=dict(self.options))  # its page shows the denoiser by its name
                self.options["denoiser"] = Shared(open_denoiser(self.options["denoiser"], torch.device(device)))
                return max(distributed.gather(shown.one(files[0], distributed.rank() == 0)))
            shares = distributed.gather(self.in_turn(files[distributed.rank() :: distributed.world()]))
        return verdict(files, [name for share in shares for name in share])

    def in_turn(self, files: list[str]) -> list[str]:
        """Restore one file after the other; returns those that failed."""
        failed = []
        for name in files:
            try:
                if self.one(name) != 0:
                    failed.append(name)
            except PnpError as error:
                failed.append(name)
                click.echo(f"pnpkit: {error}", err=True)
        return failed

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
        picture = images.read(Path(name))
        reference = sharp(options["reference"], picture, factor) if options["reference"] else None

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

            run = self.restore(picture, show)
        if not writes:
            return DIVERGED if run.status.failed else 0
        images.write(target, images.with_pixels(picture, np.asarray(run.image)))

        scores = {}
        if reference is not None:
            from pnpkit.metrics import psnr

            scores = {"psnr": psnr(run.image, reference)}
            if factor == 1:
                scores["psnr_input"] = psnr(picture.pixels, reference)
        if json_path is not None:
            from pnpkit.files import write_whole

            write_whole(json_path, (json.dumps(summary(run, scores), indent=1) + "\n").encode())
        if gif is not None:
            frames.save(gif)
        if page is not None:
            command = shlex.join(["pnpkit", *sys.argv[1:]])
            span = 1.0 if picture.dtype.kind in "ub" else 3.0  # as the box of ``cli.limits_of``
            pages.write(page, pages.page(name, picture.pixels, run, options, command, scores, span))
        if not options["quiet"]:
            click.echo(report(name, target, picture, run, scores))
        if run.status.failed:
            click.echo(f"pnpkit: {name}: {run.status.value}", err=True)
            return DIVERGED
        return 0


def verdict(files: list[str], failed: list[str]) -> int:
    """The exit code for several files; what failed is said once."""
    if failed and distributed.rank() == 0:
        click.echo(f"pnpkit: {len(failed)} of {len(files)} failed: {', '.join(failed)}", err=True)
    return SOME_FAILED if failed else 0


def places(name: str, options: dict[str, Any]) -> tuple[Path | None, Path | None]:
    """Where the page and the animation go; the folder of the pages is made."""
    page = Path(options["report"]) / f"{Path(name).stem}.html" if options["report"] else None
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


def sharp(name: str, picture: Picture, factor: int = 1) -> np.ndarray:
    """The reference's pixels; a scene larger than the frame, as `pnpkit blur` leaves it, is cut to its centre."""
    from pnpkit import images

    scene, size = images.read(Path(name)).pixels, picture.pixels.shape
    size = (factor * size[0], factor * size[1], *size[2:])
    margins = [scene.shape[axis] - size[axis] for axis in (0, 1)]
    if scene.ndim != len(size) or any(margin < 0 or margin % 2 for margin in margins):
        raise InputError(f"{name}: the reference is {scene.shape}, the result {size}: not the same frame")
    rows, columns = (margin // 2 for margin in margins)
    return scene[rows : rows + size[0], columns : columns + size[1]]


def report(name: str, target: Path, picture: Picture, run: Restoration, scores: dict[str, float]) -> str:
    """What a person wants to know, most important first."""
    lines = []
    before = f"{scores['psnr_input']:.2f} -> " if "psnr_input" in scores else ""
    gain = f", PSNR {before}{scores['psnr']:.2f} dB" if scores else ""
    residual = f", residual {run.residuals[-1]:.2e}" if run.residuals else ""
    word = run.status.value.split(":")[0] if run.residuals else "denoised"
    lines.append(f"{name} -> {target}: {word}, {run.steps} steps{residual}{gain}, {run.seconds:.1f} s")
    if run.kernel_note:
        lines.append(f"kernel: {run.kernel_note}" if run.kernel is not None else run.kernel_note)
    line = f"noise level {run.noise_level:.4f}, strength {run.strength:.4f}{' in linear light' if run.linear else ''}"
    if run.tau is not None and run.L is not None:
        line += f" ({run.strength_note}), {run.step_note}"
    if run.objective and run.tau is not None:
        line += f", objective f + R / {run.tau:.4g} = " + ", ".join(f"{value:.8g}" for value in run.objective)
    lines.append(line)
    lines += [f"note: {note}" for note in picture.notes]
    lines.append(f"guarantee: {run.guarantee}")
    lines.append(run.certificate.describe(depth=1))
    return "\n".join(lines)


def summary(run: Restoration, scores: dict[str, float]) -> dict[str, Any]:
    """The fields of --json."""
    import deepinv
    import torch

    return {
        "status": run.status.name.lower(),
        "message": run.status.value,
        "steps": run.steps,
        "residual": run.residuals[-1] if run.residuals else None,
        "residuals": list(run.residuals),
        "objective": list(run.objective),
        "splitting": run.splitting or None,
        "tau": run.tau,
        "L": run.L,
        "noise_level": run.noise_level,
        "strength": run.strength,
        "strength_rule": run.strength_note,
        "linear": run.linear,
        "kernel": run.kernel_note or None,
        "guarantee": run.guarantee,
        "certificate": run.certificate.to_json(),
        **scores,
        "seconds": run.seconds,
        "versions": {
            "pnpkit": __version__,
            "torch": torch.__version__,
            "deepinv": deepinv.__version__,
            "python": platform.python_version(),
        },
    }


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
