r"""The gradient-step denoiser: a gradient step on a potential whose value can be computed.

    D(x, sigma) = x - grad g(x),   g(x) = g(x, sigma) = 1/2 ||x - N(x, sigma)||^2

N is a small U-Net without any constraint, so g is not convex and D may expand. But g can be evaluated, and so can
F = f + g / tau. A run can therefore watch F: see ``solvers.descent``. Training learns R = x - N, and grad g = J_R^T R.
The product with the transposed Jacobian is written out layer by layer (``Link``) instead of being recorded. So D is
made of plain layers, also in training, where its derivative is taken. ELU has a Lipschitz derivative, so J_R is locally
Lipschitz in x, and so is grad g.

Hurault, Leclaire & Papadakis, Gradient step denoiser for convergent Plug-and-Play, ICLR 2022; Cohen, Blau, Freedman &
Rivlin, It has potential, NeurIPS 2021.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pnpkit import certificates
from pnpkit.certificates import Certificate
from pnpkit.errors import InputError
from pnpkit.layers.convolution import arranged, convolution
from pnpkit.networks.base import TOPS, Network, Strengths, Traits, ranged

Pull = Callable[[Tensor], Tensor]  # v -> J^T v


@dataclass(frozen=True)
class GradientStepConfig:
    """The parameters of N.

    ``stages`` are the channels at 1/2, 1/4, 1/8 ... of the resolution. Each stage has ``blocks`` pairs of convolutions
    on the way down and as many on the way up. ``top`` is the largest noise level (0..1 scale).
    """

    stages: tuple[int, ...] = (64, 96)
    blocks: int = 1
    top: float = 50 / 255

    def __post_init__(self) -> None:
        ranged(self, stages=(1, 1e4), blocks=(0, 100), top=TOPS)
        if not 1 <= len(self.stages) <= 6:
            raise InputError(f"stages has 1 to 6 entries, got {self.stages}")


class Link(nn.Module):
    """A map x -> y that also gives its transposed Jacobian at x."""

    def forward(self, x: Tensor) -> tuple[Tensor, Pull]:
        """Return y and the function v -> J(x)^T v."""
        raise NotImplementedError


class Convolution(Link):
    """A convolution with zeros around the picture. J^T is the convolution with the kernel rotated by 180 degrees."""

    def __init__(self, fan_in: int, fan_out: int, size: int, gain: float = 1.0):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(fan_out, fan_in, size, size))
        self.bias = nn.Parameter(torch.zeros(fan_out))
        nn.init.normal_(self.weight, std=gain / (fan_in * size * size) ** 0.5)

    def forward(self, x: Tensor) -> tuple[Tensor, Pull]:
        weight, reach = self.weight.to(x.dtype), self.weight.shape[-1] // 2
        turned = weight.transpose(0, 1).flip(2, 3)
        y = convolution(x, weight, self.bias.to(x.dtype), reach)
        return y, lambda v: convolution(v.to(x.dtype), turned, None, reach)


class Elu(Link):
    """ELU: z where z > 0, otherwise exp(z) - 1."""

    def forward(self, x: Tensor) -> tuple[Tensor, Pull]:
        slope = x.clamp_max(0).exp()
        return F.elu(x), lambda v: v * slope


class Finer(Link):
    """A pixel-unshuffle if ``coarser``, otherwise a pixel-shuffle, by a factor of 2. Both are orthogonal maps."""

    def __init__(self, coarser: bool):
        super().__init__()
        self.coarser = coarser

    def forward(self, x: Tensor) -> tuple[Tensor, Pull]:
        there, back = (unshuffled, shuffled) if self.coarser else (shuffled, unshuffled)
        return there(x), back


class Chain(Link):
    """Steps applied one after the other; with ``skip`` the input is added to the result."""

    def __init__(self, *steps: Link, skip: bool = False):
        super().__init__()
        self.steps, self.skip = nn.ModuleList(steps), skip

    def forward(self, x: Tensor) -> tuple[Tensor, Pull]:
        y, pulls = x, []
        for step in self.steps:
            y, pull = step(y)
            pulls.append(pull)

        def back(v: Tensor) -> Tensor:
            w = v
            for pull in reversed(pulls):
                w = pull(w)
            return v + w if self.skip else w

        return (x + y if self.skip else y), back


def unshuffled(x: Tensor) -> Tensor:
    """Turn squares of 2 x 2 pixels into channels: (B, C, H, W) -> (B, 4 C, H/2, W/2)."""
    return arranged(F.pixel_unshuffle(x, 2))


def shuffled(x: Tensor) -> Tensor:
    """Turn channels into squares of 2 x 2 pixels: (B, 4 C, H, W) -> (B, C, 2 H, 2 W)."""
    return arranged(F.pixel_shuffle(x, 2))


def pairs(channels: int, count: int) -> list[Link]:
    """Return ``count`` blocks x + W ELU(V x)."""
    return [
        Chain(Convolution(channels, channels, 3), Elu(), Convolution(channels, channels, 3, 0.5), skip=True)
        for _ in range(count)
    ]


def stage(channels: tuple[int, ...], blocks: int) -> list[Link]:
    """Return the pairs of the first stage with the coarser stages between them."""
    width = channels[0]
    if len(channels) == 1:
        return pairs(width, 2 * blocks)
    down = Convolution(4 * width, channels[1], 1)
    up = Convolution(channels[1], 4 * width, 1, 0.5)
    inner = Chain(Finer(True), down, *stage(channels[1:], blocks), up, Finer(False), skip=True)
    return [*pairs(width, blocks), inner, *pairs(width, blocks)]


class GradientStep(Network):
    """D = id - grad g, where ``energy`` computes g and grad g."""

    paper = "Hurault, Leclaire, Papadakis: Gradient step denoiser for convergent Plug-and-Play, ICLR 2022"

    def __init__(self, config: GradientStepConfig):
        super().__init__()
        self.config = config
        widest = max(width // 4 ** (number + 1) for number, width in enumerate(config.stages))
        rule = Strengths(coupling=1.05)  # docs/lab-book
        self.traits = Traits(config.top, width=max(3 * widest, 12), convolutional=True, rule=rule)
        width = config.stages[0]
        first, last = Convolution(13, width, 3), Convolution(width, 12, 3, 0.5)
        self.residual = Chain(first, *stage(tuple(config.stages), config.blocks), Elu(), last)

    def energy(self, x: Tensor, level: Tensor) -> tuple[Tensor, Tensor]:
        """Return g(x), (B,), summed in float64, and grad g(x), for x (B, 3, H, W) and levels (B,)."""
        rows, columns = x.shape[-2:]
        unit = 2 ** len(self.config.stages)
        seen = unshuffled(F.pad(x, (0, -columns % unit, 0, -rows % unit)))
        plane = (level.to(x.dtype) / self.top)[:, None, None, None].expand(-1, 1, *seen.shape[2:])
        out, pull = self.residual(arranged(torch.cat([seen, plane], 1)))
        left = shuffled(out)[..., :rows, :columns]  # R = x - N(x)
        value = 0.5 * left.flatten(1).double().square().sum(1)
        framed = unshuffled(F.pad(left, (0, -columns % unit, 0, -rows % unit)))
        return value, shuffled(pull(framed)[:, :12])[..., :rows, :columns].contiguous()

    def energy_at(self, sigma: float) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
        """Return the function x -> (g(x), grad g(x)) with D(x, sigma) = x - grad g(x).

        For grey pictures it uses g(x, x, x) / 3. Above ``top`` it uses g(c x) / c^2 with c = top / sigma.
        """
        times = max(1.0, float(sigma) / self.top)

        def known(x: Tensor) -> tuple[Tensor, Tensor]:
            level = self.levels(sigma, x) / times
            grey = x.shape[1] == 1
            value, gradient = self.energy((x.expand(-1, 3, -1, -1) if grey else x) / times, level)
            value, gradient = value * times**2, gradient.to(x.dtype) * times
            return (value / 3, gradient.mean(1, keepdim=True)) if grey else (value, gradient)

        return known

    def denoise(self, x: Tensor, level: Tensor) -> Tensor:
        return x - self.energy(x, level)[1].to(x.dtype)

    def certify(self) -> Certificate:
        """Certify nothing: nothing is proven about D itself. What holds is the theorem of a run that watches F."""
        reason = "a gradient step on a potential that is not convex may expand; a run can watch f + g / tau"
        return certificates.nothing(f"{self.name}(., sigma)", reason)
