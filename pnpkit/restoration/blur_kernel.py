"""The blur kernel of ``deblur``: given, read from a file, or estimated, and how far to trust it."""

from __future__ import annotations

import os

import numpy as np
from torch import Tensor

from pnpkit import kernels
from pnpkit.blind import choose
from pnpkit.blind.parametric import KernelEstimate
from pnpkit.images import pixels
from pnpkit.restoration.defaults import DOUBTFUL
from pnpkit.restoration.picture import opened
from pnpkit.restoration.settings import Settings


def open_kernel(
    kernel: str | os.PathLike[str] | np.ndarray | Tensor, y: Tensor, noise: float
) -> tuple[np.ndarray, str, KernelEstimate | None]:
    """The kernel (h, w), a sentence on where it comes from, and the estimate where it was estimated, else None."""
    kernel = os.fspath(kernel) if isinstance(kernel, os.PathLike) else kernel
    if isinstance(kernel, str) and kernel == "auto":
        estimate = choose.likeliest_kernel(pixels.from_tensor(y[:1].cpu().double()), noise)
        return estimate.kernel, describe(estimate), estimate
    if isinstance(kernel, str):
        weights, made = kernels.parse(kernel), kernels.estimated(kernel)
        if made is None:
            return weights, given(kernel, weights), None
        estimate = KernelEstimate(weights, *made, candidates=())
        return weights, f"{kernel}: {describe(estimate, 'a picture')}", estimate
    array = kernel.detach().cpu().double().numpy() if isinstance(kernel, Tensor) else np.asarray(kernel)
    weights = kernels.normalise(array)
    return weights, given(f"{'x'.join(map(str, array.shape))} array", weights), None


def given(name: str, kernel: np.ndarray) -> str:
    """A sentence on a kernel that was given, with what may be wrong with it."""
    doubt = "" if name.partition(":")[0] in kernels.FAMILIES else kernels.doubts(kernel)
    return f"given: {name}" + (f"; {doubt}" if doubt else "")


def estimate_kernel(
    image: np.ndarray,
    noise_level: float | None = None,
    *,
    compression: float = 0.0,
    limits: tuple[float, float] | None = None,
    linear: bool = False,
) -> KernelEstimate:
    """The kernel that ``deblur`` with ``kernel="auto"`` takes for this picture; arguments as there."""
    settings = Settings("identity", noise_level=noise_level, compression=compression, limits=limits, linear=linear)
    work = opened(image, settings)
    return choose.likeliest_kernel(pixels.from_tensor(work.y[:1].cpu().double()), work.noise)


def trustworthy(estimate: KernelEstimate) -> bool:
    """Whether a restoration with this kernel may guide a second one: no free form, and no doubtful estimate."""
    return estimate.spec != "free-form" and estimate.confidence >= DOUBTFUL


def describe(estimate: KernelEstimate, source: str = "the picture") -> str:
    """A sentence on a kernel that was estimated from ``source``: its form, the confidence, and any doubt."""
    size = "x".join(map(str, estimate.kernel.shape))
    form = f"a free form ({size})" if estimate.spec == "free-form" else estimate.spec
    note = f"ESTIMATED from {source} as {form} (confidence {estimate.confidence:.2f}), not measured"
    if estimate.spec == "sharp" and len(estimate.candidates) == 1:
        return note + "; it is too small or too flat to tell a blur, so only noise is removed: give `kernel`"
    if estimate.spec == "sharp":
        return note + "; no blur explains the picture better than none, so only noise is removed"
    if estimate.confidence < DOUBTFUL:
        note += "; that is doubtful: give `kernel` if you know the blur"
    return note
