"""What the panels do, without napari and without Qt: arrays in, arrays out, with progress and a way to stop."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from pnpkit.errors import InputError

Told = Callable[[str, float], None]  # what is being done, and which share of it is done; below 0 where nobody knows


SOURCES = ("blur of the picture", "beads", "stars")  # that a point-spread function is estimated from


class Cancelled(Exception):
    """The work was told to stop."""


@dataclass(frozen=True, eq=False)
class Pixels:
    """The pixels of a layer.

    Attributes:
        values: one axis for each of the layer, colours last where it is ``rgb``. name: of the layer.
        scale: distance of two samples along each axis but that of colours. unit: of these, "" where it is not known.
    """

    values: np.ndarray
    name: str = ""
    scale: tuple[float, ...] = ()
    unit: str = ""
    rgb: bool = False

    def axes(self, given: str = "") -> str | None:
        """Names of the axes: as given, else None for a picture, and ZYX, CZYX or TCZYX for more axes."""
        if given.strip():
            return given.strip()
        return None if self.rgb or self.values.ndim == 2 else {3: "ZYX", 4: "CZYX"}.get(self.values.ndim, "TCZYX")


class Progress:
    """Hears of the phases and steps of a run, tells of them, and ends the run when it is cancelled."""

    def __init__(self, told: Told, cancelled: Callable[[], bool]):
        self.told, self.cancelled, self.first, self.piece = told, cancelled, 0.0, ""

    def check(self) -> None:
        """Raise ``Cancelled`` if the work is to stop."""
        if self.cancelled():
            raise Cancelled

    def named(self, piece: str) -> None:
        """The volume or slice that is next."""
        self.check()
        self.piece = f"{piece}: " if piece else ""
        self.told(f"{self.piece}begins", -1.0)

    def entered(self, phase: Any) -> None:
        """A phase begins."""
        self.check()
        self.told(f"{self.piece}{phase}", -1.0)

    def stepped(self, step: Any) -> None:
        """A step was made: the share done is that of the way of the residual to its tolerance, in digits."""
        self.check()
        residual = max(step.residual)
        if step.number == 1 or residual > self.first:
            self.first = residual
        share = -1.0
        if 0 < step.tol < self.first and residual > 0:
            share = min(1.0, math.log(self.first / residual) / math.log(self.first / step.tol))
        self.told(f"{self.piece}step {step.number}", share)


def restored(
    task: str, pixels: Pixels, settings: dict[str, Any], told: Told, cancelled: Callable[[], bool]
) -> tuple[np.ndarray, str]:
    """The result of ``deblur`` or ``denoise``, and what is to be said of it.

    Args:
        settings: keywords of the task, ``axes`` and, to deblur, ``kernel``.

    Raises:
        Cancelled: it was told to stop. InputError: what the task refuses.
    """
    from pnpkit.restoration.deblur import deblur
    from pnpkit.restoration.denoise import denoise
    from pnpkit.restoration.volumes import telling

    progress = Progress(told, cancelled)
    chosen = {**settings, "axes": pixels.axes(settings.get("axes", "")), "progress": progress.entered}
    with telling(progress.named):
        if task == "denoise":
            run = denoise(pixels.values, **chosen)
        else:
            run = deblur(pixels.values, chosen.pop("kernel"), callback=progress.stepped, **chosen)
    progress.check()
    ended = run.status.value.split(":")[0]
    how = f"; {run.kernel_note}" if run.kernel_note else ""
    proven = "proven" if run.guarantee else "nothing is guaranteed"
    return np.asarray(run.image), f"{ended}, noise level {run.noise_level:.4g}{how}; {proven}"


def kernel_from(words: str, layer: Pixels | None) -> str | np.ndarray:
    """The kernel of a layer, else the words.

    Raises:
        InputError: neither, or colours.
    """
    if layer is None:
        if not words.strip():
            raise InputError("expected the layer of a point-spread function, or a kernel such as gaussian:1.5 or auto")
        return words.strip()
    if layer.rgb or layer.values.ndim not in (2, 3):
        raise InputError(f"a point-spread function has the axes ZYX or YX, the layer {layer.name} has others")
    return layer.values


def estimated(source: str, pixels: Pixels) -> tuple[np.ndarray, str]:
    """A point-spread function from a layer, and what is to be said of it.

    Raises:
        InputError: another source, or what the library refuses.
    """
    if source not in SOURCES:
        raise InputError(f"a point-spread function comes from {', '.join(SOURCES)}, got '{source}'")
    if source == "beads":
        from pnpkit.psf.beads import beads

        spread = beads(pixels.values, pixels.scale, pixels.unit or "px")
        return spread.values, "; ".join((spread.describe(), *spread.notes))
    if pixels.values.ndim - pixels.rgb != 2:
        raise InputError(f"{source} are looked for in one picture, {pixels.name} has more axes: take beads")
    if source == "stars":
        from pnpkit.psf.stars import stars

        spread = stars(pixels.values)
        return spread.values, "; ".join((spread.describe(), *spread.notes))
    from pnpkit.restoration import blur_kernel

    found = blur_kernel.kernel_of(blur_kernel.estimate_kernel(pixels.values))
    return found.weights, str(found)
