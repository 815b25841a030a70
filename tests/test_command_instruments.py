"""What cannot be done with the files of instruments is said in one line, and nothing is written."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from pnpkit.images import files
from pnpkit.images.picture import Picture

IDENTITY = ("--denoiser", "identity", "--max-steps", "1", "--boundary", "zero")
RNG = np.random.default_rng(0)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a volume, channels, point-spread functions, a picture, smaller ones, and a FITS of a table."""
    monkeypatch.chdir(tmp_path)
    for name, sizes in {
        "volume": (4, 12, 13),
        "channels": (3, 4, 12, 13),
        "large": (9, 25, 25),
        "psf": (3, 3, 3),
    }.items():
        np.save(f"{name}.npy", RNG.random(sizes))
    np.save("plane.npy", np.ones((3, 3)))
    for name, size in {"picture": (12, 13), "small": (5, 6), "mask": (5, 6)}.items():
        files.write(f"{name}.tif", Picture(RNG.random(size), dtype=np.dtype(np.float32), high=1.0))
    files.write("picture.png", Picture(RNG.random((12, 13))))
    fits.writeto("unknown.fits", np.full((12, 13), np.nan, np.float32))
    table = fits.BinTableHDU.from_columns([fits.Column("flux", "E", array=np.ones(3, np.float32))])
    fits.HDUList([fits.PrimaryHDU(), table]).writeto("table.fits")
    return tmp_path


@pytest.mark.parametrize(
    "line, words",
    [
        ("deblur volume.npy --kernel large.npy", ["(9x25x25) is larger than the volume (4x12x13)", "planes"]),
        ("deblur volume.npy --kernel psf.npy --axes ABC", ["letters of TCZYX", "'ABC'"]),
        ("deblur volume.npy --kernel psf.npy --axes CZYX", ["has 3", "'CZYX'"]),
        ("deblur volume.npy --kernel psf.npy --axes CYX", ["needs an axis Z", "CYX"]),
        ("deblur volume.npy", ["not estimated: give --kernel"]),
        ("deblur channels.npy --kernel psf.npy --kernel psf.npy", ["one for each of 3 channels, got 2"]),
        (
            "deblur channels.npy --kernel psf.npy --kernel psf.npy --kernel plane.npy",
            ["some with slices and some without"],
        ),
        ("deblur picture.tif --kernel psf.npy", ["with slices is for a volume"]),
        ("deblur table.fits --kernel box:3", ["expected a FITS with an image", "BinTableHDU"]),
        (
            "deblur picture.tif --kernel box:3 --mask mask.tif",
            ["the mask is 6 x 5 pixels", "the image 13 x 12"],
        ),
        ("deblur picture.tif --kernel box:3 --weights small.tif", ["the weights are 6 x 5 pixels, the image 13 x 12"]),
        (
            "deblur picture.tif --kernel box:3 --reference small.tif",
            ["the reference is 6 x 5 pixels, grey", "not the same frame"],
        ),
        ("deblur volume.npy --kernel psf.npy --weights psf.npy", ["the weights are 3 x 3 x 3, the stack 4 x 12 x 13"]),
        ("denoise volume.npy --weights volume.npy", ["--weights", "got a stack"]),
        ("denoise volume.npy --mask mask.tif", ["--mask", "got a stack"]),
        ("denoise volume.npy --page 5 -o page.tif", ["a page from 1 to 4, got 5"]),
        ("psf beads table.fits -o p.tif", ["expected a FITS with an image"]),
        ("psf beads picture.png -o p.tif", ["expected a stack, a TIFF, FITS", "a file of another kind"]),
        ("deblur picture.png --kernel box:3 --page 1", ["expected a stack, a TIFF, FITS", "a file of another kind"]),
        ("psf stars unknown.fits -o p.tif", ["every pixel is NaN"]),
    ],
)
def test_it_is_one_line(cli: Any, place: Path, line: str, words: list[str]) -> None:
    before = sorted(path.name for path in place.iterdir())
    flags = IDENTITY if line.startswith("deblur") else ()
    code, _, error = cli(*line.split(), *flags)
    said = [text for text in error.strip().splitlines() if "so far" not in text]  # of a busy machine
    assert code == 2 and len(said) == 1 and said[0].startswith("pnpkit: "), error
    assert all(word in said[0] for word in words), said[0]
    assert sorted(path.name for path in place.iterdir()) == before


@pytest.mark.parametrize(
    "line, library, extra",
    [
        ("deblur table.fits --kernel box:3", "astropy.io", "fits"),
        ("denoise volume.npy --denoiser identity -o made.zarr", "zarr", "zarr"),
        ("psf optics --na 1.4 --wavelength 520 --index 1.515 --pixel 0.1 -o p.tif", "psfmodels", "psf"),
        ("psf stars picture.tif -o p.tif", "photutils.psf", "psf"),
    ],
)
def test_a_missing_extra_is_named(cli: Any, place: Path, monkeypatch: Any, line: str, library: str, extra: str) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    before = sorted(path.name for path in place.iterdir())
    code, _, error = cli(*line.split())
    assert code == 2 and f"pip install 'pnpkit[{extra}]'" in error and len(error.strip().splitlines()) == 1, error
    assert sorted(path.name for path in place.iterdir()) == before


def test_a_kernel_without_slices_goes_slice_by_slice_and_that_is_said(cli: Any, place: Path) -> None:
    words = ("--kernel", "plane.npy", "--axes", "ZYX", "-o", "made.npy")
    (place / ".pnpkit-0a-blocks").mkdir()  # a run of another volume was killed
    (place / ".pnpkit-0a-blocks" / "lock").touch()
    code, out, error = cli("deblur", "volume.npy", *words, *IDENTITY)
    assert code == 0 and "slice by slice, as the kernel has no slices (4 of them)" in out.lower(), error
    assert np.load("made.npy").shape == (4, 12, 13)
    assert out.count(".pnpkit-0a-blocks (0 MiB) is of a run that was stopped on ") == 1
    assert (place / ".pnpkit-0a-blocks").exists()
    assert "stopped, before it had settled, after" in out and "the slowest of 4" in out and "--max-steps" in out


def test_a_map_of_variances_comes_with_a_volume(cli: Any, place: Path) -> None:
    np.save("camera_var.npy", np.full((12, 13), 0.04))
    np.save("camera_std.npy", np.full((4, 12, 13), 0.2))
    for name in ("camera_var", "camera_std"):
        words = ("--kernel", "psf.npy", "--weights", f"{name}.npy", "-o", f"{name}-made.npy")
        code, out, error = cli("deblur", "volume.npy", *words, *IDENTITY)
        assert code == 0 and "noise level 0.2;" in out.lower(), (out, error)
    np.testing.assert_allclose(np.load("camera_var-made.npy"), np.load("camera_std-made.npy"), atol=1e-6)


def test_the_answer_on_a_stack_says_which_noise_which_kernels_and_what_quick_leaves(cli: Any, place: Path) -> None:
    counts = ("--noise", "poisson", "--gain", "0.1")
    code, out, error = cli(
        "deblur", "volume.npy", "--kernel", "psf.npy", *IDENTITY, *counts, "--explain", "-o", "a.npy"
    )
    assert code == 0 and "note: noise: poisson, gain 0.1" in out and "flux above the offset" in out, error
    assert "after 1 step" in out and "kernel of 3 x 3 pixels and 3 slices" in out
    each = [flag for _ in range(3) for flag in ("--kernel", "plane.npy")]
    code, out, error = cli("deblur", "channels.npy", *each, *IDENTITY, *counts, "-o", "b.npy")
    assert code == 0 and "each channel by a kernel of its own" in out and "one that fared worst" in out, error
    code, out, error = cli("deblur", "volume.npy", "--kernel", "psf.npy", "--quick", "-o", "c.npy")
    assert code == 0 and "Without --quick" in out and "--max-steps" not in out, error
