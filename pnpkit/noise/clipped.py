"""Detection of saturated readings: pixels of which only a lower bound of the brightness is known."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import binary_dilation, distance_transform_edt, label, maximum

FEWEST = 12  # least number of equal readings at a ceiling
SPIKE, LOOKED_AT = 2.0, 3  # a ceiling has more than SPIKE times the readings of each of the LOOKED_AT values below it


def ceiling_of(channel: np.ndarray, known: np.ndarray, noisy: bool) -> float | None:
    """Return the value at which a sensor or a file saturates, or None if no such value is found.

    The readings equal to the largest form a plateau if there are at least FEWEST of them, and more than SPIKE times as
    many as at each of the next lower values. Without noise, a flat part of a scene looks the same. Then a plateau is a
    ceiling only at 1 or at the largest number of 8 to 16 bits.

    Args:
        channel: (H, W).
        known: (H, W), false where a reading does not count.
        noisy: whether there is noise. With noise, equal readings occur only at a ceiling.
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
    """Whether a value is 1, or 2^k - 1 with k in 8 ... 16, the largest number of k bits."""
    return value == 1.0 or any(value == 2**k - 1 for k in range(8, 17))


def saturated(
    image: np.ndarray,
    known: np.ndarray | None = None,
    ceiling: float | None = None,
    noisy: bool = False,
    slack: float = 0.0,
) -> np.ndarray:
    """Return booleans of the shape of the image, true where a reading is at the ceiling or above it.

    Args:
        image: (H, W) or (H, W, C).
        known: (H, W), false where a reading does not count.
        ceiling: the saturation value; None looks for one in each channel.
        noisy: as in ``ceiling_of``.
        slack: readings up to this far below a ceiling that was found count as saturated too, since noise and
            compression come after the sensor.
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
    """Grow the true regions by ``by`` pixels in rows and columns. (H, W) or (H, W, C), each channel by itself."""
    if not found.any() or by < 1:
        return found
    square = np.ones((2 * by + 1, 2 * by + 1, *((1,) if found.ndim == 3 else ())), bool)
    return np.asarray(binary_dilation(found, square))


def inner(found: np.ndarray, share: float) -> np.ndarray:
    """Return the inner pixels of the connected parts of ``found``, each channel by itself.

    A pixel is inner if its distance from the outside is at least ``share`` times that of the innermost pixel of its
    part.
    """
    channels, kept = np.atleast_3d(found), np.zeros(np.atleast_3d(found).shape, bool)
    for c in range(channels.shape[-1]):
        depth = distance_transform_edt(channels[..., c])
        parts, count = label(channels[..., c], np.ones((3, 3)))
        deepest = np.concatenate([[0.0], np.atleast_1d(maximum(depth, parts, np.arange(1, count + 1)))])
        kept[..., c] = channels[..., c] & (depth >= share * deepest[parts])
    return kept.reshape(found.shape)
