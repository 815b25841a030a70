"""FITS in, FITS out: values, types, headers and extensions as an astronomer expects them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from pictures import refused

from pnpkit.images import files
from pnpkit.images.picture import Picture

LONG = "a sentence that is so long that the standard continues it on the next card, and then on one more after that one"


def sky(shape: tuple[int, int] = (12, 15)) -> np.ndarray:
    y, x = np.mgrid[: shape[0], : shape[1]]
    return 100 + 900 * np.exp(-((y - 5) ** 2 + (x - 6) ** 2) / 4) + np.random.default_rng(0).normal(0, 2, shape)


def header() -> Any:
    cards = fits.Header()
    cards["BUNIT"], cards["EXPTIME"], cards["OBSERVER"] = "MJy/sr", 600.5, LONG
    cards["CTYPE1"], cards["CTYPE2"] = "RA---TAN", "DEC--TAN"
    cards["CRPIX1"], cards["CRPIX2"], cards["CRVAL1"], cards["CRVAL2"] = 7.0, 6.0, 10.0, -3.0
    cards["CD1_1"], cards["CD1_2"], cards["CD2_1"], cards["CD2_2"] = -2e-4, 1e-5, 1e-5, 2e-4
    cards.add_history("flattened by hand")
    return cards


def values(picture: Picture) -> np.ndarray:
    return picture.low + picture.pixels * (picture.high - picture.low)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "uint32", "float32", "float64"])
def test_values_type_and_header_come_back(tmp_path: Path, dtype: str) -> None:
    data = (sky() - (90 if dtype.startswith("int") else 0)) / (5 if dtype == "uint8" else 1)
    data = np.rint(data) if dtype[0] in "iu" else data
    fits.writeto(tmp_path / "a.fits", data.astype(dtype), header(), checksum=True)
    picture = files.read(tmp_path / "a.fits")
    assert picture.dtype == dtype
    files.write(tmp_path / "b.fits", picture)
    with fits.open(tmp_path / "a.fits") as before, fits.open(tmp_path / "b.fits", checksum=True) as after:
        after.verify("exception")
        np.testing.assert_allclose(after[0].data, before[0].data, rtol=1e-6)
        assert after[0].data.dtype.newbyteorder("=") == dtype
        assert after[0].header["OBSERVER"] == LONG and "flattened by hand" in str(after[0].header["HISTORY"])
        kept = [card for card in before[0].header if card not in ("CHECKSUM", "DATASUM", "HISTORY", "")]
        assert {card: before[0].header[card] for card in kept} == {card: after[0].header[card] for card in kept}


def test_scaled_integers_keep_their_scale_and_blank_pixels_are_unknown(tmp_path: Path) -> None:
    raw = np.rint(sky()).astype(np.int16)
    raw[2, 3] = -32768
    unit = fits.PrimaryHDU(raw)
    unit.header.update({"BSCALE": 0.25, "BZERO": 1500.0})
    unit.writeto(tmp_path / "a.fits")
    picture = files.read(tmp_path / "a.fits")
    assert picture.dtype == np.float32 and picture.packed is not None
    np.testing.assert_allclose(values(picture), 1500 + 0.25 * raw.astype(float), rtol=1e-6)
    files.write(tmp_path / "b.fits", picture)
    with fits.open(tmp_path / "b.fits", do_not_scale_image_data=True) as after:
        assert (after[0].header["BSCALE"], after[0].header["BZERO"]) == (0.25, 1500.0)
        np.testing.assert_array_equal(after[0].data, raw)
    unit.header["BLANK"] = -32768
    unit.data = raw
    fits.PrimaryHDU(raw, unit.header).writeto(tmp_path / "c.fits")
    stored = files.decode(tmp_path / "c.fits")[0]
    assert np.isnan(stored.samples[2, 3]) and np.isfinite(stored.samples).sum() == raw.size - 1


def several(path: Path) -> None:
    table = fits.BinTableHDU.from_columns([fits.Column("flux", "E", array=np.ones(3, np.float32))])
    science = fits.ImageHDU(sky().astype(np.float32), header(), name="SCI")
    weights = fits.ImageHDU(np.ones((12, 15), np.float32), name="WHT")
    fits.HDUList([fits.PrimaryHDU(header=fits.Header({"TELESCOP": "HST"})), table, science, weights]).writeto(path)


def test_extensions_by_name_and_number(tmp_path: Path, cli: Any) -> None:
    path = tmp_path / "field.fits"
    several(path)
    first, named, numbered = (files.read(f"{path}{part}") for part in ("", "[sci]", "[2]"))
    np.testing.assert_array_equal(first.pixels, named.pixels)
    np.testing.assert_array_equal(first.pixels, numbered.pixels)
    assert "2 (SCI)" in first.notes[0] and "3 (WHT)" in first.notes[0] and not named.notes[0].startswith("image")
    assert np.ptp(files.read(f"{path}[WHT]").pixels) == 0
    refused(Path(f"{path}[DQ]"), "2 (SCI), 3 (WHT)", "'DQ'")
    refused(Path(f"{path}[1]"), "'1'")
    code, out, error = cli("denoise", f"{path}[SCI]", "--denoiser", "identity", "--noise-level", "1")
    assert code == 0, error
    with fits.open(tmp_path / "field-SCI-denoised.fits") as made:
        made.verify("exception")
        assert made[0].header["TELESCOP"] == "HST" and made["SCI"].header["BUNIT"] == "MJy/sr"
        np.testing.assert_allclose(made["SCI"].data, sky(), rtol=1e-5)
        assert "denoise" in str(made["SCI"].header["HISTORY"])
    code, _, error = cli("denoise", f"{path}[SCI]", "-o", path, "--overwrite", "--quiet")
    assert code == 2 and "inputs stay untouched" in error


def test_a_fits_without_an_image_and_a_missing_library_are_one_line(tmp_path: Path, monkeypatch: Any) -> None:
    table = fits.BinTableHDU.from_columns([fits.Column("flux", "E", array=np.ones(3, np.float32))])
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(tmp_path / "table.fits")
    refused(tmp_path / "table.fits", "expected a FITS with an image", "BinTableHDU")
    (tmp_path / "cut.fits").write_bytes((tmp_path / "table.fits").read_bytes()[:1000])
    refused(tmp_path / "cut.fits")
    (tmp_path / "a.tif").write_bytes(b"II*\0")
    refused(Path(f"{tmp_path}/a.tif[1]"), "only a FITS file has parts", "leave out [1]", "TIFF")
    monkeypatch.setitem(sys.modules, "astropy.io", None)
    refused(tmp_path / "table.fits", "pnpkit[fits]")
    picture = Picture(sky() / 1000, dtype=np.dtype(np.float32), high=1.0)
    refused(tmp_path / "b.fits", "pnpkit[fits]", action=lambda: files.write(tmp_path / "b.fits", picture))
    assert not (tmp_path / "b.fits").exists()


def test_coordinates_follow_the_pixels(tmp_path: Path, cli: Any) -> None:
    from astropy.wcs import WCS

    fits.writeto(tmp_path / "a.fits", sky((24, 30)).astype(np.float32), header())
    before = WCS(fits.getheader(tmp_path / "a.fits"))
    code, _, error = cli("blur", tmp_path / "a.fits", "--kernel", "box:5", "-o", tmp_path / "b.fits", "--quiet")
    assert code == 0, error
    cut = WCS(fits.getheader(tmp_path / "b.fits"))
    np.testing.assert_allclose(cut.pixel_to_world_values(3, 4), before.pixel_to_world_values(5, 6), rtol=1e-12)
    words = ["--denoiser", "identity", "--max-steps", "2", "--quiet", "-o", tmp_path / "c.fits"]
    assert cli("upscale", tmp_path / "a.fits", *words)[0] == 0
    code, _, error = cli(
        "denoise", tmp_path / "a.fits", "--denoiser", "identity", "--region", "4,3,10,9", "-o", tmp_path / "d.fits"
    )
    assert code == 0, error
    part = WCS(fits.getheader(tmp_path / "d.fits"))
    np.testing.assert_allclose(part.pixel_to_world_values(2, 1), before.pixel_to_world_values(6, 4), rtol=1e-12)
    fine = WCS(fits.getheader(tmp_path / "c.fits"))
    np.testing.assert_allclose(fine.pixel_to_world_values(6.5, 8.5), before.pixel_to_world_values(3, 4), rtol=1e-12)


def test_float_writes_what_integers_would_cut(tmp_path: Path, cli: Any) -> None:
    fits.writeto(tmp_path / "a.fits", np.rint(sky()).astype(np.int16), header())
    words = ["--denoiser", "euler-fast", "--noise-level", "0.01", "--quiet", "-o"]
    assert cli("denoise", tmp_path / "a.fits", *words, tmp_path / "b.fits")[0] == 0
    assert cli("denoise", tmp_path / "a.fits", *words, tmp_path / "c.fits", "--float")[0] == 0
    whole, parts = fits.getdata(tmp_path / "b.fits"), fits.getdata(tmp_path / "c.fits")
    assert whole.dtype == ">i2" and parts.dtype == ">f4"
    np.testing.assert_array_equal(whole, np.rint(parts))
