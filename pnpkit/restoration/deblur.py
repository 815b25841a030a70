"""Image in, image out: restoration with its proof attached. Pictures are arrays or tensors on the 0..1 scale."""

from __future__ import annotations

import os
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from deepinv.physics import LinearPhysics
from torch import Tensor

from pnpkit import kernels
from pnpkit.blind import latent
from pnpkit.errors import UnknownName
from pnpkit.networks.base import Network
from pnpkit.operators.blur import BOUNDARIES, blur
from pnpkit.restoration.blur_kernel import open_kernel, trustworthy
from pnpkit.restoration.defaults import FREE_FORM_ERROR, FREE_FORM_STRENGTH, KERNEL_ERROR
from pnpkit.restoration.picture import noise_level_of, opened
from pnpkit.restoration.pipeline import restore
from pnpkit.restoration.problem import Problem
from pnpkit.restoration.result import Restoration
from pnpkit.restoration.settings import Settings
from pnpkit.solvers.result import Step
from pnpkit.solvers.splittings import CONTINUATION, FORWARD_BACKWARD

ROUGH = 2e-3  # least weight of the sparse gradients in the first guess


LARGEST_GUESS = 4_000_000  # pixels: above, the first guess would take longer than it saves


def deblur(
    image: np.ndarray | Tensor,
    kernel: str | os.PathLike[str] | np.ndarray | Tensor = "auto",
    *,
    denoiser: str | Network = "euler",
    noise_level: float | None = None,
    strength: float | str | None = None,
    boundary: str = "unknown",
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
    """Remove a blur: a fixed point of T = proj ∘ D_s ∘ prox_{t f} ∘ D_s' ∘ prox_{t' f}, f = 1/2 ||K x - y||^2.

    Args:
        image: ndarray (H, W) or (H, W, 3), float in 0..1 or uint8 or uint16; or a float tensor (B, C, H, W).
        kernel: a spec (see ``kernels.parse``), an array, or ``auto``: none, a Gaussian, a motion, a disk or a
            free form is estimated, and the certificate then speaks of the estimated kernel.
        denoiser: a name of the registry, or a network. ``euler-fast`` restores nearly as well as ``euler`` in less of
            the time. ``euler-guided``, which the command line takes, restores and then looks again, guided by
            what it has; unless there is no blur, or it was estimated as a free form or with little confidence: what a
            wrong kernel leaves would pass for structure (docs/lab-book.md). With ``dncnn`` nothing is guaranteed.
        noise_level: standard deviation of the noise, 0..1 scale; None estimates it.
        strength: sigma of the denoiser (those of continuation go with it); None or "auto" follows
            ``restoration.plan.strength_for``, "sure" is chosen for this picture by its unbiased risk, at two to four
            times the cost; see ``restoration.sure.by_sure``.
        boundary: ``unknown`` (photographs), ``circular`` or ``zero``.
        splitting: how T meets the data: continuation, by prox_{tau f} at a small and a large penalty in turn;
            half-quadratic, at one; or forward-backward, by id - tau grad f. auto: the first, which restores best
            (docs/lab-book.md), but the last for fista.
        tau: in (0, 2/L) for forward-backward, any positive number for the others; None follows
            ``restoration.plan.step_for``.
        method: the iteration: anderson (accelerated, with its proof kept), picard, km or halpern; see ``iterations``.
            Or fista, which with ``ridge`` minimises f + R / tau, see ``restoration.plan.penalised_ridge``.
        tol, max_steps: stop when ||x - T x|| <= tol ||x||, for a tau below 1/L tol tau L ||x||, or after so many
            evaluations.
        device: cpu, cuda, or None for the GPU when there is one.
        max_memory: GiB that the run may take; None is half of the machine's. The network works on tiles when needed.
        precision: float32, float64, or bfloat16: early steps in that, then float32, of which alone certificate and last
            residual speak (``precision``). auto keeps the picture's type and probes whether bfloat16 pays here.
        limits: the box that the estimate is kept in; its projection is part of T. Pictures with values beyond 10 are
            refused unless it admits them: stars a hundred times as bright as what counts as 1, for instance.
        callback: called with a ``Step`` after every evaluation.
        linear: undo the sRGB curve before and apply it after: blur and noise happen in light, files hold about its
            1/2.4th power. Noise level, strength, limits and the callback's iterates are then of linear light.
        compression: root mean square error that lossy compression left, 0..1 scale, as ``images.files.read`` tells it
            of a JPEG. The estimated noise level is at least 1.5 times that: compression hides noise behind its own
            error.

    Raises:
        InputError: anything that cannot be used, in one sentence.
    """
    settings = Settings.among(locals())
    work = opened(image, settings)
    check_boundary(boundary)
    y = work.y
    noise = noise_level_of(y, noise_level, compression, linear)
    weights, note, estimate = open_kernel(kernel, y, noise)
    free = estimate is not None and estimate.spec == "free-form"
    trusted = estimate is None or trustworthy(estimate)
    operator = blur(weights, boundary, (y.shape[-2], y.shape[-1]), dtype=y.dtype, device=y.device)
    guess = first_guess(y, weights, noise) if boundary == "unknown" else extend(y, operator)

    def picture(x: Tensor) -> np.ndarray | Tensor:
        return work.back(crop(x, y))

    blurred = weights.size > 1  # where there is no blur, what is left is the denoiser's alone
    problem = Problem(
        operator,
        y,
        guess,
        picture,
        noise,
        note,
        weights,
        CONTINUATION if blurred else FORWARD_BACKWARD,
        error=FREE_FORM_ERROR if free else KERNEL_ERROR,
        least=FREE_FORM_STRENGTH if free else 0.0,
        looks=2 if blurred and trusted else 1,
    )
    return restore(problem, settings, work)


def check_blur(kernel: str, boundary: str) -> None:
    """A kernel that can be had, and a boundary that there is."""
    if kernel != "auto":
        kernels.parse(kernel)
    check_boundary(boundary)


def check_boundary(boundary: str) -> None:
    """A boundary that there is."""
    if boundary not in BOUNDARIES:
        raise UnknownName("boundary", str(boundary), BOUNDARIES)


def extend(y: Tensor, operator: LinearPhysics) -> Tensor:
    """The first iterate: y, its border repeated outwards where the scene is larger than the frame."""
    scene = operator.A_adjoint(y[:1]).shape
    rows, columns = scene[-2] - y.shape[-2], scene[-1] - y.shape[-1]
    pad = (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2)
    return F.pad(y, pad, mode="replicate")


def first_guess(y: Tensor, kernel: np.ndarray, noise_level: float) -> Tensor:
    """The first iterate for ``unknown``: a rough deconvolution with sparse gradients, in the scene around the frame.

    The proof holds from any start. From this one the first steps are a dB or two ahead, and wide blurs take fewer;
    huge pictures start from themselves.
    """
    reach = [size // 2 for size in kernel.shape]
    if kernel.size == 1 or y.shape[-2] * y.shape[-1] > LARGEST_GUESS:
        return F.pad(y, (reach[1], reach[1], reach[0], reach[0]), mode="replicate")
    weight = max(ROUGH, 100 * noise_level**2)
    index = np.ix_(*(np.arange(-r, n + r) for r, n in zip(reach, y.shape[-2:], strict=True)))
    planes = y.detach().cpu().numpy().reshape(-1, *y.shape[-2:])
    guesses = [latent.sparse_gradients(latent.periodic(p, 2 * max(reach) + 3), kernel, weight)[index] for p in planes]
    return torch.from_numpy(np.stack(guesses)).to(y).view(*y.shape[:2], *guesses[0].shape)


def crop(x: Tensor, y: Tensor) -> Tensor:
    """The frame of y out of the scene x."""
    top, left = (x.shape[-2] - y.shape[-2]) // 2, (x.shape[-1] - y.shape[-1]) // 2
    return x[..., top : top + y.shape[-2], left : left + y.shape[-1]]
