"""Pictures of which a part was never measured: holes, and pixels between the pixels. Certified as deblurring is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from deepinv.physics import Inpainting
from torch import Tensor

from pnpkit.errors import InputError
from pnpkit.images.pixels import as_array, check_holes, check_shape, covered
from pnpkit.restoration.batches import one_by_one
from pnpkit.restoration.defaults import FILLING
from pnpkit.restoration.picture import opened
from pnpkit.restoration.pipeline import restore
from pnpkit.restoration.problem import Problem
from pnpkit.restoration.result import Restoration
from pnpkit.restoration.settings import SettingsKeywords, collect

if TYPE_CHECKING:
    from typing_extensions import Unpack


@one_by_one
def inpaint(
    image: np.ndarray | Tensor,
    mask: np.ndarray | Tensor,
    **settings: Unpack[SettingsKeywords],
) -> Restoration:
    """Fill holes: a fixed point of T = proj ∘ D_strength ∘ (id - tau grad 1/2 ||M x - y||^2), M = 1 where y is known.

    Outside of the holes the picture comes back as it was; what is inside of them, NaN for instance, is not looked at.

    Args:
        image: as that of ``deblur``.
        mask: (H, W), true or not 0 where a pixel is MISSING (as in skimage and OpenCV, not as in deepinv).
        settings: see ``Settings``; ``strength`` None is 10/255, or more when the noise asks for it.

    Raises:
        InputError: a mask of another size, or one that leaves nothing known; and what ``deblur`` refuses.
        TypeError: a keyword that is no setting.
    """
    chosen = collect(inpaint, settings)
    if not isinstance(image, Tensor):
        image = as_array(image)
        check_shape("", image)
    holes = open_mask(mask, image.shape[-2:] if isinstance(image, Tensor) else image.shape[:2])
    image = filled(image, holes)
    work = opened(image, chosen, holes)
    y = guess = work.y
    missing = torch.from_numpy(holes).to(y.device)
    known = (~missing).to(y.dtype)
    operator = Inpainting(tuple(y.shape[1:]), mask=known.expand(*y.shape[1:]), device=y.device)
    note = f"{int(missing.sum())} of {missing.numel()} pixels were missing and are filled in"
    if not holes.any():
        note = "the mask marks no pixel (all of it is 0): nothing is filled in"
    if 2 * int(missing.sum()) > missing.numel():
        note += ": more than half of the picture (a mask marks what is missing, by all that is not black)"

    def picture(x: Tensor) -> np.ndarray | Tensor:
        """What is known is kept to the last digit, whatever type and light the work was in."""
        inside = work.back(x)
        if isinstance(image, Tensor):
            return torch.where(missing.to(image.device), torch.as_tensor(inside), image)
        return np.where(holes if inside.ndim == 2 else holes[..., None], inside, image)

    problem = Problem(operator, guess * known, guess, picture, work.noise, note, least=FILLING)
    return restore(problem, work)


def open_mask(mask: np.ndarray | Tensor, size: Sequence[int]) -> np.ndarray:
    """(H, W) booleans, true where a pixel is missing."""
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
    """What is in the holes replaced by something that does no harm; see ``images.pixels.covered``."""
    if not isinstance(image, Tensor):
        return covered(np.asarray(image), holes)
    if not image.is_floating_point():
        return image
    here = torch.from_numpy(holes).to(image.device).expand(image.shape)
    return image.masked_fill(here, float(image[~here].double().mean()))
