"""Reference trajectories of differential equations, and trajectories of a map that is applied repeatedly."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

from pnpkit.errors import InputError


def reference(field: Callable[[np.ndarray], np.ndarray], z: Tensor, times: Tensor) -> Tensor:
    """Solve z' = field(z) by the method of Dormand and Prince of order 8 (DOP853), with relative tolerance 1e-12.

    Args:
        field: the vector field at all points at once, from an array like z to one of the same shape.
        z: the state at time 0, any shape.
        times: (T,), increasing from 0 or later.

    Returns:
        (T, *z.shape), float64.

    Raises:
        InputError: the integrator failed.
    """
    end = float(times[-1])
    if end == 0:
        return z.expand(len(times), *z.shape).clone()

    def flat(_: float, values: np.ndarray) -> np.ndarray:
        return np.asarray(field(values.reshape(z.shape))).ravel()

    found = solve_ivp(flat, (0, end), z.numpy().ravel(), "DOP853", times.numpy(), rtol=1e-12, atol=1e-13)
    if not found.success:
        raise InputError(f"the reference solution failed: {found.message}")
    return torch.from_numpy(found.y.T.copy()).view(len(times), *z.shape)


def rollout(map: Callable[[Tensor], Tensor], start: Tensor, steps: int) -> Tensor:
    """Return start, map(start), map(map(start)), ... as a tensor (steps + 1, *start.shape)."""
    states = [start]
    for _ in range(steps):
        states.append(map(states[-1]))
    return torch.stack(states)
