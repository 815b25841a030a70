r"""The denoiser noise level sigma, also called strength: by a closed rule or, at more cost, by Stein's unbiased risk.

The closed rule of half-quadratic splitting: for data with noise s, prox_{tau f} is followed by prox_{tau s^2 R}. A
denoiser at sigma stands for prox_{sigma^2 R}. So sigma = c sqrt(tau) s, with c = ``coupling`` measured. Along this line
the result hardly depends on tau, as long as the denoiser works well at sigma (``working``). In forward-backward
splitting tau < 2 / L leaves no such choice.

SURE: with y = A x + s n, n white, and any estimate u(y) of x (Stein 1981; for A u as here Deledalle et al. 2014),

    E ||A u(y) - A x||^2 = E [ ||A u(y) - y||^2 + 2 s^2 div_y (A u) - N s^2 ],   N the number of measurements.

The divergence is one difference along a random sign vector b, b^T (A u(y + s b) - A u(y)) / s (Ramani, Blu & Unser
2008).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pnpkit.fidelities.data import DataTerm
from pnpkit.maps import Map
from pnpkit.solvers.iterations import Anderson
from pnpkit.solvers.loop import solve
from pnpkit.solvers.splittings import CONTINUATION, FORWARD_BACKWARD, HALF_QUADRATIC

MapAt = Callable[[DataTerm, float], Map]  # the map to iterate, for these data and this strength


@dataclass(frozen=True)
class Sure:
    """Settings of the search in ``by_sure``.

    Args:
        shrink: factor on the strength of least risk. The risk is that of A u: it does not see the details that A
            suppresses, and these need less denoising. Measured on training pictures by ``scripts/strength_rules.py``.
        spread: factor between neighbouring strengths of the three that are tried. reach: the least and the largest
            result, as multiples of the closed rule.
        first, further: evaluations of T for the first strength, and for each of the other two, which continue there.
        tol: relative residual at which such a run stops earlier.
    """

    shrink: float = 0.75
    spread: float = 1.8
    reach: tuple[float, float] = (0.4, 2.5)
    first: int = 5
    further: int = 3
    tol: float = 1e-3


# Faster splittings allow shorter trial runs; short runs find smaller strengths.
SURE = {
    CONTINUATION: Sure(shrink=0.85, first=3, further=2),
    HALF_QUADRATIC: Sure(),
    FORWARD_BACKWARD: Sure(shrink=0.66, first=8, further=4),
}


@dataclass(frozen=True)
class Choice:
    """A strength, a first iterate for it, the evaluations spent, and (strength, risk per measurement) of each trial."""

    strength: float
    start: Tensor
    evaluations: int
    tried: tuple[tuple[float, float], ...]


def by_sure(
    fidelity: DataTerm,
    map_at: MapAt,
    start: Tensor,
    noise_level: float,
    closed: float,
    top: float,
    config: Sure | None = None,
) -> Choice:
    """``shrink`` times the strength of least unbiased risk of A u over the batch; u comes from a few steps of the run.

    Three strengths around the closed rule are tried, each in two runs: on y and on y + s b. The later ones continue
    where the first ended, each run from its own iterate, so that every u stays a function of its data. The result is
    the minimum of the parabola through the three risks, over log strength.

    Args:
        fidelity: f of the data y. map_at: (fidelity, strength) -> T.
        start: first iterate. noise_level: s, on the picture's own scale; for s = 0 the closed rule is returned.
        closed, top: the strength of the closed rule, and the largest of the denoiser.
    """
    config = Sure() if config is None else config
    if noise_level <= 0:
        return Choice(closed, start, 0, ())
    y, operator = fidelity.y, fidelity.operator
    generator = torch.Generator().manual_seed(0)
    signs = 2 * torch.randint(0, 2, y.shape, generator=generator).to(y) - 1  # drawn on the CPU: the same everywhere
    moved = fidelity.with_data(y + noise_level * signs)
    evaluations, tried = 0, []

    def run(strength: float, starts: tuple[Tensor, Tensor], steps: int) -> tuple[Tensor, Tensor]:
        nonlocal evaluations
        ends = []
        for data, x in zip((fidelity, moved), starts, strict=True):
            found = solve(map_at(data, strength), x, iteration=Anderson(), tol=config.tol, max_steps=steps)
            evaluations += found.steps
            ends.append(found.x)
        here, there = (operator.A(x) for x in ends)
        divergence = float((signs * (there - here)).double().sum()) / noise_level
        gap = float((here - y).double().square().sum())
        tried.append((strength, gap / noise_level**2 / y.numel() + 2 * divergence / y.numel() - 1))
        return ends[0], ends[1]

    middle = min(closed / config.shrink, top / config.spread)
    ends = run(middle, (start, start), config.first)
    run(middle * config.spread, ends, config.further)
    run(middle / config.spread, ends, config.further)
    best = config.shrink * least_of_parabola([t[0] for t in tried], [t[1] for t in tried])
    low, high = (closed * factor for factor in config.reach)
    return Choice(min(max(best, low), high, top), ends[0], evaluations, tuple(tried))


def least_of_parabola(strengths: list[float], risks: list[float]) -> float:
    """Where the parabola through (log strength, risk) is least; the best of the three when it opens downwards."""
    curvature, slope, _ = np.polyfit(np.log(strengths), risks, 2)
    if not (math.isfinite(curvature) and math.isfinite(slope) and curvature > 0):
        return strengths[int(np.argmin(risks))]
    return math.exp(min(max(-slope / (2 * curvature), -20.0), 20.0))
