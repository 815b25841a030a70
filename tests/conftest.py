"""Tests run on one thread: the tensors are small, and more threads only get in each other's way."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def the_processor_as_it_was() -> Iterator[None]:
    """A script that a test ran may have set the threads, or denormals to zero: neither outlives the test."""
    yield
    torch.set_num_threads(1)
    torch.set_flush_denormal(False)
