"""What the readings of a picture are worth: the variance of each, and which are unknown or saturate.

All weights are numbers before a run begins. So every run keeps its proof, given the weights.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from deepinv.physics import LinearPhysics
from torch import Tensor

from pnpkit.errors import InputError
from pnpkit.fidelities.data import DataTerm
from pnpkit.fidelities.least_squares import LeastSquares
from pnpkit.fidelities.one_sided import ClippedLeastSquares
from pnpkit.fidelities.weighted import WeightedLeastSquares
from pnpkit.images.pixels import from_tensor
from pnpkit.maps import Map
from pnpkit.noise import clipped
from pnpkit.noise.estimate import Line, groups_of, is_counted, line_through, model_of
from pnpkit.noise.models import Gaussian, Mapped, Noise, PoissonGaussian, Proportional
from pnpkit.restoration.defaults import BESIDE_LAMPS, EDGE, LEFT, MARGIN, NOISY, SLACK, SMOOTHING
from pnpkit.restoration.settings import GAUSSIAN, POISSON, POISSON_GAUSSIAN, Settings

GIVEN = "the weights of the readings are given: they were taken from the picture before, and stay whatever x is"
MAP = "the weights of the readings are given, by a map that came with them"
CEILING = "which readings saturate is given: it was found in the picture before, and stays whatever x is"


@dataclass(frozen=True)
class Readings:
    """What is known of the readings y beside their values, on the scale that y is on.

    Attributes:
        model: the variance of a reading.
        level: of the white noise that tells as much as this noise, see ``noise.models.effective_level``.
        note: where the model comes from, a sentence.
        known: (1, C or 1, H, W), false where a reading says nothing; None: all say something.
        above: (1, C, H, W), true where a reading saturates: it says "at least so bright"; None: nowhere.
    """

    model: Noise
    level: float
    note: str
    known: Tensor | None = None
    above: Tensor | None = None

    def scaled(self, offset: float, span: float) -> Readings:
        """The readings (y - offset) / span."""
        return replace(self, model=self.model.scaled(offset, span), level=self.level / span)

    @property
    def weighted(self) -> bool:
        """Whether the readings do not all have the same variance."""
        return not isinstance(self.model, Gaussian)

    @property
    def unsure(self) -> Tensor | None:
        """True where a reading saturates or says nothing; None: nowhere."""
        if self.known is None:
            return self.above
        return ~self.known if self.above is None else ~self.known | self.above

    @property
    def follows(self) -> bool:
        """Whether the variance follows what is read, so that a better picture makes better weights."""
        return isinstance(self.model, (PoissonGaussian, Proportional))

    def mean_level(self, y: Tensor) -> float:
        """The root mean variance, the level of white noise of the same power.

        Of a map it is the median deviation, which a few worthless readings do not raise.
        """
        if isinstance(self.model, Mapped):
            return self.model.deviations[1]
        if not self.weighted:
            return self.level
        return float(self.model.variance(smoothed(y, self.known)).double().mean().sqrt())

    def weights(self, v: Tensor) -> Tensor:
        """The weight of each reading, level^2 / var y where the mean of y is v; 0 where a reading says nothing."""
        weights = self.level**2 / self.model.variance(v) if self.weighted else torch.ones_like(v)
        return weights if self.known is None else weights * self.known

    def fidelity(self, operator: LinearPhysics, y: Tensor, v: Tensor) -> DataTerm:
        """The data term of the readings y, weighted by their variances where their means are v."""
        if not self.weighted and self.known is None and self.above is None:
            return LeastSquares(operator, y)
        weights = self.weights(v)
        if self.above is not None:
            return ClippedLeastSquares(operator, y, weights, self.above)
        return WeightedLeastSquares(operator, y, weights)

    def trust(self, y: Tensor) -> np.ndarray | None:
        """The trust in each pixel of y (1, C, H, W), (H, W); see ``blind.trust``. None: all count alike."""
        if not self.weighted and self.known is None and self.above is None:
            return None
        roots = self.weights(smoothed(y, self.known)).double().sqrt()
        if self.above is not None:  # what lies around a lamp is the blur of a lamp, and no photograph's
            nothing = ((roots == 0) | self.above).to(y)
            roots = roots * (F.max_pool2d(nothing, 2 * BESIDE_LAMPS + 1, 1, BESIDE_LAMPS) == 0)
        least = roots.amin(1)[0]  # of the channels, whose mean is looked at
        return np.asarray((least / least.square().mean().sqrt().clamp_min(1e-12)).cpu().numpy())

    def with_premises(self, map: Map) -> Map:
        """The map, with the premises that its weights and its saturated readings are given, where it has such."""
        given = (
            (GIVEN,) * self.follows + (MAP,) * isinstance(self.model, Mapped) + (CEILING,) * (self.above is not None)
        )
        if not given:
            return map
        premises = (*given, *map.certificate.premises)
        return replace(map, certificate=replace(map.certificate, premises=premises))


def smoothed(y: Tensor, known: Tensor | None = None, width: float = SMOOTHING) -> Tensor:
    """The local means of y: a Gaussian of standard deviation ``width`` pixels, over what is known."""
    if y.ndim > 4:  # slice by slice
        flat = None if known is None else known.expand_as(y).flatten(0, -3)[:, None]
        return smoothed(y.flatten(0, -3)[:, None], flat, width).view_as(y)
    radius = min(int(3 * width), *(side - 1 for side in y.shape[-2:]))
    steps = torch.arange(-radius, radius + 1, dtype=y.dtype, device=y.device)
    taps = torch.exp(-(steps**2) / (2 * width**2))

    def mean(z: Tensor) -> Tensor:
        for shape, pad in (((1, 1, 1, -1), (radius, radius, 0, 0)), ((1, 1, -1, 1), (0, 0, radius, radius))):
            planes = F.pad(z, pad, mode="reflect" if radius else "constant").flatten(0, 1)[:, None]
            z = F.conv2d(planes, (taps / taps.sum()).view(shape)).view_as(z)
        return z

    if known is None:
        return mean(y)
    shares = known.to(y).expand_as(y)
    return torch.where(known, mean(y * shares) / mean(shares).clamp_min(1e-6), y)


def model_for(
    y: Tensor,
    settings: Settings,
    level: float,
    span: float,
    unit: float,
    known: np.ndarray | None,
    blurred: bool,
    axes: tuple[int, ...] = (0, 1),
) -> tuple[Noise, str]:
    """The model of the noise as the settings ask for it, in the units of y, and where it comes from.

    Args:
        y: (1, C, H, W), the channels those of a picture or the slices of a volume.
        level: of white noise, given or estimated. span: the range of the picture.
        unit: how many units of the data are 1 in y. known: (H, W) or (H, W, C).
        blurred: whether the picture is taken to be blurred. axes: see ``noise.estimate.groups_of``.

    Raises:
        InputError: counts are asked for, no gain is given, and none can be estimated.
    """
    gain, offset, read = (
        None if number is None else float(number) / unit
        for number in (settings.gain, settings.offset, settings.read_noise)
    )
    asked = settings.noise in (POISSON, POISSON_GAUSSIAN) or not (gain is offset is read is None)
    white = settings.noise_level is not None or settings.compression > 0 or settings.linear
    if settings.noise == GAUSSIAN or (not asked and white):
        return Gaussian(level), "given" if settings.noise_level is not None else "estimated from the picture"
    if gain is not None:
        return PoissonGaussian(gain, offset or 0.0, read or 0.0), "given"
    line = line_through(*groups_of(np.moveaxis(y[0].double().cpu().numpy(), 0, -1), known, axes))
    if not asked and not is_counted(line, span, blurred):
        return Gaussian(level), "estimated from the picture"
    if line is None:
        raise InputError("the picture is too small to estimate a gain, or has no noise: give `gain`")
    if settings.noise == POISSON:
        offset, read = offset or 0.0, 0.0
    return model_of(line, offset, read), how_sure(line)


def how_sure(line: Line) -> str:
    """A sentence on how surely a gain was estimated."""
    return (
        f"estimated from the picture: variance against mean over {line.groups} groups of windows, the gain to "
        f"{100 * line.error / line.gain:.0f} % (one standard deviation)"
    )


def saturated_in(
    y: Tensor, settings: Settings, level: float, span: float, unit: float, holes: np.ndarray | None, blurred: bool
) -> np.ndarray | None:
    """The readings of y at the ceiling, booleans (H, W) or (H, W, C); None where there is none."""
    if settings.saturation == "off" or (settings.saturation == "auto" and not blurred):
        return None
    given = None if isinstance(settings.saturation, str) else float(settings.saturation)
    known = None if holes is None else ~holes
    values = from_tensor(y[:1].double()) * unit
    found = clipped.saturated(values, known, given, noisy=level > NOISY * span, slack=SLACK * level * unit)
    if given is None:  # a channel with nothing else is a picture of white, not of lamps
        free = np.ones(values.shape[:2], bool) if known is None else known
        rest = np.atleast_3d(~clipped.grown(found, MARGIN))[free]
        found &= (rest.mean(0) > LEFT) if found.ndim == 3 else bool(rest.mean() > LEFT)
    return found if found.any() else None


def masks(
    holes: np.ndarray | None, above: np.ndarray | None, y: Tensor, edges: bool = False
) -> tuple[Tensor | None, Tensor | None]:
    """``known`` and ``above`` of ``Readings``: beside a saturated pixel nothing is known, since a sensor's colours are
    interpolated, and files are compressed. Nor of the edges of a wide part: where its light ends is for the readings
    around it to say. With ``edges`` all of that is known.

    Raises:
        InputError: nothing is known of a picture.
    """

    def planes(found: np.ndarray) -> Tensor:
        stacked = found[None] if found.ndim == 2 else np.moveaxis(found, -1, 0)
        return torch.from_numpy(np.ascontiguousarray(stacked))[None].to(y.device)

    if above is None:
        return (None if holes is None else planes(~holes)), None
    unknown = clipped.grown(above, 0 if edges else MARGIN) & ~above
    if holes is not None:
        unknown |= holes if above.ndim == 2 else holes[..., None]
        above = above & ~(holes if above.ndim == 2 else holes[..., None])
    if (unknown | above).reshape(-1, *unknown.shape[2:]).all(0).any():
        raise InputError("every pixel of a channel is at the ceiling or unknown: nothing is known; see `saturation`")
    deep = above if edges else clipped.inner(above, EDGE)
    return planes(~unknown & ~(above & ~deep)), planes(deep)
