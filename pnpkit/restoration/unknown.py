"""Pixels of which nothing is known: those that a mask marks, and those that are NaN."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from pnpkit.errors import InputError
from pnpkit.images.pixels import as_array, check_holes, check_shape, covered
from pnpkit.restoration.settings import Settings
from pnpkit.restoration.weighing import Weights, open_weights


def without_unknown(
    image: np.ndarray | Tensor,
    mask: np.ndarray | Tensor | None,
    weights: np.ndarray | Tensor | None,
    settings: Settings,
) -> tuple[np.ndarray | Tensor, np.ndarray | None, Weights | None]:
    """The picture with harmless values where nothing is known, where that is, and the weights of the rest.

    The second is (H, W) booleans, or None where all is known; the third None where nothing is said of weights.

    Args:
        image: as that of ``deblur``. NaN is unknown, in all channels of its pixel.
        mask: (H, W), true or not 0 where a pixel is unknown, too.
        weights: see ``weighing.open_weights``; a pixel without any weight is unknown, too.

    Raises:
        InputError: a mask or weights of another size, or no pixel that is known.
    """
    image, size = with_size(image)
    holes = np.zeros(size, bool) if mask is None else open_mask(mask, size)
    worth = open_weights(weights, image, settings)
    nowhere = not_a_number(image)
    if worth is not None:
        nowhere = nowhere | worth.nowhere
    if nowhere.any():
        holes = holes | nowhere
        if holes.all():
            raise InputError("every pixel is unknown: expected a picture with numbers in it")
    if not holes.any():
        return image, None, worth
    return filled(image, holes), holes, worth


def with_size(image: np.ndarray | Tensor) -> tuple[np.ndarray | Tensor, tuple[int, ...]]:
    """The image as an array or a tensor, and its size (H, W).

    Raises:
        InputError: an array of another shape than that of an image.
    """
    if isinstance(image, Tensor):
        return image, tuple(image.shape[-2:])
    array = as_array(image)
    check_shape("", array)
    return array, array.shape[:2]


def not_a_number(image: np.ndarray | Tensor) -> np.ndarray:
    """True where a pixel is NaN in some channel, or in some picture of a batch, (H, W)."""
    if isinstance(image, Tensor):
        floats = image.ndim == 4 and image.is_floating_point()
        return (
            torch.isnan(image).flatten(0, 1).any(0).cpu().numpy() if floats else np.zeros(tuple(image.shape[-2:]), bool)
        )
    if image.dtype.kind != "f" or isinstance(image, np.ma.MaskedArray):
        return np.zeros(image.shape[:2], bool)
    return np.asarray(np.isnan(np.atleast_3d(image)).any(-1))


def open_mask(mask: np.ndarray | Tensor, size: Sequence[int]) -> np.ndarray:
    """The mask as (H, W) booleans, true where a pixel is missing.

    Raises:
        InputError: no mask, one of another size, or one that leaves nothing known.
    """
    array = mask.detach().cpu().numpy() if isinstance(mask, Tensor) else as_array(mask)
    if array.ndim not in (2, 3) or array.dtype.kind not in "biuf":
        raise InputError(f"a mask is an array (H, W), not 0 where a pixel is missing, got {array.dtype} {array.shape}")
    if array.ndim == 3 and array.shape[-1] == 3:
        array = array.max(-1)
    check_holes("", array, size)
    missing = array != 0
    if missing.all():
        raise InputError("the mask marks every pixel as missing (not 0 means missing): nothing is known")
    return np.asarray(missing)


def filled(image: np.ndarray | Tensor, holes: np.ndarray) -> np.ndarray | Tensor:
    """The image with harmless values in its holes, (H, W) booleans; see ``images.pixels.covered``."""
    if not isinstance(image, Tensor):
        return covered(np.asarray(image), holes)
    if not image.is_floating_point():
        return image
    here = torch.from_numpy(holes).to(image.device).expand(image.shape)
    return image.masked_fill(here, float(image[~here].double().mean()))
