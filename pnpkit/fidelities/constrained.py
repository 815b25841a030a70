r"""A data term on a box: f(x) where low <= x <= high, inf elsewhere. low may be a number or vary from place to place.

    prox_{tau f + box}(x) = argmin_{low <= u <= high} tau f(u) + 1/2 ||u - x||^2

Half-quadratic splitting has the box behind the denoiser: then the point next to the data may be negative, at a price
that falls with 1 / tau. Where a blur is wide, that price is small beside what the data say, and most of what positivity
is worth is lost. Here the point next to the data is in the box, too.
"""

from __future__ import annotations

import math

import torch
from deepinv.utils import TensorList
from torch import Tensor

from pnpkit.certificates import Side
from pnpkit.errors import InexactWarning, InputError
from pnpkit.fidelities.data import DataTerm, ProximalPoint
from pnpkit.maps import Map

CHECKED, MOST = 10, 2000  # steps between two looks at the error, and at most
GOAL, ROUNDING = 1e-4, 8.0  # least error (root mean square), and rounding errors that a gradient may be off by


class Constrained(DataTerm):
    """f on the box ``limits``, where f is smooth with a proven L.

    Args:
        inner: f. limits: (low, high). floor: (B, C, H, W) as x, what x may not lie below, either, or None.

    Raises:
        InputError: an empty box, or an L that is not proven.
    """

    def __init__(self, inner: DataTerm, limits: tuple[float, float], floor: Tensor | None = None):
        if inner.side is not Side.PROVEN or not math.isfinite(inner.L):
            raise InputError(f"a data term on a box needs a proven, finite L: {inner.method}")
        if not limits[0] <= limits[1]:
            raise InputError(f"a box needs low <= high, got {limits}")
        if floor is not None and not bool((floor <= limits[1]).all()):
            raise InputError(f"a box needs a floor below its top, {limits[1]:g}, got up to {float(floor.max()):g}")
        vars(self).update({name: value for name, value in vars(inner).items() if name != "has_closed_prox"})
        self.inner, self.limits, self.floor = inner, limits, floor
        self._watch()

    def watched(self) -> list[Tensor]:
        """The tensors that must stay as they are: those of f, and the floor."""
        return [*self.inner.watched(), *([] if self.floor is None else [self.floor])]

    def with_data(self, y: Tensor | TensorList) -> Constrained:
        """f on the same box for another measurement y."""
        return Constrained(self.inner.with_data(y), self.limits, self.floor)

    def value(self, x: Tensor) -> Tensor:
        """f(x) per image, shape (B,), for x in the box."""
        return self.inner.value(x)

    def gradient(self, x: Tensor) -> Tensor:
        """grad f(x)."""
        return self.inner.gradient(x)

    def gradient_step(self, tau: float | None = None) -> Map:
        """Raise ``InputError``: a gradient step leaves the box. There is ``prox``."""
        raise InputError("a data term on a box has no gradient step: use prox(tau), or f itself with limits")

    def magnitude(self) -> float:
        """The size of grad f(0), the largest of a batch."""
        return self.inner.magnitude()

    def proximal_point(self, tau: float) -> ProximalPoint:
        """By accelerated projected gradient steps on h = tau f + 1/2 ||. - x||^2, which is 1-strongly convex and
        (1 + tau L)-smooth (Nesterov 2004, 2.2.4).

        After a step from v to p the vector g = grad h(p) - grad h(v) + (1 + tau L) (v - p) is a subgradient of h and
        the box at p, so ||p - exact|| <= ||g||. They stop when that is small enough.
        """
        y = self.y
        assert isinstance(y, Tensor), "stacks have no box"
        size, pull, goal = steps_for(tau * self.L, float(y.square().mean().sqrt()), y.dtype)

        def inside(x: Tensor) -> Tensor:
            x = x.clamp(*self.limits)
            return x if self.floor is None else torch.maximum(x, self.floor.to(x))

        def nearest(x: Tensor) -> Tensor:
            u = v = inside(x)
            for step in range(MOST):
                slope = tau * self.gradient(v) + (v - x)
                p = inside(v - slope / size)
                if step % CHECKED == CHECKED - 1:
                    g = tau * self.gradient(p) + (p - x) - slope + size * (v - p)
                    if float(g.square().flatten(1).mean(1).max().sqrt()) <= goal:  # of each picture
                        return p
                u, v = p, p + pull * (p - u)
            InexactWarning.tell("the solver of the data term on a box", MOST)
            return u

        premise = (
            "the inner solver of the data term on a box is exact: it stops when a subgradient proves an error (root "
            f"mean square) of {goal:.1g}, or after {MOST} steps"
        )
        return ProximalPoint(nearest, goal, (premise,))


def steps_for(stiffness: float, size: float, dtype: torch.dtype) -> tuple[float, float, float]:
    """The curvature 1 + tau L that steps are divided by, the momentum, and the error (root mean square) that ends them.

    Args:
        stiffness: tau L. size: root mean square of the data. dtype: of the data.
    """
    curvature = 1 + stiffness
    root = math.sqrt(1 / curvature)
    goal = max(GOAL, ROUNDING * torch.finfo(dtype).eps * curvature * size)
    return curvature, (1 - root) / (1 + root), goal
