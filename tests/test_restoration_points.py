"""Fields of stars: points stay as wide as the grid can hold, their light is kept, no ring is darker than the sky."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from scipy.ndimage import convolve

import pnpkit as pk
from pnpkit import kernels
from pnpkit.errors import InputError
from pnpkit.images.files import read
from pnpkit.images.picture import Picture
from pnpkit.kernels.narrowed import narrowed
from pnpkit.noise.models import Gaussian, Proportional
from pnpkit.psf.stars import stars
from pnpkit.restoration.points import are_points, floor_of
from pnpkit.restoration.scale import limits_of, scale_of, sky_of

SKY, NOISE = 500.0, 10.0


def field(side: int, places: list[tuple[float, float]], light: float, fwhm: float, seed: int = 0) -> np.ndarray:
    """Moffat stars of that light (sum) with beta 3.5 between the pixels, on an even sky with noise."""
    rows, columns = np.mgrid[:side, :side].astype(float)
    alpha = fwhm / 2 / np.sqrt(2 ** (1 / 3.5) - 1)
    picture = np.full((side, side), SKY)
    for row, column in places:
        square = (rows - row) ** 2 + (columns - column) ** 2
        picture += light * 2.5 / np.pi / alpha**2 * (1 + square / alpha**2) ** -3.5
    return picture + NOISE * np.random.default_rng(seed).standard_normal(picture.shape)


def test_what_is_left_of_a_gaussian_is_a_gaussian() -> None:
    rest, misfit = narrowed(kernels.gaussian(2.0), 2.0)
    offsets = np.arange(rest.shape[0]) - rest.shape[0] // 2
    variance = float((rest.sum(1) * offsets**2).sum())
    assert misfit < 1e-3 and rest.min() >= 0 and rest.sum() == pytest.approx(1)
    assert variance == pytest.approx(4 - 4 / (8 * np.log(2)), rel=0.02), "variances add"


def test_what_no_point_is_blurred_into_is_told() -> None:
    assert narrowed(kernels.gaussian(0.5), 2.0)[1] > 0.1, "narrower than the points"
    assert narrowed(kernels.box(7), 1.5)[1] > 0.03, "sharp edges"


def test_a_field_of_points_is_known_by_its_sky() -> None:
    seen = field(64, [(20.3, 30.5), (44.5, 12.2)], 1e5, 3.0)
    assert SKY - 2 * NOISE < sky_of(seen) < SKY
    assert sky_of(seen - SKY) == pytest.approx(sky_of(seen) - SKY), "the sky may be subtracted"
    assert sky_of(2 * SKY - seen) is None and sky_of(seen - 2 * np.roll(seen - SKY, 9, 0)) is None, "dark points"
    assert sky_of(np.random.default_rng(0).random((64, 64))) is None and sky_of(np.full((3, 3), np.nan)) is None


def test_the_light_of_stars_is_kept_without_rings() -> None:
    places = [(12.5, 12.5), (30.3, 28.0)]
    seen = field(42, places, 3e5, 2.6)
    run = pk.deblur(seen, "moffat:2.6,3.5", denoiser="euler-fast", tol=1e-3)
    out = np.asarray(run.image)
    assert run.data is not None and isinstance(run.data.noise, Proportional) and run.data.kind == "gaussian"
    assert "points stay 1.5 pixels wide" in "".join(run.notes) and SKY - 3 * NOISE < run.data.box[0] < SKY
    rows, columns = np.mgrid[:42, :42]
    for row, column in places:
        near = np.hypot(rows - row, columns - column) < 8
        assert (out[near] - SKY).sum() == pytest.approx(3e5, rel=0.03)
        assert out[near].max() > 1.3 * seen[near].max() and out[near].min() > SKY - 3 * NOISE
    assert run.guarantee.theorem is not None
    assert "blurred with what is left, beside the width of a point, of the kernel of" in run.explain()


def test_no_ring_is_deeper_than_the_sky_beside_a_star_where_the_sky_varies() -> None:
    ground = 1500 * np.exp(-(((np.arange(80) - 40) / 18) ** 2))[:, None]  # a galaxy across the frame
    seen = field(80, [(40.4, 39.6), (14.3, 60.7)], 1e5, 3.0) + ground
    floor = floor_of(torch.from_numpy(seen)[None, None], np.ones((15, 15)))[0, 0].numpy()
    assert SKY - 3 * NOISE < floor.min() < SKY and floor[40, 10] > SKY + 300, "it follows the ground"
    assert (floor < SKY + ground + NOISE).all() and floor[40, 39] < SKY + 1500, "and not the stars"


def test_a_point_is_as_wide_as_it_is_asked_to_be() -> None:
    seen = field(32, [(15.5, 16.0)], 1e5, 3.0)
    peaks = [
        np.asarray(pk.deblur(seen, "moffat:3,3.5", denoiser="wavelet", resolution=width, max_steps=6).image).max()
        for width in (0, 1.5, 2.5)
    ]
    assert peaks[0] > peaks[1] > peaks[2] > seen.max()
    photograph = np.random.default_rng(0).random((16, 16))
    said = pk.deblur(photograph, "gaussian:1", denoiser="wavelet", max_steps=1, resolution=2).notes
    assert "points stay 2 pixels wide" in "".join(said)
    assert "points" not in "".join(pk.deblur(photograph, "gaussian:1", denoiser="wavelet", max_steps=1).notes)
    for wrong in (-1, 17, "wide", float("nan")):
        with pytest.raises(InputError, match="resolution is"):
            pk.deblur(photograph, "gaussian:1", resolution=wrong)  # type: ignore[arg-type]


def test_few_stars_beside_galaxies_give_the_width_of_a_star() -> None:
    places = [(30.2, 30.6), (30.4, 90.1), (90.7, 30.3), (88.5, 88.5)]
    seen = field(120, places, 2e5, 2.4)
    seen += convolve(field(120, [(60.0, 60.0)], 2e5, 4.2) - SKY, np.full((1, 1), 1.0))  # as bright, and wider
    spread = stars(seen)
    assert "fitted to 4 stars" in spread.notes[0]
    assert spread.widths() == pytest.approx((2.4, 2.4), rel=0.03)


def test_the_variance_of_a_misfit_grows_with_the_light() -> None:
    model = Proportional(3.0, 10.0, 0.02)
    v = torch.tensor([0.0, 10.0, 110.0])
    assert model.variance(v).tolist() == pytest.approx([9.0, 9.0, 13.0])
    scaled = model.scaled(10.0, 2.0).variance((v - 10) / 2)
    assert scaled.tolist() == pytest.approx([9 / 4, 9 / 4, 13 / 4])


def box_and_points(picture: Picture) -> tuple[tuple[float, float], bool]:
    """The box of a file, in its units, and whether a run takes it for a field of points."""
    y = torch.from_numpy(picture.pixels.astype(np.float64))[None, None]
    kind = picture.dtype
    scale = scale_of(y, 1e-5, limits_of(picture), kind.kind == "u", kind != np.uint8)
    low, high = (picture.low + value * (picture.high - picture.low) for value in scale.box)
    return (low, high), scale.points


def test_readings_of_stars_count_alike_where_that_is_asked_for() -> None:
    """A quick run divides spectra; and lamps that look like stars are what `noise` gaussian is for."""
    seen = field(48, [(20.3, 30.5), (34.5, 12.2)], 1e5, 3.0)
    how: dict[str, Any] = {"denoiser": "wavelet", "max_steps": 1}
    auto, gaussian = (pk.deblur(seen, "gaussian:1.2", noise=noise, **how).data for noise in ("auto", "gaussian"))
    quick = pk.deblur(seen, "gaussian:1.2", quick=True).data
    assert auto is not None and isinstance(auto.noise, Proportional) and "noise=gaussian" in auto.note
    assert gaussian is not None and isinstance(gaussian.noise, Gaussian)
    assert quick is not None and isinstance(quick.noise, Gaussian)


def test_a_star_of_a_file_may_be_as_bright_as_that_of_an_array(tmp_path: Path) -> None:
    seen = field(40, [(12.5, 12.5)], 1e5, 3.0).astype(np.float32)
    Image.fromarray(seen).save(tmp_path / "stars.tif")
    box, points = box_and_points(read(str(tmp_path / "stars.tif")))
    alone = scale_of(torch.from_numpy(seen)[None, None], NOISE, None, False)
    assert points and alone.points and box == pytest.approx(alone.box, rel=1e-6)
    assert box[1] > 50 * seen.max(), "a star that is sharp is several times as high"
    whole = np.rint(seen).astype(np.uint16)
    Image.fromarray(whole).save(tmp_path / "whole.tif")
    box, points = box_and_points(read(str(tmp_path / "whole.tif")))
    assert points and SKY - 3 * NOISE < box[0] < SKY and box[1] == 65535


def test_writing_on_black_is_no_field_of_points_in_a_file_either(tmp_path: Path) -> None:
    page = np.zeros((64, 64), np.float32)
    page[8:14, 8:12] = 1
    page[30:40] = 0.3
    for name, values in (("eight.png", np.uint8(255 * page)), ("floats.tif", page)):
        Image.fromarray(values).save(tmp_path / name)
        box, points = box_and_points(read(str(tmp_path / name)))
        assert box[0] == 0 and not points, name


def test_the_terminal_says_how_wide_a_star_stays(cli, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    tifffile.imwrite(tmp_path / "a.tif", field(32, [(15.5, 16.0)], 1e5, 3.0).astype(np.float32))
    command = ("deblur", tmp_path / "a.tif", "--kernel", "moffat:3,3.5", "--denoiser", "wavelet", "--max-steps", 2)
    code, said, _ = cli(*command, "-o", tmp_path / "b.tif")
    assert code == 0 and "points stay 1.5 pixels wide" in said and len(said.splitlines()) <= 6


def test_lamps_that_are_wider_than_points_stay_as_wide_as_they_are() -> None:
    lit = np.full((56, 56), 0.03) + 0.02 * np.random.default_rng(0).random((56, 56))
    for row, column in ((14, 14), (36, 36)):
        lit[row : row + 3, column : column + 3] = 0.9
    seen = convolve(lit, kernels.gaussian(1.0), mode="mirror")
    run = pk.deblur(seen, "gaussian:1", denoiser="wavelet", max_steps=1)
    assert sky_of(seen) is not None, "the values alone do not tell"
    assert "pixels wide" not in "".join(run.notes) and run.data is not None and run.data.plain
    stars = torch.from_numpy(field(64, [(20.5, 20.2), (44.0, 40.7)], 1e5, 2.6))[None, None]
    taps, cut = kernels.parse("moffat:2.6,3.5"), stars.clamp_max(3000)
    assert are_points(stars, taps) and not are_points(cut, taps)
    assert are_points(cut, taps, cut >= 3000), "what saturates is wider than it is"
