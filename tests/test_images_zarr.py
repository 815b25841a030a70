"""OME-Zarr: what a store says of axes, sampling and channels comes back, and the result is a store like it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from pnpkit.command import record
from pnpkit.errors import InputError
from pnpkit.images import files, stacks

zarr: Any = pytest.importorskip("zarr")

CUBE = np.random.default_rng(0).integers(0, 4000, (2, 3, 8, 9)).astype(np.uint16)
SPACE = [{"name": name, "type": "space", "unit": "micrometer"} for name in "zyx"]
CHANNELS = [{"label": "DAPI", "color": "0000FF"}, {"label": "GFP & co", "color": "00FF00"}]


def store(path: Path, samples: np.ndarray = CUBE, version: str = "0.4", levels: int = 1, **more: Any) -> Path:
    """A store by the text of the standard, not by the code under test."""
    places = [{"type": "scale", "scale": [1.0, 0.3, 0.125, 0.1]}, {"type": "translation", "translation": [0, 0, 5, 6]}]
    sets = [{"path": str(i), "coordinateTransformations": places} for i in range(levels)]
    axes = [{"name": "c", "type": "channel"}, *SPACE]
    told = {"multiscales": [{"version": version, "name": "cells", "axes": axes, "datasets": sets}]}
    told |= {"omero": {"channels": CHANNELS}, "mine": {"kept": [1, 2]}} | more
    v3 = version == "0.5"
    group = zarr.open_group(str(path), mode="w", zarr_format=3 if v3 else 2)
    for i in range(levels):
        part = samples[..., :: 2**i, :: 2**i]
        group.create_array(str(i), shape=part.shape, dtype=part.dtype, chunks=(1, 2, 4, 4))[...] = part
    group.attrs.put({"ome": told} if v3 else told)
    return path


def first_version(path: Path) -> Path:
    """Without names of axes, which were always these five."""
    group = zarr.open_group(str(path), mode="w", zarr_format=2)
    group.create_array("0", shape=(1, *CUBE.shape), dtype=CUBE.dtype)[...] = CUBE[None]
    group.attrs.put({"multiscales": [{"version": "0.1", "datasets": [{"path": "0"}]}]})
    return path


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_axes_sampling_channels_and_blocks_come_back(tmp_path: Path, version: str) -> None:
    path = store(tmp_path / "a.ome.zarr", version=version, levels=2)
    assert stacks.is_stack(path)
    stack = stacks.read(path)
    assert stack.axes == "CZYX" and stack.unit == "µm" and stack.kind == "zarr"
    assert stack.step() == pytest.approx((0.3, 0.125, 0.1)) and stacks.channel_names(stack) == ["DAPI", "GFP & co"]
    assert "resolution 0 of 2" in stack.notes[0]
    stacks.write(tmp_path / "b.zarr", stack)
    group = zarr.open_group(str(tmp_path / "b.zarr"), mode="r")
    assert group.metadata.zarr_format == 2 and list(group.array_keys()) == ["0"]
    np.testing.assert_array_equal(group["0"][...], CUBE)
    assert group["0"].dtype == np.uint16 and group["0"].chunks == (1, 2, 4, 4)
    told = json.loads((tmp_path / "b.zarr" / ".zattrs").read_text())
    image = told["multiscales"][0]
    assert image["version"] == "0.4" and image["name"] == "cells" and told["mine"] == {"kept": [1, 2]}
    assert [axis["name"] for axis in image["axes"]] == list("czyx") and image["axes"][1]["unit"] == "micrometer"
    (dataset,) = image["datasets"]
    assert dataset["coordinateTransformations"][0] == {"type": "scale", "scale": [1.0, 0.3, 0.125, 0.1]}
    assert dataset["coordinateTransformations"][1]["translation"] == [0, 0, 5, 6]
    assert [channel["label"] for channel in told["omero"]["channels"]] == ["DAPI", "GFP & co"]
    assert (tmp_path / "b.zarr" / "0" / "1" / "0" / "0" / "0").is_file(), "blocks are named by slashes"
    again = stacks.read(tmp_path / "b.zarr")
    assert (again.axes, again.steps, again.unit) == (stack.axes, stack.steps, stack.unit) and not again.notes


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint32", ">u2", "float32", "float64"])
def test_every_type_comes_back(tmp_path: Path, dtype: str) -> None:
    samples = (CUBE // 20).astype(dtype)
    stack = stacks.read(store(tmp_path / "a.zarr", samples))
    stacks.write(tmp_path / "b.zarr", stack)
    back = stacks.read(tmp_path / "b.zarr")
    assert back.samples.dtype == np.dtype(dtype).newbyteorder("=")
    np.testing.assert_array_equal(back.samples, samples)


def test_microscope_files_become_stores_and_stores_become_microscope_files(tmp_path: Path) -> None:
    told = {"axes": "CZYX", "PhysicalSizeX": 0.1, "PhysicalSizeY": 0.125, "PhysicalSizeZ": 0.3}
    names = ["DAPI", "GFP & co"]
    tifffile.imwrite(tmp_path / "a.ome.tif", CUBE, ome=True, metadata={**told, "Channel": {"Name": names}})
    stacks.write(tmp_path / "b.zarr", stacks.read(tmp_path / "a.ome.tif"))
    stack = stacks.read(tmp_path / "b.zarr")
    assert stack.axes == "CZYX" and stack.step() == pytest.approx((0.3, 0.125, 0.1)) and stack.unit == "µm"
    assert stacks.channel_names(stack) == names
    stacks.write(tmp_path / "c.ome.tif", stack)
    back = stacks.read(tmp_path / "c.ome.tif")
    assert back.kind == "ome" and back.axes == "CZYX" and back.step() == stack.step() and back.unit == "µm"
    assert stacks.channel_names(back) == names
    np.testing.assert_array_equal(back.samples, CUBE)


def test_earlier_versions_bare_arrays_and_groups_without_an_image(tmp_path: Path) -> None:
    axes = {"multiscales": [{"version": "0.3", "axes": list("czyx"), "datasets": [{"path": "0"}]}]}
    assert stacks.read(store(tmp_path / "a.zarr", version="0.3", **axes)).axes == "CZYX"
    stack = stacks.read(first_version(tmp_path / "old.zarr"))
    assert stack.axes == "TCZYX" and stack.steps == {}
    stacks.write(tmp_path / "new.zarr", stack)
    assert stacks.read(tmp_path / "new.zarr").axes == "TCZYX"
    assert stacks.read(tmp_path / "a.zarr" / "0").axes == "CZYX" and stacks.read(tmp_path / "a.zarr" / "0").unit == ""
    outer = zarr.open_group(str(tmp_path / "plate.zarr"), mode="w", zarr_format=2)
    outer.create_group("A1")
    with pytest.raises(InputError, match="a group without one; below it: A1"):
        stacks.read(tmp_path / "plate.zarr")
    (tmp_path / "a.zarr" / "0" / ".zarray").unlink()
    with pytest.raises(InputError, match="damaged"):
        stacks.read(tmp_path / "a.zarr")


def test_a_store_appears_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stack = stacks.read(store(tmp_path / "a.zarr"))
    stacks.write(tmp_path / "b.zarr", stack)
    with pytest.raises(InputError, match="exists already"):
        stacks.write(tmp_path / "b.zarr", stack, overwrite=False)
    (tmp_path / "b.zarr" / "old").write_text("of before")
    stacks.write(tmp_path / "b.zarr", stack)
    assert not (tmp_path / "b.zarr" / "old").exists()

    def fails(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pnpkit.images.formats.ome_zarr.metadata", fails)
    with pytest.raises(InputError, match="nothing was changed: .*No space left"):
        stacks.write(tmp_path / "c.zarr", stack)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.zarr", "b.zarr"]
    monkeypatch.setitem(sys.modules, "zarr", None)
    for action in (lambda: stacks.read(tmp_path / "a.zarr"), lambda: stacks.write(tmp_path / "d.zarr", stack)):
        with pytest.raises(InputError, match=r"extra 'zarr' \(zarr\): pip install 'pnpkit\[zarr\]'"):
            action()
    assert not (tmp_path / "d.zarr").exists()


def test_the_command_line_takes_stores_like_files(cli: Any, tmp_path: Path) -> None:
    path = store(tmp_path / "a.ome.zarr")
    np.save(tmp_path / "psf.npy", np.ones((3, 3, 3)))
    words = ["--denoiser", "identity", "--max-steps", "2", "--boundary", "zero"]
    words += ["--kernel", tmp_path / "psf.npy"]
    code, out, error = cli("deblur", path, *words, "--json", tmp_path / "a.json")
    assert code == 0 and "C 2 x Z 3 x Y 8 x X 9" in out, error
    made = stacks.read(tmp_path / "a-deblurred.ome.zarr")
    assert made.axes == "CZYX" and made.samples.dtype == np.uint16 and made.step() == pytest.approx((0.3, 0.125, 0.1))
    told = json.loads((tmp_path / "a-deblurred.ome.zarr" / ".zattrs").read_text())
    assert "deblur" in told["pnpkit"]["history"][0] and told["omero"]["channels"][0]["color"] == "0000FF"
    assert len(json.loads((tmp_path / "a.json").read_text())["files"][str(path)]) == 64
    assert record.existing([str(path), None, "box:3"]) == (str(path),), "what is read is not written over"
    code, _, error = cli("deblur", path, *words)
    assert code == 2 and "exists" in error
    code, _, error = cli("deblur", path, *words, "-o", path, "--overwrite")
    assert code == 2 and "inputs stay untouched" in error
    code, _, error = cli("upscale", path, "-o", tmp_path / "a.png")
    assert code == 2 and "OME-Zarr" in error and len(error.strip().splitlines()) == 1
    (tmp_path / "folder").mkdir()
    path.rename(tmp_path / "folder" / "a.ome.zarr")
    code, _, error = cli("denoise", tmp_path / "folder", "--denoiser", "identity", "-o", tmp_path / "out", "--quiet")
    assert code == 0 and stacks.read(tmp_path / "out" / "a.ome.zarr").axes == "CZYX", error
    refused = pytest.raises(InputError, match="OME-Zarr")
    with refused:
        files.read(tmp_path / "out" / "a.ome.zarr")
