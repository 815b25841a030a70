"""Pixels in memory: arrays and tensors, and the scale that they are on."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from pnpkit.errors import InputError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

FLOAT_LIMIT = 10.0  # noise takes floats a little outside 0..1; an array beyond this is on another scale
TYPES = ("uint8", "uint16", "float16", "float32", "float64")


def to_tensor(pixels: np.ndarray, dtype: torch.dtype | None = None) -> Tensor:
    """(H, W) or (H, W, 3) -> (1, C, H, W) tensor on the CPU with its own memory, float32 unless told otherwise."""
    import torch

    check_pixels("", pixels)
    planes = pixels[None] if pixels.ndim == 2 else np.moveaxis(pixels, -1, 0)
    return torch.tensor(np.ascontiguousarray(planes), dtype=dtype or torch.float32)[None]


def from_tensor(tensor: Tensor) -> np.ndarray:
    """(1, 1, H, W) -> (H, W), (1, 3, H, W) -> (H, W, 3), of the tensor's type, with its own memory."""
    if tensor.ndim != 4 or tensor.shape[0] != 1 or tensor.shape[1] not in (1, 3):
        raise InputError(f"expected a tensor (1, 1, H, W) or (1, 3, H, W), got {tuple(tensor.shape)}: pass one image")
    planes = tensor.detach().cpu().numpy()[0]
    return planes[0].copy() if len(planes) == 1 else np.moveaxis(planes, 0, -1).copy()


def as_float(image: np.ndarray) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]:
    """An image in memory -> pixels on the 0..1 scale, and restore: pixels -> an array of the image's own type.

    image: (H, W) or (H, W, 3), uint8, uint16 or float on the 0..1 scale (kept as it is, noise may leave the range).
    pixels: float64 for float64, else float32; a copy. restore clips and rounds for integer types only.
    Raises InputError for another shape or type, NaN or inf, and floats that are plainly on another scale.
    """
    dtype = image.dtype
    if dtype.name not in TYPES:
        raise InputError(f"expected an image of {', '.join(TYPES)}, got {dtype}: convert it")
    check_pixels("", image)
    least, most = float(image.min()), float(image.max())
    if dtype.kind == "f" and max(-least, most) > FLOAT_LIMIT:
        raise InputError(f"expected floats on the 0..1 scale, got {least:.6g}..{most:.6g}: divide, e.g. by 255")
    high = 1.0 if dtype.kind == "f" else float(np.iinfo(dtype).max)
    pixels = image.astype(np.float64 if dtype == np.float64 else np.float32) / high
    return pixels, lambda restored: quantised(restored, dtype, 0.0, high)


def quantised(pixels: np.ndarray, dtype: np.dtype[Any], low: float, high: float) -> np.ndarray:
    """From the 0..1 scale to low..high in the type: integers rounded and clipped, floats within what the type holds."""
    if dtype.kind == "f":
        limits = np.finfo(dtype)
        return np.clip(low + pixels * (high - low), limits.min, limits.max).astype(dtype)
    return np.rint(low + np.clip(pixels, 0, 1) * (high - low)).astype(dtype)


def check_pixels(where: str, image: np.ndarray) -> None:
    """Raises InputError for other shapes, no pixels, and NaN or inf."""
    if image.ndim not in (2, 3) or image.shape[2:] not in ((), (3,)) or image.size == 0:
        raise InputError(f"{where}expected a grey (H, W) or RGB (H, W, 3) image with pixels in it, got {image.shape}")
    bad = image.size - int(np.isfinite(image).sum())
    if bad:
        raise InputError(f"{where}expected finite values, got {bad} NaN or inf among {image.size}: replace them")
