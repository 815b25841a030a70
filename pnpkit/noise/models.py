r"""Models of how the variance of a reading depends on its mean.

    y = gain * Poisson(counts) + offset + read_noise * N(0, 1),    var y = gain max(v - offset, 0) + read_noise^2,

where v is the mean of y. Gain, offset and read noise are in the units of the data; the gain is the value of one count.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pnpkit.errors import InputError

FEWEST = 0.5  # the variance is at least that of this many counts, since a mean of 0 counts is never known


@dataclass(frozen=True)
class Gaussian:
    """var y = level^2 everywhere."""

    level: float

    def variance(self, v: Tensor) -> Tensor:
        """level^2, of the shape of v."""
        return torch.full_like(v, self.level**2)

    def scaled(self, offset: float, span: float) -> Gaussian:
        """The model of (y - offset) / span."""
        return Gaussian(self.level / span)

    def __str__(self) -> str:
        return f"gaussian, level {self.level:.4g}"


@dataclass(frozen=True)
class PoissonGaussian:
    """var y = gain max(v - offset, 0) + read_noise^2.

    Args:
        gain: > 0, in units of the data per count.
        offset: the mean reading without light.
        read_noise: >= 0, the standard deviation of the reading without light.

    Raises:
        InputError: the gain is not > 0, the read noise is < 0, or a number is not finite.
    """

    gain: float
    offset: float = 0.0
    read_noise: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.gain < math.inf:
            raise InputError(f"a gain is a finite number > 0, the units of the data per count, got {self.gain!r}")
        if not math.isfinite(self.offset):
            raise InputError(f"an offset is a finite number, the reading without light, got {self.offset!r}")
        if not 0 <= self.read_noise < math.inf:
            raise InputError(f"a read noise is a finite number >= 0, got {self.read_noise!r}")

    def variance(self, v: Tensor) -> Tensor:
        """gain max(v - offset, gain FEWEST) + read_noise^2, of the shape of v.

        The lower limit is there because a mean of few counts is never known to be 0.
        """
        return self.gain * (v - self.offset).clamp_min(FEWEST * self.gain) + self.read_noise**2

    def scaled(self, offset: float, span: float) -> PoissonGaussian:
        """The model of (y - offset) / span."""
        return PoissonGaussian(self.gain / span, (self.offset - offset) / span, self.read_noise / span)

    def __str__(self) -> str:
        read = f", read noise {self.read_noise:.4g}" if self.read_noise else ""
        offset = self.offset if abs(self.offset) > 1e-6 * self.gain else 0.0  # ignores the rounding error of 0
        return f"poisson{'-gaussian' if self.read_noise else ''}, gain {self.gain:.4g}, offset {offset:.4g}{read}"


@dataclass(frozen=True)
class Proportional:
    """var y = level^2 + (share max(v - offset, 0))^2: white noise, and the error of a blur known only up to a share.

    The second term matters for bright points.

    Args:
        level: standard deviation of the white noise.
        offset: level of the sky.
        share: relative error of the part above the sky.
    """

    level: float
    offset: float
    share: float

    def variance(self, v: Tensor) -> Tensor:
        """level^2 + (share max(v - offset, 0))^2, of the shape of v."""
        return self.level**2 + (self.share * (v - self.offset).clamp_min(0)) ** 2

    def scaled(self, offset: float, span: float) -> Proportional:
        """The model of (y - offset) / span."""
        return Proportional(self.level / span, (self.offset - offset) / span, self.share)

    def __str__(self) -> str:
        return f"gaussian, level {self.level:.4g}, and {100 * self.share:g} % of what is above {self.offset:.6g}"


@dataclass(frozen=True, eq=False)
class Mapped:
    """var y given by a map, with one value for each reading.

    Args:
        spread: the variances, > 0, infinite where a reading carries no information. Its shape broadcasts to that of y.
    """

    spread: Tensor

    def variance(self, v: Tensor) -> Tensor:
        """Return the map expanded to the shape of v."""
        return self.spread.to(v).expand_as(v)

    def scaled(self, offset: float, span: float) -> Mapped:
        """The model of (y - offset) / span."""
        return Mapped(self.spread / span**2)

    @property
    def deviations(self) -> tuple[float, float, float]:
        """Return the least, the median and the largest of the finite standard deviations."""
        found = self.spread[torch.isfinite(self.spread)].double().sqrt()
        return float(found.min()), float(found.median()), float(found.max())

    def __str__(self) -> str:
        least, median, most = self.deviations
        return f"weights by a map, standard deviation {least:.4g} to {most:.4g}, median {median:.4g}"


Noise = Gaussian | PoissonGaussian | Proportional | Mapped


def effective_level(variance: Tensor, known: Tensor | None = None) -> float:
    r"""Return sigma with 1 / sigma^2 = mean 1 / var y.

    Readings with white noise of this level determine a constant as precisely.

    Args:
        variance: > 0.
        known: of the same shape, false where a reading does not count.
    """
    chosen = variance if known is None else variance[known.expand_as(variance)]
    return float((1 / chosen.double()).mean() ** -0.5)
