"""Whether A_adjoint is the adjoint of A, by random pairs of images (the dot test)."""

from __future__ import annotations

import torch
from deepinv.physics import LinearPhysics
from deepinv.utils import TensorList
from torch import Tensor

ROUNDED = 1e3  # in units of eps: a relative gap that rounding explains
NEARLY = 1e-6


def random_pair(operator: LinearPhysics, u: Tensor) -> tuple[float, float]:
    """<A u, w> - <u, A^T w> and ||A u|| ||w|| for a random w where A u is not 0.

    Of complex products the real part; the parts of a stack are summed.
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
    """|<A u, w> - <u, A^T w>| / (||A u|| ||w||), u like ``example``: 0 but for rounding.

    The larger one of two random pairs: u on the whole picture, and u on its border alone. Adjoints go wrong there, and
    among the pixels of a large picture it would hardly be seen.
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
    """Whether ``A_adjoint`` passes for the adjoint of A on random images like ``example``.

    Some of deepinv's operators compute in float32 what is given in float64: a gap of ``NEARLY`` may be rounding.
    """
    return adjoint_gap(operator, example) <= max(ROUNDED * torch.finfo(example.dtype).eps, NEARLY)


def pieces(value: Tensor | TensorList) -> list[Tensor]:
    """The parts of what a stack measures, or the one tensor."""
    return list(value) if isinstance(value, TensorList) else [value]
