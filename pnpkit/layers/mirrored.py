r"""Gradient-flow steps for pictures that are continued beyond their frame by their mirror image, with the same proof.

Zeros around a picture form an edge that every filter sees; a mirror image does not. But a convolution of a picture
padded by its mirror image can have a larger norm, and its adjoint is another operation. Filters that are mirror images
of each other avoid both problems.

Let E x be x together with its mirror images, on a torus of twice the size each way. Let the flips g act on fields by
(g u)(p) = rho(g) u(g p), where rho(g) is a permutation of the channels. The fields E x are those that all flips leave
unchanged, and ||E x||^2 = 4 ||x||^2. If W commutes with the flips, they leave W E x unchanged as well. So W E x is E z
for one z, and

    z = V x,   ||V x||^2 = ||W E x||^2 / 4 <= ||W||^2 ||x||^2,   <V x, z> = <W E x, E z> / 4 = <x, V^T z>,

where V^T is the same convolution with the adjoint kernel. So V is W on a picture that is padded by its mirror image,
its norm is at most that of the symbol (``numerics.norms``), and every step keeps its proof.

If a side is odd, the last row or column of squares is its own mirror image and lies on the torus once. Then this does
not hold for a single step. But a network of such steps is x -> E^T D(E x) / 4, where D denotes its steps on the torus,
and E / 2 is isometric. So its proof is the same. If thresholds vary from place to place (``activations.Places``), the
fields on the torus must be unchanged by the flips. So on a last row or column that is its own mirror image, a field is
replaced by the mean of itself and its flipped self (``symmetric``).

Channels come in fours: 4 j + g belongs to the flip g = 0 (none), 1 (columns), 2 (rows), 3 (both), and rho(h) takes
4 j + g to 4 j + (g xor h). A pixel-unshuffle by 2 puts a picture's pixels in this order. Equivariant networks: Cohen &
Welling, ICML 2016.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pnpkit.layers.activations import Places
from pnpkit.layers.convolution import convolution
from pnpkit.layers.gradient_flow import GradientFlowConv2d

FLIPS = 4  # number of flips (none, columns, rows, both), and so of the channels of an orbit


def orbit(kernel: Tensor) -> Tensor:
    """Return all mirror images of filters, which commute with the flips: (n, c, k, k) -> (4 n, c, k, k).

    c is a multiple of 4.
    """
    seen = kernel.unflatten(1, (-1, FLIPS))
    images = []
    for flip in range(FLIPS):
        turned = seen[:, :, [flip ^ other for other in range(FLIPS)]].flatten(1, 2)
        images.append(turned.flip([-1] * (flip & 1) + [-2] * (flip >> 1)))
    return torch.stack(images, 1).flatten(0, 1)


def flipped(x: Tensor, flip: int) -> Tensor:
    """Apply rho(flip) to the channels of x (B, C, H, W). Places stay where they are."""
    order = torch.arange(x.shape[1], device=x.device)
    return x.index_select(1, order ^ flip)


def symmetric(x: Tensor, odd: tuple[bool, bool]) -> Tensor:
    """Replace the last row and column of x (B, C, H, W), where ``odd``, by the mean of them and their mirror images.

    It works in place if no gradient is recorded.
    """
    if torch.is_grad_enabled() and any(odd):
        x = x.clone()
    for axis, flip, own in ((2, 2, odd[0]), (3, 1, odd[1])):
        if own:
            last = x.narrow(axis, x.shape[axis] - 1, 1)
            last.copy_((last + flipped(last, flip)) / 2)
    return x


class Mirrored(torch.autograd.Function):
    """``extended`` with a gradient in one pass over the field. Autograd would copy the field for each of four edges."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, odd: tuple[bool, bool]) -> Tensor:
        return extended(x, odd)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.odd = inputs[1]

    @staticmethod
    def jvp(ctx: Any, x: Tensor, _: None) -> Tensor:
        return extended(x, ctx.odd)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        """Apply the adjoint of ``extended``: in reverse order, each edge is added to the row or column it came from."""
        out = grad.clone()
        for axis, flip, own in ((2, 2, ctx.odd[0]), (3, 1, ctx.odd[1])):
            end = out.shape[axis] - 1
            for to, source in ((end, end - 1 - own), (0, 1)):
                edge = flipped(out.narrow(axis, to, 1), flip)
                out.narrow(axis, to, 1).zero_()
                out.narrow(axis, source, 1).add_(edge)
        return out[..., 1:-1, 1:-1], None


def mirrored(x: Tensor, odd: tuple[bool, bool]) -> Tensor:
    """Compute ``extended``; by ``Mirrored`` if a gradient is recorded."""
    if torch.compiler.is_compiling() or not (torch.is_grad_enabled() and x.requires_grad):
        return extended(x, odd)
    out: Tensor = Mirrored.apply(x, odd)
    return out


def extended(x: Tensor, odd: tuple[bool, bool]) -> Tensor:
    """Add one row and column of the mirror image on each side: (B, C, H, W) -> (B, C, H + 2, W + 2).

    Above and on the left the mirror is before the first row or column. Below and on the right it is behind the last one
    or, where ``odd``, in its middle: a picture of 2 H - 1 rows fills H rows of squares of 2 x 2 by its own mirror
    image.
    """
    out = F.pad(x, (1, 1, 1, 1))
    for axis, flip, own in ((3, 1, odd[1]), (2, 2, odd[0])):
        end = out.shape[axis] - 1
        for to, source in ((0, 1), (end, end - 1 - own)):  # for a single row that is its own image: what was put at 0
            out.narrow(axis, to, 1).copy_(flipped(out.narrow(axis, source, 1), flip))
    return out


class MirroredFlowConv2d(GradientFlowConv2d):
    """phi(x) = x - tau V^T sigma(V x; level), for a picture that is continued by its mirror image.

    V is the convolution by ``orbit(kernel)``. ``hidden`` / 4 filters of 3 x 3 are learnt, and the activation has as
    many channels of thresholds.
    """

    def __init__(self, channels: int, hidden: int, activation: nn.Module):
        if channels % FLIPS or hidden % FLIPS:
            raise ValueError(f"mirrored filters come in fours: {channels} and {hidden} channels are no multiples of 4")
        super().__init__(channels, hidden, 3, activation)

    def begin(self, kernel: Tensor) -> Tensor:
        """Return one filter of each orbit, after the orbits of a quarter of the filters were made orthonormal."""
        images = orbit(kernel[::FLIPS])
        u, _, v = torch.linalg.svd(images.flatten(1), full_matrices=False)
        return (u @ v).view_as(images)[::FLIPS]

    @staticmethod
    def spread(kernel: Tensor) -> Tensor:
        return orbit(kernel)

    def suited(self, places: Places, odd: tuple[bool, bool]) -> Places:
        return places.each(lambda field: symmetric(field, odd))

    def convolve(self, x: Tensor, kernel: Tensor, odd: tuple[bool, bool]) -> Tensor:
        return convolution(mirrored(x, odd), kernel)
