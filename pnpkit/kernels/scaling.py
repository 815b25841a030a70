"""Kernels that describe the same blur in a smaller picture."""

from __future__ import annotations

import itertools
import math

import numpy as np


def reduced(kernel: np.ndarray, factor: float) -> np.ndarray:
    """Return the kernel of the same blur in a picture that is 1/factor as large.

    A weight at distance d from the middle moves to distance d / factor. It is divided among the four pixels around that
    place, in proportion to their nearness.

    Args:
        kernel: (h, w), odd sides.
        factor: >= 1.
    """
    reach = [math.ceil((size // 2) / factor) for size in kernel.shape]
    rows, columns = ((np.arange(size) - size // 2) / factor + r for size, r in zip(kernel.shape, reach, strict=True))
    out = np.zeros([2 * r + 1 for r in reach])
    for (down, row_share), (right, column_share) in itertools.product(_sides(rows), _sides(columns)):
        weights = kernel * row_share[:, None] * column_share[None, :]
        np.add.at(out, np.ix_(np.minimum(down, len(out) - 1), np.minimum(right, out.shape[1] - 1)), weights)
    return out / out.sum()


def _sides(places: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the pixels before and after each place, and their shares."""
    before = np.floor(places).astype(int)
    return [(before, 1 - (places - before)), (before + 1, places - before)]
