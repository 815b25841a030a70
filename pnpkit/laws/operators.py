"""Laws that an operator of your own must obey, as functions to run on it; each raises with what it measured.

The suite runs the same functions over its catalogue of operators.
"""

from __future__ import annotations

import torch
from deepinv.physics import LinearPhysics
from deepinv.utils import TensorList
from torch import Tensor

from pnpkit.certificates import Bound, Side
from pnpkit.errors import LawBroken
from pnpkit.operators.adjoint import adjoint_gap, pieces
from pnpkit.operators.norms import measured_norm, norm_bound


def _like(x: Tensor, seed: int) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(x.shape, generator=draw, dtype=x.dtype if x.is_complex() else None).to(x)


def _tolerance(x: Tensor, tolerance: float | None) -> float:
    return tolerance if tolerance is not None else 1e3 * torch.finfo(x.dtype).eps


def _size(measurement: Tensor | TensorList) -> float:
    """||y||, over all parts of a stack."""
    return sum(float(part.abs().square().sum()) for part in pieces(measurement)) ** 0.5


def check_linear(operator: LinearPhysics, x: Tensor, *, tolerance: float | None = None) -> float:
    """||A(2u - 3v) - 2 A u + 3 A v|| / (||A u|| + ||A v||) for random images u and v like ``x``.

    Args:
        x: (B, C, H, W), or what the domain is made of.
        tolerance: default 1000 eps of the type of x.

    Raises:
        LawBroken: the ratio is larger than the tolerance, or the values have different shapes.
    """
    u, v = _like(x, 0), _like(x, 1)
    mixed, au, av = (pieces(operator.A(image)) for image in (2 * u - 3 * v, u, v))
    shapes = {tuple(tuple(part.shape) for part in parts) for parts in (mixed, au, av)}
    if len(shapes) > 1:
        raise LawBroken(f"not linear: images of one shape are mapped to {' and '.join(map(str, shapes))}")
    gap = TensorList([m - 2 * a + 3 * b for m, a, b in zip(mixed, au, av, strict=True)])
    size = max(_size(TensorList(au)) + _size(TensorList(av)), 1e-30)
    return _judge("linear", _size(gap) / size, _tolerance(x, tolerance))


def check_adjoint(operator: LinearPhysics, x: Tensor, *, tolerance: float | None = None) -> float:
    """|<A u, w> - <u, A^T w>| / (||A u|| ||w||) for random u like ``x`` and w; what a stack measures is summed.

    Args and errors are those of ``check_linear``.
    """
    back = operator.A_adjoint(operator.A(x))
    if back.shape != x.shape:
        raise LawBroken(f"not adjoint: A^T returns {tuple(back.shape)}, the domain is {tuple(x.shape)}")
    return _judge("adjoint", adjoint_gap(operator, x), _tolerance(x, tolerance))


def check_norm(
    operator: LinearPhysics, x: Tensor, bound: float | None = None, *, tolerance: float | None = None
) -> Bound:
    """Power iteration must find nothing above ``bound``, or above the proven bound if none is given.

    Returns what power iteration found: a lower bound on ||A||.

    Raises:
        LawBroken: the norm is larger than the bound.
    """
    found = measured_norm(operator, x, iterations=100)
    if bound is None:
        known = norm_bound(operator, x)
        if known.side is not Side.PROVEN:
            return found
        bound = known.value
    if found.value > bound * (1 + _tolerance(x, tolerance)):
        raise LawBroken(f"the norm is at least {found.value:.6g} (power iteration), above the bound {bound:.6g}")
    return found


def _judge(law: str, gap: float, tolerance: float) -> float:
    if not gap <= tolerance:
        raise LawBroken(f"not {law}: relative gap {gap:.3g}, rounding explains {tolerance:.3g}")
    return gap
