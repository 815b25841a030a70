"""Convolutions of pictures without gradients by the fastest method of the processor. Results agree up to rounding.

On processors with AVX2 and without AVX-512, PyTorch's NNPACK computes 3 x 3 convolutions by Winograd's method, with a
quarter of the products: 107 to 156 GFLOP/s a core where oneDNN has 76 to 96 (docs/lab-book). It takes a picture plane
by plane. A fixed rule, not a probe, decides which processors use it, so that a run has the same bits each time.

Its rounding error is about 1e-5 of the largest value within eight pixels, twenty times that of oneDNN. NaN spreads as
far.

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

SMALLEST = 8  # smallest side in pixels; below it no time is saved


TILE = 6  # side in pixels of the result that NNPACK computes at once from 8 x 8 pixels


ROOM = 2**25  # most bytes for the tiles of a band


@cache
def winograd_pays() -> bool:
    """Whether this processor has AVX2 and no AVX-512, and this PyTorch has NNPACK."""
    available = getattr(torch, "_nnpack_available", lambda: False)
    return torch.backends.cpu.get_cpu_capability() == "AVX2" and bool(available())


def by_winograd(x: Tensor) -> bool:
    """Whether ``x`` (B, C, H, W) is convolved by NNPACK: it is float32 on such a processor, without gradient."""
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
    """Whether x has a tangent of forward-mode differentiation, which NNPACK does not propagate."""
    return forward_ad._current_level >= 0 and forward_ad.unpack_dual(x).tangent is not None


def arranged(x: Tensor) -> Tensor:
    """Return x (B, C, H, W) in the fastest layout for ``convolution``: by planes for NNPACK, otherwise by pixels."""
    return x.contiguous() if by_winograd(x) else interleaved(x)


def convolution(x: Tensor, kernel: Tensor, bias: Tensor | None = None, padding: int = 0) -> Tensor:
    """Compute ``torch.nn.functional.conv2d`` with stride 1: x (B, C, H, W), kernel (D, C, k, k), all of one dtype.

    The result has the memory layout of x.
    """
    if not by_winograd(x) or not x.is_contiguous() or not fitting(x, kernel, bias):
        return F.conv2d(x, kernel, bias, padding=padding)
    if kernel.shape[-2:] == (1, 1) and not padding:
        return mixed(x, kernel[..., 0, 0], bias)
    if kernel.shape[-2:] != (3, 3) or min(x.shape[-2:]) < SMALLEST:
        return F.conv2d(x, kernel, bias, padding=padding)
    return in_bands(x, kernel, bias, padding)


def in_bands(x: Tensor, kernel: Tensor, bias: Tensor | None, padding: int) -> Tensor:
    """Compute a 3 x 3 convolution by NNPACK, for each image and each band of rows by itself.

    So no bit of an image depends on other images in the batch. NNPACK holds all transformed tiles at once and keeps
    that memory; the bands limit it to ``ROOM``.
    """
    (height, width), (fan_out, fan_in) = x.shape[-2:], kernel.shape[:2]
    rows, columns = height + 2 * padding - 2, width + 2 * padding - 2
    tiles = x.element_size() * (TILE + 2) ** 2 * (fan_in + fan_out) * -(-columns // TILE)  # bytes of a row of tiles
    each = TILE * max(1, ROOM // tiles)
    if len(x) == 1 and rows <= each:
        return torch._nnpack_spatial_convolution(x, kernel, bias, [padding, padding])
    out = x.new_empty(len(x), fan_out, rows, columns)
    for number, top in itertools.product(range(len(x)), range(0, rows, each)):
        bottom = min(top + each, rows)
        low, high = top - padding, bottom - padding + 2  # the rows of x that the band depends on
        band = F.pad(x[number, None, :, max(low, 0) : high], (0, 0, max(-low, 0), max(high - height, 0))).contiguous()
        out[number, None, :, top:bottom] = torch._nnpack_spatial_convolution(band, kernel, bias, [0, padding])
    return out


def fitting(x: Tensor, kernel: Tensor, bias: Tensor | None) -> bool:
    """Whether NNPACK can do it. It takes no empty batch and no tangents, and it does not check the size of the bias."""
    if x.numel() == 0 or dual(kernel):
        return False
    return bias is None or (bias.shape == kernel.shape[:1] and not dual(bias))


def mixed(x: Tensor, weights: Tensor, bias: Tensor | None) -> Tensor:
    """Mix the channels of each pixel, a 1 x 1 convolution: x (B, C, H, W), weights (D, C) -> (B, D, H, W)."""
    out = torch.matmul(weights, x.flatten(2))
    if bias is not None:
        out += bias[:, None]
    return out.unflatten(2, x.shape[-2:])
