"""Matrices and scipy operators as deepinv physics: images are then vectors (B, n)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from deepinv.physics import LinearPhysics
from scipy.sparse.linalg import LinearOperator
from torch import Tensor

from pnpkit.errors import InputError


class MatrixPhysics(LinearPhysics):
    """A x for a dense matrix A (m, n) and vectors x (B, n)."""

    def __init__(self, matrix: Tensor):
        super().__init__()
        self.register_buffer("matrix", matrix)

    def A(self, x: Tensor, **kwargs: Any) -> Tensor:
        return x @ self.matrix.mT

    def A_adjoint(self, y: Tensor, **kwargs: Any) -> Tensor:
        return y @ self.matrix

    def prox_l2(self, z: Tensor, y: Tensor, gamma: Tensor | float, **kwargs: Any) -> Tensor:
        """argmin_u gamma/2 ||A u - y||^2 + 1/2 ||u - z||^2 by a direct solve."""
        eye = torch.eye(self.matrix.shape[1], dtype=z.dtype, device=z.device)
        right = z + gamma * self.A_adjoint(y)
        return torch.linalg.solve(eye + gamma * self.matrix.mT @ self.matrix, right.mT).mT


class ScipyPhysics(LinearPhysics):
    """A scipy ``LinearOperator`` with an adjoint, on the CPU, vector by vector."""

    def __init__(self, operator: LinearOperator):
        super().__init__()
        self.operator = operator

    def A(self, x: Tensor, **kwargs: Any) -> Tensor:
        return self.each(self.operator.matvec, x)

    def A_adjoint(self, y: Tensor, **kwargs: Any) -> Tensor:
        return self.each(self.operator.rmatvec, y)

    @staticmethod
    def each(function: Any, batch: Tensor) -> Tensor:
        rows = [function(row.detach().cpu().numpy()) for row in batch]
        return torch.as_tensor(np.stack(rows)).to(batch)


def from_matrix(operator: Any) -> LinearPhysics:
    """A (m, n) array, which is copied, or tensor, or a scipy ``LinearOperator``, as deepinv physics."""
    if isinstance(operator, LinearOperator):
        return ScipyPhysics(operator)
    if isinstance(operator, (np.ndarray, Tensor)) and operator.ndim == 2:
        return MatrixPhysics(operator if isinstance(operator, Tensor) else torch.tensor(operator))
    raise InputError(f"an operator is a LinearPhysics, a matrix or a scipy operator, got {type(operator).__name__}")
