"""--region restores that alone, as the whole would; --preview a telling part or a smaller picture, roughly."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage.data
from scipy.ndimage import convolve, zoom

from pnpkit import kernels
from pnpkit.command import part as parts
from pnpkit.command import tasks
from pnpkit.command.forecast import Forecast
from pnpkit.images import files
from pnpkit.images.picture import Picture
from pnpkit.kernels import Kernel
from pnpkit.restoration.settings import Settings

FEW = ("--denoiser", "wavelet", "--noise-level", "0.01", "--kernel", "disk:2")


NAMES = ("sharp.png", "photo.png")


@pytest.fixture
def photograph(tmp_path: Path) -> Path:
    sharp = skimage.data.chelsea()[:160, :200] / np.float32(255)
    weights = kernels.parse("disk:2")
    blurred = np.stack([convolve(sharp[..., c], weights, mode="reflect") for c in range(3)], -1)
    files.write(tmp_path / "photo.png", Picture(blurred))
    files.write(tmp_path / "sharp.png", Picture(sharp))
    return tmp_path / "photo.png"


def test_a_region_is_what_the_whole_has_there(cli, photograph: Path) -> None:  # type: ignore[no-untyped-def]
    more = ("--reference", photograph.with_name("sharp.png"), "--json", photograph.with_name("r.json"))
    code, text, _ = cli("deblur", photograph, *FEW, "--region", "70,60,40,30", *more)
    assert code == 0 and "Only the region 70,60,40,30 was restored" in text
    found = files.read(photograph.with_name("photo-deblurred-region.png")).pixels
    assert cli("deblur", photograph, *FEW, "--quiet")[0] == 0
    whole = files.read(photograph.with_name("photo-deblurred.png")).pixels[60:90, 70:110]
    assert found.shape == whole.shape and np.sqrt(np.mean(np.square(found - whole))) < 0.01
    record = json.loads(photograph.with_name("r.json").read_text())
    assert record["psnr"] > record["psnr_input"] + 1, "the reference is cut as the picture is"


def test_a_preview_is_small_and_says_what_it_is(cli, photograph: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(parts, "SMALL", 10_000)
    code, text, _ = cli("deblur", photograph, *FEW, "--preview")
    assert code == 0 and "This is a preview: the picture at 1/2 of its size" in text
    assert files.read(photograph.with_name("photo-preview.png")).pixels.shape == (80, 100, 3)
    code, text, _ = cli("deblur", photograph, *FEW, "--preview", "--region", "11,13,60,50", "--overwrite")
    assert code == 0 and "the region 11,13,60,50, restored roughly" in text and len(text.splitlines()) <= 6
    assert files.read(photograph.with_name("photo-preview.png")).pixels.shape == (50, 60, 3)


def test_the_preview_of_a_large_picture_is_its_telling_part_before_and_after(  # type: ignore[no-untyped-def]
    cli, photograph: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "SMALL", 2_000)
    monkeypatch.setattr(parts, "SHOWN", 48)
    monkeypatch.setattr(parts, "AROUND", 8)
    monkeypatch.setattr(parts, "forecast", lambda *_: Forecast({"restoring": 720.0}, 60.0))
    more = ("--reference", photograph.with_name("sharp.png"), "--max-steps", 4)
    code, text, _ = cli("deblur", photograph, *FEW, "--preview", *more)
    assert code == 0, text
    assert "a telling part of the picture at full size" in text and len(text.splitlines()) <= 6
    assert "All of it takes about 12 min: leave out --preview." in text
    x, y, *size = (int(word) for word in text.partition("--region ")[2].split(")")[0].split(","))
    both = files.read(photograph.with_name("photo-preview.png")).pixels
    assert size == [48, 48] and both.shape == (48, 96, 3)
    sharp, came = (files.read(photograph.with_name(name)).pixels[y : y + 48, x : x + 48] for name in NAMES)
    np.testing.assert_allclose(both[:, :48], came, atol=1e-6)
    assert np.mean(np.square(both[:, 48:] - sharp)) < 0.7 * np.mean(np.square(came - sharp))
    before, after = (float(word) for word in text.partition("PSNR ")[2].partition(" dB")[0].split(" -> "))
    assert after > before + 1, "the reference is cut as the picture is"


def test_what_came_is_as_large_as_what_was_enlarged_beside_it() -> None:
    came = np.arange(12.0).reshape(3, 4) / 12
    both = parts.beside(Picture(came), Picture(np.zeros((6, 8)))).pixels
    assert both.shape == (6, 16) and not both[:, 8:].any()
    for row, column in ((0, 0), (0, 1), (1, 0), (1, 1)):
        np.testing.assert_array_equal(both[row::2, column:8:2], came)


def scene(**more: Any) -> Picture:
    """A sky that darkens downwards, above a ground with texture whose left half is burnt out here and there."""
    rng = np.random.default_rng(0)
    pixels = np.repeat(np.linspace(0.9, 0.5, 400)[:, None], 600, 1) + 0.01 * rng.standard_normal((400, 600))
    pixels[240:] = 0.5 + 0.1 * zoom(rng.standard_normal((40, 150)), 4, order=1)
    pixels[240:, :300] = np.where(zoom(rng.random((40, 75)), 4, order=1) > 0.6, 1.0, pixels[240:, :300])
    return Picture(pixels.clip(0, 1), **more)


def test_the_telling_part_is_no_sky_and_nothing_burnt_out_or_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "SMALL", 6_000)
    monkeypatch.setattr(parts, "SHOWN", 80)
    task = tasks.Deblur("auto", "unknown")
    found = parts.part_for(task, scene(), None, True)
    assert found == parts.part_for(task, scene(), None, True) and found.telling is not None
    assert found.factor == 1 and found.telling.y >= 236 and found.telling.x >= 280
    holes = np.zeros((400, 600), bool)
    holes[:, 420:] = True
    pixels = np.where(holes, np.nan, scene().pixels)
    for hidden in (scene(holes=holes), scene(weights=1.0 - holes), scene(alpha=~holes * 255), Picture(pixels)):
        known = parts.part_for(task, hidden, None, True).telling
        assert known is not None and known.y >= 236 and 280 <= known.x <= 420 - 80


def test_a_preview_is_made_smaller_where_that_shows_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "SMALL", 6_000)
    picture = scene()
    for task, few in (
        (tasks.Deblur("disk:3", "unknown"), False),
        (tasks.Deblur("motion:121,0", "unknown"), True),  # reaches further than what is shown
        (tasks.Inpaint("mask.png"), True),  # its gaps may lie anywhere
        (tasks.Denoise(), False),
    ):
        part = parts.part_for(task, picture, None, True)
        assert (part.factor > 1) == few == (part.telling is None)
    assert parts.part_for(tasks.Denoise(), picture, parts.Region(0, 0, 150, 150), True).factor == 2
    assert parts.part_for(tasks.Denoise(), Picture(np.zeros((3, 90_000))), None, True).factor > 2
    assert parts.part_for(tasks.Denoise(), picture, None, False).telling is None


def test_no_time_is_told_that_assumes_a_blur_where_none_was_found(monkeypatch: pytest.MonkeyPatch) -> None:
    sharp, soft = (Kernel(np.ones((n, n)) / n**2, "", 0.95, form) for n, form in ((1, "sharp"), (3, "disk:1")))
    task, settings, picture = tasks.Deblur("auto", "unknown"), Settings("identity"), Picture(np.zeros((8, 8)))
    monkeypatch.setattr(parts, "forecast", lambda *_: Forecast({"restoring": 720.0}, 60.0))
    told = parts.whole_words(task, settings, picture, sharp)
    assert "if no blur is found" in told and "12 min" not in told
    assert "about 12 min" in parts.whole_words(task, settings, picture, soft)
    monkeypatch.setattr(parts, "forecast", lambda *_: None)
    assert "about" not in parts.whole_words(task, settings, picture, soft)


def test_previews_of_every_command_and_of_floats(cli, photograph: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(parts, "SMALL", 2_000)
    values = files.read(photograph).pixels[:80, :81].mean(-1) * 700 - 100
    holes = np.zeros((80, 81))
    holes[30:34, 20:60] = 1
    folder = photograph.parent
    files.write(folder / "a.tif", Picture(values.astype(np.float32), dtype=np.dtype(np.float32), high=1.0))
    files.write(folder / "mask.png", Picture(holes))
    for words, size in (
        (("denoise",), (40, 40)),
        (("inpaint", "--mask", folder / "mask.png"), (40, 40)),
        (("upscale",), (80, 80)),
    ):
        out = folder / f"{words[0]}.png"
        more = ("--denoiser", "wavelet", "--preview", "-o", out)
        code, text, error = cli(words[0], folder / "a.tif", *words[1:], *more)
        assert code == 0 and "preview" in text, error
        assert files.read(out).pixels.shape == size


@pytest.mark.parametrize(
    ("region", "message"),
    [
        ("1,2,3", "four whole numbers"),
        ("a,2,3,4", "four whole numbers"),
        ("0,0,0,5", "W,H >= 1"),
        ("190,0,20,5", "has 200 x 160 pixels"),
    ],
)
def test_a_region_that_is_none_is_refused(cli, photograph: Path, region: str, message: str) -> None:  # type: ignore[no-untyped-def]
    code, out, error = cli("deblur", photograph, *FEW, "--region", region)
    assert code == 2 and out == "" and message in error and len(error.splitlines()) == 1


def test_the_part_lies_where_it_was_asked_for() -> None:
    values = np.arange(100 * 120, dtype=np.float64).reshape(100, 120)
    found = parts.part_of((100, 120), parts.Region(70, 60, 20, 10), False, False)
    np.testing.assert_array_equal(found.kept(found.of(Picture(values)).pixels), values[60:70, 70:90])
    blind = parts.part_of((2000, 2000), parts.Region(700, 600, 20, 10), False, True)
    assert all(side.stop - side.start >= parts.TELLING for side in blind.outer)


def test_a_reduced_kernel_blurs_the_reduced_picture_alike() -> None:
    scene = skimage.data.camera()[:300, :300] / 255.0
    for kernel in (kernels.parse("disk:6"), kernels.parse("motion:17,30")):
        small = kernels.reduced(kernel, 3)
        assert small.sum() == pytest.approx(1) and all(size % 2 for size in small.shape)
        blurred = parts.reduced(convolve(scene, kernel, mode="wrap"), 3)
        again = convolve(parts.reduced(scene, 3), small, mode="wrap")
        assert np.sqrt(np.mean(np.square(blurred - again))) < 0.01
    np.testing.assert_allclose(kernels.reduced(kernel, 1), kernel, atol=1e-15)


def test_a_small_picture_without_a_blur_says_that_one_may_be_too_small() -> None:
    sharp, soft = (Kernel(np.ones((n, n)) / n**2, "", 0.95, form) for n, form in ((1, "sharp"), (3, "box:3")))
    part = parts.part_of((600, 600), None, True, True)
    assert part.factor == 3 and "less than about 6 pixels" in parts.overlooked(part, sharp)
    whole = replace(part, factor=1)
    assert not any((parts.overlooked(whole, sharp), parts.overlooked(part, soft), parts.overlooked(part, None)))
