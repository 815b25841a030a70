r"""How far each pixel is to be trusted where a blur is estimated: unknown and saturated ones are left out.

A trust t >= 0 for each pixel, 0 where it says nothing of the blur: a masked pixel, and a saturated one, whose edges are
those of the ceiling. Elsewhere it is the root of the weight of its reading, c / sqrt(var y), so that t (k * u - y) has
the same noise everywhere; c makes the mean of t^2 one.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import spsolve


def harmonic(picture: np.ndarray, free: np.ndarray) -> np.ndarray:
    """``picture`` (H, W) with its ``free`` pixels filled by Laplace's equation: each is the mean of its four
    neighbours, on a torus."""
    out = picture.copy()
    if not free.any():
        return out
    number = np.full(out.shape, -1)
    number[free] = np.arange(free.sum())
    here, there, right = [], [], np.zeros(int(free.sum()))
    for axis, shift in ((0, 1), (0, -1), (1, 1), (1, -1)):
        neighbour, value = np.roll(number, shift, axis)[free], np.roll(out, shift, axis)[free]
        inside = neighbour >= 0
        here.append(np.nonzero(inside)[0])
        there.append(neighbour[inside])
        right[~inside] += value[~inside]
    i, j = np.concatenate(here), np.concatenate(there)
    laplacian = 4 * sparse.eye(len(right)) - sparse.coo_matrix((np.ones(len(i)), (i, j)), (len(right),) * 2)
    out[free] = spsolve(laplacian.tocsc(), right)
    return out


def without(picture: np.ndarray, trust: np.ndarray | None) -> np.ndarray:
    """``picture`` (H, W) with its pixels without trust filled smoothly; as it is where none or all are so."""
    if trust is None or (trust > 0).all() or not (trust > 0).any():
        return picture
    return harmonic(picture, trust == 0)
