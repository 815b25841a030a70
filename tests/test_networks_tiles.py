"""Tiles give what the whole gives, at any size and scale; memory bounds are kept or refused."""

from __future__ import annotations

import math
import os

import pytest
import torch

from pnpkit.errors import InputError
from pnpkit.machine import memory as machine_memory
from pnpkit.networks.base import Network
from pnpkit.networks.classical import Wavelet, WaveletConfig
from pnpkit.networks.dncnn import DnCNN, DnCNNConfig
from pnpkit.networks.euler import Euler, EulerConfig
from pnpkit.networks.guidance import Plain
from pnpkit.networks.guided import Given, GuidedConfig, GuidedEuler
from pnpkit.networks.tiles import IMAGES, SMALLEST, Tiled, within_memory
from pnpkit.restoration import deblur, plan
from pnpkit.solvers import iterations
from pnpkit.solvers.iterations import Anderson, Picard

NETWORKS = {
    "euler": lambda: Euler(EulerConfig(blocks=3, channels=8, hidden=8)),
    "euler, 5 x 5": lambda: Euler(EulerConfig(blocks=2, channels=6, hidden=8, kernel_size=5)),
    "euler, two scales": lambda: Euler(EulerConfig(blocks=4, channels=8, hidden=8, scales=(1, 2))),
    "euler, unshuffled": lambda: Euler(EulerConfig(blocks=3, channels=16, hidden=8, unshuffle=2, scales=(1, 2))),
    "euler, mirrored": lambda: Euler(EulerConfig(blocks=3, channels=16, hidden=8, unshuffle=2, padding="mirror")),
    "euler, overlapping windows": lambda: Euler(
        EulerConfig(blocks=3, channels=48, hidden=8, unshuffle=2, padding="mirror", overlapping=True)
    ),
    "euler, three scales": lambda: Euler(EulerConfig(blocks=3, channels=6, hidden=6, scales=(1, 2, 3))),
    "dncnn": lambda: DnCNN(DnCNNConfig(depth=5, channels=8)),
    "guided": lambda: GuidedEuler(GuidedConfig(blocks=2, channels=12, hidden=8, width=8, depth=2, coarse=0)),
    "guided from afar": lambda: GuidedEuler(
        GuidedConfig(blocks=2, channels=12, hidden=8, width=8, depth=2, coarse=8, pairs=1)
    ),
    "guided by a U-Net": lambda: GuidedEuler(
        GuidedConfig(blocks=2, channels=12, hidden=8, unet=(8, 8, 8), residuals=1, centres=True, masks=True)
    ),
    "guided by a U-Net, overlapping": lambda: GuidedEuler(
        GuidedConfig(blocks=2, channels=48, hidden=8, unet=(8, 12), residuals=2, centres=True, overlapping=True)
    ),
}


def make(name: str) -> Network:
    torch.manual_seed(0)
    network = NETWORKS[name]().double()
    for parameter in network.parameters():  # the last layer of a new DnCNN is nearly zero: let it matter
        if parameter.ndim == 4 and isinstance(network, DnCNN):
            torch.nn.init.normal_(parameter, std=0.15)
    if isinstance(network, GuidedEuler):
        guidance = network.guidance
        for head in (*guidance.heads, *guidance.centres, *guidance.masks):
            torch.nn.init.normal_(head.weight, std=0.5)
        if isinstance(guidance, Plain) and guidance.coarse is not None:
            torch.nn.init.normal_(guidance.coarse.up.weight, std=0.3)
    return network


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("size", [(71, 90), (32, 33), (5, 131), (1, 70)])
@torch.no_grad()
def test_tiles_equal_the_whole(name: str, size: tuple[int, int]) -> None:
    network = make(name)
    tiled = Tiled(network, SMALLEST)
    for channels in (1, 3):
        x = torch.rand(2, channels, *size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        level = torch.tensor([0.05, 0.15], dtype=torch.float64)
        whole = network(x, level)
        assert float((whole - x).abs().max()) > 1e-4, "a network that does nothing would pass any test"
        torch.testing.assert_close(tiled(x, level), whole, atol=1e-12, rtol=0)
    assert tiled.certificate == network.certificate


@pytest.mark.parametrize("name", [name for name in NETWORKS if "guided" in name])
@pytest.mark.parametrize("size", [(71, 90), (33, 131)])
@torch.no_grad()
def test_tiles_cut_a_guide_as_they_cut_the_picture(name: str, size: tuple[int, int]) -> None:
    network = make(name)
    assert isinstance(network, GuidedEuler)
    look, generator = network.looks()[1], torch.Generator().manual_seed(1)
    x, guide, hint = (torch.rand(2, 3, *size, generator=generator, dtype=torch.float64) for _ in range(3))
    whole = Given(look, guide, hint)(x, 0.1)
    for other in ((guide.flip(0), hint), (guide, hint.flip(0))):
        assert float((whole - Given(look, *other)(x, 0.1)).abs().max()) > 1e-4, "guide and hint must matter"
    torch.testing.assert_close(Given(Tiled(look, SMALLEST), guide, hint)(x, 0.1), whole, atol=1e-12, rtol=0)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_receptive_field_is_no_smaller_than_what_gradients_reach(name: str) -> None:
    network, (reach, _) = make(name), make(name).receptive_field()
    x = torch.rand(1, 3, 97, 97, generator=torch.Generator().manual_seed(2), dtype=torch.float64, requires_grad=True)
    for row, column in ((48, 48), (49, 47)):
        (gradient,) = torch.autograd.grad(network(x, 0.1)[0, :, row, column].sum(), x)
        rows, columns = torch.nonzero(gradient[0].abs().sum(0), as_tuple=True)
        farthest = max(int((rows - row).abs().max()), int((columns - column).abs().max()))
        assert 0 < farthest <= reach


def test_memory_decides() -> None:
    network = make("euler")
    assert within_memory(network, (1, 3, 60, 60), 2**30, 12) is network
    tiled = within_memory(network, (1, 3, 3000, 3000), 3.0 * 2**30, 12)
    assert isinstance(tiled, Tiled) and SMALLEST <= tiled.side < 3000
    with pytest.raises(InputError, match="GiB of memory, allowed are 0.1"):
        within_memory(network, (1, 3, 3000, 3000), 0.1 * 2**30, 12)
    with pytest.raises(InputError, match="circular padding"):
        Euler(EulerConfig(blocks=1, channels=4, hidden=4, padding="circular")).receptive_field()


def test_a_run_in_tiles_is_the_same_run() -> None:
    import numpy as np

    image = np.random.default_rng(0).random((90, 80, 3))
    network = NETWORKS["euler"]()
    assert isinstance(within_memory(network, (1, 3, 92, 82), 0.0031 * 2**30, 12), Tiled)
    whole, tiled = (
        deblur.deblur(image, "box:3", denoiser=network, noise_level=0.05, max_steps=3, max_memory=memory)
        for memory in (1.0, 0.0031)
    )
    np.testing.assert_allclose(whole.image, tiled.image, atol=1e-5)
    assert tiled.guarantee == whole.guarantee
    with pytest.raises(InputError, match="max_memory"):
        deblur.deblur(image, "box:3", denoiser=network, max_memory=-1.0)


def test_half_of_the_machine_is_allowed_and_a_system_that_does_not_tell_sets_no_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert 2**28 < machine_memory.allowed(None) == machine_memory.machine_memory() / 2 < math.inf
    assert machine_memory.allowed(1.5) == 1.5 * 2**30
    monkeypatch.delattr(os, "sysconf")
    assert machine_memory.allowed(None) == math.inf


def test_less_memory_shortens_the_past_and_says_so() -> None:
    network, copy = make("euler").float(), 4 * 3 * 400 * 400
    shape, allowed = (1, 3, 400, 400), (IMAGES + 12 + 24) * copy
    whole, same = plan.affordable(Anderson(), network, shape, allowed, 4)
    assert whole == Anderson() and same is network
    short, tiled = plan.affordable(Anderson(), network, shape, (IMAGES + 6) * copy, 4)
    assert isinstance(short, Anderson) and short.depth == 1 and isinstance(tiled, Tiled)
    assert plan.affordable(Picard(), network, shape, (IMAGES + 3) * copy, 4)[0] == Picard()
    with pytest.raises(InputError, match="method=picard. needs the least"):
        plan.affordable(Anderson(), network, shape, (IMAGES + 1) * copy, 4)
    with pytest.raises(InputError, match="cannot be tiled; whole, it needs about"):
        plan.affordable(Picard(), Wavelet(WaveletConfig()), shape, (IMAGES + 2) * copy, 4)
    image = torch.rand(1, 3, 80, 80, generator=torch.Generator().manual_seed(0))
    run = deblur.deblur(image, "box:3", denoiser=network, noise_level=0.05, max_steps=2, max_memory=2e6 / 2**30)
    assert "looks back 1 steps only" in run.kernel_note


def test_extrapolation_part_by_part_is_that_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(3)
    pairs = [
        tuple(torch.randn(2, 3, 9, 11, generator=generator, dtype=torch.float64) for _ in range(4)) for _ in range(2)
    ]
    whole = iterations.extrapolate(*pairs)
    monkeypatch.setattr(iterations, "PART", 50)
    torch.testing.assert_close(iterations.extrapolate(*pairs), whole, atol=1e-10, rtol=0)
