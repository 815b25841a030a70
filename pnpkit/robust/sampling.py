r"""1-Lipschitz down-sampling: orthogonal transforms, and maxima over disjoint windows."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pnpkit.certificates import Certificate, Side


class Unshuffle(nn.Module):
    """(B, C, H, W) -> (B, s^2 C, H/s, W/s): a permutation of the entries, so an isometry."""

    def __init__(self, factor: int = 2):
        super().__init__()
        self.factor = factor

    def certify(self, name: str) -> Certificate:
        """An isometry."""
        return Certificate(name, 1.0, None, Side.PROVEN, "pixel-unshuffle: a permutation of the entries")

    def forward(self, x: Tensor) -> Tensor:
        return F.pixel_unshuffle(x, self.factor)


class Haar(nn.Module):
    """(B, C, H, W) -> (B, 4 C, H/2, W/2): mean, horizontal, vertical and diagonal detail of every 2 x 2 window.

    For a window with the rows (a, b) and (c, d): (a+b+c+d, a-b+c-d, a+b-c-d, a-b-c+d) / 2, an orthogonal matrix.
    """

    def certify(self, name: str) -> Certificate:
        """An isometry."""
        return Certificate(name, 1.0, None, Side.PROVEN, "orthonormal Haar wavelet on disjoint windows")

    def forward(self, x: Tensor) -> Tensor:
        a, b = x[..., ::2, ::2], x[..., ::2, 1::2]
        c, d = x[..., 1::2, ::2], x[..., 1::2, 1::2]
        return torch.cat([a + b + c + d, a - b + c - d, a + b - c - d, a - b - c + d], dim=1) / 2


class DisjointMaxPool(nn.Module):
    """The largest entry of each s x s window, for disjoint windows: 1-Lipschitz.

    |max u - max v| <= max |u - v| <= ||u - v|| in each window. Disjoint windows share no entry, so the squares add up
    to at most the squared distance. In overlapping windows an entry counts several times, and this fails.
    """

    def __init__(self, size: int = 2):
        super().__init__()
        self.size = size

    def certify(self, name: str) -> Certificate:
        """1-Lipschitz."""
        return Certificate(name, 1.0, None, Side.PROVEN, "maximum over disjoint windows")

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool2d(x, self.size, self.size)
