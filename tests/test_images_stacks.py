"""Stacks: axes, sampling, names and types survive reading, restoring and writing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from astropy.io import fits

from pnpkit.errors import InputError
from pnpkit.images import files, stacks
from pnpkit.images.picture import Picture

CUBE = np.random.default_rng(0).integers(0, 4000, (2, 3, 5, 8, 9)).astype(np.uint16)
NAMES = ["DAPI", "GFP"]


def imagej(path: Path, samples: np.ndarray, axes: str) -> None:
    told = {"axes": axes, "unit": "um", "spacing": 0.3, "Labels": [f"plane {i}" for i in range(samples.size // 72)]}
    tifffile.imwrite(path, samples, imagej=True, resolution=(10, 8), metadata=told)


def ome(path: Path, samples: np.ndarray, axes: str) -> None:
    told: dict[str, Any] = {"axes": axes, "PhysicalSizeX": 0.1, "PhysicalSizeY": 0.125, "PhysicalSizeZ": 0.3}
    told["Channel"] = {"Name": NAMES[: samples.shape[axes.index("C")]]}
    tifffile.imwrite(path, samples, ome=True, photometric="minisblack", metadata=told)


def test_imagej_stacks_come_back_with_their_sampling(tmp_path: Path) -> None:
    imagej(tmp_path / "a.tif", CUBE.transpose(0, 2, 1, 3, 4), "TZCYX")
    stack = stacks.read(tmp_path / "a.tif")
    assert stacks.is_stack(tmp_path / "a.tif") and stack.axes == "TCZYX" and stack.unit == "µm"
    assert stack.step() == pytest.approx((0.3, 0.125, 0.1))
    stacks.write(tmp_path / "b.tif", stack)
    with tifffile.TiffFile(tmp_path / "b.tif") as back:
        assert back.is_imagej and back.series[0].axes == "TZCYX" and back.imagej_metadata is not None
        assert back.imagej_metadata["spacing"] == 0.3 and back.imagej_metadata["Labels"][3] == "plane 3"
        np.testing.assert_array_equal(back.asarray(), CUBE.transpose(0, 2, 1, 3, 4))


def test_ome_stacks_keep_their_model(tmp_path: Path) -> None:
    ome(tmp_path / "a.ome.tif", CUBE[0, :2], "CZYX")
    stack = stacks.read(tmp_path / "a.ome.tif")
    assert stack.axes == "CZYX" and stack.step() == pytest.approx((0.3, 0.125, 0.1))
    stacks.write(tmp_path / "b.ome.tif", stack)
    stacks.write(tmp_path / "c.ome.tif", stacks.as_floats(stack))
    for name, dtype in (("b", np.uint16), ("c", np.float32)):
        with tifffile.TiffFile(tmp_path / f"{name}.ome.tif") as back:
            assert back.is_ome and back.series[0].axes == "CZYX" and back.series[0].dtype == dtype
            np.testing.assert_array_equal(back.asarray(), CUBE[0, :2])
            assert back.ome_metadata is not None and all(word in back.ome_metadata for word in NAMES)
    ome_types = pytest.importorskip("ome_types")
    before, after = (ome_types.from_tiff(tmp_path / f"{name}.ome.tif").images[0].pixels for name in "ab")
    for what in ("size_x", "size_z", "size_c", "type", "physical_size_z", "dimension_order"):
        assert getattr(before, what) == getattr(after, what)
    assert [c.name for c in after.channels] == NAMES


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "uint32", "float32", "float64"])
@pytest.mark.parametrize("suffix", [".tif", ".fits", ".npy", ".npz"])
def test_every_type_and_format_comes_back(tmp_path: Path, suffix: str, dtype: str) -> None:
    samples = (CUBE[0] // 20).astype(dtype)
    stacks.write(tmp_path / f"a{suffix}", stacks.Stack(samples, "CZYX"))
    back = stacks.read(tmp_path / f"a{suffix}")
    assert back.samples.dtype == dtype and (back.axes == "CZYX" or suffix == ".fits")
    np.testing.assert_array_equal(back.samples.reshape(samples.shape), samples)
    if suffix == ".fits":
        with fits.open(tmp_path / "a.fits") as units:
            units.verify("exception")


def test_four_slices_that_are_stored_as_colours_are_a_stack_by_their_own_words(tmp_path: Path) -> None:
    slices = np.random.default_rng(0).integers(0, 999, (4, 20, 21), dtype=np.uint16)
    for axes, expected in (("ZYX", True), ("CYX", False)):
        tifffile.imwrite(
            tmp_path / "v.tif", slices, metadata={"axes": axes}, photometric="rgb", planarconfig="separate"
        )
        assert stacks.is_stack(tmp_path / "v.tif") == expected
    tifffile.imwrite(tmp_path / "one.tif", slices[:1], metadata={"axes": "ZYX"})
    assert not stacks.is_stack(tmp_path / "one.tif")


def test_what_is_no_stack_is_said(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "rgb.tif", np.zeros((8, 9, 3), np.uint8), photometric="rgb")
    tifffile.imwrite(tmp_path / "grey.tif", np.zeros((8, 9), np.uint8))
    assert not stacks.is_stack(tmp_path / "rgb.tif") and not stacks.is_stack(tmp_path / "grey.tif")
    np.save(tmp_path / "a.npy", CUBE)
    for axes, words in [("ABCYX", "letters of TCZYX"), ("ZYX", "which has 5"), ("TCZXY", "YX last")]:
        with pytest.raises(InputError, match=words):
            stacks.read(tmp_path / "a.npy", axes=axes)
    (tmp_path / "cut.tif").write_bytes((tmp_path / "grey.tif").read_bytes()[:20])
    np.savez(tmp_path / "two.npz", a=CUBE, b=CUBE)
    for name, words in [("cut.tif", "damaged"), ("two.npz", "one array"), ("none.tif", "nothing there")]:
        with pytest.raises(InputError, match=words):
            stacks.read(tmp_path / name)
    with pytest.raises(InputError, match=".png"):
        stacks.write(tmp_path / "a.png", stacks.Stack(CUBE, "TCZYX"))


def test_a_stack_is_restored_file_in_file_out(tmp_path: Path, cli: Any) -> None:
    ome(tmp_path / "a.ome.tif", CUBE[0, :2], "CZYX")
    np.save(tmp_path / "psf.npy", np.ones((3, 3, 3)))
    words = ["--denoiser", "identity", "--max-steps", "2", "--boundary", "zero"]
    code, out, error = cli("deblur", tmp_path / "a.ome.tif", "--kernel", tmp_path / "psf.npy", *words)
    assert code == 0 and "C 2 x Z 5 x Y 8 x X 9" in out and "z 0.3" in out, error
    back = stacks.read(tmp_path / "a-deblurred.ome.tif")
    assert back.axes == "CZYX" and back.samples.dtype == np.uint16 and back.kind == "ome"
    two = ["--kernel", tmp_path / "psf.npy", "--kernel", "box:3"]
    code, _, error = cli("deblur", tmp_path / "a.ome.tif", *two, *words, "-o", tmp_path / "b.tif")
    assert code == 2 and "some without" in error
    code, out, error = cli("deblur", tmp_path / "a.ome.tif", "--kernel", "box:3", *words, "-o", tmp_path / "c.tif")
    assert code == 0 and "slice by slice" in out.lower(), error
    code, out, error = cli("denoise", tmp_path / "a.ome.tif", "--denoiser", "identity", "-o", tmp_path / "d.npy")
    assert code == 0, error
    np.testing.assert_array_equal(np.load(tmp_path / "d.npy"), CUBE[0, :2])
    page = ["--page", "7", "--denoiser", "identity", "-o", tmp_path / "page.tif"]
    assert cli("denoise", tmp_path / "a.ome.tif", *page)[0] == 0
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "page.tif"), CUBE[0, 1, 1])
    files.write(tmp_path / "mask.png", Picture(np.eye(8, 9, dtype=np.float32)))
    masked = ["--mask", tmp_path / "mask.png", "--overwrite", "--json", tmp_path / "page.json"]
    assert cli("denoise", tmp_path / "a.ome.tif", *page, *masked)[0] == 0
    assert json.loads((tmp_path / "page.json").read_text())["data"]["unknown"] == 8
    for wrong in (["--page", "99"], ["--region", "0,0,4,4"], ["--axes", "QYX"], ["-o", tmp_path / "x.png"]):
        code, _, error = cli("denoise", tmp_path / "a.ome.tif", *wrong)
        assert code == 2 and len(error.strip().splitlines()) == 1, error


def test_a_kernel_on_another_sampling_is_resampled_and_said(tmp_path: Path, cli: Any) -> None:
    imagej(tmp_path / "a.tif", CUBE[0, 0], "ZYX")
    psf = np.zeros((13, 5, 5), np.float32)
    psf[3:10, 1:4, 1:4] = 1
    np.save(tmp_path / "psf.npy", psf)
    words = ["--denoiser", "identity", "--max-steps", "1", "--boundary", "zero", "-o", tmp_path / "b.tif"]
    steps = ["--kernel-step", "0.1,0.125,0.1"]
    code, out, error = cli("deblur", tmp_path / "a.tif", "--kernel", tmp_path / "psf.npy", *steps, *words)
    assert code == 0 and "resampled from steps of 0.1 x 0.125 x 0.1 to 0.3 x 0.125 x 0.1" in out, error


def test_a_cube_of_fits_is_named_as_a_stack_where_it_is_read_as_a_picture(tmp_path: Path) -> None:
    fits.writeto(tmp_path / "a.fits", CUBE[0, 0].astype(np.float32))
    with pytest.raises(InputError, match="5 frames"):
        files.read(tmp_path / "a.fits")
