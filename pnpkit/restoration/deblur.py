"""Deblur: from a blurred picture and its kernel, given or estimated, to a sharp one."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
import torch.nn.functional as F
from deepinv.physics import LinearPhysics
from scipy import fft
from torch import Tensor

from pnpkit import kernels
from pnpkit.blind import latent
from pnpkit.errors import InputError, UnknownName
from pnpkit.kernels import Kernel
from pnpkit.kernels.narrowed import narrowed
from pnpkit.operators.blur import BOUNDARIES, blur
from pnpkit.restoration import kept
from pnpkit.restoration.batches import one_by_one
from pnpkit.restoration.blur_kernel import FREE_FORM, Given, open_kernel, trustworthy
from pnpkit.restoration.containers import as_it_came
from pnpkit.restoration.defaults import (
    DIM,
    FREE_FORM_ERROR,
    FREE_FORM_STRENGTH,
    KERNEL_ERROR,
    POINT,
    POINT_MISFIT,
    POINTS_STAY,
    SMALL,
    STARRY,
)
from pnpkit.restoration.guide import around, open_guide
from pnpkit.restoration.lamps import are_dim, are_lamps, with_edges
from pnpkit.restoration.picture import Opened, nearest_known, opened
from pnpkit.restoration.pipeline import box, restore
from pnpkit.restoration.points import are_points, floor_of
from pnpkit.restoration.problem import Problem, crop
from pnpkit.restoration.result import Restoration
from pnpkit.restoration.settings import Settings, SettingsKeywords, collect
from pnpkit.restoration.unknown import without_unknown
from pnpkit.restoration.volumes import deblur_stack, is_stack
from pnpkit.solvers.splittings import CONTINUATION, FORWARD_BACKWARD

if TYPE_CHECKING:
    from typing_extensions import Unpack

LEAST_WEIGHT = 2e-3  # least weight of the sparse gradients in the first guess


LARGEST_GUESS = 4_000_000  # pixels: above, the first guess would take longer than it saves


SLOWLY = "quick: with unknown, clipped or unevenly noisy pixels the half for the data is iterated, which takes longer"


QUICKLY = "quick: beyond the frame the scene is taken to go on smoothly and then to repeat"


@as_it_came
def deblur(
    image: np.ndarray | Tensor,
    kernel: Given | Sequence[Given] = "auto",
    *,
    boundary: str = "unknown",
    mask: np.ndarray | Tensor | None = None,
    weights: np.ndarray | Tensor | None = None,
    guide: np.ndarray | Tensor | None = None,
    axes: str | None = None,
    directions: str = "auto",
    **settings: Unpack[SettingsKeywords],
) -> Restoration:
    """Remove a blur: a fixed point of T = proj ∘ D_s ∘ prox_{t f} ∘ D_s' ∘ prox_{t' f}, f = 1/2 ||K x - y||^2.

    Args:
        image: ndarray (H, W) or (H, W, 3), uint8, uint16 or floats; a float tensor (B, C, H, W); or a Pillow image.
        kernel: a word or a file (see ``kernels.parse``), an array (h, w), what ``estimate_kernel`` found, or ``auto``.
            ``auto`` estimates no blur, a Gaussian, a motion, a disk or a free form; the certificate is then that of the
            estimated kernel. ``gaussian``, ``motion``, ``disk`` and ``free`` find a blur of that form. If the kernel
            has slices, (d, h, w), the image is a volume (D, H, W). A list has one kernel for each channel.
        mask: (H, W), true or not 0 where a pixel is unknown. Such a pixel has weight 0 in f, and so has NaN.
        weights: how much each reading counts, (H, W) or of the shape of the image: inverse variances, or what
            ``weights_are`` says; 0 and NaN are unknown. For a stack: of its shape, or of that of its last axes.
        boundary: what is known of the scene around the frame: ``unknown`` (photographs), ``circular`` or ``zero``.
        guide: a picture of the same size and units, made in any way, that guides the denoiser; see
            ``restoration.guide``. Then only the second pass of a guided denoiser is made, with its proof.
        axes: names of the axes of a stack, letters of TCZYX. Times and channels are restored one by one: as volumes if
            the kernel has slices, else slice by slice.
        directions: how a volume is denoised: slices, three (directions, and their mean), or auto.
        settings: see ``Settings``.

    Raises:
        InputError: anything that cannot be used, in one sentence.
        TypeError: a keyword that is no setting.

    Example:
        >>> import numpy as np
        >>> import pnpkit as pk
        >>> blurred = np.random.default_rng(0).random((24, 24))
        >>> result = pk.deblur(blurred, "box:3", denoiser="wavelet", noise_level=0.05, max_steps=3)
        >>> result.image.shape, bool(result.guarantee)
        ((24, 24), True)
    """
    chosen = collect(deblur, settings)
    check_boundary(boundary)
    if is_stack(image, kernel, axes):
        if mask is not None:
            raise InputError("a mask is for one picture: of a stack make what is unknown NaN")
        if weights is None and chosen.weights_are != "auto":
            raise InputError("weights_are says what `weights` are: give weights, or leave it out")
        if guide is not None:
            raise InputError("a guide is for one picture: leave it out")
        one = functools.partial(deblur_picture, mask=None, guide=None, chosen=chosen)
        return deblur_stack(image, kernel, axes, boundary, directions, chosen, one, weights)
    if directions != "auto":
        raise InputError("directions are for volumes, whose kernel has slices: leave them out")
    if isinstance(kernel, (list, tuple)):
        raise InputError("expected one kernel for a picture, got a list: name the `axes` of a stack")
    return deblur_picture(image, cast(Given, kernel), boundary, mask, weights=weights, guide=guide, chosen=chosen)


@one_by_one
def deblur_picture(
    image: np.ndarray | Tensor,
    kernel: Given,
    boundary: str,
    mask: np.ndarray | Tensor | None,
    weights: np.ndarray | Tensor | None,
    guide: np.ndarray | Tensor | None,
    chosen: Settings,
) -> Restoration:
    """``deblur`` of pictures."""
    if chosen.quick and (mask is not None or weights is not None):
        came = "weights" if weights is not None else "a mask, or pixels that the file hides"
        raise InputError(f"`quick` needs pixels that are all known and count the same, got {came}: leave out `quick`")
    image, holes, worth = without_unknown(image, mask, weights, chosen)
    opening = functools.partial(opened, image, holes=holes, blurred=True, weights=worth)
    work, blurring = with_kernel(kernel, chosen, opening)
    y, stars = work.y, work.scale.points
    rest, wide = leaving_points(blurring, chosen.resolution, work.scale.points)
    taps, free = rest.weights, blurring.form == FREE_FORM
    operator = blur(taps, boundary, (y.shape[-2], y.shape[-1]), dtype=y.dtype, device=y.device)
    error = error_of(free)
    if chosen.saturation == "auto":
        anew = functools.partial(opening, points=stars)
        work = with_lamps_judged(work, operator, error, holes, chosen, anew)
        y = work.y
    above = work.readings.above
    alike = work.readings.known is None and above is None  # the readings count the same
    if chosen.quick and boundary == "unknown" and alike and taps.size > 1:
        return restore(quick_problem(work, blurring, taps, wide, error_of(free)), work)
    given = None if guide is None else open_guide(guide, work, y.shape[-2:])
    guess = first_iterate(work, operator, taps, boundary, given)

    def shown(x: Tensor) -> Tensor:
        return crop(x, y)

    def picture(x: Tensor) -> np.ndarray | Tensor:
        return work.back(shown(x))

    blurred = taps.size > 1  # without a blur only noise is removed
    floor = None
    if blurred and work.scale.points:
        floor = extend(floor_of(y, blurring.weights), operator).clamp(max=box(work.settings)[1])
    problem = Problem(
        operator,
        y,
        guess,
        picture,
        work.noise,
        note="; ".join(filter(None, (wide, SLOWLY if chosen.quick and not alike else ""))),
        kernel=blurring,
        splitting=CONTINUATION if blurred else FORWARD_BACKWARD,
        kernel_error=error,
        least=FREE_FORM_STRENGTH if free else 0.0,
        passes=2 if blurred and trustworthy(blurring) and not work.scale.points else 1,  # a guide costs stars light
        guide=given,
        plain=extend(y, operator),
        boxed=blurred and work.scale.points,
        floor=floor,
        stronger=STARRY if blurred and work.scale.points else 1.0,
        shown=shown if guess.shape != y.shape and y.shape[-2] * y.shape[-1] > SMALL else None,
    )
    return restore(problem, work)


def with_kernel(kernel: Given, chosen: Settings, opening: Callable[..., Opened]) -> tuple[Opened, Kernel]:
    """The picture, opened, and its kernel. A field of points whose bright places are wider is taken for a photograph.

    Args:
        opening: opens the picture, (settings, points=), see ``opened``.

    Raises:
        InputError: a kernel with slices; and what ``opened`` and ``open_kernel`` refuse.
    """
    work = opening(chosen)
    found = kernel_for(kernel, work, chosen)
    if found.weights.ndim == 3:
        raise InputError("a kernel with slices is for a volume (D, H, W), got a picture: name the `axes` of a stack")
    if work.scale.points and not are_points(work.y, found.weights, work.readings.unsure):
        work = opening(chosen, points=False)
        if kernels.is_estimated(kernel):  # the light of stars was trusted less
            found = kernel_for(kernel, work, chosen)
    return work, found


def with_lamps_judged(
    work: Opened,
    operator: LinearPhysics,
    error: float,
    holes: np.ndarray | None,
    chosen: Settings,
    anew: Callable[..., Opened],
) -> Opened:
    """The picture, opened anew where its saturated pixels are no lamps, or dim ones; see ``restoration.lamps``.

    Args:
        work: the picture, its saturated pixels taken for lamps. operator: its blur. error: the level of the noise that
            an inexact kernel acts like. holes: (H, W), true where a pixel is unknown, or None.
        chosen: the settings of the task. anew: opens the picture, (settings, lamps=), see ``opened``.
    """
    y, above = work.y, work.readings.above
    if above is None:
        return work
    bottom, _ = box(work.settings)
    level, start = math.hypot(work.noise, error), extend(y, operator)
    whole = with_edges(y, above, holes)
    if not are_lamps(operator, y, whole, start, bottom, level):
        return anew(replace(chosen, saturation="off"))
    return anew(chosen, lamps=DIM) if are_dim(operator, y, whole, start, bottom, level) else work


def leaving_points(kernel: Kernel, resolution: float | None, points: bool) -> tuple[Kernel, str]:
    """The kernel that is left to undo where points stay ``resolution`` pixels wide, and a sentence on that.

    None is ``POINT`` for a field of points, if the kernel is a blur of such points nearly enough, else 0.
    """
    width = (POINT if points else 0.0) if resolution is None else float(resolution)
    if width == 0 or kernel.weights.size == 1:
        return kernel, ""
    rest, misfit = narrowed(kernel.weights, width)
    if resolution is None and misfit > POINT_MISFIT:
        return kernel, ""
    off = f"; no rest of the kernel does so nearer than {misfit:.0%}" if misfit > POINT_MISFIT else ""
    return replace(kernel, weights=rest), f"{POINTS_STAY} {width:g} pixels wide{off}"


def error_of(free: bool) -> float:
    """The level of the noise that an inexact kernel acts like."""
    return FREE_FORM_ERROR if free else KERNEL_ERROR


def quick_problem(work: Opened, blurring: Kernel, taps: np.ndarray, wide: str, error: float) -> Problem:
    """The problem of a quick run, which undoes ``taps``: the frame is continued into a period, in which the proximal
    map of the data is one division of spectra, and the start is the picture as it came."""
    note = "; ".join(filter(None, (wide, QUICKLY, SLOWLY if work.readings.weighted else "")))
    y, reach = work.y, max(taps.shape) // 2
    period = repeating(repeating(y, 2 * reach + 2).mT, 2 * reach + 2).mT.contiguous()
    size = (period.shape[-2], period.shape[-1])
    operator = blur(taps, "circular", size, dtype=y.dtype, device=y.device)

    def picture(x: Tensor) -> np.ndarray | Tensor:
        return work.back(crop(x, y))

    return Problem(
        operator, period, period, picture, work.noise, note, blurring, CONTINUATION, kernel_error=error, passes=1
    )


def repeating(y: Tensor, least: int) -> Tensor:
    """y with at least ``least`` further columns, half of them on each side, which lead straight from its last column
    around to its first."""
    columns = y.shape[-1]
    more = fft.next_fast_len(columns + least, real=True) - columns
    weight = torch.linspace(0, 1, more + 2, dtype=y.dtype, device=y.device)[1:-1]
    bridge = (1 - weight) * y[..., -1:] + weight * y[..., :1]
    return torch.cat([bridge[..., more - more // 2 :], y, bridge[..., : more - more // 2]], -1)


def kernel_for(kernel: Given, work: Opened, chosen: Settings) -> Kernel:
    """The kernel of the picture; an estimate comes from the cache where it is there, and is kept there else."""
    if not kernels.is_estimated(kernel):
        return open_kernel(kernel, work.y, work.noise, work.told)
    noise, trust = work.readings.mean_level(work.y), work.readings.trust(work.y[:1])
    if chosen.cache is None:
        return open_kernel(kernel, work.y, noise, work.told, trust)
    told = None if trust is None else torch.from_numpy(trust)
    path = kept.place(chosen.cache, kept.key_of(work.y, noise, kernel, told), "kernel")
    known = kept.kept_kernel(path)
    if known is None:
        known = open_kernel(kernel, work.y, noise, work.told, trust)
        kept.keep_kernel(path, known)
    return known


def check_blur(kernel: str, boundary: str) -> None:
    """Raise unless ``kernel`` is to be estimated or can be made or read, and ``boundary`` is one of BOUNDARIES."""
    if not kernels.is_estimated(kernel):
        kernels.parse(kernel)
    check_boundary(boundary)


def check_boundary(boundary: str) -> None:
    """Raise unless ``boundary`` is one of BOUNDARIES."""
    if boundary not in BOUNDARIES:
        raise UnknownName("boundary", str(boundary), BOUNDARIES)


def first_iterate(
    work: Opened, operator: LinearPhysics, taps: np.ndarray, boundary: str, guide: Tensor | None
) -> Tensor:
    """The scene that the run starts from: the guide if there is one, a rough deconvolution, or the picture."""
    y, above = work.y, work.readings.above
    if guide is not None:
        rows, columns = operator.A_adjoint(y[:1]).shape[-2:]
        return around(guide, rows, columns)
    if above is not None:  # from below, light gathers where the readings ask for it, and lamps do not begin too wide
        return extend(nearest_known(y, above.any(1)[0]), operator)
    return first_guess(y, taps, work.noise) if boundary == "unknown" else extend(y, operator)


def extend(y: Tensor, operator: LinearPhysics) -> Tensor:
    """The scene of y, whose border pixels are repeated outwards where the scene is larger than the frame."""
    scene = operator.A_adjoint(y[:1]).shape
    rows, columns = scene[-2] - y.shape[-2], scene[-1] - y.shape[-1]
    pad = (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2)
    return F.pad(y, pad, mode="replicate")


def first_guess(y: Tensor, kernel: np.ndarray, noise_level: float) -> Tensor:
    """A rough deconvolution with sparse gradients, in the scene around a frame of boundary ``unknown``.

    The proof holds from any start. From this one the first iterates are better by one or two dB, and wide blurs take
    fewer steps. Pictures of more than LARGEST_GUESS pixels start from themselves.
    """
    reach = [size // 2 for size in kernel.shape]
    if kernel.size == 1 or y.shape[-2] * y.shape[-1] > LARGEST_GUESS:
        return F.pad(y, (reach[1], reach[1], reach[0], reach[0]), mode="replicate")
    weight = max(LEAST_WEIGHT, 100 * noise_level**2)
    index = np.ix_(*(np.arange(-r, n + r) for r, n in zip(reach, y.shape[-2:], strict=True)))
    planes = y.detach().cpu().numpy().reshape(-1, *y.shape[-2:])
    guesses = [latent.sparse_gradients(latent.periodic(p, 2 * max(reach) + 3), kernel, weight)[index] for p in planes]
    return torch.from_numpy(np.stack(guesses)).to(y).view(*y.shape[:2], *guesses[0].shape)
