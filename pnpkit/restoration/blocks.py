"""Volumes larger than the memory: restored block by block, each with more of the volume around it.

Each block is a problem of its own, with a fixed point and a proof of its own; noise and scale are those of the whole.
The blocks overlap by a halo, which is cut off. So what comes out is near the fixed point of the whole and not equal to
it; ``scripts/volume_memory.py`` measures how near. All sides of a block have the boundary ``unknown``.

A folder keeps the finished blocks until the end, so that a run that was killed goes on where it was.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from pnpkit.errors import InputError
from pnpkit.kernels import Kernel
from pnpkit.machine.memory import allowed
from pnpkit.networks.tiles import IMAGES
from pnpkit.restoration.kept_blocks import Blocks, Ending
from pnpkit.restoration.result import Restoration
from pnpkit.restoration.settings import Settings
from pnpkit.solvers.result import Status

MORE = 6  # samples of halo beside the reach of the kernel
COPIES = IMAGES + 22  # of the scene of a block in float32: a run, and room for the past of Anderson's method
LARGEST = 4_000_000  # voxels of a block with all that is around it: what a run that is stopped loses
SMALLEST = 8  # samples of a block along each axis without its halo
LOOKED_AT = 16  # slices that noise and scale of the whole are taken from


@dataclass(frozen=True)
class Block:
    """Where a block lies, with its halo and without, and where the latter lies in the former."""

    wide: tuple[slice, ...]
    kept: tuple[slice, ...]
    inner: tuple[slice, ...]


def blocks_for(
    shape: tuple[int, ...], reach: tuple[int, ...], max_memory: float | None, itemsize: int = 2
) -> tuple[int, ...] | None:
    """Sides of the blocks without halo that fit into ``max_memory`` GiB and have ``LARGEST`` voxels at most; None where
    the volume fits whole. ``itemsize`` is the number of bytes of a voxel of the result, which is held beside them.

    Raises:
        InputError: not even the smallest block fits.
    """
    memory = allowed(max_memory) - itemsize * math.prod(shape)

    def around(sides: tuple[int, ...]) -> int:
        return math.prod(min(s + 2 * (r + MORE), n) + 2 * r for s, r, n in zip(sides, reach, shape, strict=True))

    def needed(sides: tuple[int, ...]) -> float:
        return 4.0 * COPIES * around(sides)

    if needed(tuple(shape)) <= memory:
        return None
    sides = tuple(shape)
    while needed(sides) > memory or around(sides) > LARGEST:
        longest = max(range(len(sides)), key=lambda axis: sides[axis] / (reach[axis] + MORE))
        if sides[longest] <= SMALLEST:
            if needed(sides) <= memory:
                break
            gib = (needed(sides) / 2**30, memory / 2**30)
            raise InputError(f"the smallest block of the volume needs {gib[0]:.2g} GiB, there are {gib[1]:.2g}")
        sides = tuple((n + 1) // 2 if axis == longest else n for axis, n in enumerate(sides))
    return sides


def cut(shape: tuple[int, ...], sides: tuple[int, ...], halo: tuple[int, ...]) -> Iterator[Block]:
    """The blocks of a volume."""
    for low in itertools.product(*(range(0, n, s) for n, s in zip(shape, sides, strict=True))):
        high = [min(a + s, n) for a, s, n in zip(low, sides, shape, strict=True)]
        first = [max(0, a - r) for a, r in zip(low, halo, strict=True)]
        last = [min(b + r, n) for b, r, n in zip(high, halo, shape, strict=True)]
        yield Block(
            tuple(itertools.starmap(slice, zip(first, last, strict=True))),
            tuple(itertools.starmap(slice, zip(low, high, strict=True))),
            tuple(slice(a - f, b - f) for a, b, f in zip(low, high, first, strict=True)),
        )


def in_blocks(
    volume: np.ndarray,
    kernel: Kernel,
    sides: tuple[int, ...],
    one: Callable[[tuple[slice, ...], Settings], Restoration | None],
    settings: Settings,
    told: Callable[[str], None],
    kept: Blocks | None = None,
) -> Restoration:
    """``one`` of the place of every block, the parts without halo put together. The run is that which ended worst.

    Args:
        one: gives None where nothing is known in a block with its halo, as in the corners of a stack that was deskewed:
            its readings stay as they came.
        kept: the blocks that an earlier run finished; of these the worst is restored again where it is the worst of
            all, for its proof.
    """
    halo = tuple(taps // 2 + MORE for taps in kernel.weights.shape)
    places = list(cut(volume.shape, sides, halo))
    image = np.array(volume)  # which takes its memory now, not after hours
    ends, worst, seconds, before, empty = list[tuple[Ending, Block]](), None, 0.0, 0, 0
    for number, block in enumerate(places, 1):
        found = None if kept is None else kept.load(number, image[block.kept])
        if found is None:
            told(f"block {number} of {len(places)}")
            run = one(block.wide, settings)
            if run is None:
                empty += 1
                continue
            image[block.kept] = np.asarray(run.image)[block.inner]
            found = Ending(list(Status).index(run.status), run.steps, run.seconds)
            if kept is not None:
                kept.keep(number, image[block.kept], found)
            if found.worse(*(end for end, _ in ends)):
                worst = run
        else:
            before += 1
            worst = None if found.worse(*(end for end, _ in ends)) else worst
        ends.append((found, block))
        seconds += found.seconds
    if worst is None:
        _, last = max(ends, key=lambda ended: (ended[0].order, ended[0].steps))  # the first of those alike
        told(f"block {places.index(last) + 1} of {len(places)}, which ended worst, again for its proof")
        worst = one(last.wide, settings)
        assert worst is not None, "a block that was finished had readings"
    note = f"in {len(places)} blocks of {'x'.join(map(str, sides))}, a proof for each: near the result of the whole"
    note += f"; {before} of them are of a run that was stopped" if before else ""
    note += f"; in {empty} of them nothing is known, and they stay as they came" if empty else ""
    return replace(worst, image=image, notes=(*worst.notes, note), seconds=seconds)
