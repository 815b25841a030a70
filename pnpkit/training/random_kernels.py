"""Random blur kernels for training, and kernels with the errors of estimates."""

from __future__ import annotations

import numpy as np
import torch
from deepinv.physics.generator import MotionBlurGenerator
from scipy import ndimage

from pnpkit import kernels

SIZE = 29  # side in pixels of the largest shake


ESTIMATED, MEASURED = 1.0, 0.3  # sizes of the error of a kernel, see ``mistaken``


def random_kernel(generator: torch.Generator) -> np.ndarray:
    """Draw a shake with probability 1/2, otherwise a Gaussian, a box, a straight motion or a disk."""
    kind, size, angle, soft = torch.rand(4, generator=generator).tolist()
    if kind < 0.5:
        shakes = MotionBlurGenerator((SIZE, SIZE), rng=generator)
        shake = shakes.step(1, sigma=0.25 + 0.5 * size, l=0.2 + 0.5 * angle)["filter"][0, 0].numpy()
        return kernels.normalise(ndimage.gaussian_filter(shake.astype(np.float64), 0.3 + 0.4 * soft))
    if kind < 0.7:
        return kernels.gaussian(0.7 + 2.3 * size)
    if kind < 0.85:
        return kernels.box(5 + 2 * int(5 * size))
    if kind < 0.95:
        return kernels.motion(5 + 16 * size, 180 * angle)
    return kernels.disk(1.5 + 4.5 * size)


def mistaken(kernel: np.ndarray, error: float, generator: torch.Generator) -> np.ndarray:
    """Return ``kernel`` with random errors like those of an estimate: uneven weights, smearing, weak parts lost.

    The centre of mass is kept. With ``error`` 1 the difference is 0.09 to 1.04 of the norm (5 and 95 % of 250 draws;
    median 0.41; estimates of sixteen real shakes: 0.3 to 0.8). With 0.3 it is 0.02 to 0.38 (median 0.09).
    """
    uneven, smear, weak = (error * torch.rand(3, generator=generator)).tolist()
    field = ndimage.gaussian_filter(torch.randn(kernel.shape, generator=generator).numpy(), 1.5, mode="wrap")
    weighted = np.pad(kernel * np.exp(0.6 * uneven * field / field.std()), 2)
    wide = ndimage.gaussian_filter(weighted, 0.9 * smear)
    kept = np.where(wide < 0.15 * weak * wide.max(), 0, wide)
    shift = np.subtract(ndimage.center_of_mass(np.pad(kernel, 2)), ndimage.center_of_mass(kept))
    return kernels.normalise(np.maximum(ndimage.shift(kept, shift, order=1), 0))
