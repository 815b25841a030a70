"""Data that are no photograph in 0..1: 12-bit cameras, clipped backgrounds, stars."""

from __future__ import annotations

from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import pytest
import tifffile
from scipy.ndimage import gaussian_filter

import pnpkit as pk
from pnpkit import kernels
from pnpkit.images.noise import clipped_noise, estimate_noise


def cells() -> np.ndarray:
    """Blobs of 0.2 and 0.8."""
    x = gaussian_filter((np.random.default_rng(0).random((64, 64)) > 0.6).astype(float), 1.0)
    return np.where(x > 0.4, 0.8, 0.2)


def test_a_12_bit_picture_in_a_16_bit_file_gains(cli, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    truth = 1000 * cells() + 98
    noise = 8 * np.random.default_rng(1).standard_normal(truth.shape)
    blurred = np.rint(gaussian_filter(truth, 1.5) + noise).astype(np.uint16)
    tifffile.imwrite(tmp_path / "t.tif", blurred)
    code, _, _ = cli("deblur", tmp_path / "t.tif", "--kernel", "gaussian:1.5", "--denoiser", "euler-fast")
    out = tifffile.imread(tmp_path / "t-deblurred.tif")
    assert code == 0 and out.dtype == np.uint16

    def error(picture: np.ndarray) -> float:
        return float(20 * np.log10(np.std(picture - truth)))

    assert error(out) < error(blurred) - 3


@pytest.mark.parametrize("cut", [0.03, 0.06, 0.075])
def test_a_background_cut_off_at_its_least_value_does_not_hide_the_noise(cut: float) -> None:
    rng, x = np.random.default_rng(0), np.zeros((160, 160))
    for row, column in rng.integers(5, 150, (20, 2)):
        x[row : row + 6, column : column + 6] = 0.6
    noisy = gaussian_filter(x, 1.5) + 0.05 * rng.standard_normal(x.shape)
    clipped = np.clip(noisy - cut, 0, 1)
    assert np.mean(clipped == 0) > 0.6
    assert estimate_noise(clipped) == pytest.approx(0.05, rel=0.25)


def test_structure_on_an_even_ground_is_no_noise() -> None:
    drawn = np.zeros((80, 90))
    drawn[10:70:6, 5:85] = 1.0
    assert clipped_noise(drawn, np.ones(drawn.shape, bool)) is None


def test_stars_get_no_dark_rings() -> None:
    rng = np.random.default_rng(2)
    sky = np.full((64, 64), 60.0)
    for row, column in rng.integers(8, 56, (8, 2)):
        sky[row, column] += 20000 * rng.random()
    seen = gaussian_filter(sky, 1.6) + 8 * rng.standard_normal(sky.shape)
    out = np.asarray(pk.deblur(seen, "gaussian:1.6", denoiser="euler-fast").image)
    assert out.min() >= seen.min() - 1e-6, "a ring may not be darker than the darkest reading"
    assert out.max() > 2 * seen.max(), "a star becomes higher than its blur"
    assert np.median(out) == pytest.approx(60, abs=4)


def test_a_flat_kernel_is_a_box_and_has_no_background() -> None:
    assert kernels.doubts(np.full((5, 5), 1 / 25)) == ""
    with_background = kernels.gaussian(0.8).copy() + 0.01
    assert "background" in kernels.doubts(with_background / with_background.sum())


def test_a_colour_that_alpha_hides_does_not_leak(cli, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """A white disc; outside of it black, fully transparent."""
    rows, columns = np.mgrid[:48, :48]
    disc = np.hypot(rows - 24, columns - 24) < 15
    rgba = np.dstack([np.where(disc, 255, 0)] * 3 + [np.where(disc, 255, 0)]).astype(np.uint8)
    imageio.imwrite(tmp_path / "d.png", rgba)
    for command in (("deblur", "--kernel", "gaussian:1.5"), ("denoise",)):
        out = tmp_path / f"{command[0]}.png"
        assert cli(*command[:1], tmp_path / "d.png", *command[1:], "-o", out)[0] == 0
        found = imageio.imread(out)
        assert np.array_equal(found[..., 3], rgba[..., 3])
        assert found[disc][:, :3].min() >= 254, "composited on white nothing is darker than white"
