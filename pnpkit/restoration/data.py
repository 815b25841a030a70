"""What a restoration took its data for: noise, scale, box, unknown and saturated pixels, and the flux in and out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from pnpkit.noise.models import Gaussian, Mapped, Noise, PoissonGaussian, Proportional
from pnpkit.restoration.settings import GAUSSIAN, POISSON, POISSON_GAUSSIAN

if TYPE_CHECKING:
    from pnpkit.restoration.picture import Opened


WEIGHTS = "weights"  # the kind of noise that a map gives


@dataclass(frozen=True)
class Data:
    """What a restoration took its data for, in the units of the data.

    Attributes:
        noise: the model. note: where it comes from.
        offset, span: what 0 and 1 are on the scale of the run. box: where the estimate may lie.
        unknown, saturated: numbers of pixels of which nothing is known, and of readings at the ceiling, in all
            channels. unknown counts those beside the saturated ones, too.
        flux: of counts, the sums above the offset of what is known, before and after; None where the picture changed
            its size, or the noise is not of counts.
    """

    noise: Noise
    note: str
    offset: float
    span: float
    box: tuple[float, float]
    unknown: int = 0
    saturated: int = 0
    flux: tuple[float, float] | None = None

    @property
    def kind(self) -> str:
        """The word of ``noise`` in the settings, or WEIGHTS."""
        if isinstance(self.noise, (Gaussian, Proportional)):
            return GAUSSIAN
        if isinstance(self.noise, Mapped):
            return WEIGHTS
        return POISSON_GAUSSIAN if self.noise.read_noise else POISSON

    @property
    def plain(self) -> bool:
        """Whether there is nothing to say: white noise, and every reading counts."""
        return isinstance(self.noise, Gaussian) and not self.unknown and not self.saturated

    def within(self, low: float, high: float) -> Data:
        """This value in the units of a file, in which 0 and 1 are ``low`` and ``high``."""
        span = high - low or 1.0
        flux = None if self.flux is None else (self.flux[0] * span, self.flux[1] * span)
        return replace(
            self,
            noise=self.noise.scaled(-low / span, 1 / span),
            offset=low + self.offset * span,
            span=self.span * span,
            box=(low + self.box[0] * span, low + self.box[1] * span),
            flux=flux,
        )

    def sentences(self) -> list[str]:
        """Sentences on the data; none on white noise where every reading counts."""
        found = []
        if not isinstance(self.noise, Gaussian):
            found.append(f"noise: {self.noise} ({self.note})")
            found.append(f"0 and 1 of the run are {self.offset:.6g} and {self.offset + self.span:.6g} of the data")
        if self.saturated:
            top = f"{self.box[1]:.4g}"
            found.append(
                f"{self.saturated} readings are clipped: each says 'at least so bright', up to {top} is possible"
            )
        if self.unknown:
            beside = ", those beside clipped ones among them" if self.saturated else ""
            found.append(f"{self.unknown} readings are unknown{beside}: they do not count")
        if self.flux is not None:
            before, after = self.flux
            change = f" ({100 * (after / before - 1):+.2f} %)" if before > 0 else ""
            found.append(f"flux above the offset: {before:.6g} before, {after:.6g} after{change}")
            if before < 0:
                found.append("the mean reading is below the offset, where no light is: is this `offset` the right one?")
        return found

    def to_json(self) -> dict[str, Any]:
        """What the data were taken for, as the fields of the JSON record."""
        counts = self.noise if isinstance(self.noise, PoissonGaussian) else None
        return {
            "noise": {
                "model": self.kind,
                "gain": None if counts is None else counts.gain,
                "offset": None if counts is None else counts.offset,
                "read_noise": None if counts is None else counts.read_noise,
                "note": self.note,
            },
            "scale": {"offset": self.offset, "span": self.span, "box": list(self.box)},
            "unknown": self.unknown,
            "saturated": self.saturated,
            "flux": None if self.flux is None or counts is None else list(self.flux),
        }


def data_of(opened: Opened, image: np.ndarray | Tensor) -> Data:
    """What a restoration that gave ``image``, in the type that came, took its data for."""
    readings, scale, unit = opened.readings, opened.scale, opened.unit
    y = opened.y
    saturated = 0 if readings.above is None else int(readings.above.sum())
    unknown = 0 if readings.known is None else int((~readings.known).expand(y.shape).sum())
    model = readings.model.scaled(-scale.offset / scale.span, 1 / (scale.span * unit))
    low, high = scale.box
    return Data(
        noise=model,
        note=readings.note,
        offset=scale.offset * unit,
        span=scale.span * unit,
        box=(low * unit, high * unit),
        unknown=unknown,
        saturated=saturated,
        flux=flux(opened, model, image) if isinstance(model, PoissonGaussian) else None,
    )


def flux(opened: Opened, model: PoissonGaussian, image: np.ndarray | Tensor) -> tuple[float, float] | None:
    """Sums above the offset over what is known, of the data and of the result; None where that has another size."""
    y, known = opened.y, opened.readings.known
    before, after = opened.scale.outward(y) * opened.unit, laid_out(image, y)
    if after.shape != y.shape:
        return None
    counted = torch.ones_like(before, dtype=torch.bool) if known is None else known.expand(y.shape)
    return tuple(float((z.cpu() - model.offset)[counted.cpu()].sum()) for z in (before, after))  # type: ignore[return-value]


def laid_out(image: np.ndarray | Tensor, y: Tensor) -> Tensor:
    """The pixels of a result with the axes of y, in float64 on the CPU; one channel where y has one."""
    values = image.detach().cpu() if isinstance(image, Tensor) else torch.as_tensor(np.asarray(image, np.float64))
    if y.ndim == 5:  # a volume
        return values.double()[None, None]
    planes = values if isinstance(image, Tensor) else torch.atleast_3d(values).permute(2, 0, 1)[None]
    return planes.double()[:, :1] if y.shape[1] == 1 else planes.double()
