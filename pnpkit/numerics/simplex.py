"""Quadratic programmes on the simplex {k >= 0: sum k = 1}, in plain arrays."""

from __future__ import annotations

import numpy as np


def project(z: np.ndarray) -> np.ndarray:
    """Return the point of the simplex nearest to z (N,): max(z - t, 0) with t such that the sum is 1.

    Held, Wolfe & Crowder 1974.
    """
    ordered = np.sort(z)[::-1]
    thresholds = (np.cumsum(ordered) - 1) / np.arange(1, len(z) + 1)
    return np.maximum(z - thresholds[np.count_nonzero(ordered > thresholds) - 1], 0)


def minimise(
    form: np.ndarray, vector: np.ndarray, largest: float, start: np.ndarray, steps: int, tol: float = 1e-5
) -> np.ndarray:
    """argmin 1/2 k^T Q k - v^T k on the simplex, by FISTA (Beck & Teboulle 2009), with one product with Q per step.

    Args:
        form: Q, (N, N), symmetric and positive semidefinite; the product has its precision.
        vector: v, (N,).
        largest: a bound on the norm of Q.
        start: (N,), a point of the simplex.
        steps: largest number of steps.
        tol: the iteration ends when a step from the extrapolated point is smaller than this, relative to its length.
    """
    k = point = start
    momentum = 1.0
    for _ in range(steps):
        after = project(point - (form @ point.astype(form.dtype) - vector) / largest)
        if np.linalg.norm(after - point) <= tol * np.linalg.norm(after):
            return after
        grown = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        point, k, momentum = after + (momentum - 1) / grown * (after - k), after, grown
    return k
