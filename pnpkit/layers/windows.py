r"""An isometric lift to overlapping windows: every square of 2 x 2 pixels together with the pixels around it.

A pixel-unshuffle cuts the picture into squares of 2 x 2. Here each square comes with the pixels around it, a window of
4 x 4, weighted by w(a) w(b) at row a and column b, with w = (sin t, cos t, cos t, sin t):

    (Q x)(i, k; a, b) = w(a) w(b) x(2 i - 1 + a, 2 k - 1 + b),    P = Q^T

Along each axis a pixel is in two windows: in the middle of one and at the edge of the other. So
Q^T Q = (cos^2 t + sin^2 t)^2 I = I. There are four times as many numbers, distances are preserved, and P averages the
results for a pixel over its four windows. This is the mean over shifts of Coifman & Donoho (1995), but within the steps
and for the work of one. Power-complementary windows are due to Princen & Bradley (1986). t is learnt, one for each
colour.

Beyond its border the picture is continued by its mirror image. A flip of the picture permutes the windows and the
numbers in them, so the channels come in fours as in ``layers.mirrored``, for whose steps this lift is made. For even
sides Q and P are as written here. For odd sides they are so on the torus of ``layers.mirrored``, where the proof is
made.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pnpkit.layers.mirrored import FLIPS

COLOURS = 3


WINDOW = 4  # side in pixels: a square of 2 and one more on each side


def _order() -> Tensor:
    """Return the place of channel (colour, outer or middle row, same of columns, flip) in four pixel-unshuffles."""
    at = []
    for colour in range(COLOURS):
        for row in (0, 1):
            for column in (0, 1):
                for flip in range(FLIPS):
                    a, b = (WINDOW - 1 - row if flip & 2 else row), (WINDOW - 1 - column if flip & 1 else column)
                    at.append(4 * COLOURS * (2 * (a // 2) + b // 2) + 4 * colour + 2 * (a % 2) + b % 2)
    return torch.tensor(at)


def _seen(size: int, device: torch.device) -> Tensor:
    """Return the row of the picture for every row of its squares and one more on each side, mirrored at both ends."""
    at = torch.arange(-1, size + size % 2 + 1, device=device) % (2 * size)
    return torch.minimum(at, 2 * size - 1 - at)


class Windows(nn.Module):
    """Q, from 3 channels to 48 at half the size (sides rounded up), and P = Q^T back."""

    order: Tensor
    channels = COLOURS * WINDOW**2

    def __init__(self) -> None:
        super().__init__()
        self.angle = nn.Parameter(torch.full((COLOURS,), math.pi / 4))
        self.register_buffer("order", _order(), persistent=False)

    def weights(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """Return w(a) w(b) for each channel, (48, 1, 1). sin^2 + cos^2 = 1 up to the rounding of ``dtype``."""
        angle = self.angle.to(torch.promote_types(self.angle.dtype, dtype))
        along = torch.stack([angle.sin(), angle.cos()], 1)
        return (along[:, :, None] * along[:, None]).flatten().repeat_interleave(FLIPS)[:, None, None].to(dtype)

    def lift(self, x: Tensor) -> Tensor:
        """Apply Q: (B, 3, H, W) -> (B, 48, H/2, W/2), sides rounded up."""
        rows, columns = (_seen(size, x.device) for size in x.shape[-2:])
        squares = F.pixel_unshuffle(x[..., rows, :][..., columns], 2)
        high, wide = (size - 1 for size in squares.shape[-2:])
        parts = [squares[..., i : i + high, k : k + wide] for i in (0, 1) for k in (0, 1)]
        return torch.cat(parts, 1)[:, self.order] * self.weights(x.dtype)

    def project(self, z: Tensor, rows: int, columns: int) -> Tensor:
        """Apply P = Q^T: (B, 48, H/2, W/2) -> (B, 3, H, W)."""
        high, wide = z.shape[-2:]
        parts = (z * self.weights(z.dtype))[:, self.order.argsort()].chunk(4, 1)
        squares = z.new_zeros((len(z), 4 * COLOURS, high + 1, wide + 1))
        for number, part in enumerate(parts):
            i, k = divmod(number, 2)
            squares[..., i : i + high, k : k + wide] += part
        out = F.pixel_shuffle(squares, 2)
        for axis, size in ((2, rows), (3, columns)):  # values behind the frame belong to the mirror images
            out.narrow(axis, 1, 1).add_(out.narrow(axis, 0, 1))
            if size % 2 == 0:
                out.narrow(axis, size, 1).add_(out.narrow(axis, size + 1, 1))
        return out[..., 1 : rows + 1, 1 : columns + 1]
