"""A restoration problem: y = A x + noise, and what is known before the run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from deepinv.physics import LinearPhysics
from torch import Tensor

from pnpkit.kernels import Kernel
from pnpkit.solvers.splittings import FORWARD_BACKWARD

Back = Callable[[Tensor], np.ndarray | Tensor]


@dataclass(frozen=True)
class Problem:
    """y = A x + noise, and what is known before the run.

    Attributes:
        operator, y: A, and the measurement (B, C, H, W).
        guess: the first iterate, brought into the box by the run.
        picture: from the fixed point to the image of the Restoration.
        noise_level: on the picture's own scale. kernel_error: the level of the noise that an inexact A acts like;
            splittings other than forward-backward go by the larger. least: the least strength of the problem, unless
            one is given.
        splitting: the usual one. note: what is filled in or enlarged. kernel: of the blur, where there is one.
        passes: how many a guided denoiser has at most, 1 or 2.
        boxed: whether the box belongs to the data term, see ``fidelities.constrained``; floor: what the estimate may
            not lie below, either, place by place, (B, C, H, W) as ``guess``, or None. stronger: times the strength of
            the rule.
        guide: the guide that was given for the second, (B, C, H, W), the frame of the picture: then it alone is made.
        shown: from the estimate to the part of it that ``picture`` shows, which residuals are taken of; None: all.
        plain: (B, C, H, W), the picture as it came, where the estimate lives: what ``amount`` 0 gives. None: ``guess``.
    """

    operator: LinearPhysics
    y: Tensor
    guess: Tensor
    picture: Back
    noise_level: float
    note: str = ""
    kernel: Kernel | None = None
    splitting: str = FORWARD_BACKWARD
    kernel_error: float = 0.0
    least: float = 0.0
    passes: int = 2
    guide: Tensor | None = None
    plain: Tensor | None = None
    boxed: bool = False
    floor: Tensor | None = None
    stronger: float = 1.0
    shown: Callable[[Tensor], Tensor] | None = None


def crop(x: Tensor, y: Tensor) -> Tensor:
    """The frame of y out of the scene x."""
    top, left = (x.shape[-2] - y.shape[-2]) // 2, (x.shape[-1] - y.shape[-1]) // 2
    return x[..., top : top + y.shape[-2], left : left + y.shape[-1]]
