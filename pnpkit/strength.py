"""How strong the denoiser should be."""

from __future__ import annotations

from pnpkit.networks.base import Network

SMALLEST_STRENGTH = 0.1 / 255  # also for pictures without noise: something must regularise


def strength_for(noise_level: float, tau: float, denoiser: Network) -> float:
    """The rule of ``strength="auto"``: what the denoiser asks for, inside its range; see ``Network.strength``."""
    return float(min(max(denoiser.strength(noise_level, tau), SMALLEST_STRENGTH), denoiser.top))
