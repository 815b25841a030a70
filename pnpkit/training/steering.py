"""Parameter groups of the optimiser, and parametrizations that keep norms near one during training."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from pnpkit.layers.activations import Clip, LevelTable, clip, clip_at
from pnpkit.layers.gradient_flow import GradientFlowConv2d
from pnpkit.layers.mirrored import MirroredFlowConv2d, orbit
from pnpkit.layers.unit_norm import UnitNorm
from pnpkit.layers.windows import Windows
from pnpkit.training.config import TrainingConfig

FEATURES = 16  # least number of channels in and out of a kernel that maps features to features


def parameter_groups(network: nn.Module, config: TrainingConfig) -> list[dict]:
    """Return the parameter groups of the optimiser.

    They are tables, step sizes and windows, which learn faster; other weights; and, with ``kernel_rate``, kernels that
    are trained by Muon.
    """
    fast: list[Tensor] = []
    for module in network.modules():
        if isinstance(module, LevelTable):
            fast.append(module.values)
        if isinstance(module, GradientFlowConv2d):
            fast.append(module.raw_step)
        if isinstance(module, Windows):
            fast.append(module.angle)
    identities = {id(p) for p in fast}
    slow = [p for p in network.parameters() if id(p) not in identities and p.requires_grad]
    inner = [p for p in slow if config.kernel_rate and p.ndim == 4 and min(p.shape[:2]) >= FEATURES]
    identities = {id(p) for p in inner}
    mirrored = [module for module in network.modules() if isinstance(module, MirroredFlowConv2d)]
    images = {id(p) for module in mirrored for p in module.parameters()}
    plain, orbits = ([p for p in inner if (id(p) in images) is wanted] for wanted in (False, True))
    groups = [
        {"params": [p for p in slow if id(p) not in identities], "scale": 1.0},
        {"params": fast, "scale": config.table_rate},
        {"params": plain, "scale": config.kernel_rate, "orthogonal": True},
        {"params": orbits, "scale": config.kernel_rate, "orthogonal": True, "spread": orbit},
    ]
    return [group for group in groups if group["params"]]


def steer_norms(network: nn.Module) -> None:
    """Keep every gradient-flow kernel near unit norm in training, by an estimate. The proof is made at export."""
    for module in network.modules():
        if isinstance(module, GradientFlowConv2d) and module.kernel.requires_grad:
            parametrize.register_parametrization(module, "kernel", UnitNorm(filters=module.spread))


def release_norms(network: nn.Module) -> None:
    """Make the steered kernels plain weights again."""
    for module in network.modules():
        if isinstance(module, GradientFlowConv2d) and parametrize.is_parametrized(module):
            parametrize.remove_parametrizations(module, "kernel")


def refresh_norms(network: nn.Module, iterations: int = 20) -> None:
    """Estimate the norms again after weights were replaced."""
    for module in network.modules():
        if isinstance(module, parametrize.ParametrizationList):
            assert isinstance(module[0], UnitNorm) and isinstance(module.original, Tensor)
            module[0].refresh(module.original, iterations)


def steerings(network: nn.Module) -> list[UnitNorm]:
    """Return the parametrizations that keep kernels near unit norm, in the order of the layers."""
    return [module for module in network.modules() if isinstance(module, UnitNorm)]


def compile_activations(network: nn.Module) -> None:
    """Compile clip with its gradient into one kernel: about twice the training speed on a CPU."""
    fused, fused_at = torch.compile(clip, dynamic=False), torch.compile(clip_at, dynamic=False)
    for module in network.modules():
        if isinstance(module, Clip):
            module.kernel, module.kernel_at = fused, fused_at
