"""Bounds on the norm of a forward model: proven if its structure allows a proof, otherwise measured and labelled so."""

from __future__ import annotations

import math
from functools import singledispatch

import torch
from deepinv.physics import (
    Blur,
    BlurFFT,
    ComposedLinearPhysics,
    Decolorize,
    Denoising,
    Downsampling,
    Inpainting,
    LinearPhysics,
    StackedLinearPhysics,
    Upsampling,
)
from deepinv.utils import TensorList
from torch import Tensor

from pnpkit.certificates import Bound, Premise, Side
from pnpkit.errors import InputError
from pnpkit.operators.adjoint import has_adjoint, pieces
from pnpkit.operators.integrity import (
    Bounded,
    Injective,
    is_decomposed,
    is_kind,
    is_own,
    orthonormal_premises,
)

REFUTING, SLACK = 10, 1e-4  # steps of power iteration, which may refute a bound but never prove one; their rounding
COMPRESSIONS = ("valid", "circular", "constant", "zeros", "zero")  # paddings that never raise the norm


def norm_bound(operator: LinearPhysics, example: Tensor | None = None) -> Bound:
    """Return a bound on the norm of a forward model.

    If an operator carries ``norm_bound() -> Bound`` for the A that it computes, this bound is accepted, unless a few
    steps of power iteration refute it. For deepinv's classes the table below holds the known proofs.

    Args:
        operator: any deepinv ``LinearPhysics``. What is proven about a class is not claimed for a subclass with its own
            A or adjoint.
        example: an image of the operator's domain. It is needed if the norm depends on the size of the image, for power
            iteration, and to check a bound from elsewhere.

    Raises:
        InputError: the operator's own bound is not a Bound, or it is refuted.
        TypeError: an example is needed, and none is given.

    Example:
        >>> import pnpkit as pk
        >>> from pnpkit import kernels
        >>> A = pk.blur(kernels.box(3), "circular", (16, 16))
        >>> round(pk.norm_bound(A).value, 4), pk.norm_bound(A).side.value
        (1.0, 'proven')
    """
    if isinstance(operator, Bounded) and is_own(operator, "norm_bound"):
        return _carried(operator, example)
    kind = next(kind for kind in type(operator).__mro__ if kind in _proof.registry)
    return (_proof if is_kind(operator, kind) else _by_decomposition)(operator, example)


def _carried(operator: LinearPhysics, example: Tensor | None) -> Bound:
    """Return the operator's own bound. For classes from elsewhere it is checked, if there is an example."""
    bound = operator.norm_bound()
    name = type(operator).__name__
    if not isinstance(bound, Bound):
        raise InputError(f"{name}.norm_bound() must return a certificates.Bound, got {type(bound).__name__}")
    if example is None or bound.side is not Side.PROVEN or type(operator).__module__.startswith("pnpkit."):
        return bound
    refute(operator, example, bound.value, f"{name}.norm_bound()")
    return bound if has_adjoint(operator, example) else _measured(operator, example)


def refute(operator: LinearPhysics, example: Tensor, bound: float, whose: str) -> None:
    """Raise ``InputError`` if power iteration finds a norm larger than a bound on ||A||."""
    least = measured_norm(operator, example, REFUTING).value
    if least > bound * (1 + SLACK):
        raise InputError(f"||A|| is at least {least:.6g} (power iteration): {bound:.6g}, by {whose}, is no bound")


def _by_decomposition(operator: LinearPhysics, example: Tensor | None = None) -> Bound:
    """Return the largest |s| of A = U diag(s) V^T if U, V and the adjoint pass their checks; else a measured norm."""
    if example is None or not is_decomposed(operator, example) or not has_adjoint(operator, example):
        return _measured(operator, example)
    if orthonormal_premises(operator):
        return _measured(operator, example)
    value = float(torch.as_tensor(operator.mask).abs().max()) * (1 + 1e3 * torch.finfo(torch.float32).eps)
    return Bound(value, Side.PROVEN, "largest singular value: U^T U = V^T V = id on a random image")


def _measured(operator: LinearPhysics, example: Tensor | None = None) -> Bound:
    if example is None:
        raise TypeError(f"no proof is known for {type(operator).__name__}: an example image is needed to measure")
    return measured_norm(operator, example)


_proof = singledispatch(_by_decomposition)


def check_stack(operator: LinearPhysics) -> None:
    """Raise InputError if the A_adjoint of a stack is not the adjoint."""
    if isinstance(operator, StackedLinearPhysics) and operator.reduction is not sum:
        raise InputError("a stack needs the adjoint that sums over its parts: make it with reduction='sum'")


def squares(measurement: Tensor | TensorList) -> Tensor:
    """||y||^2 for each item of the batch, (B,), for one tensor or for all measurements of a stack together."""
    parts = [part.abs().square().flatten(1) for part in pieces(measurement)]
    return torch.stack([part.sum(1, dtype=torch.float64) for part in parts]).sum(0).to(parts[0].dtype)


def measured_norm(operator: LinearPhysics, example: Tensor, iterations: int = 50) -> Bound:
    """Return a lower bound by power iteration on A^T A. It is never a proof."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(example.shape, generator=generator).to(example)
    norm = 0.0
    for _ in range(iterations):
        x = x / torch.linalg.vector_norm(x).clamp_min(1e-30)
        image = operator.A(x)
        norm = max(norm, math.sqrt(float(squares(image).sum())))
        x = operator.A_adjoint(image)
    return Bound(norm, Side.MEASURED, f"power iteration, {iterations} steps: a lower bound")


@_proof.register
def _(operator: BlurFFT, example: Tensor | None = None) -> Bound:
    rounding = 1 + 1e3 * torch.finfo(operator.mask.dtype).eps
    gain, bound = float(_gains(operator).max()), convolution_bound(operator.filter)
    cut = any(taps > side for taps, side in zip(operator.filter.shape[-2:], operator.img_size[-2:], strict=True))
    if cut or gain > bound.value * rounding:  # deepinv cuts such a kernel and uses the gains computed before
        return Bound(gain * rounding, Side.PROVEN, "largest gain at this image size")
    return bound


def _gains(operator: BlurFFT) -> Tensor:
    """Return the factor of each frequency in a circular blur. A uses these even if the filter was changed later."""
    return operator.mask.abs() * operator.angle.abs().unsqueeze(-1)


@_proof.register
def _(operator: Blur, example: Tensor | None = None) -> Bound:
    """Bound a blur in two or three dimensions, as a compression of the infinite convolution, or by the Schur test."""
    if operator.padding in COMPRESSIONS:
        return convolution_bound(operator.filter)
    if example is None:
        raise TypeError(f"the norm of a blur with padding '{operator.padding}' depends on the size: give an example")
    if not has_adjoint(operator, example):
        return measured_norm(operator, example)  # deepinv's adjoint is wrong for replicated borders and one-row kernels
    return _schur(Blur(operator.filter.abs(), padding=operator.padding, device=operator.filter.device), example)


@_proof.register
def _(operator: Downsampling, example: Tensor | None = None) -> Bound:
    """Return the smaller of two bounds: decimation has norm 1, and A A^T is a convolution, by aliasing.

    On the whole plane A A^T convolves with the decimated autocorrelation of the filter. With 'valid' and 'constant' the
    operator is a compression of that one. With 'circular', and sides that are multiples of the factor, it samples its
    symbol. In other cases the Schur test is used.
    """
    if operator.filter is None:
        return Bound(1.0, Side.PROVEN, "decimation")
    sides = () if example is None else _fine(operator, example).shape[-2:]
    periodic = bool(sides) and all(side % operator.factor == 0 for side in sides)
    if operator.padding in ("valid", "constant") or (operator.padding == "circular" and periodic):
        blurred, value = convolution_bound(operator.filter), _decimated(operator.filter, int(operator.factor))
        if value < blurred.value:
            return Bound(value, Side.PROVEN, "A A^T is a convolution: Young (exact for filters >= 0) or its symbol")
        return Bound(blurred.value, blurred.side, "that of the blur before the decimation: an upper bound, not tight")
    if example is None:
        return norm_bound(Blur(operator.filter, padding=operator.padding, device=operator.filter.device))
    if not has_adjoint(operator, example):
        return measured_norm(operator, example)
    bound = _schur(_magnitude(operator), _fine(operator, example))
    blurred = convolution_bound(operator.filter) if operator.padding == "circular" else bound
    return bound if bound.value <= blurred.value else blurred


@_proof.register
def _(operator: Upsampling, example: Tensor | None = None) -> Bound:
    """Return the bound of its adjoint."""
    bound: Bound = _proof.registry[Downsampling](operator, example)
    return bound


def _fine(operator: Downsampling, example: Tensor) -> Tensor:
    """Return an image on the fine grid: the example of a downsampling, or the output of an upsampling."""
    return operator.A(example) if isinstance(operator, Upsampling) else example


def _magnitude(operator: Downsampling) -> Downsampling:
    """Return the downsampling with the magnitude of the filter."""
    magnitude, device = operator.filter.abs(), operator.filter.device
    size, factor = operator.imsize, int(operator.factor)
    return Downsampling(img_size=size, filter=magnitude, factor=factor, padding=operator.padding, device=device)


def _decimated(filters: Tensor, factor: int) -> float:
    """Bound the norm of a decimated convolution on the whole plane: the largest over the filters, in float64.

    The square of the bound bounds the symbol of the lags c_n = (k * k~)(factor n): by sum_n |c_n| (Young), or by the
    maximum on a grid (Ehlich & Zeller 1964).
    """
    kernels = filters.detach().to("cpu", torch.float64)
    size = [2 * side - 1 for side in kernels.shape[-2:]]
    correlation = torch.fft.irfft2(torch.fft.rfft2(kernels, s=size).abs() ** 2, s=size)
    lags = [torch.fft.fftfreq(side, 1 / side).round().long() % factor == 0 for side in size]
    kept = torch.fft.fftshift(correlation[..., lags[0], :][..., lags[1]], dim=(-2, -1))
    square = float(kept.abs().sum(dim=(-2, -1)).max())
    grid = [max(64, 16 * side) for side in kept.shape[-2:]]
    peak = float(torch.fft.rfft2(kept, s=grid).abs().max())
    slack = math.prod(math.cos(math.pi * (side // 2) / n) for side, n in zip(kept.shape[-2:], grid, strict=True))
    return math.sqrt(min(square, peak / slack)) * (1 + 1e-12)


@_proof.register
def _(operator: ComposedLinearPhysics, example: Tensor | None = None) -> Bound:
    """||A_k ... A_1|| <= ||A_k|| ... ||A_1||."""
    bounds = []
    for part in operator.physics_list:
        bounds.append(norm_bound(part, example))
        example = None if example is None else part.A(example)
    return _combined(bounds, math.prod(bound.value for bound in bounds), "product")


@_proof.register
def _(operator: StackedLinearPhysics, example: Tensor | None = None) -> Bound:
    """||[A_1; ...; A_k]||^2 <= sum ||A_i||^2."""
    check_stack(operator)
    bounds = [norm_bound(part, example) for part in operator.physics_list]
    return _combined(bounds, math.hypot(*(bound.value for bound in bounds)), "root of the sum of squares")


@_proof.register
def _(operator: Denoising, example: Tensor | None = None) -> Bound:
    gain = float(torch.as_tensor(operator.mask).abs().max())
    return Bound(gain, Side.PROVEN, "the identity" if gain == 1 else "largest entry of a diagonal")


@_proof.register
def _(operator: Inpainting, example: Tensor | None = None) -> Bound:
    return Bound(float(operator.mask.abs().max()), Side.PROVEN, "largest entry of a diagonal")


@_proof.register
def _(operator: Decolorize, example: Tensor | None = None) -> Bound:
    value = float(torch.linalg.vector_norm(operator.srf.double()))
    return Bound(value, Side.PROVEN, "length of the spectral response")


def convolution_bound(filters: Tensor) -> Bound:
    """Return the smaller of two bounds: Young's ||k||_1, exact for kernels without negative entries, and the symbol."""
    kernels = filters.detach().to("cpu", torch.float64)
    axes = tuple(range(2, kernels.ndim))
    young = float(kernels.abs().sum(dim=axes).max())
    if bool((kernels >= 0).all()):
        return Bound(young, Side.PROVEN, "||k||_1 (Young), exact for a non-negative kernel")
    sides = kernels.shape[2:]
    grid = [8 * side for side in sides]
    peak = float(torch.fft.rfftn(kernels, s=grid, dim=axes).abs().max())
    slack = math.prod(math.cos(math.pi * (side - 1) / 2 / n) for side, n in zip(sides, grid, strict=True))
    return Bound(min(young, peak / slack), Side.PROVEN, "symbol on a grid (Ehlich & Zeller 1964) or ||k||_1")


def _schur(magnitude: LinearPhysics, example: Tensor) -> Bound:
    """Return the smallest of three upper bounds for this image size, from row and column sums of |A| (Schur 1911).

    ||A||^2 <= max row sum of |A| times max column sum of |A|, max row sum of |A| |A|^T, max row sum of |A|^T |A|.
    """
    ones = torch.ones_like(example[:1])
    rows = magnitude.A(ones)
    columns = magnitude.A_adjoint(torch.ones_like(rows))
    squares = float(rows.max()) * float(columns.max())
    squares = min(squares, float(magnitude.A(columns).max()), float(magnitude.A_adjoint(rows).max()))
    value = math.sqrt(squares) * (1 + 1e3 * torch.finfo(ones.dtype).eps)
    return Bound(value, Side.PROVEN, "Schur test, an upper bound that is not tight, for this image size only")


def _combined(bounds: list[Bound], value: float, how: str) -> Bound:
    """Combine bounds. The result is PROVEN if all parts are; nothing follows from a measured part, and it says so."""
    side = Side.PROVEN if all(bound.side is Side.PROVEN for bound in bounds) else Side.MEASURED
    premises: dict[Premise, None] = {premise: None for bound in bounds for premise in bound.premises}
    return Bound(value, side, f"{how} of: " + "; ".join(bound.method for bound in bounds), tuple(premises))


def smallest_singular_value(operator: LinearPhysics) -> float:
    """Return a proven lower bound on sigma_min(A); 0 if nothing is known.

    It is the smallest gain of a circular blur, the smallest entry of a diagonal, or the value that an operator returns
    as ``smallest_singular_value()``. Gains are computed in the operator's precision, so values below its rounding error
    count as 0.
    """
    if isinstance(operator, Injective) and is_own(operator, "smallest_singular_value"):
        return float(operator.smallest_singular_value())
    if is_kind(operator, BlurFFT):
        return _smallest_gain(operator)
    if is_kind(operator, Denoising) or is_kind(operator, Inpainting):
        return float(torch.as_tensor(operator.mask).abs().min())
    return 0.0


def _smallest_gain(operator: BlurFFT) -> float:
    """Return the smallest gain of a circular blur, or 0 if A does not multiply each frequency by its gain.

    It does if real and imaginary parts have the same gain, and the frequencies that are their own mirror images have
    the phases of a real filter. Otherwise the transform back to a real image drops a part.
    """
    gains, sides = _gains(operator), operator.img_size[-2:]
    rounding = 100 * torch.finfo(gains.dtype).eps * float(operator.filter.abs().sum(dim=(-2, -1)).max())
    symbol = operator.mask[..., 0] * operator.angle
    kept = torch.fft.rfft2(torch.fft.irfft2(symbol, s=sides), s=sides)
    if float((kept - symbol).abs().max()) > rounding or not torch.equal(gains[..., 0], gains[..., 1]):
        return 0.0
    smallest = float(gains.min())
    return smallest - rounding if smallest > 2 * rounding else 0.0
