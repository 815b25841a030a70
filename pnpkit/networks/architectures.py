"""The table of architectures, by name. Denoisers, which have weights too, are in ``pnpkit.registry``."""

from __future__ import annotations

from typing import Any

from pnpkit.errors import UnknownName
from pnpkit.networks.base import Network
from pnpkit.networks.classical import (
    Identity,
    IdentityConfig,
    TotalVariation,
    TotalVariationConfig,
    Wavelet,
    WaveletConfig,
)
from pnpkit.networks.dncnn import DnCNN, DnCNNConfig
from pnpkit.networks.euler import Euler, EulerConfig
from pnpkit.networks.gradient_step import GradientStep, GradientStepConfig
from pnpkit.networks.guided import GuidedConfig, GuidedEuler
from pnpkit.networks.ridge import Ridge, RidgeConfig

NETWORKS: dict[str, tuple[Any, Any]] = {
    "euler": (Euler, EulerConfig),
    "guided": (GuidedEuler, GuidedConfig),
    "dncnn": (DnCNN, DnCNNConfig),
    "gradient-step": (GradientStep, GradientStepConfig),
    "ridge": (Ridge, RidgeConfig),
    "identity": (Identity, IdentityConfig),
    "total-variation": (TotalVariation, TotalVariationConfig),
    "wavelet": (Wavelet, WaveletConfig),
}


def build(architecture: str, arguments: dict[str, Any]) -> Network:
    """Build the network of this name, with these fields of its config and with initial weights."""
    if architecture not in NETWORKS:
        raise UnknownName("architecture", architecture, NETWORKS)
    network, config = NETWORKS[architecture]
    built: Network = network(config(**arguments))
    return built
