r"""Networks evaluated tile by tile, for pictures that do not fit into memory whole.

A pixel of D(x) depends only on the pixels of x within the receptive field R. So D is evaluated on each tile together
with the R pixels around it (the halo), which are then cut off. At the border of the picture there is no halo: the
network pads there as usual. The result equals the untiled one up to float rounding, so the certificate holds.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pnpkit.certificates import Certificate
from pnpkit.errors import InputError
from pnpkit.machine import distributed
from pnpkit.networks.base import Network
from pnpkit.networks.guided import Given

SMALLEST = 32  # smallest side of a tile in pixels; below it nearly all work would be halo


IMAGES = 14  # copies of the picture that a run keeps, such as transforms, without the past of its iteration; measured


STATES = 8  # copies of its widest layer that a network keeps while it works; measured (docs/lab-book)


class Cut(Network):
    """D applied to pieces of a picture, each with the pixels around it that D depends on.

    Everything except ``denoise`` is as for D.
    """

    def __init__(self, network: Network):
        super().__init__()
        self.network, self.config, self.name, self.traits = network, network.config, network.name, network.traits
        reach, self.unit = network.receptive_field()
        self.halo = reach + -reach % self.unit
        self.remember(network.certificate)

    def receptive_field(self) -> tuple[int, int]:
        return self.network.receptive_field()

    def given(self, guide: Tensor, hint: Tensor) -> Network:
        return Given(self, guide, hint)

    def certify(self) -> Certificate:
        return self.network.certify()


class Tiled(Cut):
    """D applied to tiles of about ``side`` x ``side`` pixels."""

    def __init__(self, network: Network, side: int):
        super().__init__(network)
        self.side = max(SMALLEST, side) // self.unit * self.unit

    def denoise(self, x: Tensor, level: Tensor) -> Tensor:
        rows, columns = x.shape[-2:]
        out = x.new_empty((len(x), 3, rows, columns))  # x may have a guide below its three channels
        for top in range(0, rows, self.side):
            for left in range(0, columns, self.side):
                bottom, right = min(top + self.side, rows), min(left + self.side, columns)
                y0, x0 = max(0, top - self.halo), max(0, left - self.halo)
                y1, x1 = min(rows, bottom + self.halo), min(columns, right + self.halo)
                there = level if level.ndim == 1 else level[..., y0:y1, x0:x1]
                tile = self.network.denoise(x[..., y0:y1, x0:x1], there)
                out[..., top:bottom, left:right] = tile[..., top - y0 : bottom - y0, left - x0 : right - x0]
        return out


class Shared(Cut):
    """D distributed over the processes of ``distributed.together``.

    Each process evaluates one band of rows, and every process gets the whole result.
    """

    shared = True

    def looks(self, certified: bool = True) -> tuple[Network, Network | None]:
        first, second = self.network.looks(certified)
        return Shared(first), None if second is None else Shared(second)

    def denoise(self, x: Tensor, level: Tensor) -> Tensor:
        rows, count, rank = x.shape[-2], distributed.world(), distributed.rank()
        cuts = [rows * part // count // self.unit * self.unit for part in range(count)] + [rows]
        top, bottom = cuts[rank], cuts[rank + 1]
        out = torch.zeros_like(x[:, :3])  # the sum over the processes of bands among zeros is exact
        if top < bottom:
            y0, y1 = max(0, top - self.halo), min(rows, bottom + self.halo)
            there = level if level.ndim == 1 else level[..., y0:y1, :]
            band = self.network.denoise(x[..., y0:y1, :], there)
            out[..., top:bottom, :] = band[..., top - y0 : bottom - y0, :]
        return distributed.total(out)


def within_memory(
    network: Network, shape: tuple[int, ...], max_memory: float, history: int, itemsize: int = 4
) -> Network:
    """Return the network if a run on pictures (B, C, H, W) fits into ``max_memory`` bytes, otherwise one in tiles.

    The estimate counts ``IMAGES`` + ``history`` (the iteration's past) copies of the picture, ``STATES`` copies of the
    network's widest layer, ``Traits.beside`` numbers per pixel and, without tiles, ``Traits.kept`` numbers per pixel.

    Raises:
        InputError: not even the smallest tile fits.
    """
    if isinstance(network, Shared):
        return Shared(within_memory(network.network, shape, max_memory, history, itemsize))
    batch, channels, rows, columns = shape
    traits, pixels = network.traits, itemsize * batch * rows * columns
    kept = (IMAGES + history) * pixels * channels + traits.beside * pixels
    seen = traits.kept * pixels
    for_network = max_memory - kept
    per_pixel = STATES * itemsize * batch * traits.width
    if per_pixel * rows * columns + seen <= for_network:
        return network
    needed = kept + per_pixel * rows * columns + seen
    try:
        halo = network.receptive_field()[0]
    except InputError as error:
        gib = (needed / 2**30, max_memory / 2**30)
        raise InputError(
            f"{error}; whole, it needs about {gib[0]:.2g} GiB of memory, allowed are {gib[1]:.2g}"
        ) from None
    side = math.isqrt(int(max(0.0, for_network) // per_pixel)) - 2 * halo
    if side < SMALLEST:
        needed = kept + per_pixel * (SMALLEST + 2 * halo) ** 2
        gib = (needed / 2**30, max_memory / 2**30)
        raise InputError(f"{columns}x{rows} pixels need about {gib[0]:.2g} GiB of memory, allowed are {gib[1]:.2g}")
    return Tiled(network, side)
