"""Short probes of the speed of this machine. Machines differ, and a table of them would soon be wrong."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode


def seconds_of(work: Callable[[], Tensor], repeat: int = 3) -> float:
    """Return the least wall time of ``work`` in seconds over a few runs after a first one.

    Reading a number of the result waits for the device.
    """
    times = []
    for _ in range(repeat + 1):
        started = time.perf_counter()
        float(work().flatten()[0])
        times.append(time.perf_counter() - started)
    return min(times[1:])


@cache
def prefers_bfloat16(device: str | torch.device, worth: float = 0.8) -> bool:
    """Whether a 64 -> 64 convolution in bfloat16 takes less than ``worth`` of its float32 time on this device.

    The result is kept: if bfloat16 is emulated, the probe takes as long as a step of a small picture.
    """
    x = torch.randn(2, 64, 64, 64, device=device).contiguous(memory_format=torch.channels_last)
    kernel = torch.randn(64, 64, 3, 3, device=device)

    def seconds(dtype: torch.dtype) -> float:
        a, w = x.to(dtype), kernel.to(dtype).contiguous(memory_format=torch.channels_last)
        return seconds_of(lambda: nn.functional.conv2d(a, w, padding=1))

    with torch.no_grad():
        return seconds(torch.bfloat16) < worth * seconds(torch.float32)


class Convolutions(TorchFunctionMode):
    """Records the shapes of every 2-D convolution that runs inside the block.

    Convolutions of 1 x 1 that run as matrix products (``layers.convolution``) are left out.
    """

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[tuple[int, ...], tuple[int, ...], Any]] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.conv2d:
            self.found.append((tuple(args[0].shape), tuple(args[1].shape), kwargs.get("padding", 0)))
        if func is getattr(torch, "_nnpack_spatial_convolution", None):
            self.found.append((tuple(args[0].shape), tuple(args[1].shape), args[3][0]))
        return func(*args, **kwargs)


def bare_convolutions(work: Callable[[], object]) -> Callable[[], Tensor]:
    """Return a function that runs only the 2-D convolutions of ``work``.

    They run on random numbers, in float32 and ``channels_last``, without gradients. Convolutions of one shape run after
    each other, on the same numbers.
    """
    with torch.no_grad(), Convolutions() as seen:
        work()
    layers = [
        (torch.rand(shape).contiguous(memory_format=torch.channels_last), torch.rand(kernel), padding)
        for shape, kernel, padding in dict.fromkeys(seen.found)
    ]
    counts = [seen.found.count(key) for key in dict.fromkeys(seen.found)]

    def bare() -> Tensor:
        out = torch.zeros(1)
        for (a, w, padding), count in zip(layers, counts, strict=True):
            for _ in range(count):
                out = nn.functional.conv2d(a, w.contiguous(memory_format=torch.channels_last), padding=padding)
        return out

    return bare


def convolution_limit(network: nn.Module, batch: int, patch: int, device: str, half: bool, repeat: int = 3) -> float:
    """Return the patches per second that training could reach if it consisted only of the network's convolutions.

    The probe runs these convolutions one after another, forward and backward, in the precision of the training and
    ``channels_last``. The result is 0 if the network has none.
    """
    x = torch.rand(batch, 3, patch, patch, device=device)
    with torch.no_grad(), Convolutions() as seen:
        network(x, torch.full((batch,), 0.1, device=device))
    dtype = torch.bfloat16 if half else torch.float32
    layers = []
    for shape, kernel, padding in seen.found:
        a = torch.rand(shape, device=device).to(dtype).contiguous(memory_format=torch.channels_last)
        w = torch.rand(kernel, device=device).to(dtype).contiguous(memory_format=torch.channels_last)
        layers.append((a.requires_grad_(), w.requires_grad_(), padding))

    def work() -> Tensor:
        for a, w, padding in layers:
            out = nn.functional.conv2d(a, w, padding=padding)
            found = torch.autograd.grad(out, (a, w), torch.ones_like(out))
        return found[0]

    return batch / seconds_of(work, repeat) if layers else 0.0
