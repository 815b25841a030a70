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
from deepinv.physics import LinearPhysics
from torch import Tensor

from pnpkit.errors import InexactWarning, InputError
from pnpkit.fidelities.models import Model, model_of
from pnpkit.fidelities.pointwise import Pointwise
from pnpkit.numerics.conjugate_gradients import conjugate_gradients, inner, length
from pnpkit.operators.normal_equations import LARGEST_ERROR, MAX_STEPS, ROUNDING, TOLERANCE, Linear

WIDE = 1e-3  # root mean square error by rounding in float32 above which float64 is computed in
OUTER = 60  # steps of Newton's method, at most
FORCING = 0.1  # residual of its equations, relative to the gradient; the last ones are solved to the goal
EASINGS = (0.3, 0.03, 3e-3, 3e-4, 0.0)  # floors, relative to y, of a phi with a pole; in turn, each from the last end


def premises(bound: float) -> tuple[str, ...]:
    """The premises of the proximal map's certificate."""
    return (
        "the inner solver of prox f is exact: it stops when its gradient, A linear and A_adjoint its adjoint, proves "
        f"an error (root mean square, in the units of x) of {bound:.1g}, or after {OUTER} steps",
    )


@dataclass(frozen=True)
class Solver:
    """z -> argmin_u 1/2 ||u - z||^2 + tau sum_i phi_i((A u)_i) on one batch."""

    model: Model
    tau: float
    norm: float
    floor: float

    def gradient(self, phi: Pointwise, z: Tensor, u: Tensor, v: Tensor) -> Tensor:
        """grad h(u), v = A u."""
        return u - z + self.tau * self.model.back(phi.slope(v))

    def goal(self, phi: Pointwise, z: Tensor, v: Tensor) -> Tensor:
        """Where to stop: ``TOLERANCE``, or what the rounding of the gradient allows."""
        cancelled = length(z) + self.tau * self.norm * length(phi.rounding(v))
        return (self.floor * cancelled).clamp_min(TOLERANCE * math.sqrt(z[0].numel()))

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
        """u and A u after Newton's method for the eased phi, and whether they meet the goal for the true one."""
        proven = phi is eased  # v is A u, and not followed by its recurrence
        for _ in range(OUTER):
            gradient, goal = self.gradient(eased, z, u, v), self.goal(eased, z, v)
            size = length(gradient)
            going = size > goal
            if not bool(going.any()):
                break
            curvature = eased.curvature(v)
            forcing = 0.0 if eased.quadratic else FORCING
            near = torch.maximum(0.9 * goal, forcing * size)
            inverse = self.model.inverse(curvature, self.tau)
            right = torch.where(going, -gradient, 0.0)
            step = conjugate_gradients(self.system(curvature), right, near, MAX_STEPS, inverse)
            if eased.quadratic:
                u = u + step
                v = self.model.ahead(u)
                continue
            image, proven = self.model.ahead(step), False
            t = self.along(eased, z, u, v, step, image)
            u, v = u + t * step, v + t * image
        else:
            proven = False
        if proven:
            return u, v, True
        v = self.model.ahead(u)
        gradient, goal = self.gradient(phi, z, u, v), self.goal(phi, z, v)
        return u, v, bool((length(gradient) <= goal).all())

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
        _, ctx.u, ctx.linear = inputs

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return Symmetric.apply(gradient, ctx.u, ctx.linear), None, None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: None) -> Tensor:
        moved: Tensor = ctx.linear(tangent, ctx.u)
        return moved


def proximal_map(
    operator: LinearPhysics, example: Tensor, phi: Pointwise, tau: float, norm: float
) -> tuple[Linear, float]:
    """x -> argmin_u tau f(u) + 1/2 ||u - x||^2 on pictures like ``example``; and a bound on its root mean square error.

    The bound is ``TOLERANCE``, or the rounding of ||A|| tau phi' for pictures in 0..1, times max(1, rms(A^T y)/||A||^2)
    for larger data. Where the rounding is more than ``WIDE`` in float32, float64 is computed in, if A takes it.

    Args:
        example: A^T y.

    Raises:
        InputError: a tau whose rounding alone is an error above ``LARGEST_ERROR``.
    """
    dtype, model = example.dtype, model_of(operator, example, example.dtype)
    size = 1 + tau * norm * phi.cancelled * math.sqrt(phi.y[0].numel() / example[0].numel())
    rounding = ROUNDING * torch.finfo(dtype).eps * size
    if rounding > WIDE and model.wide and dtype == torch.float32 and example.device.type != "mps":
        dtype, model = torch.float64, model_of(operator, example, torch.float64)
        rounding = ROUNDING * torch.finfo(dtype).eps * size
    if LARGEST_ERROR < rounding < math.inf:
        name, largest = str(dtype).removeprefix("torch."), tau * LARGEST_ERROR / rounding
        raise InputError(f"tau = {tau:g} is too large for {name}: this proximal map allows at most {largest:.2g}")
    floor = ROUNDING * torch.finfo(dtype).eps if math.isfinite(rounding) else 0.0
    solver = Solver(model, float(tau), norm, floor)
    phi = phi.each(lambda values: values.to(dtype) if values.is_floating_point() else values)

    def each(function: Callable[[Pointwise, Tensor, Tensor], Tensor], a: Tensor, b: Tensor) -> Tensor:
        """The function of phi and two pictures; plane by plane, in less memory, where A allows that."""
        given, a, b = a.dtype, a.to(dtype), b.to(dtype)
        if not model.planes:
            return function(phi, a, b).to(given)
        shape = torch.broadcast_shapes((*a.shape[:2], 1, 1), phi.y.shape)
        planes = phi.each(lambda values: values.expand(shape).flatten(0, 1))
        pairs = enumerate(zip(a.flatten(0, 1), b.flatten(0, 1), strict=True))
        found = torch.cat([function(plane(planes, i), p[None, None], q[None, None]) for i, (p, q) in pairs])
        return found.view_as(a).to(given)

    def find(z: Tensor) -> Tensor:
        return each(lambda phi, z, _: solver(phi, z), z, z)

    def push(phi: Pointwise, g: Tensor, u: Tensor) -> Tensor:
        curvature = phi.curvature(model.ahead(u))
        goal = (ROUNDING * torch.finfo(dtype).eps + 1e-5) * length(g)
        return conjugate_gradients(solver.system(curvature), g, goal, MAX_STEPS, model.inverse(curvature, solver.tau))

    times = max(1.0, float(example.double().square().mean().sqrt()) / norm**2) if norm > 0 else 1.0
    bound = max(TOLERANCE, times * rounding if floor else 0.0)
    return lambda z: Implicit.apply(z, find, lambda g, u: each(push, g, u)), bound


def plane(phi: Pointwise, i: int) -> Pointwise:
    """phi on the plane i, (1, 1, H, W), of planes (N, H, W)."""
    return phi.each(lambda values: values[i][None, None])
