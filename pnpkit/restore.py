"""Image in, image out: restoration with its proof attached. Pictures are arrays or tensors on the 0..1 scale."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
import torch.nn.functional as F
from deepinv.physics import LinearPhysics
from torch import Tensor

from pnpkit import images, kernels, light
from pnpkit.blind import choose, latent
from pnpkit.blind.parametric import KernelEstimate
from pnpkit.diagnostics import Audit, audit
from pnpkit.errors import InputError, UnknownName
from pnpkit.networks.base import Network
from pnpkit.networks.guided import GuidedEuler
from pnpkit.networks.tiles import within_memory
from pnpkit.operators import BOUNDARIES, blur
from pnpkit.precision import convert
from pnpkit.problem import (
    Bench,
    Problem,
    Restoration,
    noise_level_of,
    open_image,
)
from pnpkit.registry import load_denoiser
from pnpkit.settings import Settings, allowed, check_level
from pnpkit.solver import Status, Step
from pnpkit.splittings import CONTINUATION, FORWARD_BACKWARD
from pnpkit.strength import FREE_FORM_ERROR, KERNEL_ERROR

DOUBTFUL = 0.5  # confidence of an estimated kernel below which the user is warned, and no guide is made with it
FREE_FORM_STRENGTH = 2 / 255  # least strength of forward-backward splitting with a free form
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
            ``strength.strength_for``, "sure" is chosen for this picture by its unbiased risk, at two to four times the
            cost; see ``strength.by_sure``.
        boundary: ``unknown`` (photographs), ``circular`` or ``zero``.
        splitting: how T meets the data: continuation, by prox_{tau f} at a small and a large penalty in turn;
            half-quadratic, at one; or forward-backward, by id - tau grad f. auto: the first, which restores best
            (docs/lab-book.md), but the last for fista.
        tau: in (0, 2/L) for forward-backward, any positive number for the others; None follows ``strength.step_for``.
        method: the iteration: anderson (accelerated, with its proof kept), picard, km or halpern; see ``iterations``.
            Or fista, which with ``ridge`` minimises f + R / tau, see ``problem.penalised_ridge``.
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
        compression: root mean square error that lossy compression left, 0..1 scale, as ``images.read`` tells it of a
            JPEG. The estimated noise level is at least 1.5 times that: compression hides noise behind its own error.

    Raises:
        InputError: anything that cannot be used, in one sentence.
    """
    bench = Bench(image, Settings.among(locals()))
    check_boundary(boundary)
    y, noise = bench.y, bench.noise_level(bench.y)
    weights, note, estimate = open_kernel(kernel, y, noise)
    free = estimate is not None and estimate.spec == "free-form"
    trusted = estimate is None or trustworthy(estimate)
    operator = blur(weights, boundary, (y.shape[-2], y.shape[-1]), dtype=y.dtype, device=y.device)
    guess = first_guess(y, weights, noise) if boundary == "unknown" else extend(y, operator)

    def picture(x: Tensor) -> np.ndarray | Tensor:
        return bench.back(crop(x, y))

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
    return bench.restore(problem)


def denoise(
    image: np.ndarray | Tensor,
    noise_level: float | None = None,
    *,
    denoiser: str | Network = "euler",
    strength: float | str | None = None,
    device: str | None = None,
    max_memory: float | None = None,
    precision: str = "auto",
    limits: tuple[float, float] = (0.0, 1.0),
    linear: bool = False,
    compression: float = 0.0,
) -> Restoration:
    """Remove noise: one application of D(., strength).

    Args:
        image, noise_level, denoiser, device, max_memory, linear, compression: as those of ``deblur``.
        strength: sigma of the denoiser, 0..1 scale; None or "auto" is the noise level.
        precision: auto, float32 or float64; not bfloat16, for no later step would make good what it rounds.
        limits: what the picture may hold; values beyond 10 are refused unless they admit them. Nothing is cut.

    Raises:
        InputError: anything that cannot be used, in one sentence.
    """
    started = time.perf_counter()
    check_denoising(precision, strength)
    _, network = Settings.among(locals()).tools()
    y, back = open_image(image, device, linear, precision, limits)
    y = convert(y, precision)
    noise = noise_level_of(y, noise_level, compression, linear)
    given = strength is not None and not isinstance(strength, str)
    sigma = float(strength or 0) if given else min(noise, network.top)
    note = "given" if given else "the noise level"
    if not given and noise > network.top:
        note = f"the most that {network.name} has: noise will be left"
    network = within_memory(network, y.shape, allowed(max_memory), 0, y.element_size())
    with torch.no_grad():
        out = network(y, sigma)
    finite = bool(torch.isfinite(out).all())
    certificate = network.certificate
    where = "distances in linear light" if linear else "distances"
    held = f"{where} never grow (Lipschitz constant <= {certificate.lipschitz:.6g})"
    if not given and noise_level is None:  # the way from the picture to its noise level is not nonexpansive
        held = f"at this strength, which was chosen by the picture, {held}"
    return Restoration(
        image=back(out if finite else y),
        status=Status.APPLIED if finite else Status.NOT_FINITE,
        steps=1,
        residuals=(),
        certificate=certificate,
        guarantee=held if certificate.nonexpansive else f"nothing is guaranteed: {certificate.method}",
        noise_level=noise,
        strength=sigma,
        kernel=None,
        kernel_note="",
        tau=None,
        L=None,
        seconds=time.perf_counter() - started,
        linear=linear,
        strength_note=note,
    )


def check_blur(kernel: str, boundary: str) -> None:
    """A kernel that can be had, and a boundary that there is."""
    if kernel != "auto":
        kernels.parse(kernel)
    check_boundary(boundary)


def check_boundary(boundary: str) -> None:
    """A boundary that there is."""
    if boundary not in BOUNDARIES:
        raise UnknownName("boundary", str(boundary), BOUNDARIES)


def check_denoising(precision: str, strength: float | str | None) -> None:
    """What one application of a denoiser has no use for."""
    if precision == "bfloat16":
        raise InputError("denoising is one step, and no later one makes good what bfloat16 rounds: use float32")
    if isinstance(strength, str) and strength != "auto":
        raise InputError(f"strength must be a number here, got '{strength}': only auto may stand for one")


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


def open_kernel(
    kernel: str | os.PathLike[str] | np.ndarray | Tensor, y: Tensor, noise: float
) -> tuple[np.ndarray, str, KernelEstimate | None]:
    """The kernel, a sentence on where it comes from, and the estimate, if it is one."""
    kernel = os.fspath(kernel) if isinstance(kernel, os.PathLike) else kernel
    if isinstance(kernel, str) and kernel == "auto":
        estimate = choose.estimate_kernel(images.from_tensor(y[:1].cpu().double()), noise)
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
    limits: tuple[float, float] = (0.0, 1.0),
    linear: bool = False,
) -> KernelEstimate:
    """The blur of a picture, as ``deblur`` with ``kernel="auto"`` would take it. Arguments as there, but an array."""
    y = images.to_tensor(images.as_float(np.asanyarray(image), limits)[0])
    y = light.decode(y) if linear else y
    return choose.estimate_kernel(images.from_tensor(y.double()), noise_level_of(y, noise_level, compression, linear))


def trustworthy(estimate: KernelEstimate) -> bool:
    """Whether a restoration with this kernel can guide another."""
    return estimate.spec != "free-form" and estimate.confidence >= DOUBTFUL


def describe(estimate: KernelEstimate, source: str = "the picture") -> str:
    """A sentence on a kernel that was estimated from ``source``, with the doubt that there is."""
    size = "x".join(map(str, estimate.kernel.shape))
    form = f"a free form ({size})" if estimate.spec == "free-form" else estimate.spec
    note = f"ESTIMATED from {source} as {form} (confidence {estimate.confidence:.2f}), not measured"
    if estimate.spec == "sharp" and len(estimate.candidates) == 1:
        return note + "; it is too small or too flat to tell a blur, so only noise is removed: give --kernel"
    if estimate.spec == "sharp":
        return note + "; no blur explains the picture better than none, so only noise is removed"
    if estimate.confidence < DOUBTFUL:
        note += "; that is doubtful: give --kernel if you know the blur"
    return note


def simulate(
    image: np.ndarray,
    kernel: str | os.PathLike[str] | np.ndarray | Tensor,
    noise_level: float = 0.0,
    *,
    boundary: str = "unknown",
    seed: int = 0,
    linear: bool = False,
) -> np.ndarray:
    """A degraded picture: K image + noise_level * N(0, 1), in float64, not clipped.

    Args:
        image: float (H, W) or (H, W, 3) on the 0..1 scale.
        kernel: a spec or an array; not ``auto``.
        boundary: ``unknown`` keeps the valid part, (H - h + 1, W - w + 1); ``circular`` and ``zero`` keep the size.
        seed: of ``numpy.random.default_rng``; the noise has the shape of the result.
        linear: blur and add noise in linear light, between the sRGB curve's inverse and itself.
    """
    check_level("noise level", noise_level)
    pixels, _ = images.as_float(np.asanyarray(image))
    x = images.to_tensor(pixels, torch.float64)
    weights = kernels.parse(kernel) if isinstance(kernel, str) else open_kernel(kernel, x, 0.0)[0]
    operator = blur(weights, boundary, (x.shape[-2], x.shape[-1]), dtype=x.dtype)
    clean = images.from_tensor(operator.A(light.decode(x) if linear else x))
    noisy = clean + noise_level * np.random.default_rng(seed).standard_normal(clean.shape)
    return light.encode(torch.from_numpy(noisy)).numpy() if linear else noisy


def audit_denoiser(name: str, *, rounds: int = 12, seed: int = 0, size: int = 32) -> Iterator[tuple[float, Audit]]:
    """Search for expansion of a denoiser at small, middle and large levels, in float64.

    Around two clean photographs, the same with noise, black, and uniform noise; ``size`` pixels a side. What needs a
    guide gets what its first look makes of these points, and them for its hint.
    """
    import skimage.data

    network = load_denoiser(name)
    clean = [skimage.data.chelsea()[100:, 120:], skimage.data.astronaut()[20:, 200:]]
    photographs = torch.cat([images.to_tensor(p[:size, :size] / 255).double() for p in clean])
    generator = torch.Generator().manual_seed(seed)
    for level in (5 / 255, 25 / 255, network.top):
        noise = torch.randn(photographs.shape, generator=generator, dtype=torch.float64)
        uniform = torch.rand(photographs[:1].shape, generator=generator, dtype=torch.float64)
        points = torch.cat([photographs, photographs + level * noise, torch.zeros_like(uniform), uniform])
        map = network.at(level)
        if isinstance(network, GuidedEuler):
            with torch.no_grad():
                map = network.given(network.looks()[0](points, level), points).at(level)
        yield level, audit(map, map.certificate, points, rounds=rounds, seed=seed)
