r"""Denoisers of volumes (B, C, D, H, W) made from denoisers of pictures: slice by slice, or in three directions.

    D_xy (x)_z = D(x_z),   D3 = (D_xy + D_xz + D_yz) / 3

A map that acts on each slice by itself has the constants of one slice. A mean of averaged maps has the mean of their
constants. So what is proven about D holds for both.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from pnpkit import certificates
from pnpkit.certificates import Certificate
from pnpkit.errors import InputError
from pnpkit.networks.base import Network
from pnpkit.networks.tiles import IMAGES, within_memory

DIRECTIONS = {"slices": (2,), "three": (2, 3, 4)}  # the axes along which slices are taken


AT_ONCE = 300_000  # total pixels of the slices that go through the network together


KEPT_VOXELS = 2_000_000  # volumes up to this size keep the features of a guide from one evaluation to the next


class Volumetric(Network):
    """A network for pictures that is applied to volumes.

    Args:
        network: D.
        directions: a key of DIRECTIONS.
    """

    def __init__(self, network: Network, directions: str = "three"):
        super().__init__()
        if directions not in DIRECTIONS:
            raise InputError(f"directions are {' or '.join(DIRECTIONS)}, got '{directions}'")
        self.network, self.directions = network, directions
        self.config, self.name, self.traits = network.config, network.name, network.traits
        self.training = network.training

    def forward(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        """D(x, sigma) for a float tensor (B, C, D, H, W)."""
        if x.ndim != 5 or not x.is_floating_point() or 0 in x.shape:
            raise InputError(f"a denoiser of volumes takes a float tensor (B, C, D, H, W), got {tuple(x.shape)}")
        check_one(sigma, self.name)
        return self.mean(x, lambda axis, low, part: self.network(part, sigma))

    def mean(self, x: Tensor, denoised: Callable[[int, int, Tensor], Tensor]) -> Tensor:
        """Return the mean of ``denoised(axis, first slice, slices)`` over the directions."""
        axes, total = DIRECTIONS[self.directions], torch.zeros_like(x)
        for axis in axes:
            for low, part in parts(x, axis):
                made = denoised(axis, low, part)
                total.narrow(axis, low, _count(part, x)).add_(_whole(made, x, axis), alpha=1 / len(axes))
        return total

    def denoise(self, x: Tensor, level: Tensor) -> Tensor:
        return self.forward(x, level)

    def certify(self) -> Certificate:
        """Certify D by the two rules at the top of the module."""
        planes = certificates.blocks(self.network.certificate, f"{self.name}, slice by slice(., sigma)")
        if self.directions == "slices":
            return planes
        own, names = self.network.certificate, [f"{self.name}, {plane}(., sigma)" for plane in ("xy", "xz", "yz")]
        named = [certificates.blocks(own, name) for name in names]
        return certificates.mean(named, f"{self.name}, in three directions(., sigma)")

    def looks(self, certified: bool = True) -> tuple[Network, Network | None]:
        """Return the passes of D, applied to volumes."""
        first, second = self.network.looks(certified)
        return Volumetric(first, self.directions), None if second is None else Volumetric(second, self.directions)

    def given(self, guide: Tensor, hint: Tensor) -> Network:
        """Return D_g, which denoises each slice with the same slice of the guide."""
        return GivenVolume(self, guide, hint)


class GivenVolume(Volumetric):
    """x -> D_g(x, sigma) on volumes, for one guide and hint (B, C, D, H, W)."""

    def __init__(self, volumes: Volumetric, guide: Tensor, hint: Tensor):
        super().__init__(volumes.network, volumes.directions)
        self.guide, self.hint = guide.clone(), hint.clone()
        self.made: dict[tuple[int, int], Network] = {}

    def forward(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        if x.shape != self.guide.shape:
            raise InputError(f"this guide is for volumes {tuple(self.guide.shape)}, got {tuple(x.shape)}")
        check_one(sigma, self.name)
        return self.mean(x, lambda axis, low, part: self.at_slices(axis, low, part)(part, sigma))

    def at_slices(self, axis: int, low: int, part: Tensor) -> Network:
        """Return the network for some slices. It is kept if the volume is small."""
        if (axis, low) in self.made:
            return self.made[axis, low]
        count = _count(part, self.guide)
        cut = [_planes(whole.narrow(axis, low, count), axis) for whole in (self.guide, self.hint)]
        given = self.network.given(*cut)
        if self.guide.numel() <= KEPT_VOXELS:
            self.made[axis, low] = given
        return given

    def certify(self) -> Certificate:
        return super().certify()


def check_one(sigma: float | Tensor, name: str) -> None:
    """Raise unless sigma is one number."""
    if isinstance(sigma, Tensor) and sigma.numel() != 1:
        raise InputError(f"{name} takes one strength for a volume, got a tensor {tuple(sigma.shape)}")


def parts(x: Tensor, axis: int) -> Iterator[tuple[int, Tensor]]:
    """Yield (number of the first slice, slices) along an axis, some slices at a time, as (n, C, rows, columns)."""
    count = slices_at_once(x.numel() // x.shape[axis])
    for low in range(0, x.shape[axis], count):
        yield low, _planes(x.narrow(axis, low, min(count, x.shape[axis] - low)), axis)


def slices_at_once(pixels: int) -> int:
    """Return how many slices of ``pixels`` pixels go through the network together."""
    return max(1, AT_ONCE // pixels)


def _planes(x: Tensor, axis: int) -> Tensor:
    """Turn a volume into its slices: (B, C, D, H, W) -> (B * n, C, rows, columns), where n is the size of the axis."""
    moved = x.movedim(axis, 1)
    return moved.flatten(0, 1)


def _whole(planes: Tensor, x: Tensor, axis: int) -> Tensor:
    """Undo ``_planes`` for a volume like x."""
    return planes.unflatten(0, (len(x), -1)).movedim(1, axis)


def _count(part: Tensor, x: Tensor) -> int:
    """Return how many slices of each volume a part holds."""
    return len(part) // len(x)


def volume_within_memory(
    network: Network, shape: tuple[int, ...], max_memory: float, history: int, itemsize: int
) -> Network:
    """Return a network for volumes (B, C, D, H, W) whose run fits into ``max_memory`` bytes.

    The network works in tiles if a slice does not fit together with what a run keeps of the volume.

    Raises:
        InputError: what a run keeps of the volume does not fit.
    """
    voxels = math.prod(shape)
    kept = (IMAGES + history) * itemsize * voxels
    if kept > 0.9 * max_memory:
        gib = (kept / 2**30, max_memory / 2**30)
        raise InputError(f"{voxels} voxels need about {gib[0]:.2g} GiB of memory, allowed are {gib[1]:.2g}")
    if not isinstance(network, Volumetric):
        return network
    sides = sorted(shape[-3:])[1:]
    inner = within_memory(network.network, (1, shape[1], *sides), max_memory - kept, 0, itemsize)
    return network if inner is network.network else Volumetric(inner, network.directions)
