r"""A network on pictures larger than its memory, tile by tile, with the result that it would have on the whole.

A pixel of D(x) depends on x within the receptive field R only. So D is evaluated on each tile with R pixels of the
picture around it (the halo), which are then cut off. At the true border of the picture there is no halo, and the
network pads there as it always does. Equal to the untiled result up to float rounding, so the certificate holds as is.
"""

from __future__ import annotations

import math
from functools import singledispatch

import torch
from torch import Tensor

from pnpkit.certificates import Certificate
from pnpkit.errors import InputError
from pnpkit.layers.windows import WINDOW
from pnpkit.machine import distributed
from pnpkit.networks.base import Network
from pnpkit.networks.dncnn import DnCNN
from pnpkit.networks.euler import Euler
from pnpkit.networks.guided import KEPT, GuidedEuler, SecondLook

SMALLEST = 32  # pixels: side of a tile below which nearly all work would be halo


IMAGES = 14  # copies of the picture that a run keeps beside the past of its iteration: transforms ...; measured


GUIDED = 6 + 9  # numbers a pixel: a guide and its hint, and both below the picture that they guide


STATES = 6  # copies of its widest layer that a network keeps while it works


@singledispatch
def receptive_field(network: Network) -> tuple[int, int]:
    """(R, unit): how far D looks, in pixels, and what tiles must be aligned to."""
    raise InputError(f"the receptive field of {type(network).__name__} is not known: it cannot be tiled")


@receptive_field.register
def _(network: Euler) -> tuple[int, int]:
    """A step sees k // 2 pixels of its scale twice, and at scale s whole squares of s x s; so does the unshuffle."""
    config = network.config
    if config.padding == "circular":
        raise InputError("a network with circular padding looks across the picture's border: no tiles")
    if config.wavelet_levels:
        raise InputError("a network between wavelets looks across the picture's border: no tiles")
    steps = [config.scales[number % len(config.scales)] for number in range(config.blocks)]
    reach = sum(2 * (config.kernel_size // 2) * scale + scale - 1 for scale in steps)
    window = WINDOW if config.overlapping else config.unshuffle
    return config.unshuffle * reach + window - 1, config.unit


@receptive_field.register
def _(network: SecondLook) -> tuple[int, int]:
    """The thresholds of all that the steps see, and what these were chosen by."""
    reach, unit = receptive_field(network.flow)
    return reach + network.guidance.reach, math.lcm(unit, network.guidance.unit)


@receptive_field.register
def _(network: GuidedEuler) -> tuple[int, int]:
    first, second = (receptive_field(look) for look in network.looks())
    return first[0] + second[0], math.lcm(first[1], second[1])


@receptive_field.register
def _(network: DnCNN) -> tuple[int, int]:
    return network.config.depth * (network.config.kernel_size // 2), 1


class Cut(Network):
    """D in pieces, with the pixels around each that it depends on; everything but ``denoise`` is D's."""

    def __init__(self, network: Network):
        super().__init__()
        self.network, self.config, self.top, self.name = network, network.config, network.top, network.name
        self.width, self.rule = network.width, network.rule
        self.convolutional = network.convolutional
        reach, self.unit = receptive_field(network)
        self.halo = reach + -reach % self.unit
        self.remember(network.certificate)

    def certify(self) -> Certificate:
        return self.network.certify()


@receptive_field.register
def _(network: Cut) -> tuple[int, int]:
    return receptive_field(network.network)


class Tiled(Cut):
    """D on tiles of about ``side`` x ``side`` pixels."""

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
                tile = self.network.denoise(x[..., y0:y1, x0:x1], level)
                out[..., top:bottom, left:right] = tile[..., top - y0 : bottom - y0, left - x0 : right - x0]
        return out


class Shared(Cut):
    """D over the processes of ``distributed.together``: each works on one band of rows, and all get the whole."""

    def denoise(self, x: Tensor, level: Tensor) -> Tensor:
        rows, count, rank = x.shape[-2], distributed.world(), distributed.rank()
        cuts = [rows * part // count // self.unit * self.unit for part in range(count)] + [rows]
        top, bottom = cuts[rank], cuts[rank + 1]
        out = torch.zeros_like(x[:, :3])  # the sum over the processes of bands among zeros is exact
        if top < bottom:
            y0, y1 = max(0, top - self.halo), min(rows, bottom + self.halo)
            band = self.network.denoise(x[..., y0:y1, :], level)
            out[..., top:bottom, :] = band[..., top - y0 : bottom - y0, :]
        return distributed.total(out)


def within_memory(
    network: Network, shape: tuple[int, ...], max_memory: float, history: int, itemsize: int = 4
) -> Network:
    """The network itself when a run on pictures (B, C, H, W) fits into ``max_memory`` bytes, otherwise tiled to fit.

    Estimated as ``IMAGES`` + ``history`` (the iteration's past) copies of the picture, and ``STATES`` copies
    of the network's widest layer; for a second look also its guide and, where it is not cut, what it keeps of that.

    Raises:
        InputError: not even the smallest tile fits.
    """
    if isinstance(network, Shared):
        return Shared(within_memory(network.network, shape, max_memory, history, itemsize))
    batch, channels, rows, columns = shape
    guided = isinstance(network, SecondLook)
    pixels = itemsize * batch * rows * columns
    kept = (IMAGES + history) * pixels * channels + (GUIDED * pixels if guided else 0)
    seen = KEPT * network.guidance.width // 4 * pixels if guided else 0
    for_network = max_memory - kept
    per_pixel = STATES * itemsize * batch * network.width
    if per_pixel * rows * columns + seen <= for_network:
        return network
    needed = kept + per_pixel * rows * columns + seen
    try:
        halo = receptive_field(network)[0]
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


def looks_of(network: Network) -> tuple[Network, Network | None]:
    """The denoiser of a run, and of a guided one what takes that run's result for its guide."""
    if isinstance(network, Shared):
        first, second = looks_of(network.network)
        return Shared(first), None if second is None else Shared(second)
    return network.looks() if isinstance(network, GuidedEuler) else (network, None)
