"""Upscale: each pixel is the mean of a square of the scene."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from pnpkit.errors import InputError
from pnpkit.operators.downsampling import area_downsampling
from pnpkit.restoration.batches import one_by_one
from pnpkit.restoration.containers import as_it_came
from pnpkit.restoration.defaults import SHARPENING
from pnpkit.restoration.guide import open_guide
from pnpkit.restoration.picture import opened
from pnpkit.restoration.pipeline import restore
from pnpkit.restoration.problem import Problem
from pnpkit.restoration.result import Restoration
from pnpkit.restoration.settings import SettingsKeywords, collect
from pnpkit.restoration.unknown import without_unknown

if TYPE_CHECKING:
    from typing_extensions import Unpack

LARGEST_FACTOR = 8


@as_it_came
@one_by_one
def upscale(
    image: np.ndarray | Tensor,
    factor: int = 2,
    *,
    mask: np.ndarray | Tensor | None = None,
    weights: np.ndarray | Tensor | None = None,
    guide: np.ndarray | Tensor | None = None,
    **settings: Unpack[SettingsKeywords],
) -> Restoration:
    """Enlarge: a fixed point of T = proj ∘ D_strength ∘ (id - tau grad 1/2 ||S x - y||^2), S the mean over squares.

    Each pixel of y is taken for the mean of factor x factor pixels of the scene, as a sensor measures it.

    Args:
        image: as that of ``deblur``.
        factor: a whole number from 2 to 8; the result is (factor H, factor W).
        mask, weights: as those of ``deblur``.
        guide: as that of ``deblur``, of the size of the result.
        settings: see ``Settings``; ``strength`` None is 2/255, or more if the noise asks for it.

    Raises:
        InputError: another factor; and what ``deblur`` refuses.
        TypeError: a keyword that is no setting.
    """
    if factor not in range(2, LARGEST_FACTOR + 1):
        raise InputError(f"a factor is a whole number from 2 to {LARGEST_FACTOR}, got {factor!r}")
    factor = int(factor)
    chosen = collect(upscale, settings)
    image, holes, worth = without_unknown(image, mask, weights, chosen)
    work = opened(image, chosen, holes, weights=worth)
    y = work.y
    plain = F.interpolate(y, scale_factor=factor, mode="bicubic")
    if guide is None:
        given, guess = None, plain
    else:
        given = guess = open_guide(guide, work, [factor * side for side in y.shape[-2:]])
    note = f"enlarged {factor} times, from {y.shape[-1]}x{y.shape[-2]} pixels"
    operator = area_downsampling(y, factor)
    problem = Problem(operator, y, guess, work.back, work.noise, note, least=SHARPENING, guide=given, plain=plain)
    return restore(problem, work)
