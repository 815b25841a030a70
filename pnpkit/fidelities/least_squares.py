r"""Least squares, 1/2 ||A x - y||^2."""

from __future__ import annotations

import math
from functools import cached_property

import torch
from torch import Tensor

from pnpkit.fidelities.data import DataTerm, ProximalPoint
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

    def proximal_point(self, tau: float) -> ProximalPoint:
        """In closed form where A has a singular value decomposition, else by conjugate gradients to a proven error.

        See ``operators.normal_equations``.
        """
        dtype = pieces(self.y)[0].dtype
        closed, size = self.has_closed_prox, self.counted(tau)
        function = normal_equations.proximal_point(self.model(), self.y, tau, self.L, closed)
        error = 0.0 if closed else normal_equations.solver_error(size, dtype)
        return ProximalPoint(function, error, normal_equations.premises(self.operator, size, dtype, closed))
