"""Files in and out: what is read is written back as it was, what cannot be is refused in one line with the path."""

from __future__ import annotations

import dataclasses
import importlib.util
import math
import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import png
import pytest
import tifffile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image, ImageCms, ImageOps

from pnpkit import images
from pnpkit.errors import InputError
from pnpkit.images import Picture
from pnpkit.metrics import psnr, ssim

ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def random_picture(dtype: str, channels: int, with_alpha: bool, shape: tuple[int, int] = (11, 14)) -> Picture:
    """Every pixel on a value that the dtype can hold, both ends of the range included."""
    rng = np.random.default_rng(7)
    size = shape if channels == 1 else (*shape, 3)
    if dtype.startswith("uint"):
        high = float(np.iinfo(dtype).max)
        pixels = (rng.integers(0, int(high), size, endpoint=True) / high).astype(np.float32)
        alpha = rng.integers(0, int(high), shape, endpoint=True).astype(dtype)
    else:
        high = 1.0
        pixels, alpha = rng.random(size).astype(dtype), rng.random(shape).astype(dtype)
    pixels.flat[0], pixels.flat[1] = 0, 1
    alpha.flat[5] = 0  # colours under full transparency must survive too
    return Picture(pixels, alpha if with_alpha else None, np.dtype(dtype), 0.0, high)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_bytes(samples: np.ndarray, colour_type: int, depth: int, extra: bytes = b"", size: Any = None) -> bytes:
    """A PNG put together by hand from the specification, independent of the code under test."""
    height, width = size or samples.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2" if depth == 16 else "u1").tobytes() for row in samples)
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    body = extra + chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body + chunk(b"IEND", b"")


def refused(path: Path, *words: str, action: Callable[[], object] | None = None) -> str:
    """The action raises InputError: one line, with the path and the words."""
    with pytest.raises(InputError) as caught:
        (action or (lambda: images.read(path)))()
    message = str(caught.value)
    assert "\n" not in message
    for word in (str(path), *words):
        assert word in message
    return message


# ------------------------------------------------------------------------------------------------- round trips


LOSSLESS = [
    *[(ext, dtype, c, a) for ext in (".png",) for dtype in ("uint8", "uint16") for c in (1, 3) for a in (False, True)],
    *[
        (ext, dtype, c, a)
        for ext in (".tif", ".tiff")
        for dtype in ("uint8", "uint16", "float16", "float32", "float64")
        for c in (1, 3)
        for a in (False, True)
    ],
    (".webp", "uint8", 3, False),
    (".webp", "uint8", 3, True),
    (".bmp", "uint8", 1, False),
    (".bmp", "uint8", 3, False),
    (".PNG", "uint8", 3, False),
]


@pytest.mark.parametrize(("ext", "dtype", "channels", "with_alpha"), LOSSLESS)
def test_round_trip_is_exact(tmp_path: Path, ext: str, dtype: str, channels: int, with_alpha: bool) -> None:
    picture = random_picture(dtype, channels, with_alpha)
    images.write(tmp_path / f"a{ext}", picture)
    back = images.read(tmp_path / f"a{ext}")
    assert back.dtype == dtype and (back.low, back.high) == (picture.low, picture.high)
    assert back.notes == ()
    np.testing.assert_array_equal(back.pixels, picture.pixels)
    if with_alpha:
        assert back.alpha is not None and back.alpha.dtype == dtype
        np.testing.assert_array_equal(back.alpha, picture.alpha)
    else:
        assert back.alpha is None
    images.write(tmp_path / f"b{ext}", back)
    assert (tmp_path / f"a{ext}").read_bytes() == (tmp_path / f"b{ext}").read_bytes()


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (2, 3), (3, 2)])
@pytest.mark.parametrize("ext", [".png", ".tif", ".bmp", ".webp"])
@pytest.mark.parametrize("channels", [1, 3])
def test_small_shapes(tmp_path: Path, shape: tuple[int, int], ext: str, channels: int) -> None:
    picture = random_picture("uint8", channels, ext in (".png", ".tif"), (4, 9))
    crop = dataclasses.replace(picture, pixels=picture.pixels[: shape[0], : shape[1]], alpha=None)
    if picture.alpha is not None:
        crop = dataclasses.replace(crop, alpha=picture.alpha[: shape[0], : shape[1]])
    images.write(tmp_path / f"a{ext}", crop)
    back = images.read(tmp_path / f"a{ext}").pixels
    # WebP has colour only: grey comes back as three equal channels
    np.testing.assert_array_equal(back[..., 0] if back.ndim > crop.pixels.ndim else back, crop.pixels)


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize(("colour_type", "channels"), [(0, 1), (4, 2), (2, 3), (6, 4)])
def test_png_against_the_specification(tmp_path: Path, depth: int, colour_type: int, channels: int) -> None:
    samples = np.random.default_rng(1).integers(0, 2**depth, (5, 6, channels))
    path = tmp_path / "a.png"
    path.write_bytes(png_bytes(samples, colour_type, depth))
    picture = images.read(path)
    top = 2**depth - 1
    assert picture.dtype == f"uint{depth}" and picture.pixels.dtype == np.float32
    colours = samples[..., :3] if channels > 2 else samples[..., 0]
    np.testing.assert_array_equal(np.rint(picture.pixels * top), colours)
    if channels in (2, 4):
        np.testing.assert_array_equal(picture.alpha, samples[..., -1])


def test_interlaced_16_bit_colour_png(tmp_path: Path) -> None:
    samples = np.random.default_rng(2).integers(0, 65536, (9, 7, 3), dtype=np.uint16)
    with (tmp_path / "a.png").open("wb") as file:
        png.Writer(7, 9, greyscale=False, bitdepth=16, interlace=True).write(file, samples.reshape(9, -1))
    np.testing.assert_array_equal(np.rint(images.read(tmp_path / "a.png").pixels * 65535), samples)


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize(("colour_type", "channels"), [(0, 1), (2, 3)])
def test_transparent_colour_becomes_alpha(tmp_path: Path, depth: int, colour_type: int, channels: int) -> None:
    samples = np.random.default_rng(3).integers(0, 2**depth, (4, 5, channels))
    clear = samples[2, 3]
    path = tmp_path / "a.png"
    path.write_bytes(png_bytes(samples, colour_type, depth, chunk(b"tRNS", clear.astype(">u2").tobytes())))
    picture = images.read(path)
    assert picture.alpha is not None and picture.alpha[2, 3] == 0 and picture.alpha.max() == 2**depth - 1
    np.testing.assert_array_equal(np.rint(np.atleast_3d(picture.pixels) * (2**depth - 1)), samples)


def test_floats_beyond_0_1_keep_their_range(tmp_path: Path) -> None:
    values = np.random.default_rng(4).normal(1000, 300, (8, 9)).astype(np.float32)
    tifffile.imwrite(tmp_path / "a.tif", values)
    picture = images.read(tmp_path / "a.tif")
    assert picture.pixels.min() == 0 and picture.pixels.max() == 1
    assert (picture.low, picture.high) == (values.min(), values.max())
    images.write(tmp_path / "b.tif", picture)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "b.tif"), values)


def test_floats_within_0_1_keep_their_scale(tmp_path: Path) -> None:
    values = np.random.default_rng(4).uniform(0.2, 0.7, (8, 9)).astype(np.float32)
    tifffile.imwrite(tmp_path / "a.tif", values)
    picture = images.read(tmp_path / "a.tif")
    np.testing.assert_array_equal(picture.pixels, values)
    assert (picture.low, picture.high) == (0, 1) and picture.pixels.dtype == np.float32


def test_tiff_alpha_is_declared_straight(tmp_path: Path) -> None:
    for channels in (1, 3):
        images.write(tmp_path / "a.tif", random_picture("uint8", channels, True))
        with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
            assert tiff.pages.first.extrasamples == (tifffile.EXTRASAMPLE.UNASSALPHA,)


def test_constant_float_outside_0_1(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.full((3, 4), 7, np.float64))
    picture = images.read(tmp_path / "a.tif")
    assert (picture.pixels == 0).all()
    images.write(tmp_path / "b.tif", picture)
    assert (tifffile.imread(tmp_path / "b.tif") == 7).all()


def test_integers_are_clipped_and_rounded_to_nearest(tmp_path: Path) -> None:
    picture = Picture(np.array([[-0.5, 0.0, 0.4 / 255, 0.6 / 255, 1.0, 1.7]]))
    images.write(tmp_path / "a.png", picture)
    assert np.asarray(Image.open(tmp_path / "a.png")).tolist() == [[0, 0, 0, 1, 255, 255]]


@pytest.mark.parametrize("ext", [".jpg", ".jpeg"])
@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_is_close(tmp_path: Path, ext: str, channels: int) -> None:
    ramp = np.add.outer(np.linspace(0, 0.5, 40), np.linspace(0, 0.5, 50)).astype(np.float32)
    pixels = ramp if channels == 1 else np.dstack([ramp, ramp[::-1], ramp[:, ::-1]])
    images.write(tmp_path / f"a{ext}", Picture(pixels))
    back = images.read(tmp_path / f"a{ext}")
    assert back.pixels.shape == pixels.shape and back.dtype == np.uint8
    assert psnr(back.pixels, pixels) > 40


# ------------------------------------------------------------------------------------------ what reading converts


@pytest.mark.parametrize("ext", [".jpg", ".png", ".webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path: Path, orientation: int, ext: str) -> None:
    source = Image.fromarray(np.random.default_rng(5).integers(0, 256, (16, 24, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = orientation, "camera"
    source.save(tmp_path / f"a{ext}", exif=exif)
    picture = images.read(tmp_path / f"a{ext}")
    with Image.open(tmp_path / f"a{ext}") as image:
        upright = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    np.testing.assert_array_equal(np.rint(picture.pixels * 255), upright)
    assert picture.notes == (("EXIF orientation applied",) if orientation > 1 else ())
    # written upright, the tag must not turn it once more; the other tags stay
    images.write(tmp_path / f"b{ext}", picture)
    again = images.read(tmp_path / f"b{ext}")
    assert again.pixels.shape == picture.pixels.shape and again.notes == ()
    assert again.exif is not None and b"camera" in again.exif


def test_tiff_orientation(tmp_path: Path) -> None:
    values = np.arange(12, dtype=np.uint8).reshape(3, 4)
    tifffile.imwrite(tmp_path / "a.tif", values, extratags=[(274, 3, 1, 6, True)])
    picture = images.read(tmp_path / "a.tif")
    np.testing.assert_array_equal(np.rint(picture.pixels * 255), np.rot90(values, -1))
    assert picture.notes == ("EXIF orientation applied",)


@pytest.mark.parametrize(
    ("ext", "dtype"),
    [
        (".png", "uint8"),
        (".png", "uint16"),
        (".webp", "uint8"),
        (".jpg", "uint8"),
        (".tif", "uint8"),
        (".tif", "float32"),
    ],
)
def test_colour_profile_is_kept(tmp_path: Path, ext: str, dtype: str) -> None:
    images.write(tmp_path / f"a{ext}", dataclasses.replace(random_picture(dtype, 3, False), icc=ICC))
    assert images.read(tmp_path / f"a{ext}").icc == ICC


@pytest.mark.parametrize("ext", [".png", ".webp", ".jpg"])
def test_damaged_exif_does_not_cost_the_picture(tmp_path: Path, ext: str) -> None:
    Image.new("RGB", (9, 8), "red").save(tmp_path / f"a{ext}", exif=b"Exif\0\0garbagegarbage")
    picture = images.read(tmp_path / f"a{ext}")
    assert picture.pixels.shape == (8, 9, 3) and picture.exif is None
    if ext != ".jpg":  # there Pillow takes it for no EXIF at all
        assert picture.notes == ("damaged EXIF left out",)


def test_nested_exif_is_kept(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 8
    exif.get_ifd(0x8769)[0x9003] = "2024:01:02 03:04:05"  # the date of the photograph
    Image.new("RGB", (9, 8), "red").save(tmp_path / "a.jpg", exif=exif)
    images.write(tmp_path / "b.png", images.read(tmp_path / "a.jpg"))
    with Image.open(tmp_path / "b.png") as image:
        assert image.size == (8, 9)
        assert image.getexif().get_ifd(0x8769)[0x9003] == "2024:01:02 03:04:05"


def test_exif_of_a_16_bit_colour_png(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010F] = "camera"
    images.write(tmp_path / "a.png", dataclasses.replace(random_picture("uint16", 3, True), exif=exif.tobytes()))
    assert images.read(tmp_path / "a.png").exif == exif.tobytes()


@pytest.mark.parametrize("transparent", [False, True])
def test_palette(tmp_path: Path, transparent: bool) -> None:
    colours = np.array([[255, 0, 0], [0, 128, 0], [0, 0, 64]], np.uint8)
    index = np.array([[0, 1, 2], [2, 1, 0]], np.uint8)
    image = Image.fromarray(index).convert("P")
    image.putpalette(colours.tobytes())
    image.putdata(index.ravel().tolist())
    if transparent:
        image.info["transparency"] = 1
    image.save(tmp_path / "a.png")
    picture = images.read(tmp_path / "a.png")
    np.testing.assert_array_equal(np.rint(picture.pixels * 255), colours[index])
    assert picture.notes == ("palette converted to RGB",)
    if transparent:
        np.testing.assert_array_equal(picture.alpha, np.where(index == 1, 0, 255))
    else:
        assert picture.alpha is None


def test_one_bit_png_and_tiff_become_8_bit_grey(tmp_path: Path) -> None:
    bits = np.random.default_rng(6).random((5, 11)) > 0.5
    Image.fromarray(bits).save(tmp_path / "a.png")
    tifffile.imwrite(tmp_path / "a.tif", bits, photometric="minisblack")
    Image.fromarray(bits).save(tmp_path / "b.tif")
    for name in ("a.png", "a.tif", "b.tif"):
        picture = images.read(tmp_path / name)
        assert picture.dtype == np.uint8 and picture.notes == ("1 bit converted to 8 bit grey",)
        np.testing.assert_array_equal(picture.pixels, bits)


def test_cmyk_jpeg(tmp_path: Path) -> None:
    Image.new("CMYK", (20, 10), (0, 255, 255, 0)).save(tmp_path / "a.jpg", quality=100, icc_profile=ICC)
    picture = images.read(tmp_path / "a.jpg")
    np.testing.assert_allclose(picture.pixels, np.broadcast_to([1.0, 0, 0], (10, 20, 3)), atol=0.02)
    assert len(picture.notes) == 1 and "CMYK converted to RGB" in picture.notes[0]
    assert picture.icc is None


def test_tiff_variants(tmp_path: Path) -> None:
    rng = np.random.default_rng(8)
    grey, colour = rng.integers(0, 65536, (9, 8), np.uint16), rng.integers(0, 65536, (9, 8, 3), np.uint16)
    path = tmp_path / "a.tif"

    for layout in ({}, {"compression": "zlib", "tile": (16, 16)}):
        tifffile.imwrite(path, grey, byteorder=">", **layout)
        picture = images.read(path)
        np.testing.assert_array_equal(np.rint(picture.pixels * 65535), grey)
        assert picture.dtype.isnative

    tifffile.imwrite(path, np.moveaxis(colour, -1, 0), photometric="rgb", planarconfig="separate")
    np.testing.assert_array_equal(np.rint(images.read(path).pixels * 65535), colour)

    tifffile.imwrite(path, grey, photometric="miniswhite")
    picture = images.read(path)
    np.testing.assert_array_equal(np.rint(picture.pixels * 65535), 65535 - grey)
    assert "white-is-zero" in picture.notes[0]

    colormap = rng.integers(0, 256, (3, 256)).astype(np.uint16) * 257
    index = rng.integers(0, 256, (9, 8), np.uint8)
    tifffile.imwrite(path, index, photometric="palette", colormap=colormap)
    picture = images.read(path)
    np.testing.assert_array_equal(np.rint(picture.pixels * 255), np.moveaxis(colormap[:, index] >> 8, 0, -1))
    assert picture.notes == ("palette converted to RGB",)


def test_tiff_thumbnail_is_not_a_frame(tmp_path: Path) -> None:
    main = np.arange(64, dtype=np.uint8).reshape(8, 8)
    with tifffile.TiffWriter(tmp_path / "a.tif") as tiff:
        tiff.write(main, metadata=None)
        tiff.write(main[::2, ::2].copy(), metadata=None, subfiletype=1)
    np.testing.assert_array_equal(np.rint(images.read(tmp_path / "a.tif").pixels * 255), main)


def test_content_decides_not_the_extension(tmp_path: Path) -> None:
    images.write(tmp_path / "a.png", random_picture("uint8", 3, False))
    (tmp_path / "a.png").rename(tmp_path / "a.jpg")
    np.testing.assert_array_equal(images.read(tmp_path / "a.jpg").pixels, random_picture("uint8", 3, False).pixels)


# --------------------------------------------------------------------------------------------- refused when reading


def test_unreadable_and_unwritable_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*args: Any) -> None:
        raise PermissionError("denied")

    path = tmp_path / "a.png"
    path.touch()
    with monkeypatch.context() as patch:  # root may read everything, so chmod would not do
        patch.setattr(Path, "open", denied)
        refused(path, "permission denied")
    monkeypatch.setattr(os, "access", lambda place, mode: False)
    refused(path, "may be written to", action=lambda: images.check_output(path, [], True))
    refused(tmp_path / ("a" * 300), "nothing there")


def test_a_phone_jpeg_with_a_preview_is_no_animation(tmp_path: Path) -> None:
    photo, preview = Image.new("RGB", (40, 30), "red"), Image.new("RGB", (8, 6), "red")
    photo.save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=[preview])
    with Image.open(tmp_path / "a.jpg") as image:
        assert getattr(image, "n_frames", 1) == 2
    assert images.read(tmp_path / "a.jpg").pixels.shape == (30, 40, 3)


def test_nothing_there_a_folder_an_empty_file_and_text(tmp_path: Path) -> None:
    refused(tmp_path / "absent.png", "nothing there")
    refused(tmp_path, "folder")
    (tmp_path / "empty.png").touch()
    refused(tmp_path / "empty.png", "empty")
    (tmp_path / "text.png").write_text("no image at all")
    refused(tmp_path / "text.png", "PNG", "no image")
    (tmp_path / "sound.webp").write_bytes(b"RIFF\x24\0\0\0WAVEfmt " + bytes(40))
    refused(tmp_path / "sound.webp", "damaged")


@pytest.mark.parametrize("fraction", [0.02, 0.3, 0.7, 0.95])
@pytest.mark.parametrize(
    ("name", "dtype", "channels"),
    [
        ("a.png", "uint8", 3),
        ("a.png", "uint16", 1),
        ("a.png", "uint16", 3),
        ("a.jpg", "uint8", 3),
        ("a.webp", "uint8", 3),
        ("a.bmp", "uint8", 3),
        ("a.tif", "uint16", 3),
    ],
)
def test_truncated(tmp_path: Path, name: str, dtype: str, channels: int, fraction: float) -> None:
    path = tmp_path / name
    images.write(path, random_picture(dtype, channels, False, (60, 70)))
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * fraction)])
    refused(path, "truncated")


def test_truncated_compressed_tiff(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    noise = np.random.default_rng(9).integers(0, 256, (60, 70), np.uint8)
    tifffile.imwrite(path, noise, compression="zlib", rowsperstrip=10)
    path.write_bytes(path.read_bytes()[:-2000])
    refused(path, "truncated")


@pytest.mark.parametrize("magic", [b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\0", b"MM\0*", b"BM", b"GIF89a"])
def test_header_and_noise(tmp_path: Path, magic: bytes) -> None:
    (tmp_path / "a").write_bytes(magic)
    refused(tmp_path / "a", "expected")
    (tmp_path / "a").write_bytes(magic + np.random.default_rng(0).bytes(500))
    refused(tmp_path / "a", "expected")


@pytest.mark.parametrize(("name", "options"), [("a.gif", {}), ("a.png", {}), ("a.webp", {"lossless": True})])
def test_animations(tmp_path: Path, name: str, options: dict[str, Any]) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "green", "blue")]
    frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], **options)
    refused(tmp_path / name, "3 frames")


def test_still_gif(tmp_path: Path) -> None:
    Image.new("RGB", (8, 6), "red").save(tmp_path / "a.gif")
    np.testing.assert_array_equal(images.read(tmp_path / "a.gif").pixels, np.broadcast_to([1, 0, 0], (6, 8, 3)))


def test_tiff_stacks(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((5, 8, 9), np.uint8), photometric="minisblack")
    refused(tmp_path / "a.tif", "5 frames")
    volume = np.zeros((4, 16, 16), np.uint8)
    tifffile.imwrite(tmp_path / "b.tif", volume, photometric="minisblack", volumetric=True, tile=(4, 16, 16))
    refused(tmp_path / "b.tif", "4 frames")


def test_tiff_layouts_that_are_no_picture(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((4, 6, 5), np.uint8), photometric="minisblack", planarconfig="contig")
    refused(path, "5 samples")
    tifffile.imwrite(path, np.zeros((4, 6, 3), np.uint8), photometric="minisblack", planarconfig="contig")
    refused(path, "3 samples", "MINISBLACK")
    tifffile.imwrite(path, np.zeros((4, 6, 4), np.uint8), photometric="separated")
    refused(path, "SEPARATED")
    tifffile.imwrite(path, np.zeros((4, 6), np.int32))
    refused(path, "int32", "uint16")
    tifffile.imwrite(path, np.zeros((4, 6), np.complex64))
    refused(path, "complex64")
    tifffile.imwrite(path, np.zeros((4, 6, 4), np.uint8), photometric="rgb", extrasamples=["assocalpha"])
    refused(path, "premultiplied")


@pytest.mark.skipif(importlib.util.find_spec("imagecodecs") is not None, reason="imagecodecs reads it")
def test_tiff_compression_that_needs_imagecodecs(tmp_path: Path) -> None:
    Image.new("RGB", (20, 10), "red").save(tmp_path / "a.tif", compression="tiff_lzw")
    refused(tmp_path / "a.tif", "LZW", "imagecodecs")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_and_inf_are_counted(tmp_path: Path, bad: float) -> None:
    values = np.random.default_rng(0).random((5, 6, 3), np.float32)
    values[1, 2], values[4, 5, 0] = bad, bad
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="rgb")
    refused(tmp_path / "a.tif", "4 NaN or inf among 90")


@pytest.mark.parametrize("size", [(50_000, 50_000), (2**31 - 1, 2**31 - 1)])
def test_decompression_bomb_is_refused_from_the_header(tmp_path: Path, size: tuple[int, int]) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png_bytes(np.zeros((1, 1), np.uint8), 0, 8, size=size))
    refused(path, str(size[0]), str(images.MAX_PIXELS))


def test_bombs_of_other_formats(tmp_path: Path) -> None:
    images.write(tmp_path / "a.bmp", random_picture("uint8", 3, False))
    data = bytearray((tmp_path / "a.bmp").read_bytes())
    data[18:26] = struct.pack("<ii", 60_000, 60_000)
    (tmp_path / "a.bmp").write_bytes(data)
    refused(tmp_path / "a.bmp", "60000 x 60000")

    images.write(tmp_path / "a.tif", random_picture("uint8", 1, False))
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+b") as tiff:
        for name in ("ImageWidth", "ImageLength"):
            tiff.pages.first.tags[name].overwrite(60_000)
    refused(tmp_path / "a.tif", "60000 x 60000")


def test_the_limit_is_ours_and_pillow_keeps_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    images.write(path, random_picture("uint8", 3, False, (20, 20)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert images.read(path).pixels.shape == (20, 20, 3)  # neither Pillow's error nor its warning
    assert Image.MAX_IMAGE_PIXELS == 100
    monkeypatch.setattr(images, "MAX_PIXELS", 399)
    refused(path, "20 x 20", "399")


def test_no_pixels(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png_bytes(np.zeros((0, 0), np.uint8), 0, 8, size=(0, 5)))
    refused(tmp_path / "a.png", "5 x 0")


# --------------------------------------------------------------------------------------------- refused when writing


@pytest.mark.parametrize(
    ("ext", "dtype", "with_alpha"),
    [
        (".png", "float32", False),
        (".png", "float64", True),
        (".jpg", "uint16", False),
        (".jpg", "uint8", True),
        (".webp", "uint16", False),
        (".webp", "float32", False),
        (".bmp", "uint16", False),
        (".bmp", "uint8", True),
    ],
)
def test_formats_that_cannot_hold_it_name_those_that_can(
    tmp_path: Path, ext: str, dtype: str, with_alpha: bool
) -> None:
    path = tmp_path / f"a{ext}"
    picture = random_picture(dtype, 3, with_alpha)
    message = refused(path, dtype, ".tif", action=lambda: images.write(path, picture))
    assert ext not in message.split("formats that can")[1]
    assert list(tmp_path.iterdir()) == []


def test_write_refuses_nan_a_foreign_alpha_and_bad_places(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    good = random_picture("uint8", 3, True)
    assert good.alpha is not None
    nan = dataclasses.replace(good, pixels=np.full((3, 4), np.nan))
    refused(path, "12 NaN", action=lambda: images.write(path, nan))
    other = dataclasses.replace(good, alpha=good.alpha[1:])
    refused(path, "alpha", "(10, 14)", action=lambda: images.write(path, other))
    wide = dataclasses.replace(good, alpha=good.alpha.astype(np.uint16))
    refused(path, "alpha", "uint16", action=lambda: images.write(path, wide))
    odd = dataclasses.replace(good, pixels=np.zeros((3, 4, 2)))
    refused(path, "(3, 4, 2)", action=lambda: images.write(path, odd))
    nowhere = tmp_path / "absent" / "a.png"
    refused(nowhere, "create it", action=lambda: images.write(nowhere, good))
    unknown = tmp_path / "a.xyz"
    refused(unknown, *images._FORMATS, action=lambda: images.write(unknown, good))
    (tmp_path / "folder.png").mkdir()
    refused(tmp_path / "folder.png", "folder", action=lambda: images.write(tmp_path / "folder.png", good))
    assert [entry.name for entry in tmp_path.iterdir()] == ["folder.png"]


@pytest.mark.parametrize("error", [OSError("disk full"), RuntimeError("encoder broke"), KeyboardInterrupt()])
def test_a_failing_encoder_leaves_everything_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def encode(file: Any, samples: np.ndarray, picture: Picture) -> None:
        file.write(b"half a file")
        raise error

    path = tmp_path / "a.png"
    path.write_bytes(b"the old content")
    monkeypatch.setitem(images._FORMATS, ".png", (encode, ("uint8",), True))
    expected = InputError if isinstance(error, OSError) else type(error)
    with pytest.raises(expected) as caught:
        images.write(path, random_picture("uint8", 3, False))
    if expected is InputError:
        assert str(path) in str(caught.value) and "disk full" in str(caught.value)
    assert path.read_bytes() == b"the old content"
    assert list(tmp_path.iterdir()) == [path]


def test_a_real_encoder_error_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a.webp"
    refused(path, "could not be written", action=lambda: images.write(path, Picture(np.zeros((1, 17_000)))))
    assert list(tmp_path.iterdir()) == []


def test_written_files_have_ordinary_permissions(tmp_path: Path) -> None:
    images.write(tmp_path / "a.png", random_picture("uint8", 1, False))
    (tmp_path / "plain").touch()
    assert (tmp_path / "a.png").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_check_output(tmp_path: Path) -> None:
    source, target = tmp_path / "in.png", tmp_path / "out.png"
    source.touch()

    def check(path: Path, overwrite: bool = False) -> Callable[[], None]:
        return lambda: images.check_output(path, [tmp_path / "other.png", source], overwrite)

    check(target)()
    refused(tmp_path / "no" / "out.png", "create it", action=check(tmp_path / "no" / "out.png"))
    refused(tmp_path / "out.gif", ".png", ".tif", action=check(tmp_path / "out.gif"))
    refused(tmp_path / "out", ".png", ".tif", action=check(tmp_path / "out"))
    (tmp_path / "d.png").mkdir()
    refused(tmp_path / "d.png", "folder", action=check(tmp_path / "d.png", True))
    target.touch()
    refused(target, "--overwrite", action=check(target))
    check(target, True)()

    refused(source, "is the input", action=check(source, True))
    roundabout = tmp_path / "d.png" / ".." / "in.png"
    refused(roundabout, "is the input", action=check(roundabout, True))
    os.link(source, tmp_path / "hard.png")
    os.symlink(source, tmp_path / "soft.png")
    refused(tmp_path / "hard.png", "is the input", action=check(tmp_path / "hard.png", True))
    refused(tmp_path / "soft.png", "is the input", action=check(tmp_path / "soft.png", True))


# ------------------------------------------------------------------------------------------- arrays and tensors


@st.composite
def arrays_of_every_type(draw: st.DrawFn) -> np.ndarray:
    elements: dict[str, st.SearchStrategy[Any]] = {
        "uint8": st.integers(0, 255),
        "uint16": st.integers(0, 65535),
        "float16": st.floats(0, 1, width=16),
        "float32": st.floats(0, 1, width=32),
        "float64": st.floats(0, 1),
    }
    dtype = draw(st.sampled_from(sorted(elements)))
    shape = draw(st.tuples(st.integers(1, 6), st.integers(1, 6))) + draw(st.sampled_from([(), (3,)]))
    return draw(arrays.arrays(dtype, shape, elements=elements[dtype]))


@settings(max_examples=150, deadline=None)
@given(arrays_of_every_type())
def test_as_float_restores_bit_for_bit(image: np.ndarray) -> None:
    pixels, restore = images.as_float(image)
    assert pixels.dtype == (np.float64 if image.dtype == np.float64 else np.float32)
    assert pixels.min() >= 0 and pixels.max() <= 1
    back = restore(pixels)
    assert back.dtype == image.dtype
    np.testing.assert_array_equal(back, image)
    assert not np.shares_memory(pixels, image)
    if image.dtype != np.float64:  # tensors are float32
        np.testing.assert_array_equal(restore(images.from_tensor(images.to_tensor(pixels))), image)


def test_restore_clips_integers_only() -> None:
    values = np.array([[-0.2, 0.5, 1.3]])
    _, restore = images.as_float(np.zeros((1, 3), np.uint8))
    assert restore(values).tolist() == [[0, 128, 255]]
    _, restore = images.as_float(np.zeros((1, 3)))
    np.testing.assert_array_equal(restore(values), values)


@pytest.mark.parametrize(
    ("image", "word"),
    [
        (np.zeros(5), "(5,)"),
        (np.zeros((4, 5, 4)), "(4, 5, 4)"),
        (np.zeros((4, 5, 1)), "(4, 5, 1)"),
        (np.zeros((2, 4, 5, 3)), "(2, 4, 5, 3)"),
        (np.zeros((0, 5)), "(0, 5)"),
        (np.array([[0.1, np.nan]]), "1 NaN or inf among 2"),
        (np.array([[0.1, np.inf]], np.float32), "1 NaN or inf among 2"),
        (np.zeros((4, 5), np.int32), "int32"),
        (np.zeros((4, 5), bool), "bool"),
        (np.zeros((4, 5), complex), "complex128"),
        (np.full((4, 5), 200.0), "200"),
    ],
)
def test_as_float_refuses(image: np.ndarray, word: str) -> None:
    with pytest.raises(InputError) as caught:
        images.as_float(image)
    assert word in str(caught.value) and "\n" not in str(caught.value)


def test_noise_may_leave_the_range() -> None:
    noisy = np.array([[-0.7, 1.9]])
    np.testing.assert_array_equal(images.as_float(noisy)[0], noisy)


def test_tensor_layout() -> None:
    colour = np.random.default_rng(0).random((4, 5, 3)).astype(np.float32)
    tensor = images.to_tensor(colour[::-1])
    assert tensor.shape == (1, 3, 4, 5) and tensor.dtype == torch.float32
    assert tensor[0, 2, 0, 1].item() == colour[3, 1, 2]
    np.testing.assert_array_equal(images.from_tensor(tensor.requires_grad_()), colour[::-1])
    assert images.from_tensor(images.to_tensor(colour[..., 0])).shape == (4, 5)
    assert images.from_tensor(torch.zeros(1, 1, 1, 3, dtype=torch.float64)).dtype == np.float64
    with pytest.raises(InputError, match=r"\(2, 3, 4, 5\)"):
        images.from_tensor(torch.zeros(2, 3, 4, 5))
    with pytest.raises(InputError, match=r"\(4, 5, 2\)"):
        images.to_tensor(np.zeros((4, 5, 2)))


def test_with_pixels_takes_alpha_along() -> None:
    picture = random_picture("uint8", 3, True, (3, 4))
    assert picture.alpha is not None
    same = images.with_pixels(picture, picture.pixels / 2)
    np.testing.assert_array_equal(same.alpha, picture.alpha)
    assert (same.dtype, same.high) == (picture.dtype, picture.high)
    double = images.with_pixels(picture, np.zeros((6, 8, 3)))
    np.testing.assert_array_equal(double.alpha, picture.alpha.repeat(2, 0).repeat(2, 1))
    assert images.with_pixels(random_picture("uint8", 1, False), np.zeros((2, 2))).alpha is None


def test_importing_needs_no_torch() -> None:
    code = "import sys, pnpkit.images, pnpkit.metrics; sys.exit('torch' in sys.modules or 'skimage' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


# ------------------------------------------------------------------------------------------------------- metrics


def test_psnr() -> None:
    reference = np.full((4, 5, 3), 0.5)
    assert psnr(reference, reference) == math.inf
    assert psnr(reference + 0.1, reference) == pytest.approx(20)
    assert psnr(np.full((2, 2), 1.8), np.ones((2, 2))) == math.inf  # the image is clipped
    assert psnr(images.to_tensor(reference + 0.1), reference) == pytest.approx(20, abs=1e-5)
    assert psnr(np.zeros((2, 2)), np.ones((2, 2))) == 0


def test_ssim_is_that_of_scikit_image() -> None:
    from skimage.metrics import structural_similarity

    rng = np.random.default_rng(0)
    a, b = rng.random((20, 24, 3)), rng.random((20, 24, 3))
    expected = structural_similarity(a, b, channel_axis=-1, data_range=1.0)
    assert ssim(a, b) == pytest.approx(expected, abs=1e-12)
    assert ssim(a[..., 0], b[..., 0]) == pytest.approx(structural_similarity(a[..., 0], b[..., 0], data_range=1.0))
    assert ssim(images.to_tensor(a), images.to_tensor(b)) == pytest.approx(expected, abs=1e-5)
    for side in (3, 4, 5, 6, 7):
        assert ssim(a[:side], a[:side]) == pytest.approx(1)
    with pytest.raises(InputError, match="3 x 3"):
        ssim(a[:2], b[:2])


@pytest.mark.parametrize("metric", [psnr, ssim])
def test_metrics_refuse(metric: Callable[..., float]) -> None:
    with pytest.raises(InputError, match=r"\(8, 9\).*\(9, 8\)"):
        metric(np.zeros((8, 9)), np.zeros((9, 8)))
    with pytest.raises(InputError, match="uint8"):
        metric(np.zeros((8, 9), np.uint8), np.zeros((8, 9)))
    with pytest.raises(InputError, match=r"\(2, 3, 8, 8\)"):
        metric(torch.zeros(2, 3, 8, 8), torch.zeros(2, 3, 8, 8))
