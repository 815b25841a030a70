"""Images of other libraries, one-channel images, kernels with leading axes, and Pillow's modes: what comes back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import pnpkit as pk
from pnpkit import kernels
from pnpkit.errors import InputError
from pnpkit.images.pixels import as_array

GREY = np.random.default_rng(0).random((12, 10)).astype(np.float32)
COLOUR = np.random.default_rng(1).random((12, 10, 3)).astype(np.float32)
FAST = {"denoiser": "identity", "noise_level": 0.02}


def test_a_channel_axis_of_length_one_comes_back() -> None:
    plain = pk.denoise(GREY, **FAST).image
    for run in (pk.denoise(GREY[..., None], **FAST), pk.denoise(image=GREY[..., None], **FAST)):
        assert run.image.shape == (12, 10, 1) and np.array_equal(run.image[..., 0], plain)
    assert pk.upscale(GREY[..., None], 2, max_steps=1, **FAST).image.shape == (24, 20, 1)
    mask = np.zeros((12, 10), bool)
    mask[3] = True
    assert pk.inpaint(GREY[..., None], mask, max_steps=1, **FAST).image.shape == (12, 10, 1)


def test_a_result_with_one_channel_is_written_and_shown(tmp_path: Path) -> None:
    run = pk.denoise(GREY[..., None], **FAST)
    run.save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as written:
        assert written.size == (10, 12)
    assert (run._repr_png_() or b"").startswith(b"\x89PNG")
    assert np.asarray(run).shape == (12, 10, 1)


def test_a_result_prints_in_one_short_line() -> None:
    text = repr(pk.deblur(GREY, "box:3", denoiser="wavelet", max_steps=3))
    assert len(text) < 120 and "12x10" in text and "3 steps" in text and "proven" in text
    assert "nothing is guaranteed" in repr(pk.deblur(GREY, "box:3", denoiser=lambda x, sigma: x, max_steps=1))


@pytest.mark.parametrize("shape", [(3, 5), (1, 3, 5), (3, 5, 1), (1, 1, 3, 5)])
def test_kernels_with_axes_of_length_one(shape: tuple[int, ...]) -> None:
    weights = np.arange(15.0).reshape(3, 5)
    np.testing.assert_array_equal(kernels.normalise(weights.reshape(shape)), kernels.normalise(weights))
    with pytest.raises(InputError, match="2-D"):
        kernels.normalise(np.ones((2, 1, 3, 5)))


MODES = "1 L P RGB RGBA LA La RGBa RGBX CMYK YCbCr HSV LAB I F I;16 I;16B".split()


@pytest.mark.parametrize("mode", MODES)
def test_pillow_images_of_every_mode(mode: str) -> None:
    source = Image.fromarray(np.round(255 * COLOUR).astype(np.uint8))
    if mode in ("La", "RGBa"):
        image = source.convert("LA" if mode == "La" else "RGBA").convert(mode)
    else:
        image = (source.convert("L") if mode in ("I;16", "I;16B", "LA") else source).convert(mode)
    array = as_array(image)
    grey = mode in ("1", "L", "LA", "La", "I", "F", "I;16", "I;16B")
    assert array.shape == ((12, 10) if grey else (12, 10, 3)) and array.dtype.isnative
    assert pk.denoise(image, denoiser="identity").image.shape == array.shape
    if mode == "RGBA":
        np.testing.assert_array_equal(array, np.asarray(source))


def test_pillow_images_that_cannot_be_read_are_refused() -> None:
    clear = Image.new("RGBA", (4, 4), (255, 0, 0, 100))
    with pytest.raises(InputError, match="transparent"):
        as_array(clear)


class Labelled:
    """What of xarray's DataArray is asked for."""

    def __init__(self, data, dims, attrs=None, name=None, coords=None) -> None:  # type: ignore[no-untyped-def]
        self.data, self.dims, self.attrs, self.name = data, tuple(dims), attrs or {}, name
        self.coords = {} if coords is None else coords
        self.values, self.ndim, self.shape = np.asarray(data), np.ndim(data), np.shape(data)

    def copy(self, data) -> Labelled:  # type: ignore[no-untyped-def]
        return Labelled(data, self.dims, self.attrs, self.name, self.coords)

    def __array__(self, dtype=None, copy=None) -> np.ndarray:  # type: ignore[no-untyped-def]
        return self.values


def test_labelled_arrays_keep_their_labels() -> None:
    image = Labelled(GREY, ("y", "x"), {"unit": "e"}, "star", {"y": np.arange(12)})
    found = pk.denoise(image, **FAST).image
    assert isinstance(found, Labelled) and found.attrs == {"unit": "e"} and found.coords is image.coords
    bands = Labelled(np.moveaxis(COLOUR, -1, 0), ("band", "y", "x"))
    found = pk.denoise(bands, **FAST).image
    assert found.shape == (3, 12, 10)
    np.testing.assert_array_equal(np.moveaxis(found.values, 0, -1), pk.denoise(COLOUR, **FAST).image)
    large = pk.upscale(image, 2, max_steps=1, **FAST).image
    assert large.shape == (24, 20) and large.dims == ("y", "x") and large.coords == {}, "old labels do not fit"


def test_xarray_comes_back_as_it_came() -> None:
    xarray = pytest.importorskip("xarray")
    image = xarray.DataArray(GREY, dims=("y", "x"), coords={"x": np.arange(10) * 0.5}, attrs={"unit": "e"}, name="star")
    run = pk.denoise(image, **FAST)
    assert isinstance(run.image, xarray.DataArray) and run.image.attrs == image.attrs and run.image.name == "star"
    np.testing.assert_array_equal(run.image["x"], image["x"])
    np.testing.assert_array_equal(np.asarray(run), pk.denoise(GREY, **FAST).image)


def test_dask_comes_back_as_it_came() -> None:
    array = pytest.importorskip("dask.array")
    image = array.from_array(COLOUR, chunks=(6, 5, 3))
    found = pk.denoise(image, **FAST).image
    assert isinstance(found, array.Array) and found.chunks == image.chunks
    np.testing.assert_array_equal(found.compute(), pk.denoise(COLOUR, **FAST).image)
