r"""Classical denoisers as networks: identity, wavelet shrinkage, total variation.

Each is a proximal map, or a mean of proximal maps, for every noise level: firmly nonexpansive.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pnpkit import certificates
from pnpkit.certificates import EXACT, Certificate, Kind, Side
from pnpkit.errors import InputError
from pnpkit.layers.activations import LevelTable, interpolate, spread
from pnpkit.networks.base import TOPS, Network, Strengths, Traits, ranged
from pnpkit.numerics import thresholds, total_variation
from pnpkit.numerics.wavelets import Basis

OPPONENT = ((1, 1, 1), (1, 0, -1), (1, -2, 1))  # orthogonal; the first is brightness, the others are colour
AT_ONCE = 2**18  # values that are shrunk together: all shifts of a small picture, one shift of a large one


@dataclass(frozen=True)
class IdentityConfig:
    """The parameters of ``Identity``; ``top`` is the largest noise level that it accepts (0..1 scale)."""

    top: float = 50 / 255

    def __post_init__(self) -> None:
        ranged(self, top=TOPS)


class Identity(Network):
    """D(x, sigma) = x: no prior at all."""

    def __init__(self, config: IdentityConfig):
        super().__init__()
        self.config, self.traits = config, Traits(config.top, maps=True)

    def denoise(self, x: Tensor, level: Tensor) -> Tensor:
        return x.clone()

    def certify(self) -> Certificate:
        return certificates.identity(f"{self.name}(., sigma)")


@dataclass(frozen=True)
class WaveletConfig:
    """The wavelet basis, and the number of shifts per axis that the result is averaged over (cycle spinning)."""

    wavelet: str = "db2"
    levels: int = 4
    shifts: int = 4
    knots: int = 6
    top: float = 50 / 255

    def __post_init__(self) -> None:
        ranged(self, levels=(0, 16), shifts=(1, 16), knots=(1, 1000), top=TOPS)


class Wavelet(Network):
    r"""Mean over cyclic shifts R of R^T W^T S_t W R, W an orthonormal wavelet transform of opponent colours.

    S_t is the soft threshold with t = sigma exp(table), one table for each scale and colour. With a map of strengths,
    each coefficient takes the mean over about the pixels that it represents. Coifman & Donoho (1995).
    """

    paper = "Coifman, Donoho: Translation-invariant de-noising, Wavelets and Statistics (1995) 125-150"

    def __init__(self, config: WaveletConfig, start: float = 0.0):
        super().__init__()
        rule = Strengths(2.65, 1.4, working=10 / 255, coupling=0.55)
        self.config = config
        self.traits = Traits(config.top, width=2, rule=rule, maps=True)  # measured: four copies of a colour picture
        self.basis = Basis(config.wavelet, config.levels)
        self.tables = nn.ModuleList(
            LevelTable(3, start - 0.5 * scale, config.top, config.knots) for scale in range(config.levels)
        )

    def denoise(self, x: Tensor, level: Tensor) -> Tensor:
        colours = F.normalize(torch.tensor(OPPONENT, dtype=x.dtype, device=x.device), dim=1)
        z = mix(colours, x)
        shifts = [(i, j) for i in range(self.config.shifts) for j in range(self.config.shifts)]
        total = torch.zeros_like(z)
        at_once = max(1, AT_ONCE // max(z.numel(), 1)) if level.ndim == 1 else 1
        for start in range(0, len(shifts), at_once):
            few = shifts[start : start + at_once]
            there = level if level.ndim == 1 else level.roll(few[0], (2, 3))
            shrunk = self.shrink(torch.stack([z.roll(shift, (2, 3)) for shift in few]), there)
            for (i, j), part in zip(few, shrunk, strict=True):
                total = total + part.roll((-i, -j), (2, 3))
        return mix(colours.mT, total / len(shifts))

    def shrink(self, z: Tensor, level: Tensor) -> Tensor:
        """W^T S_t W z for z (shifts, B, 3, H, W). The coarsest approximation is left unchanged."""
        coarse, details = self.basis.analyse(z)
        small = [thresholds.shrink(d, self.threshold(i // 3, level, d)) for i, d in enumerate(details)]
        return self.basis.synthesise(coarse, small)

    def threshold(self, scale: int, level: Tensor, like: Tensor) -> Tensor:
        """Return t for the details (shifts, B, 3, W', H') of a scale. ``Basis`` exchanges their last two axes."""
        seen = level if level.ndim == 1 else F.adaptive_avg_pool2d(level, (like.shape[-1], like.shape[-2])).mT
        return (spread(seen) * self.tables[scale](seen).exp()).to(like.dtype)

    def certify(self) -> Certificate:
        method = "mean of soft thresholds in orthonormal bases, each firmly nonexpansive (Moreau 1965)"
        return Certificate(f"{self.name}(., sigma)", 1.0, 0.5, Side.PROVEN, method, (EXACT,))


def mix(matrix: Tensor, x: Tensor) -> Tensor:
    """Apply a linear map to the three channels, sum by sum. Autocast would compute a product in half precision."""
    return torch.stack([sum(row[c] * x[:, c] for c in range(3)) for row in matrix], 1)


@dataclass(frozen=True)
class TotalVariationConfig:
    """``gains``: weight / sigma at equally spaced noise levels in [0, top]; ``tolerance``: see ``TotalVariation``."""

    gains: tuple[float, ...] = (0.4, 0.7, 0.95, 1.1, 1.25, 1.35)
    tolerance: float = 1e-4
    max_steps: int = 5000
    top: float = 50 / 255

    def __post_init__(self) -> None:
        ranged(self, gains=(0, 1e3), tolerance=(1e-15, 1), max_steps=(1, 1e7), top=TOPS)
        if not self.gains:
            raise InputError("gains has one number or more, got none")


class TotalVariation(Network):
    """argmin_u 1/2 ||u - x||^2 + w TV(u) with w = sigma * gain(sigma); see ``numerics.total_variation``.

    With a map of strengths each pixel has its own weight: the penalty is sum_i w_i |D u|_i, which is convex as well.
    """

    paper = (
        "Rudin, Osher, Fatemi: Nonlinear total variation based noise removal algorithms, Physica D 60 (1992) 259-268; "
        "solved by Beck, Teboulle, IEEE TIP 18(11) (2009) 2419-2434"
    )

    def __init__(self, config: TotalVariationConfig):
        super().__init__()
        rule = Strengths(2.65, 1.4, coupling=0.6)
        self.config, self.traits = config, Traits(config.top, rule=rule, error=config.tolerance, maps=True)

    def denoise(self, x: Tensor, level: Tensor) -> Tensor:
        gains = torch.tensor(self.config.gains, dtype=x.dtype, device=x.device)
        weight = level.to(x.dtype) * interpolate(gains[:, None], level.flatten(), self.top).view_as(level)
        return total_variation.proximal_map(x, weight, self.config.tolerance, self.config.max_steps)

    def certify(self) -> Certificate:
        return Certificate(
            f"{self.name}(., sigma)",
            1.0,
            0.5,
            Side.PROVEN,
            "proximal map of a convex function: firmly nonexpansive (Moreau 1965)",
            premises=(total_variation.premise(self.config.tolerance, self.config.max_steps), EXACT),
            kind=Kind.PROX,
        )
