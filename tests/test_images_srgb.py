"""Linear light: the curve of sRGB there and back, and a blur of light undone in light."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch

import pnpkit
from pnpkit.command.cli import program
from pnpkit.errors import InputError
from pnpkit.images import files, picture, srgb
from pnpkit.images.metrics import psnr
from pnpkit.restoration import simulate

KERNEL = "disk:3"


def lights(size: int = 64) -> np.ndarray:
    """A dark scene with lamps in it, in stored values: where light and what is stored differ most."""
    scene = 0.25 * skimage.data.chelsea()[100 : 100 + size, 130 : 130 + size] / 255
    for row, column in ((15, 20), (40, 45), (50, 12)):
        scene[row : row + 3, column : column + 3] = 1.0
    return scene


def test_known_values_of_the_curve() -> None:
    stored = torch.tensor([0.0, 0.04045, 0.5, 0.735357, 1.0, -0.1], dtype=torch.float64)
    expected = [0.0, 0.04045 / 12.92, 0.2140411, 0.5, 1.0, -0.1 / 12.92]
    torch.testing.assert_close(srgb.decode(stored), torch.tensor(expected, dtype=torch.float64), atol=1e-6, rtol=0)


def test_there_and_back() -> None:
    x = torch.linspace(-1, 2, 30001, dtype=torch.float64)
    away_from_the_knee = (x - srgb.KNEE).abs() > 1e-6  # the standard's constants leave a step of 1e-8 there
    torch.testing.assert_close(srgb.encode(srgb.decode(x))[away_from_the_knee], x[away_from_the_knee])
    assert bool((srgb.decode(x).diff() > 0).all())


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_every_stored_value_comes_back(dtype: type) -> None:
    top = np.iinfo(dtype).max if np.issubdtype(dtype, np.integer) else 1
    image = (np.linspace(0, 1, 65536).reshape(256, 256) * top).astype(dtype)
    run = pnpkit.denoise(image, 0.0, denoiser="identity", linear=True)
    assert run.image.dtype == dtype and run.linear
    np.testing.assert_allclose(run.image, image, atol=2e-7 if dtype == np.float32 else 0)


def test_a_flat_picture_is_blurred_to_itself_and_a_step_to_the_light_in_between() -> None:
    step = np.zeros((9, 12))
    step[:, 6:] = 1.0
    blurred = simulate.simulate(step, "box:3", boundary="unknown", linear=True)
    # columns 5 and 6 of the scene hold 1/3 and 2/3 of the light
    expected = srgb.encode(torch.tensor([1 / 3, 2 / 3], dtype=torch.float64)).numpy()
    np.testing.assert_allclose(blurred[:, 4:6], np.broadcast_to(expected, (7, 2)), atol=1e-7)
    np.testing.assert_allclose(simulate.simulate(np.full((9, 9), 0.3), "box:3", linear=True), 0.3, atol=1e-7)


def test_a_blur_of_light_is_undone_better_in_light() -> None:
    sharp = lights()
    blurred = simulate.simulate(sharp, KERNEL, 0.002, linear=True)
    frame = sharp[3:-3, 3:-3]
    as_stored, in_light = (
        pnpkit.deblur(blurred, KERNEL, denoiser="wavelet", max_steps=15, linear=linear) for linear in (False, True)
    )
    assert psnr(in_light.image, frame) > psnr(as_stored.image, frame) + 3
    assert in_light.certificate.averaged and in_light.linear and not as_stored.linear
    assert in_light.noise_level == pytest.approx(0.002, rel=0.15), "the level is that of the light"


def test_holes_and_small_pictures_in_light() -> None:
    mask = np.zeros((24, 24), bool)
    mask[10:12] = True
    image = np.round(255 * lights(24)).astype(np.uint8)
    filled = pnpkit.inpaint(image, mask, denoiser="wavelet", max_steps=2, linear=True)
    np.testing.assert_array_equal(filled.image[~mask], image[~mask])
    assert pnpkit.upscale(image, 2, denoiser="wavelet", max_steps=1, linear=True).linear


def test_the_command_keeps_alpha_and_depth_and_says_which_light(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    alpha = np.random.default_rng(0).integers(0, 65536, (24, 24)).astype(np.uint16)
    source, out = tmp_path / "a.png", tmp_path / "b.png"
    files.write(source, picture.Picture(lights(24), alpha, np.dtype(np.uint16), 0.0, 65535.0))
    words = ["deblur", source, "--kernel", "box:3", "--linear", "--denoiser", "wavelet", "--max-steps", 2, "-o", out]
    assert program.main([*map(str, words)], standalone_mode=False) == 0
    assert "in linear light" in capsys.readouterr().out
    after = files.read(out)
    assert after.dtype == np.uint16
    np.testing.assert_array_equal(after.alpha, alpha)


def test_floats_on_another_scale_have_no_light_to_go_back_to(tmp_path: Path) -> None:
    files.write(tmp_path / "a.tif", picture.Picture(lights(24), None, np.dtype(np.float32), 0.0, 4000.0))
    with pytest.raises(InputError, match="--linear undoes the sRGB curve"):
        program.main(["denoise", str(tmp_path / "a.tif"), "--linear"], standalone_mode=False)
