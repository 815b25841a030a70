r"""The scale that a picture is restored on: its own.

    z = (y - offset) / span,    x = offset + span z

offset is the 0.1 % quantile of all values, offset + span the 99.9 % quantile; or the 98 % quantile where the former is
more than three times as high, as with stars and lamps, beside which all else would be flat. So restoring a y + b gives
a x + b for every a > 0 and b. The denoisers see nearly all of a picture between 0 and 1, as in their training. Levels
(of noise, strength, compression) are divided by span. For a given scale the proof is untouched: D and
y -> offset + span D((y - offset) / span) have the same Lipschitz constant and averagedness (Xu et al. 2020).

A picture with stars is a field of points: most of it is sky, and nothing of it is darker than the sky. There the box
begins at the sky, so that no dark ring can form around a star.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from pnpkit.images.picture import Picture
from pnpkit.images.pixels import FRACTIONS
from pnpkit.restoration.defaults import NOISIEST, STAR

TAIL = 0.001  # share of the values below the offset, and above offset + span
BRIGHT, FAR = 0.02, 3.0  # share of lamps and stars, and how many times as high as the rest they reach
LOOKED_AT = 1_000_000  # values that the quantiles are taken of
SKY = 3.0  # pixels: standard deviation of the Gaussian that the sky of a field of points is taken from
NORMAL = 1.4826  # standard deviations of a normal variable, in median absolute deviations
BEYOND = 2.0  # the box of a float file ends there, where its values are taken as 0..1
PHOTOGRAPH = (-0.3, 1.3, 0.25)  # floats between the first two, with a span of at least the third, are meant as 0..1


@dataclass(frozen=True)
class Scale:
    """z = (y - offset) / span. ``box`` is where the estimate may lie, in the units of y. ``points`` says whether y is a
    field of points, whose box begins at the sky."""

    offset: float = 0.0
    span: float = 1.0
    box: tuple[float, float] = (0.0, 1.0)
    points: bool = False

    def inward(self, y: Tensor) -> Tensor:
        """(y - offset) / span, in float64: an offset far above the span would cost digits in float32."""
        return (y.double() - self.offset) / self.span

    def outward(self, z: Tensor) -> Tensor:
        """offset + span z, in float64."""
        return self.offset + self.span * z.double()

    def limits(self) -> tuple[float, float]:
        """The box, on the scale of z."""
        low, high = ((value - self.offset) / self.span for value in self.box)
        return low, high


def scale_of(
    y: Tensor,
    noise: float,
    limits: tuple[float, float] | None,
    integers: bool,
    deep: bool = True,
    points: bool = True,
) -> Scale:
    """The scale of one picture.

    Args:
        y: (1, C, H, W), finite. noise: its level. At least ``noise / NOISIEST`` is the span: then the denoisers know
            the noise.
        limits: the box, where it is given. integers: y holds fractions of what an integer type holds, 0..1.
        deep: that type has more than 8 bits. points: whether it may be a field of points.
    """
    low, usual, high = quantiles(y.detach().reshape(-1)[:: max(1, y.numel() // LOOKED_AT)].cpu().double().numpy())
    high = spread(low, usual, high)
    span = max(high - low, noise / NOISIEST)
    if not span > 1e-12 * max(abs(low), abs(high)):  # a constant picture
        span = max(abs(low), abs(high)) or 1.0
    photograph = not integers and is_photograph(low, high, y)
    ordinary = not deep if integers else photograph and (limits is None or limits[1] <= BEYOND)
    sky = None if ordinary or not points else sky_of(y.detach().cpu().double().numpy())
    if limits is None:
        limits = (0.0, 1.0) if integers or photograph else box_of(float(y.min()), float(y.max()))
        limits = limits if sky is None else (max(limits[0], sky), limits[1])
    return Scale(low, span, (float(limits[0]), float(limits[1])), sky is not None and limits[0] >= sky - noise)


def quantiles(values: np.ndarray) -> tuple[float, float, float]:
    """The ``TAIL``, 1 - ``BRIGHT`` and 1 - ``TAIL`` quantiles."""
    low, usual, high = (float(q) for q in np.quantile(values, (TAIL, 1 - BRIGHT, 1 - TAIL)))
    return low, usual, high


def spread(low: float, usual: float, high: float) -> float:
    """Where the range ends: at the 1 - ``BRIGHT`` quantile where the highest values are far above it."""
    return usual if high - low > FAR * (usual - low) > 0 else high


def sky_of(planes: np.ndarray) -> float | None:
    """What the sky of a field of points, (..., H, W), may reach down to; None where a picture is no such field.

    It is one where few values are far above the rest, and none as far below. The darkest place of the picture without
    its noise, by a Gaussian of ``SKY`` pixels, less the noise: a box that begins at the place itself raises the sky
    (docs/lab-book).
    """
    known = planes[np.isfinite(planes)]
    values = known[:: max(1, len(known) // LOOKED_AT)]
    if len(values) == 0:
        return None
    low, usual, high = quantiles(values)
    middle = float(np.median(values))
    if not high - low > FAR * (usual - low) > 0 or middle - low > FAR * (usual - middle):
        return None
    smooth, noise = smoothed_sky(np.where(np.isfinite(planes), planes, middle))
    return float(smooth.min()) - noise


def smoothed_sky(planes: np.ndarray) -> tuple[np.ndarray, float]:
    """Planes (..., H, W) without their noise, by a Gaussian of ``SKY`` pixels; and the level of that noise."""
    smooth = gaussian_filter(planes, SKY, axes=(-2, -1), truncate=3)
    return smooth, NORMAL * float(np.median(np.abs(planes - smooth)))


def limits_of(picture: Picture) -> tuple[float, float]:
    """The box for the estimate: what the type holds; a float file may hold values beyond its darkest and brightest, and
    of a star that was blurred by far. Of a field of points it begins at the sky."""
    pixels, span = picture.pixels, picture.high - picture.low
    whole = picture.dtype.kind in "iu"
    most = (float(np.iinfo(picture.dtype).max) - picture.low) / span if whole else math.inf  # that the type holds
    least, brightest = float(pixels.min()), float(pixels.max())
    low, usual, high = quantiles(pixels.reshape(-1)[:: max(1, pixels.size // LOOKED_AT)])
    as_it_is = not whole and (picture.low, picture.high) == (0, 1)  # the values are those of the file
    ordinary = picture.dtype.name == "uint8" or (as_it_is and is_photograph(low, spread(low, usual, high), pixels))
    seen = np.atleast_3d(pixels).astype(np.float64)
    if picture.weights is not None:
        seen = np.where(np.atleast_3d(picture.weights) > 0, seen, np.nan)  # what is there says nothing
    sky = None if ordinary else sky_of(np.moveaxis(seen, -1, 0))
    if picture.dtype.name in FRACTIONS:
        return (max(-math.inf if sky is None else sky, -picture.low / span), most)
    darkest = 0.0 if picture.low >= 0 else -1.0  # no dark rings where the data are not negative
    if sky is not None:
        return (max(sky, darkest), min(least + STAR * (brightest - least), most))
    return (darkest, BEYOND if brightest <= 1 else STAR * brightest)


def is_photograph(low: float, high: float, values: Tensor | np.ndarray) -> bool:
    """Whether floats are meant as 0..1: all of them lie about there, and ``low`` and ``high``, of most, far apart."""
    first, last, wide = PHOTOGRAPH
    return first <= float(values.min()) and float(values.max()) <= last and high - low >= wide


def box_of(least: float, most: float) -> tuple[float, float]:
    """Where the estimate of a picture of floats that is no photograph may lie: beyond the data.

    A blur lowers peaks, so the box reaches ``STAR`` times their height above the data. Below it reaches as far as the
    data are high, where some are negative; where none is, it ends at the darkest: a dark ring around a star is no
    signal.
    """
    height = max(most - least, math.ulp(abs(most)))
    return (least if least >= 0 else least - height), least + STAR * height


def raised(box: tuple[float, float], ceiling: float, times: float) -> tuple[float, float]:
    """The box where pixels saturate at ``ceiling``: what is there may be so many ``times`` as high above the bottom."""
    low, high = box
    return low, max(high, low + times * (ceiling - low))


def all_equal(y: Tensor) -> bool:
    """Whether the three channels of a picture are one: a grey picture stored in colour."""
    return y.shape[1] == 3 and torch.equal(y[:, 0], y[:, 1]) and torch.equal(y[:, 0], y[:, 2])
