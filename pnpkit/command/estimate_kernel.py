"""The command ``pnpkit estimate-kernel``: the blur of a photograph, as a kernel in a file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pnpkit.command import record, tasks
from pnpkit.command.masks import read_mask
from pnpkit.command.messages import say, say_notes
from pnpkit.command.options import MASK, WHITE, WRITING, Grouped, flag, options_from, setting_flags, together
from pnpkit.command.places import check_name, gone_if_empty, make_folder
from pnpkit.errors import InputError
from pnpkit.images import address
from pnpkit.machine.files import check_name as check_writable
from pnpkit.restoration.settings import Settings

if TYPE_CHECKING:
    from pnpkit.blind.parametric import KernelEstimate

READINGS = ("noise", "gain", "offset", "read_noise", "saturation")  # the settings that speak of single readings


@click.command("estimate-kernel", cls=Grouped, example="pnpkit estimate-kernel photo.png -o kernel.png")
@click.argument("image")
@flag("--kernel", group="blur", default="auto", show_default=True, metavar="FORM",
      help="The form of the blur, if you know it: gaussian, motion, disk or free; auto: find it.")  # fmt: skip
@setting_flags("deblur", "noise_level", "linear", *READINGS)
@MASK
@WHITE
@together(*WRITING)
def estimate_kernel(
    image: str,
    kernel: str,
    noise_level: float | None,
    linear: bool,
    mask: str | None,
    white: float | None,
    **given: Any,
) -> int:
    """Estimate the blur of a photograph. The kernel goes to NAME-kernel.png: none, Gaussian, motion, disk or free."""
    from pnpkit import kernels
    from pnpkit.images import files
    from pnpkit.restoration import blur_kernel
    from pnpkit.restoration.scale import limits_of

    readings = {name: given.pop(name) for name in READINGS}
    settings = Settings("identity", noise_level=noise_level, linear=linear, **readings)
    options = options_from(given)
    click.get_current_context().with_resource(gone_if_empty(options.out))
    make_folder(options.out, several=False)
    target = kernel_place(image, options.out, options.overwrite, mask)
    picture = files.read(Path(image), None if mask is None else read_mask(mask), white=white, unknown=True)
    tasks.check_light(picture, linear)
    tasks.check_noise_level(picture, noise_level)
    about = readings | tasks.in_pixels(picture, settings)
    about |= {"compression": picture.compression, "limits": limits_of(picture), "linear": linear}
    estimate = blur_kernel.estimate_kernel(picture.pixels, noise_level, kernel, mask=tasks.unknown(picture), **about)
    kernels.save(target, estimate.kernel, (estimate.spec, estimate.confidence), options.overwrite)
    if not options.quiet:
        report(image, target, estimate)
        say_notes(picture.notes)
    return 0


def report(image: str, target: Path, estimate: KernelEstimate) -> None:
    """Say what was found, what a file of this kind does not keep of it, and how much likelier it is than the rest."""
    from pnpkit.restoration import blur_kernel

    found = blur_kernel.kernel_of(estimate)
    say(f"{image} -> {target}: {found}")
    if target.suffix.lower() == ".npy" and not blur_kernel.trustworthy(found):
        say("a .npy keeps nothing of this doubt, and deblur would take it for a measured kernel: write a .png")
    rivals = ", ".join(f"{spec} {score:+.1f}" for spec, score in estimate.candidates)
    say(f"log posterior relative to the likeliest: {rivals}")


def kernel_place(image: str, out: str | None, overwrite: bool, mask: str | None = None) -> Path:
    """The file for the kernel: ``out``, in that folder, or beside the image, as NAME-kernel.png.

    Raises:
        InputError: a kind of file that holds no kernel, or a place that must not be written to.
    """
    from pnpkit import kernels
    from pnpkit.images.files import check_input

    check_name(image, "the input")
    check_input(image)
    source = Path(image)
    beside = source.with_name(f"{source.stem}-kernel.png")
    target = beside if out is None else Path(out) / beside.name if Path(out).is_dir() else Path(out)
    if target.suffix.lower() not in kernels.SAVE_SUFFIXES:
        raise InputError(f"a kernel is written as {' or '.join(kernels.SAVE_SUFFIXES)}, got '{target}'")
    if not target.parent.is_dir():
        raise InputError(f"the folder of {target} does not exist")
    if not os.access(target.parent, os.W_OK):
        raise InputError(f"{target}: expected a folder that may be written to, {target.parent} may not: choose another")
    check_writable(target)
    read = [source, *map(address.file_of, record.existing([mask]))]
    if target.exists() and (not overwrite or any(map(target.samefile, read))):
        raise InputError(f"{target}: exists already: choose another name, or --overwrite what is not the input")
    return target
