"""What the command line does before it begins: a quicker import, and memory that is kept.

deepinv imports torchvision, and torchvision's RoIAlign imports torch._dynamo, with sympy behind it, for one function
that it calls when it is itself called: more than a third of the time to import everything. While deepinv is imported,
a stand-in gives that function, which fetches the real one at its first call.

glibc hands memory of large tensors back to the system at once, which clears every page of it when it is asked for
again: more than half of the processor time of a picture of 24 megapixels (docs/lab-book.md).
"""

from __future__ import annotations

import ctypes
import importlib
import sys
from types import ModuleType
from typing import Any

NAME = "torch._dynamo.utils"


M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of mallopt(3)


class StandIn(ModuleType):
    """The module for those who want that one function; for anyone else the real one takes its place at once."""

    def is_compile_supported(self, device_type: str) -> Any:
        return self.real().is_compile_supported(device_type)

    def real(self) -> Any:
        withdraw(self)
        return importlib.import_module(NAME)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # what the import system asks about any module
            raise AttributeError(name)
        return getattr(self.real(), name)


def withdraw(stand_in: ModuleType) -> None:
    if sys.modules.get(NAME) is stand_in:
        del sys.modules[NAME]


def import_deepinv() -> None:
    """Import deepinv quickly, if nobody has yet."""
    if "deepinv" in sys.modules or NAME in sys.modules:
        return
    stand_in = sys.modules[NAME] = StandIn(NAME)
    try:
        importlib.import_module("deepinv")
    finally:
        withdraw(stand_in)


def keep_memory() -> bool:
    """Let freed memory be used again instead of being given back; True where the C library can (glibc)."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # another C library, or none that can be opened
        return False
    return bool(mallopt(M_MMAP_MAX, 0)) and bool(mallopt(M_TRIM_THRESHOLD, 2**31 - 1))


def begin() -> None:
    """Both, before torch is imported."""
    keep_memory()
    import_deepinv()
