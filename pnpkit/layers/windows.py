r"""An isometric lift of overlapping windows: every square of 2 x 2 pixels with the pixels around it.

A pixel-unshuffle cuts the picture into squares of 2 x 2. Here each square comes with the pixels around it, a window of
4 x 4, weighted by w(a) w(b) at row a and column b, w = (sin t, cos t, cos t, sin t):

    (Q x)(i, k; a, b) = w(a) w(b) x(2 i - 1 + a, 2 k - 1 + b),    P = Q^T

Along each axis a pixel is in two windows, in one of them in the middle and in the other one at the edge, so that
Q^T Q = (cos^2 t + sin^2 t)^2 I = I: four times as many numbers, distances as before, and P takes a mean of
what became of a pixel in its four windows. That is the mean over shifts of Coifman & Donoho (1995), but within the
steps and for the work of one; power-complementary windows are those of Princen & Bradley (1986). t is learnt, one for
each colour.

Beyond its border the picture continues as its mirror image. A flip of the picture permutes the windows and the numbers
in them, so the channels come in fours as in ``layers.mirrored``, for whose steps this lift is made. For even sides Q
and P are as written here; for odd sides they are so on the torus of ``layers.mirrored``, where the proof is made.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pnpkit.layers.mirrored import FLIPS

COLOURS = 3


WINDOW = 4  # pixels: a square of 2 and one more on each side


def _order() -> Tensor:
    """Where to find channel (colour, outer or middle row, the same of columns, flip) among four pixel-unshuffles."""
    at = []
    for colour in range(COLOURS):
        for row in (0, 1):
            for column in (0, 1):
                for flip in range(FLIPS):
                    a, b = (WINDOW - 1 - row if flip & 2 else row), (WINDOW - 1 - column if flip & 1 else column)
                    at.append(4 * COLOURS * (2 * (a // 2) + b // 2) + 4 * colour + 2 * (a % 2) + b % 2)
    return torch.tensor(at)


def _seen(size: int, device: torch.device) -> Tensor:
    """The row of the picture for every row of its squares and one more on each side: a mirror on either end."""
    at = torch.arange(-1, size + size % 2 + 1, device=device) % (2 * size)
    return torch.minimum(at, 2 * size - 1 - at)


class Windows(nn.Module):
    """Q and P = Q^T, from 3 channels to 48 at half the size (sides rounded up) and back."""

    order: Tensor
    channels = COLOURS * WINDOW**2

    def __init__(self) -> None:
        super().__init__()
        self.angle = nn.Parameter(torch.full((COLOURS,), math.pi / 4))
        self.register_buffer("order", _order(), persistent=False)

    def weights(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """(48, 1, 1): w(a) w(b) for each channel; sin^2 + cos^2 = 1 to the rounding of ``dtype``."""
        angle = self.angle.to(torch.promote_types(self.angle.dtype, dtype))
        along = torch.stack([angle.sin(), angle.cos()], 1)
        return (along[:, :, None] * along[:, None]).flatten().repeat_interleave(FLIPS)[:, None, None].to(dtype)

    def lift(self, x: Tensor) -> Tensor:
        """Q: (B, 3, H, W) -> (B, 48, H/2, W/2), sides rounded up."""
        rows, columns = (_seen(size, x.device) for size in x.shape[-2:])
        squares = F.pixel_unshuffle(x[..., rows, :][..., columns], 2)
        high, wide = (size - 1 for size in squares.shape[-2:])
        parts = [squares[..., i : i + high, k : k + wide] for i in (0, 1) for k in (0, 1)]
        return torch.cat(parts, 1)[:, self.order] * self.weights(x.dtype)

    def project(self, z: Tensor, rows: int, columns: int) -> Tensor:
        """P = Q^T: (B, 48, H/2, W/2) -> (B, 3, H, W)."""
        high, wide = z.shape[-2:]
        parts = (z * self.weights(z.dtype))[:, self.order.argsort()].chunk(4, 1)
        squares = z.new_zeros((len(z), 4 * COLOURS, high + 1, wide + 1))
        for number, part in enumerate(parts):
            i, k = divmod(number, 2)
            squares[..., i : i + high, k : k + wide] += part
        out = F.pixel_shuffle(squares, 2)
        for axis, size in ((2, rows), (3, columns)):  # what lies behind the frame belongs to the mirror images
            out.narrow(axis, 1, 1).add_(out.narrow(axis, 0, 1))
            if size % 2 == 0:
                out.narrow(axis, size, 1).add_(out.narrow(axis, size + 1, 1))
        return out[..., 1 : rows + 1, 1 : columns + 1]
