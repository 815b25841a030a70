r"""Gradient-flow steps for pictures that go on beyond their frame as in a mirror, with the same proof.

Zeros around a picture are an edge that every filter sees; a mirror image is not. But a convolution of a picture padded
by its mirror image can have a larger norm, and its adjoint is another operation. Filters that are mirror images of each
other avoid both. Let E x be x beside its mirror images on a torus of twice the size each way, and let
the flips g act on fields by (g u)(p) = rho(g) u(g p), rho(g) a permutation of the channels. The fields E x are those
that all flips leave unchanged, and ||E x||^2 = 4 ||x||^2. If W commutes with the flips, they leave W E x unchanged as
well: it is E z for one z, and

    z = V x,   ||V x||^2 = ||W E x||^2 / 4 <= ||W||^2 ||x||^2,   <V x, z> = <W E x, E z> / 4 = <x, V^T z>,

where V^T is the same convolution with the adjoint kernel. So V is W on a picture that is padded by its mirror image,
its norm is at most that of the symbol (``numerics.norms``), and every step keeps its proof. Where a side is odd, the
last row or column of squares is its own mirror image and lies on the torus once, so that this holds of no single step;
but a network of them is x -> E^T D(E x) / 4 with D its steps on the torus, and E / 2 is isometric: its proof is the
same. For thresholds that vary from place to place (``activations.Places``) that takes fields on the torus that the
flips leave as they are: on a last row or column that is its own mirror image, a field is replaced by the mean of itself
and its flipped self (``symmetric``).

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

FLIPS = 4  # none, columns, rows, both: the channels of an orbit


def orbit(kernel: Tensor) -> Tensor:
    """All mirror images of filters, which commute with the flips: (n, c, k, k) -> (4 n, c, k, k), c a multiple of 4."""
    seen = kernel.unflatten(1, (-1, FLIPS))
    images = []
    for flip in range(FLIPS):
        turned = seen[:, :, [flip ^ other for other in range(FLIPS)]].flatten(1, 2)
        images.append(turned.flip([-1] * (flip & 1) + [-2] * (flip >> 1)))
    return torch.stack(images, 1).flatten(0, 1)


def flipped(x: Tensor, flip: int) -> Tensor:
    """rho(flip) of the channels of x (B, C, H, W); places stay where they are."""
    order = torch.arange(x.shape[1], device=x.device)
    return x.index_select(1, order ^ flip)


def symmetric(x: Tensor, odd: tuple[bool, bool]) -> Tensor:
    """x (B, C, H, W), its last row and column, where ``odd``, the mean of themselves and their mirror images; where no
    gradient is recorded, in place."""
    if torch.is_grad_enabled() and any(odd):
        x = x.clone()
    for axis, flip, own in ((2, 2, odd[0]), (3, 1, odd[1])):
        if own:
            last = x.narrow(axis, x.shape[axis] - 1, 1)
            last.copy_((last + flipped(last, flip)) / 2)
    return x


class Mirrored(torch.autograd.Function):
    """``extended``, its gradient in one pass over the field: autograd would copy all of it for each of four edges."""

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
        """The adjoint of ``extended``: in the reverse order, each edge is added to the row or column it was copied
        from."""
        out = grad.clone()
        for axis, flip, own in ((2, 2, ctx.odd[0]), (3, 1, ctx.odd[1])):
            end = out.shape[axis] - 1
            for to, source in ((end, end - 1 - own), (0, 1)):
                edge = flipped(out.narrow(axis, to, 1), flip)
                out.narrow(axis, to, 1).zero_()
                out.narrow(axis, source, 1).add_(edge)
        return out[..., 1:-1, 1:-1], None


def mirrored(x: Tensor, odd: tuple[bool, bool]) -> Tensor:
    """``extended``; where a gradient is recorded, by ``Mirrored``."""
    if torch.compiler.is_compiling() or not (torch.is_grad_enabled() and x.requires_grad):
        return extended(x, odd)
    out: Tensor = Mirrored.apply(x, odd)
    return out


def extended(x: Tensor, odd: tuple[bool, bool]) -> Tensor:
    """(B, C, H, W) -> (B, C, H + 2, W + 2): one more row and column of its mirror image on each side.

    Above and left the mirror stands before the first row or column. Below and right it stands behind the last one, or,
    where ``odd``, in its middle: a picture of 2 H - 1 rows fills H rows of squares of 2 x 2 by its own mirror image.
    """
    out = F.pad(x, (1, 1, 1, 1))
    for axis, flip, own in ((3, 1, odd[1]), (2, 2, odd[0])):
        end = out.shape[axis] - 1
        for to, source in ((0, 1), (end, end - 1 - own)):  # of a single one that is its own image: what was put at 0
            out.narrow(axis, to, 1).copy_(flipped(out.narrow(axis, source, 1), flip))
    return out


class MirroredFlowConv2d(GradientFlowConv2d):
    """phi(x) = x - tau V^T sigma(V x; level), V the convolution by ``orbit(kernel)`` of a picture that goes on as its
    mirror image. ``hidden`` / 4 filters are learnt, 3 x 3; the activation has as many channels of thresholds."""

    def __init__(self, channels: int, hidden: int, activation: nn.Module):
        if channels % FLIPS or hidden % FLIPS:
            raise ValueError(f"mirrored filters come in fours: {channels} and {hidden} channels are no multiples of 4")
        super().__init__(channels, hidden, 3, activation)

    def begin(self, kernel: Tensor) -> Tensor:
        """The nearest orthonormal rows of the orbits of a quarter of the filters."""
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
