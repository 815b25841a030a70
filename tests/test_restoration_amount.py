"""Amount: the result goes that share of the way from the picture that came to the restoration, and is certified so."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import skimage.data
import torch
from test_maps import worst_ratios

import pnpkit as pk
from pnpkit import certificates, kernels
from pnpkit.command import tasks, verdict
from pnpkit.images.picture import Picture
from pnpkit.restoration.settings import Settings
from pnpkit.solvers.splittings import continuation

PIXELS = skimage.data.chelsea()[100:132, 130:170]
HOLES = np.zeros(PIXELS.shape[:2], bool)
HOLES[9:12, 9:12] = True
AMOUNTS = (0.0, 0.5, 1.0)
QUICK = {"denoiser": "wavelet", "noise_level": 0.02}
TASKS: dict[str, Callable[..., pk.Restoration]] = {
    "deblur": lambda image, **more: pk.deblur(image, "disk:1.5", tol=1e-2, **more),
    "denoise": lambda image, **more: pk.denoise(image, **more),
    "inpaint": lambda image, **more: pk.inpaint(image, HOLES, tol=1e-2, **more),
    "upscale": lambda image, **more: pk.upscale(image, 2, tol=1e-2, **more),
}


@pytest.mark.parametrize("task", TASKS)
def test_the_result_goes_from_the_input_to_the_restoration(task: str) -> None:
    runs = [TASKS[task](PIXELS, amount=amount, **QUICK) for amount in AMOUNTS]
    images = [np.asarray(run.image, float) for run in runs]
    assert np.array_equal(runs[-1].image, TASKS[task](PIXELS, **QUICK).image)
    if task != "upscale":
        assert np.array_equal(np.where(HOLES[..., None], 0, runs[0].image), np.where(HOLES[..., None], 0, PIXELS))
    whole = images[-1] - images[0]
    for amount, image in zip(AMOUNTS, images, strict=True):
        assert np.abs(image - images[0] - amount * whole).max() <= 1.01  # what rounding to integers leaves
    far = [np.linalg.norm(image - images[0]) for image in images]
    assert far == sorted(far) and far[0] == 0 and far[1] > 0
    assert all(run.certificate.averaged and run.guarantee for run in runs)


def test_the_mixed_map_is_averaged_and_has_the_mixture_for_its_fixed_point() -> None:
    y = torch.from_numpy(PIXELS / 255).permute(2, 0, 1)[None]
    D = pk.load_denoiser("wavelet").double()
    f = pk.LeastSquares(pk.blur(kernels.disk(1.5), "circular", y.shape[-2:], dtype=y.dtype), y)
    T = continuation(f, D.at, 30.0, 0.05, (0.0, 1.0))
    end = pk.solve(T, y, tol=1e-9).x
    for amount in (0.0, 0.25, 0.5, 0.75):
        mixed, x = T.mixed(amount, y), y + amount * (end - y)
        torch.testing.assert_close(mixed(x), x, atol=1e-6, rtol=0)
        assert mixed.certificate.averaged and mixed.certificate.bounded
        assert amount == 0 or mixed.certificate.averagedness == T.certificate.averagedness


@pytest.mark.parametrize("amount", AMOUNTS)
def test_no_pair_of_pictures_breaks_the_certificate_at_any_amount(amount: float) -> None:
    D = pk.load_denoiser("wavelet").double()
    mixed = D.at(0.1).mixed(amount, torch.full((1, 3, 1, 1), 0.3, dtype=torch.float64))
    lipschitz, alpha = worst_ratios(mixed, pairs=4, rounds=5)
    assert mixed.certificate.averagedness is not None
    assert lipschitz <= mixed.certificate.lipschitz + 1e-9 and alpha <= mixed.certificate.averagedness + 1e-6


@pytest.mark.parametrize("amount", (-0.1, 1.1, "half", None, True))
def test_an_amount_is_a_number_from_0_to_1(amount: object) -> None:
    with pytest.raises(pk.InputError, match="amount must be a number from 0"):
        pk.deblur(PIXELS, "disk:1.5", amount=amount, **QUICK)
    if isinstance(amount, float):
        with pytest.raises(pk.InputError, match="an amount"):
            certificates.mix(certificates.identity(), amount, "T")


def test_floats_come_back_as_they_came_at_amount_0() -> None:
    floats = (PIXELS / 255).astype(np.float32)
    run = pk.deblur(floats, "disk:1.5", amount=0, **QUICK)
    np.testing.assert_allclose(np.asarray(run.image), floats, atol=2e-7)


def test_verdict_and_explanation_say_the_amount() -> None:
    task, settings, picture = tasks.Deblur("disk:1.5", "unknown"), Settings("wavelet"), Picture(PIXELS / 255)
    for amount, words in ((1.0, "removed."), (0.4, "has 40 % (--amount 0.4)"), (0.0, "Nothing was done")):
        run = TASKS["deblur"](PIXELS / 255, amount=amount, **QUICK)
        assert words in verdict.verdict(task, settings, picture, run).done
        assert ("40 % of the way" in run.explain()) == (amount == 0.4) and run.amount == amount
