"""Checks of a linear operator: linearity, adjoint and norm. Each raises an error with the measured value.

They are meant for your own operators. pnpkit's tests run them on all of its operators.
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
    """||y|| over all parts of a stack."""
    return sum(float(part.abs().square().sum()) for part in pieces(measurement)) ** 0.5


def check_linear(operator: LinearPhysics, x: Tensor, *, tolerance: float | None = None) -> float:
    """Check linearity: ||A(2u - 3v) - 2 A u + 3 A v|| / (||A u|| + ||A v||) for random images u and v like ``x``.

    Args:
        x: a point of the domain, usually (B, C, H, W).
        tolerance: largest allowed ratio; default 1000 eps of the type of x.

    Returns:
        The ratio.

    Raises:
        LawBroken: the ratio is larger than the tolerance, or the values have different shapes.

    Example:
        >>> import torch
        >>> import pnpkit as pk
        >>> from pnpkit import kernels
        >>> check_linear(pk.blur(kernels.box(3)), torch.rand(1, 3, 8, 8)) < 1e-5
        True
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
    """Check the adjoint: |<A u, w> - <u, A^T w>| / (||A u|| ||w||) for random u like ``x`` and random w.

    The products are summed over the parts of a stack. Arguments and errors are those of ``check_linear``.

    Example:
        >>> import torch
        >>> import pnpkit as pk
        >>> from pnpkit import kernels
        >>> check_adjoint(pk.blur(kernels.box(3)), torch.rand(1, 3, 8, 8)) < 1e-5
        True
    """
    back = operator.A_adjoint(operator.A(x))
    if back.shape != x.shape:
        raise LawBroken(f"not adjoint: A^T returns {tuple(back.shape)}, the domain is {tuple(x.shape)}")
    return _judge("adjoint", adjoint_gap(operator, x), _tolerance(x, tolerance))


def check_norm(
    operator: LinearPhysics, x: Tensor, bound: float | None = None, *, tolerance: float | None = None
) -> Bound:
    """Check a bound on ||A|| by power iteration, which gives a lower bound, and return this lower bound.

    It is compared with ``bound``, or with the proven bound if that is None.

    Raises:
        LawBroken: the lower bound is larger than the bound.
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
