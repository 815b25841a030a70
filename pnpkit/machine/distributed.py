"""Several processes that work on one job, as started by ``torchrun``.

RANK, WORLD_SIZE and LOCAL_RANK identify a process. A process started alone is rank 0 of 1, and nothing here costs it
anything. Inside ``together`` the processes can communicate: by gloo on CPUs, by nccl between GPUs.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from pnpkit.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor


T = TypeVar("T")


PATIENCE = timedelta(days=30)  # longest time that a process waits for another: files take very different times


def world() -> int:
    """Return the number of processes."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """Return the number of this process, from 0."""
    return int(os.environ.get("RANK", "0"))


def neighbours() -> int:
    """Return the number of processes that share this machine and its memory."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


@contextmanager
def together(device: str = "auto") -> Iterator[str]:
    """Join the other processes for the block, and yield the device of this process: its own GPU, if there are any.

    Args:
        device: auto, cpu or cuda; auto is cuda if torch sees a GPU. On ``cuda`` the GPU becomes torch's current one.
    """
    import torch

    name = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    if world() == 1:
        yield name
        return
    if name == "cuda":
        local = int(os.environ.get("LOCAL_RANK", "0"))
        if local >= torch.cuda.device_count():
            raise InputError(f"process {local} of this machine has no GPU: there are {torch.cuda.device_count()}")
        torch.cuda.set_device(local)
        name = f"cuda:{local}"
    from torch import distributed

    try:
        backend = "cpu:gloo,cuda:nccl" if name.startswith("cuda") else "gloo"
        distributed.init_process_group(backend, timeout=PATIENCE)
    except ValueError as error:
        raise InputError(f"WORLD_SIZE is {world()}, but the others cannot be reached ({error}): use torchrun") from None
    try:
        yield name
    finally:
        distributed.destroy_process_group()


def share(tensor: Tensor) -> Tensor:
    """Return this process's equal part of a batch (B, ...): rows B r / N to B (r + 1) / N."""
    if len(tensor) % world():
        raise InputError(f"a batch of {len(tensor)} cannot be split evenly over {world()} processes")
    size = len(tensor) // world()
    return tensor[rank() * size : (rank() + 1) * size]


def total(tensor: Tensor) -> Tensor:
    """Sum a tensor over all processes, in place. The result has the same bits on each."""
    if world() > 1:
        from torch import distributed

        distributed.all_reduce(tensor)
    return tensor


def gather(value: T) -> list[T]:
    """Return the values of all processes, in the order of their ranks, on each process."""
    if world() == 1:
        return [value]
    from torch import distributed

    found: list[Any] = [None] * world()
    distributed.all_gather_object(found, value)
    return found
