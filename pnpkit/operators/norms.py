"""The norm of a forward model: proven where its structure allows a proof, measured otherwise and labelled so."""

from __future__ import annotations

import math
from dataclasses import dataclass
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

from pnpkit.certificates import Side
from pnpkit.errors import InputError
from pnpkit.numerics.norms import matrix_norm_bound
from pnpkit.operators.integrity import is_kind
from pnpkit.operators.matrix import MatrixPhysics


@dataclass(frozen=True)
class NormBound:
    """||A||: an upper bound when ``side`` is PROVEN, a lower bound when MEASURED."""

    value: float
    side: Side
    method: str


COMPRESSIONS = ("valid", "circular", "constant", "zeros", "zero")  # paddings that never raise the norm


def norm_bound(operator: LinearPhysics, example: Tensor | None = None) -> NormBound:
    """Bound on the norm of a forward model.

    Args:
        operator: any deepinv ``LinearPhysics``. What is proven of a class is not said of a subclass with an A or
            adjoint of its own.
        example: an image of the operator's domain; only power iteration, the way out for operators whose
            structure is not known here, needs it.
    """
    kind = next(kind for kind in type(operator).__mro__ if kind in _proof.registry)
    return (_proof if is_kind(operator, kind) else _measured)(operator, example)


def _measured(operator: LinearPhysics, example: Tensor | None = None) -> NormBound:
    if example is None:
        raise TypeError(f"no proof is known for {type(operator).__name__}: an example image is needed to measure")
    return measured_norm(operator, example)


_proof = singledispatch(_measured)


def check_stack(operator: LinearPhysics) -> None:
    """Refuse a stack whose A_adjoint is not the adjoint."""
    if isinstance(operator, StackedLinearPhysics) and operator.reduction is not sum:
        raise InputError("a stack needs the adjoint that sums over its parts: make it with reduction='sum'")


def squares(measurement: Tensor | TensorList) -> Tensor:
    """||y||^2 for each item of the batch, (B,): of one tensor, or over all of what a stack measures."""
    parts = measurement if isinstance(measurement, TensorList) else (measurement,)
    return torch.stack([part.abs().square().flatten(1).sum(1) for part in parts]).sum(0)


def measured_norm(operator: LinearPhysics, example: Tensor, iterations: int = 50) -> NormBound:
    """Power iteration on A^T A: a lower bound. Never a proof."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(example.shape, generator=generator).to(example)
    norm = 0.0
    for _ in range(iterations):
        x = x / torch.linalg.vector_norm(x).clamp_min(1e-30)
        image = operator.A(x)
        norm = max(norm, math.sqrt(float(squares(image).sum())))
        x = operator.A_adjoint(image)
    return NormBound(norm, Side.MEASURED, f"power iteration, {iterations} steps: a lower bound")


@_proof.register
def _(operator: BlurFFT, example: Tensor | None = None) -> NormBound:
    rounding = 1 + 1e3 * torch.finfo(operator.mask.dtype).eps
    gain, bound = float(_gains(operator).max()), _convolution(operator.filter)
    cut = any(taps > side for taps, side in zip(operator.filter.shape[-2:], operator.img_size[-2:], strict=True))
    if cut or gain > bound.value * rounding:  # deepinv cuts such a kernel, and computes by the gains it once found
        return NormBound(gain * rounding, Side.PROVEN, "largest gain at this image size")
    return bound


def _gains(operator: BlurFFT) -> Tensor:
    """What a circular blur multiplies each frequency by: A computes with these, whatever became of the filter."""
    return operator.mask.abs() * operator.angle.abs().unsqueeze(-1)


@_proof.register
def _(operator: Blur, example: Tensor | None = None) -> NormBound:
    planar = operator.filter.ndim == 4
    if planar and operator.padding in COMPRESSIONS:
        return _convolution(operator.filter)
    if example is None:
        raise TypeError(f"the norm of a blur with padding '{operator.padding}' depends on the size: give an example")
    if not planar or adjoint_gap(operator, example) > 1e3 * torch.finfo(example.dtype).eps:
        return measured_norm(operator, example)  # deepinv's adjoint is none for replicated borders and one-row kernels
    return _schur(Blur(operator.filter.abs(), padding=operator.padding, device=operator.filter.device), example)


@_proof.register
def _(operator: Downsampling, example: Tensor | None = None) -> NormBound:
    """The smaller of two proofs: decimation has norm 1; and, for compressions, Young's inequality for A A^T.

    On the whole plane A A^T convolves with the autocorrelation of the filter, decimated. With 'valid' the operator is
    a compression of that one. For squares that do not overlap it is exact: ||k||_2.
    """
    if operator.filter is None:
        return NormBound(1.0, Side.PROVEN, "decimation")
    blurred = norm_bound(Blur(operator.filter, padding=operator.padding, device=operator.filter.device), example)
    if operator.padding == "valid":
        value = _decimated(operator.filter, int(operator.factor))
        if value < blurred.value:
            return NormBound(value, Side.PROVEN, "A A^T is a convolution: Young, exact when the filter is non-negative")
    return NormBound(blurred.value, blurred.side, "that of the blur before the decimation: an upper bound, not tight")


@_proof.register
def _(operator: Upsampling, example: Tensor | None = None) -> NormBound:
    """That of its adjoint."""
    bound: NormBound = _proof.registry[Downsampling](operator, None if example is None else operator.A(example))
    return bound


def _decimated(filters: Tensor, factor: int) -> float:
    """sqrt(sum_n |(k * k~)(factor n)|), the largest over filters, in float64."""
    kernels = filters.detach().to("cpu", torch.float64)
    size = [2 * side - 1 for side in kernels.shape[-2:]]
    correlation = torch.fft.irfft2(torch.fft.rfft2(kernels, s=size).abs() ** 2, s=size)
    lags = [torch.fft.fftfreq(side, 1 / side).round().long() % factor == 0 for side in size]
    sums = correlation.abs()[..., lags[0], :][..., lags[1]].sum(dim=(-2, -1))
    return math.sqrt(float(sums.max())) * (1 + 1e-12)


@_proof.register
def _(operator: ComposedLinearPhysics, example: Tensor | None = None) -> NormBound:
    """||A_k ... A_1|| <= ||A_k|| ... ||A_1||."""
    bounds = []
    for part in operator.physics_list:
        bounds.append(norm_bound(part, example))
        example = None if example is None else part.A(example)
    return _combined(bounds, math.prod(bound.value for bound in bounds), "product")


@_proof.register
def _(operator: StackedLinearPhysics, example: Tensor | None = None) -> NormBound:
    """||[A_1; ...; A_k]||^2 <= sum ||A_i||^2."""
    check_stack(operator)
    bounds = [norm_bound(part, example) for part in operator.physics_list]
    return _combined(bounds, math.hypot(*(bound.value for bound in bounds)), "root of the sum of squares")


@_proof.register
def _(operator: Denoising, example: Tensor | None = None) -> NormBound:
    gain = float(torch.as_tensor(operator.mask).abs().max())
    return NormBound(gain, Side.PROVEN, "the identity" if gain == 1 else "largest entry of a diagonal")


@_proof.register
def _(operator: Inpainting, example: Tensor | None = None) -> NormBound:
    return NormBound(float(operator.mask.abs().max()), Side.PROVEN, "largest entry of a diagonal")


@_proof.register
def _(operator: Decolorize, example: Tensor | None = None) -> NormBound:
    value = float(torch.linalg.vector_norm(operator.srf.double()))
    return NormBound(value, Side.PROVEN, "length of the spectral response")


@_proof.register
def _(operator: MatrixPhysics, example: Tensor | None = None) -> NormBound:
    return NormBound(matrix_norm_bound(operator.matrix), Side.PROVEN, "SVD in float64")


def adjoint_gap(operator: LinearPhysics, example: Tensor) -> float:
    """|<A u, w> - <u, A^T w>| / (||A u|| ||w||), u like ``example``: 0 but for rounding. The larger one of two random
    pairs: u on the whole picture, and u on its border alone, w where A u is not 0: there adjoints go wrong, and among
    the pixels of a large picture it would hardly be seen."""
    u = torch.randn(example.shape, generator=torch.Generator().manual_seed(0)).to(example)
    rim = torch.ones_like(u)
    if u.ndim >= 4:
        rim[..., 1:-1, 1:-1] = 0
    gaps = []
    for start in (u, u * rim):
        image = operator.A(start)
        w = torch.randn(image.shape, generator=torch.Generator().manual_seed(1)).to(image) * (image != 0)
        scale = float((image.norm() * w.norm()).clamp_min(1e-30))
        gaps.append(abs(float((image * w).sum() - (start * operator.A_adjoint(w)).sum())) / scale)
    return max(gaps)


def _convolution(filters: Tensor) -> NormBound:
    """The smaller of two proofs: Young's ||k||_1, exact for kernels without negative entries, and the symbol."""
    kernels = filters.detach().to("cpu", torch.float64)
    young = float(kernels.abs().sum(dim=(-2, -1)).max())
    if bool((kernels >= 0).all()):
        return NormBound(young, Side.PROVEN, "||k||_1 (Young), exact for a non-negative kernel")
    height, width = kernels.shape[-2:]
    rows, columns = 8 * height, 8 * width
    peak = float(torch.fft.rfft2(kernels, s=(rows, columns)).abs().max())
    slack = math.cos(math.pi * (height - 1) / 2 / rows) * math.cos(math.pi * (width - 1) / 2 / columns)
    return NormBound(min(young, peak / slack), Side.PROVEN, "symbol on a grid (Ehlich & Zeller 1964) or ||k||_1")


def _schur(magnitude: LinearPhysics, example: Tensor) -> NormBound:
    """||A||^2 <= max row sum of |A| times max column sum of |A| (Schur 1911): an upper bound for this image size."""
    ones = torch.ones_like(example[:1])
    rows = magnitude.A(ones)
    columns = magnitude.A_adjoint(torch.ones_like(rows))
    value = math.sqrt(float(rows.max()) * float(columns.max())) * (1 + 1e3 * torch.finfo(ones.dtype).eps)
    return NormBound(value, Side.PROVEN, "Schur test, an upper bound that is not tight, for this image size only")


def _combined(bounds: list[NormBound], value: float, how: str) -> NormBound:
    """An upper bound when all parts are; nothing follows from a measured part, and the label says so."""
    side = Side.PROVEN if all(bound.side is Side.PROVEN for bound in bounds) else Side.MEASURED
    return NormBound(value, side, f"{how} of: " + "; ".join(bound.method for bound in bounds))


def smallest_singular_value(operator: LinearPhysics) -> float:
    """A proven lower bound on sigma_min(A): the smallest gain of a circular blur, 0 where nothing is known.

    The gains are computed in the operator's precision, so what is below its rounding counts as 0.
    """
    if is_kind(operator, BlurFFT):
        gains = _gains(operator)
        rounding = 100 * torch.finfo(gains.dtype).eps * float(operator.filter.abs().sum(dim=(-2, -1)).max())
        smallest = float(gains.min())
        return smallest - rounding if smallest > 2 * rounding else 0.0
    if is_kind(operator, MatrixPhysics):
        rows, columns = operator.matrix.shape
        values = operator.decomposition()[1]
        rounding = float(values[0]) * max(rows, columns) * 2.0**-50
        return max(0.0, float(values[-1]) - rounding) if rows >= columns else 0.0
    if is_kind(operator, Denoising):
        return float(torch.as_tensor(operator.mask).abs().min())
    return 0.0
