"""The layers phi_1, ..., phi_L of a classifier. A config names each as (kind, numbers...)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from pnpkit.certificates import Certificate, nothing
from pnpkit.errors import InputError, UnknownName
from pnpkit.layers.activations import Rectifier
from pnpkit.layers.dense import GradientFlowDense, GradientFlowPatches
from pnpkit.layers.gradient_flow import GradientFlowConv2d
from pnpkit.robust.sampling import DisjointMaxPool, Haar, Unshuffle

Shape = tuple[int, int, int]  # channels, rows, columns


class Certifiable(Protocol):
    """The method that every block has in addition to ``forward``."""

    def certify(self, name: str) -> Certificate: ...


class Dense(nn.Module):
    """A gradient-flow step on all entries of the image."""

    def __init__(self, shape: Shape, hidden: int):
        super().__init__()
        self.step = GradientFlowDense(math.prod(shape), hidden)

    def certify(self, name: str) -> Certificate:
        """The certificate of the step."""
        return self.step.certify(name)

    def forward(self, x: Tensor) -> Tensor:
        return self.step(x.flatten(1)).view_as(x)


class Convolution(nn.Module):
    """A gradient-flow step whose W is a convolution with overlapping windows, zero padding."""

    def __init__(self, channels: int, hidden: int, size: int):
        super().__init__()
        self.step = GradientFlowConv2d(channels, hidden, size, Rectifier(hidden))

    def certify(self, name: str) -> Certificate:
        """The certificate of the step."""
        return self.step.certify(name)

    def forward(self, x: Tensor) -> Tensor:
        return self.step(x, x.new_zeros(x.shape[0]))


class Residual(nn.Module):
    """x + V relu(W x + b) with free convolutions V and W: the plain ResNet, for comparison. Nothing is proven."""

    def __init__(self, channels: int, hidden: int, size: int):
        super().__init__()
        self.into = nn.Conv2d(channels, hidden, size, padding=size // 2)
        self.back = nn.Conv2d(hidden, channels, size, padding=size // 2, bias=False)

    def certify(self, name: str) -> Certificate:
        """Claim nothing."""
        return nothing(name, "an unconstrained residual block")

    def forward(self, x: Tensor) -> Tensor:
        return x + self.back(torch.relu(self.into(x)))


def _dense(shape: Shape, hidden: int) -> tuple[nn.Module, Shape]:
    return Dense(shape, hidden), shape


def _patches(shape: Shape, size: int, hidden: int, shift: int = 0) -> tuple[nn.Module, Shape]:
    _divides(size, shape)
    return GradientFlowPatches(shape[0], size, hidden, shift), shape


def _conv(shape: Shape, hidden: int, size: int = 3) -> tuple[nn.Module, Shape]:
    return Convolution(shape[0], hidden, size), shape


def _residual(shape: Shape, hidden: int, size: int = 3) -> tuple[nn.Module, Shape]:
    return Residual(shape[0], hidden, size), shape


def _unshuffle(shape: Shape, factor: int = 2) -> tuple[nn.Module, Shape]:
    _divides(factor, shape)
    return Unshuffle(factor), (shape[0] * factor**2, shape[1] // factor, shape[2] // factor)


def _haar(shape: Shape) -> tuple[nn.Module, Shape]:
    _divides(2, shape)
    return Haar(), (4 * shape[0], shape[1] // 2, shape[2] // 2)


def _maxpool(shape: Shape, size: int = 2) -> tuple[nn.Module, Shape]:
    _divides(size, shape)
    return DisjointMaxPool(size), (shape[0], shape[1] // size, shape[2] // size)


def _divides(size: int, shape: Shape) -> None:
    if shape[1] % size or shape[2] % size:
        raise InputError(f"windows of {size} do not tile an image of {shape[1]} x {shape[2]}")


BLOCKS: dict[str, Callable[..., tuple[nn.Module, Shape]]] = {
    "dense": _dense,  # hidden
    "patches": _patches,  # size, hidden, shift
    "conv": _conv,  # hidden, kernel size
    "unshuffle": _unshuffle,  # factor
    "haar": _haar,
    "maxpool": _maxpool,  # size
    "residual": _residual,  # hidden, kernel size; unconstrained
}


def build(spec: tuple[Any, ...], shape: Shape) -> tuple[nn.Module, Shape]:
    """Build the module of ("kind", numbers...) for images of a shape, and return it with the shape of its output."""
    kind, *numbers = spec
    if kind not in BLOCKS:
        raise UnknownName("block", str(kind), BLOCKS)
    return BLOCKS[kind](shape, *numbers)
