"""What a JPEG lost is read off its tables, and counts as noise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage.data
from PIL import Image

from pnpkit import deblur
from pnpkit.images import files
from pnpkit.images.jpeg import laplace_error
from pnpkit.images.metrics import psnr
from pnpkit.images.picture import Picture
from pnpkit.restoration import denoise, simulate

PHOTOGRAPHS = {"astronaut": skimage.data.astronaut, "chelsea": skimage.data.chelsea, "camera": skimage.data.camera}


def jpeg(path: Path, pixels: np.ndarray, **options: Any) -> Picture:
    Image.fromarray(pixels).save(path, "JPEG", **options)
    return files.read(path)


@pytest.mark.parametrize("quality", [50, 75, 90])
@pytest.mark.parametrize("subsampling", [0, 2])
@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_the_error_is_told_within_a_half(tmp_path: Path, name: str, quality: int, subsampling: int) -> None:
    original = PHOTOGRAPHS[name]()
    picture = jpeg(tmp_path / "a.jpg", original, quality=quality, subsampling=subsampling)
    true = np.sqrt(np.mean((picture.pixels - original / 255) ** 2))
    assert 2 / 3 < picture.compression / true < 3 / 2


def test_coefficients_that_are_laplace_are_told() -> None:
    scales = np.geomspace(0.1, 20, 30)
    numbers = np.random.default_rng(0).laplace(scale=scales, size=(100_000, 30))
    rounded = np.round(numbers)
    true = ((rounded - numbers) ** 2).mean(0)
    np.testing.assert_allclose(laplace_error((rounded == 0).mean(0), np.ones(30)), true, rtol=0.1)
    assert laplace_error(np.array(1.0), np.array(9.0)) == 0


def test_nothing_is_lost_where_nothing_is_told(tmp_path: Path) -> None:
    pixels = skimage.data.chelsea()
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert files.read(tmp_path / "a.png").compression == 0
    assert jpeg(tmp_path / "tiny.jpg", pixels[:7, :5], quality=50).compression == 0
    Image.fromarray(pixels).convert("CMYK").save(tmp_path / "cmyk.jpg")
    assert files.read(tmp_path / "cmyk.jpg").compression == 0
    assert jpeg(tmp_path / "grey.jpg", np.full((64, 64), 128, np.uint8), quality=50).compression < 1e-6


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("size", [(32, 32), (39, 33), (32, 500), (63, 64)])
def test_small_pictures_are_told_something(tmp_path: Path, size: tuple[int, int], subsampling: int) -> None:
    pixels = np.resize(skimage.data.chelsea(), (*size, 3))
    picture = jpeg(tmp_path / "a.jpg", pixels, quality=60, subsampling=subsampling)
    assert 0 < picture.compression < 0.2
    assert np.isfinite(denoise.denoise(picture.pixels, denoiser="wavelet", compression=picture.compression).image).all()


def test_colours_that_were_not_turned_into_luma_and_chroma_tell_nothing(tmp_path: Path) -> None:
    Image.fromarray(skimage.data.chelsea()).save(tmp_path / "a.jpg", quality=60, keep_rgb=True)
    assert files.read(tmp_path / "a.jpg").compression == 0


def test_a_picture_that_lies_on_its_side_lost_the_same(tmp_path: Path) -> None:
    pixels = skimage.data.chelsea()
    upright = jpeg(tmp_path / "a.jpg", pixels, quality=60)
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = jpeg(tmp_path / "b.jpg", pixels, quality=60, exif=exif)
    assert turned.pixels.shape[:2] == upright.pixels.shape[1::-1]
    assert turned.compression == upright.compression


def test_deblurring_goes_by_what_compression_lost(tmp_path: Path) -> None:
    sharp = skimage.data.chelsea()[60:220, 100:260] / 255
    blurred = simulate.simulate(sharp, "motion:9,30", 0.005, seed=1)
    rows, columns = ((n - m) // 2 for n, m in zip(sharp.shape[:2], blurred.shape[:2], strict=True))
    frame = sharp[rows : rows + blurred.shape[0], columns : columns + blurred.shape[1]]
    picture = jpeg(tmp_path / "a.jpg", (255 * blurred.clip(0, 1)).round().astype(np.uint8), quality=60)
    settings: dict[str, Any] = {"denoiser": "wavelet", "max_steps": 20}
    run = deblur(picture.pixels, "motion:9,30", compression=picture.compression, **settings)
    unaware = deblur(picture.pixels, "motion:9,30", **settings)
    assert run.noise_level == pytest.approx(1.5 * picture.compression) and run.noise_level > 3 * unaware.noise_level
    assert psnr(run.image, frame) > psnr(unaware.image, frame) + 0.3
    given = deblur(picture.pixels, "motion:9,30", denoiser="wavelet", max_steps=1, compression=0.5, noise_level=0.01)
    assert given.noise_level == 0.01


def test_in_linear_light_the_loss_is_that_of_light(tmp_path: Path) -> None:
    flat = [np.full((40, 40, 3), value) for value in (0.05, 0.9)]
    levels = [denoise.denoise(p, denoiser="identity", linear=True, compression=0.02 / 1.5).noise_level for p in flat]
    assert levels[0] < 0.02 / 5 and 0.03 < levels[1] < 0.05  # the curve is flat in the dark, steep in the light
