"""The most telling part of a large picture: edges in all directions, none of them cut off at white or black."""

from __future__ import annotations

import numpy as np

from pnpkit.noise.clipped import grown

STEP = 4  # pixels a side: the means that gradients are taken of


STRIDE = 8  # windows are moved by this part of their width


ENDS = 0.02  # share of the range at either end that counts as clipped


def telling(luminance: np.ndarray, side: int, known: np.ndarray | None = None) -> tuple[slice, slice]:
    """Rows and columns of the window, at most ``side`` pixels wide, whose edges tell most about a blur.

    An edge tells of the blur across it, so a window is worth the smaller eigenvalue of sum g g^T / |g|, g the gradients
    between means of 4 x 4 pixels: all directions are needed, and a few strong edges are not enough. Of a picture that
    is smaller, all of it; among equals, the one nearest to the middle.

    Args:
        luminance: (H, W), finite.
        known: (H, W), false where a pixel says nothing. Where it is given, a window is worth the less, too, the more
            of its pixels are unknown or clipped, by the square of the share of the others.
    """
    size = luminance.shape
    if max(size) <= side:
        return slice(0, size[0]), slice(0, size[1])
    small = _blocks(luminance).mean((1, 3))
    low, high = float(small.min()), float(small.max())
    end = ENDS * max(high - low, 1e-12)
    down, right = np.gradient(small)
    length = np.hypot(down, right) + 1e-12
    lost = (small < low + end) | (small > high - end)
    if known is not None:
        lost = grown(lost | ~_blocks(known).all((1, 3)))
    length[lost] = np.inf
    sums = [_summed(part / length) for part in (down * down, right * right, down * right)]
    wide = [min(side // STEP, n) for n in small.shape]
    starts = [_starts(n, w) for n, w in zip(small.shape, wide, strict=True)]
    i, j = np.ix_(*starts)

    def of_windows(s: np.ndarray) -> np.ndarray:
        return s[i + wide[0], j + wide[1]] - s[i, j + wide[1]] - s[i + wide[0], j] + s[i, j]

    a, b, c = map(of_windows, sums)
    worth = (a + b) / 2 - np.hypot((a - b) / 2, c)
    if known is not None:
        share = of_windows(_summed(lost)) / (wide[0] * wide[1])
        worth = worth * (1 - share) ** 2
    middle = [(n - w) / 2 for n, w in zip(small.shape, wide, strict=True)]
    away = np.hypot(i - middle[0], j - middle[1])
    best = np.lexsort((away.ravel(), -np.round(worth / max(float(worth.max()), 1e-12), 2).ravel()))[0]
    top, left = np.unravel_index(best, worth.shape)
    corner = [int(s[k]) * STEP for s, k in zip(starts, (top, left), strict=True)]
    return slice(corner[0], min(corner[0] + side, size[0])), slice(corner[1], min(corner[1] + side, size[1]))


def _blocks(values: np.ndarray) -> np.ndarray:
    """(H, W) as blocks of ``STEP`` x ``STEP`` pixels, (rows, STEP, columns, STEP); what is left over is dropped."""
    rows, columns = (n // STEP for n in values.shape)
    return values[: rows * STEP, : columns * STEP].reshape(rows, STEP, columns, STEP)


def _summed(values: np.ndarray) -> np.ndarray:
    """Sums over all that lies above and left, with a first row and column of zeros."""
    return np.pad(values, ((1, 0), (1, 0))).cumsum(0).cumsum(1)


def _starts(size: int, wide: int) -> np.ndarray:
    """The first pixels of windows that cover an axis."""
    count = 1 + -(-(size - wide) * STRIDE // wide)
    return np.linspace(0, size - wide, count).round().astype(int)
