r"""Kullback-Leibler divergence with a background: the likelihood of counts."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from deepinv.physics import LinearPhysics
from torch import Tensor

from pnpkit.certificates import Bound
from pnpkit.errors import InputError, StepSizeError
from pnpkit.fidelities.pointwise import Pointwise, rms
from pnpkit.fidelities.separable import Separable, like, positive, readings
from pnpkit.numerics.conjugate_gradients import length


@dataclass(frozen=True)
class Divergence(Pointwise):
    """(s - y log s) / gain, s = v + background, and below s = floor its second-order Taylor polynomial there.

    Attributes:
        floor: the background: v = 0, below which no counts can come from. While a minimum is searched for it is higher.
    """

    background: Tensor
    gain: float
    floor: Tensor

    def _near(self, v: Tensor) -> tuple[Tensor, Tensor]:
        """s cut at the floor; and by how much s lies below it, relative to it. 1 and 0 where y = 0."""
        s = v + self.background
        near = torch.where(self.y > 0, torch.maximum(s, self.floor), 1.0)
        below = torch.where(self.y > 0, (s - near).clamp(max=0), 0.0)
        return near, torch.where(below < 0, below / near, 0.0)

    def value(self, v: Tensor) -> Tensor:
        """(s - y log s) / gain; inf where s <= 0 < y and there is no background."""
        near, below = self._near(v)
        curved = self.y * (near.log() + below - below.square() / 2)
        found = (v + self.background - curved) / self.gain
        return torch.where((near <= 0), torch.inf, found)

    def slope(self, v: Tensor) -> Tensor:
        """(1 - y / s) / gain."""
        near, below = self._near(v)
        found = (1 - self.y / near * (1 - below)) / self.gain
        return torch.where(near <= 0, -torch.inf, found)

    def curvature(self, v: Tensor) -> Tensor:
        """y / s^2 / gain."""
        near, _ = self._near(v)
        return self.y / near.square() / self.gain

    def rounding(self, v: Tensor) -> Tensor:
        """1 / gain, and what an error of v makes of the slope, relative to the brightest reading."""
        brightest = v.abs().amax(tuple(range(1, v.ndim)), keepdim=True)
        return 1 / self.gain + self.curvature(v) * brightest

    def eased(self, factor: float) -> Divergence:
        """With the floor at ``factor`` y, where that is higher: less curved."""
        return replace(self, floor=torch.maximum(self.background.expand_as(self.y), factor * self.y))

    @property
    def steepest(self) -> Tensor:
        """y / background^2 / gain: inf where there is no background for y > 0."""
        return torch.where(self.y > 0, self.y / self.background.square(), 0.0) / self.gain

    @property
    def cancelled(self) -> float:
        """1 / gain and the curvature; inf where that is."""
        return rms(1 / self.gain + self.steepest, self.y)


class KullbackLeibler(Separable):
    """f(x) = 1/gain sum_i s_i - y_i log s_i, s = A x + background: the negative log-likelihood of counts.

    y = gain Poisson(s / gain). Where a background is given and A x < 0, from where no counts can come, phi goes on as
    its second-order Taylor polynomial at 0; so it is convex and L = max y / background^2 / gain ||A||^2 everywhere.
    Where the background is 0 and y > 0, f is inf for (A x)_i <= 0, and L = inf: then gradient steps are refused, and
    the proximal map is what solvers take. Where y = 0, phi is the line s / gain.

    Args:
        operator, norm: as those of ``LeastSquares``.
        y: readings >= 0, one tensor.
        background: b >= 0, in units of y, of a shape that broadcasts to that of y: what is read beside A x.
        gain: units of y per count, > 0.

    Raises:
        InputError: as ``LeastSquares``; a negative reading or background, a gain that is not > 0.
    """

    name = "max y/b^2/gain "

    def __init__(
        self,
        operator: LinearPhysics,
        y: Tensor,
        background: Any = 0.0,
        gain: float = 1.0,
        norm: float | Bound | None = None,
    ):
        y, per_count = check_counts(readings(operator, y)), positive("gain", gain)
        b = like(y, "background", background)
        if not bool((torch.isfinite(b) & (b >= 0)).all()):
            raise InputError("background must be finite numbers >= 0, in units of y")
        super().__init__(operator, Divergence(y, b, per_count, b), norm)

    def with_data(self, y: Any) -> KullbackLeibler:
        """f for another measurement y >= 0; A, the bound on its norm, background and gain stay."""
        return super().with_data(check_counts(readings(self.operator, y)))

    def check_step_size(self, tau: float) -> None:
        """Raise ``StepSizeError`` unless tau is in (0, 2/L), and where L is inf."""
        if math.isinf(self.L):
            raise StepSizeError(
                "Kullback-Leibler has no gradient step where y > 0 and the background is 0: give background > 0, or "
                "take its prox (half_quadratic, continuation, douglas_rachford, admm)"
            )
        super().check_step_size(tau)

    def magnitude(self) -> float:
        """||grad f(0)||, the largest of a batch; where that is inf, ||A^T 1|| / gain."""
        if math.isfinite(self.L):
            return super().magnitude()
        return float(length(self.model().A_adjoint(torch.ones_like(self.y))).max()) / self.phi_gain

    @property
    def phi_gain(self) -> float:
        """Units of y per count."""
        assert isinstance(self.phi, Divergence)
        return self.phi.gain


def check_counts(y: Tensor) -> Tensor:
    """y; ``InputError`` where a reading is negative."""
    least = float(y.min())
    if least < 0:
        raise InputError(
            f"Kullback-Leibler needs readings y >= 0, the least is {least:.4g}: subtract less offset, or take "
            "WeightedLeastSquares"
        )
    return y
