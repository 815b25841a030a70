"""The Euler denoiser: 1-Lipschitz by construction (Sherry et al., Physica D 463, 2024)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pnpkit import certificates
from pnpkit.certificates import EXACT, Certificate, Side
from pnpkit.errors import InputError
from pnpkit.layers.activations import ACTIVATIONS, Clip, Places, coarser
from pnpkit.layers.convolution import arranged
from pnpkit.layers.gradient_flow import PADDINGS, GradientFlowConv2d
from pnpkit.layers.mirrored import FLIPS, MirroredFlowConv2d
from pnpkit.layers.windows import WINDOW, Windows
from pnpkit.networks.base import TOPS, Network, Strengths, Traits, ranged
from pnpkit.networks.classical import Wavelet, WaveletConfig


@dataclass(frozen=True)
class EulerConfig:
    """The shape of an Euler network; ``top`` is the largest noise level (0..1 scale).

    Attributes:
        unshuffle: factor by which the resolution of the whole flow is reduced. With 2 the lift takes a pixel-unshuffle
            of the image, which is orthogonal (12 channels of half the size), so every step costs a quarter.
        scales: factors by which the resolution of the steps is reduced, in turn. With (1, 1, 2) every third step works
            at half resolution.
        wavelet_levels: if positive, wavelet shrinkage (``Wavelet``) is applied before and after the flow. It removes
            coarse noise, which 3 x 3 filters do not see.
        padding: what the steps see around the picture: "zero", "circular" or "mirror". With the mirror image
            (``layers.mirrored``) D commutes with flips of even sides; it needs ``unshuffle`` 2 and clip.
        overlapping: the lift takes squares of 2 x 2 pixels together with the pixels around them (``layers.windows``).
            This gives 48 channels instead of 12 and is isometric as well; it needs "mirror".
    """

    blocks: int = 10
    channels: int = 64
    hidden: int = 64
    kernel_size: int = 3
    padding: str = "zero"
    activation: str = "clip"
    knots: int = 6
    top: float = 50 / 255
    unshuffle: int = 1
    scales: tuple[int, ...] = (1,)
    wavelet_levels: int = 0
    wavelet_shifts: int = 2
    overlapping: bool = False

    def __post_init__(self) -> None:
        ranged(
            self, blocks=(1, 1000), channels=(1, 1e5), hidden=(1, 1e5), kernel_size=(1, 99), knots=(1, 1000), top=TOPS
        )
        ranged(self, unshuffle=(1, 16), scales=(1, 16), wavelet_levels=(0, 16), wavelet_shifts=(1, 64))
        if not self.kernel_size % 2 or not self.scales:
            raise InputError(f"kernel_size is odd, scales has an entry or more: {self.kernel_size}, {self.scales}")

    @property
    def unit(self) -> int:
        """The number of pixels that the sides are padded to a multiple of."""
        return self.unshuffle * math.lcm(*self.scales)


class Euler(Network):
    r"""D(x, sigma) = P phi_L(... phi_1(Q x)), with phi(x) = x - tau W^T act(W x; sigma).

    Q lifts 3 channels to 64 by adding zero channels. A pixel-unshuffle or overlapping windows come first if the config
    asks for them. Q is isometric and P = Q^T, so D is averaged if every step is (tau ||W||^2 / 2 < 1). Thresholds
    depend on sigma, never on x. With a map of strengths (B, 1, H, W) a threshold takes the mean over the pixels that
    its place represents.
    """

    paper = (
        "Sherry, Celledoni, Ehrhardt, Murari, Owren, Schoenlieb: Designing stable neural networks using convex "
        "analysis and ODEs, Physica D 463 (2024) 134159"
    )

    def __init__(self, config: EulerConfig):
        super().__init__()
        needed = Windows.channels if config.overlapping else 3 * config.unshuffle**2
        if config.channels < needed:
            lift = "overlapping windows need" if config.overlapping else f"unshuffle {config.unshuffle} needs"
            raise ValueError(f"{lift} {needed} channels or more")
        if config.padding not in (*PADDINGS, "mirror"):
            raise ValueError(f"padding must be one of {', '.join((*PADDINGS, 'mirror'))}, got {config.padding!r}")
        shape = (config.unshuffle, tuple(config.scales), config.kernel_size, config.activation)
        if config.padding == "mirror" and shape != (2, (1,), 3, "clip"):
            raise ValueError("mirrored steps are for unshuffle 2, one scale, kernels of 3 x 3 and clip")
        if config.overlapping and config.padding != "mirror":
            raise ValueError('overlapping windows are for padding "mirror"')
        self.config = config
        rule = Strengths(6.5, 5 / 3)  # by scripts/tune_strength.py
        width = -(-config.channels // config.unshuffle**2)
        self.traits = Traits(config.top, width=width, convolutional=True, rule=rule, maps=True)
        self.windows = Windows() if config.overlapping else None
        self.blocks = nn.ModuleList(self.made(number) for number in range(config.blocks))
        frame = WaveletConfig(
            levels=config.wavelet_levels, shifts=config.wavelet_shifts, knots=config.knots, top=config.top
        )
        self.frames = nn.ModuleList(Wavelet(frame, start=-4.0) for _ in range(2 if config.wavelet_levels else 0))

    def made(self, number: int) -> GradientFlowConv2d:
        """Make step ``number`` with its initial weights."""
        config = self.config
        if config.padding == "mirror":
            return MirroredFlowConv2d(
                config.channels, config.hidden, Clip(config.hidden // FLIPS, config.top, config.knots, images=FLIPS)
            )
        return GradientFlowConv2d(
            config.channels,
            config.hidden,
            config.kernel_size,
            ACTIVATIONS[config.activation](config.hidden, config.top, config.knots),
            config.padding,
            scale=config.scales[number % len(config.scales)],
        )

    def steps(self) -> list[GradientFlowConv2d]:
        """The Euler steps phi_1 ... phi_L."""
        return [block for block in self.blocks if isinstance(block, GradientFlowConv2d)]

    def denoise(self, x: Tensor, level: Tensor) -> Tensor:
        return self.flow(x, level, [None] * len(self.blocks))

    def flow(self, x: Tensor, level: Tensor, places: Iterable[Places | None]) -> Tensor:
        """D(x, level). ``places`` holds, for each step, the fields that its clip depends on, or None."""
        if self.frames:
            x = self.frames[0](x, level)
        rows, columns = x.shape[-2:]
        seen = arranged(self.lift(x))  # while the tensor is small: padding keeps the memory format
        state = F.pad(seen, (0, 0, 0, 0, 0, self.config.channels - seen.shape[1]))
        odd = (rows % self.config.unit > 0, columns % self.config.unit > 0)
        there = coarser(level, self.config.unshuffle, self.config.unit)
        for block, chosen in zip(self.steps(), places, strict=True):
            state = block(state, there, chosen, odd)
        out = self.project(state[:, : seen.shape[1]], rows, columns)
        return self.frames[1](out, level) if self.frames else out

    def lift(self, x: Tensor) -> Tensor:
        """Apply Q without its zero channels.

        The sides are padded to multiples of the unit, on the right and below. The padding is zeros, which is isometric,
        or the mirror image, which for odd sides is a copy of the last pixels.
        """
        if self.windows is not None:
            return self.windows.lift(x)
        unit = self.config.unit
        mode = "replicate" if self.config.padding == "mirror" else "constant"
        x = F.pad(x, (0, -x.shape[-1] % unit, 0, -x.shape[-2] % unit), mode=mode)
        return F.pixel_unshuffle(x, self.config.unshuffle) if self.config.unshuffle > 1 else x

    def project(self, seen: Tensor, rows: int, columns: int) -> Tensor:
        """Apply P = Q^T to the channels that Q fills."""
        if self.windows is not None:
            return self.windows.project(seen, rows, columns).contiguous()
        out = F.pixel_shuffle(seen, self.config.unshuffle) if self.config.unshuffle > 1 else seen
        return out[..., :rows, :columns].contiguous()

    def receptive_field(self) -> tuple[int, int]:
        """Return the radius and the alignment of tiles.

        A step adds twice k // 2 pixels of its scale, and squares of s x s pixels at scale s. The unshuffle adds such
        squares as well.
        """
        config = self.config
        if config.padding == "circular":
            raise InputError("circular padding wraps around the picture's border: this network cannot be tiled")
        if config.wavelet_levels:
            raise InputError("wavelet shrinkage wraps around the picture's border: this network cannot be tiled")
        steps = [config.scales[number % len(config.scales)] for number in range(config.blocks)]
        reach = sum(2 * (config.kernel_size // 2) * scale + scale - 1 for scale in steps)
        window = WINDOW if config.overlapping else config.unshuffle
        return config.unshuffle * reach + window - 1, config.unit

    def certify(self) -> Certificate:
        """Certify D by composition. The averagedness of each step is tau B^2 / 2, where B is a proven norm."""
        parts = [block.certify(f"phi_{number}") for number, block in enumerate(self.steps(), start=1)]
        for name, frame in zip(("before", "after"), self.frames, strict=False):
            assert isinstance(frame, Wavelet)
            parts.append(replace(frame.certify(), name=f"wavelet shrinkage {name}"))
        name = f"{self.name}(., sigma)"
        if not all(part.averaged for part in parts):
            bad = ", ".join(part.name for part in parts if not part.averaged)
            lipschitz = math.prod(part.lipschitz for part in parts)
            return Certificate(name, lipschitz, None, Side.PROVEN, f"{bad} not averaged", parts=tuple(parts))
        alpha = certificates.averagedness_of_composition([part.averagedness or 1.0 for part in parts])
        shape = f"P (phi_{len(self.blocks)} ... phi_1) Q"
        shape = f"shrinkage {shape} shrinkage" if self.frames else shape
        return Certificate(
            name,
            1.0,
            alpha,
            Side.PROVEN,
            f"{shape} with Q isometric and P = Q^T; composition (Combettes & Yamada 2015); "
            f"every sigma in [0, {self.top:.4g}], every image size",
            premises=(EXACT,),
            parts=tuple(parts),
        )

    @torch.no_grad()
    def secure(self, largest: float = 0.98) -> None:
        """Shrink kernels, where needed, until every step is proven to be ``largest``-averaged; used at export."""
        for block in self.steps():
            block.secure(largest)
