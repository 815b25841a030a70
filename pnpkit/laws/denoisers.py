"""Audits of denoisers, which search for pairs of pictures that contradict a certificate."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from pnpkit.images import pixels
from pnpkit.laws.maps import Audit, audit
from pnpkit.networks.guided import Given
from pnpkit.registry import load_denoiser


def audit_denoiser(name: str, *, rounds: int = 12, seed: int = 0, size: int = 32) -> Iterator[tuple[float, Audit]]:
    """Search for pairs that contradict the certificate of a denoiser, at three noise levels, in float64.

    The levels are a small one, a middle one and the largest. The search starts at two clean photographs, the same
    photographs with noise, a black picture and uniform noise. Each has ``size`` pixels a side. A guided denoiser gets
    the results of its first pass as guides, and these points as hints.
    """
    import skimage.data

    network = load_denoiser(name)
    clean = [skimage.data.chelsea()[100:, 120:], skimage.data.astronaut()[20:, 200:]]
    photographs = torch.cat([pixels.to_tensor(p[:size, :size] / 255).double() for p in clean])
    generator = torch.Generator().manual_seed(seed)
    for level in (5 / 255, 25 / 255, network.top):
        noise = torch.randn(photographs.shape, generator=generator, dtype=torch.float64)
        uniform = torch.rand(photographs[:1].shape, generator=generator, dtype=torch.float64)
        points = torch.cat([photographs, photographs + level * noise, torch.zeros_like(uniform), uniform])
        map, (first, second) = network.at(level), network.looks()
        if second is not None:
            with torch.no_grad():
                map = Given(second, first(points, level), points).at(level)
        yield level, audit(map, map.certificate, points, rounds=rounds, seed=seed)
