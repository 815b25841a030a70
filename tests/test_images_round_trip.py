"""Real files of instruments, read and written: axes, type, numbers, scale and metadata are as they were.

The files are not part of the repository; where they are absent the synthetic ones of the other files stand alone.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import tifffile
from astropy.io import fits
from astropy.wcs import WCS

from pnpkit.images import files, stacks
from pnpkit.images.formats.fits import quietly

BESIDE = Path(__file__).parents[2] / "shared" / "data" / "instruments"
ROOT = Path(os.environ.get("PNPKIT_INSTRUMENTS", BESIDE))
SKY, CELLS = sorted(ROOT.glob("astro/*.fits")), sorted(ROOT.glob("micro*/*.tif"))
STALE = ("EXTEND", "DATAMIN", "DATAMAX")  # cards of the whole file, and of numbers that a restoration changes
TEXTS = ("COMMENT", "HISTORY")
absent = pytest.mark.skipif(not (SKY and CELLS), reason="the files of instruments are not here")


def there_and_back(path: Path, place: Path) -> Path:
    made = place / path.name
    if stacks.is_stack(path):
        stacks.write(made, stacks.read(path))
    else:
        files.write(made, files.read(path, unknown=True))
    return made


def image_of(units: fits.HDUList) -> fits.PrimaryHDU:
    return next(unit for unit in units if unit.is_image and unit.size and len(unit.shape) > 1)


@absent
@pytest.mark.parametrize("path", SKY, ids=lambda path: path.name)
def test_files_of_telescopes(path: Path, tmp_path: Path) -> None:
    made = there_and_back(path, tmp_path)
    with (
        quietly(),
        fits.open(path, do_not_scale_image_data=True) as a,
        fits.open(made, do_not_scale_image_data=True) as b,
    ):
        b.verify("exception")
        before, after = image_of(a), image_of(b)
        known = np.isfinite(before.data)  # what is unknown is filled in
        assert after.data.dtype == before.data.dtype
        np.testing.assert_array_equal(after.data[known], before.data[known])
        a_cards, b_cards = (
            sorted((card.keyword, str(card.value)) for card in header.cards if card.keyword not in (*STALE, *TEXTS, ""))
            for header in (before.header, after.header)
        )
        assert a_cards == b_cards
        for name in TEXTS:
            assert str(after.header.get(name, "")) == str(before.header.get(name, "")), name
        assert WCS(after.header, naxis=2).wcs.compare(WCS(before.header, naxis=2).wcs)


@absent
@pytest.mark.parametrize("path", CELLS, ids=lambda path: path.name)
def test_files_of_microscopes(path: Path, tmp_path: Path) -> None:
    made = there_and_back(path, tmp_path)
    with tifffile.TiffFile(path) as a, tifffile.TiffFile(made) as b:
        before, after = a.series[0], b.series[0]
        assert after.axes == before.axes.replace("Q", "Z") and after.dtype == before.dtype
        np.testing.assert_array_equal(b.asarray(), a.asarray())
        told, kept = a.imagej_metadata or {}, b.imagej_metadata or {}
        for name in ("spacing", "Labels", "Properties", "Info") if stacks.is_stack(path) else ("unit", "min", "max"):
            assert kept.get(name) == told.get(name), name
        for name in ("XResolution", "YResolution"):
            top, bottom = a.pages[0].tags.valueof(name, (1, 1))
            up, down = b.pages[0].tags.valueof(name, (1, 1))
            assert up / down == pytest.approx(top / bottom)
    if stacks.is_stack(path):
        one, other = stacks.read(path), stacks.read(made)
        assert (one.axes, one.unit) == (other.axes, other.unit) and other.steps == pytest.approx(one.steps)


@absent
@pytest.mark.parametrize("suffix", [".npy", ".npz", ".fits", ".zarr", ".tif"])
def test_a_stack_of_a_microscope_in_every_format(suffix: str, tmp_path: Path) -> None:
    if suffix == ".zarr":
        pytest.importorskip("zarr")
    stack = stacks.read(ROOT / "micro3d" / "grid-confocal-21x150x150.tif")
    stacks.write(tmp_path / f"a{suffix}", stack)
    back = stacks.read(tmp_path / f"a{suffix}")
    assert back.samples.dtype == stack.samples.dtype and back.axes == stack.axes == "ZYX"
    np.testing.assert_array_equal(back.samples, stack.samples)
    if suffix in (".zarr", ".tif"):  # the others have no place for it
        assert back.step() == pytest.approx(stack.step()) and back.unit == stack.unit == "µm"
