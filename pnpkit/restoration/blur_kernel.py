"""The blur kernel of ``deblur``: given, read from a file, or estimated, and how far to trust it."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from pnpkit import kernels
from pnpkit.blind import choose
from pnpkit.blind.parametric import KernelEstimate
from pnpkit.errors import InputError
from pnpkit.images import pixels
from pnpkit.kernels import Kernel
from pnpkit.machine.phases import Listener, nobody
from pnpkit.restoration.defaults import DOUBTFUL
from pnpkit.restoration.picture import opened
from pnpkit.restoration.settings import ReadingKeywords, Settings
from pnpkit.restoration.unknown import without_unknown

if TYPE_CHECKING:
    from typing_extensions import Unpack

FREE_FORM = "free-form"  # the form of an estimate that is none of the families


Given = str | os.PathLike[str] | np.ndarray | Tensor | Kernel | KernelEstimate  # what stands for a kernel


def open_kernel(
    kernel: Given, y: Tensor, noise: float, told: Listener = nobody, trust: np.ndarray | None = None
) -> Kernel:
    """The kernel of a picture: given, or estimated from it for ``auto`` and the names of forms.

    Args:
        kernel: a word, a file, an array, or what ``estimate_kernel`` found. A file that holds an estimate is no
            measured kernel, and the result says so.
        y: (1, C, H, W), the picture. noise: its noise level. trust: in its pixels, (H, W), see ``blind.trust``.
        told: hears of the phases.

    Raises:
        InputError: a kernel that is none.
    """
    word = os.fspath(kernel) if isinstance(kernel, (str, os.PathLike)) else None
    if word is not None and kernels.is_estimated(word):
        picture = pixels.from_tensor(y[:1].cpu().double())
        return kernel_of(choose.estimate(picture, noise, word, told, trust))
    return given_kernel(kernel)


def given_kernel(kernel: Given) -> Kernel:
    """A kernel that is given and not to be estimated, (h, w) or (d, h, w).

    A file may hold an earlier estimate: the kernel then keeps the form and the confidence that were found.

    Raises:
        InputError: a kernel that is none, or one that is to be estimated.
    """
    kernel = os.fspath(kernel) if isinstance(kernel, os.PathLike) else kernel
    if isinstance(kernel, Kernel):
        return kernel
    if isinstance(kernel, KernelEstimate):
        return kernel_of(kernel)
    if isinstance(kernel, str):
        if kernels.is_estimated(kernel):
            raise InputError(
                "the kernel of a stack is not estimated: give `kernel`, such as psf.tif of pnpkit psf, or gaussian:1.6"
            )
        found, made = kernels.parse(kernel), kernels.estimated(kernel)
        if made is None:
            return given(kernel, found)
        estimate = kernel_of(KernelEstimate(found, *made, candidates=()), "a picture")
        return replace(estimate, origin=f"{kernel}: {estimate.origin}")
    array = kernel.detach().cpu().double().numpy() if isinstance(kernel, Tensor) else np.asarray(kernel)
    return given(f"{'x'.join(map(str, array.shape))} array", kernels.normalise(array))


def given(name: str, weights: np.ndarray) -> Kernel:
    """The kernel with these weights, which ``name`` names; of files and arrays with what may be wrong with them."""
    doubt = "" if name.partition(":")[0] in kernels.FAMILIES else kernels.doubts(weights)
    return Kernel(weights, f"given: {name}", doubts=(doubt,) if doubt else ())


def estimate_kernel(
    image: np.ndarray,
    noise_level: float | None = None,
    kernel: str = "auto",
    *,
    mask: np.ndarray | Tensor | None = None,
    weights: np.ndarray | Tensor | None = None,
    **settings: Unpack[ReadingKeywords],
) -> KernelEstimate:
    """The kernel that ``deblur`` with ``kernel="auto"`` takes for this picture.

    Unknown pixels (``mask``, NaN) and saturated ones are left out. If the noise is that of counts, it weighs the edges.

    Args:
        kernel: auto, or the form, if it is known: gaussian, motion, disk or free.
        mask, weights: as of ``deblur``.
        settings: as of ``deblur``: compression, limits, linear, noise, gain, offset, read_noise, saturation,
            weights_are.

    Raises:
        InputError: another form; and what ``deblur`` refuses.
    """
    chosen = Settings("identity", noise_level=noise_level, **settings)
    known, holes, worth = without_unknown(image, mask, weights, chosen)
    work = opened(known, chosen, holes, blurred=True, weights=worth)
    y, readings = work.y[:1], work.readings
    picture = pixels.from_tensor(y.cpu().double())
    return choose.estimate(picture, readings.mean_level(y), kernel, trust=readings.trust(y))


def trustworthy(kernel: Kernel) -> bool:
    """Whether a restoration with this kernel may guide a second pass: it is no free form and no doubtful estimate."""
    return kernel.confidence is None or (kernel.form != FREE_FORM and kernel.confidence >= DOUBTFUL)


def kernel_of(estimate: KernelEstimate, source: str = "the picture") -> Kernel:
    """The ``Kernel`` of an estimate from ``source``: its weights, and in words its form, confidence and doubts."""
    size = "x".join(map(str, estimate.kernel.shape))
    form = f"a free form ({size})" if estimate.spec == FREE_FORM else estimate.spec
    origin = f"ESTIMATED from {source} as {form} (confidence {estimate.confidence:.2f}), not measured"
    doubts: tuple[str, ...] = ()
    if estimate.spec == "sharp" and len(estimate.candidates) == 1:
        doubts = ("it is too small or too flat to tell a blur, so only noise is removed: give `kernel`",)
    elif estimate.spec == "sharp":
        origin += "; no blur explains the picture better than none, so only noise is removed"
    elif estimate.confidence < DOUBTFUL:
        doubts = ("that is doubtful: give `kernel` if you know the blur",)
    rival = None if estimate.rival is None else kernel_of(estimate.rival, source)
    return Kernel(estimate.kernel, origin, estimate.confidence, estimate.spec, doubts, rival)
