r"""Activations with slope in [0, 1], which may depend on the noise level and the place, but never on the image.

Such a function is the derivative of a convex 1-smooth potential, which is all that the proofs need. There is one level
for each picture, (B,), or one for each place: a map (B, 1, H, W) of the size of the features.

The level enters through tables over equally spaced knots, interpolated linearly. With ``overwrite``, which is meant for
use without recorded gradients, the result overwrites z. Allocating new memory would cost a fifth of a convolution.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def spread(level: Tensor) -> Tensor:
    """Reshape levels (B,) to (B, 1, 1, 1), so that they multiply pictures. A map (B, 1, H, W) stays as it is."""
    return level[:, None, None, None] if level.ndim == 1 else level


def coarser(level: Tensor, times: int, unit: int = 1) -> Tensor:
    """Reduce a map of levels to the mean of each square of ``times`` x ``times`` places.

    First, the last row and column are repeated until the sides are multiples of ``unit``. Levels (B,), one for each
    picture, stay as they are.
    """
    if level.ndim == 1 or times == unit == 1:
        return level
    rows, columns = (-side % unit for side in level.shape[-2:])
    return F.avg_pool2d(F.pad(level, (0, columns, 0, rows), mode="replicate"), times)


class LevelTable(nn.Module):
    """One value per channel for every noise level in [0, top], by linear interpolation between knots."""

    def __init__(self, channels: int, value: float, top: float, knots: int):
        super().__init__()
        self.top = top
        self.values = nn.Parameter(torch.full((knots, channels), value))

    def forward(self, level: Tensor) -> Tensor:
        """Return values (B, C, 1, 1) for levels (B,), or (B, C, H, W) for a map (B, 1, H, W)."""
        if level.ndim == 1:
            return interpolate(self.values, level, self.top)[:, :, None, None]
        places = interpolate(self.values, level.flatten(), self.top)
        return places.view(len(level), *level.shape[2:], -1).movedim(-1, 1)


def interpolate(values: Tensor, level: Tensor, top: float) -> Tensor:
    """Interpolate linearly between values (K, C) at equally spaced levels in [0, top]: levels (B,) -> (B, C)."""
    knots = values.shape[0]
    position = level.to(values.dtype)[:, None] * ((knots - 1) / top)
    hat = (1 - (position - torch.arange(knots, device=level.device)).abs()).clamp_min(0)
    return hat @ values


def clip(z: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """min(max(z, low), high), elementwise with broadcasting: the derivative of a Huber potential."""
    return torch.clamp(z, low, high)


@dataclass(frozen=True)
class Places:
    """The parameters of a clip that vary with place and filter: fields (B, C, H, W), or None.

    The clip becomes slope * clip(z - centre, exp(log_factor) low, exp(log_factor) high) with slope = sigmoid(mask) in
    (0, 1), or 1. If these numbers do not depend on z, it is monotone with slopes in [0, 1], as the clip itself is.
    """

    log_factor: Tensor
    centre: Tensor | None = None
    mask: Tensor | None = None

    def each(self, change: Callable[[Tensor], Tensor]) -> Places:
        """Apply ``change`` to every field."""
        centre, mask = (None if field is None else change(field) for field in (self.centre, self.mask))
        return Places(change(self.log_factor), centre, mask)


def clip_at(
    z: Tensor, low: Tensor, high: Tensor, log_factor: Tensor, centre: Tensor | None, mask: Tensor | None
) -> Tensor:
    """slope * clip(z - centre, factor low, factor high), elementwise: see ``Places``."""
    factor = log_factor.exp()
    out = torch.clamp(z if centre is None else z - centre, low * factor, high * factor)
    return out if mask is None else out * torch.sigmoid(mask)


def clip_in_place(z: Tensor, low: Tensor, high: Tensor, places: Places) -> Tensor:
    """``clip_at`` written over z and over the fields of ``places``."""
    factor = places.log_factor.exp_()
    low = low * factor
    high = factor.mul_(high)
    if places.centre is not None:
        z = z.sub_(places.centre)
    out = z.clamp_(low, high)
    return out if places.mask is None else out.mul_(places.mask.sigmoid_())


class Clip(nn.Module):
    """clip(z, -sigma exp(a), sigma exp(c)): weak responses pass, strong ones saturate.

    Subtracted in a gradient-flow step, it removes noise and leaves edges unchanged. At sigma = 0 it vanishes. Each of
    the ``channels`` thresholds is used for ``images`` successive channels of z.
    """

    def __init__(self, channels: int, top: float, knots: int = 6, start: float = 0.2, images: int = 1):
        super().__init__()
        log_start = float(torch.tensor(start).log())
        self.images = images
        self.low = LevelTable(channels, log_start, top, knots)
        self.high = LevelTable(channels, log_start, top, knots)
        self.kernel, self.kernel_at = clip, clip_at  # replaced by compiled ones in training

    def thresholds(self, level: Tensor) -> tuple[Tensor, Tensor]:
        """Return (-sigma exp(a), sigma exp(c)), each (B, C, 1, 1), or (B, C, H, W) for a map."""
        scale = spread(level)
        low, high = -scale * self.low(level).exp(), scale * self.high(level).exp()
        if self.images > 1:
            low, high = (bound.repeat_interleave(self.images, 1) for bound in (low, high))
        return low, high

    def forward(self, z: Tensor, level: Tensor, overwrite: bool = False, places: Places | None = None) -> Tensor:
        """Clip z (B, C, H, W), with levels (B,) or a map. ``overwrite`` also overwrites ``places``."""
        low, high = (bound.to(z.dtype) for bound in self.thresholds(level))
        if places is None:
            return z.clamp_(low, high) if overwrite else self.kernel(z, low, high)
        if overwrite:
            return clip_in_place(z, low, high, places)
        return self.kernel_at(z, low, high, places.log_factor, places.centre, places.mask)


class ReLU(nn.Module):
    """max(z + b(sigma), 0), the activation of the lecture, with a table for the bias b."""

    def __init__(self, channels: int, top: float, knots: int = 6):
        super().__init__()
        self.bias = LevelTable(channels, 0.0, top, knots)

    def forward(self, z: Tensor, level: Tensor, overwrite: bool = False) -> Tensor:
        """Apply the activation to z (B, C, H, W), with levels (B,) or a map."""
        bias = self.bias(level).to(z.dtype)
        return z.add_(bias).relu_() if overwrite else torch.relu(z + bias)


class Rectifier(nn.Module):
    """max(z + b, 0) without a noise level: for classifiers."""

    def __init__(self, channels: int):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, z: Tensor, level: Tensor, overwrite: bool = False) -> Tensor:
        """Apply the activation to z (B, C, H, W). The level is ignored."""
        bias = self.bias.to(z.dtype)[:, None, None]
        return z.add_(bias).relu_() if overwrite else torch.relu(z + bias)


ACTIVATIONS: dict[str, type[nn.Module]] = {"clip": Clip, "relu": ReLU}
