"""The finished blocks of a volume, in a folder until the run has ended: one that was killed goes on where it was.

The name of the folder is the SHA-256 of all that a block follows from: the volume, the kernel, the settings, the
denoiser, how the volume is cut, and the version. Each block is a file that appears whole or not at all.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import astuple, dataclass, replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch

from pnpkit.kernels import Kernel
from pnpkit.restoration.checks import open_tools
from pnpkit.restoration.kept import key_of, load, store, weights_key
from pnpkit.restoration.settings import Settings

KEPT: ContextVar[Keeper | None] = ContextVar("folder of the blocks", default=None)


@dataclass(frozen=True)
class Ending:
    """How the run of a block ended: the number of its ``Status``, its steps, its seconds."""

    order: int
    steps: int
    seconds: float

    def worse(self, *others: Ending) -> bool:
        """Whether it ended worse than all others."""
        return all((self.order, self.steps) > (other.order, other.steps) for other in others)


@dataclass(frozen=True)
class Blocks:
    """The blocks of one volume in a folder of their own."""

    folder: Path

    def path(self, number: int) -> Path:
        """The file of a block."""
        return self.folder / f"{number:06d}.safetensors"

    def keep(self, number: int, values: np.ndarray, ending: Ending) -> None:
        """Write a block."""
        flat = np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8).copy()
        store(self.path(number), {"block": torch.from_numpy(flat)}, {"ended": json.dumps(astuple(ending))})

    def load(self, number: int, into: np.ndarray) -> Ending | None:
        """Read a block into an array of its shape and type; None where there is none that fits."""
        tensors, about = load(self.path(number))
        flat = tensors.get("block")
        if flat is None or "ended" not in about or flat.numel() != into.nbytes:
            return None
        into[...] = np.frombuffer(flat.numpy().tobytes(), into.dtype).reshape(into.shape)
        return Ending(*json.loads(about["ended"]))

    def remove(self) -> None:
        """Remove the folder with all that is in it."""
        shutil.rmtree(self.folder, ignore_errors=True)


class Keeper:
    """Makes folders of blocks in a folder, and removes them when all has ended well."""

    def __init__(self, folder: str | os.PathLike[str]):
        self.folder, self.made = Path(folder), list[Blocks]()

    def blocks(self, key: str) -> Blocks:
        """Those of a volume."""
        self.made.append(Blocks(self.folder / f".pnpkit-{key[:40]}-blocks"))
        return self.made[-1]

    def remove(self) -> None:
        """Remove all folders that were made."""
        for blocks in self.made:
            blocks.remove()


@contextmanager
def keeping(folder: str | os.PathLike[str]) -> Iterator[None]:
    """The blocks of the volumes that are restored within are kept in a folder until it ends without an exception."""
    keeper = Keeper(folder)
    token = KEPT.set(keeper)
    try:
        yield
        keeper.remove()
    finally:
        KEPT.reset(token)


@contextmanager
def blocks_of(
    volume: np.ndarray, kernel: Kernel, sides: tuple[int, ...], how: tuple[object, ...], settings: Settings
) -> Iterator[Blocks | None]:
    """Where the blocks of a volume are kept: in the folder of ``keeping``, else in that of the cache, from which they
    vanish at the end; None where there is neither."""
    keeper, folder = KEPT.get(), settings.cache
    own = Keeper(folder) if keeper is None and folder is not None else None
    chosen = keeper or own
    yield None if chosen is None else chosen.blocks(blocks_key(volume, kernel, sides, how, settings))
    if own is not None:
        own.remove()


def blocks_key(
    volume: np.ndarray, kernel: Kernel, sides: tuple[int, ...], how: tuple[object, ...], settings: Settings
) -> str:
    """``key_of`` all that the blocks follow from; the volume slice by slice, as it may be larger than the memory."""
    digest = sha256()
    for plane in volume:
        digest.update(np.ascontiguousarray(plane).tobytes())
    _, network = open_tools(settings)
    said = replace(settings, denoiser=network.name, cache=None, progress=None, callback=None)
    weights = torch.from_numpy(np.ascontiguousarray(kernel.weights))
    return key_of(
        digest.hexdigest(), volume.shape, volume.dtype, weights, sides, *how, said, weights_key(network.state_dict())
    )
