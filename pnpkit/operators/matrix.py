"""Matrices and scipy operators as deepinv physics: images are then vectors (B, n)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse
import torch
from deepinv.physics import LinearPhysics
from scipy.sparse.linalg import LinearOperator, aslinearoperator
from torch import Tensor

from pnpkit.errors import InputError
from pnpkit.numerics.arrays import real


class MatrixPhysics(LinearPhysics):
    """A x for a dense matrix A (m, n) and vectors x (B, n)."""

    def __init__(self, matrix: Tensor):
        super().__init__()
        self.register_buffer("matrix", matrix)
        self.shape = (int(matrix.shape[0]), int(matrix.shape[1]))

    def A(self, x: Tensor, **kwargs: Any) -> Tensor:
        return x @ self.matrix.mT

    def A_adjoint(self, y: Tensor, **kwargs: Any) -> Tensor:
        return y @ self.matrix

    def prox_l2(self, z: Tensor, y: Tensor, gamma: Tensor | float, **kwargs: Any) -> Tensor:
        """argmin_u gamma/2 ||A u - y||^2 + 1/2 ||u - z||^2; see ``proximal_point``."""
        return self.proximal_point(y, gamma)(z)

    def decomposition(self) -> tuple[Tensor, Tensor, Tensor]:
        """U, s, V^T in float64, found once for the matrix as it is."""
        stamp = (id(self.matrix), 0 if self.matrix.is_inference() else self.matrix._version)
        known = self.__dict__.get("_decomposed")
        if known is None or known[0] != stamp:
            known = (stamp, torch.linalg.svd(self.matrix.detach().double(), full_matrices=False))
            self.__dict__["_decomposed"] = known
        return known[1]

    def proximal_point(self, y: Tensor, gamma: Tensor | float) -> Callable[[Tensor], Tensor]:
        """z -> z + V s (U^T y - s V^T z) / (s^2 + 1/gamma) with the SVD U s V^T of A, in float64: rounds like z, not
        like gamma z."""
        U, s, Vh = self.decomposition()
        seen, weight = y.double() @ U, s / (s.square() + 1 / gamma)
        return lambda z: (z.double() + (weight * (seen - s * (z.double() @ Vh.mT))) @ Vh).to(z.dtype)


class ScipyPhysics(LinearPhysics):
    """A scipy ``LinearOperator`` with an adjoint, on the CPU, vector by vector."""

    def __init__(self, operator: LinearOperator):
        super().__init__()
        self.operator, self.shape = operator, operator.shape

    def A(self, x: Tensor, **kwargs: Any) -> Tensor:
        return self.each(self.operator.matvec, x)

    def A_adjoint(self, y: Tensor, **kwargs: Any) -> Tensor:
        return self.each(self.operator.rmatvec, y)

    @staticmethod
    def each(function: Any, batch: Tensor) -> Tensor:
        rows = np.stack([function(row.detach().cpu().numpy()) for row in batch])
        if np.iscomplexobj(rows):
            raise InputError("an operator is real here, got a complex one: stack its real and imaginary part")
        return torch.as_tensor(rows).to(batch)


def from_matrix(operator: Any) -> LinearPhysics:
    """A (m, n) array, which is copied, or tensor, or a scipy sparse matrix or ``LinearOperator``, as deepinv physics.

    Raises:
        InputError: anything else; complex or not finite entries, or none at all.
    """
    if scipy.sparse.issparse(operator):
        operator = aslinearoperator(operator)
    if isinstance(operator, LinearOperator):
        return ScipyPhysics(operator)
    if 0 in getattr(operator, "shape", ()):
        raise InputError(f"an operator needs rows and columns, got a matrix {tuple(operator.shape)}")
    if isinstance(operator, (np.ndarray, Tensor)) and operator.ndim == 2:
        return MatrixPhysics(real(operator, "a matrix"))
    raise InputError(f"an operator is a LinearPhysics, a matrix or a scipy operator, got {type(operator).__name__}")
