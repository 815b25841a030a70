"""Pictures of which a part was never measured: holes, and pixels between the pixels. Certified as deblurring is."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from deepinv.physics import Inpainting
from torch import Tensor

from pnpkit.images.pixels import as_array
from pnpkit.restoration.batches import one_by_one
from pnpkit.restoration.containers import as_it_came
from pnpkit.restoration.defaults import FILLING
from pnpkit.restoration.guide import open_guide
from pnpkit.restoration.picture import opened
from pnpkit.restoration.pipeline import restore
from pnpkit.restoration.problem import Problem
from pnpkit.restoration.result import Restoration
from pnpkit.restoration.settings import SettingsKeywords, collect
from pnpkit.restoration.unknown import open_mask, with_size, without_unknown

if TYPE_CHECKING:
    from typing_extensions import Unpack


@as_it_came
@one_by_one
def inpaint(
    image: np.ndarray | Tensor,
    mask: np.ndarray | Tensor,
    *,
    weights: np.ndarray | Tensor | None = None,
    guide: np.ndarray | Tensor | None = None,
    **settings: Unpack[SettingsKeywords],
) -> Restoration:
    """Fill holes: a fixed point of T = proj ∘ D_strength ∘ (id - tau grad 1/2 ||M x - y||^2), M = 1 where y is known.

    Outside the holes the picture is returned as it was. Values inside the holes, NaN for instance, are ignored.

    Args:
        image: as that of ``deblur``.
        mask: (H, W), true or not 0 where a pixel is MISSING (as in skimage and OpenCV, not as in deepinv).
        weights: how much each reading counts, (H, W) or of the shape of the image: inverse variances, or what
            ``weights_are`` says; 0 and NaN are unknown. Outside the holes the picture is still returned as it was.
        guide: as that of ``deblur``.
        settings: see ``Settings``; ``strength`` None is 10/255, or more if the noise asks for it.

    Raises:
        InputError: a mask of another size, or one that leaves nothing known; and what ``deblur`` refuses.
        TypeError: a keyword that is no setting.

    Example:
        >>> import numpy as np
        >>> import pnpkit as pk
        >>> hole = np.zeros((16, 16), bool)
        >>> hole[5, 5] = True
        >>> picture = np.full((16, 16), 0.5)
        >>> result = pk.inpaint(picture, hole, denoiser="wavelet", max_steps=3)
        >>> bool((np.asarray(result)[~hole] == 0.5).all())
        True
    """
    chosen = collect(inpaint, settings)
    given, size = with_size(image)
    marked = open_mask(mask, size)
    image, found, worth = without_unknown(given, marked, weights, chosen)
    holes = marked if found is None else found
    work = opened(image, chosen, holes, weights=worth)
    if work.readings.above is None:  # the operator leaves out what is missing
        work = replace(work, readings=replace(work.readings, known=None))
    y = work.y
    guess = y if guide is None else open_guide(guide, work, y.shape[-2:])
    missing = torch.from_numpy(holes).to(y.device)
    known = (~missing).to(y.dtype)
    operator = Inpainting(tuple(y.shape[1:]), mask=known.expand(*y.shape[1:]), device=y.device)
    lost, pixels = int(missing.sum()), missing.numel()
    note = f"{lost} of {pixels} pixels were missing and are filled in"
    if not lost:
        note = "the mask marks no pixel (all of it is 0): nothing is filled in"
    if 2 * lost > pixels:
        note += ": more than half of the picture (a mask marks what is missing, by all that is not black)"

    def picture(x: Tensor) -> np.ndarray | Tensor:
        """What is known is kept to the last digit, whatever type and light the work was in."""
        inside = work.back(x)
        if isinstance(image, Tensor):
            return torch.where(missing.to(image.device), torch.as_tensor(inside), image)
        whole = np.where(holes if inside.ndim == 2 else holes[..., None], inside, image)
        return whole.astype(as_array(given).dtype, copy=False)  # in its byte order

    leading = None if guide is None else guess
    problem = Problem(operator, y * known, guess, picture, work.noise, note, least=FILLING, guide=leading, plain=y)
    return restore(problem, work)
