"""DnCNN (Zhang et al., IEEE TIP 26(7), 2017) for colour, with the noise level as input: the unconstrained baseline."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pnpkit import certificates
from pnpkit.certificates import Certificate
from pnpkit.errors import InputError
from pnpkit.layers.activations import spread
from pnpkit.layers.convolution import arranged, convolution
from pnpkit.networks.base import TOPS, Network, Traits, ranged


@dataclass(frozen=True)
class DnCNNConfig:
    """The parameters of a DnCNN; ``top`` is the largest noise level (0..1 scale) it was trained on."""

    depth: int = 20
    channels: int = 64
    kernel_size: int = 3
    top: float = 50 / 255

    def __post_init__(self) -> None:
        ranged(self, depth=(2, 1000), channels=(1, 1e5), kernel_size=(1, 99), top=TOPS)
        if not self.kernel_size % 2:
            raise InputError(f"kernel_size is odd, got {self.kernel_size}")


class DnCNN(Network):
    """D(x, sigma) = x - R([x, sigma]): 20 convolutions with ReLU between them; sigma enters as a constant plane.

    There is no batch normalisation, since its statistics would couple the pictures of a batch. Nothing bounds the
    Lipschitz constant of the network.
    """

    paper = "Zhang, Zuo, Chen, Meng, Zhang: Beyond a Gaussian denoiser, IEEE TIP 26(7) (2017) 3142-3155"

    def __init__(self, config: DnCNNConfig):
        super().__init__()
        self.config = config
        self.traits = Traits(config.top, width=config.channels, convolutional=True, maps=True)
        widths = [4] + [config.channels] * (config.depth - 1) + [3]
        layers = [
            nn.Conv2d(fan_in, fan_out, config.kernel_size, padding=config.kernel_size // 2)
            for fan_in, fan_out in zip(widths[:-1], widths[1:], strict=True)
        ]
        for layer in layers:
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
        nn.init.normal_(layers[-1].weight, std=1e-3)
        self.layers = nn.ModuleList(layers)

    def denoise(self, x: Tensor, level: Tensor) -> Tensor:
        plane = spread(level.to(x.dtype)).expand(-1, 1, *x.shape[2:])
        hidden = arranged(torch.cat([x, plane], 1))
        for layer in self.layers[:-1]:
            hidden = convolve(layer, hidden).relu_()
        return x - convolve(self.layers[-1], hidden).contiguous()

    def receptive_field(self) -> tuple[int, int]:
        return self.config.depth * (self.config.kernel_size // 2), 1

    def certify(self) -> Certificate:
        """Certify nothing: neither the architecture nor the training bounds how far DnCNN expands."""
        return certificates.nothing(f"{self.name}(., sigma)", "an unconstrained network: no bound is known")


def convolve(layer: nn.Module, x: Tensor) -> Tensor:
    """Apply a convolution in the dtype of its input, float64 included, whatever dtype the weights are stored in."""
    assert isinstance(layer, nn.Conv2d) and layer.bias is not None
    return convolution(x, layer.weight.to(x.dtype), layer.bias.to(x.dtype), layer.kernel_size[0] // 2)
