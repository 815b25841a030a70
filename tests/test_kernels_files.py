"""Kernels in files: what is read, written and refused."""

from __future__ import annotations

import os
import pickle
import runpy
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pnpkit import kernels
from pnpkit.errors import InputError


def test_a_file_wins_over_a_bare_family_name_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    kernels.save("box.npy", kernels.motion(5, 20))
    np.testing.assert_allclose(kernels.parse("box.npy"), kernels.motion(5, 20), rtol=1e-14)
    (tmp_path / "box").write_bytes(b"x")
    with pytest.raises(InputError, match="kernel file 'box'"):
        kernels.parse("box")


@settings(max_examples=20, deadline=None)
@given(shape=st.tuples(st.integers(1, 12), st.integers(1, 12)), seed=st.integers(0, 2**32 - 1))
def test_save_then_load_gives_the_kernel_back(
    tmp_path_factory: pytest.TempPathFactory, shape: tuple[int, int], seed: int
) -> None:
    folder = tmp_path_factory.mktemp("kernels")
    kernel = kernels.normalise(np.random.default_rng(seed).random(shape) + 1e-3)
    kernels.save(folder / "k.npy", kernel)
    np.testing.assert_allclose(kernels.load(folder / "k.npy"), kernel, rtol=1e-14)
    kernels.save(folder / "k.png", kernel)
    np.testing.assert_allclose(kernels.load(folder / "k.png"), kernel, atol=2e-5 * kernel.max())
    assert sorted(p.name for p in folder.iterdir()) == ["k.npy", "k.png"]  # nothing temporary stays


def test_save_refuses_and_leaves_the_old_file_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=".npy or .png"):
        kernels.save(tmp_path / "k.jpg", kernels.box(3))
    with pytest.raises(InputError, match="cannot write the kernel to"):
        kernels.save(tmp_path / "missing" / "k.npy", kernels.box(3))
    with pytest.raises(InputError, match="positive sum"):
        kernels.save(tmp_path / "k.npy", np.zeros((3, 3)))
    kernels.save(tmp_path / "k.npy", kernels.box(3))

    def full_disk(source: object, target: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full_disk)
    with pytest.raises(InputError, match="No space left on device"):
        kernels.save(tmp_path / "k.npy", kernels.box(5))
    np.testing.assert_allclose(kernels.load(tmp_path / "k.npy"), kernels.box(3), rtol=1e-14)
    assert [p.name for p in tmp_path.iterdir()] == ["k.npy"]


@pytest.mark.parametrize("suffix", [".png", ".tif", ".TIFF", ".bmp"])
def test_image_kernels_of_any_scale(tmp_path: Path, suffix: str) -> None:
    array = np.array([[0, 10, 0], [20, 100, 20], [0, 10, 0]], dtype=np.uint8)
    iio.imwrite(tmp_path / f"k{suffix}", array, extension=suffix.lower())
    np.testing.assert_allclose(kernels.load(tmp_path / f"k{suffix}"), array / 160, rtol=1e-14)


def test_colour_and_alpha_pass_only_when_they_say_nothing(tmp_path: Path) -> None:
    grey = np.arange(9, dtype=np.uint8).reshape(3, 3)
    opaque = np.full((3, 3, 1), 255, dtype=np.uint8)
    colour = np.repeat(grey[..., None], 3, axis=2)
    Image.fromarray(grey).convert("P").save(tmp_path / "palette.png")
    iio.imwrite(tmp_path / "rgb.png", colour)
    iio.imwrite(tmp_path / "rgba.png", np.concatenate([colour, opaque], 2))
    iio.imwrite(tmp_path / "la.png", np.concatenate([grey[..., None], opaque], 2))
    for name in ("palette", "rgb", "rgba", "la"):
        np.testing.assert_allclose(kernels.load(tmp_path / f"{name}.png"), grey / 36, rtol=1e-14)
    colour[0, 0, 1] += 1
    iio.imwrite(tmp_path / "coloured.png", colour)
    with pytest.raises(InputError, match="coloured.png.*expected a grey one"):
        kernels.load(tmp_path / "coloured.png")
    iio.imwrite(tmp_path / "clear.png", np.concatenate([np.repeat(grey[..., None], 3, 2), opaque - 1], 2))
    with pytest.raises(InputError, match="clear.png.*transparent"):
        kernels.load(tmp_path / "clear.png")


def test_a_float_tiff_is_checked_like_an_array(tmp_path: Path) -> None:
    iio.imwrite(tmp_path / "k.tif", np.array([[0.5, 1.5]], dtype=np.float32))
    np.testing.assert_allclose(kernels.load(tmp_path / "k.tif"), [[0.25, 0.75, 0]])
    iio.imwrite(tmp_path / "nan.tif", np.array([[0.5, np.nan]], dtype=np.float32))
    with pytest.raises(InputError, match="nan.tif.*NaN"):
        kernels.load(tmp_path / "nan.tif")


class Trap:
    """Unpickling it would raise."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, ("raise SystemExit('unpickled')",)


def vast(folder: Path) -> bytes:
    """An array that claims to be of 10^14 numbers."""
    np.save(folder / "one.npy", np.ones((1, 1)))
    return (folder / "one.npy").read_bytes().replace(b"(1, 1), }" + 14 * b" ", b"(10000000, 10000000), }")


def write_bad_files(folder: Path) -> dict[str, str]:
    """File name -> a word of its error."""
    np.save(folder / "object.npy", np.array([[Trap()]], dtype=object), allow_pickle=True)
    (folder / "pickle.npy").write_bytes(pickle.dumps(Trap()))
    np.save(folder / "nan.npy", np.array([[1.0, np.nan]]))
    np.save(folder / "negative.npy", np.array([[1.0, -1.0]]))
    np.save(folder / "zero.npy", np.zeros((3, 3)))
    np.save(folder / "line.npy", np.ones(3))
    np.save(folder / "huge.npy", np.ones((1, 502)))
    np.save(folder / "complex.npy", np.ones((3, 3), dtype=complex))
    with open(folder / "archive.npy", "wb") as file:
        np.savez(file, a=np.ones((3, 3)))
    (folder / "zip.npy").write_bytes(b"PK\x03\x04 damaged")
    (folder / "vast.npy").write_bytes(vast(folder))
    grey = np.rint(255 * kernels.gaussian(1.0) / kernels.gaussian(1.0).max()).astype(np.uint8)
    tifffile.imwrite(folder / "white.tif", 255 - grey, photometric="miniswhite")
    Image.fromarray(grey).convert("RGB").quantize(64).save(folder / "palette.tif")
    (folder / "cut.npy").write_bytes((folder / "zero.npy").read_bytes()[:-9])
    for name in ("empty.npy", "empty.png", "empty.tif"):
        (folder / name).write_bytes(b"")
    for name in ("text.npy", "text.png", "text.tif", "text.bmp"):
        (folder / name).write_bytes(b"this is not a kernel")
    (folder / "kernel.txt").write_bytes(b"1 2 1")
    (folder / "folder.png").mkdir()
    iio.imwrite(folder / "black.png", np.zeros((5, 5), dtype=np.uint8))
    whole = iio.imwrite("<bytes>", np.random.default_rng(0).integers(0, 255, (40, 40), np.uint8), extension=".png")
    (folder / "cut.png").write_bytes(whole[:200])
    return {
        "missing.npy": "does not exist",
        "missing.png": "does not exist",
        "folder.png": "does not exist",
        "object.npy": "not a .npy file of plain numbers",
        "pickle.npy": "not a .npy file of plain numbers",
        "archive.npy": "archive",
        "cut.npy": "not a .npy file",
        "zip.npy": "not a .npy file",
        "vast.npy": "not a .npy file",
        "white.tif": "MINISWHITE",
        "palette.tif": "PALETTE",
        "nan.npy": "NaN",
        "negative.npy": "non-negative",
        "zero.npy": "positive sum",
        "line.npy": "2-D",
        "huge.npy": "at most 501x501",
        "complex.npy": "real",
        "empty.npy": "empty",
        "empty.png": "empty",
        "empty.tif": "empty",
        "text.npy": "not a .npy file",
        "text.png": "not a readable image",
        "text.tif": "not a readable image",
        "text.bmp": "not a readable image",
        "cut.png": "not a readable image",
        "black.png": "positive sum",
        "kernel.txt": "not one of .npy",
    }


def test_every_bad_file_is_refused_by_name(tmp_path: Path) -> None:
    for name, word in write_bad_files(tmp_path).items():
        with pytest.raises(InputError) as caught:
            kernels.parse(str(tmp_path / name))
        message = str(caught.value)
        assert name in message and word in message and "\n" not in message, message


def test_copies_of_the_measured_kernels_are_checked(tmp_path: Path) -> None:
    prepare = runpy.run_path(str(Path(__file__).parent.parent / "data" / "levin" / "prepare.py"))
    assert len(prepare["problems"](tmp_path, tmp_path)) == 2 + 8 + 16 + 8  # sharp, measured, blurred, floating point
    for number in range(1, 9):
        np.save(tmp_path / f"levin09_{number}.npy", np.full((3, 3), (1 + (number == 8)) / 9))
    found = prepare["problems"](tmp_path, tmp_path)
    assert len(found) == 2 + 8 + 16 + 1 and "levin09_8.npy: expected a sum of 1" in found[-1]


def test_what_may_be_wrong_with_a_measured_kernel_is_said() -> None:
    middle = kernels.gaussian(1.5)
    assert kernels.doubts(middle) == "" and kernels.doubts(np.ones((1, 1))) == ""
    moved = np.roll(np.pad(middle, 4), (-2, 3), axis=(0, 1))
    assert "-2.0 px down, +3.0 px right" in kernels.doubts(moved)
    background = kernels.normalise(np.pad(middle, 4) + 0.02 * middle.max())
    assert "% of it lies on its rim" in kernels.doubts(background)
    assert "px down" not in kernels.doubts(background)
