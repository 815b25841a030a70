r"""The nearest image in a data ball {x: ||A x - y||_2 <= radius}.

For an image z outside the ball it is u(g) = argmin_u g/2 ||A u - y||^2 + 1/2 ||u - z||^2 with the g > 0 for which
||A u(g) - y|| = radius. Newton's method finds g from below, applied to 1/||A u(g) - y||, which is concave in g: its
iterates rise to the root (Reinsch 1971).
"""

from __future__ import annotations

import torch
from deepinv.physics import LinearPhysics
from torch import Tensor

from pnpkit.errors import InputError
from pnpkit.operators import normal_equations

STEPS = 100  # most steps of Newton's method: the root is found long before, or there is none
SLACK = 1e-3  # a residual may exceed the radius by this share, in units of sqrt(eps), and count as in the ball


def nearest_in_ball(
    operator: LinearPhysics, z: Tensor, y: Tensor, radius: float, square: float, closed: bool
) -> tuple[Tensor, float]:
    """Return the point of the ball that is nearest to the image z, and its g, which is 0 if z is in the ball.

    Args:
        operator: A, with its adjoint.
        z: (1, ...), one image.
        y: (1, ...), its measurement.
        radius: > 0.
        square: ||A||^2.
        closed: whether u(g) has a closed form; see ``normal_equations.is_closed``.

    Raises:
        InputError: no image comes that close to y.
    """
    u, weight = z, torch.zeros((), dtype=z.dtype, device=z.device)
    nothing = torch.zeros_like(y)
    for _ in range(STEPS):
        residual = operator.A(u) - y
        size = torch.linalg.vector_norm(residual)
        if float(size) <= radius * (1 + SLACK * torch.finfo(z.dtype).eps ** 0.5):
            return u, float(weight)
        pulled = operator.A_adjoint(residual)
        if float(weight) > 0:
            pulled = normal_equations.proximal_point(operator, nothing, weight, square, closed)(pulled)
        slope = (residual * operator.A(pulled)).sum()  # -d/dg of ||residual||^2 / 2
        if not float(slope) > 0:
            break
        weight = weight + (size / radius - 1) * size.square() / slope
        u = normal_equations.proximal_point(operator, y, weight, square, closed)(z)
    raise InputError(f"the data ball is empty: no image comes within {radius:.4g} of the measurement")
