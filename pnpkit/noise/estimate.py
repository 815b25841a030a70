r"""Estimation of gain, offset and read noise of a picture from its variance as a function of the mean.

The 8th differences of ``images.noise`` leave only the noise of a smooth picture. The differences and the local means,
over the same 9 x 9 windows, are sorted by the mean into groups of equal size. In each group the variance is the square
of the median of |difference| / 0.6745. A line is fitted through the groups, weighted by their relative errors:

    var y = gain v + intercept.

One picture does not distinguish offset and read noise. An intercept below 0 is attributed to an offset, with
intercept = - gain offset; otherwise to a read noise, with intercept = read_noise^2. The variance is the same.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from pnpkit.errors import InputError
from pnpkit.noise.models import PoissonGaussian

ORDER = 8  # order of the differences, whose windows are ORDER + 1 pixels wide: as in ``images.noise``
MEDIAN = 0.6744897501960817  # median of |N(0, 1)|
CORRELATED = 13.5  # differences per independent one, if taken along both axes: the sum of squared correlations
SPREAD = 2.33  # relative standard deviation of the squared median times the root of the number of independent values
CUT = 0.05  # largest share of a window at the least value of its channel, where readings may have been cut off
BAND, LOOKED_AT = 64, 2_000_000  # rows of a band, and the approximate number of readings used of a large picture
GROUPS, FEWEST = 16, 40  # number of groups, and the least number of independent differences in a group


@dataclass(frozen=True)
class Line:
    """var y = gain v + intercept over the range of means ``low``..``high``.

    Attributes:
        gain, intercept: the coefficients of the line.
        error: standard deviation of the gain.
        low, high: the range of the means.
        flat: sum of the squared distances of the groups from a constant, in units of their errors.
        sloped: sum of the squared distances of the groups from the line, in units of their errors.
        groups: number of groups.
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
        """The ratio of the variance at ``high`` to that at ``low``."""
        least = self.gain * self.low + self.intercept
        return (self.gain * self.high + self.intercept) / least if least > 0 else math.inf


def groups_of(
    image: np.ndarray, known: np.ndarray | None = None, axes: tuple[int, ...] = (0, 1)
) -> tuple[np.ndarray, np.ndarray, float]:
    """Return means and variances of groups of windows, over all channels, and the relative error of each variance.

    A window is left out if more than ``CUT`` of its readings equal the least value of their channel: readings that were
    cut off have less noise. For large pictures only some bands are used.

    Args:
        image: (H, W) or (H, W, C).
        known: (H, W) or the shape of the image, false where a reading does not count.
        axes: the axes along which differences are taken and windows extend.
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
    """Return the rows of a picture to use: all, or bands of ``BAND`` rows with about ``LOOKED_AT`` readings."""
    rows, others = shape[0], math.prod(shape[1:])
    count = max(1, LOOKED_AT // (BAND * others))
    if rows * others <= LOOKED_AT or count * BAND >= rows:
        return [slice(0, rows)]
    starts = np.linspace(0, rows - BAND, count).astype(int) if count > 1 else [(rows - BAND) // 2]
    return [slice(start, start + BAND) for start in starts]


def line_through(means: np.ndarray, variances: np.ndarray, error: float) -> Line | None:
    """Fit the line through the groups. None if there are too few groups, or no noise."""
    if len(means) < 4 or not variances.max() > 0:
        return None
    floor = 1e-3 * variances.max()
    model = np.full_like(variances, np.median(variances))
    middle, design = means.mean(), np.stack([means - means.mean(), np.ones_like(means)], 1)
    for _ in range(20):  # errors follow the model, not the measurement: otherwise values that came out small weigh most
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
    """The limits from which on a line counts as certain.

    They were measured on 100 crops of 128 x 128 pixels and whole photographs, not blurred and blurred, with white noise
    and with counts: docs/results/counts.md.

    Attributes:
        sure: least gain, in units of its error.
        rise: least ratio of the variance of the brightest group to that of the darkest group.
        sloped: largest mean squared distance of the groups from the line.
        flat: least mean squared distance of the groups from a constant.
        least: least noise level, as a share of the range of the picture.
    """

    sure: float
    rise: float
    sloped: float
    flat: float
    least: float


# Texture can be mistaken for noise, and bright parts have more texture. So the limits are stricter for a picture that
# was not blurred. Noise of less than 2/255 of the range is less than the error of a kernel.
BLURRED = Doubt(4.0, 2.0, 1.5, 0.0, 2 / 255)
SHARP = Doubt(5.0, 2.0, 0.7, 2.0, 8 / 255)


def is_counted(line: Line | None, span: float, blurred: bool) -> bool:
    """Whether it is certain that the variance of the noise grows with the reading.

    ``span`` is the range of the picture; ``blurred`` says whether the picture was blurred.
    """
    doubt = BLURRED if blurred else SHARP
    if line is None or not line.gain > doubt.sure * line.error:
        return False
    middle = line.gain * (line.low + line.high) / 2 + line.intercept
    fits = line.sloped <= doubt.sloped * line.groups and line.flat >= doubt.flat * line.groups
    return fits and line.rise >= doubt.rise and middle > (doubt.least * span) ** 2


def model_of(line: Line, offset: float | None = None, read_noise: float | None = None) -> PoissonGaussian:
    """Return the noise model with the variance of the line, in the units of the line.

    An offset or a read noise that is given is kept.

    Raises:
        InputError: the variance does not grow with the reading.
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
    middle = (line.low + line.high) / 2  # both are given: only the gain is left; it follows from the variance here
    gain = (line.gain * middle + line.intercept - read_noise**2) / (middle - offset) if middle > offset else 0.0
    if not gain > 0:
        raise InputError(
            f"no gain fits offset {offset:.4g} and read noise {read_noise:.4g}: the picture has a variance of "
            f"{line.gain * middle + line.intercept:.3g} at {middle:.4g}: give `gain`, or leave one of them out"
        )
    return PoissonGaussian(gain, offset, read_noise)
