"""Arrays in files, for data that do not fit into memory, and a journal from which interrupted work is resumed.

Work is a sequence of units. Each unit writes to places that no later unit of its pass reads, and it ends with some
numbers, which the journal keeps. After a kill the same program runs again from its beginning. For every unit in the
journal it takes the numbers and skips the work. So all its decisions, and all that it writes, are the same to the last
bit.
"""

from __future__ import annotations

import errno
import math
import mmap
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pnpkit.errors import InputError

Place = tuple[slice, ...]
PART = 1 << 20  # number of values handled together in elementwise work


def reserved(path: Path, size: int) -> None:
    """Make a file of ``size`` zero bytes, so that the disk has room for it.

    A disk that is full while a mapped file is written would end the process.

    Raises:
        InputError: the disk has no room for the file.
    """
    with path.open("wb") as file:
        try:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                path.unlink()
                raise InputError(
                    f"expected room for a file of {size / 2**30:.2g} GiB in {path.parent}, got: {error.strerror}. "
                    "Make room and give the same command again: it goes on where it was"
                ) from None
        file.truncate(size)


@dataclass(frozen=True)
class Field:
    """An array in a file. ``field[place]`` is a tensor, which is read anew each time and can be set."""

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype

    @classmethod
    def made(cls, path: Path, shape: tuple[int, ...], dtype: np.dtype) -> Field:
        """Return the array of a file, which is filled with zeros if it does not exist. All its disk space is reserved.

        Raises:
            InputError: the disk is full.
        """
        size = math.prod(shape) * dtype.itemsize
        if not path.exists() or path.stat().st_size != size:
            reserved(path, size)
        return cls(path, shape, dtype)

    def _open(self, writes: bool = False) -> np.ndarray:
        """Map the array into memory until no one holds it any more, so that data that were read do not stay."""
        with open(self.path, "r+b" if writes else "rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_WRITE if writes else mmap.ACCESS_READ)
        return np.frombuffer(mapped, self.dtype).reshape(self.shape)

    def __getitem__(self, place: Place) -> Tensor:
        return torch.from_numpy(np.array(self._open()[place]))

    def __setitem__(self, place: Place, values: Tensor) -> None:
        self._open(True)[place] = values.cpu().numpy()

    def part(self, low: int, high: int) -> Tensor:
        """Return the values from ``low`` to ``high`` of the flattened array."""
        return torch.from_numpy(np.array(self._open().reshape(-1)[low:high]))

    def put(self, low: int, values: Tensor) -> None:
        """Set the values of the flattened array from ``low`` on."""
        self._open(True).reshape(-1)[low : low + len(values)] = values.cpu().numpy()

    def parts(self) -> Iterator[tuple[int, int]]:
        """Yield the limits (low, high) of parts of ``PART`` values each."""
        count = math.prod(self.shape)
        for low in range(0, count, PART):
            yield low, min(low + PART, count)


class Journal:
    """The numbers of the finished units, one line each. An incomplete line does not count."""

    def __init__(self, path: Path):
        whole, _, _ = path.read_bytes().rpartition(b"\n") if path.exists() else (b"", b"", b"")
        self.kept = [tuple(map(float.fromhex, line.split())) for line in whole.decode().split("\n")] if whole else []
        self.before, self.next = len(self.kept), 0
        with path.open("wb") as file:
            file.write(whole + b"\n" * bool(whole))
        self.file = path.open("a")

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def unit(self, work: Callable[[], tuple[float, ...]]) -> tuple[float, ...]:
        """Return the numbers, at least one, of the next unit. Its work is done only if it is not in the journal."""
        self.next += 1
        if self.next <= self.before:
            return self.kept[self.next - 1]
        numbers = work()
        self.file.write(" ".join(float(number).hex() for number in numbers) + "\n")
        self.file.flush()
        return numbers
