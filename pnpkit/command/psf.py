"""The command `pnpkit psf`: point-spread functions computed, or measured from beads and stars."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from pnpkit.command.messages import say, say_notes
from pnpkit.command.options import OVERWRITE, QUIET, Grouped, Whole, flag, together
from pnpkit.errors import InputError

if TYPE_CHECKING:
    from pnpkit.images.stacks import Stack
    from pnpkit.psf.spread import Spread

Command = TypeVar("Command", bound=Callable[..., Any])

OUT = flag("-o", "--output", "out", group="output", required=True, metavar="OUT",
           help="File to write: .tif, .fits or .npy; also .png if there are no slices.")  # fmt: skip
PICTURE = flag("--picture", group="output", metavar="PNG", help="Also write a picture of it, with a scale bar.")
WRITING = (OUT, PICTURE, OVERWRITE, QUIET)
CENTRE = flag("--centre", group="quality", default="peak", show_default=True, metavar="peak|centroid",
              help="Which point becomes the middle.")  # fmt: skip
SIZE = flag("--size", group="quality", type=Whole(3, 501), help="Width in pixels; default: what holds its light.")
ABOVE = click.FloatRange(min=0, min_open=True)
ABOVE.name = "number"


@click.group()
def psf() -> None:
    """Compute or measure a point-spread function. From optics, formulas, beads or stars."""


FWHM = 2.3548200450309493  # of a Gaussian, in standard deviations: sqrt(8 log 2)
FIRST_DARK_RING = 1.21967  # radius in units of wavelength times f-number: first zero of the Bessel function J_1 over pi


def sampling(read: Stack, pixel: float | None, z_step: float | None) -> dict[str, float]:
    """The distances of samples by axis: as the flags say, µm, else as the file does."""
    return {**read.steps, **({"Y": pixel, "X": pixel} if pixel else {}), **({"Z": z_step} if z_step else {})}


def finish(spread: Spread, out: str, picture: str | None, overwrite: bool, quiet: bool, source: str = "") -> int:
    """Write a point-spread function and its picture, and say what it is.

    Args:
        out: the file. picture: the file of its picture, or None. source: the file that it comes from, or nothing.
    """
    from pnpkit.images import address
    from pnpkit.psf import files

    for place in filter(None, (out, picture)):
        if source and Path(place).exists() and Path(place).samefile(address.file_of(source)):
            raise InputError(f"{place}: the output is the input: choose another name, inputs stay untouched")
    files.save(out, spread, overwrite)
    if picture:
        files.picture(picture, spread, overwrite)
    if not quiet:
        say(f"{out}: {spread.describe()}")
        say_notes(spread.notes)
    return 0


@psf.command(cls=Grouped, example="pnpkit psf optics --na 1.4 --wavelength 520 --index 1.515 --pixel 0.1 --z-step 0.3 "
             "-o psf.tif")  # fmt: skip
@flag("--na", group="input", type=ABOVE, required=True, help="Numerical aperture.")
@flag("--wavelength", group="input", type=ABOVE, required=True, help="Wavelength of the emission, nm.")
@flag("--index", group="input", type=ABOVE, required=True, help="Refractive index of the immersion.")
@flag("--pixel", group="input", type=ABOVE, required=True, help="Pixel size, µm in the sample.")
@flag("--z-step", group="input", type=ABOVE, help="Distance between slices, µm; without it, only the plane in focus.")
@flag(
    "--sample-index",
    group="input",
    type=ABOVE,
    help="Refractive index of the mounting medium; default: that of the immersion.",
)
@flag("--depth", group="input", type=click.FloatRange(min=0), default=0.0, metavar="NUMBER", show_default=True,
      help="Depth of the point below the cover glass, µm.")  # fmt: skip
@flag("--excitation", group="input", type=ABOVE, help="For a confocal microscope: wavelength of the excitation, nm.")
@flag(
    "--pinhole",
    group="input",
    type=ABOVE,
    default=1.0,
    show_default=True,
    help="For a confocal microscope: pinhole, Airy units.",
)
@flag("--model", group="quality", default="vectorial", show_default=True, metavar="scalar|vectorial",
      help="scalar: Gibson and Lanni; vectorial: Aguet et al.")  # fmt: skip
@SIZE
@flag("--planes", group="quality", type=Whole(1, 501), help="Number of slices; default: what holds its light.")
@together(*WRITING)
def optics(out: str, picture: str | None, overwrite: bool, quiet: bool, **given: Any) -> int:
    """Compute it for a microscope, from its optics."""
    from pnpkit.psf.optics import optics as compute

    return finish(compute(**given), out, picture, overwrite, quiet)


def analytic(word: str, out: str, picture: str | None, overwrite: bool, quiet: bool) -> int:
    """A kernel that a word names, as a point-spread function."""
    from pnpkit import kernels
    from pnpkit.psf.spread import Spread

    return finish(Spread(kernels.parse(word), (1.0, 1.0), notes=(word,)), out, picture, overwrite, quiet)


@psf.command(cls=Grouped, example="pnpkit psf gaussian --fwhm 2.5 -o psf.fits")
@flag("--fwhm", group="input", type=ABOVE, required=True, help="Full width at half the maximum, pixels.")
@together(*WRITING)
def gaussian(fwhm: float, **given: Any) -> int:
    """Compute a Gaussian."""
    return analytic(f"gaussian:{fwhm / FWHM!r}", **given)


@psf.command(cls=Grouped, example="pnpkit psf moffat --fwhm 2.8 --beta 3.5 -o psf.tif")
@flag("--fwhm", group="input", type=ABOVE, required=True, help="Full width at half the maximum, pixels.")
@flag("--beta", group="input", type=ABOVE, required=True, help="Above 1; 2.5 to 4.5 for seeing.")
@together(*WRITING)
def moffat(fwhm: float, beta: float, **given: Any) -> int:
    """Compute it for a star blurred by seeing (Moffat 1969)."""
    return analytic(f"moffat:{fwhm!r},{beta!r}", **given)


@psf.command(cls=Grouped, example="pnpkit psf airy --wavelength 550 --f-number 8 --pixel 3.76 -o psf.tif")
@flag(
    "--radius",
    group="input",
    type=ABOVE,
    help="Radius of the first dark ring, pixels; or give the three options below.",
)
@flag("--wavelength", group="input", type=ABOVE, help="Wavelength, nm.")
@flag("--f-number", group="input", type=ABOVE, help="Focal length divided by aperture.")
@flag("--pixel", group="input", type=ABOVE, help="Pixel size of the sensor, µm.")
@together(*WRITING)
def airy(radius: float | None, wavelength: float | None, f_number: float | None, pixel: float | None,
         **given: Any) -> int:  # fmt: skip
    """Compute it for an ideal round aperture in focus."""
    if radius is None:
        if wavelength is None or f_number is None or pixel is None:
            raise InputError("expected --radius, or --wavelength, --f-number and --pixel together")
        radius = FIRST_DARK_RING * wavelength / 1000 * f_number / pixel
    return analytic(f"airy:{radius!r}", **given)


@psf.command(cls=Grouped, example="pnpkit psf beads beads.tif -o psf.tif --picture psf.png")
@click.argument("stack")
@flag("--pixel", group="input", type=ABOVE, help="Pixel size, µm; default: as the file says.")
@flag("--z-step", group="input", type=ABOVE, help="Distance between slices, µm; default: as the file says.")
@flag("--axes", group="input", default="", metavar="AXES", help="Axes of the file, such as ZYX; default: as it says.")
@SIZE
@flag("--planes", group="quality", type=Whole(3, 501), help="Number of slices; default: three widths to either side.")
@together(*WRITING)
def beads(stack: str, pixel: float | None, z_step: float | None, axes: str, size: int | None, planes: int | None,
          **given: Any) -> int:  # fmt: skip
    """Measure it for a microscope, from beads. STACK shows beads that are smaller than the microscope resolves."""
    from pnpkit.images import stacks
    from pnpkit.psf import beads as found

    read = stacks.read(stack, axes=axes)
    data = read.samples.squeeze()
    steps = sampling(read, pixel, z_step)
    names = "ZYX"[-data.ndim :]
    known = data.ndim <= 3 and all(axis in steps for axis in names)
    if bool(size) != bool(planes) and data.ndim == 3:
        raise InputError("expected --size and --planes together, or neither")
    wanted = () if size is None else (planes or 1, size, size)[-data.ndim :]
    spread = found.beads(data, tuple(steps[axis] for axis in names) if known else (), read.unit or "µm", wanted)
    return finish(spread, source=stack, **given)


@psf.command(cls=Grouped, example="pnpkit psf stars field.fits -o psf.fits --picture psf.png")
@click.argument("field")
@flag(
    "--ceiling",
    group="input",
    type=float,
    help="Value at which a pixel saturates; default: 98 % of the largest, if several pixels reach the largest.",
)
@flag("--fwhm", group="quality", type=ABOVE, help="First guess of a star's width, pixels; default: found.")
@SIZE
@together(*WRITING)
def stars(field: str, ceiling: float | None, fwhm: float | None, size: int | None, **given: Any) -> int:
    """Measure it for a telescope, from stars. FIELD is a picture in which some stars stand alone."""
    import numpy as np

    from pnpkit.images import files
    from pnpkit.psf import stars as found

    values = np.asarray(files.decode(field)[0].samples, dtype=np.float64)
    return finish(found.stars(values, size, ceiling, fwhm), source=field, **given)


@psf.command(cls=Grouped, example="pnpkit psf measured bead.tif --centre centroid -o psf.tif")
@click.argument("source")
@flag("--background", group="input", type=float, help="Background to subtract; default: the median of the rim.")
@CENTRE
@flag("--pixel", group="input", type=ABOVE, help="Pixel size, µm; default: as the file says.")
@flag("--z-step", group="input", type=ABOVE, help="Distance between slices, µm; default: as the file says.")
@flag("--to-pixel", group="quality", type=ABOVE, help="Resample to this pixel size, µm.")
@flag("--to-z-step", group="quality", type=ABOVE, help="Resample to this distance between slices, µm.")
@together(*WRITING)
def measured(source: str, background: float | None, centre: str, pixel: float | None, z_step: float | None,
             to_pixel: float | None, to_z_step: float | None, **given: Any) -> int:  # fmt: skip
    """Clean one that you measured. It is centred, its background is subtracted, and it is resampled if asked."""
    from pnpkit.images import stacks
    from pnpkit.psf import spread as spreads

    read = stacks.read(source)
    values, notes = spreads.cleaned(read.samples, centre, background)
    names = "ZYX"[-values.ndim :]
    steps = sampling(read, pixel, z_step)
    known = all(axis in steps for axis in names)
    own = tuple(steps[axis] for axis in names) if known else (1.0,) * values.ndim
    made = spreads.Spread(values, own, (read.unit or "µm") if known else "px", tuple(notes))
    if to_pixel or to_z_step:
        if not known:
            raise InputError(f"{source}: to resample it its own sampling is needed: give --pixel and --z-step")
        wanted = {"Z": to_z_step or steps.get("Z"), "Y": to_pixel or steps["Y"], "X": to_pixel or steps["X"]}
        made = spreads.resampled(made, tuple(float(wanted[axis] or 1.0) for axis in names))
    return finish(made, source=source, **given)
