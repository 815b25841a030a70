"""Image in, image out: restoration with its proof attached. Pictures are arrays or tensors on the 0..1 scale."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from deepinv.physics import LinearPhysics
from torch import Tensor

from pnpkit import images, kernels
from pnpkit.blind import latent
from pnpkit.blind.choose import estimate_kernel
from pnpkit.blind.parametric import KernelEstimate
from pnpkit.certificates import Certificate
from pnpkit.diagnostics import Audit, audit
from pnpkit.errors import InputError, UnknownName
from pnpkit.fidelity import LeastSquares
from pnpkit.iterations import ITERATIONS
from pnpkit.networks.base import Network
from pnpkit.networks.tiles import within_memory
from pnpkit.noise import estimate_noise
from pnpkit.operators import BOUNDARIES, blur
from pnpkit.registry import load_denoiser
from pnpkit.solver import Status, Step, solve
from pnpkit.splittings import method_step

DOUBTFUL = 0.5  # confidence of an estimated kernel below which the user is warned
FREE_FORM_STRENGTH = 2 / 255  # least strength with such an estimate: its errors ring, and no noise estimate sees them
ROUGH = 2e-3  # least weight of the sparse gradients in the first guess
LARGEST_GUESS = 4_000_000  # pixels: above, the first guess would take longer than it saves
SMALLEST_STRENGTH = 0.1 / 255  # also for pictures without noise: something must regularise


@dataclass(frozen=True)
class Restoration:
    """A restored picture and why to trust it.

    Attributes:
        image: same type, shape and scale as the input.
        status: how the run ended, a sentence.
        steps, residuals: evaluations of the map, and its relative fixed-point residual at each.
        certificate: what is proven about the map that was iterated.
        guarantee: the convergence theorem that covers the run, or that there is none.
        noise_level, strength: given or estimated, 0..1 scale; strength is the sigma of the denoiser.
        kernel: the blur kernel used, None for denoising. kernel_note: where it comes from.
        tau, L: step size, and the proven ||A||^2 that limits it to (0, 2/L); None for denoising.
        seconds: wall time of everything.
        objective: per picture, f + R / tau at the result where that was minimised (``fista`` with ``ridge``).
    """

    image: np.ndarray | Tensor
    status: Status
    steps: int
    residuals: tuple[float, ...]
    certificate: Certificate
    guarantee: str
    noise_level: float
    strength: float
    kernel: np.ndarray | None
    kernel_note: str
    tau: float | None
    L: float | None
    seconds: float
    objective: tuple[float, ...] = ()


def deblur(
    image: np.ndarray | Tensor,
    kernel: str | np.ndarray | Tensor = "auto",
    *,
    denoiser: str | Network = "euler",
    noise_level: float | None = None,
    strength: float | None = None,
    boundary: str = "unknown",
    method: str = "anderson",
    tol: float = 1e-4,
    max_steps: int = 500,
    device: str | None = None,
    max_memory: float | None = None,
    limits: tuple[float, float] = (0.0, 1.0),
    callback: Callable[[Step], None] | None = None,
) -> Restoration:
    """Remove a blur: a fixed point of T = proj ∘ D_strength ∘ (id - tau grad 1/2 ||K x - y||^2).

    Args:
        image: ndarray (H, W) or (H, W, 3), float in 0..1 or uint8 or uint16; or a float tensor (B, C, H, W).
        kernel: a spec (see ``kernels.parse``), an array, or ``auto``: none, a Gaussian, a motion, a disk or a
            free form is estimated, and the certificate then speaks of the estimated kernel.
        denoiser: a name of the registry, or a network. With ``dncnn`` nothing is guaranteed.
        noise_level: standard deviation of the noise, 0..1 scale; None estimates it.
        strength: sigma of the denoiser; None follows ``strength_for``.
        boundary: ``unknown`` (photographs), ``circular`` or ``zero``.
        method: the iteration: anderson (accelerated, with its proof kept), picard, km or halpern; see ``iterations``.
            Or fista, which with ``ridge`` minimises f + R / tau, see ``splittings.method_step``.
        tol, max_steps: stop when ||x - T x|| <= tol ||x||, or after so many evaluations.
        device: cpu, cuda, or None for the GPU when there is one.
        max_memory: GiB that the run may take; None is half of the machine's. The network works on tiles when needed.
        limits: the box that the estimate is kept in; its projection is part of T.
        callback: called with a ``Step`` after every evaluation.

    Raises:
        InputError: anything that cannot be used, in one sentence.
    """
    started = time.perf_counter()
    y, back = open_image(image, device)
    iteration = choose("method", method, ITERATIONS)()
    if boundary not in BOUNDARIES:
        raise UnknownName("boundary", boundary, BOUNDARIES)
    network = open_denoiser(denoiser, y.device)
    noise = noise_of(y) if noise_level is None else check_level("noise level", noise_level)
    weights, note, least = open_kernel(kernel, y, noise)
    operator = blur(weights, boundary, (y.shape[-2], y.shape[-1]), dtype=y.dtype, device=y.device)
    fidelity = LeastSquares(operator, y)
    tau = fidelity.default_step()
    sigma = max(least, strength_for(noise, tau, network))
    sigma = min(sigma, network.top) if strength is None else check_level("strength", strength, network.top)
    network = within_memory(network, operator.A_adjoint(y).shape, allowed(max_memory), y.element_size())
    step = method_step(method, fidelity, network, sigma, tau, limits)
    x0 = first_guess(y, weights, noise) if boundary == "unknown" else extend(y, operator)
    run = solve(step, x0.clamp(*limits), iteration=iteration, tol=tol, max_steps=max_steps, callback=callback)
    return Restoration(
        image=back(crop(run.x, y)),
        status=run.status,
        steps=run.steps,
        residuals=run.residuals,
        certificate=run.certificate,
        guarantee=run.guarantee,
        noise_level=noise,
        strength=sigma,
        kernel=weights,
        kernel_note=note,
        tau=tau,
        L=fidelity.L,
        seconds=time.perf_counter() - started,
        objective=run.objective,
    )


def denoise(
    image: np.ndarray | Tensor,
    noise_level: float | None = None,
    *,
    denoiser: str | Network = "euler",
    strength: float | None = None,
    device: str | None = None,
    max_memory: float | None = None,
) -> Restoration:
    """Remove noise: one application of D(., strength), by default at the noise level. Arguments as ``deblur``."""
    started = time.perf_counter()
    y, back = open_image(image, device)
    network = open_denoiser(denoiser, y.device)
    noise = noise_of(y) if noise_level is None else check_level("noise level", noise_level)
    sigma = min(noise, network.top) if strength is None else check_level("strength", strength, network.top)
    network = within_memory(network, y.shape, allowed(max_memory), y.element_size())
    with torch.no_grad():
        out = network(y, sigma)
    finite = bool(torch.isfinite(out).all())
    certificate = network.certificate
    held = f"distances never grow (Lipschitz constant <= {certificate.lipschitz:.6g})"
    return Restoration(
        image=back(out if finite else y),
        status=Status.CONVERGED if finite else Status.NOT_FINITE,
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
    )


def strength_for(noise_level: float, tau: float, denoiser: Network) -> float:
    """The rule of ``strength="auto"``: what the denoiser asks for, inside its range; see ``Network.strength``."""
    return float(min(max(denoiser.strength(noise_level, tau), SMALLEST_STRENGTH), denoiser.top))


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


def open_image(
    image: np.ndarray | Tensor, device: str | None
) -> tuple[Tensor, Callable[[Tensor], np.ndarray | Tensor]]:
    """The picture as a (B, C, H, W) tensor on the device, and the way back to the type that came."""
    place = choose_device(device)
    if isinstance(image, Tensor):
        if image.ndim != 4 or image.shape[1] not in (1, 3) or not image.is_floating_point() or image.numel() == 0:
            raise InputError(f"expected a float tensor (B, 1 or 3, H, W), got {image.dtype} {tuple(image.shape)}")
        if not bool(torch.isfinite(image).all()):
            raise InputError("the image holds NaN or infinity")
        origin = image.device
        return image.to(place), lambda x: x.to(origin)
    pixels, restore = images.as_float(np.asarray(image))
    return images.to_tensor(pixels).to(place), lambda x: restore(images.from_tensor(x.cpu()))


def choose_device(name: str | None) -> torch.device:
    """auto (or None): the GPU when there is one."""
    if name in (None, "auto"):
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name not in ("cpu", "cuda"):
        raise UnknownName("device", str(name), ("auto", "cpu", "cuda"))
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("device 'cuda' was asked for, but torch sees no GPU: use --device cpu")
    return torch.device(name)


def allowed(max_memory: float | None) -> float:
    """Bytes that a run may take, from GiB; None is half of the machine's memory."""
    if max_memory is None:
        return 0.5 * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else math.inf
    if not max_memory > 0:
        raise InputError(f"max_memory is a positive number of GiB, got {max_memory}")
    return max_memory * 2**30


def open_denoiser(denoiser: str | Network, device: torch.device) -> Network:
    if isinstance(denoiser, str):
        return load_denoiser(denoiser, device=str(device))
    if isinstance(denoiser, Network):
        return denoiser.to(device)
    raise InputError(f"a denoiser is a name or a pnpkit network, got {type(denoiser).__name__}: see plug_and_play")


def open_kernel(kernel: str | np.ndarray | Tensor, y: Tensor, noise: float) -> tuple[np.ndarray, str, float]:
    """The kernel, a sentence on where it comes from, and the least strength that it asks for."""
    if isinstance(kernel, str) and kernel == "auto":
        estimate = estimate_kernel(images.from_tensor(y[:1].cpu().double()), noise)
        return estimate.kernel, describe(estimate), FREE_FORM_STRENGTH if estimate.spec == "free-form" else 0.0
    if isinstance(kernel, str):
        return kernels.parse(kernel), f"given: {kernel}", 0.0
    array = kernel.detach().cpu().numpy() if isinstance(kernel, Tensor) else np.asarray(kernel)
    return kernels.normalise(array), f"given: {'x'.join(map(str, array.shape))} array", 0.0


def estimate_kernel_of(image: np.ndarray, noise_level: float | None = None) -> KernelEstimate:
    """The blur of a picture, as ``deblur`` with ``kernel="auto"`` would take it. Arguments as there."""
    pixels, _ = images.as_float(image)
    noise = estimate_noise(pixels) if noise_level is None else check_level("noise level", noise_level)
    return estimate_kernel(pixels, noise)


def describe(estimate: KernelEstimate) -> str:
    """A sentence on an estimated kernel, with the doubt that there is."""
    size = "x".join(map(str, estimate.kernel.shape))
    form = f"a free form ({size})" if estimate.spec == "free-form" else estimate.spec
    note = f"ESTIMATED from the picture as {form} (confidence {estimate.confidence:.2f}), not measured"
    if estimate.spec == "sharp":
        return note + "; no blur explains the picture better than none, so only noise is removed"
    if estimate.confidence < DOUBTFUL:
        note += "; that is doubtful: give --kernel if you know the blur"
    return note


def noise_of(y: Tensor) -> float:
    """Estimated noise level, mean over the batch."""
    return float(np.mean([estimate_noise(images.from_tensor(x[None].cpu().double())) for x in y]))


def check_level(what: str, value: float, top: float = 1.0) -> float:
    """A level on the 0..1 scale: a number in [0, top]."""
    level = float(value)
    if not 0 <= level <= top:
        raise InputError(f"{what} must be in [0, {top:.4g}] on the 0..1 scale, got {value}")
    return level


def choose(what: str, name: str, known: dict[str, type]) -> type:
    if name not in known:
        raise UnknownName(what, name, known)
    return known[name]


def simulate(
    image: np.ndarray,
    kernel: str | np.ndarray | Tensor,
    noise_level: float = 0.0,
    *,
    boundary: str = "unknown",
    seed: int = 0,
) -> np.ndarray:
    """A degraded picture: K image + noise_level * N(0, 1), in float64, not clipped.

    Args:
        image: float (H, W) or (H, W, 3) on the 0..1 scale.
        kernel: a spec or an array; not ``auto``.
        boundary: ``unknown`` keeps the valid part, (H - h + 1, W - w + 1); ``circular`` and ``zero`` keep the size.
        seed: of ``numpy.random.default_rng``; the noise has the shape of the result.
    """
    pixels, _ = images.as_float(image)
    x = images.to_tensor(pixels).double()
    weights = kernels.parse(kernel) if isinstance(kernel, str) else open_kernel(kernel, x, 0.0)[0]
    operator = blur(weights, boundary, (x.shape[-2], x.shape[-1]), dtype=x.dtype)
    clean = images.from_tensor(operator.A(x))
    return clean + noise_level * np.random.default_rng(seed).standard_normal(clean.shape)


def audit_denoiser(name: str, *, rounds: int = 12, seed: int = 0, size: int = 32) -> Iterator[tuple[float, Audit]]:
    """Search for expansion of a denoiser at small, middle and large levels, in float64.

    Around two clean photographs, the same with noise, black, and uniform noise; ``size`` pixels a side.
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
        yield level, audit(network.at(level), network.certificate, points, rounds=rounds, seed=seed)
