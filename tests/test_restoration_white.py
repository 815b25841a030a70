"""Pictures whose brightest pixels stand far above the rest: a star, a lamp, a hot pixel. ``--white`` says what is 1."""

from __future__ import annotations

import json
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import pytest
import skimage.data
import tifffile
from scipy import ndimage

import pnpkit as pk
from pnpkit import kernels
from pnpkit.images import files
from pnpkit.restoration import simulate

SKY, NOISE, STAR = 200.0, 8.0, 3e5  # in the units of the camera
BLUR = "gaussian:1.5"
SIDE = 56


def sky() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A scene, the same blurred and noisy, and where the bright star does not reach."""
    generator = np.random.default_rng(0)
    scene = np.full((SIDE, SIDE), SKY)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    for row, column, light in ((20, 45, 120.0), (45, 40, 80.0), (50, 15, 150.0)):
        scene += light * np.exp(-np.hypot(rows - row, columns - column) / 3)
    for row, column in generator.integers(4, SIDE - 4, (12, 2)):
        scene[row, column] += 600
    scene[16, 16] += STAR
    blurred = ndimage.convolve(scene, kernels.parse(BLUR), mode="nearest")
    noisy = blurred + NOISE * generator.standard_normal(scene.shape)
    return scene, noisy, np.hypot(rows - 16, columns - 16) > 18


def test_a_white_of_its_own_and_back_again(tmp_path: Path) -> None:
    generator = np.random.default_rng(1)
    for name, values in {
        "a.tif": generator.normal(1000, 300, (8, 9)).astype(np.float32),
        "b.png": generator.integers(0, 65536, (8, 9), np.uint16),
        "c.png": generator.integers(0, 256, (8, 9, 3), np.uint8),
    }.items():
        imageio.imwrite(tmp_path / name, values)
        white = float(np.quantile(values, 0.4))
        picture = files.read(tmp_path / name, white=white)
        low = float(values.min()) if name == "a.tif" else 0.0
        assert (picture.low, picture.high) == (low, white)
        np.testing.assert_allclose(picture.pixels, (values - low) / (white - low), rtol=1e-6, atol=1e-6)
        assert "the brightest" in picture.notes[0] and f"{white:.6g} are taken as 0 to 1" in picture.notes[0]
        files.write(tmp_path / f"out-{name}", picture)
        np.testing.assert_array_equal(imageio.imread(tmp_path / f"out-{name}"), values)


def test_a_jpegs_error_is_on_the_same_scale(tmp_path: Path) -> None:
    values = np.random.default_rng(1).integers(0, 256, (32, 32, 3), np.uint8)
    imageio.imwrite(tmp_path / "a.jpg", values, quality=60)
    usual, half = files.read(tmp_path / "a.jpg"), files.read(tmp_path / "a.jpg", white=127.5)
    assert half.compression == pytest.approx(2 * usual.compression) and usual.compression > 0


def test_a_white_below_black_is_refused(cli, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    tifffile.imwrite(tmp_path / "a.tif", np.linspace(500, 900, 64, dtype=np.float32).reshape(8, 8))
    code, _, error = cli("denoise", tmp_path / "a.tif", "--white", 400)
    assert code == 2 and "expected a white above 500" in error and len(error.splitlines()) == 1
    assert cli("denoise", tmp_path / "a.tif", "--white", "bright")[0] == 2
    assert list(tmp_path.iterdir()) == [tmp_path / "a.tif"]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_psnr_does_not_depend_on_the_white(cli, tmp_path: Path, dtype: type) -> None:  # type: ignore[no-untyped-def]
    generator = np.random.default_rng(2)
    clean = generator.uniform(50, 200, (24, 24))
    for name, values in (("clean", clean), ("noisy", clean + 5 * generator.standard_normal(clean.shape))):
        tifffile.imwrite(tmp_path / f"{name}.tif", values.astype(dtype))
    command = ("denoise", tmp_path / "noisy.tif", "--denoiser", "identity", "--reference", tmp_path / "clean.tif")
    found = []
    for number, more in enumerate(((), ("--white", 150))):
        code, text, _ = cli(*command, *more, "-o", tmp_path / f"out-{number}.tif")
        assert code == 0
        found.append(text.split("PSNR ")[1].split(" dB")[0])
    assert found[0] == found[1]


def test_what_is_faint_is_restored_beside_a_star(cli, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    scene, noisy, faint = sky()
    truth = ndimage.gaussian_filter(scene, np.hypot(0.7, 1.5 / 2.355))  # stars stay 1.5 pixels wide

    def error(picture: np.ndarray) -> float:
        return float(np.sqrt(np.square(ndimage.gaussian_filter(picture, 0.7) - truth)[faint].mean()))

    tifffile.imwrite(tmp_path / "sky.tif", noisy.astype(np.float32))
    command = ("deblur", tmp_path / "sky.tif", "--kernel", BLUR, "--tol", 1e-3)
    assert cli(*command, "-o", tmp_path / "usual.tif")[0] == 0
    code, text, _ = cli(*command, "--white", 800, "-o", tmp_path / "white.tif")
    assert code == 0 and "the brightest" in text and "convergence proven" in text
    usual, white = (tifffile.imread(tmp_path / f"{name}.tif") for name in ("usual", "white"))
    print(error(usual), error(white), error(noisy))
    for picture in (usual, white):  # the picture's own scale serves what is faint as a white does
        assert error(picture) < 0.8 * error(noisy)
        assert picture[16, 16] > 10 * 800, "the star stays"


def test_arrays_of_any_range_are_taken() -> None:
    x = np.random.default_rng(0).uniform(0, 1, (12, 12))
    x[6, 6] = 40
    for call in (
        lambda **more: pk.denoise(x, 0.02, denoiser="wavelet", **more),
        lambda **more: pk.deblur(x, "gaussian:0.5", denoiser="wavelet", noise_level=0.02, max_steps=2, **more),
    ):
        assert call().image.max() > 20, "nothing is cut"
        assert call(limits=(0, 50)).image.max() > 20


@pytest.mark.parametrize("more", [(), ("--white", 3e4), ("--linear",)])
def test_estimate_kernel_says_what_deblur_would_take(cli, tmp_path: Path, more: tuple) -> None:  # type: ignore[no-untyped-def]
    linear = "--linear" in more
    sharp = np.asarray(skimage.data.astronaut()[100:180, 180:260] / 255.0)
    blurred = np.clip(simulate.simulate(sharp, "gaussian:1.5", 0.002, linear=linear), 0, 1)
    tifffile.imwrite(tmp_path / "a.tif", np.rint(65535 * blurred).astype(np.uint16))
    code, alone, _ = cli("estimate-kernel", tmp_path / "a.tif", "-o", tmp_path / "k.png", *more)
    assert code == 0
    limit = ("--denoiser", "wavelet", "--max-steps", 1)
    assert cli("deblur", tmp_path / "a.tif", "--json", tmp_path / "a.json", *limit, *more)[0] == 0
    assert alone.splitlines()[0].endswith(json.loads((tmp_path / "a.json").read_text())["kernel"])
    if linear:
        assert alone != cli("estimate-kernel", tmp_path / "a.tif", "-o", tmp_path / "other.png")[1]


@pytest.mark.parametrize("white", ["1e300", "1e-300", "-1e300"])
def test_a_white_out_of_all_proportion_is_refused(cli, tmp_path: Path, white: str) -> None:  # type: ignore[no-untyped-def]
    imageio.imwrite(tmp_path / "a.png", np.arange(64, dtype=np.uint8).reshape(8, 8))
    code, _, error = cli("denoise", tmp_path / "a.png", "--white", white)
    assert code == 2 and len(error.splitlines()) == 1 and "a.png" in error and len(list(tmp_path.iterdir())) == 1


def test_whites_may_be_below_zero(cli, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    tifffile.imwrite(tmp_path / "db.tif", np.linspace(-60, -11, 64, dtype=np.float32).reshape(8, 8))
    code, text, _ = cli("denoise", tmp_path / "db.tif", "--white", "-30", "--denoiser", "wavelet")
    assert code == 0 and "values from -60 to -30 are taken as 0 to 1" in text


def test_blur_says_what_reading_had_to_change(cli, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    tifffile.imwrite(tmp_path / "a.tif", np.linspace(-50, 45, 64, dtype=np.float32).reshape(8, 8))
    code, text, _ = cli("blur", tmp_path / "a.tif", "--kernel", "box:3", "-o", tmp_path / "b.tif")
    assert code == 0 and "note: values from -50 to 45 are taken as 0 to 1" in text
