"""A blur larger than those that are tried, looked for in the picture at half of its size.

Large photographs have large blurs: a shake over 60 pixels is wider than every support of ``general.SIZES``, and at
full size the picture may even pass for sharp, since noise and compression fill what the blur took away. In the mean of
2 x 2 pixels the blur has half the size and the noise half the level; a sharp picture is still sharp there.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import ndimage

from pnpkit import kernels
from pnpkit.blind.parametric import KernelEstimate

SMALLEST = 150  # pixels: the shorter side of a picture at half size in which a blur is looked for


WIDE = 33  # pixels: a kernel of that size is among the largest that are tried at one size


def halved(
    image: np.ndarray, noise_level: float, trust: np.ndarray | None
) -> tuple[np.ndarray, float, np.ndarray | None]:
    """The means of 2 x 2 pixels of (H, W) or (H, W, C), the level of their noise, and the least trust in each four. A
    last row or column without a partner is left out."""
    noise, quarters = noise_level / 2, corners(np.asarray(image, dtype=np.float64))
    return np.mean(quarters, 0), noise, None if trust is None else np.min(corners(trust), 0)


def corners(values: np.ndarray) -> list[np.ndarray]:
    """The four pixels of each 2 x 2, as four arrays."""
    even = values[: values.shape[0] // 2 * 2, : values.shape[1] // 2 * 2]
    return [even[i::2, j::2] for i in (0, 1) for j in (0, 1)]


def is_large(image: np.ndarray) -> bool:
    """Whether a picture is large enough to be looked at in half of its size."""
    return min(np.shape(image)[:2]) >= 2 * SMALLEST


def doubled(estimate: KernelEstimate) -> KernelEstimate:
    """The blur of a picture, from that of its half: twice as large, with the same confidence."""
    spec, kernel = twice(estimate.spec), estimate.kernel
    if ":" in spec:
        kernel = kernels.parse(spec)
    elif spec != "sharp":
        kernel = enlarged(kernel)
    candidates = tuple((twice(other), score) for other, score in estimate.candidates)
    rival = None if estimate.rival is None else doubled(estimate.rival)
    return replace(estimate, kernel=kernel, spec=spec, candidates=candidates, rival=rival)


def twice(spec: str) -> str:
    """The spec of a blur twice as large: the first number of those with numbers is the size in pixels."""
    family, colon, numbers = spec.partition(":")
    size, comma, others = numbers.partition(",")
    return f"{family}:{2 * float(size):.4g}{comma}{others}" if colon else spec


def enlarged(kernel: np.ndarray) -> np.ndarray:
    """A kernel (h, w), linearly interpolated to (2 h + 1, 2 w + 1) about the same centre, of sum 1."""
    factors = [(2 * side + 1) / side for side in kernel.shape]
    out = np.maximum(ndimage.zoom(kernel, factors, order=1, mode="grid-constant", grid_mode=True), 0)
    return out / out.sum()
