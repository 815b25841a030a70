"""The memory layout of images, and checks for active transforms of ``torch.func``."""

from __future__ import annotations

import torch
from torch import Tensor
from torch._C._functorch import is_batchedtensor, maybe_current_level


def interleaved(x: Tensor) -> Tensor:
    """Return x with the channels of a pixel adjacent in memory, the fastest layout for convolutions.

    Under ``torch.func`` x is returned as it is.
    """
    return x if transformed() else x.contiguous(memory_format=torch.channels_last)


def transformed() -> bool:
    """Whether vmap, grad, jvp or another transform of ``torch.func`` is active."""
    return not torch.compiler.is_compiling() and maybe_current_level() is not None


def mapped(x: object) -> bool:
    """Whether ``torch.vmap`` maps over x."""
    return isinstance(x, Tensor) and not torch.compiler.is_compiling() and is_batchedtensor(x)
