"""The restoring commands as values: what each is asked for beyond the settings, and the function that it calls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from pnpkit.command.weights import check_weights
from pnpkit.errors import InputError
from pnpkit.restoration.settings import ITERATING, POISSON, Settings, check_level, settings_of

if TYPE_CHECKING:
    import numpy as np

    from pnpkit.images.picture import Picture
    from pnpkit.kernels import Kernel
    from pnpkit.restoration.result import Restoration
    from pnpkit.solvers.result import Step


class Task(Protocol):
    """A restoring command.

    Attributes:
        name: of the command and of its function. word: what is added to the name of an input for that of its result.
        factor: the result is so many times as large as the input. mask: the picture of what is unknown, where there is
            one. weights: the map of what every pixel is worth, likewise. keeps: whether all that is outside of the
            mask comes back as it was. guide: the picture that guides the denoiser, where one is given.
    """

    name: ClassVar[str]
    word: ClassVar[str]
    keeps: ClassVar[bool]

    @property
    def factor(self) -> int: ...

    @property
    def mask(self) -> str | None: ...

    @property
    def weights(self) -> str | None: ...

    @property
    def guide(self) -> str | None: ...

    @property
    def reads(self) -> tuple[str, ...]:
        """Files that are read beside the inputs."""

    def check(self, settings: Settings) -> None:
        """Refuse what no picture could be restored with, beyond what ``checks.open_tools`` refuses."""

    def restore(self, picture: Picture, settings: Settings, callback: Callable[[Step], None]) -> Restoration:
        """Call the function of the command."""


@dataclass(frozen=True)
class Deblur:
    """Remove a blur.

    Attributes:
        kernel: the word or file of the kernel. others: those of the further channels of a stack.
        boundary: what lies beyond the frame.
        reduction: the picture was made smaller by this factor, and so is the kernel.
        found: a kernel that was estimated already, in place of one that is to be.
    """

    kernel: str
    boundary: str
    mask: str | None = None
    reduction: int = 1
    guide: str | None = None
    weights: str | None = None
    others: tuple[str, ...] = ()
    found: Kernel | None = None
    name: ClassVar[str] = "deblur"
    word: ClassVar[str] = "deblurred"
    keeps: ClassVar[bool] = False
    factor: ClassVar[int] = 1

    @property
    def reads(self) -> tuple[str, ...]:
        return (*self.kernels, *named_files(self))

    @property
    def kernels(self) -> tuple[str, ...]:
        """All kernels, of the channels in turn."""
        return self.kernel, *self.others

    @property
    def blind(self) -> bool:
        """Whether the kernel is to be estimated."""
        from pnpkit import kernels

        return self.found is None and kernels.is_estimated(self.kernel)

    def check(self, settings: Settings) -> None:
        from pnpkit.restoration import deblur

        for kernel in self.kernels:
            deblur.check_blur(kernel, self.boundary)
        check_files(self, settings)

    def restore(self, picture: Picture, settings: Settings, callback: Callable[[Step], None]) -> Restoration:
        from pnpkit.restoration import deblur

        if self.others:
            raise InputError(f"expected one --kernel for a picture, got {len(self.kernels)}: more are for stacks")
        more = keywords(self.name, picture, settings, callback)
        more |= {"mask": unknown(picture), "weights": picture.weights, "guide": read_guide(self.guide, picture)}
        if self.reduction == 1:
            kernel = self.kernel if self.found is None else self.found
            return deblur.deblur(picture.pixels, kernel, boundary=self.boundary, **more)
        from pnpkit import kernels

        smaller = kernels.reduced(kernels.parse(self.kernel), self.reduction)
        return deblur.deblur(picture.pixels, smaller, boundary=self.boundary, **more)


@dataclass(frozen=True)
class Denoise:
    """Apply the denoiser once."""

    mask: str | None = None
    weights: str | None = None
    name: ClassVar[str] = "denoise"
    word: ClassVar[str] = "denoised"
    guide: ClassVar[str | None] = None
    keeps: ClassVar[bool] = False
    factor: ClassVar[int] = 1

    @property
    def reads(self) -> tuple[str, ...]:
        return named_files(self)

    def check(self, settings: Settings) -> None:
        from pnpkit.restoration import denoise

        denoise.check_denoising(settings)
        check_files(self, settings)

    def restore(self, picture: Picture, settings: Settings, callback: Callable[[Step], None]) -> Restoration:
        from pnpkit.restoration import denoise

        more = keywords(self.name, picture, settings, callback)
        return denoise.denoise(picture.pixels, mask=unknown(picture), weights=picture.weights, **more)


@dataclass(frozen=True)
class Inpaint:
    """Fill in what the mask, a file, marks."""

    mask: str
    guide: str | None = None
    weights: str | None = None
    name: ClassVar[str] = "inpaint"
    word: ClassVar[str] = "inpainted"
    keeps: ClassVar[bool] = True
    factor: ClassVar[int] = 1

    @property
    def reads(self) -> tuple[str, ...]:
        return named_files(self)

    def check(self, settings: Settings) -> None:
        check_files(self, settings)

    def restore(self, picture: Picture, settings: Settings, callback: Callable[[Step], None]) -> Restoration:
        from pnpkit.restoration import inpaint

        assert picture.holes is not None  # by the mask that was read with it
        more = keywords(self.name, picture, settings, callback)
        more |= {"weights": picture.weights, "guide": read_guide(self.guide, picture)}
        return inpaint.inpaint(picture.pixels, picture.holes, **more)


@dataclass(frozen=True)
class Upscale:
    """Enlarge by a factor."""

    factor: int
    mask: str | None = None
    guide: str | None = None
    weights: str | None = None
    name: ClassVar[str] = "upscale"
    word: ClassVar[str] = "upscaled"
    keeps: ClassVar[bool] = False

    @property
    def reads(self) -> tuple[str, ...]:
        return named_files(self)

    def check(self, settings: Settings) -> None:
        """The command line has checked the factor."""
        check_files(self, settings)

    def restore(self, picture: Picture, settings: Settings, callback: Callable[[Step], None]) -> Restoration:
        from pnpkit.restoration import upscale

        more = keywords(self.name, picture, settings, callback)
        more |= {"mask": unknown(picture), "weights": picture.weights, "guide": read_guide(self.guide, picture)}
        return upscale.upscale(picture.pixels, self.factor, **more)


def named_files(task: Task) -> tuple[str, ...]:
    """The names of mask, weights and guide, of those that are given."""
    return tuple(filter(None, (task.mask, task.weights, task.guide)))


def check_files(task: Task, settings: Settings) -> None:
    """Refuse a mask, a map of weights or a guide that cannot be used, whatever the picture."""
    check_mask(task.mask)
    check_weights(task.weights)
    check_guide(task.guide, settings)


def check_guide(name: str | None, settings: Settings) -> None:
    """Refuse a guide for a denoiser that takes none."""
    if name is not None:
        from pnpkit.registry import open_denoiser
        from pnpkit.restoration.guide import check_guided

        check_guided(open_denoiser(settings.denoiser))


def read_guide(name: str | None, picture: Picture) -> np.ndarray | None:
    """The pixels of --guide on the scale of the picture's; None where there is none."""
    if name is None:
        return None
    from pnpkit.command.reference import same_units
    from pnpkit.images import files
    from pnpkit.images.picture import seen

    guide = seen(files.read(name))
    return same_units(guide, picture)(guide.pixels)


def check_mask(mask: str | None) -> None:
    """Refuse a mask that cannot be used, whatever the picture."""
    from pnpkit.command.masks import read_mask

    if mask is not None:
        read_mask(mask)


def unknown(picture: Picture) -> np.ndarray | None:
    """The pixels that a file says nothing of: its mask, NaN, and what alpha hides, unless that is everything."""
    if picture.alpha is None or not picture.alpha.any():
        return picture.holes
    hidden = picture.alpha == 0
    found = hidden if picture.holes is None else hidden | picture.holes
    return found if found.any() else None


def keywords(task: str, picture: Picture, settings: Settings, callback: Callable[[Step], None]) -> dict[str, Any]:
    """The keywords of a task's function: the settings, and what the file tells of itself."""
    check_light(picture, settings.linear)
    check_noise_level(picture, settings.noise_level)
    from pnpkit.restoration.scale import limits_of

    chosen = {entry.name: getattr(settings, entry.name) for entry in settings_of(task)}
    chosen |= {"compression": picture.compression, "limits": limits_of(picture), **in_pixels(picture, settings)}
    if picture.weights is not None:  # which they were turned into when they were read
        chosen["weights_are"] = "relative" if picture.relative else "inverse-variance"
    return chosen | {"callback": callback} if task in ITERATING else chosen


def check_noise_level(picture: Picture, level: float | None) -> None:
    """Raise where a noise level is none of a file of integers, which is read on the 0..1 scale."""
    if picture.dtype.kind == "u" and level is not None:
        check_level("noise level", level)


def check_light(picture: Picture, linear: bool) -> None:
    """Raise where linear light is asked for, and the file's values are not on a scale of the sRGB curve."""
    if linear and (picture.low, picture.high) not in ((0.0, 1.0), (0.0, 255.0), (0.0, 65535.0)):
        came = f"values from {picture.low:.6g} to {picture.high:.6g}"
        raise InputError(f"--linear undoes the sRGB curve of values on the 0..1 scale, got {came}: leave it out")


def in_pixels(picture: Picture, settings: Settings) -> dict[str, Any]:
    """What is given in the units of the file, in those of ``picture.pixels``."""
    span, found = (picture.high - picture.low) or 1.0, {}
    for name in ("gain", "read_noise"):
        value = getattr(settings, name)
        found[name] = None if value is None else value / span
    offset = settings.offset
    if offset is None and (settings.gain is not None or settings.noise == POISSON):
        offset = 0.0  # of the file, which is not where its picture begins
    found["offset"] = None if offset is None else (offset - picture.low) / span
    if not isinstance(settings.saturation, str):
        found["saturation"] = (settings.saturation - picture.low) / span
    return found
