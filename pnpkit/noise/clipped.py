"""Readings at the ceiling: pixels of which only "at least so bright" is known."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import binary_dilation, distance_transform_edt, label, maximum

FEWEST = 12  # least number of equal readings at a ceiling
SPIKE, LOOKED_AT = 2.0, 3  # more than SPIKE times as many readings as at each of the LOOKED_AT values below it


def ceiling_of(channel: np.ndarray, known: np.ndarray, noisy: bool) -> float | None:
    """The value at which a sensor or a file ended, or None where none shows.

    Readings that are equal to the largest are a plateau where they are FEWEST and more than SPIKE times as many as the
    next lower values have each. A flat part of a scene looks so, too, where there is no noise: then it is a ceiling
    only at 1 or at the largest number of so many bits.

    Args:
        channel: (H, W). known: (H, W), false where a reading does not count. noisy: whether there is noise, in which
            no reading is twice the same but at a ceiling.
    """
    values = channel[known]
    if values.size == 0:
        return None
    top = float(values.max())
    upper = values[values >= top - 0.1 * (top - float(values.min()))]
    counts = np.unique(upper, return_counts=True)[1][::-1]
    if counts[0] < FEWEST or counts[0] <= SPIKE * counts[1 : 1 + LOOKED_AT].max(initial=0):
        return None
    return top if noisy or is_end(top) else None


def is_end(value: float) -> bool:
    """Whether a value is 1 or 2^k - 1 with k in 8 ... 16, the largest number of k bits."""
    return value == 1.0 or any(value == 2**k - 1 for k in range(8, 17))


def saturated(
    image: np.ndarray,
    known: np.ndarray | None = None,
    ceiling: float | None = None,
    noisy: bool = False,
    slack: float = 0.0,
) -> np.ndarray:
    """Booleans of the shape of the image, true where a reading is at the ceiling, or above it.

    Args:
        image: (H, W) or (H, W, C). known: (H, W), false where a reading does not count. ceiling: None looks for one in
            each channel. noisy: as in ``ceiling_of``. slack: so far below a ceiling that was found readings belong to
            it, too: noise and compression come after the sensor.
    """
    channels = np.atleast_3d(image)
    free = np.ones(channels.shape[:2], bool) if known is None else known
    found = np.zeros(channels.shape, bool)
    for c in range(channels.shape[-1]):
        top = ceiling_of(channels[..., c], free, noisy) if ceiling is None else ceiling
        if top is not None:
            found[..., c] = (channels[..., c] >= (top - slack if ceiling is None else top)) & free
    return found.reshape(image.shape)


def grown(found: np.ndarray, by: int = 1) -> np.ndarray:
    """True within ``by`` pixels, rows and columns, of what was found; (H, W) or (H, W, C), each channel by itself."""
    if not found.any() or by < 1:
        return found
    square = np.ones((2 * by + 1, 2 * by + 1, *((1,) if found.ndim == 3 else ())), bool)
    return np.asarray(binary_dilation(found, square))


def inner(found: np.ndarray, share: float) -> np.ndarray:
    """The inner pixels of the connected parts that were found, each channel by itself.

    They are at least ``share`` times as far from the outside as the innermost pixel of their part.
    """
    channels, kept = np.atleast_3d(found), np.zeros(np.atleast_3d(found).shape, bool)
    for c in range(channels.shape[-1]):
        depth = distance_transform_edt(channels[..., c])
        parts, count = label(channels[..., c], np.ones((3, 3)))
        deepest = np.concatenate([[0.0], np.atleast_1d(maximum(depth, parts, np.arange(1, count + 1)))])
        kept[..., c] = channels[..., c] & (depth >= share * deepest[parts])
    return kept.reshape(found.shape)
