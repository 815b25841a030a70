"""Restore the settings of the process after a script has changed them.

Threads, flush-to-zero, the default dtype and the state of the random generator belong to the process, not to one study.
If they stayed changed, they would alter the figures of whatever runs next.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Settings:
    """The settings of a process that change figures or their speed."""

    threads: int
    flushes: bool
    dtype: torch.dtype


def flushes_denormals() -> bool:
    """Whether denormal numbers are zero. torch can set this but not report it, so one is halved."""
    return float(torch.tensor(torch.finfo(torch.float64).tiny, dtype=torch.float64) / 2) == 0


def settings() -> Settings:
    """Return the present settings."""
    return Settings(torch.get_num_threads(), flushes_denormals(), torch.get_default_dtype())


@contextmanager
def put_back() -> Iterator[None]:
    """Inside, or in a function decorated by ``@put_back()``, settings may change; outside they are as before."""
    before = settings()
    with torch.random.fork_rng(devices=[]):
        try:
            yield
        finally:
            torch.set_num_threads(before.threads)
            torch.set_flush_denormal(before.flushes)
            torch.set_default_dtype(before.dtype)
