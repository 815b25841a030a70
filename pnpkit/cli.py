"""The command line: the only place that prints. Torch is loaded only by commands that compute."""

from __future__ import annotations

import json
import math
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pnpkit import __version__
from pnpkit.errors import InputError, PnpError

if TYPE_CHECKING:
    import numpy as np

    from pnpkit.images import Picture
    from pnpkit.restore import Restoration
    from pnpkit.solver import Step

BAD_INPUT, SOME_FAILED, DIVERGED = 2, 1, 3


class Level(click.ParamType):
    """A finite number of at least zero, or the word auto (None)."""

    name = "auto|NUMBER"

    def __init__(self, auto: bool = True):
        self.auto = auto

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float | None:
        if value is None or (self.auto and value == "auto"):
            return None
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not (math.isfinite(number) and number >= 0):
            words = "'auto' or a number" if self.auto else "a number"
            self.fail(f"expected {words} >= 0 on the 0..1 scale, got '{value}'", param, ctx)
        return number


def image_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options that every command from image to image has."""
    options = [
        click.option("-o", "--output", "out", metavar="OUT", help="Output file, or folder for several images."),
        click.option("--overwrite", is_flag=True, help="Replace an existing output."),
        click.option("--quiet", is_flag=True, help="Print nothing but errors."),
        click.option(
            "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of all randomness."
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def restoring_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options of commands that restore."""
    options = [
        click.option("--noise-level", type=Level(), default="auto", help="Noise, 0..1 scale; auto estimates it."),
        click.option("--denoiser", default="euler", show_default=True, help="A name from `pnpkit denoisers`."),
        click.option("--strength", type=Level(), default="auto", help="Sigma of the denoiser, 0..1 scale."),
        click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda."),
        click.option("--reference", metavar="IMAGE", help="The sharp picture, to report PSNR."),
        click.option("--json", "json_file", metavar="FILE", help="Write status, certificate and figures."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


@click.group(context_settings={"help_option_names": ["-h", "--help"]}, no_args_is_help=True)
@click.version_option(__version__, prog_name="pnpkit", message="%(prog)s %(version)s")
def program() -> None:
    """Image restoration whose convergence is proven, checked and shown."""


@program.command()
@click.argument("inputs", nargs=-1, required=True, metavar="IMAGE...")
@click.option("--kernel", default="auto", show_default=True, metavar="SPEC", help="FILE | gaussian:SIGMA | "
              "motion:LENGTH,ANGLE | disk:RADIUS | box:SIZE | auto (an estimate).")  # fmt: skip
@click.option("--boundary", default="unknown", show_default=True, help="unknown, circular or zero.")
@click.option("--method", default="anderson", show_default=True, help="anderson, picard, km or halpern.")
@click.option("--tol", type=Level(auto=False), default="1e-4", show_default=True, help="Relative residual to stop at.")
@click.option("--max-steps", type=click.IntRange(min=1), default=500, show_default=True)
@restoring_options
@image_options
def deblur(inputs: tuple[str, ...], out: str | None, **options: Any) -> int:
    """Remove blur and noise from photographs."""
    shared = ("kernel", "boundary", "method", "tol", "max_steps", "denoiser", "noise_level", "strength", "device")

    def restore(picture: Picture, show: Callable[[Step], None]) -> Restoration:
        from pnpkit import restore

        # A float file may hold values beyond its darkest and brightest: leave room for them.
        limits = (0.0, 1.0) if picture.dtype.kind in "ub" else (-1.0, 2.0)
        return restore.deblur(picture.pixels, limits=limits, callback=show, **{k: options[k] for k in shared})

    return each(expand(inputs), out, "deblurred", restore, options)


@program.command()
@click.argument("inputs", nargs=-1, required=True, metavar="IMAGE...")
@restoring_options
@image_options
def denoise(inputs: tuple[str, ...], out: str | None, **options: Any) -> int:
    """Remove noise: one application of the denoiser."""
    shared = ("denoiser", "noise_level", "strength", "device")

    def restore(picture: Picture, show: Callable[[Step], None]) -> Restoration:
        from pnpkit import restore

        return restore.denoise(picture.pixels, **{k: options[k] for k in shared})

    return each(expand(inputs), out, "denoised", restore, options)


@program.command()
@click.argument("image")
@click.option("--kernel", required=True, metavar="SPEC")
@click.option("--noise-level", type=Level(auto=False), default="0", show_default=True)
@click.option("--boundary", default="unknown", show_default=True, help="unknown keeps only what the kernel sees whole.")
@image_options
def blur(image: str, kernel: str, noise_level: float, boundary: str, out: str | None, **options: Any) -> int:
    """Simulate: blur a sharp picture and add noise.

    With --boundary unknown the result is the valid part, smaller by the kernel; the others keep the size.
    """
    from pnpkit import images

    target = target_for(image, out, "blurred", options["overwrite"])
    picture = images.read(Path(image))
    from pnpkit.restore import simulate

    blurred = simulate(picture.pixels, kernel, noise_level, boundary=boundary, seed=options["seed"])
    images.write(target, images.with_pixels(picture, blurred))
    if not options["quiet"]:
        click.echo(f"{image}: blurred by {kernel} ({boundary} boundary), noise {noise_level:g} -> {target}")
    return 0


@program.command()
@click.option("--json", "as_json", is_flag=True, help="Print the cards as JSON.")
def denoisers(as_json: bool) -> int:
    """List the denoisers and what is proven about each."""
    from pnpkit import registry

    cards = registry.denoisers()
    if as_json:
        click.echo(json.dumps({name: card.to_json() for name, card in cards.items()}, indent=1))
        return 0
    for name, card in cards.items():
        claim = str(card.certificate).splitlines()[0].split(": ", 1)[1].split(" [")[0]
        low, high = (round(255 * level) for level in card.sigma_range)
        click.echo(f"{name:12s} {card.architecture:8s} sigma {low}..{high}/255  {claim}")
    return 0


@program.command()
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print the certificate as JSON.")
def certify(name: str, as_json: bool) -> int:
    """Derive a denoiser's certificate again, from its weights alone."""
    from pnpkit import registry

    certificate = registry.certify(name)
    click.echo(json.dumps(certificate.to_json(), indent=1) if as_json else str(certificate))
    return 0


@program.command()
@click.argument("name")
@click.option("--rounds", type=click.IntRange(min=1), default=12, show_default=True, help="Length of the search.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
def audit(name: str, rounds: int, seed: int) -> int:
    """Search for expansion: exit 1 when a pair is found that the certificate excludes."""
    from pnpkit import restore

    falsified = False
    for level, found in restore.audit_denoiser(name, rounds=rounds, seed=seed):
        falsified |= found.falsified
        click.echo(f"sigma {255 * level:.0f}/255\n{found}")
    return SOME_FAILED if falsified else 0


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


def each(
    files: list[str],
    out: str | None,
    word: str,
    restore: Callable[[Picture, Callable[[Step], None]], Restoration],
    options: dict[str, Any],
) -> int:
    """Restore every file; with several, one that fails does not stop the rest."""
    if len(files) > 1 and out is not None and not Path(out).is_dir():
        raise InputError(f"several images need an existing folder as output, got {out}")
    if len(files) > 1 and (options["json_file"] or options["reference"]):
        raise InputError("--json and --reference take one image")
    if len(files) == 1:
        return one(files[0], out, word, restore, options)
    failed = []
    for name in files:
        try:
            if one(name, out, word, restore, options) != 0:
                failed.append(name)
        except PnpError as error:
            failed.append(name)
            click.echo(f"pnpkit: {error}", err=True)
    if failed:
        click.echo(f"pnpkit: {len(failed)} of {len(files)} failed: {', '.join(failed)}", err=True)
    return SOME_FAILED if failed else 0


def one(
    name: str,
    out: str | None,
    word: str,
    restore: Callable[[Picture, Callable[[Step], None]], Restoration],
    options: dict[str, Any],
) -> int:
    """Read, restore, write, report. Everything that can be refused is refused before the work begins."""
    from pnpkit import images

    target = target_for(name, out, word, options["overwrite"])
    json_path = Path(options["json_file"]) if options["json_file"] else None
    if json_path is not None and not json_path.parent.is_dir():
        raise InputError(f"the folder of --json {json_path} does not exist")
    if json_path is not None and json_path.exists() and (json_path.suffix != ".json" or not options["overwrite"]):
        raise InputError(f"--json {json_path} exists: choose another name or, for a .json file, add --overwrite")
    picture = images.read(Path(name))
    reference = sharp(options["reference"], picture) if options["reference"] else None

    import numpy as np
    import torch

    torch.manual_seed(options["seed"])
    with Progress(options["quiet"]) as progress:
        run = restore(picture, progress)
    images.write(target, images.with_pixels(picture, np.asarray(run.image)))

    scores = {}
    if reference is not None:
        from pnpkit.metrics import psnr

        scores = {
            "psnr_input": psnr(picture.pixels, reference),
            "psnr": psnr(run.image, reference),
        }
    if json_path is not None:
        from pnpkit.files import write_whole

        write_whole(json_path, (json.dumps(summary(run, scores), indent=1) + "\n").encode())
    if not options["quiet"]:
        click.echo(report(name, target, picture, run, scores))
    if run.status.failed:
        click.echo(f"pnpkit: {name}: {run.status.value}", err=True)
        return DIVERGED
    return 0


def sharp(name: str, picture: Picture) -> np.ndarray:
    """The reference's pixels; a scene larger than the frame, as `pnpkit blur` leaves it, is cut to its centre."""
    from pnpkit import images

    scene, size = images.read(Path(name)).pixels, picture.pixels.shape
    margins = [scene.shape[axis] - size[axis] for axis in (0, 1)]
    if scene.ndim != len(size) or any(margin < 0 or margin % 2 for margin in margins):
        raise InputError(f"{name}: the reference is {scene.shape}, the image {size}: not the same frame")
    rows, columns = (margin // 2 for margin in margins)
    return scene[rows : rows + size[0], columns : columns + size[1]]


def report(name: str, target: Path, picture: Picture, run: Restoration, scores: dict[str, float]) -> str:
    """What a person wants to know, most important first."""
    lines = []
    gain = f", PSNR {scores['psnr_input']:.2f} -> {scores['psnr']:.2f} dB" if scores else ""
    residual = f", residual {run.residuals[-1]:.2e}" if run.residuals else ""
    word = run.status.value.split(":")[0] if run.residuals else "denoised"
    lines.append(f"{name} -> {target}: {word}, {run.steps} steps{residual}{gain}, {run.seconds:.1f} s")
    if run.kernel_note:
        lines.append(f"kernel: {run.kernel_note}")
    line = f"noise level {run.noise_level:.4f}, strength {run.strength:.4f}"
    if run.tau is not None and run.L is not None:
        line += f" (--strength auto follows the noise), step size tau {run.tau:.4g} in (0, 2/L), L {run.L:.6g}"
    lines.append(line)
    lines += [f"note: {note}" for note in picture.notes]
    lines.append(f"guarantee: {run.guarantee}")
    lines.append(run.certificate.describe(depth=2))
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
        "tau": run.tau,
        "L": run.L,
        "noise_level": run.noise_level,
        "strength": run.strength,
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


def main() -> None:
    """Entry point: one line per error, exit 2 for bad input or usage."""
    try:
        code = program.main(standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        code = BAD_INPUT
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "pnpkit"
        click.echo(f"{command}: {one_line(error.format_message())} (see {command} --help)", err=True)
        code = BAD_INPUT
    except (click.Abort, KeyboardInterrupt):
        click.echo("pnpkit: stopped; nothing was written", err=True)
        code = 130
    except (click.ClickException, PnpError) as error:
        text = error.format_message() if isinstance(error, click.ClickException) else str(error)
        click.echo(f"pnpkit: {one_line(text)}", err=True)
        code = BAD_INPUT
    sys.exit(code if isinstance(code, int) else 0)


def one_line(text: str) -> str:
    return " ".join(text.split())


if __name__ == "__main__":
    main()
