"""The program ``pnpkit``: its commands and their flags. Torch is loaded only by those that compute."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import warnings
from dataclasses import fields
from pathlib import Path
from typing import Any

import click

from pnpkit import __version__
from pnpkit.command import record, tasks
from pnpkit.command.estimate_kernel import estimate_kernel
from pnpkit.command.job import Job, Layout
from pnpkit.command.jobs import check_options, restore_all
from pnpkit.command.messages import BAD_INPUT, SOME_FAILED, say, say_notes, sentence
from pnpkit.command.options import (
    BLACK,
    GUIDE,
    JSON,
    MASK,
    REFERENCE,
    REPORT,
    WEIGHTS,
    WHITE,
    WRITING,
    Commands,
    Grouped,
    Level,
    Whole,
    flag,
    options_from,
    restoring,
    setting_flags,
    settings_from,
    together,
)
from pnpkit.command.places import gone_if_empty, make_folder, target_for
from pnpkit.command.psf import psf
from pnpkit.command.stacks import Steps
from pnpkit.command.train import train
from pnpkit.errors import InexactWarning, PnpError
from pnpkit.restoration.settings import check_level

KERNELS = "FILE | gaussian:SIGMA | motion:LENGTH,ANGLE | disk:RADIUS | box:SIZE | moffat:FWHM,BETA | airy:RADIUS"
FOUND = "gaussian | motion | disk | free (the form alone: the rest is found) | auto (all is found)"


STACK = together(
    flag(
        "--axes",
        group="input",
        default="",
        metavar="AXES",
        help="Axes of a stack, such as TCZYX; default: as the file says.",
    ),
    flag(
        "--page", group="input", type=Whole(1), metavar="N", help="Restore only this plane of a stack; 1 is the first."
    ),
    flag("--step", group="input", type=Steps(), help="Sampling of a stack, µm; default: as the file says."),
)


INPUTS = click.argument("inputs", nargs=-1, required=True, metavar="IMAGE...")


def restore(task: tasks.Task, inputs: tuple[str, ...], given: dict[str, Any]) -> int:
    """Run a restoring command with the values of its flags; returns the exit code."""
    names = {entry.name for entry in fields(Layout)}
    layout = Layout(**{name: value for name, value in given.items() if name in names and value is not None})
    return restore_all(Job(task, settings_from(task.name, given), options_from(given), layout=layout), inputs)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]}, no_args_is_help=True)
@click.version_option(__version__, prog_name="pnpkit", message="%(prog)s %(version)s")
def program() -> None:
    """Image restoration whose convergence is proven, checked and shown.

    Each command explains itself: pnpkit deblur --help.
    """


@program.command(
    cls=Grouped, example="pnpkit deblur photo.png --kernel motion:15,30 --noise-level 0.01 -o sharp.png --report page"
)
@INPUTS
@flag("--kernel", group="blur", default=("auto",), multiple=True, metavar="SPEC",
      help=f"{KERNELS} | {FOUND}, the default. In pixels and degrees. Of a stack, once for each channel.")  # fmt: skip
@flag("--boundary", group="blur", default="unknown", show_default=True, metavar="NAME",
      help="What lies beyond the frame: unknown, circular or zero.")  # fmt: skip
@flag("--kernel-step", group="blur", type=Steps(), help="Sampling of the kernel, µm; default: as its file says.")
@flag("--directions", group="expert", default="auto", show_default=True, metavar="slices|three",
      help="How a volume is denoised: slice by slice, or in all three directions.")  # fmt: skip
@STACK
@MASK
@WEIGHTS
@GUIDE
@restoring("deblur")
def deblur(
    inputs: tuple[str, ...], kernel: tuple[str, ...], boundary: str, mask: str | None, weights: str | None,
    guide: str | None, **given: Any,
) -> int:  # fmt: skip
    """Remove blur and noise. IMAGE is a photograph, a stack, a volume, or a folder of them. The result is
    NAME-deblurred."""
    task = tasks.Deblur(kernel[0], boundary, mask, guide=guide, weights=weights, others=kernel[1:])
    return restore(task, inputs, given)


@program.command(cls=Grouped, example="pnpkit denoise folder/ -o clean/ --skip-existing")
@INPUTS
@STACK
@MASK
@WEIGHTS
@restoring("denoise")
def denoise(inputs: tuple[str, ...], mask: str | None, weights: str | None, **given: Any) -> int:
    """Remove noise from photographs. The result is NAME-denoised."""
    return restore(tasks.Denoise(mask, weights), inputs, given)


@program.command(cls=Grouped, example="pnpkit inpaint photo.png --mask scratches.png -o whole.png")
@INPUTS
@flag("--mask", group="input", required=True, metavar="MASK",
      help="An image of the same size; a pixel is filled in where it is not black.")  # fmt: skip
@WEIGHTS
@GUIDE
@restoring("inpaint")
def inpaint(inputs: tuple[str, ...], mask: str, weights: str | None, guide: str | None, **given: Any) -> int:
    """Fill in scratches, dates, holes. The result is NAME-inpainted. Outside the mask, pixels stay as they are."""
    return restore(tasks.Inpaint(mask, guide, weights), inputs, given)


@program.command(cls=Grouped, example="pnpkit upscale photo.png --factor 2 -o large.png")
@INPUTS
@flag("--factor", group="quality", type=Whole(2, 8), default=2, show_default=True, metavar="N",
      help="Factor by which each side grows.")  # fmt: skip
@MASK
@WEIGHTS
@GUIDE
@restoring("upscale")
def upscale(
    inputs: tuple[str, ...], factor: int, mask: str | None, weights: str | None, guide: str | None, **given: Any
) -> int:
    """Enlarge a picture. The result is NAME-upscaled. Pixels are taken for means over squares, as on a sensor."""
    return restore(tasks.Upscale(factor, mask, guide, weights), inputs, given)


@program.command(
    cls=Grouped,
    example="pnpkit compare photo.png --kernel disk:3 --with euler-guided,wavelet,richardson-lucy --report page",
)
@click.argument("image")
@flag("--with", "names", group="quality", default="euler-guided,wavelet,richardson-lucy", show_default=True,
      metavar="NAMES", help="Denoisers, richardson-lucy and wiener, separated by commas.")  # fmt: skip
@flag("--kernel", group="blur", default="auto", show_default=True, metavar="SPEC",
      help=f"{KERNELS} | {FOUND}.")  # fmt: skip
@flag("--boundary", group="blur", default="unknown", show_default=True, metavar="NAME",
      help="What lies beyond the frame: unknown, circular or zero.")  # fmt: skip
@setting_flags("deblur", "noise_level", "linear", "tol", "device", "max_memory")
@flag("--max-steps", group="quality", type=Whole(1), default=100, show_default=True, metavar="N",
      help="Number of steps after which a method is stopped.")  # fmt: skip
@together(WHITE, BLACK, REFERENCE, REPORT, JSON, *WRITING)
def compare(image: str, names: str, kernel: str, boundary: str, **given: Any) -> int:
    """Deblur by several methods. The results go into a table, and side by side into NAME-compared.png."""
    from pnpkit.command import comparison
    from pnpkit.machine import startup

    options, settings = options_from(given), settings_from("deblur", given)
    check_options(options)
    startup.begin()
    asked = comparison.Asked(tuple(name.strip() for name in names.split(",") if name.strip()), kernel, boundary)
    with gone_if_empty(options.out, options.report):
        make_folder(options.out, several=False)
        places = comparison.places_of(image, options)
        table = comparison.compare(image, asked, settings, options, places)
    if not options.quiet:
        say(f"{table}\n{image} -> {places.output}")
    return 0


@program.command(cls=Grouped, example="pnpkit blur photo.png --kernel disk:3 --noise-level 0.01 -o blurred.png")
@click.argument("image")
@flag("--kernel", group="blur", required=True, metavar="SPEC", help=f"{KERNELS}.")
@flag("--noise-level", group="quality", type=Level(auto=False), default="0", show_default=True,
      help="Standard deviation of the noise (0 is black, 1 is white).")  # fmt: skip
@flag("--boundary", group="blur", default="unknown", show_default=True, metavar="NAME",
      help="What lies beyond the frame: unknown, circular or zero.")  # fmt: skip
@setting_flags("deblur", "linear")
@together(*WRITING)
def blur(image: str, kernel: str, noise_level: float, boundary: str, linear: bool, **given: Any) -> int:
    """Blur a sharp picture and add noise. The result is NAME-blurred: a simulation, to test with.

    With --boundary unknown the result is smaller by the kernel, with only the pixels whose surroundings are known. The
    other boundaries keep the size.
    """
    from pnpkit.images import files
    from pnpkit.images.picture import with_pixels

    options = options_from(given)
    check_level("noise level", noise_level)  # of a file, whose values are read on the 0..1 scale
    click.get_current_context().with_resource(gone_if_empty(options.out))
    make_folder(options.out, several=False)
    target = target_for(image, options.out, "blurred", options.overwrite, record.existing([kernel]))
    picture = files.read(Path(image))
    tasks.check_light(picture, linear)
    from pnpkit.restoration.simulate import simulate

    blurred = simulate(picture.pixels, kernel, noise_level, boundary=boundary, seed=options.seed, linear=linear)
    files.write(target, with_pixels(picture, blurred), options.overwrite)
    if not options.quiet:
        say(f"{image}: blurred by {kernel} ({boundary} boundary), noise {noise_level:g} -> {target}")
        say_notes(picture.notes)
    return 0


program.add_command(estimate_kernel)
program.add_command(psf)


@program.command(cls=Grouped, example="pnpkit denoisers")
@click.option("--json", "as_json", is_flag=True, help="Print the cards as JSON.")
def denoisers(as_json: bool) -> int:
    """List the denoisers. Each line says what is proven."""
    from pnpkit import registry

    cards = registry.denoisers()
    if as_json:
        click.echo(json.dumps({name: card.to_json() for name, card in cards.items()}, indent=1))
        return 0
    names, kinds = max(map(len, cards)), max(len(card.architecture) for card in cards.values())
    for name, card in cards.items():
        claim = card.certificate.claim
        claim += "" if card.certificate.nonexpansive else f": {card.certificate.method}"
        low, high = (round(255 * level) for level in card.sigma_range)
        click.echo(f"{name:{names}s} {card.architecture:{kinds}s} sigma {low}..{high}/255  {claim}")
    return 0


@program.command(cls=Grouped, example="pnpkit certify euler")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print the certificate as JSON.")
def certify(name: str, as_json: bool) -> int:
    """Derive the proof of a denoiser again. It is derived from the weights alone."""
    from pnpkit import registry

    certificate = registry.certify(name)
    click.echo(json.dumps(certificate.to_json(), indent=1) if as_json else str(certificate))
    return 0


@program.command(cls=Grouped, example="pnpkit audit euler --rounds 4")
@click.argument("name")
@flag("--rounds", group="quality", type=Whole(1), default=12, show_default=True, metavar="N",
      help="Length of the search.")  # fmt: skip
@flag("--seed", group="expert", type=Whole(0), default=0, show_default=True, metavar="N",
      help="Seed of the search.")  # fmt: skip
def audit(name: str, rounds: int, seed: int) -> int:
    """Search for counterexamples. The exit code is 1 if a pair of pictures is found that the certificate excludes."""
    from pnpkit.laws.denoisers import audit_denoiser

    falsified = False
    for level, found in audit_denoiser(name, rounds=rounds, seed=seed):
        falsified |= found.falsified
        say(f"sigma {255 * level:.0f}/255\n{found}")
    return SOME_FAILED if falsified else 0


program.add_command(train)


class Stopped(BaseException):
    """A signal asked the process to end: files that are half written are removed on the way out."""

    def __init__(self, number: int):
        super().__init__(number)
        self.number = number


def stop(number: int, frame: object) -> None:
    """The handler of such a signal."""
    raise Stopped(number)


def main() -> None:
    """Entry point: one line per error, exit 2 for bad input or usage, 1 for any other error."""
    for name in ("SIGTERM", "SIGHUP"):  # SIGHUP is ignored under nohup, and unknown to Windows
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, stop)
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # what is wrong with a file is said once, as an error
    with warnings.catch_warnings():
        warnings.simplefilter("once", InexactWarning)
        usual = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
            if category is InexactWarning:
                say(f"pnpkit: warning: {' '.join(str(message).split())}", error=True)
            else:
                usual(message, category, *place, **more)

        warnings.showwarning = show
        code = run()
    sys.exit(code if isinstance(code, int) else 0)


def run() -> Any:
    """The program and its exit code."""
    try:
        return program.main(standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        return BAD_INPUT
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "pnpkit"
        say(f"{command}: {sentence(error)} (see {command} --help)", error=True)
        return BAD_INPUT
    except (click.Abort, KeyboardInterrupt, Stopped) as error:
        say("pnpkit: stopped; nothing is half written", error=True)
        return 128 + (error.number if isinstance(error, Stopped) else signal.SIGINT)
    except Exception as error:
        if os.environ.get("PNPKIT_DEBUG"):
            raise
        say(f"pnpkit: {sentence(error)}", error=True)
        return BAD_INPUT if isinstance(error, (OSError, click.ClickException, PnpError)) else SOME_FAILED


if __name__ == "__main__":
    main()
