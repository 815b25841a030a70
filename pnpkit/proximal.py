r"""Proximal maps prox_g(z) = argmin_u g(u) + 1/2 ||u - z||^2. Each is firmly nonexpansive and carries the proof.

Norms, balls and half spaces are those of one image: a batch (B, ...) is treated image by image. A projection is the
proximal map of an indicator function. If a strength ``weight`` multiplies g inside an iteration with step tau, pass
tau * weight. Complex images are accepted where g depends on magnitudes only.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from deepinv.physics import LinearPhysics
from torch import Tensor

from pnpkit.certificates import EXACT, Certificate, Kind, Side
from pnpkit.errors import InputError
from pnpkit.maps import Map
from pnpkit.numerics.conjugate_gradients import length
from pnpkit.numerics.thresholds import onto_simplex, shrink
from pnpkit.numerics.total_variation import premise, proximal_map, variation
from pnpkit.numerics.wavelets import Basis
from pnpkit.operators import normal_equations
from pnpkit.operators.adjoint import has_adjoint
from pnpkit.operators.data_ball import nearest_in_ball
from pnpkit.operators.integrity import state, unchanged, unwritten, watched, written
from pnpkit.operators.norms import norm_bound


def indicator(x: Tensor) -> Tensor:
    """The indicator function of a set, for points of the set: 0 for each image."""
    return torch.zeros(len(x), dtype=x.real.dtype, device=x.device)


def as_batch(z: Tensor) -> Tensor:
    """Return z if it is a batch (B, ...).

    Raises:
        InputError: z has one dimension or none.
    """
    if z.ndim < 2:
        raise InputError(f"expected a batch of images (B, ...), got {tuple(z.shape)}: z[None] is a batch of one")
    return z


def ordered(z: Tensor) -> Tensor:
    """Return z if it is real, since only real numbers have an order.

    Raises:
        InputError: z is complex.
    """
    if z.is_complex():
        raise InputError("a set of real images has no complex ones: project z.real, or torch.view_as_real(z)")
    return z


def _prox(
    name: str,
    function: Callable[[Tensor], Tensor],
    penalty: Callable[[Tensor], Tensor] | None = indicator,
    *,
    bounded: bool = False,
    lipschitz: float = 1.0,
) -> Map:
    """Build the ``Map`` of a proximal map, with its certificate.

    Args:
        name: the name in the certificate.
        function: z -> prox_g(z).
        penalty: the value of g per image, or None if it cannot be evaluated. The default makes a projection.
        bounded: whether the range of the map is bounded.
        lipschitz: the Lipschitz constant, at most 1.
    """
    method = "proximal map of a convex function: firmly nonexpansive (Moreau 1965)"
    certificate = Certificate(name, lipschitz, 0.5, Side.PROVEN, method, (EXACT,), bounded=bounded, kind=Kind.PROX)
    return Map(function, certificate, objective=penalty, is_projection=penalty is indicator)


def _positive(what: str, value: float, *, zero: bool = True) -> float:
    """Return the value as a float. It must be finite and > 0; 0 is allowed if ``zero`` is True."""
    number = float(value)
    if not (math.isfinite(number) and (number > 0 or (zero and number == 0))):
        raise InputError(f"{what} must be a finite number {'>=' if zero else '>'} 0, got {value}")
    return number


def soft_threshold(weight: float) -> Map:
    """prox of weight ||.||_1: z / |z| max(|z| - weight, 0), for real or complex z.

    Example:
        >>> import torch
        >>> from pnpkit import proximal
        >>> proximal.soft_threshold(0.5)(torch.tensor([[-2.0, 0.3, 1.0]])).tolist()
        [[-1.5, 0.0, 0.5]]
    """
    weight = _positive("weight", weight)
    return _prox(
        f"soft threshold {weight:.6g}",
        lambda z: shrink(z, weight),
        lambda x: weight * x.abs().flatten(1).sum(1),
    )


def group_soft_threshold(weight: float, dim: int = 1) -> Map:
    """prox of weight sum ||z_group||_2. The groups lie along ``dim``; with 1 they are the channels of a pixel.

    Example:
        >>> import torch
        >>> from pnpkit import proximal
        >>> proximal.group_soft_threshold(2.5)(torch.tensor([[[3.0], [4.0]]])).flatten().tolist()
        [1.5, 2.0]
    """
    weight = _positive("weight", weight)

    def shrink_groups(z: Tensor) -> Tensor:
        size = torch.linalg.vector_norm(z, dim=dim, keepdim=True)
        return z * (1 - weight / size.clamp_min(1e-300 if z.dtype == torch.float64 else 1e-30)).clamp_min(0)

    return _prox(
        f"group soft threshold {weight:.6g}",
        shrink_groups,
        lambda x: weight * torch.linalg.vector_norm(x, dim=dim).flatten(1).sum(1),
    )


def tikhonov(weight: float) -> Map:
    """prox of weight/2 ||.||^2: z / (1 + weight), a contraction.

    Example:
        >>> import torch
        >>> from pnpkit import proximal
        >>> proximal.tikhonov(1.0)(torch.tensor([[4.0]])).tolist()
        [[2.0]]
    """
    weight = _positive("weight", weight)
    return _prox(
        f"Tikhonov {weight:.6g}",
        lambda z: z / (1 + weight),
        lambda x: weight / 2 * x.abs().square().flatten(1).sum(1),
        lipschitz=1 / (1 + weight),
    )


def box(low: float, high: float) -> Map:
    """Projection onto {x: low <= x <= high}.

    Example:
        >>> import torch
        >>> from pnpkit import proximal
        >>> T = proximal.box(0, 1)
        >>> T(torch.tensor([[-0.5, 0.25, 2.0]])).tolist(), T.certificate.averagedness
        ([[0.0, 0.25, 1.0]], 0.5)
    """
    if not low <= high:
        raise InputError(f"a box needs low <= high, got low = {low:g}, high = {high:g}")
    finite = math.isfinite(low) and math.isfinite(high)
    projection = _prox(f"proj[{low:g}, {high:g}]", lambda z: ordered(z).clamp(low, high), bounded=finite)
    return replace(projection, box=(low, high) if finite else None)


def nonnegative() -> Map:
    """Projection onto the non-negative orthant.

    Example:
        >>> import torch
        >>> from pnpkit import proximal
        >>> proximal.nonnegative()(torch.tensor([[-1.0, 2.0]])).tolist()
        [[0.0, 2.0]]
    """
    return _prox("proj x >= 0", lambda z: ordered(z).clamp_min(0))


def l2_ball(radius: float, centre: Tensor | float = 0.0) -> Map:
    """Projection onto {x: ||x - centre||_2 <= radius}.

    Example:
        >>> import torch
        >>> from pnpkit import proximal
        >>> proximal.l2_ball(1.0)(torch.tensor([[3.0, 4.0]]).double()).numpy().round(3).tolist()
        [[0.6, 0.8]]
    """
    radius = _positive("radius", radius)

    def project(z: Tensor) -> Tensor:
        offset = as_batch(z) - centre
        return centre + offset * (radius / length(offset).clamp_min(radius if radius > 0 else 1e-30))

    centres = (centre,) if isinstance(centre, Tensor) else ()
    return _prox(f"proj l2 ball {radius:.6g}", watched(project, "the centre", *centres), bounded=True)


def simplex(total: float = 1.0) -> Map:
    """Projection onto {x >= 0: sum x = total}: max(z - t, 0), with t such that the sum is right.

    Held, Wolfe & Crowder 1974.

    Example:
        >>> import torch
        >>> from pnpkit import proximal
        >>> proximal.simplex()(torch.tensor([[2.0, 0.0, 0.0]])).tolist()
        [[1.0, 0.0, 0.0]]
    """
    total = _positive("total", total, zero=False)

    def project(z: Tensor) -> Tensor:
        return onto_simplex(ordered(as_batch(z)).flatten(1), total).view_as(z)

    return _prox(f"proj simplex {total:.6g}", project, bounded=True)


def l1_ball(radius: float) -> Map:
    """Projection onto {x: ||x||_1 <= radius}: |z| is projected onto the simplex and the signs are restored.

    Duchi et al. 2008.

    Example:
        >>> import torch
        >>> from pnpkit import proximal
        >>> proximal.l1_ball(1.0)(torch.tensor([[3.0, 0.0]])).tolist()
        [[1.0, 0.0]]
    """
    radius = _positive("radius", radius, zero=False)

    def project(z: Tensor) -> Tensor:
        flat = ordered(as_batch(z)).flatten(1)
        inside = flat.abs().sum(1, keepdim=True) <= radius
        return torch.where(inside, flat, flat.sign() * onto_simplex(flat.abs(), radius)).view_as(z)

    return _prox(f"proj l1 ball {radius:.6g}", project, bounded=True)


def half_space(normal: Tensor, offset: float) -> Map:
    """Projection onto {x: <normal, x> <= offset}. ``normal`` has the shape of one image.

    Example:
        >>> import torch
        >>> from pnpkit import proximal
        >>> proximal.half_space(torch.tensor([1.0, 0.0]), 1.0)(torch.tensor([[3.0, 5.0]])).tolist()
        [[1.0, 5.0]]
    """
    square = float(normal.square().sum())
    if not square > 0:
        raise InputError("a half space needs a normal that is not zero")

    def project(z: Tensor) -> Tensor:
        excess = (ordered(as_batch(z)) * normal).flatten(1).sum(1).view(-1, *[1] * (z.ndim - 1)) - offset
        return z - normal * (excess.clamp_min(0) / square)

    return _prox("proj half space", watched(project, "the normal", normal))


def affine(matrix: Tensor, right: Tensor) -> Map:
    """Projection onto {x: M x = b}: z - M^+ (M z - b).

    M has the shape (rows, pixels of one image). M^+ comes from an SVD, and the computation is always in float64.

    Example:
        >>> import torch
        >>> from pnpkit import proximal
        >>> sums = torch.ones(1, 2, dtype=torch.float64)
        >>> proximal.affine(sums, torch.tensor([1.0]).double())(torch.zeros(1, 2).double()).numpy().round(6).tolist()
        [[0.5, 0.5]]
    """
    matrix, right = matrix.double(), right.double()
    inverse = torch.linalg.pinv(matrix)
    if float(torch.linalg.vector_norm(matrix @ (inverse @ right) - right)) > 1e-6 * (1 + float(right.norm())):
        raise InputError("the affine set is empty: M x = b has no solution")

    def project(z: Tensor) -> Tensor:
        flat = ordered(as_batch(z)).flatten(1).double()
        return (flat - (flat @ matrix.mT - right) @ inverse.mT).to(z.dtype).view_as(z)

    return _prox("proj affine", watched(project, "the matrix or the right side", matrix, right))


def orthonormal(transform: Callable[[Tensor], Tensor], inverse: Callable[[Tensor], Tensor], prox: Map) -> Map:
    """W^T prox(W z) for an orthonormal W, which is the proximal map of g(W .).

    That W is orthonormal is a premise of the certificate; it is not checked.
    """
    certificate, penalty = prox.certificate, prox.objective
    return Map(
        lambda z: inverse(prox(transform(z))),
        Certificate(
            f"W^T {certificate.name} W",
            certificate.lipschitz,
            certificate.averagedness,
            certificate.side,
            "proximal map in an orthonormal basis",
            premises=("W is orthonormal",),
            parts=(certificate,),
            kind=certificate.kind,
        ),
        objective=None if penalty is None else lambda x: penalty(transform(x)),
        is_projection=prox.is_projection,
    )


def wavelet_soft_threshold(weight: float, wavelet: str = "db4", levels: int = 4) -> Map:
    """prox of weight ||W .||_1 over the details of an orthonormal wavelet basis.

    The coarse approximation is left unchanged. The basis is that of ``wavelets.Basis``.

    Example:
        >>> import torch
        >>> from pnpkit import proximal
        >>> T = proximal.wavelet_soft_threshold(0.1)
        >>> T(torch.rand(1, 3, 16, 16)).shape, T.certificate.averagedness
        (torch.Size([1, 3, 16, 16]), 0.5)
    """
    weight, basis = _positive("weight", weight), Basis(wavelet, levels)

    def shrink_details(z: Tensor) -> Tensor:
        coarse, details = basis.analyse(z)
        return basis.synthesise(coarse, [shrink(d, weight) for d in details])

    def penalty(x: Tensor) -> Tensor:
        return weight * sum((d.abs().flatten(1).sum(1) for d in basis.analyse(x)[1]), indicator(x))

    return _prox(f"wavelet soft threshold {weight:.6g} ({wavelet}, {levels} levels)", shrink_details, penalty)


BALL_ERROR = 10  # error of a projection onto a ball, relative to that of one solution: g has an error as well


def data_ball(operator: LinearPhysics, y: Tensor, radius: float) -> Map:
    r"""Projection onto {x: ||A x - y||_2 <= radius}, per image.

    The projection of a z outside the set is u(g) = argmin_u g/2 ||A u - y||^2 + 1/2 ||u - z||^2 with the g >= 0 for
    which ||A u(g) - y|| = radius; see ``operators.data_ball``.

    Args:
        operator: deepinv physics. Circular blurs, masks and matrices have a closed form of u(g). For other operators
            it is a premise that the inner solver is exact; see ``operators.normal_equations``.
        y: (B, ...) measurements, or one for all images.
        radius: > 0; about sqrt(number of pixels) * noise level.

    Raises:
        InputError: no image comes that close to y.
    """
    radius = _positive("radius", radius, zero=False)
    before, measured = state(operator), written(y)
    start = operator.A_adjoint(y)
    closed = normal_equations.is_closed(operator, start)
    if not closed and not has_adjoint(operator, start):
        raise InputError("the projection onto a data ball needs the adjoint of A, and A_adjoint is none")
    square = norm_bound(operator, start).value ** 2

    def nearest(z: Tensor, data: Tensor) -> tuple[Tensor, float]:
        return nearest_in_ball(operator, z, data, radius, square, closed)

    def project(z: Tensor) -> Tensor:
        if not unchanged(before, operator):
            raise InputError("the operator was changed after the ball was made: make a new one")
        if not unwritten(measured, y):
            raise InputError("y was changed after the ball was made: make a new one")
        data = y.expand(len(z), *y.shape[1:])
        return torch.cat([nearest(z[i : i + 1], data[i : i + 1])[0] for i in range(len(z))])

    weight = max(nearest(start[i : i + 1], y[i : i + 1])[1] for i in range(len(y)))
    map = _prox(f"proj data ball {radius:.6g}", project)
    if closed:
        premises = (*normal_equations.premises(operator, 0.0, y.dtype, closed), EXACT)
        return replace(map, certificate=replace(map.certificate, premises=premises))
    error = BALL_ERROR * normal_equations.solver_error(weight * square, y.dtype)
    premises = (
        f"the solver inside is exact: from A^T y its error is about {error:.1g} (root mean square), no bound is known",
        EXACT,
    )
    return replace(map, certificate=replace(map.certificate, premises=premises), error=error)


def total_variation(weight: float, *, tolerance: float = 1e-4, max_steps: int = 5000) -> Map:
    """prox of weight TV, where TV is isotropic and coupled over the colours (``numerics.total_variation``).

    The exact proximal map is firmly nonexpansive. An inner solver computes it. Its duality gap shows that its error is
    at most ``tolerance`` (root mean square). This error is a premise of the certificate.

    Example:
        >>> import torch
        >>> from pnpkit import proximal
        >>> flat = torch.full((1, 1, 8, 8), 0.5)
        >>> bool((proximal.total_variation(0.1)(flat) - flat).abs().max() < 1e-6)
        True
    """
    weight = _positive("weight", weight)
    map = _prox(
        f"TV {weight:.6g}",
        lambda z: proximal_map(z, weight, tolerance, max_steps),
        lambda x: weight * variation(x),
    )
    premises = (premise(tolerance, max_steps), EXACT)
    return replace(map, certificate=replace(map.certificate, premises=premises), error=tolerance)
