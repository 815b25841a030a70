"""Estimation of the level of white Gaussian noise in a picture from its finest details."""

from __future__ import annotations

import math

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy.ndimage import convolve, uniform_filter
from scipy.stats import norm

ORDER = 8  # order of the differences; above 8 the error on blurred photographs no longer falls


FEWEST = 64  # with fewer residuals a median means nothing


# Limits for a background that was subtracted and clipped: the share of a channel at its least value from which on it is
# examined; the side of the windows and the share of the least value in them; the share of isolated pixels among those
# above the least value.
CLIPPED, WINDOW, MOSTLY, ALONE = 0.2, 9, 0.5, 0.6


CROSS = np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]])


def estimate_noise(image: np.ndarray, known: np.ndarray | None = None, axes: tuple[int, ...] = (0, 1)) -> float:
    r"""sigma = median |d_y^n d_x^n y| / 0.6745, averaged over channels; n = 8.

    d^n is the n-th difference divided by its norm, sqrt(binomial(2n, n)). So white noise keeps its standard deviation,
    while the smooth parts of a picture vanish. Blurred pictures, for which this is meant, have little else than noise
    at the highest frequencies: the error is about 1 % at sigma = 0.01. Sharp texture is mistaken for noise; there the
    estimate is an upper bound.

    Rows and columns at the frame's edge that lie wholly at the least or the largest value of their channel, such as a
    black border, are left out. If single pixels are clipped, the estimate is too small. A background that was cut off
    at its least value is measured by the values above it (``clipped_noise``). Each channel is measured by itself,
    because compression smooths the differences between channels and hides the noise there.

    Args:
        image: (H, W) or (H, W, C), floats on the 0..1 scale.
        known: (H, W), false in holes. Windows that touch a hole are left out too, unless too few remain.
        axes: axes along which differences are taken: 0 down the columns, 1 along the rows.

    Returns:
        The standard deviation on the same scale; 0.0 for pictures that are too small.

    Source: the median of Donoho & Johnstone 1994 on the differences of Immerkaer 1996, at a higher order.

    Example:
        >>> import numpy as np
        >>> flat = 0.5 + 0.1 * np.random.default_rng(0).standard_normal((64, 64))
        >>> bool(abs(estimate_noise(flat) - 0.1) < 0.01)
        True
    """
    channels = np.atleast_3d(np.asarray(image, dtype=np.float64))
    known = np.ones(channels.shape[:2], dtype=bool) if known is None else known
    return float(np.mean([_channel_noise(channels[..., c], known, axes) for c in range(channels.shape[-1])]))


def _channel_noise(channel: np.ndarray, known: np.ndarray, axes: tuple[int, ...]) -> float:
    clipped = clipped_noise(channel, known)
    if clipped is not None:
        return clipped
    frame = _within(channel)
    residual, free = channel[frame], known[frame]
    for axis in axes:
        order = min(ORDER, residual.shape[axis] - 1)  # a single row has no vertical differences
        residual = np.diff(residual, order, axis) / math.sqrt(math.comb(2 * order, order))
        free = np.asarray(sliding_window_view(free, order + 1, axis).all(-1))
    if residual.size < FEWEST:
        return 0.0
    chosen = residual[free] if np.count_nonzero(free) >= FEWEST else residual
    return float(np.median(np.abs(chosen)) / 0.6744897501960817)  # the median of |N(0, 1)|


def clipped_noise(channel: np.ndarray, known: np.ndarray) -> float | None:
    r"""Estimate the noise of a background that was cut off at its least value, from the tail above it.

    Let p be the share of values above the cut, z = Q^-1(p), and m their median height above the cut. Then

        sigma = m / (Q^-1(p / 2) - z),    Q(t) = P(N(0, 1) > t),

    computed on the windows that hold mostly background. The result is None if the channel is of another kind: too few
    values are at its least value, or the values above it form groups, as structure does and independent noise does not.
    """
    channel = channel[_within(channel)] if known.all() else channel
    known = known if known.shape == channel.shape else np.ones(channel.shape, bool)
    end = (channel == channel.min()) & known
    if np.count_nonzero(end) < CLIPPED * end.size or min(channel.shape) < WINDOW:
        return None
    background = (uniform_filter(end.astype(np.float64), WINDOW) > MOSTLY) & known
    rising = background & ~end
    count, total = int(np.count_nonzero(rising)), int(np.count_nonzero(background))
    if count < FEWEST:
        return None
    neighbours = convolve((~end).astype(np.float64), CROSS, mode="nearest")
    share = count / total
    alone = np.count_nonzero(rising & (neighbours < 0.5)) / count
    if alone < ALONE * (1 - share) ** 4:
        return None
    height = float(np.median(channel[rising] - channel.min()))
    return height / float(norm.isf(share / 2) - norm.isf(share))


def _within(channel: np.ndarray) -> tuple[slice, slice]:
    """Return the frame without the rows and columns at its edges that hold only extremes; all of a constant."""
    free = (channel != channel.min()) & (channel != channel.max())
    if not free.any():
        return slice(None), slice(None)
    rows, columns = (np.flatnonzero(free.any(axis)) for axis in (1, 0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
