"""Check that A_adjoint is the adjoint of A, on random pairs of images (the dot test)."""

from __future__ import annotations

import torch
from deepinv.physics import LinearPhysics
from deepinv.utils import TensorList
from torch import Tensor

ROUNDED = 1e3  # largest relative gap that rounding explains, in units of eps
NEARLY = 1e-6


def random_pair(operator: LinearPhysics, u: Tensor) -> tuple[float, float]:
    """Return <A u, w> - <u, A^T w> and ||A u|| ||w|| for a random w that is 0 where A u is 0.

    Complex products contribute their real part. The parts of a stack are summed.
    """
    image = operator.A(u)
    draw = torch.Generator().manual_seed(1)
    parts = [
        torch.randn(part.shape, generator=draw, dtype=part.dtype if part.is_complex() else None).to(part) * (part != 0)
        for part in pieces(image)
    ]
    w = TensorList(parts) if isinstance(image, TensorList) else parts[0]
    ahead = sum(float((part.conj() * other).sum().real) for part, other in zip(pieces(image), parts, strict=True))
    back = float((u.conj() * operator.A_adjoint(w)).sum().real)
    sizes = [sum(float(part.abs().square().sum()) for part in pieces(v)) ** 0.5 for v in (image, w)]
    return ahead - back, sizes[0] * sizes[1]


def adjoint_gap(operator: LinearPhysics, example: Tensor) -> float:
    """Return |<A u, w> - <u, A^T w>| / (||A u|| ||w||) for u like ``example``. It is 0 up to rounding.

    It is the larger gap of two random pairs: u on the whole picture, and u on its border only. Errors of adjoints occur
    at the border, and among all pixels of a large picture they would hardly show.
    """
    draw = torch.Generator().manual_seed(0)
    u = torch.randn(example.shape, generator=draw, dtype=example.dtype if example.is_complex() else None).to(example)
    rim = torch.ones_like(u)
    if u.ndim == 4:
        rim[..., 1:-1, 1:-1] = 0
    if u.ndim > 4:
        rim[..., 1:-1, 1:-1, 1:-1] = 0
    gaps = (random_pair(operator, start) for start in (u, u * rim))
    return max(abs(gap) / max(size, 1e-30) for gap, size in gaps)


def has_adjoint(operator: LinearPhysics, example: Tensor) -> bool:
    """Whether ``A_adjoint`` passes as the adjoint of A on random images like ``example``.

    Some of deepinv's operators compute in float32 although the input is float64. So a gap of ``NEARLY`` may be
    rounding.
    """
    return adjoint_gap(operator, example) <= max(ROUNDED * torch.finfo(example.dtype).eps, NEARLY)


def pieces(value: Tensor | TensorList) -> list[Tensor]:
    """Return the parts of the measurement of a stack, or the single tensor."""
    return list(value) if isinstance(value, TensorList) else [value]
