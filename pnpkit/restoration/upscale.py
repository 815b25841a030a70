"""Upscale: each pixel is the mean of a square of the scene."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from pnpkit.errors import InputError
from pnpkit.networks.base import Network
from pnpkit.operators.downsampling import area_downsampling
from pnpkit.restoration.defaults import SHARPENING
from pnpkit.restoration.picture import noise_level_of, opened
from pnpkit.restoration.pipeline import restore
from pnpkit.restoration.problem import Problem
from pnpkit.restoration.result import Restoration
from pnpkit.restoration.settings import Settings
from pnpkit.solvers.result import Step

LARGEST_FACTOR = 8


def upscale(
    image: np.ndarray | Tensor,
    factor: int = 2,
    *,
    denoiser: str | Network = "euler",
    noise_level: float | None = None,
    strength: float | str | None = None,
    splitting: str = "auto",
    tau: float | None = None,
    method: str = "anderson",
    tol: float = 1e-4,
    max_steps: int = 500,
    device: str | None = None,
    max_memory: float | None = None,
    precision: str = "auto",
    limits: tuple[float, float] = (0.0, 1.0),
    callback: Callable[[Step], None] | None = None,
    linear: bool = False,
    compression: float = 0.0,
) -> Restoration:
    """Enlarge: a fixed point of T = proj ∘ D_strength ∘ (id - tau grad 1/2 ||S x - y||^2), S the mean over squares.

    Each pixel of y is taken for the mean of factor x factor pixels of the scene, as a sensor measures them.

    Args:
        image, denoiser, noise_level, splitting, tau, method, tol, max_steps, device, max_memory, precision, limits,
            callback, linear, compression: as in ``deblur``, but ``auto`` splits forward-backward.
        factor: a whole number from 2 to 8; the result is (factor H, factor W).
        strength: sigma of the denoiser; None is 2/255, or more when the noise asks for it.

    Raises:
        InputError: another factor; and what ``deblur`` refuses.
    """
    if factor not in range(2, LARGEST_FACTOR + 1):
        raise InputError(f"a factor is a whole number from 2 to {LARGEST_FACTOR}, got {factor!r}")
    factor = int(factor)
    settings = Settings.among(locals())
    work = opened(image, settings)
    y = work.y
    guess = F.interpolate(y, scale_factor=factor, mode="bicubic")
    note = f"enlarged {factor} times, from {y.shape[-1]}x{y.shape[-2]} pixels"
    noise = noise_level_of(y, noise_level, compression, linear)
    problem = Problem(area_downsampling(y, factor), y, guess, work.back, noise, note, least=SHARPENING)
    return restore(problem, settings, work)
