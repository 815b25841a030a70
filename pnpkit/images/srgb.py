r"""The sRGB curve, which maps stored values to linear light and back.

Blur and sensor noise happen in linear light. Files store about its 1/2.4th power, and there the halo of a bright point
is no longer a convolution.
"""

from __future__ import annotations

import torch
from torch import Tensor

OFFSET, EXPONENT, SLOPE = 0.055, 2.4, 12.92


KNEE = 0.04045  # stored value below which the curve is a straight line; in linear light it is 0.04045 / 12.92


def decode(stored: Tensor) -> Tensor:
    """v / 12.92 below 0.04045, otherwise ((v + 0.055) / 1.055)^2.4: linear light on the 0..1 scale.

    Any shape is allowed. Values beyond 0..1 follow the same formulas, so ``encode`` inverts it everywhere. Source: IEC
    61966-2-1.
    """
    return torch.where(stored <= KNEE, stored / SLOPE, ((stored.clamp_min(0) + OFFSET) / (1 + OFFSET)) ** EXPONENT)


def encode(light: Tensor) -> Tensor:
    """12.92 v below 0.04045 / 12.92, otherwise 1.055 v^(1/2.4) - 0.055: the inverse of ``decode``."""
    curve = (1 + OFFSET) * light.clamp_min(0) ** (1 / EXPONENT) - OFFSET
    return torch.where(light <= KNEE / SLOPE, light * SLOPE, curve)
