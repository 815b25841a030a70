r"""The proximal map of f(x) = sum_i phi_i((A x)_i) by Newton's method, to an error that the gradient proves.

u = prox_{tau f}(z) minimises h(u) = 1/2 ||u - z||^2 + tau f(u), which is 1-strongly convex: ||u - exact|| <=
||grad h(u)||. So any way to u will do. Here each step solves

    (id + tau A^T diag(phi'') A) s = -grad h(u)

by conjugate gradients and goes along s to where the derivative of h has all but vanished; since f is separable after A,
that search needs A s once. It starts at z, so u is a function of z.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from deepinv.physics import Denoising, Inpainting, LinearPhysics
from torch import Tensor

from pnpkit.errors import InexactWarning, InputError
from pnpkit.fidelities.pointwise import Pointwise
from pnpkit.numerics.conjugate_gradients import conjugate_gradients, inner, length
from pnpkit.operators import normal_equations
from pnpkit.operators.integrity import is_decomposed, is_kind
from pnpkit.operators.normal_equations import LARGEST_ERROR, MAX_STEPS, ROUNDING, TOLERANCE, Linear
from pnpkit.operators.volume import VolumeBlur

OUTER = 60  # steps of Newton's method
FORCING = 0.1  # residual of its equations, relative to the gradient; the last ones are solved to the goal
EASINGS = (0.3, 0.03, 3e-3, 3e-4, 0.0)  # floors of what has a pole, in turn


def error(size: float, dtype: torch.dtype) -> float:
    """The error at which the solver stops: root mean square, pictures in 0..1; ``size`` is tau L.

    Twice the rounding of the normal equations, since A u and y are rounded one by one; where L is inf, ``TOLERANCE``.
    """
    return normal_equations.solver_error(2 * size if math.isfinite(size) else 0.0, dtype)


def premises(bound: float) -> tuple[str, ...]:
    """The premises of the proximal map's certificate."""
    return (
        "the inner solver of prox f is exact: it stops when its gradient, A linear and A_adjoint its adjoint, proves "
        f"an error (root mean square; pictures in 0..1) of {bound:.1g}, or after {OUTER} steps",
    )


@dataclass(frozen=True)
class Model:
    """A on pictures, and what preconditions the equations.

    Attributes:
        ahead, back: A and A^T.
        inverse: scale -> a positive definite map near (id + scale A^T A)^-1.
        spread: the curvature at the readings -> that at the pixels, each a mean over the readings that see it, 0 for
            those that do not exist; None where no such way is known.
        diagonal: the curvature c at the readings -> A^T diag(c) A, where that is diagonal.
        planes: A works on each plane (H, W) by itself, and the maps above on (B, 1, H, W).
    """

    ahead: Linear
    back: Linear
    inverse: Callable[[float], Linear]
    spread: Linear | None = None
    diagonal: Linear | None = None
    planes: bool = False


def model_of(operator: LinearPhysics, example: Tensor) -> Model:
    """A as it is applied fastest to pictures like ``example``."""
    short = normal_equations.framed(operator, example) or normal_equations.periodic(operator, example)
    if short is not None:
        return Model(short.A, short.A_adjoint, short.inverse, short.spread, planes=True)
    if is_kind(operator, VolumeBlur):
        spread = operator.A_adjoint if bool((operator.filter >= 0).all()) else None
        return Model(operator.A, operator.A_adjoint, operator.inverse, spread)
    if is_kind(operator, Denoising) or is_kind(operator, Inpainting):
        square = operator.A_adjoint(operator.A(torch.ones_like(example[:1])))
        return Model(operator.A, operator.A_adjoint, lambda scale: lambda r: r, diagonal=lambda c: c * square)
    if is_decomposed(operator, example):
        return Model(operator.A, operator.A_adjoint, lambda scale: _damped(operator, scale))
    return Model(operator.A, operator.A_adjoint, lambda scale: lambda r: r)


def _damped(operator: Any, scale: float) -> Linear:
    """id - V c V^T, c = scale m^2 / (1 + scale m^2)."""
    square = torch.as_tensor(operator.mask).abs().square()
    cut = scale * square / (1 + scale * square)

    def inverse(r: Tensor) -> Tensor:
        image: Tensor = r - operator.V(cut.to(r.device) * operator.V_adjoint(r)).to(r)
        return image

    return inverse


@dataclass(frozen=True)
class Solver:
    """z -> argmin_u 1/2 ||u - z||^2 + tau sum_i phi_i((A u)_i) on one batch."""

    model: Model
    tau: float
    norm: float

    def gradient(self, phi: Pointwise, z: Tensor, u: Tensor, v: Tensor) -> Tensor:
        """grad h(u), v = A u."""
        return u - z + self.tau * self.model.back(phi.slope(v))

    def goal(self, phi: Pointwise, z: Tensor, v: Tensor) -> Tensor:
        """Where to stop: ``TOLERANCE``, or what the rounding of the gradient allows."""
        cancelled = length(z) + self.tau * self.norm * length(phi.rounding(v))
        rounding = ROUNDING * torch.finfo(z.dtype).eps * cancelled
        return rounding.clamp_min(TOLERANCE * math.sqrt(z[0].numel()))

    def system(self, curvature: Tensor) -> Linear:
        """id + tau A^T diag(phi'') A."""
        return lambda p: p + self.tau * self.model.back(curvature * self.model.ahead(p))

    def __call__(self, phi: Pointwise, z: Tensor) -> Tensor:
        """The minimiser; warns (``InexactWarning``) where its gradient stays above the goal."""
        u, v = z, self.model.ahead(z)
        for factor in EASINGS if phi.eased(1.0) is not phi else EASINGS[-1:]:
            u, v, done = self.descend(phi.eased(factor), phi, z, u, v)
            if done:
                return u
        InexactWarning.tell("the proximal map of a fidelity (a smaller tau is easier)", OUTER)
        return u

    def descend(self, eased: Pointwise, phi: Pointwise, z: Tensor, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor, bool]:
        """Newton's method for the eased phi; whether the gradient of the true one meets the goal."""
        for _ in range(OUTER):
            gradient, goal = self.gradient(eased, z, u, v), self.goal(eased, z, v)
            size = length(gradient)
            going = size > goal
            if not bool(going.any()):
                break
            curvature = eased.curvature(v)
            forcing = 0.0 if eased.quadratic else FORCING
            near = torch.maximum(0.5 * goal, forcing * size)
            inverse = self.inverse(curvature)
            right = torch.where(going, -gradient, 0.0)
            step = conjugate_gradients(self.system(curvature), right, near, MAX_STEPS, inverse)
            image = self.model.ahead(step)
            t = self.along(eased, z, u, v, step, image)
            u, v = u + t * step, v + t * image
        v = self.model.ahead(u)  # again: what proves the error stands on no recurrence
        gradient, goal = self.gradient(phi, z, u, v), self.goal(phi, z, v)
        return u, v, bool((length(gradient) <= goal).all())

    def inverse(self, curvature: Tensor) -> Linear:
        """The preconditioner for that curvature c: the inverse for one c everywhere, or a mixture of two.

        sum_k sqrt(m_k) (id + tau c_k A^T A)^-1 sqrt(m_k), m_k >= 0 with sum_k m_k = 1 and sum_k m_k / c_k = 1 / c: near
        the inverse where c changes slowly.
        """
        if self.model.diagonal is not None:
            damped = 1 / (1 + self.tau * self.model.diagonal(curvature))
            return lambda r: damped * r
        if self.model.spread is None:
            return self.model.inverse(self.tau * float(curvature.mean()))
        local = self.model.spread(curvature)
        high = float(local.max())
        size = self.tau * high * self.norm * self.norm
        if size <= 1:
            return self.model.inverse(self.tau * float(local.mean()))
        low = high / max(3 * math.sqrt(size), 4.0)
        share = ((1 / local.clamp_min(low) - 1 / high) / (1 / low - 1 / high)).clamp(0, 1)
        masks = (share.sqrt(), (1 - share).sqrt())
        inverses = (self.model.inverse(self.tau * low), self.model.inverse(self.tau * high))
        return lambda r: masks[0] * inverses[0](masks[0] * r) + masks[1] * inverses[1](masks[1] * r)

    def along(self, phi: Pointwise, z: Tensor, u: Tensor, v: Tensor, step: Tensor, image: Tensor) -> Tensor:
        """t in (0, 1], per item, where the derivative of h(u + t s) has all but vanished, or still is negative at 1."""

        def derivative(t: Tensor) -> Tensor:
            return inner(u - z + t * step, step) + self.tau * inner(phi.slope(v + t * image), image)

        low, high = torch.zeros_like(inner(step, step)), torch.ones_like(inner(step, step))
        t, first = high, derivative(low)
        for _ in range(30):
            now = derivative(t)
            steep = ~(now <= 0.1 * first.abs())
            flat = (now < 0.5 * first) & (t < 1)
            if not bool((steep | flat).any()):
                break
            low, high = torch.where(flat, t, low), torch.where(steep, t, high)
            t = torch.where(steep | flat, (low + high) / 2, t)
        return t


class Implicit(torch.autograd.Function):
    """u = prox(z) with the derivative (id + tau A^T diag(phi''(A u)) A)^-1, held at u."""

    generate_vmap_rule = False

    @staticmethod
    def forward(z: Tensor, point: Linear, derivative: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        return point(z)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.u, ctx.derivative = output.detach(), inputs[2]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return Symmetric.apply(gradient, ctx.u, ctx.derivative), None, None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: None) -> Tensor:
        moved: Tensor = ctx.derivative(tangent, ctx.u)
        return moved


class Symmetric(torch.autograd.Function):
    """A symmetric linear map of the first argument."""

    @staticmethod
    def forward(g: Tensor, u: Tensor, apply: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        return apply(g, u)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _, ctx.u, ctx.apply = inputs

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return Symmetric.apply(gradient, ctx.u, ctx.apply), None, None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: None) -> Tensor:
        moved: Tensor = ctx.apply(tangent, ctx.u)
        return moved


def proximal_point(
    operator: LinearPhysics, example: Tensor, phi: Pointwise, tau: float, norm: float, L: float
) -> Linear:
    """x -> argmin_u tau f(u) + 1/2 ||u - x||^2 on pictures like ``example``, to an ``error``.

    Raises:
        InputError: a tau whose rounding alone is an error above ``LARGEST_ERROR``.
    """
    largest = LARGEST_ERROR / (2 * ROUNDING * torch.finfo(example.dtype).eps * max(L, 1e-30))
    if math.isfinite(L) and tau > largest:
        name = str(example.dtype).removeprefix("torch.")
        raise InputError(f"tau = {tau:g} is too large for {name}: this proximal map allows at most {largest:.2g}")
    solver = Solver(model_of(operator, example), float(tau), norm)

    def each(function: Callable[[Pointwise, Tensor, Tensor], Tensor], a: Tensor, b: Tensor) -> Tensor:
        """The function of phi and two pictures; plane by plane, in less memory, where A allows that."""
        if not solver.model.planes:
            return function(phi, a, b)
        shape = torch.broadcast_shapes((*a.shape[:2], 1, 1), phi.y.shape)
        planes = phi.each(lambda values: values.expand(shape).flatten(0, 1))
        pairs = enumerate(zip(a.flatten(0, 1), b.flatten(0, 1), strict=True))
        return torch.cat([function(plane(planes, i), p[None, None], q[None, None]) for i, (p, q) in pairs]).view_as(a)

    def find(z: Tensor) -> Tensor:
        return each(lambda phi, z, _: solver(phi, z), z, z)

    def push(phi: Pointwise, g: Tensor, u: Tensor) -> Tensor:
        curvature = phi.curvature(solver.model.ahead(u))
        goal = (ROUNDING * torch.finfo(g.dtype).eps + 1e-5) * length(g)
        return conjugate_gradients(solver.system(curvature), g, goal, MAX_STEPS, solver.inverse(curvature))

    return lambda z: Implicit.apply(z, find, lambda g, u: each(push, g, u))


def plane(phi: Pointwise, i: int) -> Pointwise:
    """phi on the plane i, (1, 1, H, W), of planes (N, H, W)."""
    return phi.each(lambda values: values[i][None, None])
