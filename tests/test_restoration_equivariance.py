"""Restoring a y + b gives a x + b, a batch gives what its pictures give alone, grey gives what equal channels give."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import catalogue
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

import pnpkit as pk

SIZE = (16, 20)
DENOISERS = sorted(pk.denoisers())
CHEAP = {name: catalogue.NETWORKS[name]() for name in ("wavelet", "guided", "dncnn")}  # for what all of them share


def scene(seed: int = 0, channels: int = 3) -> np.ndarray:
    """Blobs between 0.2 and 0.8, float64: no value near the ends of 0..1."""
    rng = np.random.default_rng(seed)
    planes = [gaussian_filter((rng.random(SIZE) > 0.6).astype(float), 1.0) for _ in range(channels)]
    return np.stack([(plane > 0.4) * 0.5 + 0.2 + 0.1 * plane for plane in planes], -1)


MASK = np.zeros(SIZE, bool)
MASK[5:8, 3:14] = True
TASKS: dict[str, Callable[..., Any]] = {
    "deblur": lambda y, **more: pk.deblur(y, "gaussian:1.2", **more),
    "deblur, circular": lambda y, **more: pk.deblur(y, "motion:5,30", boundary="circular", **more),
    "denoise": lambda y, **more: pk.denoise(y, **{k: v for k, v in more.items() if k not in ("max_steps", "tol")}),
    "inpaint": lambda y, **more: pk.inpaint(y, MASK, **more),
    "upscale": lambda y, **more: pk.upscale(y, 2, **more),
}
FEW: dict[str, Any] = {"max_steps": 2, "precision": "float64"}


def noisy(seed: int = 0, channels: int = 3) -> np.ndarray:
    x = scene(seed, channels)
    return x + 0.02 * np.random.default_rng(seed + 50).standard_normal(x.shape)


def commutes(task: str, denoiser: Any, *pairs: tuple[float, float]) -> None:
    """The box goes with the data; that its default does, too, is below."""
    y = noisy()
    plain = np.asarray(TASKS[task](y, denoiser=denoiser, limits=(0, 1), **FEW).image)
    for gain, offset in pairs:
        box = (offset, offset + gain)
        run = TASKS[task](gain * y + offset, denoiser=denoiser, limits=box, **FEW)
        np.testing.assert_allclose((np.asarray(run.image) - offset) / gain, plain, atol=2e-5)
        assert run.image.dtype == y.dtype


@pytest.mark.parametrize("denoiser", ["guided", "wavelet"])
@pytest.mark.parametrize("task", TASKS)
def test_every_task_commutes_with_gain_and_offset(task: str, denoiser: str) -> None:
    commutes(task, CHEAP[denoiser], (1e-6, 0.0), (1e6, 0.0), (1e-4, 5.0))


@pytest.mark.parametrize("denoiser", DENOISERS)
def test_every_denoiser_commutes_with_gain_and_offset(denoiser: str) -> None:
    commutes("deblur", denoiser, (1e-4, 5.0))


@given(exponent=st.floats(-6, 6), offset=st.floats(-10, 10), level=st.floats(0.005, 0.05))
@settings(max_examples=10, deadline=None)
def test_levels_that_are_given_are_in_the_units_of_the_array(exponent: float, offset: float, level: float) -> None:
    gain, y = 10.0**exponent, noisy(1)
    how: dict[str, Any] = {"denoiser": CHEAP["wavelet"], **FEW}
    plain = TASKS["deblur"](y, noise_level=level, strength=2 * level, limits=(0, 1), **how)
    box = (gain * offset, gain * (1 + offset))
    run = TASKS["deblur"](gain * (y + offset), noise_level=gain * level, strength=2 * gain * level, limits=box, **how)
    np.testing.assert_allclose(np.asarray(run.image) / gain - offset, np.asarray(plain.image), atol=2e-5)
    assert run.noise_level == pytest.approx(gain * level) and run.strength == pytest.approx(2 * gain * level)


@pytest.mark.parametrize("task", TASKS)
def test_integers_commute_with_gain_and_offset_up_to_the_rounding_of_the_result(task: str) -> None:
    y = noisy(2)
    few = np.rint(1000 * y + 98).astype(np.uint16)
    many = (25 * few.astype(int) + 7).astype(np.uint16)
    a, b = (np.asarray(TASKS[task](z, denoiser=CHEAP["wavelet"], max_steps=3).image, float) for z in (few, many))
    assert np.abs((b - 7) / 25 - a).max() <= 0.55


@pytest.mark.parametrize("denoiser", ["guided", "wavelet"])
@pytest.mark.parametrize("task", TASKS)
def test_a_batch_gives_what_its_pictures_give_alone(task: str, denoiser: str) -> None:
    """Other noise, other range, another blur in each."""
    pictures = [noisy(3), 5 * scene(4) + 0.3 * np.random.default_rng(4).standard_normal((*SIZE, 3)), 0.01 * scene(5)]
    stack = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)
    together = TASKS[task](stack, denoiser=CHEAP[denoiser], **FEW)
    assert together.image.shape[0] == len(pictures)
    for index, one in enumerate(stack):
        alone = TASKS[task](one[None], denoiser=CHEAP[denoiser], **FEW)
        torch.testing.assert_close(together.image[index : index + 1], alone.image, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("denoiser", ["guided", "dncnn"])
@pytest.mark.parametrize("task", TASKS)
def test_a_grey_picture_gives_what_its_three_equal_channels_give(task: str, denoiser: str) -> None:
    grey = noisy(6, 1)[..., 0]
    colour = np.repeat(grey[..., None], 3, -1)
    one, three = (np.asarray(TASKS[task](z, denoiser=CHEAP[denoiser], **FEW).image) for z in (grey, colour))
    assert three.shape == (*one.shape, 3)
    np.testing.assert_allclose(three, np.repeat(one[..., None], 3, -1), atol=1e-12)


def test_each_picture_of_a_batch_has_its_own_blur() -> None:
    x = scene(7, 1)[..., 0].repeat(4, 0).repeat(4, 1)
    pictures = [pk.simulate(x, spec, 0.003, boundary="circular") for spec in ("gaussian:2", "motion:11,0")]
    stack = torch.from_numpy(np.stack(pictures))[:, None]
    together = pk.deblur(stack, "auto", denoiser=CHEAP["wavelet"], max_steps=2)
    for index in range(2):
        alone = pk.deblur(stack[index : index + 1], "auto", denoiser=CHEAP["wavelet"], max_steps=2)
        torch.testing.assert_close(together.image[index], alone.image[0], atol=1e-6, rtol=0)


def test_data_of_every_size_gain_alike_and_nothing_is_cut() -> None:
    x = scene(8)
    y = pk.simulate(x, "gaussian:1.2", 0.01, boundary="circular")

    def error(a: np.ndarray) -> float:
        return float(np.sqrt(np.mean((np.asarray(a) - x) ** 2)))

    errors = []
    for size in (1.0, 0.01, 1e-5, 1e-30, 1e5):
        run = pk.deblur(size * y, "gaussian:1.2", boundary="circular", denoiser="euler-fast", max_steps=8)
        errors.append(error(np.asarray(run.image) / size))
    assert max(errors) < error(y) and max(errors) - min(errors) < 1e-3, errors  # the boxes differ
    assert np.asarray(pk.upscale(3 * y, 2, denoiser=CHEAP["wavelet"], max_steps=20).image).max() > 2
