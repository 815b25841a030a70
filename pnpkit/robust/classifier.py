r"""Classifiers N = pi ∘ phi_L ∘ ... ∘ phi_1 ∘ Q that are 1-Lipschitz in the units of the pixels (0..1), with proof.

Q subtracts a mean, divides by a deviation (which scales distances; the proof accounts for it) and appends zero channels
(an isometry). The phi are gradient-flow steps or isometries, and pi is affine. In training the layers are *steered*
towards their norms. The proof does not rely on that: it is derived afterwards from float64 norms of the weights.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

from pnpkit.certificates import EXACT, Certificate, Side, nothing
from pnpkit.errors import InputError
from pnpkit.layers.dense import GradientFlowDense
from pnpkit.layers.gradient_flow import GradientFlowConv2d
from pnpkit.layers.unit_norm import UnitNorm
from pnpkit.numerics.norms import matrix_norm_bound
from pnpkit.robust import blocks

ROUNDING = 1 + 1e-12  # factor for the float64 rounding of the norm of a vector and of a short product


@dataclass(frozen=True)
class ClassifierConfig:
    """The architecture of a classifier.

    Attributes:
        shape: channels, rows, columns of the images, whose intensities are 0..1.
        classes: number of classes.
        mean, deviation: the input normalisation, one number each; Lip(Q) = 1 / deviation.
        channels: number of channels after the lift by zeros; 0 means no lift.
        blocks: the blocks, each as (kind, numbers...); see ``blocks.BLOCKS``.
    """

    shape: tuple[int, int, int] = (1, 28, 28)
    classes: int = 10
    mean: float = 0.0
    deviation: float = 1.0
    channels: int = 0
    blocks: tuple[tuple[Any, ...], ...] = (("dense", 256),) * 4

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", tuple(self.shape))
        object.__setattr__(self, "blocks", tuple(tuple(block) for block in self.blocks))
        if self.channels and self.channels < self.shape[0]:
            raise InputError(f"a lift needs at least the image's {self.shape[0]} channels, got {self.channels}")
        if not (self.deviation > 0 and math.isfinite(self.mean) and math.isfinite(self.deviation)):
            raise InputError(f"mean and deviation must be finite, deviation positive: {self.mean}, {self.deviation}")


class UnitRows(nn.Module):
    """w_k / ||w_k|| for every row: a parametrization of the head in training."""

    def forward(self, matrix: Tensor) -> Tensor:
        return F.normalize(matrix, dim=1)

    def right_inverse(self, matrix: Tensor) -> Tensor:
        return matrix


class Classifier(nn.Module):
    """The classifier N. It maps images (B, C, H, W) with intensities 0..1 to logits (B, K)."""

    def __init__(self, config: ClassifierConfig):
        super().__init__()
        self.config = config
        self.name = "N"
        channels, rows, columns = config.shape
        shape: blocks.Shape = (config.channels or channels, rows, columns)
        layers = []
        for spec in config.blocks:
            layer, shape = blocks.build(spec, shape)
            layers.append(layer)
        self.layers = nn.ModuleList(layers)
        self.head = nn.Linear(math.prod(shape), config.classes)
        with torch.no_grad():
            self.head.weight.copy_(F.normalize(torch.randn_like(self.head.weight), dim=1))
            self.head.bias.zero_()

    def features(self, x: Tensor) -> Tensor:
        """phi_L(... phi_1(Q x)), flattened."""
        config = self.config
        if x.ndim != 4 or tuple(x.shape[1:]) != config.shape or not x.is_floating_point():
            raise InputError(f"expected floats of shape (B, {config.shape}), got {x.dtype} {tuple(x.shape)}")
        x = (x - config.mean) / config.deviation
        if config.channels:
            x = F.pad(x, (0, 0, 0, 0, 0, config.channels - config.shape[0]))
        for layer in self.layers:
            x = layer(x)
        return x.flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))

    def certify_features(self) -> Certificate:
        """Certify phi_L ∘ ... ∘ phi_1 ∘ Q, with distances in the units of pixels (0..1)."""
        gain = 1.0 if self.config.deviation == 1 else ROUNDING / self.config.deviation
        lift = Certificate("Q", gain, None, Side.PROVEN, "affine: (x - mean) / deviation, zero channels appended")
        layers = cast(Iterable[blocks.Certifiable], self.layers)
        parts = [lift, *(layer.certify(f"phi_{n}") for n, layer in enumerate(layers, start=1))]
        bad = ", ".join(part.name for part in parts if part.side is not Side.PROVEN)
        if bad:
            return nothing("features", f"nothing is proven about {bad}", parts)
        lipschitz = math.prod(part.lipschitz for part in parts)
        return Certificate("features", lipschitz, None, Side.PROVEN, "product over the layers", parts=tuple(parts))

    def certify(self) -> Certificate:
        """Certify N, from pixels to logits."""
        features = self.certify_features()
        norm = matrix_norm_bound(self.head.weight)
        head = Certificate("pi", norm, None, Side.PROVEN, "affine, norm by SVD in float64")
        if features.side is not Side.PROVEN:
            return nothing(self.name, features.method, (head, features))
        return Certificate(
            self.name,
            features.lipschitz * norm * ROUNDING,
            None,
            Side.PROVEN,
            f"pi phi_{len(self.layers)} ... phi_1 Q; pixels in 0..1 to logits, normalisation counted",
            premises=(EXACT,),
            parts=(head, *features.parts),
        )

    def gaps(self) -> Tensor:
        """Return the proven Lipschitz constants Lip(features) ||w_i - w_j|| of f_i - f_j, (K, K) float64.

        They are inf if nothing is proven.
        """
        rows = self.head.weight.detach().to("cpu", torch.float64)
        distances = torch.linalg.vector_norm(rows[:, None] - rows[None], dim=2)
        lipschitz = self.certify_features().lipschitz
        if math.isinf(lipschitz):
            return torch.full_like(distances, math.inf)
        return (distances * (lipschitz * ROUNDING)).fill_diagonal_(1)  # the diagonal is never used; 1 divides safely


def steer(classifier: Classifier, dense: str = "orthonormal") -> None:
    """Keep rows of dense steps orthonormal in training, and norms of convolutions and of the head's rows at 1.

    ``dense`` is a name of ``layers.dense.STEERINGS``.
    """
    for module in list(classifier.modules()):
        if isinstance(module, GradientFlowDense):
            module.steer(dense)
        elif isinstance(module, GradientFlowConv2d):
            parametrize.register_parametrization(module, "kernel", UnitNorm())
    if classifier.certify_features().side is Side.PROVEN:
        parametrize.register_parametrization(classifier.head, "weight", UnitRows())


def release(classifier: Classifier) -> None:
    """Make the steered weights plain ones again."""
    for module in list(classifier.modules()):
        if isinstance(module, GradientFlowDense):
            module.release()
        elif isinstance(module, GradientFlowConv2d):
            parametrize.remove_parametrizations(module, "kernel")
    if parametrize.is_parametrized(classifier.head):
        parametrize.remove_parametrizations(classifier.head, "weight")


@torch.no_grad()
def round_to_half(classifier: Classifier) -> None:
    """Round the matrices of dense steps to float16, which halves their files. Call ``secure`` afterwards."""
    for module in classifier.modules():
        if isinstance(module, GradientFlowDense):
            module.weight.copy_(module.weight.half())


@torch.no_grad()
def secure(classifier: Classifier) -> None:
    """Lower step sizes or norms by about the rounding error until each layer is proven; then scale the logits.

    The logits are scaled until N is proven. Scaling all logits changes neither predictions nor radii. An unconstrained
    classifier is not changed.
    """
    for module in classifier.modules():
        if isinstance(module, (GradientFlowDense, GradientFlowConv2d)):
            module.secure()
    lipschitz = classifier.certify().lipschitz
    if math.isfinite(lipschitz):
        for parameter in classifier.head.parameters():
            parameter.mul_((1 - 1e-6) / lipschitz)
