"""What a restoration returns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from pnpkit.certificates import Certificate
from pnpkit.solvers.guarantee import Guarantee
from pnpkit.solvers.result import Status
from pnpkit.solvers.splittings import CONTINUATION, FORWARD_BACKWARD


@dataclass(frozen=True)
class Restoration:
    """A restored picture and why to trust it.

    Attributes:
        image: same type, shape and scale as the input.
        status: how the run ended, a sentence.
        steps, residuals: evaluations of the map, and its relative fixed-point residual at each.
        certificate: what is proven about the map that was iterated.
        guarantee: the theorem that covers the run, or why none does; true where one does.
        noise_level, strength: given or estimated, in the units of the array (of integers: fractions of the type's
            largest). strength is the sigma of the denoiser, ``strength_note`` how it was found.
        kernel: the blur kernel used, None for denoising. kernel_note: where it comes from.
        splitting, tau: what T was built by, and its step or penalty; empty and None for denoising.
        L: the bound on ||A||^2, which limits the tau of forward-backward splitting to (0, 2/L); None for denoising.
        seconds: wall time of everything.
        linear: the light that noise level and strength are measured in: linear, or as stored.
        bounds: what the theorem bounds each of ``residuals`` by, inf before it applies; empty where it gives no rate.
        guide_steps: how many of ``steps`` made the guide of a second look; 0 where there was one look.
        each: of a batch, the results of its pictures; the fields above are then those of the one that fared worst.
        objective: per picture, f + R / tau at the result where that was minimised (``fista`` with ``ridge``).
    """

    image: np.ndarray | Tensor
    status: Status
    steps: int
    residuals: tuple[float, ...]
    certificate: Certificate
    guarantee: Guarantee
    noise_level: float
    strength: float
    kernel: np.ndarray | None
    kernel_note: str
    tau: float | None
    L: float | None
    seconds: float
    linear: bool = False
    strength_note: str = "given"
    objective: tuple[float, ...] = ()
    splitting: str = ""
    bounds: tuple[float, ...] = ()
    guide_steps: int = 0
    each: tuple[Restoration, ...] = ()

    @property
    def step_note(self) -> str:
        """The splitting, tau, and where tau must lie, in words; nothing for denoising."""
        if self.tau is None or self.L is None:
            return ""
        if self.splitting == FORWARD_BACKWARD:
            return f"{self.splitting} splitting, tau {self.tau:.4g} in (0, 2/L), L {self.L:.6g}"
        how = " by continuation" if self.splitting == CONTINUATION else ""
        return f"half-quadratic splitting{how} with tau {self.tau:.4g}, for which any tau > 0 will do"
