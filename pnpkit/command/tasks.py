"""The restoring commands as values: what each is asked for beyond the settings, and the function that it calls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from pnpkit.errors import InputError
from pnpkit.restoration.defaults import limits_of
from pnpkit.restoration.settings import ITERATING, Settings, settings_of

if TYPE_CHECKING:
    from pnpkit.images.picture import Picture
    from pnpkit.restoration.result import Restoration
    from pnpkit.solvers.result import Step


class Task(Protocol):
    """A restoring command.

    Attributes:
        name: of the command and of its function. word: what is added to the name of an input for that of its result.
        factor: the result is so many times as large as the input. mask: the picture of what is missing, where there is
            one.
    """

    name: ClassVar[str]
    word: ClassVar[str]

    @property
    def factor(self) -> int: ...

    @property
    def mask(self) -> str | None: ...

    @property
    def reads(self) -> tuple[str, ...]:
        """Files that are read beside the inputs."""

    def check(self, settings: Settings) -> None:
        """Refuse what no picture could be restored with, beyond what ``checks.open_tools`` refuses."""

    def restore(self, picture: Picture, settings: Settings, callback: Callable[[Step], None]) -> Restoration:
        """Call the function of the command."""


@dataclass(frozen=True)
class Deblur:
    """Remove the blur of this kernel."""

    kernel: str
    boundary: str
    name: ClassVar[str] = "deblur"
    word: ClassVar[str] = "deblurred"
    factor: ClassVar[int] = 1
    mask: ClassVar[str | None] = None

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.kernel,)

    def check(self, settings: Settings) -> None:
        from pnpkit.restoration import deblur

        deblur.check_blur(self.kernel, self.boundary)

    def restore(self, picture: Picture, settings: Settings, callback: Callable[[Step], None]) -> Restoration:
        from pnpkit.restoration import deblur

        more = keywords(self.name, picture, settings, callback)
        return deblur.deblur(picture.pixels, self.kernel, boundary=self.boundary, **more)


@dataclass(frozen=True)
class Denoise:
    """Apply the denoiser once."""

    name: ClassVar[str] = "denoise"
    word: ClassVar[str] = "denoised"
    factor: ClassVar[int] = 1
    mask: ClassVar[str | None] = None
    reads: ClassVar[tuple[str, ...]] = ()

    def check(self, settings: Settings) -> None:
        from pnpkit.restoration import denoise

        denoise.check_denoising(settings)

    def restore(self, picture: Picture, settings: Settings, callback: Callable[[Step], None]) -> Restoration:
        from pnpkit.restoration import denoise

        return denoise.denoise(picture.pixels, **keywords(self.name, picture, settings, callback))


@dataclass(frozen=True)
class Inpaint:
    """Fill in what the mask, a file, marks."""

    mask: str
    name: ClassVar[str] = "inpaint"
    word: ClassVar[str] = "inpainted"
    factor: ClassVar[int] = 1

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.mask,)

    def check(self, settings: Settings) -> None:
        from pnpkit.command.masks import read_mask

        read_mask(self.mask)

    def restore(self, picture: Picture, settings: Settings, callback: Callable[[Step], None]) -> Restoration:
        from pnpkit.restoration import inpaint

        assert picture.holes is not None  # by the mask that was read with it
        more = keywords(self.name, picture, settings, callback)
        return inpaint.inpaint(picture.pixels, picture.holes, **more)


@dataclass(frozen=True)
class Upscale:
    """Enlarge by a factor."""

    factor: int
    name: ClassVar[str] = "upscale"
    word: ClassVar[str] = "upscaled"
    mask: ClassVar[str | None] = None
    reads: ClassVar[tuple[str, ...]] = ()

    def check(self, settings: Settings) -> None:
        """The command line has checked the factor."""

    def restore(self, picture: Picture, settings: Settings, callback: Callable[[Step], None]) -> Restoration:
        from pnpkit.restoration import upscale

        more = keywords(self.name, picture, settings, callback)
        return upscale.upscale(picture.pixels, self.factor, **more)


def keywords(task: str, picture: Picture, settings: Settings, callback: Callable[[Step], None]) -> dict[str, Any]:
    """The keywords of a task's function: the settings, and what the file tells of itself."""
    check_light(picture, settings.linear)
    chosen = {entry.name: getattr(settings, entry.name) for entry in settings_of(task)}
    chosen |= {"compression": picture.compression, "limits": limits_of(picture)}
    return chosen | {"callback": callback} if task in ITERATING else chosen


def check_light(picture: Picture, linear: bool) -> None:
    """Raise where linear light is asked for, and the file's values are not on a scale of the sRGB curve."""
    if linear and (picture.low, picture.high) not in ((0.0, 1.0), (0.0, 255.0), (0.0, 65535.0)):
        came = f"values from {picture.low:.6g} to {picture.high:.6g}"
        raise InputError(f"--linear undoes the sRGB curve of values on the 0..1 scale, got {came}: leave it out")
