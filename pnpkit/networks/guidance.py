r"""Guidance networks, which compute the thresholds, centres and slopes of a guided network's clips from a guide.

The input is a guide g, a data-consistent guide h (the hint) and a noise level. The network computes features at half
resolution, which all steps share. For each step, 1 x 1 convolutions (the heads) turn the features into

    m = REACH tanh(head / REACH),   c = head (with ``centres``),   logit s = head (with ``masks``)

in the form that ``layers.activations.Places`` takes. These networks are not constrained: the proof of the flow holds
for every m, c and s (``networks.guided``).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pnpkit.layers.activations import Places, coarser, spread
from pnpkit.layers.convolution import arranged
from pnpkit.networks.dncnn import convolve

REACH = 4.0  # thresholds are between exp(-4) and exp(4) times those without a guide


LEVEL_OFFSET = 2 / 255  # added to the noise level by which h - g is divided


FAR = 4.0  # limit of the absolute value of this quotient


NEAR = (-0.5, 1.5)  # range to which the guide and the hint of a U-Net are clipped


OPEN = 4.0  # the initial logit of s: s = 0.98


@dataclass(frozen=True)
class Choices:
    """The outputs of the heads: m for ``blocks`` steps of ``hidden`` filters, c if ``centres``, and s if ``masks``."""

    blocks: int
    hidden: int
    centres: bool = False
    masks: bool = False


class Guidance(nn.Module):
    """The base class of guidance networks. A subclass computes features of guide and hint; the heads are common to all.

    Attributes:
        width: channels of the features.
        largest: channels of the widest layer, per pixel of the picture.
        unit: pixels that tiles must be aligned to.
        reach: radius in pixels, in each direction, within which the features depend on guide and hint.
    """

    width: int
    largest: int
    unit: int
    reach: int

    def add_heads(self, width: int, choices: Choices) -> None:
        """Add one head for each step and output. All heads start at zero, so m = c = 0 at first."""

        def heads(wanted: bool) -> nn.ModuleList:
            count = choices.blocks if wanted else 0
            return nn.ModuleList(nn.Conv2d(width, choices.hidden, 1) for _ in range(count))

        self.width = width
        self.heads, self.centres, self.masks = heads(True), heads(choices.centres), heads(choices.masks)
        for head in (*self.heads, *self.centres, *self.masks):
            begin(head, 0.0)
        for head in self.masks:
            assert isinstance(head, nn.Conv2d) and head.bias is not None
            nn.init.constant_(head.bias, OPEN)

    @abstractmethod
    def features(self, guide: Tensor, hint: Tensor, level: Tensor) -> Tensor:
        """Compute the features (B, width, H/2, W/2), with sides rounded up.

        The guide and the hint are (B, 3, H, W); the levels are (B,) or (B, 1, H, W).
        """

    def places(self, features: Tensor) -> Iterator[Places]:
        """Yield the fields (B, hidden, H/2, W/2) of each step, one step at a time, because all of them are large."""
        for number, head in enumerate(self.heads):
            choice = bounded(convolve(head, features))
            centre = convolve(self.centres[number], features) if self.centres else None
            mask = convolve(self.masks[number], features) if self.masks else None
            yield Places(choice, centre, mask)


def bounded(x: Tensor) -> Tensor:
    """REACH tanh(x / REACH). It overwrites x if no gradient is recorded."""
    if torch.is_grad_enabled():
        return REACH * torch.tanh(x / REACH)
    return x.div_(REACH).tanh_().mul_(REACH)


class Plain(Guidance):
    """``depth`` residual convolutions at half resolution; with ``coarse`` > 0 also a branch at a quarter of it."""

    def __init__(self, top: float, choices: Choices, width: int, depth: int, coarse: int, pairs: int):
        super().__init__()
        if coarse and not depth:
            raise ValueError("the coarse branch lies between convolutions: depth must be positive")
        self.top, self.largest = top, max(-(-width // 4), -(-coarse // 16))
        self.unit = 4 if coarse else 2
        self.reach = 2 * (1 + depth) + 1 + (4 * 2 * pairs + 3 if coarse else 0)
        self.first = nn.Conv2d(25, width, 3, padding=1)
        self.middle = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(depth))
        self.add_heads(width, choices)
        self.coarse = Coarse(width, coarse, pairs) if coarse else None
        for layer in self.middle:
            begin(layer, 0.7)

    def features(self, guide: Tensor, hint: Tensor, level: Tensor) -> Tensor:
        rows, columns = guide.shape[-2:]
        seen = torch.cat([guide.clamp(0, 1), difference(guide, hint, level)], 1)
        hidden = torch.relu(convolve(self.first, squares(seen, level / self.top, self.unit)))
        for number, layer in enumerate(self.middle):
            if self.coarse is not None and number == len(self.middle) // 2:
                hidden = hidden + self.coarse(hidden)
            hidden = hidden + torch.relu(convolve(layer, hidden))
        return arranged(hidden[..., : (rows + 1) // 2, : (columns + 1) // 2])


class Coarse(nn.Module):
    """A context branch at half the resolution of its input: (B, width, H, W) with even sides -> the same shape."""

    def __init__(self, width: int, coarse: int, pairs: int):
        super().__init__()
        self.down = nn.Conv2d(4 * width, coarse, 1)
        self.layers = nn.ModuleList(nn.Conv2d(coarse, coarse, 3, padding=1) for _ in range(2 * pairs))
        self.up = nn.Conv2d(coarse, 4 * width, 1)
        begin(self.down, 1.0)
        begin(self.up, 0.0)
        for number, layer in enumerate(self.layers):
            begin(layer, 0.5 if number % 2 else 1.0)

    def forward(self, x: Tensor) -> Tensor:
        hidden = convolve(self.down, unshuffled(x))
        for first, second in zip(self.layers[::2], self.layers[1::2], strict=True):
            hidden = hidden + convolve(second, torch.relu(convolve(first, hidden)))
        return shuffled(convolve(self.up, hidden))


class UNet(Guidance):
    """Features from a U-Net (Ronneberger et al. 2015) of residual blocks at 1/2, 1/4, 1/8 ... of the resolution.

    ``widths`` are the channels of its stages, from fine to coarse. Each stage has ``residuals`` blocks on the way down
    and, except the coarsest, on the way up. Between two stages there is a pixel-unshuffle or a pixel-shuffle, and a
    1 x 1 convolution.
    """

    def __init__(self, top: float, choices: Choices, widths: tuple[int, ...], residuals: int):
        super().__init__()
        if not widths or residuals < 0:
            raise ValueError(f"a U-Net has a stage or more and residuals >= 0, got {widths} and {residuals}")
        self.top, self.unit = top, 2 ** len(widths)
        self.largest = max(-(-width // 4**stage) for stage, width in enumerate(widths, start=1))
        # A 3 x 3 convolution adds one cell of its stage; alignment to the coarsest cells adds at most unit - 1 pixels.
        passes = [2 * residuals * (2 if stage < len(widths) else 1) for stage in range(1, len(widths) + 1)]
        self.reach = 2 + sum(count * 2**stage for stage, count in enumerate(passes, start=1)) + self.unit - 1
        self.first = nn.Conv2d(37, widths[0], 3, padding=1)
        begin(self.first, 1.0)
        pairs = list(zip(widths, widths[1:], strict=False))
        self.down = nn.ModuleList(stage(width, residuals) for width in widths)
        self.up = nn.ModuleList(stage(width, residuals) for width in widths[:-1])
        self.shrink = nn.ModuleList(nn.Conv2d(4 * fine, coarse, 1) for fine, coarse in pairs)
        self.grow = nn.ModuleList(nn.Conv2d(coarse, 4 * fine, 1) for fine, coarse in pairs)
        for layer in (*self.shrink, *self.grow):
            begin(layer, 1.0)
        self.add_heads(widths[0], choices)

    def features(self, guide: Tensor, hint: Tensor, level: Tensor) -> Tensor:
        rows, columns = guide.shape[-2:]
        seen = torch.cat([guide.clamp(*NEAR), hint.clamp(*NEAR), difference(guide, hint, level)], 1)
        x = convolve(self.first, squares(seen, level / self.top, self.unit))
        kept: list[Tensor] = []
        for number, blocks in enumerate(self.down):
            x = blocks(x)
            if number < len(self.shrink):
                kept.append(x)
                x = convolve(self.shrink[number], unshuffled(x))
        for number in reversed(range(len(self.up))):
            x = self.up[number](kept.pop() + shuffled(convolve(self.grow[number], x)))
        return arranged(x[..., : (rows + 1) // 2, : (columns + 1) // 2])


def stage(width: int, residuals: int) -> nn.Sequential:
    """Make the residual blocks of one stage."""
    return nn.Sequential(*(Residual(width) for _ in range(residuals)))


class Residual(nn.Module):
    """x + b(relu(a(x))), where a and b are 3 x 3 convolutions."""

    def __init__(self, width: int):
        super().__init__()
        self.a, self.b = (nn.Conv2d(width, width, 3, padding=1) for _ in range(2))
        begin(self.a, 1.0)
        begin(self.b, 0.3)

    def forward(self, x: Tensor) -> Tensor:
        hidden = convolve(self.a, x)
        change = convolve(self.b, hidden.relu() if torch.is_grad_enabled() else hidden.relu_())
        return x + change if torch.is_grad_enabled() else change.add_(x)


def begin(layer: nn.Module, gain: float) -> None:
    """Initialise a layer with orthogonal filters times ``gain`` and no bias."""
    assert isinstance(layer, nn.Conv2d) and layer.bias is not None
    nn.init.orthogonal_(layer.weight, gain)
    nn.init.zeros_(layer.bias)


def difference(guide: Tensor, hint: Tensor, level: Tensor) -> Tensor:
    """(h - g) / (sigma + LEVEL_OFFSET), clipped to [-FAR, FAR]."""
    far = spread(level.to(guide.dtype) + LEVEL_OFFSET)
    return ((hint - guide) / far).clamp(-FAR, FAR)


def squares(seen: Tensor, relative: Tensor, unit: int) -> Tensor:
    """Pixel-unshuffle the input and add a plane of the noise level: (B, C, H, W) -> (B, 4 C + 1, H/2, W/2).

    The noise level is relative to the largest one. Its plane is constant unless the level is a map. First, the last
    pixels are repeated until the sides are multiples of ``unit``.
    """
    rows, columns = seen.shape[-2:]
    seen = F.pad(seen, (0, -columns % unit, 0, -rows % unit), mode="replicate")
    seen = F.pixel_unshuffle(seen, 2)
    plane = spread(coarser(relative.to(seen.dtype), 2, unit)).expand(-1, 1, *seen.shape[2:])
    return arranged(torch.cat([seen, plane], 1))


def unshuffled(x: Tensor) -> Tensor:
    """Turn squares of 2 x 2 pixels into channels: (B, C, H, W) -> (B, 4 C, H/2, W/2)."""
    return arranged(F.pixel_unshuffle(x, 2))


def shuffled(x: Tensor) -> Tensor:
    """Turn channels into squares of 2 x 2 pixels: (B, 4 C, H, W) -> (B, C, 2 H, 2 W)."""
    return arranged(F.pixel_shuffle(x, 2))
