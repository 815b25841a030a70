"""Point-spread functions: right widths, right places, and files that give back what they hold."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image
from scipy.ndimage import gaussian_filter

from pnpkit import kernels
from pnpkit.command.psf import finish
from pnpkit.errors import InputError
from pnpkit.images import stacks
from pnpkit.psf import files
from pnpkit.psf.beads import beads
from pnpkit.psf.spread import Spread, cleaned, fwhm, resampled, trimmed

WIDTH = 2 * np.sqrt(2 * np.log(2))


def points(shape: tuple[int, ...], places: list[tuple[float, ...]], sigma: tuple[float, ...]) -> np.ndarray:
    """Gaussians of unit height at places between the samples."""
    grids = np.meshgrid(*(np.arange(n, dtype=float) for n in shape), indexing="ij")
    parts = [
        np.exp(-0.5 * sum(((g - c) / s) ** 2 for g, c, s in zip(grids, place, sigma, strict=True))) for place in places
    ]
    return np.sum(parts, axis=0)


def test_moffat_and_airy_have_the_widths_that_they_are_named_for() -> None:
    for width, beta in [(2.8, 3.5), (5.0, 2.5), (9.0, 1.5)]:
        kernel = kernels.parse(f"moffat:{width},{beta}")
        assert kernel.sum() == pytest.approx(1) and fwhm(kernel)[0] == pytest.approx(width, rel=0.02)
    airy = kernels.parse("airy:12")
    middle = len(airy) // 2
    line = airy[middle, middle:]
    assert int(np.argmin(line[:16])) == 12 and fwhm(airy)[1] == pytest.approx(2 * 12 * 1.6163 / 3.8317, rel=0.01)
    for word in ("moffat:2.8", "moffat:2.8,1", "airy:0", "airy:40"):
        with pytest.raises(InputError, match=word.split(":")[0]):
            kernels.parse(word)


def test_a_measured_one_is_centred_without_background_and_says_so() -> None:
    blob = 70 + 900 * points((15, 21, 25), [(6, 9, 13)], (1.5, 2, 2))
    values, notes = cleaned(blob)
    assert values.shape == (13, 19, 23) and np.unravel_index(values.argmax(), values.shape) == (6, 9, 11)
    assert values.sum() == pytest.approx(1) and "peak" in notes[0] and "7.2" in notes[1]
    np.testing.assert_allclose(fwhm(values), [1.5 * WIDTH, 2 * WIDTH, 2 * WIDTH], rtol=0.03)
    skewed = points((1, 31, 31), [(0, 15, 15)], (1, 2, 2)) + 0.8 * points((1, 31, 31), [(0, 15, 19)], (1, 2, 2))
    assert cleaned(skewed, "centroid")[0].shape == (31, 31 - 4)
    for bad in (lambda: cleaned(blob, "corner"), lambda: cleaned(np.ones((5, 5))), lambda: cleaned(blob * np.nan)):
        with pytest.raises(InputError):
            bad()


def test_widths_survive_resampling_and_trimming() -> None:
    fine = Spread(kernels.normalise(points((41, 61, 61), [(20, 30, 30)], (4, 6, 6))), (0.1, 0.05, 0.05), "µm")
    coarse = resampled(fine, (0.3, 0.1, 0.1))
    np.testing.assert_allclose(coarse.widths(), fine.widths(), rtol=0.05)
    assert "resampled from steps of 0.1 x 0.05 x 0.05" in coarse.notes[-1]
    assert resampled(fine, (0.1, 0.0501, 0.05)) is fine
    small = trimmed(fine.values)
    assert small.size < fine.values.size and all(n % 2 for n in small.shape)
    np.testing.assert_allclose(fwhm(small), fwhm(fine.values), rtol=1e-6)


def test_beads_give_the_width_of_one_bead() -> None:
    rng = np.random.default_rng(0)
    places = [(15.3, 20.2, 22.7), (14.8, 60.5, 25.1), (15.4, 24.4, 66.2), (15.1, 64.0, 68.5), (15.0, 90.0, 3.0)]
    stack = rng.poisson(20 + 800 * points((31, 96, 96), places, (2.2, 1.6, 1.6))).astype(np.uint16)
    found = beads(stack, (0.2, 0.1, 0.1), "µm")
    assert "mean of 4 beads of 5" in found.notes[0] and np.argmax(found.values) == found.values.size // 2
    np.testing.assert_allclose(found.widths(), [0.2 * 2.2 * WIDTH, 0.16 * WIDTH, 0.16 * WIDTH], rtol=0.05)
    with pytest.raises(InputError, match="no bead"):
        beads(rng.poisson(20, (9, 40, 40)))


def test_stars_give_the_width_that_photutils_fits() -> None:
    photutils = pytest.importorskip("photutils.psf")
    from pnpkit.psf.stars import stars

    rng = np.random.default_rng(1)
    grid = [(y, x) for y in range(18, 130, 28) for x in range(18, 130, 28)]
    places = [(y + rng.uniform(-0.5, 0.5), x + rng.uniform(-0.5, 0.5)) for y, x in grid]
    field = rng.poisson(300 + 4000 * points((120, 120), places, (1.4, 1.4))).astype(float)
    field[:, 60] = np.nan
    found = stars(field)
    assert fwhm(found.values)[0] == pytest.approx(1.4 * WIDTH, rel=0.05)
    own = photutils.fit_fwhm(np.nan_to_num(field - 300), xypos=[(x, y) for y, x in places[:5]], fit_shape=(9, 9))
    assert fwhm(found.values)[1] == pytest.approx(np.median(own), rel=0.05)
    with pytest.raises(InputError):
        stars(rng.normal(0, 1, (64, 64)))


def test_optics_have_the_width_of_theory() -> None:
    pytest.importorskip("psfmodels")
    from pnpkit.psf.optics import optics

    scalar = optics(0.6, 520, 1.0, 0.08, 0.25, model="scalar", size=61, planes=31)
    np.testing.assert_allclose(scalar.widths()[1:], 0.51 * 0.52 / 0.6, rtol=0.05)
    assert scalar.widths()[0] == pytest.approx(0.88 * 0.52 / (1 - np.sqrt(1 - 0.36)), rel=0.07)
    confocal = optics(0.6, 520, 1.0, 0.08, 0.25, model="scalar", size=61, planes=31, excitation=488, pinhole=0.3)
    assert confocal.widths()[1] < 0.8 * scalar.widths()[1]
    assert optics(0.6, 520, 1.0, 0.08, size=61).values.shape == (61, 61)
    for given in [(1.6, 520, 1.515, 0.1), (1.4, 0.52, 1.515, 0.1), (1.4, 520, 1.515, -1)]:
        with pytest.raises(InputError):
            optics(*given)


def test_a_missing_library_is_one_line(monkeypatch: Any) -> None:
    from pnpkit.psf.optics import optics
    from pnpkit.psf.stars import stars

    monkeypatch.setitem(sys.modules, "psfmodels", None)
    monkeypatch.setitem(sys.modules, "photutils.psf", None)
    with pytest.raises(InputError, match=r"pip install 'pnpkit\[psf\]'"):
        optics(1.4, 520, 1.515, 0.1, 0.3)
    with pytest.raises(InputError, match=r"pip install 'pnpkit\[psf\]'"):
        stars(np.zeros((64, 64)))


@pytest.mark.parametrize("suffix", [".tif", ".fits", ".npy"])
def test_what_is_saved_is_a_kernel_again(tmp_path: Path, suffix: str) -> None:
    values = kernels.normalise(points((5, 9, 11), [(2, 4, 5)], (1, 2, 2)))
    path = tmp_path / f"psf{suffix}"
    files.save(path, Spread(values, (0.3, 0.1, 0.1), "µm"))
    np.testing.assert_allclose(kernels.parse(str(path)), values, rtol=1e-5, atol=1e-9)
    if suffix == ".tif":
        assert stacks.read(path).step() == pytest.approx((0.3, 0.1, 0.1)) and stacks.read(path).unit == "µm"
    flat = kernels.moffat(2.8, 3.5)
    files.save(tmp_path / f"flat{suffix}", Spread(flat, (1.0, 1.0)))
    np.testing.assert_allclose(kernels.parse(str(tmp_path / f"flat{suffix}")), flat, rtol=1e-5, atol=1e-9)
    with pytest.raises(InputError, match="3 dimensions is written as .tif .tiff .fits .npy"):
        files.save(tmp_path / "psf.png", Spread(values, (0.3, 0.1, 0.1), "µm"))


def test_the_commands(tmp_path: Path, cli: Any) -> None:
    code, out, error = cli("psf", "moffat", "--fwhm", "2.8", "--beta", "3.5", "-o", tmp_path / "m.fits",
                           "--picture", tmp_path / "m.png")  # fmt: skip
    assert code == 0 and "y 2.8" in out, error
    with Image.open(tmp_path / "m.png") as shown:
        assert min(shown.size) > 300
    words = ["--wavelength", "550", "--f-number", "8", "--pixel", "1.5"]
    assert cli("psf", "airy", *words, "-o", tmp_path / "a.png")[0] == 0
    assert cli("psf", "airy", "-o", tmp_path / "b.png")[0] == 2
    rng = np.random.default_rng(0)
    bead = gaussian_filter(points((21, 41, 41), [(10.2, 20.3, 19.6)], (2, 2, 2)), 0) * 500 + 50
    stack = rng.poisson(bead).astype(np.uint16)
    tifffile.imwrite(tmp_path / "beads.tif", stack, imagej=True, resolution=(10, 10),
                     metadata={"axes": "ZYX", "unit": "um", "spacing": 0.2})  # fmt: skip
    code, out, error = cli("psf", "beads", tmp_path / "beads.tif", "-o", tmp_path / "psf.tif")
    assert code == 0 and "µm" in out and "1 beads" in out, error
    assert stacks.read(tmp_path / "psf.tif").step() == pytest.approx((0.2, 0.1, 0.1))
    code, _, error = cli("psf", "beads", tmp_path / "beads.tif", "-o", tmp_path / "beads.tif", "--overwrite")
    assert code == 2 and "inputs stay untouched" in error
    with pytest.raises(InputError, match="inputs stay untouched"):
        shown_there = str(tmp_path / "a.png")
        finish(Spread(kernels.disk(2.0), (1.0, 1.0)), str(tmp_path / "x.tif"), shown_there, True, True, shown_there)
    words = ["--to-z-step", "0.4", "-o", tmp_path / "coarse.tif"]
    assert cli("psf", "measured", tmp_path / "beads.tif", *words)[0] == 0
    assert stacks.read(tmp_path / "coarse.tif").step() == pytest.approx((0.4, 0.1, 0.1))
