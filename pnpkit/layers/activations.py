r"""Activations with slope in [0, 1] that may depend on the noise level, never on the image.

Such a function is the derivative of a convex 1-smooth potential, which is all that the proofs need.
The level enters through tables over equally spaced knots, interpolated linearly. With ``overwrite``, which is for where
no gradient is recorded, the result takes the place of z: new memory for it would cost a fifth of a convolution.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class LevelTable(nn.Module):
    """One value per channel for every noise level in [0, top]: linear interpolation between knots."""

    def __init__(self, channels: int, value: float, top: float, knots: int):
        super().__init__()
        self.top = top
        self.values = nn.Parameter(torch.full((knots, channels), value))

    def forward(self, level: Tensor) -> Tensor:
        """(B,) levels -> (B, C, 1, 1)."""
        return interpolate(self.values, level, self.top)[:, :, None, None]


def interpolate(values: Tensor, level: Tensor, top: float) -> Tensor:
    """(B,) levels in [0, top] -> (B, C): piecewise linear through values (K, C) at equally spaced levels."""
    knots = values.shape[0]
    position = level.to(values.dtype)[:, None] * ((knots - 1) / top)
    hat = (1 - (position - torch.arange(knots, device=level.device)).abs()).clamp_min(0)
    return hat @ values


def clip(z: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """min(max(z, low), high), elementwise with broadcasting: the derivative of a Huber potential."""
    return torch.clamp(z, low, high)


class Clip(nn.Module):
    """clip(z, -sigma exp(a), sigma exp(c)): weak responses pass, strong ones saturate.

    Subtracted in a gradient-flow step it removes noise and leaves edges alone. At sigma = 0 it vanishes.
    Each of the ``channels`` thresholds is that of ``images`` channels of z, one after the other.
    """

    def __init__(self, channels: int, top: float, knots: int = 6, start: float = 0.2, images: int = 1):
        super().__init__()
        log_start = float(torch.tensor(start).log())
        self.images = images
        self.low = LevelTable(channels, log_start, top, knots)
        self.high = LevelTable(channels, log_start, top, knots)
        self.kernel = clip  # replaced by a compiled one in training

    def thresholds(self, level: Tensor) -> tuple[Tensor, Tensor]:
        """(-sigma exp(a), sigma exp(c)), each (B, C, 1, 1)."""
        scale = level[:, None, None, None]
        low, high = -scale * self.low(level).exp(), scale * self.high(level).exp()
        if self.images > 1:
            low, high = (bound.repeat_interleave(self.images, 1) for bound in (low, high))
        return low, high

    def forward(self, z: Tensor, level: Tensor, overwrite: bool = False, factor: Tensor | None = None) -> Tensor:
        """(B, C, H, W), levels (B,) -> (B, C, H, W). ``factor``, of the same shape and > 0, multiplies the thresholds
        place by place: the slope stays in [0, 1]."""
        low, high = (bound.to(z.dtype) for bound in self.thresholds(level))
        if factor is not None:
            low, high = low * factor, high * factor
        return z.clamp_(low, high) if overwrite else self.kernel(z, low, high)


class ReLU(nn.Module):
    """max(z + b(sigma), 0), the activation of the lecture, with a bias table."""

    def __init__(self, channels: int, top: float, knots: int = 6):
        super().__init__()
        self.bias = LevelTable(channels, 0.0, top, knots)

    def forward(self, z: Tensor, level: Tensor, overwrite: bool = False) -> Tensor:
        """(B, C, H, W), levels (B,) -> (B, C, H, W)."""
        bias = self.bias(level).to(z.dtype)
        return z.add_(bias).relu_() if overwrite else torch.relu(z + bias)


class Rectifier(nn.Module):
    """max(z + b, 0) without a noise level: for classifiers."""

    def __init__(self, channels: int):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, z: Tensor, level: Tensor, overwrite: bool = False) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W), whatever the level."""
        bias = self.bias.to(z.dtype)[:, None, None]
        return z.add_(bias).relu_() if overwrite else torch.relu(z + bias)


ACTIVATIONS: dict[str, type[nn.Module]] = {"clip": Clip, "relu": ReLU}
