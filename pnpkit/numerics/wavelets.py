r"""Orthonormal wavelet bases for images of any size, by periodic filter banks.

One level splits a signal of even length n into n/2 approximations and n/2 details, a_i = sum_k h_k x_{2i+k} and
d_i = sum_k g_k x_{2i+k} with g_k = (-1)^k h_{K-1-k}, indices modulo n (Daubechies 1988). If the length is odd, the last
sample joins the approximations unchanged; the transform stays orthonormal.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pnpkit.errors import UnknownName

ROOT3 = math.sqrt(3)


FILTERS: dict[str, tuple[float, ...]] = {
    "haar": (1 / math.sqrt(2), 1 / math.sqrt(2)),
    "db2": tuple(c / (4 * math.sqrt(2)) for c in (1 + ROOT3, 3 + ROOT3, 3 - ROOT3, 1 - ROOT3)),
    "db4": (
        0.2303778133088965,
        0.7148465705529157,
        0.6308807679298589,
        -0.027983769416859854,
        -0.18703481171909309,
        0.030841381835560764,
        0.0328830116668852,
        -0.010597401785069032,
    ),
}


@dataclass(frozen=True)
class Basis:
    """An orthonormal wavelet basis of images (B, C, H, W), made of ``levels`` levels of the two-dimensional transform.

    Args:
        wavelet: ``haar``, ``db2`` or ``db4`` (2, 4 or 8 taps).
        levels: the largest number of levels; a level needs sides of at least 2 pixels.

    Raises:
        UnknownName: the wavelet is another one.
    """

    wavelet: str = "db4"
    levels: int = 4

    def __post_init__(self) -> None:
        if self.wavelet not in FILTERS:
            raise UnknownName("wavelet", self.wavelet, FILTERS)

    def analyse(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the approximation, and the details from fine to coarse, three per level."""
        details: list[Tensor] = []
        for _ in range(self.levels):
            if min(x.shape[-2:]) < 2:
                break
            low, high = split(x, self.wavelet)
            x, down = split(low.mT, self.wavelet)
            details += [down, *split(high.mT, self.wavelet)]
            x = x.mT
        return x, details

    def synthesise(self, coarse: Tensor, details: list[Tensor]) -> Tensor:
        """Undo ``analyse``. This is its inverse and also its adjoint."""
        x = coarse
        for place in range(len(details) - 3, -1, -3):
            down, top, bottom = details[place : place + 3]
            x = join(join(x.mT, down, self.wavelet).mT, join(top, bottom, self.wavelet).mT, self.wavelet)
        return x


def taps(wavelet: str) -> list[tuple[float, float]]:
    """Return (h_k, g_k) for k = 0 ... K - 1."""
    low = FILTERS[wavelet]
    return [(low[k], (-1) ** k * low[-1 - k]) for k in range(len(low))]


def split(x: Tensor, wavelet: str) -> tuple[Tensor, Tensor]:
    """Return approximations and details along the last axis."""
    even = x.shape[-1] - x.shape[-1] % 2
    pairs = x[..., :even].unflatten(-1, (-1, 2))
    half, weights = pairs.shape[-2], taps(wavelet)
    wide = wrapped(pairs, (len(weights) - 1) // 2)
    (h, g), first = weights[0], wide[..., :half, 0]
    low, high = h * first, g * first
    for k, (h, g) in enumerate(weights[1:], 1):
        samples = wide[..., k // 2 : k // 2 + half, k % 2]  # x at 2i + k
        low.add_(samples, alpha=h)
        high.add_(samples, alpha=g)
    return torch.cat([low, x[..., even:]], -1), high


def wrapped(pairs: Tensor, more: int) -> Tensor:
    """Append the first ``more`` pairs behind the last one. If there are fewer, they repeat in turn."""
    count = pairs.shape[-2]
    if count >= more:
        return torch.cat([pairs, pairs[..., :more, :]], -2)
    return pairs.index_select(-2, torch.arange(count + more, device=pairs.device) % count)


def join(low: Tensor, high: Tensor, wavelet: str) -> Tensor:
    """Undo ``split``. This is its inverse and also its adjoint."""
    half, weights = high.shape[-1], taps(wavelet)
    more = (len(weights) - 1) // 2
    wide = high.new_zeros((*high.shape[:-1], half + more, 2))
    for k, (h, g) in enumerate(weights):
        wide[..., k // 2 : k // 2 + half, k % 2].add_(low[..., :half], alpha=h).add_(high, alpha=g)
    for start in range(half, half + more, half):  # values behind the end belong to the beginning
        behind = wide[..., start : start + half, :]
        wide[..., : behind.shape[-2], :].add_(behind)
    return torch.cat([wide[..., :half, :].flatten(-2), low[..., half:]], -1)
