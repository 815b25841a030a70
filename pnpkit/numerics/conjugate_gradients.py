"""Preconditioned conjugate gradients for a batch of symmetric positive definite systems (Hestenes & Stiefel 1952)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pnpkit.errors import InexactWarning


def conjugate_gradients(
    apply: Callable[[Tensor], Tensor],
    right: Tensor,
    goal: Tensor,
    max_steps: int,
    precondition: Callable[[Tensor], Tensor] = lambda residual: residual,
) -> Tensor:
    """Return u with ||M u - right|| <= goal for each item of the batch.

    The solver starts at zero, so u is a function of ``right``. A finished item stays as it is, so its u does not depend
    on the other items. For M >= id the residual bounds the error: ||u - M^-1 right|| <= ||M u - right||. The residual
    is computed by its recurrence, which equals it in exact arithmetic. After ``max_steps`` there is a warning
    (``InexactWarning``).

    Args:
        apply: M, symmetric and positive definite on each item of (B, ...).
        right: (B, ...).
        goal: (B, 1, ..., 1), the largest Euclidean norm of the residual of each item.
        precondition: positive definite and close to M^-1.
    """
    x, residual, direction = torch.zeros_like(right), right, precondition(right)
    square = inner(residual, direction)
    going = length(residual) > goal
    for _ in range(max_steps if bool(going.any()) else 0):
        image = apply(direction)
        step = torch.where(going, square / inner(direction, image), 0)
        x, residual = x + step * direction, residual - step * image
        before, going = going, length(residual) > goal
        if not bool(going.any()):
            break
        towards = precondition(residual)
        following = inner(residual, towards)
        direction = towards + torch.where(before, following / square, 0) * direction
        square = following
    else:
        if bool((length(residual) > goal).any()):
            InexactWarning.tell("a solver for linear equations (a smaller tau is easier)", max_steps)
    return x


def inner(a: Tensor, b: Tensor) -> Tensor:
    """<a, b> per item, (B, 1, ..., 1)."""
    return (a * b).sum(tuple(range(1, a.ndim)), keepdim=True)


def length(a: Tensor) -> Tensor:
    """||a|| per item, (B, 1, ..., 1)."""
    return torch.linalg.vector_norm(a, dim=tuple(range(1, a.ndim)), keepdim=True)
