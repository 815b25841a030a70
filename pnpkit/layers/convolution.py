"""Convolutions of pictures without gradients, by the fastest way that a processor has: the same numbers up to rounding.

With AVX2 and without AVX-512, PyTorch's NNPACK multiplies kernels of 3 x 3 by Winograd's method, with a quarter of the
products: 107 to 156 GFLOP/s a core where oneDNN has 76 to 96 (docs/lab-book). It takes a picture plane by plane. Which
processors it is used on is a rule and no probe, so that a run has the same bits each time.

Lavin & Gray: Fast algorithms for convolutional neural networks, CVPR 2016.
"""

from __future__ import annotations

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from pnpkit.layers.layout import interleaved, transformed

SMALLEST = 8  # pixels a side: below, no time is to be saved


@cache
def winograd_pays() -> bool:
    """Whether this processor has AVX2 and no AVX-512, and this PyTorch has NNPACK."""
    available = getattr(torch, "_nnpack_available", lambda: False)
    return torch.backends.cpu.get_cpu_capability() == "AVX2" and bool(available())


def by_winograd(x: Tensor) -> bool:
    """Whether ``x`` (B, C, H, W) is laid out and convolved for NNPACK: float32 on such a processor, no gradient."""
    return (
        x.device.type == "cpu"
        and x.dtype == torch.float32
        and not torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
        and not transformed()
        and winograd_pays()
    )


def arranged(x: Tensor) -> Tensor:
    """x (B, C, H, W) laid out as ``convolution`` is fastest: plane by plane for NNPACK, else pixel by pixel."""
    return x.contiguous() if by_winograd(x) else interleaved(x)


def convolution(x: Tensor, kernel: Tensor, bias: Tensor | None = None, padding: int = 0) -> Tensor:
    """``torch.nn.functional.conv2d`` of stride 1: x (B, C, H, W), kernel (D, C, k, k), all of one dtype.

    What it returns is laid out as x is.
    """
    if not by_winograd(x) or not x.is_contiguous():
        return F.conv2d(x, kernel, bias, padding=padding)
    if kernel.shape[-2:] == (1, 1) and not padding:
        return mixed(x, kernel[..., 0, 0], bias)
    if kernel.shape[-2:] != (3, 3) or min(x.shape[-2:]) < SMALLEST:
        return F.conv2d(x, kernel, bias, padding=padding)
    return torch._nnpack_spatial_convolution(x, kernel, bias, [padding, padding])


def mixed(x: Tensor, weights: Tensor, bias: Tensor | None) -> Tensor:
    """The channels of each pixel mixed, a convolution of 1 x 1: x (B, C, H, W), weights (D, C) -> (B, D, H, W)."""
    out = torch.matmul(weights, x.flatten(2))
    if bias is not None:
        out += bias[:, None]
    return out.unflatten(2, x.shape[-2:])
