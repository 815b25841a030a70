r"""Gain, offset and read noise of a picture, from variance against mean.

The 8th differences of ``images.noise`` leave the noise of a smooth picture. Their squares and the local means, over the
same 9 x 9 windows, are sorted by the mean into groups of equal size; in each the variance is the square of the median
of |difference| / 0.6745. A line through them, fitted by the relative error of each, is

    var y = gain v + intercept.

One picture does not tell offset and read noise apart. An intercept below 0 is taken for an offset, intercept = - gain
offset, else for a read noise, intercept = read_noise^2: the variance is the same.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from pnpkit.errors import InputError
from pnpkit.noise.models import PoissonGaussian

ORDER = 8  # of the differences, whose windows are ORDER + 1 pixels wide: as in ``images.noise``
MEDIAN = 0.6744897501960817  # of |N(0, 1)|
CORRELATED = 13.5  # differences both ways count as so many times fewer independent ones: sum of squared correlations
SPREAD = 2.33  # standard deviation of the squared median, relative, times the root of the number of independent ones
CUT = 0.05  # largest share of a window that may be the least value of its channel, where readings were cut off
BAND, LOOKED_AT = 64, 2_000_000  # rows of a band, and readings in all bands of a large picture, about
GROUPS, FEWEST = 16, 40  # groups, and the fewest independent differences in one


@dataclass(frozen=True)
class Line:
    """var y = gain v + intercept over the range of means ``low``..``high``.

    Attributes:
        error: standard deviation of the gain. flat, sloped: squared distances of a constant and of the line from the
            groups, in units of their errors. groups: how many.
    """

    gain: float
    intercept: float
    error: float
    low: float
    high: float
    flat: float
    sloped: float
    groups: int

    @property
    def rise(self) -> float:
        """The variance at ``high`` over that at ``low``."""
        least = self.gain * self.low + self.intercept
        return (self.gain * self.high + self.intercept) / least if least > 0 else math.inf


def groups_of(
    image: np.ndarray, known: np.ndarray | None = None, axes: tuple[int, ...] = (0, 1)
) -> tuple[np.ndarray, np.ndarray, float]:
    """Means and variances of groups of windows, over all channels, and the relative error of each variance.

    Windows where more than ``CUT`` of the readings are the least of their channel are left out: what was cut off there
    has less noise. Of large pictures bands are looked at.

    Args:
        image: (H, W) or (H, W, C). known: (H, W) or the shape of the image, false where a reading does not count.
        axes: along which differences are taken, and windows reach.
    """
    channels = np.atleast_3d(np.asarray(image, np.float64))
    free = np.broadcast_to(np.ones((), bool) if known is None else np.atleast_3d(known), channels.shape)
    coefficients = np.array([math.comb(ORDER, k) for k in range(ORDER + 1)], float)
    shares = coefficients**2 / math.comb(2 * ORDER, ORDER)
    means, sizes = [], []
    if min(channels.shape[:2]) <= ORDER:
        return np.zeros(0), np.zeros(0), math.inf
    for rows, c in ((rows, c) for rows in bands(channels.shape) for c in range(channels.shape[-1])):
        residual, mean, whole = channels[rows, :, c], channels[rows, :, c], free[rows, :, c]
        least = (residual == channels[..., c].min()).astype(np.float64)
        for axis in axes:
            residual = np.diff(residual, ORDER, axis) / math.sqrt(math.comb(2 * ORDER, ORDER))
            mean = sliding_window_view(mean, ORDER + 1, axis) @ shares
            least = sliding_window_view(least, ORDER + 1, axis) @ shares
            whole = np.asarray(sliding_window_view(whole, ORDER + 1, axis).all(-1))
        whole = np.logical_and(whole, least <= CUT)
        means.append(mean[whole])
        sizes.append(np.abs(residual[whole]))
    mean, size = np.concatenate(means), np.concatenate(sizes)
    correlated = CORRELATED ** (len(axes) / 2)
    count = min(GROUPS, int(len(mean) / correlated / FEWEST))
    if count < 4:
        return np.zeros(0), np.zeros(0), math.inf
    order = np.array_split(np.argsort(mean, kind="stable"), count)
    variances = np.array([(np.median(size[part]) / MEDIAN) ** 2 for part in order])
    return np.array([mean[part].mean() for part in order]), variances, SPREAD / math.sqrt(len(order[0]) / correlated)


def bands(shape: tuple[int, ...]) -> list[slice]:
    """The rows of a picture that are looked at: all, or bands of ``BAND`` with ``LOOKED_AT`` readings in all, about."""
    rows, others = shape[0], math.prod(shape[1:])
    count = max(1, LOOKED_AT // (BAND * others))
    if rows * others <= LOOKED_AT or count * BAND >= rows:
        return [slice(0, rows)]
    starts = np.linspace(0, rows - BAND, count).astype(int) if count > 1 else [(rows - BAND) // 2]
    return [slice(start, start + BAND) for start in starts]


def line_through(means: np.ndarray, variances: np.ndarray, error: float) -> Line | None:
    """The line through the groups; None where there are too few of them, or no noise."""
    if len(means) < 4 or not variances.max() > 0:
        return None
    floor = 1e-3 * variances.max()
    model = np.full_like(variances, np.median(variances))
    middle, design = means.mean(), np.stack([means - means.mean(), np.ones_like(means)], 1)
    for _ in range(20):  # errors follow the model, not what is measured: else what came out small would count most
        spread = error * np.maximum(model, floor)
        matrix = design / spread[:, None]
        slope, level = np.linalg.lstsq(matrix, variances / spread, rcond=None)[0]
        model = slope * (means - middle) + level
    covariance = np.linalg.inv(matrix.T @ matrix)
    constant = max(float(np.median(variances)), floor)
    return Line(
        gain=float(slope),
        intercept=float(level - slope * middle),
        error=float(math.sqrt(covariance[0, 0])),
        low=float(means[0]),
        high=float(means[-1]),
        flat=float(np.square((variances - constant) / (error * constant)).sum()),
        sloped=float(np.square((variances - model) / spread).sum()),
        groups=len(means),
    )


@dataclass(frozen=True)
class Doubt:
    """The bounds beyond which a line is certain.

    Measured on 100 crops of 128 x 128 pixels and whole photographs, not blurred and blurred, with white noise and with
    counts: docs/results/counts.md.

    Attributes:
        sure: least gain, in units of its error. rise: least ratio of the variances of the brightest and the darkest
            group.
        sloped, flat: mean squared distance of the groups from the line, at most, and from a constant, at least.
        least: least noise level, as a share of the range of the picture.
    """

    sure: float
    rise: float
    sloped: float
    flat: float
    least: float


# Texture is mistaken for noise, and bright things have more of it: where nothing was blurred more is asked for. Noise
# of less than 2/255 of the range is less than what is wrong with a kernel.
BLURRED = Doubt(4.0, 2.0, 1.5, 0.0, 2 / 255)
SHARP = Doubt(5.0, 2.0, 0.7, 2.0, 8 / 255)


def is_counted(line: Line | None, span: float, blurred: bool) -> bool:
    """Whether the variance of the noise follows the reading beyond doubt. ``span`` is the range of the picture."""
    doubt = BLURRED if blurred else SHARP
    if line is None or not line.gain > doubt.sure * line.error:
        return False
    middle = line.gain * (line.low + line.high) / 2 + line.intercept
    fits = line.sloped <= doubt.sloped * line.groups and line.flat >= doubt.flat * line.groups
    return fits and line.rise >= doubt.rise and middle > (doubt.least * span) ** 2


def model_of(line: Line, offset: float | None = None, read_noise: float | None = None) -> PoissonGaussian:
    """The model with the variance of the line, in the units that the line is in, with what is given of it.

    Raises:
        InputError: a variance that does not grow with the reading.
    """
    if not line.gain > 0:
        raise InputError(
            f"no gain was found: the variance does not grow with the brightness (slope {line.gain:.3g} +- "
            f"{line.error:.2g}): give `gain`, or take gaussian noise"
        )
    if offset is None and read_noise is None:
        below = line.intercept < 0
        return PoissonGaussian(
            line.gain, -line.intercept / line.gain if below else 0.0, 0.0 if below else math.sqrt(line.intercept)
        )
    if offset is None:
        assert read_noise is not None
        return PoissonGaussian(line.gain, (read_noise**2 - line.intercept) / line.gain, read_noise)
    if read_noise is None:
        return PoissonGaussian(line.gain, offset, math.sqrt(max(line.intercept + line.gain * offset, 0.0)))
    middle = (line.low + line.high) / 2  # two are given: the gain alone is left, from the variance in the middle
    gain = (line.gain * middle + line.intercept - read_noise**2) / (middle - offset) if middle > offset else 0.0
    if not gain > 0:
        raise InputError(
            f"no gain fits offset {offset:.4g} and read noise {read_noise:.4g}: the picture has a variance of "
            f"{line.gain * middle + line.intercept:.3g} at {middle:.4g}: give `gain`, or leave one of them out"
        )
    return PoissonGaussian(gain, offset, read_noise)
