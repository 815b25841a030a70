"""A guide that is given: a picture that anything made, of which the certified second pass keeps what the data support.

Of the guide nothing is assumed, and nothing of what made it. The thresholds of a guided denoiser that it chose stay, so
the run has the proof of every second pass (``networks.guided``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pnpkit.errors import InputError
from pnpkit.images import srgb
from pnpkit.images.pixels import as_array
from pnpkit.networks.base import Network
from pnpkit.restoration.picture import Opened, check_light, open_image
from pnpkit.restoration.problem import Problem, crop


@dataclass(frozen=True)
class Departure:
    """What the data made of a guide that was given, root mean squares in the units of the picture's noise level.

    Attributes:
        left: ||x - g|| / sqrt(N), how far the result x is from the guide g, in the frame of the picture.
        residual_before, residual_after: ||A g - y|| / sqrt(M) and ||A x - y|| / sqrt(M). Of the truth it is about the
            noise level; a larger one tells of what the data contradict. Where the scene is larger than the frame, g is
            continued there by its border.
    """

    left: float
    residual_before: float
    residual_after: float

    def __str__(self) -> str:
        before, after = f"{self.residual_before:.4f} with the guide", f"{self.residual_after:.4f} with the result"
        return f"the result is {self.left:.4f} from it (root mean square); the data's residual is {before}, {after}"


def check_guided(network: Network) -> None:
    """Raise unless the network is one that a given guide can guide."""
    if network.looks(certified=False)[1] is None:
        raise InputError(f"{network.name} takes no guide: leave `guide` out, or choose a denoiser like euler-guided")


def open_guide(guide: np.ndarray | Tensor, work: Opened, size: Sequence[int]) -> Tensor:
    """The guide, (1, C, H, W) of ``size`` (H, W), on the scale of the opened picture.

    Args:
        guide: as the picture, in its units; of integers, fractions of the largest that their type holds.

    Raises:
        InputError: a denoiser that takes no guide, or a guide of another size, or with values that are not finite.
    """
    check_guided(work.network)
    if isinstance(guide, (str, bytes)) or guide is None:
        raise InputError(f"a guide is an array (H, W) or (H, W, 3), got {guide!r}")
    came = tuple(guide.shape[-2:]) if isinstance(guide, Tensor) else as_array(guide).shape[:2]
    if came != tuple(size):
        raise InputError(f"a guide has the size of the result, {size[1]}x{size[0]} pixels, got {came[-1]}x{came[0]}")
    stored = open_image(guide, str(work.y.device), False)[0]
    if len(stored) != 1:
        raise InputError(f"expected one guide for one picture, got {len(stored)}")
    if work.settings.linear:
        check_light(stored)
        stored = srgb.decode(stored)
    channels = work.y.shape[1]
    stored = stored.mean(1, keepdim=True) if channels == 1 else stored.expand(-1, channels, -1, -1)
    return work.scale.inward(stored).to(work.y.dtype)


def around(guide: Tensor, rows: int, columns: int) -> Tensor:
    """The scene of so many rows and columns with the guide in its middle, continued by its border."""
    more, wider = rows - guide.shape[-2], columns - guide.shape[-1]
    if not (more or wider):
        return guide
    return F.pad(guide, (wider // 2, wider - wider // 2, more // 2, more - more // 2), mode="replicate")


@torch.no_grad()
def departure(problem: Problem, x: Tensor, span: float, known: Tensor | None = None) -> Departure | None:
    """How far the result x left the guide of the problem, and what the data say of both; None without a guide.

    Args:
        span: what 1 is in the units of the picture. known: 1 where a reading counts, 0 elsewhere; None: all count.
    """
    if problem.guide is None:
        return None
    scene = around(problem.guide, x.shape[-2], x.shape[-1])

    def size(gap: Tensor, where: Tensor | None = None) -> float:
        there = torch.ones_like(gap) if where is None else where.to(gap).expand_as(gap)
        return float(torch.linalg.vector_norm((gap * there).double())) / math.sqrt(float(there.sum())) * span

    before, after = (size(problem.operator.A(z) - problem.y, known) for z in (scene, x))
    return Departure(size(crop(x, problem.guide) - problem.guide), before, after)
