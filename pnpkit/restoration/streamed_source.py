"""A volume larger than the memory as it came: read part by part, and written into files on the scale of the run."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from pnpkit.machine.fields import Place
from pnpkit.noise.models import Mapped
from pnpkit.restoration.readings import Readings, smoothed
from pnpkit.restoration.streamed_data import Measured, total
from pnpkit.restoration.survey import Survey, values_of
from pnpkit.restoration.weighing import Weights


@dataclass(frozen=True)
class Source:
    """The volume as it came, read part by part.

    Attributes:
        survey: noise and scale of the whole. weights: what its readings are worth, or None.
        mean: of the known values, in the units of the volume; it stands where nothing is known.
    """

    volume: np.ndarray
    survey: Survey
    weights: Weights | None
    mean: float = 0.0

    def values(self, place: Place) -> Tensor:
        """The values of a part, (1, 1, d, h, w) in float64; integers as fractions of the largest of their type."""
        part = np.ascontiguousarray(self.volume[place])
        if part.dtype.kind == "f":
            part = np.where(np.isnan(part), np.asarray(self.mean, part.dtype), part)
        return values_of(part)[0].double()

    def known(self, place: Place) -> Tensor | None:
        """True where a reading of a part is known; None: everywhere."""
        found = None
        if self.volume.dtype.kind == "f":
            lost = np.isnan(self.volume[place])
            found = torch.from_numpy(~lost)[None, None] if lost.any() else None
        if self.weights is None:
            return found
        worth = self.weights.inverse[0, 0][place][None, None] > 0
        return worth if found is None else worth & found

    def readings(self, place: Place) -> Readings:
        """The ``Readings`` of a part, on the scale of the survey."""
        model, scale = self.survey.model, self.survey.scale
        if self.weights is not None:
            model = Mapped(self.survey.share / self.weights.inverse[0, 0][place][None, None])
        found = Readings(model, self.survey.level, self.survey.note, self.known(place), None)
        return found.scaled(scale.offset, scale.span)


def slices(shape: tuple[int, ...]) -> list[Place]:
    """The place of each slice of a volume of that shape."""
    return [(slice(z, z + 1), *(slice(0, n) for n in shape[1:])) for z in range(shape[0])]


def opened_source(source: Source, measured: Measured, told: Callable[[str], None]) -> tuple[Source, Measured]:
    """Write readings and weights into files, on the scale of a rough deconvolution of the whole.

    The deconvolution is the first iterate, in the field "start". Returns the source with its mean and scale, and what
    was measured with its weights.
    """
    store, planes, volume = measured.store, slices(measured.frame), source.volume

    def mean(place: Place) -> tuple[float, ...]:
        found = source.known(place)
        part = values_of(np.ascontiguousarray(np.nan_to_num(volume[place])))[0].double()
        lost = np.isnan(volume[place]).sum() if volume.dtype.kind == "f" else 0
        return float(found is not None), total(part), part.numel() - float(lost)

    unsure, sums, counts = store.each(planes, mean)
    source = replace(source, mean=math.fsum(sums) / math.fsum(counts))
    survey = source.survey

    def inward(place: Place) -> tuple[float, ...]:
        values = survey.scale.inward(source.values(place)).to(store.dtype)[0, 0]
        measured.y[place] = values
        return (float(values.square().sum(dtype=torch.float64)),)

    store.each(planes, inward)
    rough, bright = measured.rough(source.known, told)
    times = max(1.0, bright)
    survey = replace(survey, scale=replace(survey.scale, span=survey.scale.span * times), times=times)
    source = replace(source, survey=survey)
    start, (low, high) = store.field("start", measured.scene), survey.scale.limits()

    def first_iterate(part: tuple[int, int]) -> tuple[float, ...]:
        start.put(part[0], (rough.part(*part) / times).clamp(low, high))
        return (0.0,)

    store.each(start.parts(), first_iterate)
    (squares,) = store.each(planes, inward)
    measured.size = math.sqrt(math.fsum(squares) / math.prod(measured.frame))
    readings = source.readings(planes[0])
    if readings.weighted or any(unsure):
        measured.weights = store.field("weights", measured.frame)

        def weigh(place: Place) -> tuple[float, ...]:
            own, values = source.readings(place), measured.y[place][None, None]
            found = own.weights(smoothed(values, own.known))[0, 0]
            measured.weights[place] = found  # type: ignore[index]
            return (float(found.max()),)

        (tops,) = store.each(planes, weigh)
        measured.heaviest = max(tops)
    return source, measured
