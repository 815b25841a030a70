"""Convolutions of pictures without gradients, by the fastest way that a processor has: the same numbers up to rounding.

With AVX2 and without AVX-512, PyTorch's NNPACK multiplies kernels of 3 x 3 by Winograd's method, with a quarter of the
products: 107 to 156 GFLOP/s a core where oneDNN has 76 to 96 (docs/lab-book). It takes a picture plane by plane. Which
processors it is used on is a rule and no probe, so that a run has the same bits each time.

Its rounding is about 1e-5 of the largest value within eight pixels, twenty times that of oneDNN; NaN spreads as far.

Lavin & Gray: Fast algorithms for convolutional neural networks, CVPR 2016.
"""

from __future__ import annotations

import itertools
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import forward_ad

from pnpkit.layers.layout import interleaved, transformed

SMALLEST = 8  # pixels a side: below, no time is to be saved


TILE = 6  # pixels a side, that NNPACK finds at once from 8 x 8


ROOM = 2**25  # bytes for the tiles of a band


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
        and not dual(x)
        and winograd_pays()
    )


def dual(x: Tensor) -> bool:
    """Whether x has a tangent of forward-mode differentiation, which NNPACK does not pass on."""
    return forward_ad._current_level >= 0 and forward_ad.unpack_dual(x).tangent is not None


def arranged(x: Tensor) -> Tensor:
    """x (B, C, H, W) laid out as ``convolution`` is fastest: plane by plane for NNPACK, else pixel by pixel."""
    return x.contiguous() if by_winograd(x) else interleaved(x)


def convolution(x: Tensor, kernel: Tensor, bias: Tensor | None = None, padding: int = 0) -> Tensor:
    """``torch.nn.functional.conv2d`` of stride 1: x (B, C, H, W), kernel (D, C, k, k), all of one dtype.

    What it returns is laid out as x is.
    """
    if not by_winograd(x) or not x.is_contiguous() or not fitting(x, kernel, bias):
        return F.conv2d(x, kernel, bias, padding=padding)
    if kernel.shape[-2:] == (1, 1) and not padding:
        return mixed(x, kernel[..., 0, 0], bias)
    if kernel.shape[-2:] != (3, 3) or min(x.shape[-2:]) < SMALLEST:
        return F.conv2d(x, kernel, bias, padding=padding)
    return in_bands(x, kernel, bias, padding)


def in_bands(x: Tensor, kernel: Tensor, bias: Tensor | None, padding: int) -> Tensor:
    """A convolution of 3 x 3 by NNPACK: image by image, so that none depends on its neighbours in a bit, and by bands
    of rows. NNPACK holds all transformed tiles at once and keeps that memory: the bands limit it to ``ROOM``."""
    (height, width), (fan_out, fan_in) = x.shape[-2:], kernel.shape[:2]
    rows, columns = height + 2 * padding - 2, width + 2 * padding - 2
    tiles = x.element_size() * (TILE + 2) ** 2 * (fan_in + fan_out) * -(-columns // TILE)  # bytes of a row of tiles
    each = TILE * max(1, ROOM // tiles)
    if len(x) == 1 and rows <= each:
        return torch._nnpack_spatial_convolution(x, kernel, bias, [padding, padding])
    out = x.new_empty(len(x), fan_out, rows, columns)
    for number, top in itertools.product(range(len(x)), range(0, rows, each)):
        bottom = min(top + each, rows)
        low, high = top - padding, bottom - padding + 2  # the rows of x that these depend on
        band = F.pad(x[number, None, :, max(low, 0) : high], (0, 0, max(-low, 0), max(high - height, 0))).contiguous()
        out[number, None, :, top:bottom] = torch._nnpack_spatial_convolution(band, kernel, bias, [0, padding])
    return out


def fitting(x: Tensor, kernel: Tensor, bias: Tensor | None) -> bool:
    """Whether it may be done by NNPACK, which takes no empty batch, no tangents and does not look at the bias' size."""
    if x.numel() == 0 or dual(kernel):
        return False
    return bias is None or (bias.shape == kernel.shape[:1] and not dual(bias))


def mixed(x: Tensor, weights: Tensor, bias: Tensor | None) -> Tensor:
    """The channels of each pixel mixed, a convolution of 1 x 1: x (B, C, H, W), weights (D, C) -> (B, D, H, W)."""
    out = torch.matmul(weights, x.flatten(2))
    if bias is not None:
        out += bias[:, None]
    return out.unflatten(2, x.shape[-2:])
