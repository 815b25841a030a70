"""Pixels in memory: conversion of arrays and tensors, and their scale."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pnpkit.errors import InputError

if TYPE_CHECKING:
    import torch
    from torch import Tensor


FARTHEST = 1e6  # largest ratio between the largest value and a given white


FRACTIONS = ("uint8", "uint16")  # types of photographs: the largest value of the type stands for 1


TYPES = (*FRACTIONS, "int16", "int32", "uint32", "float16", "float32", "float64")


WIDE = ("int32", "uint32", "float64")  # types with more digits than float32


def to_tensor(pixels: np.ndarray, dtype: torch.dtype | None = None) -> Tensor:
    """Convert an array (H, W) or (H, W, 3) to a tensor (1, C, H, W) on the CPU with its own memory.

    The tensor is float32 unless ``dtype`` is given.

    Example:
        >>> import numpy as np
        >>> to_tensor(np.zeros((5, 7, 3))).shape
        torch.Size([1, 3, 5, 7])
    """
    import torch

    check_pixels("", pixels)
    planes = pixels[None] if pixels.ndim == 2 else np.moveaxis(pixels, -1, 0)
    return torch.tensor(np.ascontiguousarray(planes), dtype=dtype or torch.float32)[None]


def from_tensor(tensor: Tensor) -> np.ndarray:
    """Convert a tensor (1, 1, H, W) or (1, 3, H, W) to an array (H, W) or (H, W, 3) of its type, with own memory."""
    if tensor.ndim != 4 or tensor.shape[0] != 1 or tensor.shape[1] not in (1, 3):
        raise InputError(f"expected a tensor (1, 1, H, W) or (1, 3, H, W), got {tuple(tensor.shape)}: pass one image")
    planes = tensor.detach().cpu().numpy()[0]
    return planes[0].copy() if len(planes) == 1 else np.moveaxis(planes, 0, -1).copy()


_SHOWN = (
    "1",
    "P",
    "PA",
    "LA",
    "La",
    "RGBA",
    "RGBa",
    "RGBX",
    "CMYK",
    "YCbCr",
    "HSV",
    "LAB",
)  # no grey or RGB values as such


def as_array(image: Any) -> np.ndarray:
    """Convert an image in memory to an array with numpy. A Pillow image gives the grey or RGB values that it shows.

    Raises InputError for the name of a file, and for a Pillow image that is transparent in places.
    """
    from PIL import Image

    if isinstance(image, (str, os.PathLike)):
        raise InputError(f"expected an image in memory, got the name {os.fspath(image)!r}: open it with PIL.Image.open")
    if not isinstance(image, Image.Image):
        return np.asanyarray(image)
    if image.mode == "I" and (values := np.asarray(image)).min() >= 0 and values.max() <= 65535:  # Pillow's 16 bits
        return values.astype(np.uint16)
    if image.mode in _SHOWN:
        image = image.convert({"La": "LA", "RGBa": "RGBA", "PA": "RGBA"}.get(image.mode, image.mode))
        if image.has_transparency_data and image.convert("RGBA").getextrema()[3][0] < 255:
            raise InputError("expected an opaque image, got one of Pillow with transparent parts: convert it to RGB")
        grey = image.mode in ("1", "LA", "La")
        return np.asarray(image.convert("L" if grey else "RGB"))
    array = np.asarray(image)
    return array.astype(array.dtype.newbyteorder("="))


def largest_of(dtype: np.dtype[Any]) -> float:
    """Return the value that stands for 1: the largest value of an integer type, and 1 for floats."""
    return 1.0 if dtype.kind == "f" else float(np.iinfo(dtype).max)


def as_float(image: np.ndarray) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]:
    """Convert an image in memory to floats, and return with it a function that converts floats back to its type.

    The image is (H, W) or (H, W, 3). Integers become fractions of the largest value of the type; floats stay as they
    are. The result is a copy, float64 for types of ``WIDE`` and float32 otherwise. The function clips and rounds for
    integer types only. Raises InputError for another shape or type, and for NaN or inf.
    """
    dtype = image.dtype
    if isinstance(image, np.ma.MaskedArray) and bool(np.ma.getmaskarray(image).any()):
        raise InputError("expected an image, got a masked array with holes: give image.data, and its mask as `mask`")
    if dtype.name not in TYPES:
        raise InputError(f"expected an image of {', '.join(TYPES)}, got {dtype}: convert it")
    check_pixels("", image)
    high = largest_of(dtype)
    pixels = image.astype(np.float64 if dtype.name in WIDE else np.float32) / high
    return pixels, lambda restored: quantised(restored, dtype, 0.0, high)


def scale_of(
    where: str, values: np.ndarray, white: float | None, black: float | None = None
) -> tuple[float, float, str]:
    """Return the values of a file that become 0 and 1, and a sentence about them, which may be empty.

    For types of ``FRACTIONS`` these are 0 and the largest value of the type. For floats they are 0 and 1 if all values
    lie between. Otherwise they are the least and the largest value. ``white`` and ``black``, if given, become 1 and 0
    instead.
    """
    dtype, least, most = values.dtype, float(values.min()), float(values.max())
    fraction = dtype.name in FRACTIONS
    low, high = (0.0, float(np.iinfo(dtype).max)) if fraction else (least, most)
    if dtype.kind == "f" and low >= 0 and high <= 1:
        low, high = 0.0, 1.0
    if black is not None:
        if not black < (high if white is None else white):
            top = high if white is None else white
            raise InputError(f"{where}expected a black below {top:.6g}, which becomes 1, got {black:.6g}")
        low = black
    if white is not None:
        if not white > low:
            raise InputError(f"{where}expected a white above {low:.6g}, which becomes 0, got {white:.6g}")
        ratio = (most - low) / (white - low)
        if most > low and not 1 / FARTHEST <= ratio <= FARTHEST:
            raise InputError(f"{where}the largest value is {most:.6g}, {ratio:.3g} times what {white:.6g} would make 1")
        high = white
    sentences, span = [], high - low or 1.0
    if white is not None or black is not None or not (fraction or (low, high) == (0, 1)):
        beyond = f" and the brightest, {most:.6g}, as {(most - low) / span:.3g}" if most > high else ""
        taken = f"values from {low:.6g} to {high:.6g} are taken as 0 to 1{beyond}"
        sentences.append(f"{taken}: noise and strength are in these units")
    return low, high, "; ".join(sentences)


def quantised(pixels: np.ndarray, dtype: np.dtype[Any], low: float, high: float) -> np.ndarray:
    """Map the 0..1 scale to low..high in the type. Integers are rounded; all values are clipped to the type's range."""
    if dtype.kind == "f":
        limits = np.finfo(dtype)
        return np.clip(low + pixels * (high - low), limits.min, limits.max).astype(dtype)
    bounds = np.iinfo(dtype)
    span = pixels.astype(np.float64) * (high - low) if dtype.name in WIDE else pixels * (high - low)
    return np.rint(np.clip(low + span, bounds.min, bounds.max)).astype(dtype)


def check_holes(where: str, holes: np.ndarray, size: Sequence[int]) -> None:
    """Raise InputError unless the mask has the size (H, W) of the image."""
    if holes.shape != tuple(size):
        sizes = [" x ".join(map(str, reversed(shape))) for shape in (holes.shape, tuple(size))]
        raise InputError(
            f"{where}the mask is {sizes[0]} pixels (across x down), the image {sizes[1]}, which is not the same size"
        )


def covered(image: np.ndarray, holes: np.ndarray) -> np.ndarray:
    """Fill the holes, (H, W) booleans, of a float image (H, W) or (H, W, 3) with the mean of the known values.

    So neither NaN nor a filler such as 1e30 does harm there. Other types stay as they are.
    """
    if image.dtype.kind != "f" or holes.all():
        return image
    known = image[~holes]
    finite = known[np.isfinite(known)]
    mean = (finite.mean(dtype=np.float64) if finite.size else np.float64(0)).astype(image.dtype)
    whole = np.where(holes if image.ndim == 2 else holes[..., None], mean, image)
    return whole.astype(image.dtype, copy=False)  # in the byte order of the image


def check_shape(where: str, image: np.ndarray) -> None:
    """Raise InputError unless the image is (H, W) or (H, W, 3) and has pixels."""
    if image.ndim not in (2, 3) or image.shape[2:] not in ((), (3,)) or image.size == 0:
        raise InputError(f"{where}expected a grey (H, W) or RGB (H, W, 3) image with pixels in it, got {image.shape}")


def check_pixels(where: str, image: np.ndarray) -> None:
    """Raise InputError if the shape is another one, there are no pixels, or a value is NaN or inf."""
    check_shape(where, image)
    bad = image.size - int(np.isfinite(image).sum())
    if bad:
        raise InputError(f"{where}expected finite values, got {bad} NaN or inf among {image.size}: replace them")


def nearest(missing: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return row and column of the nearest pixel that is not missing, for every pixel of (H, W) booleans."""
    from scipy.ndimage import distance_transform_edt

    rows, columns = distance_transform_edt(missing, return_distances=False, return_indices=True)
    return rows.astype(np.int64), columns.astype(np.int64)
