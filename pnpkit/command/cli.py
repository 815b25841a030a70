"""The commands. Torch is loaded only by those that compute; they and ``jobs`` are all that prints."""

from __future__ import annotations

import json
import logging
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pnpkit import __version__
from pnpkit.command.jobs import SOME_FAILED, Job
from pnpkit.command.options import LINEAR, WHITE, Level, image_options, iterating_options, restoring_options
from pnpkit.command.places import gone_if_empty, make_folder, target_for
from pnpkit.errors import InexactWarning, InputError, PnpError, one_line
from pnpkit.restoration.defaults import GUIDED, ONCE, limits_of

if TYPE_CHECKING:
    from pnpkit.images.picture import Picture
    from pnpkit.restoration.result import Restoration
    from pnpkit.solvers.result import Step


BAD_INPUT = 2


RESTORING = ("denoiser", "noise_level", "strength", "device", "max_memory", "precision", "linear")


ITERATING = (*RESTORING, "splitting", "tau", "method", "tol", "max_steps")


def chosen(picture: Picture, options: dict[str, Any], *names: str) -> dict[str, Any]:
    """What a restoration is called with: options, and what the file tells of itself."""
    if options["linear"] and (picture.low, picture.high) not in ((0.0, 1.0), (0.0, 255.0), (0.0, 65535.0)):
        came = f"values from {picture.low:.6g} to {picture.high:.6g}"
        raise InputError(f"--linear undoes the sRGB curve of values on the 0..1 scale, got {came}: leave it out")
    here = {"compression": picture.compression, "limits": limits_of(picture)}
    return here | {name: options[name] for name in names}


def tell(picture: Picture) -> None:
    """What reading had to change."""
    for note in picture.notes:
        click.echo(f"note: {note}")


@click.group(context_settings={"help_option_names": ["-h", "--help"]}, no_args_is_help=True)
@click.version_option(__version__, prog_name="pnpkit", message="%(prog)s %(version)s")
def program() -> None:
    """Image restoration whose convergence is proven, checked and shown."""


@program.command()
@click.argument("inputs", nargs=-1, required=True, metavar="IMAGE...")
@click.option("--kernel", default="auto", show_default=True, metavar="SPEC", help="FILE | gaussian:SIGMA | "
              "motion:LENGTH,ANGLE | disk:RADIUS | box:SIZE | auto (an estimate).")  # fmt: skip
@click.option("--boundary", default="unknown", show_default=True, help="unknown, circular or zero.")
@restoring_options(GUIDED)
@iterating_options
@image_options
def deblur(inputs: tuple[str, ...], out: str | None, **options: Any) -> int:
    """Remove blur and noise from photographs."""

    def restore(picture: Picture, options: dict[str, Any], show: Callable[[Step], None]) -> Restoration:
        from pnpkit.restoration import deblur as task

        names = ("kernel", "boundary", *ITERATING)
        return task.deblur(picture.pixels, callback=show, **chosen(picture, options, *names))

    def refuse() -> None:
        from pnpkit.restoration import deblur as task

        task.check_blur(options["kernel"], options["boundary"])

    return Job(out, "deblurred", restore, options, refuse).each(inputs)


@program.command()
@click.argument("inputs", nargs=-1, required=True, metavar="IMAGE...")
@restoring_options(ONCE)
@click.option("--strength", type=Level(), default="auto", help="Sigma of the denoiser, 0..1 scale; auto: the noise.")
@click.option("--precision", default="auto", show_default=True, help="auto, float32 or float64.")
@image_options
def denoise(inputs: tuple[str, ...], out: str | None, **options: Any) -> int:
    """Remove noise: one application of the denoiser."""

    def restore(picture: Picture, options: dict[str, Any], show: Callable[[Step], None]) -> Restoration:
        from pnpkit.restoration import denoise as task

        return task.denoise(picture.pixels, **chosen(picture, options, *RESTORING))

    def refuse() -> None:
        from pnpkit.restoration import denoise as task

        task.check_denoising(options["precision"], options["strength"])

    return Job(out, "denoised", restore, options, refuse).each(inputs)


@program.command()
@click.argument("inputs", nargs=-1, required=True, metavar="IMAGE...")
@click.option("--mask", required=True, metavar="MASK", help="An image of the same size, not black where to fill in.")
@restoring_options(ONCE)
@iterating_options
@image_options
def inpaint(inputs: tuple[str, ...], out: str | None, mask: str, **options: Any) -> int:
    """Fill in scratches, dates, holes; what is outside of the mask stays as it is."""

    def restore(picture: Picture, options: dict[str, Any], show: Callable[[Step], None]) -> Restoration:
        from pnpkit.restoration import inpaint as task

        assert picture.holes is not None  # by the mask that the job reads
        return task.inpaint(picture.pixels, picture.holes, callback=show, **chosen(picture, options, *ITERATING))

    return Job(out, "inpainted", restore, options, mask=mask).each(inputs)


@program.command()
@click.argument("inputs", nargs=-1, required=True, metavar="IMAGE...")
@click.option("--factor", type=click.IntRange(2, 8), default=2, show_default=True, help="Pixels per pixel and side.")
@restoring_options(GUIDED)
@iterating_options
@image_options
def upscale(inputs: tuple[str, ...], out: str | None, factor: int, **options: Any) -> int:
    """Enlarge a picture whose pixels are means over squares, as those of a sensor are."""

    def restore(picture: Picture, options: dict[str, Any], show: Callable[[Step], None]) -> Restoration:
        from pnpkit.restoration import upscale as task

        return task.upscale(picture.pixels, factor, callback=show, **chosen(picture, options, *ITERATING))

    return Job(out, "upscaled", restore, options, factor=factor).each(inputs)


@program.command()
@click.argument("image")
@click.option("--kernel", required=True, metavar="SPEC")
@click.option("--noise-level", type=Level(auto=False), default="0", show_default=True)
@click.option("--boundary", default="unknown", show_default=True, help="unknown keeps only what the kernel sees whole.")
@click.option("--linear", is_flag=True, help="Blur and add noise in linear light (sRGB curve).")
@image_options
def blur(
    image: str, kernel: str, noise_level: float, boundary: str, linear: bool, out: str | None, **options: Any
) -> int:
    """Simulate: blur a sharp picture and add noise.

    With --boundary unknown the result is the valid part, smaller by the kernel; the others keep the size.
    """
    from pnpkit.images import files
    from pnpkit.images.picture import with_pixels

    click.get_current_context().with_resource(gone_if_empty(out))
    make_folder(out, several=False)
    target = target_for(image, out, "blurred", options["overwrite"])
    picture = files.read(Path(image))
    chosen(picture, {"linear": linear})  # refuses linear light where there is none
    from pnpkit.restoration.simulate import simulate

    blurred = simulate(picture.pixels, kernel, noise_level, boundary=boundary, seed=options["seed"], linear=linear)
    files.write(target, with_pixels(picture, blurred))
    if not options["quiet"]:
        click.echo(f"{image}: blurred by {kernel} ({boundary} boundary), noise {noise_level:g} -> {target}")
        tell(picture)
    return 0


@program.command("estimate-kernel")
@click.argument("image")
@click.option("--noise-level", type=Level(), default="auto", help="Noise, 0..1 scale; auto estimates it.")
@LINEAR
@WHITE
@image_options
def estimate_kernel(
    image: str, noise_level: float | None, linear: bool, white: float | None, out: str | None, **options: Any
) -> int:
    """Estimate the blur of a photograph: none, a Gaussian, a motion, a disk or a free form."""
    from pnpkit import kernels
    from pnpkit.images import files
    from pnpkit.restoration import blur_kernel

    source = Path(image)
    click.get_current_context().with_resource(gone_if_empty(out))
    make_folder(out, several=False)
    beside = source.with_name(f"{source.stem}-kernel.png")
    target = beside if out is None else Path(out) / beside.name if Path(out).is_dir() else Path(out)
    if target.suffix.lower() not in kernels.SAVE_SUFFIXES:
        raise InputError(f"a kernel is written as {' or '.join(kernels.SAVE_SUFFIXES)}, got '{target}'")
    if not target.parent.is_dir():
        raise InputError(f"the folder of {target} does not exist")
    if target.exists() and (not options["overwrite"] or target.samefile(source)):
        raise InputError(f"{target}: exists already: choose another name, or --overwrite what is not the input")
    picture = files.read(source, white=white)
    estimate = blur_kernel.estimate_kernel(picture.pixels, noise_level, **chosen(picture, {"linear": linear}, "linear"))
    kernels.save(target, estimate.kernel, (estimate.spec, estimate.confidence))
    if not options["quiet"]:
        click.echo(f"{image} -> {target}: {blur_kernel.describe(estimate)}")
        rivals = ", ".join(f"{spec} {score:+.1f}" for spec, score in estimate.candidates)
        if target.suffix.lower() == ".npy" and not blur_kernel.trustworthy(estimate):
            click.echo(
                "a .npy keeps nothing of this doubt, and deblur would take it for a measured kernel: write a .png"
            )
        click.echo(f"log posterior relative to the likeliest: {rivals}")
        tell(picture)
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
    names, kinds = max(map(len, cards)), max(len(card.architecture) for card in cards.values())
    for name, card in cards.items():
        claim = str(card.certificate).splitlines()[0].split(": ", 1)[1].split(" [")[0]
        claim += "" if card.certificate.nonexpansive else f": {card.certificate.method}"
        low, high = (round(255 * level) for level in card.sigma_range)
        click.echo(f"{name:{names}s} {card.architecture:{kinds}s} sigma {low}..{high}/255  {claim}")
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
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True)
def audit(name: str, rounds: int, seed: int) -> int:
    """Search for expansion: exit 1 when a pair is found that the certificate excludes."""
    from pnpkit.laws.denoisers import audit_denoiser

    falsified = False
    for level, found in audit_denoiser(name, rounds=rounds, seed=seed):
        falsified |= found.falsified
        click.echo(f"sigma {255 * level:.0f}/255\n{found}")
    return SOME_FAILED if falsified else 0


def main() -> None:
    """Entry point: one line per error, exit 2 for bad input or usage."""
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # what is wrong with a file is said once, as an error
    with warnings.catch_warnings():
        warnings.simplefilter("once", InexactWarning)
        usual = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
            if category is InexactWarning:
                click.echo(f"pnpkit: warning: {one_line(message)}", err=True)
            else:
                usual(message, category, *place, **more)

        warnings.showwarning = show
        code = run()
    sys.exit(code if isinstance(code, int) else 0)


def run() -> Any:
    """The program and its exit code."""
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
        click.echo("pnpkit: stopped; nothing is half written", err=True)
        code = 130
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        click.echo(f"pnpkit: {one_line(where + (error.strerror or str(error)))}", err=True)
        code = BAD_INPUT
    except (click.ClickException, PnpError) as error:
        text = error.format_message() if isinstance(error, click.ClickException) else str(error)
        click.echo(f"pnpkit: {one_line(text)}", err=True)
        code = BAD_INPUT
    return code


if __name__ == "__main__":
    main()
