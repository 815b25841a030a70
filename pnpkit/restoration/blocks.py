"""How a volume that is larger than the memory is cut into blocks.

The scene (the frame and what the kernel reaches around it) is cut into blocks. The readings that see a block, and all
of the scene that these see, are what a gradient of the data term on the block depends on. So it is exactly that of the
whole, and the halo is not chosen.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from types import EllipsisType

from pnpkit.errors import InputError
from pnpkit.machine.fields import Place
from pnpkit.machine.memory import allowed
from pnpkit.networks.tiles import IMAGES

COPIES = IMAGES + 22  # of the scene in float32: a run on the whole, and room for the past of Anderson's method
WORKING = 16  # of what is around a block in float32: a gradient, its transforms, what goes in and out
LARGEST = 4_000_000  # voxels of a block with all that is around it
SMALLEST = 8  # samples of a block along each axis


@dataclass(frozen=True)
class Block:
    """A part of the scene, with all that a gradient of the data term on it depends on.

    Attributes:
        scene: the block, in the scene. seen: the readings that see it, in the frame.
        wide: what these readings see, in the scene. inner: the block, in ``wide``.
    """

    scene: Place
    seen: Place
    wide: Place
    inner: Place

    @property
    def within(self) -> tuple[EllipsisType, slice, slice, slice]:
        """``inner`` as an index of volumes (B, C, D, H, W)."""
        return ..., self.inner[0], self.inner[1], self.inner[2]


def blocks_for(
    shape: tuple[int, ...], reach: tuple[int, ...], max_memory: float | None, itemsize: int = 2
) -> tuple[int, ...] | None:
    """The sides of blocks that fit into the memory, with all around them; None where the volume fits whole.

    Args:
        shape: of the volume. reach: of the kernel, (d, h, w). max_memory: GiB, or None.
        itemsize: bytes of a voxel of the result, which is held beside the blocks.

    Raises:
        InputError: not even the smallest block fits.
    """
    memory = allowed(max_memory) - itemsize * math.prod(shape)
    scene = tuple(n + 2 * r for n, r in zip(shape, reach, strict=True))
    if 4.0 * COPIES * math.prod(scene) <= memory:
        return None

    def around(sides: tuple[int, ...]) -> int:
        return math.prod(min(s + 4 * r, n) for s, r, n in zip(sides, reach, scene, strict=True))

    sides = scene
    while 4.0 * WORKING * around(sides) > memory or around(sides) > LARGEST:
        longest = max(range(len(sides)), key=lambda axis: sides[axis] / (reach[axis] + 1))
        if sides[longest] <= SMALLEST:
            if 4.0 * WORKING * around(sides) <= memory:
                break
            gib = (4.0 * WORKING * around(sides) / 2**30, memory / 2**30)
            raise InputError(f"the smallest block of the volume needs {gib[0]:.2g} GiB, there are {gib[1]:.2g}")
        sides = tuple((n + 1) // 2 if axis == longest else n for axis, n in enumerate(sides))
    return sides


def cut(frame: tuple[int, ...], reach: tuple[int, ...], sides: tuple[int, ...]) -> list[Block]:
    """The blocks of the scene around a frame, which is at least as large as the kernel, of sides 2 reach + 1."""
    found = []
    axes = [list(_along(n, r, s)) for n, r, s in zip(frame, reach, sides, strict=True)]
    for parts in itertools.product(*axes):
        scene, seen, wide, inner = (tuple(part[which] for part in parts) for which in range(4))
        found.append(Block(scene, seen, wide, inner))
    return found


def _along(frame: int, reach: int, side: int) -> list[tuple[slice, slice, slice, slice]]:
    """(scene, seen, wide, inner) of the blocks along one axis. Reading i sees the scene from i to i + 2 reach."""
    parts, scene, taps = [], frame + 2 * reach, 2 * reach + 1
    for low in range(0, scene, side):
        high = min(low + side, scene)
        first, last = max(0, low - 2 * reach), min(frame, high)
        first = max(0, min(first, last - taps))  # a blur needs as many readings as its kernel has samples
        last = min(frame, max(last, first + taps))
        wide = slice(first, last + 2 * reach)
        parts.append((slice(low, high), slice(first, last), wide, slice(low - first, high - first)))
    return parts
