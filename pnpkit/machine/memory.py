"""The device and the memory of this machine."""

from __future__ import annotations

import math
import os
import sys
from numbers import Real

import torch

from pnpkit.errors import InputError, UnknownName


def choose_device(name: str | None) -> torch.device:
    """Return the torch device cpu or cuda; auto and None choose the GPU if torch sees one.

    Raises InputError for any other name, and for cuda without a GPU.
    """
    name = None if name is None else str(name)  # a torch.device is accepted as well
    if name in (None, "auto"):
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name not in ("cpu", "cuda"):
        raise UnknownName("device", str(name), ("auto", "cpu", "cuda"))
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("device 'cuda' was requested, but torch sees no GPU: use `device=cpu`")
    return torch.device(name)


def allowed(max_memory: float | None) -> float:
    """Return the bytes that a run may use, from ``max_memory`` in GiB. None allows half of the machine's memory."""
    if max_memory is None:
        return 0.5 * machine_memory()
    if not (isinstance(max_memory, Real) and max_memory > 0):
        raise InputError(f"`max_memory` is a positive number of GiB, got {max_memory!r}")
    return max_memory * 2**30


def machine_memory() -> float:
    """Return the bytes of memory of this machine; infinity if the system does not tell."""
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):  # no sysconf (Windows), no such name, no answer
        return math.inf


def peak_memory() -> float:
    """Return the largest number of bytes that this process has held; 0 if the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return 0.0
    unit = 1 if sys.platform == "darwin" else 1024
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)
