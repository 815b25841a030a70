"""The files of a volume that is restored in blocks, in a folder until the run has ended: one that was killed goes on.

The name of the folder is the SHA-256 of all that the run follows from: the volume, the kernel, the settings, the
denoiser, how the volume is cut, and the version. Whoever works in it holds a lock on it.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import replace
from datetime import date
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch

from pnpkit.errors import InputError
from pnpkit.kernels import Kernel
from pnpkit.machine.files import hold, locks
from pnpkit.restoration.checks import open_tools
from pnpkit.restoration.kept import key_of, weights_key
from pnpkit.restoration.settings import Settings

KEEPER: ContextVar[Keeper | None] = ContextVar("folder of the blocks", default=None)
NAME = ".pnpkit-{}-blocks"


class Keeper:
    """Makes a folder for each volume in one folder, and removes them when all has ended well."""

    def __init__(self, folder: str | os.PathLike[str]):
        self.folder, self.made = Path(folder), list[tuple[Path, BinaryIO]]()

    def blocks(self, key: str) -> Path:
        """The folder of a volume, made and locked.

        Raises:
            InputError: another process works in it.
        """
        place = self.folder / NAME.format(key[:40])
        if any(place == mine for mine, _ in self.made):  # two volumes that are the same
            return place
        place.mkdir(parents=True, exist_ok=True)
        held = hold(place / "lock")
        if held is None:
            raise InputError(f"another process restores the same volume in {place}: wait for it, or end it")
        self.made.append((place, held))
        return place

    def close(self, ended: bool) -> None:
        """Let go of all folders that were made, and remove them where all has ended well or nothing was done."""
        for place, held in self.made:
            journal = place / "journal"
            if ended or not (journal.exists() and journal.stat().st_size):
                shutil.rmtree(place, ignore_errors=True)
            held.close()
        self.made.clear()


def stopped(folder: str | os.PathLike[str]) -> list[str]:
    """A sentence on each folder of blocks in ``folder`` that a stopped run left, and that no process works in."""
    found = list[str]()
    if locks is None:  # then a folder that is worked in is not told from one that was left
        return found
    for place in sorted(Path(folder).glob(NAME.format("*"))):
        with suppress(OSError):  # another process removes it just now
            held = hold(place / "lock") if (place / "lock").exists() else None
            if held is None:
                continue
            held.close()
            files = [file.stat() for file in place.iterdir()]
            size = sum(getattr(file, "st_blocks", 0) * 512 or file.st_size for file in files) / 2**20
            day = date.fromtimestamp(max(file.st_mtime for file in files))
            found.append(
                f"{place} ({size:.0f} MiB) is of a run that was stopped on {day}: the same command goes on with it; "
                "if it is not wanted any more, remove the folder"
            )
    return found


@contextmanager
def keeping(folder: str | os.PathLike[str]) -> Iterator[None]:
    """The blocks of the volumes that are restored within are kept in a folder until it ends without an exception."""
    keeper = Keeper(folder)
    token = KEEPER.set(keeper)
    ended = False
    try:
        yield
        ended = True
    finally:
        KEEPER.reset(token)
        keeper.close(ended)


@contextmanager
def blocks_of(
    volume: np.ndarray, kernel: Kernel, sides: tuple[int, ...], how: tuple[object, ...], settings: Settings
) -> Iterator[Path]:
    """The folder for the blocks of a volume.

    It lies in the folder of ``keeping``, else in that of the cache, from which it vanishes at the end; where there is
    neither, it is a temporary one.
    """
    keeper, folder = KEEPER.get(), settings.cache
    if keeper is not None:
        yield keeper.blocks(blocks_key(volume, kernel, sides, how, settings))
    elif folder is not None:
        with keeping(folder):
            yield KEEPER.get().blocks(blocks_key(volume, kernel, sides, how, settings))  # type: ignore[union-attr]
    else:
        with tempfile.TemporaryDirectory(prefix="pnpkit-") as own:
            yield Path(own)


def blocks_key(
    volume: np.ndarray, kernel: Kernel, sides: tuple[int, ...], how: tuple[object, ...], settings: Settings
) -> str:
    """The SHA-256 of all that the blocks follow from. The volume is read slice by slice: it may exceed the memory."""
    digest = sha256()
    for plane in volume:
        digest.update(np.ascontiguousarray(plane).tobytes())
    _, network = open_tools(settings)
    said = replace(settings, denoiser=network.name, cache=None, progress=None, callback=None)
    weights = torch.from_numpy(np.ascontiguousarray(kernel.weights))
    return key_of(
        digest.hexdigest(), volume.shape, volume.dtype, weights, sides, *how, said, weights_key(network.state_dict())
    )
