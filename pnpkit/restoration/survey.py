"""What is taken from a volume before it is restored: the model of its noise, and its scale.

Both are of the slices. Stacks that were deskewed, registered or resampled are means of neighbours along some direction:
the finest details along that have lost most of the noise. So it is measured in both directions of the slices at once
and in each alone, and the largest counts. What a mean of neighbours takes from fine details stays in coarse ones, where
a blur leaves something to restore. With a mean of two neighbours at any place between them the variances are those at
the coarsest 1.5, on the average 1, at the finest 1/2; so a ratio r of the level that is found to that of the finest
details raises variances r times. What deskewing and stitching fill with one value has no noise, and is left out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.ndimage import maximum_filter, minimum_filter
from torch import Tensor

from pnpkit.images.noise import estimate_noise
from pnpkit.images.pixels import WIDE, largest_of
from pnpkit.noise.models import Gaussian, Noise, PoissonGaussian, effective_level
from pnpkit.restoration.readings import model_for, smoothed
from pnpkit.restoration.scale import Scale, scale_of
from pnpkit.restoration.settings import Settings, check_level
from pnpkit.restoration.weighing import Weights, model_of_map

PROBED = 16  # slices that the noise of a volume is estimated in
SIDE = 9  # samples: what is constant over so many by so many is looked at
MOST = 2.0  # times as much variance in coarse details
CLEAR = 1.15  # one direction alone counts where it has so many times as much noise as both at once


@dataclass(frozen=True)
class Survey:
    """What is taken from a volume before it is restored: the model of its noise, and the scale.

    Attributes:
        model, level, note: as those of ``Readings``. scale: of the data. times: how many times as bright the result is.
        share: with weights, a variance is so many times the inverse of its weight.
    """

    model: Noise
    level: float
    note: str
    scale: Scale
    times: float = 1.0
    share: float = 1.0


def values_of(volume: np.ndarray) -> tuple[Tensor, Tensor | None]:
    """The values of a volume, (1, 1, D, H, W), and which are known; None: all.

    Integers become fractions of the largest of their type, NaN the mean.
    """
    dtype = volume.dtype
    high = largest_of(dtype)
    unknown = np.isnan(volume) if dtype.kind == "f" else np.zeros((1, 1, 1), bool)
    known = None if not unknown.any() else torch.from_numpy(~unknown)[None, None]
    filled = np.where(unknown, np.nanmean(volume), volume) if known is not None else volume
    values = torch.from_numpy(filled.astype(np.float64 if dtype.name in WIDE else np.float32) / high)
    return values[None, None], known


def surveyed(volume: np.ndarray, settings: Settings, weights: Weights | None = None) -> Survey:
    """Noise and scale of a volume, or of some of its slices, with the weights of their readings.

    Raises:
        InputError: a type or numbers that cannot be worked with.
    """
    dtype = volume.dtype
    high = largest_of(dtype)
    y, known = values_of(volume)
    known = known if weights is None else both(known, weights.inverse > 0)
    flat, free = y[0, 0].numpy(), None if known is None else known[0, 0].numpy()
    constant = constant_parts(flat)
    free = free if constant is None else ~constant if free is None else free & ~constant
    white, axes, coarse = noise_of(flat, free)
    white = white if settings.noise_level is None else check_level("noise level", settings.noise_level, np.inf)
    span = scale_of(y, white, settings.limits, dtype.kind == "u").span
    fair = None if free is None else np.moveaxis(free, 0, -1)
    share, model = 1.0, Gaussian(white)  # type: float, Noise
    if weights is None:
        model, note = model_for(y[0], settings, white, span, high, fair, blurred=True, axes=axes)
    else:
        model, note = model_of_map(y, weights, settings, span, high, known, noise_of_volume)
        share = float((model.spread * weights.inverse)[weights.inverse > 0].median())
    if isinstance(model, PoissonGaussian) and settings.gain is None:
        root = coarse**0.5
        model = PoissonGaussian(model.gain * coarse, model.offset, model.read_noise * root)
        note += f"; {coarse:.2g} times as much in coarse details, as neighbours were averaged" if coarse > 1 else ""
    level = white
    if not isinstance(model, Gaussian):
        level = effective_level(model.variance(smoothed(y, known)), known)
    scale = scale_of(y, level, settings.limits, dtype.kind == "u")
    if isinstance(model, PoissonGaussian) and settings.limits is None:  # light is not negative
        low, most = scale.box
        scale = replace(scale, box=(min(max(low, model.offset), most), most))
    return Survey(model, level, note, scale, share=share)


def both(known: Tensor | None, also: Tensor) -> Tensor:
    """What is known by both."""
    return also if known is None else known & also


def noise_of_volume(y: Tensor, known: Tensor | None) -> float:
    """``noise_of`` a volume (1, 1, D, H, W)."""
    return noise_of(y[0, 0].numpy(), None if known is None else known[0, 0].numpy())[0]


def constant_parts(volume: np.ndarray) -> np.ndarray | None:
    """True where a volume (D, H, W) was filled with one value; None where it was nowhere.

    That is what is constant over ``SIDE`` x ``SIDE`` samples of a slice, unless it is the least value and the others
    come close: a background that was cut off at 0, or has few counts.
    """
    size = (1, SIDE, SIDE)
    if min(volume.shape[1:]) < SIDE:
        return None
    flat = minimum_filter(volume, size) == maximum_filter(volume, size)
    flat = maximum_filter(flat, size) if flat.any() else flat
    if not flat.any() or flat.all():
        return None
    others = volume[~flat]
    least = float(others.min())
    usual = float(np.median(others[:: max(1, len(others) // 1_000_000)]))
    found = flat & ((volume > least) | (least - volume > usual - least))
    return found if found.any() and not found.all() else None


def noise_of(volume: np.ndarray, known: np.ndarray | None) -> tuple[float, tuple[int, ...], float]:
    """The median of the estimates in some slices, the axes of a slice that it was found along, and by how much the
    variance of coarse details is larger than its mean."""
    chosen = np.unique(np.linspace(0, len(volume) - 1, min(PROBED, len(volume))).round().astype(int))
    if known is not None:  # slices that hold something, if there are any
        rich = [i for i in chosen if known[i].mean() > 0.2]
        chosen = np.array(rich) if rich else chosen
    slices = [(volume[i].astype(np.float64), None if known is None else known[i]) for i in chosen]

    def along(axes: tuple[int, ...]) -> float:
        return float(np.median([estimate_noise(values, free, axes) for values, free in slices]))

    both, one = along((0, 1)), {axes: along(axes) for axes in ((0,), (1,))}
    best = max(one, key=lambda axes: one[axes])
    if not one[best] > CLEAR * both:
        return both, (0, 1), 1.0
    coarse = min(one[best] / max(both, 1e-12 * one[best]), MOST)
    return one[best] * coarse**0.5, best, coarse
