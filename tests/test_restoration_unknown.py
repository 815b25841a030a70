"""Pixels of which nothing is known, and pixels of which only "at least so bright" is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import numpy as np
import pytest
import tifffile
import torch
from scipy.ndimage import gaussian_filter

import pnpkit as pk
from pnpkit.errors import InputError
from pnpkit.images import files
from pnpkit.images.picture import Picture
from pnpkit.noise.clipped import ceiling_of, grown, inner, is_end, saturated

FEW: dict[str, Any] = {"denoiser": "wavelet", "max_steps": 4}


def scene() -> np.ndarray:
    rng = np.random.default_rng(0)
    return 0.2 + 0.5 * (gaussian_filter((rng.random((48, 56)) > 0.6).astype(float), 1.0) > 0.4)


def blurred(x: np.ndarray) -> np.ndarray:
    y = pk.simulate(x, "gaussian:1.2", 0.01, boundary="circular")
    return np.asarray(y)


def error(a: Any, x: np.ndarray) -> float:
    return float(np.sqrt(np.mean((np.asarray(a) - x) ** 2)))


def test_what_a_mask_marks_is_not_looked_at() -> None:
    y, holes = blurred(scene()), np.zeros((48, 56), bool)
    holes[10:13, 5:30] = holes[30, 40] = True
    found = []
    for filler in (0.0, 1.0, 1e30, np.nan):
        for mask in (holes, None) if np.isnan(filler) else (holes,):
            ruined = np.where(holes, filler, y)
            run = pk.deblur(ruined, "gaussian:1.2", mask=mask, boundary="circular", limits=(0, 1), **FEW)
            assert run.data is not None and run.data.unknown == holes.sum() and run.guarantee
            found.append(np.asarray(run.image))
    for one in found[1:]:
        np.testing.assert_allclose(one, found[0], atol=1e-5)
    whole = pk.deblur(y, "gaussian:1.2", boundary="circular", **FEW)
    assert error(found[0], scene()) < 1.1 * error(whole.image, scene())
    tensor = torch.from_numpy(np.where(holes, np.nan, y)).float()[None, None]
    run = pk.deblur(tensor, "gaussian:1.2", boundary="circular", limits=(0, 1), **FEW)
    np.testing.assert_allclose(torch.as_tensor(run.image)[0, 0].numpy(), found[0], atol=1e-4)


@pytest.mark.parametrize("task", ["deblur", "denoise", "upscale"])
def test_masks_that_cannot_be_are_refused(task: str) -> None:
    run: Any = getattr(pk, task)
    y = blurred(scene())
    for mask, words in ((np.ones((48, 56)), "every pixel"), (np.zeros((48, 55)), "not the same")):
        with pytest.raises(InputError, match=words):
            run(y, mask=mask, denoiser="wavelet")
    with pytest.raises(InputError, match="every pixel is unknown"):
        run(np.full((48, 56), np.nan), denoiser="wavelet")
    with pytest.raises(InputError, match="infinity|inf"):
        run(np.where(y > 0.5, np.inf, y), denoiser="wavelet")


def test_denoising_and_enlarging_leave_out_what_is_unknown() -> None:
    y, holes = scene() + 0.02 * np.random.default_rng(0).standard_normal((48, 56)), np.zeros((48, 56), bool)
    holes[20:22, 10:40] = True
    ruined = np.where(holes, np.nan, y)
    assert error(pk.denoise(ruined, denoiser="wavelet").image, scene()) < 0.06
    large = pk.upscale(ruined, 2, **FEW)
    assert np.isfinite(large.image).all() and large.data is not None and large.data.unknown == holes.sum()


def test_the_command_line_takes_masks_nan_and_alpha(cli, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    y, holes = blurred(scene()), np.zeros((48, 56), bool)
    holes[10:13, 5:30] = True
    files.write(tmp_path / "mask.png", Picture(holes.astype(float)))
    files.write(tmp_path / "a.png", Picture(np.where(holes, 1.0, y)))
    flags = ("--kernel", "gaussian:1.2", "--boundary", "circular", "--denoiser", "wavelet", "--max-steps", 4)
    code, text, _ = cli("deblur", tmp_path / "a.png", *flags, "--mask", tmp_path / "mask.png", "-o", tmp_path / "b.png")
    assert code == 0 and "75 readings are unknown" in text
    assert error(files.read(tmp_path / "b.png").pixels, scene()) < 0.15
    tifffile.imwrite(tmp_path / "n.tif", np.where(holes, np.nan, y).astype(np.float32))
    code, text, _ = cli("deblur", tmp_path / "n.tif", *flags, "-o", tmp_path / "c.tif")
    assert code == 0 and "75 pixels are NaN" in text and np.isfinite(tifffile.imread(tmp_path / "c.tif")).all()
    rgba = np.dstack([np.rint(255 * np.where(holes, 0, y.clip(0, 1)))] * 3 + [np.where(holes, 0, 255)]).astype(np.uint8)
    imageio.imwrite(tmp_path / "r.png", rgba)
    code, text, _ = cli("deblur", tmp_path / "r.png", *flags, "-o", tmp_path / "d.png")
    assert code == 0 and "readings are unknown" in text
    code, _, message = cli("deblur", tmp_path / "r.png", *flags, "--mask", tmp_path / "none.png")
    assert code == 2 and len(message.strip().splitlines()) == 1


def test_a_plateau_at_the_top_is_a_ceiling() -> None:
    rng = np.random.default_rng(0)
    y = rng.normal(0.6, 0.2, (40, 50))
    every = np.ones(y.shape, bool)
    assert ceiling_of(y, every, True) is None
    assert ceiling_of(np.minimum(y, 0.9), every, True) == 0.9
    assert ceiling_of(np.minimum(y, 0.9), every, False) is None, "without noise a flat part looks so, too"
    assert ceiling_of(np.minimum(y, 1.0), every, False) == 1.0
    whole = np.rint(255 * np.minimum(y, 1.0))
    assert ceiling_of(whole, every, False) == 255 and is_end(4095) and not is_end(4000)
    assert ceiling_of(np.rint(100 * y), every, True) is None
    assert ceiling_of(np.minimum(y, 0.9), y < 0.9, True) is None
    colour = np.stack([y, np.minimum(y, 0.9)], -1)
    found = saturated(colour, noisy=True)
    assert not found[..., 0].any() and np.array_equal(found[..., 1], y >= 0.9)
    assert saturated(y, ceiling=0.8).sum() == (y >= 0.8).sum()
    one = np.zeros((7, 7), bool)
    one[3, 3] = True
    wide = grown(np.pad(one, 8), 8)
    assert inner(wide, 0.3).sum() == 13 * 13 and np.array_equal(inner(one, 0.3), one), "small parts have no edge"
    assert grown(one, 1).sum() == 9 and np.array_equal(grown(one, 0), one)


def lamps() -> tuple[np.ndarray, np.ndarray]:
    """A dim scene with lamps three times as bright as the ceiling, and its blur, cut off at 1."""
    x = 0.5 * scene()
    x[12:15, 12:15] = x[30:34, 40:43] = 3.0
    y = blurred(x)
    return x, np.minimum(y, 1.0)


def test_lamps_that_saturate_leave_no_rings() -> None:
    x, y = lamps()
    how: dict[str, Any] = {"boundary": "circular", "denoiser": "euler-fast"}
    off = pk.deblur(y, "gaussian:1.2", saturation="off", **how)
    run = pk.deblur(y, "gaussian:1.2", **how)
    dim = x < 1
    assert run.data is not None and 0 <= run.data.saturated - (y == 1).sum() <= 4, (
        "what noise took from it belongs to it"
    )
    assert run.guarantee
    assert error(np.asarray(run.image)[dim], x[dim]) < 0.8 * error(np.asarray(off.image)[dim], x[dim])
    assert np.asarray(run.image).max() <= 1.0, "the result is cut back to the range of the picture"
    given = pk.deblur(y, "gaussian:1.2", saturation=1.0, **how)
    assert np.abs(np.asarray(given.image) - run.image)[dim].mean() < 0.02
    bits = np.rint(255 * y.clip(0)).astype(np.uint8)
    whole = pk.deblur(bits, "gaussian:1.2", **how)
    assert whole.image.dtype == np.uint8 and whole.data is not None and whole.data.saturated >= (bits == 255).sum()
    assert np.abs(np.asarray(whole.image) / 255.0 - run.image)[dim].mean() < 0.02


def test_a_white_wall_is_no_lamp() -> None:
    x = 0.5 * scene()
    x[10:36, 20:50] = 1.0
    y = np.rint(255 * blurred(x).clip(0, 1)).astype(np.uint8)
    assert saturated(y).sum() > 100
    one, other = (pk.deblur(y, "gaussian:1.2", boundary="circular", saturation=how, **FEW) for how in ("auto", "off"))
    assert np.array_equal(one.image, other.image) and one.data is not None and one.data.saturated == 0
    given = pk.deblur(y, "gaussian:1.2", boundary="circular", saturation=255, **FEW)
    assert given.data is not None and given.data.saturated > 100, "what is given is not doubted"


def test_edges_of_what_is_little_brighter_than_the_ceiling_are_known() -> None:
    """A lighted sign of 1.3 times the ceiling; beside lamps what is wrong with a kernel hides their edges."""
    x = 0.5 * scene()
    x[10:36, 20:50] = 1.3
    y = np.minimum(blurred(x), 1.0)
    sign, lamp = (pk.deblur(z, "gaussian:1.2", boundary="circular", **FEW).data for z in (y, lamps()[1]))
    assert sign is not None and sign.unknown == 0 and sign.saturated >= (y == 1).sum()
    assert lamp is not None and lamp.unknown > 0 and lamp.box[1] > 10 * sign.box[1]


def test_a_picture_without_a_plateau_is_restored_as_ever() -> None:
    y = blurred(scene())
    one, other = (pk.deblur(y, "gaussian:1.2", saturation=how, **FEW) for how in ("auto", "off"))
    assert np.array_equal(one.image, other.image) and one.data is not None and one.data.plain


def test_saturation_that_cannot_be_honoured_is_refused() -> None:
    with pytest.raises(InputError, match="denoising takes every reading"):
        pk.denoise(scene(), saturation=0.5, denoiser="wavelet")
    with pytest.raises(InputError, match="nothing is known"):
        pk.deblur(scene(), "gaussian:1", saturation=0.1, **FEW)
