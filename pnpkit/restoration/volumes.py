"""Volumes and stacks: three-dimensional deblurring, and times, channels and slices one by one."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pnpkit import kernels
from pnpkit.errors import InputError
from pnpkit.images.pixels import TYPES, largest_of, quantised
from pnpkit.images.stacks import AXES, check_axes
from pnpkit.kernels import Kernel
from pnpkit.machine.memory import choose_device
from pnpkit.machine.phases import nobody
from pnpkit.networks.volumes import Volumetric
from pnpkit.noise.models import Mapped
from pnpkit.operators.volume import VolumeBlur
from pnpkit.restoration.blocks import blocks_for
from pnpkit.restoration.blur_kernel import Given, given_kernel
from pnpkit.restoration.checks import open_tools
from pnpkit.restoration.defaults import DIRECTIONS, KERNEL_ERROR
from pnpkit.restoration.kept_blocks import blocks_of
from pnpkit.restoration.picture import Opened, on_scale
from pnpkit.restoration.pipeline import restore
from pnpkit.restoration.problem import Problem
from pnpkit.restoration.readings import Readings
from pnpkit.restoration.result import Restoration, worst_of
from pnpkit.restoration.rough import brightest, richardson_lucy
from pnpkit.restoration.settings import Settings
from pnpkit.restoration.streamed import check_streamed, restore_streamed
from pnpkit.restoration.survey import Survey, both, surveyed, values_of
from pnpkit.restoration.weighing import Weights, weights_of
from pnpkit.solvers.splittings import HALF_QUADRATIC

WORDS = {"slices": "denoised slice by slice", "three": "denoised in slices of three directions"}


LOOKED_AT = 5_000_000  # voxels: of a larger volume some slices are looked at for noise and scale


CUT = 0.1  # of a point-spread function that may be cut off so that it fits into the volume


@dataclass(frozen=True)
class Piece:
    """One volume or picture of a stack: ``index`` picks it, ``name`` says which, "time 2, channel 1" for instance."""

    index: tuple[int, ...]
    name: str


# Who hears which piece of a stack begins.
LISTENER: ContextVar[Callable[[str], None]] = ContextVar("pieces of a stack", default=lambda _: None)


@contextmanager
def telling(told: Callable[[str], None]) -> Iterator[None]:
    """``told`` is called with the name of each piece of a stack before it is restored."""
    token = LISTENER.set(told)
    try:
        yield
    finally:
        LISTENER.reset(token)


def each_slice(stack: np.ndarray, axes: str, one_picture: Callable[[np.ndarray], Restoration]) -> Restoration:
    """Restore every slice of a stack by ``one_picture``.

    Raises:
        InputError: axes that do not fit.
    """
    started, runs, out = time.perf_counter(), [], np.empty_like(stack)
    letters = check_axes(axes, stack.ndim)
    for piece in pieces(stack.shape, letters, "YX"):
        LISTENER.get()(piece.name)
        runs.append(one_picture(stack[piece.index]))
        out[piece.index] = np.asarray(runs[-1].image)
    seconds, notes = time.perf_counter() - started, (f"slice by slice ({len(runs)} of them)",)
    return replace(worst_of(runs), image=out, seconds=seconds, each=tuple(runs), notes=notes, axes=letters)


def is_stack(image: object, kernel: Any, axes: str | None) -> bool:
    """Whether an image is a stack: axes are named, the kernel has slices, or each channel has its own kernel."""
    several = isinstance(kernel, (list, tuple)) and len(kernel) > 0
    if axes is not None or several:
        return True
    if getattr(image, "ndim", 0) != 3:
        return False
    if isinstance(kernel, Kernel):
        return kernel.weights.ndim == 3
    if isinstance(kernel, (np.ndarray, Tensor)):
        return kernel.ndim == 3 and 1 not in (kernel.shape[0], kernel.shape[2])
    coloured = tuple(image.shape[2:]) == (3,)  # type: ignore[attr-defined]
    named = isinstance(kernel, (str, os.PathLike)) and not kernels.is_estimated(kernel)
    return named and not coloured and given_kernel(kernel).weights.ndim == 3


def deblur_stack(
    stack: np.ndarray | Tensor,
    kernel: Given | Sequence[Given],
    axes: str | None,
    boundary: str,
    directions: str,
    settings: Settings,
    one_picture: Callable[..., Restoration],
    weights: np.ndarray | Tensor | None = None,
) -> Restoration:
    """Deblur every volume of a stack by its point-spread function, or every slice by a kernel.

    Args:
        stack: one axis for each letter of ``axes``; (D, H, W) is ZYX.
        kernel: one, or one for each channel; with slices (d, h, w) it deblurs volumes, else slices.
        directions: of the denoiser in volumes, a key of ``networks.volumes.DIRECTIONS`` or auto.
        one_picture: ``deblur`` of one slice, (image, kernel, boundary, weights=) -> Restoration.
        weights: what the readings are worth, of the shape of the stack or of its last axes.

    Raises:
        InputError: axes that do not fit, a number of kernels that does not, a kernel larger than the volume.
    """
    started = time.perf_counter()
    array = stack.detach().cpu().numpy() if isinstance(stack, Tensor) else np.asarray(stack)
    letters = check_axes(axes or "ZYX", array.ndim)
    opened = [given_kernel(one) for one in listed(kernel)]
    channels = array.shape[letters.index("C")] if "C" in letters else 1
    if len(opened) not in (1, channels):
        raise InputError(f"expected one kernel, or one for each of {channels} channels, got {len(opened)}")
    deep = {one.weights.ndim for one in opened}
    if len(deep) > 1:
        raise InputError("expected kernels of one kind, got some with slices and some without")
    volumes = deep == {3}
    if volumes and "Z" not in letters:
        raise InputError(f"a point-spread function with slices needs an axis Z, got {letters}: name the axes")
    worth = None if weights is None else worth_of(weights, array.shape)
    runs, out = [], np.empty_like(array)
    for piece in pieces(array.shape, letters, "ZYX" if volumes else "YX"):
        LISTENER.get()(piece.name)
        channel = piece.index[letters.index("C")] if "C" in letters else 0
        chosen = opened[channel if len(opened) > 1 else 0]
        part, map = array[piece.index], None if worth is None else worth[piece.index]
        if volumes:
            known = None if map is None else weights_of(map[None, None], settings)
            run = deblur_volume(part, chosen, boundary, directions, settings, weights=known)
        else:
            run = one_picture(part, chosen, boundary, weights=map)
        out[piece.index] = np.asarray(run.image)
        runs.append(run)
    image = torch.from_numpy(out).to(stack) if isinstance(stack, Tensor) else out
    own = "each channel by a kernel of its own" if len(opened) > 1 else ""
    how = "" if volumes else f"slice by slice, as the kernel has no slices ({len(runs)} of them)"
    worst = worst_of(runs)
    many = f"{len(runs)} volumes" if volumes and len(runs) > 1 else ""
    seconds = time.perf_counter() - started
    each = tuple(runs) if len(runs) > 1 else ()
    return replace(worst, image=image, seconds=seconds, each=each, notes=(*worst.notes, own, how, many), axes=letters)


def worth_of(weights: np.ndarray | Tensor, shape: tuple[int, ...]) -> np.ndarray:
    """The weights of a stack of that shape, repeated along the axes that they lack: those of a camera are (Y, X).

    Raises:
        InputError: another size.
    """
    values = weights.detach().cpu().numpy() if isinstance(weights, Tensor) else np.asarray(weights)
    if values.ndim < 2 or values.shape != shape[len(shape) - values.ndim :]:
        came, wanted = (" x ".join(map(str, sizes)) for sizes in (values.shape, shape))
        raise InputError(f"the weights are {came}, the stack {wanted}: expected its shape, or that of its last axes")
    return np.broadcast_to(values, shape)


def listed(kernel: Given | Sequence[Given]) -> list[Given]:
    """The kernels as a list, also where there is one.

    Raises:
        InputError: lists of numbers in a list, which are no kernels.
    """
    if isinstance(kernel, (list, tuple)) and any(isinstance(one, (list, tuple, int, float)) for one in kernel):
        raise InputError("a list holds one kernel for each channel of a stack, got numbers: make an array of them")
    return list(kernel) if isinstance(kernel, (list, tuple)) else [cast(Given, kernel)]


def pieces(shape: tuple[int, ...], axes: str, inner: str) -> list[Piece]:
    """The pieces of an array with axes: its parts that have the axes ``inner`` alone.

    Raises:
        InputError: the axes do not end with ``inner``.
    """
    outer = axes[: len(axes) - len(inner)]
    if axes[len(outer) :] != inner:
        raise InputError(f"expected the axes {inner} last, got {axes}: transpose the array")
    words = dict(zip(AXES, ("time", "channel", "slice", "row", "column"), strict=True))
    sizes = shape[: len(outer)]
    return [
        Piece(index, ", ".join(f"{words[axis]} {i + 1} of {n}" for axis, i, n in zip(outer, index, sizes, strict=True)))
        for index in np.ndindex(*sizes)
    ]


def deblur_volume(
    volume: np.ndarray,
    kernel: Kernel,
    boundary: str,
    directions: str,
    settings: Settings,
    weights: Weights | None = None,
) -> Restoration:
    """A fixed point of T = proj ∘ D_s ∘ prox_{t (f + box)} on one volume, D slice by slice or in three directions, f as
    for pictures with a three-dimensional K. ``weights`` are what its readings are worth, (1, 1, D, H, W).

    Raises:
        InputError: a kernel larger than the volume, or anything else that cannot be used.
    """
    check_volume(volume, settings)
    how = DIRECTIONS if directions == "auto" else directions
    taps, cut = within_frame(kernel.weights, volume.shape)
    reach = tuple(side // 2 for side in taps.shape)
    sides = blocks_for(volume.shape, reach, settings.max_memory, volume.itemsize)
    if sides is not None:
        check_streamed(settings, boundary, open_tools(settings)[0])
        return blockwise(volume, kernel, (taps, cut), how, sides, settings, weights)
    working = torch.float64 if settings.precision == "float64" else torch.float32
    device = choose_device(settings.device)
    operator = VolumeBlur(taps, boundary, volume.shape, dtype=working, device=device)
    opened, guess, found = open_volume(volume, operator, how, settings, weights)

    def picture(x: Tensor) -> np.ndarray | Tensor:
        return opened.back(operator.framed(x))

    note = "; ".join(filter(None, (cut, WORDS[how])))
    room = [(scene - frame) // 2 for scene, frame in zip(operator.scene, operator.frame, strict=True)]
    margins = [m for side in reversed(room) for m in (side, side)]
    problem = Problem(
        operator,
        opened.y,
        guess,
        picture,
        opened.noise,
        note,
        replace(kernel, weights=taps),
        HALF_QUADRATIC,
        KERNEL_ERROR / found.times,  # a share of what was read, which is lower than what is looked for
        plain=F.pad(opened.y, margins, mode="replicate"),
        boxed=True,
    )
    return restore(problem, opened)


def blockwise(
    volume: np.ndarray,
    kernel: Kernel,
    fitted: tuple[np.ndarray, str],
    directions: str,
    sides: tuple[int, ...],
    settings: Settings,
    worth: Weights | None,
) -> Restoration:
    """``deblur_volume`` with all arrays in files; ``fitted`` is the kernel as ``within_frame`` gives it."""
    taps, cut = fitted
    found, notes = survey_of(volume, settings, worth), (cut, WORDS[directions])
    told = (directions, *([] if worth is None else [worth.inverse, worth.relative]))
    with blocks_of(volume, kernel, sides, told, settings) as folder:
        return restore_streamed(
            volume, kernel, taps, notes, directions, sides, settings, found, worth, folder, LISTENER.get()
        )


def survey_of(volume: np.ndarray, settings: Settings, weights: Weights | None) -> Survey:
    """Noise and scale of a volume (``surveyed``), of a large one from some of its slices."""
    some = slice(None, None, max(1, math.ceil(volume.size / LOOKED_AT)))
    part = volume if some.step == 1 else np.ascontiguousarray(volume[some])
    return surveyed(part, settings, part_of(weights, (some,)))


def within_frame(kernel: np.ndarray, frame: tuple[int, ...]) -> tuple[np.ndarray, str]:
    """The kernel, cut on both sides where it is larger than the frame, and a sentence on that.

    Raises:
        InputError: more than ``CUT`` of it would go.
    """
    if all(taps <= side for taps, side in zip(kernel.shape, frame, strict=True)):
        return kernel, ""
    reach = [min(taps // 2, (side - 1) // 2) for taps, side in zip(kernel.shape, frame, strict=True)]
    cut = kernel[tuple(slice(n // 2 - r, n // 2 + r + 1) for n, r in zip(kernel.shape, reach, strict=True))]
    lost = 1 - float(cut.sum())
    sizes = ["x".join(map(str, shape)) for shape in (kernel.shape, frame, cut.shape)]
    if lost > CUT:
        raise InputError(
            f"the point-spread function ({sizes[0]}) is larger than the volume ({sizes[1]}), "
            f"and {lost:.0%} of it would be cut off: make it smaller "
            "(pnpkit psf takes the number of planes and the size), or give a larger volume"
        )
    return kernels.normalise(cut), f"cut from {sizes[0]} to {sizes[2]}, {lost:.1%} of it, as the volume is smaller"


def part_of(weights: Weights | None, place: tuple[slice, ...]) -> Weights | None:
    """The weights of a part of a volume."""
    return None if weights is None else replace(weights, inverse=weights.inverse[0, 0][place][None, None])


def open_volume(
    volume: np.ndarray,
    operator: VolumeBlur,
    directions: str,
    settings: Settings,
    weights: Weights | None = None,
) -> tuple[Opened, Tensor, Survey]:
    """The volume (1, 1, D, H, W) with the tools of the settings, a first iterate, and what the scale was taken from.

    In three dimensions a blur lowers thin structures ten to thirty times. So the volume is restored on the scale of a
    rough deconvolution: else the denoisers see most of it far above 1, where they know nothing, and flatten it. NaN is
    unknown.

    Raises:
        InputError: a type or numbers that cannot be worked with.
    """
    started = time.perf_counter()
    iteration, network = open_tools(settings)
    dtype = volume.dtype
    high = largest_of(dtype)
    y, known = values_of(volume)
    known = known if weights is None else both(known, weights.inverse > 0)
    found = survey_of(volume, settings, weights)
    device = operator.filter.device
    known = None if known is None else known.to(device)
    rough = richardson_lucy(operator, found.scale.inward(y).to(operator.filter), known)
    times = max(1.0, brightest(operator.framed(rough)))
    found = replace(found, scale=replace(found.scale, span=found.scale.span * times), times=times)
    scale = found.scale
    model = found.model if weights is None else Mapped((found.share / weights.inverse).to(device))
    readings = Readings(model, found.level, found.note, known, None)

    def back(z: Tensor) -> np.ndarray | Tensor:
        return quantised(scale.outward(z)[0, 0].cpu().numpy(), dtype, 0.0, high)

    opened = Opened(
        y=scale.inward(y).to(operator.filter),
        back=back,
        readings=readings.scaled(scale.offset, scale.span),
        settings=on_scale(settings, scale, network),
        scale=scale,
        unit=high,
        iteration=iteration,
        network=Volumetric(network, directions),
        started=started,
        told=settings.progress or nobody,
    )
    return opened, rough / found.times, found


def check_volume(volume: np.ndarray, settings: Settings) -> None:
    """Raise InputError for a type, numbers or settings that no volume can be restored with."""
    if settings.linear:
        raise InputError("linear light undoes the curve of photographs, which a volume does not have: leave it out")
    if not isinstance(settings.saturation, str):
        raise InputError("saturation is for pictures: of a volume make what saturates NaN, which is unknown")
    if volume.dtype.name not in TYPES:
        raise InputError(f"expected a volume of {', '.join(TYPES)}, got {volume.dtype}: convert it")
    endless = int(np.isinf(volume).sum()) if volume.dtype.kind == "f" else 0
    if endless or not volume.size or (volume.dtype.kind == "f" and np.isnan(volume).all()):
        raise InputError(f"expected a volume with numbers in it, got {endless} inf among {volume.size}, the others NaN")
