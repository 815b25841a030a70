"""Preparations of the command line before torch is imported: a faster import of deepinv, and keeping freed memory.

deepinv imports torchvision, and torchvision's RoIAlign imports torch._dynamo, with sympy behind it, for one function:
more than a third of the time of all imports. While deepinv is imported, a stand-in module offers that function, which
imports the real module at its first call.

glibc gives the memory of a large tensor back to the system as soon as it is freed, and the system clears every page
of the next one: more than half of the processor time of a picture of 24 megapixels (docs/lab-book).
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
    """A module that offers this one function. For any other attribute the real module takes its place."""

    def is_compile_supported(self, device_type: str) -> Any:
        return self.real().is_compile_supported(device_type)

    def real(self) -> Any:
        withdraw(self)
        return importlib.import_module(NAME)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # the import system asks for these attributes of any module
            raise AttributeError(name)
        return getattr(self.real(), name)


def withdraw(stand_in: ModuleType) -> None:
    """Take the stand-in out of ``sys.modules``, if it is there."""
    if sys.modules.get(NAME) is stand_in:
        del sys.modules[NAME]


def import_deepinv() -> None:
    """Import deepinv through the stand-in, unless it or the real module is imported already."""
    if "deepinv" in sys.modules or NAME in sys.modules:
        return
    stand_in = sys.modules[NAME] = StandIn(NAME)
    try:
        importlib.import_module("deepinv")
    finally:
        withdraw(stand_in)


def keep_memory() -> bool:
    """Keep freed memory in the process instead of giving it back. False if the C library cannot do it; glibc can."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # the C library is another one, or it cannot be opened
        return False
    return bool(mallopt(M_MMAP_MAX, 0)) and bool(mallopt(M_TRIM_THRESHOLD, 2**31 - 1))


def begin() -> None:
    """Keep freed memory and import deepinv. Call this before torch is imported."""
    keep_memory()
    import_deepinv()
