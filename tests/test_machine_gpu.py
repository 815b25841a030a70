"""What runs on a GPU is what runs on the CPU: skipped where there is none; PNPKIT_TEST_DEVICE=cpu rehearses."""

from __future__ import annotations

import os
from pathlib import Path

import catalogue
import numpy as np
import pytest
import torch

import pnpkit
from pnpkit import kernels
from pnpkit.networks.half_precision import rough_denoisers
from pnpkit.networks.tiles import Tiled
from pnpkit.training import loop
from pnpkit.training.config import TrainingConfig
from pnpkit.training.objectives import ThroughDeblurring
from pnpkit.training.run import CHECKPOINT, Run

DEVICE = os.environ.get("PNPKIT_TEST_DEVICE") or ("cuda" if torch.cuda.is_available() else "")
pytestmark = pytest.mark.skipif(not DEVICE, reason="there is no GPU here")
ALLOWED = 2e-4  # TF32 is off by default; sums are ordered otherwise
SHARP = np.random.default_rng(0).random((48, 56, 3)).astype(np.float32)


@pytest.mark.parametrize("name", list(pnpkit.denoisers()))
def test_every_denoiser_gives_what_it_gives_on_the_cpu(name: str) -> None:
    x = torch.from_numpy(SHARP).permute(2, 0, 1)[None]
    here = pnpkit.load_denoiser(name)
    there = pnpkit.load_denoiser(name)
    there = there.to(DEVICE)
    with torch.no_grad():
        torch.testing.assert_close(there(x.to(DEVICE), 0.1).cpu(), here(x, 0.1), atol=ALLOWED, rtol=0)
    assert there.certificate == here.certificate, "a proof is of the weights, wherever they are"


@pytest.mark.parametrize("boundary", ["unknown", "circular"])
def test_a_restoration_is_the_same_picture_with_the_same_proof(boundary: str) -> None:
    y = pnpkit.simulate(SHARP, "motion:5,30", 0.01, boundary=boundary, seed=0).astype(np.float32)
    how = {"boundary": boundary, "noise_level": 0.01, "max_steps": 40, "precision": "float32"}
    here = pnpkit.deblur(y, "motion:5,30", device="cpu", **how)
    there = pnpkit.deblur(y, "motion:5,30", device=DEVICE, **how)
    assert np.abs(np.asarray(there.image) - np.asarray(here.image)).max() < 5e-3
    assert bool(there.guarantee) and there.certificate.averagedness == here.certificate.averagedness


def test_tiles_give_the_whole() -> None:
    network = pnpkit.load_denoiser("euler-fast").to(DEVICE)
    x = torch.rand(1, 3, 150, 170, device=DEVICE)
    with torch.no_grad():
        torch.testing.assert_close(Tiled(network, 64)(x, 0.1), network(x, 0.1), atol=ALLOWED, rtol=0)


def test_bfloat16_rounds_and_claims_nothing() -> None:
    network = pnpkit.load_denoiser("euler-fast").to(DEVICE)
    x = torch.rand(1, 3, 48, 56, device=DEVICE)
    rough = rough_denoisers(network)(0.1)
    with torch.no_grad():
        gap = float((rough(x) - network(x, 0.1)).abs().max())
    assert 0 < gap < 0.1 and not rough.certificate.proven


@pytest.mark.parametrize("guided", [False, True])
def test_training_goes_on_from_its_checkpoint(guided: bool, tmp_path: Path) -> None:
    pictures = [np.random.default_rng(n).integers(0, 256, (48, 48, 3)).astype(np.uint8) for n in range(2)]
    objective = ThroughDeblurring(denoised=16, first=1, second=1) if guided else None
    for steps in (1, 2):
        config = TrainingConfig(steps=steps, batch=2, patch=40, warmup=1)
        network = (catalogue.guided() if guided else catalogue.euler()).to(DEVICE)
        run = Run(network, config)
        if steps == 2:
            run.load(tmp_path / CHECKPOINT)
        loop.train(run, pictures, pictures[:1], tmp_path, device=DEVICE, half=True, objective=objective)
        assert run.step == steps and all(torch.isfinite(p).all() for p in network.parameters())


def test_a_kernel_is_normalised_wherever_the_picture_is() -> None:
    A = pnpkit.blur(kernels.box(3), "circular", (12, 14), device=torch.device(DEVICE))
    ones = torch.ones(1, 3, 12, 14, device=DEVICE)
    torch.testing.assert_close(A.A(ones), ones, atol=1e-5, rtol=0)
