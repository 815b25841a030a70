"""The part of a picture that --region and --preview restore: a rectangle with what surrounds it, and a reduction.

A preview of a large picture shows its most telling part, as it is: made smaller, it would show no blur of a few pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import click

from pnpkit.command.forecast import forecast
from pnpkit.command.progress import roughly
from pnpkit.command.tasks import Deblur, Task
from pnpkit.errors import InputError
from pnpkit.restoration.defaults import DENOISERS
from pnpkit.restoration.settings import Settings

if TYPE_CHECKING:
    import numpy as np

    from pnpkit.images.picture import Picture
    from pnpkit.kernels import Kernel


HALO = 48  # pixels around a region that are restored with it: blur and denoiser reach beyond its edge


TELLING = 256  # pixels: least side of the part that is restored where the blur is to be estimated from it


SMALL = 60_000  # pixels of a preview at most


NARROW = 32  # pixels: a strip that is less wide has no part that tells more than the others


MOST = 2  # reduction at most: further on, a blur of a few pixels is no longer seen


SHOWN, AROUND = 240, 24  # pixels: side of the telling part that is shown instead, and what is restored around it


ROUGHLY = 2e-3  # relative residual that a preview ends at


FAST = "euler-fast"  # denoiser of a preview, where none is named


@dataclass(frozen=True)
class Region:
    """A rectangle: its left upper corner, x to the right and y down, and its width and height, in pixels."""

    x: int
    y: int
    width: int
    height: int

    def __str__(self) -> str:
        return f"{self.x},{self.y},{self.width},{self.height}"


class RegionType(click.ParamType):
    """X,Y,W,H."""

    name = "X,Y,W,H"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Region:
        try:
            x, y, width, height = (int(word) for word in str(value).split(","))
        except ValueError:
            self.fail(f"expected four whole numbers X,Y,W,H in pixels, got '{value}'", param, ctx)
        if min(x, y) < 0 or min(width, height) < 1:
            self.fail(f"expected a corner X,Y >= 0 and a size W,H >= 1, got '{value}'", param, ctx)
        return Region(x, y, width, height)


@dataclass(frozen=True)
class Part:
    """What is taken out of a picture, and what of that is kept.

    Attributes:
        outer: rows and columns that are restored. inner: rows and columns that are kept of the reduced ``outer``.
        factor: that many pixels, across and down, are averaged to one.
        telling: the region, where it was chosen for a preview.
    """

    outer: tuple[slice, slice]
    inner: tuple[slice, slice]
    factor: int = 1
    telling: Region | None = None

    def of(self, picture: Picture) -> Picture:
        """The picture that is restored."""
        taken = {"pixels": reduced(picture.pixels[self.outer], self.factor)}
        for name in ("alpha", "holes"):
            values = getattr(picture, name)
            if values is not None:
                taken[name] = thinned(values[self.outer], self.factor)
        if picture.weights is not None:
            taken["weights"] = pooled(picture.weights[self.outer], self.factor)
        return replace(picture, **taken, compression=picture.compression / self.factor)  # type: ignore[arg-type]

    def kept(self, pixels: np.ndarray, scale: int = 1) -> np.ndarray:
        """The kept part of pixels, which are ``scale`` times as large across and down as those that were restored."""
        rows, columns = (slice(scale * side.start, scale * side.stop) for side in self.inner)
        return pixels[rows, columns]

    def picture(self, picture: Picture) -> Picture:
        """The kept part of the picture that is restored, and where it lies in the whole."""
        more = {name: self.kept(value) for name in ("alpha", "holes") if (value := getattr(picture, name)) is not None}
        top, left = (o.start + self.factor * i.start for o, i in zip(self.outer, self.inner, strict=True))
        return replace(picture, pixels=self.kept(picture.pixels), moved=(1, top, left), **more)  # type: ignore[arg-type]

    def sharp(self, reference: np.ndarray, scale: int = 1) -> np.ndarray:
        """The same part of a reference that is ``scale`` times as large as the picture."""
        rows, columns = (slice(scale * side.start, scale * side.stop) for side in self.outer)
        return self.kept(reduced(reference[rows, columns], self.factor), scale)


def part_for(task: Task, picture: Picture, region: Region | None, preview: bool) -> Part:
    """The part of the picture that the task restores.

    A preview that would have to be smaller than 1 / ``MOST`` shows the most telling part of the picture, or of the
    region. Made smaller are, even so, a picture to be filled in, whose gaps may lie anywhere, and one whose given
    kernel reaches further than ``AROUND``: that shows in fewer pixels, too. So is a narrow strip.

    Raises:
        InputError: a region that goes beyond the picture; a kernel that is none.
    """
    rows, columns = picture.pixels.shape[:2]
    blind = isinstance(task, Deblur) and task.blind
    part = part_of((rows, columns), region, preview, blind)
    within = Region(0, 0, columns, rows) if region is None else region
    narrow = min(within.width, within.height) < NARROW
    if part.factor <= MOST or narrow or task.keeps or (isinstance(task, Deblur) and not blind and far(task.kernel)):
        return part
    chosen = most_telling(picture, within)
    return replace(part_of((rows, columns), chosen, False, blind, AROUND), telling=chosen)


def far(kernel: str) -> bool:
    """Whether the kernel reaches further than ``AROUND``."""
    from pnpkit import kernels

    return max(kernels.parse(kernel).shape) // 2 > AROUND


def most_telling(picture: Picture, region: Region) -> Region:
    """The part of the region, ``SHOWN`` pixels wide and high, with most edges in all directions, away from what is
    clipped or unknown."""
    import numpy as np

    from pnpkit.blind.crops import ENDS, telling

    within = (slice(region.y, region.y + region.height), slice(region.x, region.x + region.width))
    pixels = picture.pixels[within]
    known = np.ones(pixels.shape[:2], bool)
    if picture.holes is not None:
        known &= ~picture.holes[within]
    if picture.alpha is not None:
        known &= picture.alpha[within] > 0
    if picture.weights is not None:
        known &= (picture.weights[within] > 0).reshape(*known.shape, -1).all(-1)
    channels = pixels.reshape(*known.shape, -1)
    known &= np.isfinite(channels).all(-1)
    grey, peak = channels.mean(-1), channels.max(-1)
    if known.any():
        grey = np.where(known, grey, grey[known].mean())
        top, bottom = float(peak[known].max()), float(peak[known].min())
        known &= peak < top - ENDS * (top - bottom)  # single pixels count, too: sparkles
    else:
        grey = np.zeros_like(grey)
    down, right = telling(grey, SHOWN, known)
    size = right.stop - right.start, down.stop - down.start
    return Region(region.x + right.start, region.y + down.start, *size)


def part_of(size: tuple[int, int], region: Region | None, preview: bool, blind: bool, around: int = HALO) -> Part:
    """The part of a picture of so many rows and columns.

    Args:
        blind: the blur is to be estimated, which takes more than a small region.
        around: pixels around a region that are restored with it.

    Raises:
        InputError: a region that goes beyond the picture.
    """
    rows, columns = size
    region = Region(0, 0, columns, rows) if region is None else region
    if region.x + region.width > columns or region.y + region.height > rows:
        raise InputError(f"`region={region}`: expected one inside of the picture, which has {columns} x {rows} pixels")
    factor = 1
    while preview and region.width * region.height > factor**2 * SMALL:
        factor += 1
    outer, inner = [], []
    for start, length, all_of in ((region.y, region.height, rows), (region.x, region.width, columns)):
        halo = max(around, (TELLING - length + 1) // 2) if blind else around
        low = max(0, start - factor * halo)
        low += (start - low) % factor  # the kept pixels begin at a block
        high = min(all_of, start + length + factor * halo)
        outer.append(slice(low, high))
        inner.append(slice((start - low) // factor, (start - low) // factor + max(1, length // factor)))
    return Part((outer[0], outer[1]), (inner[0], inner[1]), factor)


def reduced(pixels: np.ndarray, factor: int) -> np.ndarray:
    """Means over blocks of factor x factor pixels; what is left over at the end is dropped."""
    if factor == 1:
        return pixels
    rows, columns = (size // factor for size in pixels.shape[:2])
    blocks = pixels[: rows * factor, : columns * factor].reshape(rows, factor, columns, factor, *pixels.shape[2:])
    return blocks.mean(axis=(1, 3), dtype="float64").astype(pixels.dtype)


def thinned(values: np.ndarray, factor: int) -> np.ndarray:
    """The largest value of each block: a hole stays a hole."""
    if factor == 1:
        return values
    rows, columns = (size // factor for size in values.shape[:2])
    blocks: np.ndarray = values[: rows * factor, : columns * factor].reshape(rows, factor, columns, factor)
    return blocks.max(axis=(1, 3))


def pooled(weights: np.ndarray, factor: int) -> np.ndarray:
    """The inverse variances of ``reduced`` readings: 0 where a block holds one of which nothing is known."""
    if factor == 1:
        return weights
    known = weights > 0
    variances = reduced((known / (weights + ~known)), factor) / factor**2
    whole = reduced(known.astype("float64"), factor) == 1
    return whole / (variances + ~whole)


def for_preview(task: Task, settings: Settings, factor: int) -> tuple[Task, Settings]:
    """The task and settings of a preview: a larger tolerance, one pass, blur and noise scaled to fewer pixels."""
    denoiser = FAST if settings.denoiser == DENOISERS[task.name] else settings.denoiser
    level = None if settings.noise_level is None else settings.noise_level / factor
    gain = None if settings.gain is None else settings.gain / factor**2  # of means, whose variance is so much smaller
    readout = None if settings.read_noise is None else settings.read_noise / factor
    settings = replace(settings, denoiser=denoiser, tol=max(settings.tol or 0.0, ROUGHLY), noise_level=level)
    settings = replace(settings, gain=gain, read_noise=readout)
    if isinstance(task, Deblur) and not task.blind:
        return replace(task, reduction=factor), settings
    return task, settings


def part_words(part: Part, region: Region | None, preview: bool) -> str:
    """A sentence on what the output holds, where that is not the whole picture at its own size; else nothing."""
    what = "the picture" if region is None else f"the region {region}"
    if part.telling is not None:
        where = f"a telling part of {what} at full size (--region {part.telling})"
        return f"This is a rough preview: {where}, left before, right after."
    if preview:
        size = "" if part.factor == 1 else f" at 1/{part.factor} of its size"
        return f"This is a preview: {what}{size}, restored roughly."
    return "" if region is None else f"Only {what} was restored, and is all that is written."


def is_sharp(blur: Kernel | None) -> bool:
    """Whether a blur was looked for, and none was found."""
    return blur is not None and blur.family == "sharp"


def whole_words(task: Task, settings: Settings, whole: Picture, blur: Kernel | None) -> str:
    """How to restore the whole picture, and the time that this takes where it can be foreseen.

    It cannot where no blur was found in the part: if there is none in the whole either, only noise is removed.

    Args:
        blur: that was found, if it was looked for.
    """
    if is_sharp(blur):
        return "Without --preview all of it is looked at; if no blur is found there either, only noise is removed."
    usual = forecast(task, settings, whole, blur)
    if usual is None:
        return "For all of it leave out --preview."
    return f"All of it takes about {roughly(usual.total)}: leave out --preview."


def beside(came: Picture, restored: Picture) -> Picture:
    """One picture of both: as it came, enlarged to the size of the restored one, and to its right that."""
    import numpy as np

    factor = restored.pixels.shape[0] // came.pixels.shape[0]
    before = came.pixels.repeat(factor, 0).repeat(factor, 1)
    pixels = np.concatenate([before, restored.pixels.astype(before.dtype)], 1)
    return replace(restored, pixels=pixels, holes=None, weights=None)


def overlooked(part: Part, blur: Kernel | None) -> str:
    """What to do where no blur was found in a reduced picture: a narrow one does not show there; else nothing."""
    if part.factor == 1 or not is_sharp(blur):
        return ""
    return f"A blur of less than about {2 * part.factor} pixels does not show at this size: try --region, or all of it."


def eight_bits(picture: Picture) -> Picture:
    """The picture as a PNG holds it that any program shows: 8 bits, without alpha."""
    import numpy as np

    return replace(
        picture, alpha=None, dtype=np.dtype(np.uint8), low=0.0, high=255.0, exif=None, density=None, description=""
    )
