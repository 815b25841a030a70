"""How images lie in memory, and whether a transform of ``torch.func`` is at work."""

from __future__ import annotations

import torch
from torch import Tensor
from torch._C._functorch import is_batchedtensor, maybe_current_level


def interleaved(x: Tensor) -> Tensor:
    """x with the channels of a pixel beside each other, as convolutions are fastest; as it is under ``torch.func``."""
    return x if transformed() else x.contiguous(memory_format=torch.channels_last)


def transformed() -> bool:
    """Whether vmap, grad, jvp or another transform of ``torch.func`` is at work."""
    return not torch.compiler.is_compiling() and maybe_current_level() is not None


def mapped(x: object) -> bool:
    """Whether ``torch.vmap`` maps over x."""
    return isinstance(x, Tensor) and not torch.compiler.is_compiling() and is_batchedtensor(x)
