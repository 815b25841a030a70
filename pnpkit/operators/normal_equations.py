r"""The normal equations (id + tau A^T A) u = b of the proximal map of 1/2 ||A u - y||^2, solved to a proven error.

If A has a singular value decomposition, or carries ``proximal_point``, the solution has a closed form. Otherwise
conjugate gradients solve the equations. Since id + tau A^T A >= id, the residual bounds the error:
||u - exact|| <= ||b - (id + tau A^T A) u||. The solver stops by this bound, for every linear A with its adjoint.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import scipy.fft
import torch
from deepinv.physics import Blur, BlurFFT, LinearPhysics
from deepinv.utils import TensorList
from torch import Tensor

from pnpkit.errors import InputError
from pnpkit.numerics.conjugate_gradients import conjugate_gradients, length
from pnpkit.operators.integrity import Proximable, is_decomposed, is_kind, is_own, orthonormal_premises
from pnpkit.operators.volume import VolumeBlur

TOLERANCE = 2e-5  # root mean square error, in the units of x
MAX_STEPS = 500  # most steps of conjugate gradients
LARGEST_ERROR = 0.1  # root mean square: a tau whose rounding error alone exceeds this is refused
ROUNDING = 5  # units of eps, relative to the right-hand side: no residual falls below it


Linear = Callable[[Tensor], Tensor]


Solver = Callable[[Tensor, Tensor], Tensor]  # (b, a guess) -> u


def _same(u: Tensor) -> Tensor:
    """The identity, used if no preconditioner is known."""
    return u


@dataclass(frozen=True)
class Structure:
    """The functions that apply A^T A and a preconditioner.

    Attributes:
        gram: A^T A.
        inverse: the preconditioner, positive definite and near (id + tau A^T A)^-1; id if none is known.
        planes: whether A works on each plane (H, W) by itself. Then the equations are solved plane by plane, which
            takes less memory.
    """

    gram: Linear
    inverse: Linear = _same
    planes: bool = False


def is_closed(operator: LinearPhysics, example: Tensor) -> bool:
    """Whether the proximal map on images like ``example`` has a closed form."""
    return carries_prox(operator) or is_decomposed(operator, example)


def carries_prox(operator: LinearPhysics) -> bool:
    """Whether the operator carries ``proximal_point`` for the A that it computes."""
    return isinstance(operator, Proximable) and is_own(operator, "proximal_point")


def proximal_point(
    operator: LinearPhysics, y: Tensor | TensorList, tau: Tensor | float, square: float, closed: bool
) -> Linear:
    """Return x -> argmin_u tau/2 ||A u - y||^2 + 1/2 ||u - x||^2, in closed form (``is_closed``) or to a proven error.

    ``square`` is ||A||^2.
    """
    if closed and carries_prox(operator):
        point: Linear = operator.proximal_point(y, tau)
        return point
    data = operator.A_adjoint(y)
    if not closed:
        solve = normal_solver(operator, data, float(tau), square)
        return lambda x: solve(x + tau * data, x)
    # x + V m (U^T y - m V^T x) / (m^2 + 1/tau) is also exact if V is not square, and it rounds like x, not like tau x
    mask = torch.as_tensor(operator.mask, device=data.device)
    mask = mask.to(torch.promote_types(mask.dtype, data.dtype))  # otherwise weights have only the mask's precision
    weight, seen = mask.conj() / (mask.abs().square() + 1 / tau), operator.U_adjoint(y)
    return lambda x: x + operator.V(weight * (seen - mask * operator.V_adjoint(x)))


def normal_solver(operator: LinearPhysics, example: Tensor, tau: float, square: float = 1.0) -> Solver:
    """Return the solver (b, guess) -> (id + tau A^T A)^-1 b on pictures like ``example``.

    The error of each picture is at most ``TOLERANCE`` (root mean square), or what the rounding of b allows. The solver
    takes half the steps if the guess for b = x + tau A^T y is x, as in a restoration (docs/lab-book). It starts at zero
    if gradients are recorded, or if zero has the smaller residual. ``square`` is ||A||^2.

    Raises:
        InputError: the rounding error for this tau alone is above ``LARGEST_ERROR``.
    """
    largest = LARGEST_ERROR / (ROUNDING * torch.finfo(example.dtype).eps * max(square, 1e-30))
    if tau > largest:
        name = str(example.dtype).removeprefix("torch.")
        raise InputError(f"tau = {tau:g} is too large for {name}: this proximal map allows at most {largest:.2g}")
    known = structure(operator, example, tau)

    def system(u: Tensor) -> Tensor:
        return u + tau * known.gram(u)

    def solve(right: Tensor, near: Tensor) -> Tensor:
        rounding = ROUNDING * torch.finfo(right.dtype).eps * length(right)
        goal = rounding.clamp_min(TOLERANCE * math.sqrt(right[0].numel()))
        if torch.is_grad_enabled():  # the steps are differentiated: few steps from a close guess give a poor gradient
            return conjugate_gradients(system, right, goal, MAX_STEPS, known.inverse)
        left = right - system(near)
        nearer = length(left) < length(right)  # otherwise the solver would cancel, and round, more than b
        near, left = torch.where(nearer, near, 0), torch.where(nearer, left, right)
        return near + conjugate_gradients(system, left, goal, MAX_STEPS, known.inverse)

    def solve_planes(right: Tensor, near: Tensor) -> Tensor:
        pairs = zip(right.flatten(0, 1), near.flatten(0, 1), strict=True)
        return torch.cat([solve(plane[None, None], start[None, None]) for plane, start in pairs]).view_as(right)

    return solve_planes if known.planes else solve


def structure(operator: LinearPhysics, example: Tensor, tau: float) -> Structure:
    """Return the structure of A^T A on pictures like ``example``. Unless A is a planar blur, A itself computes it."""

    def whole(u: Tensor) -> Tensor:
        image: Tensor = operator.A_adjoint(operator.A(u))
        return image

    if is_kind(operator, VolumeBlur):
        return Structure(whole, operator.inverse(tau))
    short = fast_blur(operator, example)
    return Structure(whole) if short is None else Structure(short.gram, short.inverse(tau), planes=True)


@dataclass(frozen=True)
class Framed:
    """A = M C E on planes (H, W): E puts zeros around the picture, C is a periodic convolution, M keeps a frame.

    The period is wide enough for the blur, so A^T A = E^T C^T M C E with C diagonal in frequency. Without M the inverse
    of id + tau A^T A is diagonal as well; it is the preconditioner.

    Attributes:
        gains: the factors by which C multiplies the frequencies.
        period, sides: the period, and the sides of the picture.
        frame: the rows and columns that M keeps.
    """

    gains: Tensor
    period: tuple[int, int]
    sides: tuple[int, int]
    frame: tuple[slice, ...]

    def to(self, dtype: torch.dtype) -> Framed:
        """Return the same blur for pictures of another type."""
        return replace(self, gains=self.gains.to(torch.complex128 if dtype == torch.float64 else torch.complex64))

    def whole(self, u: Tensor) -> Tensor:
        """C E u, before M."""
        return torch.fft.irfft2(self.gains * torch.fft.rfft2(u, s=self.period), s=self.period)

    def back(self, framed: Tensor) -> Tensor:
        """Apply E^T C^T to an array on the period."""
        rows, columns = self.sides
        return torch.fft.irfft2(self.gains.conj() * torch.fft.rfft2(framed), s=self.period)[..., :rows, :columns]

    def A(self, u: Tensor) -> Tensor:
        """A u."""
        return self.whole(u)[..., self.frame[0], self.frame[1]]

    def A_adjoint(self, v: Tensor) -> Tensor:
        """A^T v."""
        framed = v.new_zeros(*v.shape[:-2], *self.period)
        framed[..., self.frame[0], self.frame[1]] = v
        return self.back(framed)

    def gram(self, u: Tensor) -> Tensor:
        """A^T A u."""
        blurred = self.whole(u)
        framed = torch.zeros_like(blurred)
        framed[..., self.frame[0], self.frame[1]] = blurred[..., self.frame[0], self.frame[1]]
        return self.back(framed)

    @cached_property
    def _magnitude(self) -> Framed:
        """The blur with the magnitude of this kernel, divided by its sum."""
        taps = torch.fft.irfft2(self.gains, s=self.period).abs()
        return replace(self, gains=torch.fft.rfft2(taps / taps.sum().clamp_min(1e-30)))

    def spread(self, values: Tensor) -> Tensor:
        """Map values at the readings to pixels: each pixel gets the sum over the readings it affects, by the kernel."""
        return self._magnitude.A_adjoint(values)

    def inverse(self, tau: float) -> Linear:
        """E^T (id + tau C^T C)^-1 E."""
        damped, (rows, columns) = 1 / (1 + tau * self.gains.abs().square()), self.sides
        return lambda u: torch.fft.irfft2(damped * torch.fft.rfft2(u, s=self.period), s=self.period)[
            ..., :rows, :columns
        ]


def fast_blur(operator: LinearPhysics, example: Tensor) -> Framed | None:
    """Return a planar blur as ``framed`` or ``periodic`` gives it; None if the operator computes something else."""
    return framed(operator, example) or periodic(operator, example)


def framed(operator: LinearPhysics, example: Tensor) -> Framed | None:
    """Return a planar blur as a periodic convolution in a frame; None if the operator computes something else."""
    frame, (rows, columns) = frame_of(operator, example), example.shape[-2:]
    if frame is None:
        return None
    height, width = (
        scipy.fft.next_fast_len(side + taps - 1, real=True)
        for side, taps in zip((rows, columns), operator.filter.shape[-2:], strict=True)
    )
    gains = torch.fft.rfft2(operator.filter.to(example), s=(height, width))
    short = Framed(gains, (height, width), (rows, columns), frame)
    return short if agrees(short.gram, operator, example) else None


def periodic(operator: LinearPhysics, example: Tensor) -> Framed | None:
    """Return a planar circular blur, whose frame is the whole period; None if the operator computes something else."""
    if not is_kind(operator, BlurFFT) or example.ndim != 4 or operator.filter.shape[:2] != (1, 1):
        return None
    rows, columns = example.shape[-2:]
    gains, frame = operator.mask[..., 0] * operator.angle, (slice(0, rows), slice(0, columns))
    whole = Framed(gains, (rows, columns), (rows, columns), frame).to(example.dtype)
    return whole if agrees(whole.gram, operator, example) else None


def agrees(gram: Linear, operator: LinearPhysics, example: Tensor) -> bool:
    """Whether a fast A^T A equals the operator's A^T A on a random plane (1, 1, H, W) like ``example``."""
    plane = torch.randn(1, 1, *example.shape[-2:], generator=torch.Generator().manual_seed(3)).to(example)
    short, long = gram(plane), operator.A_adjoint(operator.A(plane))
    scale = float(operator.filter.abs().sum()) ** 2 * float(plane.norm())
    return float((short - long).norm()) <= 1e3 * torch.finfo(example.dtype).eps * scale


def frame_of(operator: LinearPhysics, example: Tensor) -> tuple[slice, ...] | None:
    """Return rows and columns of the full convolution that a planar blur keeps; None if the operator is no frame."""
    if not is_kind(operator, Blur) or operator.filter.ndim != 4 or example.ndim != 4:
        return None
    pairs = list(zip(example.shape[-2:], operator.filter.shape[-2:], strict=True))
    if operator.filter.shape[:2] != (1, 1) or any(taps % 2 == 0 or taps > side for side, taps in pairs):
        return None
    if operator.padding == "valid":
        return tuple(slice(taps - 1, side) for side, taps in pairs)
    if operator.padding == "constant":
        return tuple(slice(taps // 2, taps // 2 + side) for side, taps in pairs)
    return None


def solver_error(size: float, dtype: torch.dtype) -> float:
    """Return the root mean square error at which the inner solver stops, in the units of x.

    ``size`` is tau ||A||^2 for pictures in 0..1, and more for larger data (``LeastSquares.counted``).
    """
    return max(TOLERANCE, ROUNDING * torch.finfo(dtype).eps * (1 + size))


def premises(operator: LinearPhysics, size: float, dtype: torch.dtype, closed: bool) -> tuple[str, ...]:
    """Return the premises of the proximal map's certificate. ``size`` is tau ||A||^2."""
    if closed:
        return () if carries_prox(operator) else orthonormal_premises(operator)
    return (
        "the inner solver of prox f is exact: it stops when its residual, A linear and A_adjoint its adjoint, proves "
        f"an error (root mean square, in the units of x) of {solver_error(size, dtype):.1g}, "
        f"or after {MAX_STEPS} steps",
    )
