r"""A as the proximal maps of separable data apply it, and what preconditions their equations."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from deepinv.physics import Denoising, Inpainting, LinearPhysics
from torch import Tensor

from pnpkit.operators import normal_equations
from pnpkit.operators.integrity import is_decomposed, is_kind
from pnpkit.operators.normal_equations import Linear
from pnpkit.operators.volume import VolumeBlur

Preconditioner = Callable[[Tensor, float], Linear]


@dataclass(frozen=True)
class Model:
    """A on pictures, and a preconditioner of id + tau A^T diag(c) A.

    Attributes:
        ahead, back: A and A^T.
        inverse: (c, tau) -> a positive definite map near the inverse.
        planes: A works on each plane (H, W) by itself, and the maps above on (B, 1, H, W).
        wide: they take float64, whatever the type that the operator was made in.
    """

    ahead: Linear
    back: Linear
    inverse: Preconditioner
    planes: bool = False
    wide: bool = False


def model_of(operator: LinearPhysics, example: Tensor, dtype: torch.dtype) -> Model:
    """A as it is applied fastest to pictures like ``example``, or, where it takes them, like it in another type."""
    short = normal_equations.fast_blur(operator, example)
    if short is not None:
        short = short.to(dtype)
        inverse = following(short.inverse, short.spread, float(short.gains.abs().max()))
        return Model(short.A, short.A_adjoint, inverse, planes=True, wide=True)
    if is_kind(operator, VolumeBlur):
        return Model(operator.A, operator.A_adjoint, of_volume(operator))
    if is_kind(operator, Denoising) or is_kind(operator, Inpainting):
        return Model(operator.A, operator.A_adjoint, diagonal(operator, example.to(dtype)), wide=True)
    if is_decomposed(operator, example):
        return Model(operator.A, operator.A_adjoint, lambda c, tau: damped(operator, tau * float(c.mean())))
    return Model(operator.A, operator.A_adjoint, lambda c, tau: lambda r: r)


def following(inverse: Callable[[float], Linear], spread: Linear, gain: float) -> Preconditioner:
    """For a blur with ``inverse``: s -> (id + s A^T A)^-1 but for the frame, and the largest gain ``gain``.

    The inverse for one c everywhere, or a mixture of two where c depends on the place:
    sum_k sqrt(m_k) (id + tau c_k A^T A)^-1 sqrt(m_k) with m_k >= 0, sum_k m_k = 1 and sum_k m_k / c_k = 1 / c. Where c
    changes slowly that is near the inverse for weak and for strong gains. c at a pixel is the mean over the readings
    that see it, 0 for those outside of the frame: so the frame is followed, too. How much smaller the second c_k is was
    measured: scripts/prox_cost.py.
    """

    def mixture(curvature: Tensor, tau: float) -> Linear:
        local = spread(curvature)
        high = float(local.max())
        size = tau * high * gain * gain
        if size <= 1:
            return inverse(tau * float(local.mean()))
        low = high / max(3 * math.sqrt(size), 4.0)
        share = ((1 / local.clamp_min(low) - 1 / high) / (1 / low - 1 / high)).clamp(0, 1)
        one, other = share.sqrt(), (1 - share).sqrt()
        weak, strong = inverse(tau * low), inverse(tau * high)
        return lambda r: one * weak(one * r) + other * strong(other * r)

    return mixture


def of_volume(operator: VolumeBlur) -> Preconditioner:
    """For a blur of volumes; with one c everywhere where its kernel is negative somewhere."""
    if not bool((operator.filter >= 0).all()):
        return lambda c, tau: operator.inverse(tau * float(c.mean()))
    total = max(float(operator.filter.sum()), 1e-30)
    return following(operator.inverse, lambda c: operator.A_adjoint(c) / total, total)


def diagonal(operator: LinearPhysics, example: Tensor) -> Preconditioner:
    """For a diagonal A: the inverse itself."""
    square: Tensor = operator.A_adjoint(operator.A(torch.ones_like(example[:1])))

    def inverse(curvature: Tensor, tau: float) -> Linear:
        damping = 1 / (1 + tau * square * curvature)
        return lambda r: damping * r

    return inverse


def damped(operator: Any, scale: float) -> Linear:
    """id - V d V^T, d = scale m^2 / (1 + scale m^2): the inverse for one c everywhere, of a decomposed A."""
    square = torch.as_tensor(operator.mask).abs().square()
    cut = scale * square / (1 + scale * square)

    def inverse(r: Tensor) -> Tensor:
        image: Tensor = r - operator.V(cut.to(r.device) * operator.V_adjoint(r)).to(r)
        return image

    return inverse
