"""Matrices and scipy operators as deepinv physics. Images are then vectors (B, n)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse
import torch
from deepinv.physics import LinearPhysics
from scipy.sparse.linalg import LinearOperator, aslinearoperator
from torch import Tensor

from pnpkit.certificates import Bound, Premise, Side
from pnpkit.errors import InputError, one_line
from pnpkit.numerics.arrays import real
from pnpkit.numerics.norms import matrix_norm_bound, sparse_norm_bound

DENSE = 10**6  # most entries of a matrix whose singular values are cheap
PRODUCTS = 100  # most products with A and A^T: as many as a measured norm takes
LINEAR = Premise("A is linear", "its norm is that of its values on a basis")


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

    def norm_bound(self) -> Bound:
        """Compute ||A||_2 by SVD."""
        return Bound(matrix_norm_bound(self.matrix), Side.PROVEN, "SVD in float64")

    def smallest_singular_value(self) -> float:
        """Return sigma_n(A) minus the rounding error of the SVD; 0 if there are fewer rows than columns."""
        rows, columns = self.matrix.shape
        values = self.decomposition()[1]
        rounding = float(values[0]) * max(rows, columns) * 2.0**-50
        return max(0.0, float(values[-1]) - rounding) if rows >= columns else 0.0

    def prox_l2(self, z: Tensor, y: Tensor, gamma: Tensor | float, **kwargs: Any) -> Tensor:
        """argmin_u gamma/2 ||A u - y||^2 + 1/2 ||u - z||^2; see ``proximal_point``."""
        return self.proximal_point(y, gamma)(z)

    def decomposition(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return U, s, V^T in float64, computed once for the present matrix."""
        stamp = (id(self.matrix), 0 if self.matrix.is_inference() else self.matrix._version)
        known = self.__dict__.get("_decomposed")
        if known is None or known[0] != stamp:
            known = (stamp, torch.linalg.svd(self.matrix.detach().double(), full_matrices=False))
            self.__dict__["_decomposed"] = known
        return known[1]

    def proximal_point(self, y: Tensor, gamma: Tensor | float) -> Callable[[Tensor], Tensor]:
        """Return z -> z + V s (U^T y - s V^T z) / (s^2 + 1/gamma) with the SVD U s V^T of A, in float64.

        In this form the rounding error is that of z, not of gamma z.
        """
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

    def norm_bound(self) -> Bound:
        """Compute ||A||_2 by SVD if A has at most ``PRODUCTS`` columns; otherwise a lower bound by power iteration."""
        columns = self.shape[1]
        if columns <= PRODUCTS:
            matrix = self.A(torch.eye(columns, dtype=torch.float64))
            return Bound(matrix_norm_bound(matrix), Side.PROVEN, "SVD in float64", (LINEAR,))
        x, norm = torch.randn(1, columns, generator=torch.Generator().manual_seed(0), dtype=torch.float64), 0.0
        for _ in range(PRODUCTS // 2):
            y = self.A(x / x.norm().clamp_min(1e-300))
            norm, x = max(norm, float(y.norm())), self.A_adjoint(y)
        return Bound(norm, Side.MEASURED, f"power iteration, {PRODUCTS // 2} steps: a lower bound")

    @staticmethod
    def each(function: Any, batch: Tensor) -> Tensor:
        rows = np.stack([function(row.detach().cpu().numpy()) for row in batch])
        if np.iscomplexobj(rows):
            raise InputError("expected a real operator, got a complex one: stack its real and imaginary part")
        return torch.as_tensor(rows).to(batch)


class SparsePhysics(ScipyPhysics):
    """A x for a scipy sparse matrix A (m, n), on the CPU."""

    def __init__(self, matrix: Any):
        super().__init__(aslinearoperator(matrix))
        self.matrix = matrix

    def norm_bound(self) -> Bound:
        """Compute ||A||_2 by SVD for at most ``DENSE`` entries; otherwise an upper bound, exact if no entry is < 0."""
        if math.prod(self.shape) <= DENSE:
            return Bound(matrix_norm_bound(torch.from_numpy(self.matrix.toarray())), Side.PROVEN, "SVD in float64")
        method = "spectral radius of |A|^T |A| (Collatz 1942), or the Frobenius norm"
        return Bound(sparse_norm_bound(self.matrix), Side.PROVEN, method)


def from_matrix(operator: Any) -> LinearPhysics:
    """Convert a matrix or a ``LinearOperator`` to deepinv physics.

    A matrix is an (m, n) array or sparse matrix of numpy, torch or scipy. Arrays of numpy are copied. Everything that
    scipy's ``aslinearoperator`` takes is a ``LinearOperator``, for instance an operator of pylops.

    Raises:
        InputError: the argument is something else, or its entries are complex, not finite, or missing.

    Example:
        >>> import torch
        >>> from_matrix(torch.tensor([[1.0, 1.0]])).A(torch.tensor([[2.0, 3.0]])).tolist()
        [[5.0]]
    """
    if isinstance(operator, Tensor) and operator.layout is not torch.strided:
        operator = _from_torch(operator)
    if 0 in getattr(operator, "shape", ()):
        raise InputError(f"an operator needs rows and columns, got a matrix {tuple(operator.shape)}")
    if scipy.sparse.issparse(operator):
        real(operator.data, "a sparse matrix")
        return SparsePhysics(operator.tocsr().copy())
    if isinstance(operator, (np.ndarray, Tensor)) and operator.ndim == 2:
        return MatrixPhysics(real(operator, "a matrix"))
    if isinstance(operator, (np.ndarray, Tensor)):
        raise InputError(f"a matrix has two dimensions, got an array {tuple(operator.shape)}")
    try:
        return ScipyPhysics(aslinearoperator(operator))
    except (TypeError, ValueError, AttributeError) as error:
        raise InputError(
            "an operator is a LinearPhysics, a matrix or a scipy operator (anything with shape, matvec and rmatvec), "
            f"got {type(operator).__name__} ({one_line(error)[:80]}): functions A and A_adjoint on pictures become one "
            "by deepinv.physics.LinearPhysics(A=A, A_adjoint=A_adjoint)"
        ) from error


def _from_torch(matrix: Tensor) -> Any:
    """Convert a sparse tensor to a sparse matrix of scipy."""
    entries = matrix.detach().cpu().to_sparse_coo().coalesce()
    values = real(entries.values(), "a sparse matrix")
    return scipy.sparse.coo_array((values.numpy(), tuple(entries.indices().numpy())), shape=tuple(matrix.shape))
