"""Laws that an operator of your own must obey, as functions to run on it; each raises with what it measured."""

from __future__ import annotations

import torch
from deepinv.physics import LinearPhysics
from torch import Tensor

from pnpkit.certificates import Side
from pnpkit.errors import LawBroken
from pnpkit.operators.norms import NormBound, adjoint_gap, measured_norm, norm_bound


def _like(x: Tensor, seed: int) -> Tensor:
    return torch.randn(x.shape, generator=torch.Generator().manual_seed(seed)).to(x)


def _tolerance(x: Tensor, tolerance: float | None) -> float:
    return tolerance if tolerance is not None else 1e3 * torch.finfo(x.dtype).eps


def check_linear(operator: LinearPhysics, x: Tensor, *, tolerance: float | None = None) -> float:
    """||A(2u - 3v) - 2 A u + 3 A v|| / ||A u|| on random images like ``x``; returns it or raises ``LawBroken``."""
    u, v = _like(x, 0), _like(x, 1)
    au, av = operator.A(u), operator.A(v)
    gap = float((operator.A(2 * u - 3 * v) - 2 * au + 3 * av).norm() / (au.norm() + av.norm()).clamp_min(1e-30))
    return _judge("linear", gap, _tolerance(x, tolerance))


def check_adjoint(operator: LinearPhysics, x: Tensor, *, tolerance: float | None = None) -> float:
    """|<A u, w> - <u, A^T w>| / (||A u|| ||w||) on random u like ``x``; returns it or raises ``LawBroken``."""
    back = operator.A_adjoint(operator.A(x))
    if back.shape != x.shape:
        raise LawBroken(f"not adjoint: A^T returns {tuple(back.shape)}, the domain is {tuple(x.shape)}")
    return _judge("adjoint", adjoint_gap(operator, x), _tolerance(x, tolerance))


def check_norm(
    operator: LinearPhysics, x: Tensor, bound: float | None = None, *, tolerance: float | None = None
) -> NormBound:
    """That power iteration finds nothing above the bound: yours, or the proven one; returns what it found."""
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
