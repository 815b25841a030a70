r"""What restorations are compared with: Wiener filters, total variation, and a denoiser under the rules of ``plan``.

Pictures are arrays (H, W, 3), 0..1 scale, blurred with a kernel on a periodic scene.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from skimage.restoration import denoise_tv_chambolle, richardson_lucy, unsupervised_wiener, wiener
from torch import Tensor

from pnpkit import certificates
from pnpkit.blind import latent
from pnpkit.fidelities.data import DataTerm
from pnpkit.images import pixels
from pnpkit.maps import Map
from pnpkit.networks.base import Network
from pnpkit.networks.half_precision import rough_denoisers
from pnpkit.restoration import plan
from pnpkit.restoration.defaults import GUIDE
from pnpkit.restoration.pipeline import CHEAP, PATIENCE, ROUGH_TOL, Networks, guided_by
from pnpkit.solvers.iterations import Anderson, Iteration, Picard
from pnpkit.solvers.result import Result
from pnpkit.solvers.splittings import SPLITTINGS, forward_backward
from pnpkit.solvers.stages import Stage

PENALTY = 5.0  # of ADMM, in units of the weight: its thresholds are the inverse, 0.2


MARGIN = 16  # pixels around the picture, beside the reach of the kernel, in ``mirrored``


@dataclass(frozen=True)
class Minimiser:
    """Where an iteration on arrays ended: x, its sweeps, and the relative change of the last one."""

    x: np.ndarray
    steps: int
    change: float


def total_variation(
    y: np.ndarray,
    kernel: np.ndarray,
    weight: float,
    *,
    tol: float = 2e-5,
    max_steps: int = 500,
    callback: Callable[[np.ndarray], None] = lambda x: None,
) -> Minimiser:
    r"""min_x 1/2 ||k * x - y||^2 + weight sum |D x|, |.| over both differences and all colours.

    ADMM on d = D x: spectra are divided, gradients shrunk (Wang, Yang, Yin & Zhang 2008). It stops when a sweep changes
    x by at most ``tol`` ||x||.

    Args:
        y: (H, W, C), periodic.
        weight: > 0.
        callback: sees x, which is not clipped, after each sweep.
    """
    rho = PENALTY * weight
    channels = [latent.Deconvolution(y[..., c].astype(np.float32), kernel) for c in range(y.shape[-1])]
    x, change, steps = y, np.inf, 0
    auxiliary, dual = np.zeros((2, *y.shape), np.float32), np.zeros((2, *y.shape), np.float32)
    while steps < max_steps and change > tol:
        goal = auxiliary - dual
        following = np.stack([solve(rho, *goal[..., c]) for c, solve in enumerate(channels)], -1)
        change = float(np.linalg.norm(following - x) / np.linalg.norm(following))
        x, steps = following, steps + 1
        callback(x)
        ahead = np.stack(latent.gradient(x)) + dual
        length = np.sqrt(np.square(ahead).sum((0, 3), keepdims=True))
        auxiliary = ahead * np.maximum(1 - weight / rho / np.maximum(length, 1e-12), 0)
        dual = ahead - auxiliary
    return Minimiser(x, steps, change)


def wiener_filter(y: np.ndarray, kernel: np.ndarray, balance: float) -> np.ndarray:
    """scikit-image's Wiener filter, channel by channel; ``balance`` weighs its Laplacian penalty."""
    return _by_channel(lambda channel: np.asarray(wiener(channel, kernel, balance, clip=False)), y)


def unsupervised_wiener_filter(y: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """scikit-image's Wiener filter that estimates its own parameters, channel by channel, with seed 0."""
    return _by_channel(lambda channel: np.asarray(unsupervised_wiener(channel, kernel, clip=False, rng=0)[0]), y)


def richardson_lucy_sweeps(y: np.ndarray, kernel: np.ndarray, sweeps: int) -> np.ndarray:
    """scikit-image's Richardson-Lucy deconvolution, channel by channel. It multiplies: values below 0 count as 0."""
    return _by_channel(lambda c: np.asarray(richardson_lucy(np.maximum(c, 0), kernel, num_iter=sweeps, clip=False)), y)


def mirrored(method: Callable[[np.ndarray], np.ndarray], y: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """``method`` on the picture continued by its mirror image, cut back to its frame, which would ring otherwise."""
    reach = [2 * (size // 2) + MARGIN for size in kernel.shape]
    found = method(np.pad(y, [(reach[0], reach[0]), (reach[1], reach[1]), (0, 0)], mode="symmetric"))
    return found[reach[0] : reach[0] + y.shape[0], reach[1] : reach[1] + y.shape[1]]


def _by_channel(filter: Callable[[np.ndarray], np.ndarray], y: np.ndarray) -> np.ndarray:
    return np.stack([filter(y[..., c]) for c in range(y.shape[-1])], -1)


def chambolle_steps(fidelity: DataTerm, weight: float) -> Map:
    """scikit-image's ``denoise_tv_chambolle`` after gradient steps of length 1: an inexact proximal gradient method."""

    def denoise(x: Tensor) -> Tensor:
        return pixels.to_tensor(denoise_tv_chambolle(pixels.from_tensor(x), weight=weight, channel_axis=-1)).to(x)

    backward = Map(denoise, certificates.nothing("denoise_tv_chambolle", "stops by its own rule"))
    return forward_backward(fidelity, backward, 1.0)


def stages_by_rule(
    network: Network,
    splitting: str,
    fidelity: DataTerm,
    level: float,
    *,
    iteration: Iteration | None = None,
    tol: float = 1e-4,
    rounded: bool = False,
    rough_first: bool = False,
    limits: tuple[float, float] = (0.0, 1.0),
) -> list[Stage]:
    """T = proj_limits ∘ the splitting, tau and sigma by the rules for noise of standard deviation ``level``.

    Args:
        iteration: None is Anderson's where the denoiser is averaged, Picard's where nothing is proven.
        rounded: the denoiser is multiplied in bfloat16.
        rough_first: a stage in bfloat16 comes before the one in float32.

    A guided denoiser makes two stages: its first pass, to the residual ``GUIDE``, makes the guide of the second.
    """
    tau, sigma = plan.by_rule(splitting, level, network, fidelity)
    first, second = network.looks()
    chosen = iteration or (Anderson() if first.certificate.averaged else Picard())

    def stage(denoisers: Networks, tol: float, rough: bool = rounded, **how: object) -> Stage:
        def map_after(result: Result | None) -> Map:
            at = (rough_denoisers if rough else plan.inside)(denoisers(result))
            return SPLITTINGS[splitting](fidelity, at, tau, sigma, limits)

        return Stage(map_after, tol, chosen, **how)  # type: ignore[arg-type]

    stages = [stage(lambda _: first, tol if second is None else GUIDE)]
    if rough_first:
        cheap = {"role": CHEAP, "patience": PATIENCE, "note": ", in float32"}
        stages.insert(0, stage(lambda _: first, max(tol, ROUGH_TOL), True, **cheap))
    if second is not None:
        stages.append(stage(guided_by(second, first, lambda _: fidelity, level), tol))
    return stages
