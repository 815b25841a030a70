r"""Least squares, 1/2 ||A x - y||^2."""

from __future__ import annotations

import math
from functools import cached_property

import torch
from torch import Tensor

from pnpkit.certificates import Certificate, Kind, Side
from pnpkit.fidelities.data import DataTerm
from pnpkit.maps import Map
from pnpkit.operators import normal_equations
from pnpkit.operators.adjoint import pieces
from pnpkit.operators.norms import squares


class LeastSquares(DataTerm):
    """f(x) = 1/2 ||A x - y||^2, summed over pixels and channels, per image of the batch.

    Args:
        operator, norm: as those of ``DataTerm``: A, any deepinv ``LinearPhysics``, and a bound on ||A|| or None.
        y: the measurement, (B, C, H, W); a ``TensorList`` for a stack of operators.

    L = ||A||^2; errors are those of ``DataTerm``.

    Example:
        >>> import torch
        >>> import pnpkit as pk
        >>> from pnpkit.operators.matrix import from_matrix
        >>> f = pk.LeastSquares(from_matrix(torch.diag(torch.tensor([1.0, 2.0]))), torch.ones(1, 2))
        >>> round(f.L, 3), round(f.mu, 3), f.value(torch.zeros(1, 2)).tolist()
        (4.0, 1.0, [1.0])
    """

    def magnitude(self) -> float:
        """||A^T y||, the largest of a batch."""
        return float(torch.linalg.vector_norm(self.start().flatten(1), dim=1).max())

    def value(self, x: Tensor) -> Tensor:
        """f(x) per image, shape (B,)."""
        return 0.5 * squares(self.model().A(x) - self.y)

    def gradient(self, x: Tensor) -> Tensor:
        """A^T (A x - y)."""
        return self.model().A_adjoint(self.operator.A(x) - self.y)

    @cached_property
    def has_closed_prox(self) -> bool:
        """Whether prox_{tau f} is known in closed form."""
        return normal_equations.is_closed(self.operator, self.start())

    def counted(self, tau: float) -> float:
        """What the rounding of the inner solver is counted by: c (1 + tau L) - 1, c = max(1, rms(A^T y) / L).

        The solver rounds like x + tau A^T y. For pictures in 0..1 c is 1.
        """
        rms = self.magnitude() / math.sqrt(self.start()[0].numel())
        times = max(1.0, rms / self.L) if self.L > 0 else 1.0
        return times * (1 + tau * self.L) - 1

    def prox(self, tau: float) -> Map:
        """prox_{tau f}(x) = argmin_u f(u) + 1/(2 tau) ||u - x||^2, for any tau > 0: firmly nonexpansive.

        In closed form where the physics has a singular value decomposition; otherwise by conjugate gradients to a
        proven error, which is named as a premise; see ``operators.normal_equations``. The proof needs no norm of A;
        how large the error may be is counted by tau L and the size of the data.

        Raises:
            InputError: a tau that is not finite, not > 0, or too large for the precision of y; an A whose A_adjoint is
                not its adjoint.
        """
        self.check_prox(tau)
        dtype = pieces(self.y)[0].dtype
        closed, size = self.has_closed_prox, self.counted(tau)
        method = f"proximal map of a convex function, tau = {tau:.6g}, " + ("closed form" if closed else "iterative")
        premises = normal_equations.premises(self.operator, size, dtype, closed)
        if premises and not closed and self.side is not Side.PROVEN:
            premises += (f"that error counts on ||A||^2 = {self.L:.4g}, which was only measured",)
        certificate = Certificate("prox tau f", 1.0, 0.5, Side.PROVEN, method, premises, kind=Kind.PROX)
        point = normal_equations.proximal_point(self.model(), self.y, tau, self.L, closed)

        def nearest(x: Tensor) -> Tensor:
            self.model()  # refuses what was changed
            return point(x)

        return Map(
            nearest,
            certificate,
            objective=lambda x: tau * self.value(x),
            pace=self.pace(tau),
            error=0.0 if closed else normal_equations.solver_error(size, dtype),
            magnitude=min(tau, 1 / self.L if self.L > 0 else tau) * self.magnitude(),
        )
