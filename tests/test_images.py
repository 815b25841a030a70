"""Files in and out: what is read is written back as it was, and what reading converts is noted."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import png
import pytest
import tifffile
from pictures import ICC, chunk, png_bytes, random_picture
from PIL import Image, ImageOps

from pnpkit.images import files
from pnpkit.images import picture as images_picture
from pnpkit.images.metrics import psnr
from pnpkit.images.picture import Picture

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
    files.write(tmp_path / f"a{ext}", picture)
    back = files.read(tmp_path / f"a{ext}")
    assert back.dtype == dtype and (back.low, back.high) == (picture.low, picture.high)
    assert back.notes == ()
    np.testing.assert_array_equal(back.pixels, picture.pixels)
    if with_alpha:
        assert back.alpha is not None and back.alpha.dtype == dtype
        np.testing.assert_array_equal(back.alpha, picture.alpha)
    else:
        assert back.alpha is None
    files.write(tmp_path / f"b{ext}", back)
    assert (tmp_path / f"a{ext}").read_bytes() == (tmp_path / f"b{ext}").read_bytes()


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (2, 3), (3, 2)])
@pytest.mark.parametrize("ext", [".png", ".tif", ".bmp", ".webp"])
@pytest.mark.parametrize("channels", [1, 3])
def test_small_shapes(tmp_path: Path, shape: tuple[int, int], ext: str, channels: int) -> None:
    picture = random_picture("uint8", channels, ext in (".png", ".tif"), (4, 9))
    crop = dataclasses.replace(picture, pixels=picture.pixels[: shape[0], : shape[1]], alpha=None)
    if picture.alpha is not None:
        crop = dataclasses.replace(crop, alpha=picture.alpha[: shape[0], : shape[1]])
    files.write(tmp_path / f"a{ext}", crop)
    back = files.read(tmp_path / f"a{ext}").pixels
    # WebP has colour only: grey comes back as three equal channels
    np.testing.assert_array_equal(back[..., 0] if back.ndim > crop.pixels.ndim else back, crop.pixels)


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize(("colour_type", "channels"), [(0, 1), (4, 2), (2, 3), (6, 4)])
def test_png_against_the_specification(tmp_path: Path, depth: int, colour_type: int, channels: int) -> None:
    samples = np.random.default_rng(1).integers(0, 2**depth, (5, 6, channels))
    path = tmp_path / "a.png"
    path.write_bytes(png_bytes(samples, colour_type, depth))
    picture = files.read(path)
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
    np.testing.assert_array_equal(np.rint(files.read(tmp_path / "a.png").pixels * 65535), samples)


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize(("colour_type", "channels"), [(0, 1), (2, 3)])
def test_transparent_colour_becomes_alpha(tmp_path: Path, depth: int, colour_type: int, channels: int) -> None:
    samples = np.random.default_rng(3).integers(0, 2**depth, (4, 5, channels))
    clear = samples[2, 3]
    path = tmp_path / "a.png"
    path.write_bytes(png_bytes(samples, colour_type, depth, chunk(b"tRNS", clear.astype(">u2").tobytes())))
    picture = files.read(path)
    assert picture.alpha is not None and picture.alpha[2, 3] == 0 and picture.alpha.max() == 2**depth - 1
    np.testing.assert_array_equal(np.rint(np.atleast_3d(picture.pixels) * (2**depth - 1)), samples)


def test_floats_beyond_0_1_keep_their_range(tmp_path: Path) -> None:
    values = np.random.default_rng(4).normal(1000, 300, (8, 9)).astype(np.float32)
    tifffile.imwrite(tmp_path / "a.tif", values)
    picture = files.read(tmp_path / "a.tif")
    assert picture.pixels.min() == 0 and picture.pixels.max() == 1
    assert (picture.low, picture.high) == (values.min(), values.max())
    files.write(tmp_path / "b.tif", picture)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "b.tif"), values)


def test_floats_within_0_1_keep_their_scale(tmp_path: Path) -> None:
    values = np.random.default_rng(4).uniform(0.2, 0.7, (8, 9)).astype(np.float32)
    tifffile.imwrite(tmp_path / "a.tif", values)
    picture = files.read(tmp_path / "a.tif")
    np.testing.assert_array_equal(picture.pixels, values)
    assert (picture.low, picture.high) == (0, 1) and picture.pixels.dtype == np.float32


def test_tiff_alpha_is_declared_straight(tmp_path: Path) -> None:
    for channels in (1, 3):
        files.write(tmp_path / "a.tif", random_picture("uint8", channels, True))
        with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
            assert tiff.pages.first.extrasamples == (tifffile.EXTRASAMPLE.UNASSALPHA,)


def test_constant_float_outside_0_1(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.full((3, 4), 7, np.float64))
    picture = files.read(tmp_path / "a.tif")
    assert (picture.pixels == 0).all()
    files.write(tmp_path / "b.tif", picture)
    assert (tifffile.imread(tmp_path / "b.tif") == 7).all()


def test_integers_are_clipped_and_rounded_to_nearest(tmp_path: Path) -> None:
    picture = Picture(np.array([[-0.5, 0.0, 0.4 / 255, 0.6 / 255, 1.0, 1.7]]))
    files.write(tmp_path / "a.png", picture)
    assert np.asarray(Image.open(tmp_path / "a.png")).tolist() == [[0, 0, 0, 1, 255, 255]]


@pytest.mark.parametrize("ext", [".jpg", ".jpeg"])
@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_is_close(tmp_path: Path, ext: str, channels: int) -> None:
    ramp = np.add.outer(np.linspace(0, 0.5, 40), np.linspace(0, 0.5, 50)).astype(np.float32)
    pixels = ramp if channels == 1 else np.dstack([ramp, ramp[::-1], ramp[:, ::-1]])
    files.write(tmp_path / f"a{ext}", Picture(pixels))
    back = files.read(tmp_path / f"a{ext}")
    assert back.pixels.shape == pixels.shape and back.dtype == np.uint8
    assert psnr(back.pixels, pixels) > 40


@pytest.mark.parametrize("ext", [".jpg", ".png", ".webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path: Path, orientation: int, ext: str) -> None:
    source = Image.fromarray(np.random.default_rng(5).integers(0, 256, (16, 24, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = orientation, "camera"
    source.save(tmp_path / f"a{ext}", exif=exif)
    picture = files.read(tmp_path / f"a{ext}")
    with Image.open(tmp_path / f"a{ext}") as image:
        upright = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    np.testing.assert_array_equal(np.rint(picture.pixels * 255), upright)
    assert picture.notes == (("EXIF orientation applied",) if orientation > 1 else ())
    # written upright, the tag must not turn it once more; the other tags stay
    files.write(tmp_path / f"b{ext}", picture)
    again = files.read(tmp_path / f"b{ext}")
    assert again.pixels.shape == picture.pixels.shape and again.notes == ()
    assert again.exif is not None and b"camera" in again.exif


def test_tiff_orientation(tmp_path: Path) -> None:
    values = np.arange(12, dtype=np.uint8).reshape(3, 4)
    tifffile.imwrite(tmp_path / "a.tif", values, extratags=[(274, 3, 1, 6, True)])
    picture = files.read(tmp_path / "a.tif")
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
    files.write(tmp_path / f"a{ext}", dataclasses.replace(random_picture(dtype, 3, False), icc=ICC))
    assert files.read(tmp_path / f"a{ext}").icc == ICC


@pytest.mark.parametrize("ext", [".png", ".webp", ".jpg"])
def test_damaged_exif_does_not_cost_the_picture(tmp_path: Path, ext: str) -> None:
    Image.new("RGB", (9, 8), "red").save(tmp_path / f"a{ext}", exif=b"Exif\0\0garbagegarbage")
    picture = files.read(tmp_path / f"a{ext}")
    assert picture.pixels.shape == (8, 9, 3) and picture.exif is None
    if ext != ".jpg":  # there Pillow takes it for no EXIF at all
        assert picture.notes == ("damaged EXIF left out",)


def test_nested_exif_is_kept(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 8
    exif.get_ifd(0x8769)[0x9003] = "2024:01:02 03:04:05"  # the date of the photograph
    Image.new("RGB", (9, 8), "red").save(tmp_path / "a.jpg", exif=exif)
    files.write(tmp_path / "b.png", files.read(tmp_path / "a.jpg"))
    with Image.open(tmp_path / "b.png") as image:
        assert image.size == (8, 9)
        assert image.getexif().get_ifd(0x8769)[0x9003] == "2024:01:02 03:04:05"


def test_exif_of_a_16_bit_colour_png(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010F] = "camera"
    files.write(tmp_path / "a.png", dataclasses.replace(random_picture("uint16", 3, True), exif=exif.tobytes()))
    assert files.read(tmp_path / "a.png").exif == exif.tobytes()


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
    picture = files.read(tmp_path / "a.png")
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
        picture = files.read(tmp_path / name)
        assert picture.dtype == np.uint8 and picture.notes == ("1 bit converted to 8 bit grey",)
        np.testing.assert_array_equal(picture.pixels, bits)


def test_cmyk_jpeg(tmp_path: Path) -> None:
    Image.new("CMYK", (20, 10), (0, 255, 255, 0)).save(tmp_path / "a.jpg", quality=100, icc_profile=ICC)
    picture = files.read(tmp_path / "a.jpg")
    np.testing.assert_allclose(picture.pixels, np.broadcast_to([1.0, 0, 0], (10, 20, 3)), atol=0.02)
    assert len(picture.notes) == 1 and "CMYK converted to RGB" in picture.notes[0]
    assert picture.icc is None


def test_tiff_variants(tmp_path: Path) -> None:
    rng = np.random.default_rng(8)
    grey, colour = rng.integers(0, 65536, (9, 8), np.uint16), rng.integers(0, 65536, (9, 8, 3), np.uint16)
    path = tmp_path / "a.tif"

    for layout in ({}, {"compression": "zlib", "tile": (16, 16)}):
        tifffile.imwrite(path, grey, byteorder=">", **layout)
        picture = files.read(path)
        np.testing.assert_array_equal(np.rint(picture.pixels * 65535), grey)
        assert picture.dtype.isnative

    tifffile.imwrite(path, np.moveaxis(colour, -1, 0), photometric="rgb", planarconfig="separate")
    np.testing.assert_array_equal(np.rint(files.read(path).pixels * 65535), colour)

    tifffile.imwrite(path, grey, photometric="miniswhite")
    picture = files.read(path)
    np.testing.assert_array_equal(np.rint(picture.pixels * 65535), 65535 - grey)
    assert "white-is-zero" in picture.notes[0]

    colormap = rng.integers(0, 256, (3, 256)).astype(np.uint16) * 257
    index = rng.integers(0, 256, (9, 8), np.uint8)
    tifffile.imwrite(path, index, photometric="palette", colormap=colormap)
    picture = files.read(path)
    np.testing.assert_array_equal(np.rint(picture.pixels * 255), np.moveaxis(colormap[:, index] >> 8, 0, -1))
    assert picture.notes == ("palette converted to RGB",)


def test_tiff_thumbnail_is_not_a_frame(tmp_path: Path) -> None:
    main = np.arange(64, dtype=np.uint8).reshape(8, 8)
    with tifffile.TiffWriter(tmp_path / "a.tif") as tiff:
        tiff.write(main, metadata=None)
        tiff.write(main[::2, ::2].copy(), metadata=None, subfiletype=1)
    np.testing.assert_array_equal(np.rint(files.read(tmp_path / "a.tif").pixels * 255), main)


def test_content_decides_not_the_extension(tmp_path: Path) -> None:
    files.write(tmp_path / "a.png", random_picture("uint8", 3, False))
    (tmp_path / "a.png").rename(tmp_path / "a.jpg")
    np.testing.assert_array_equal(files.read(tmp_path / "a.jpg").pixels, random_picture("uint8", 3, False).pixels)


@pytest.mark.parametrize("extension", [".png", ".jpg", ".tif", ".bmp"])
@pytest.mark.parametrize("deep", [False, True])
def test_the_scale_of_a_picture_is_kept(tmp_path: Path, extension: str, deep: bool) -> None:
    if deep and extension in (".jpg", ".bmp"):
        return
    high, dtype = (65535.0, np.uint16) if deep else (255.0, np.uint8)
    pixels = np.random.default_rng(0).random((10, 12, 3))
    picture = images_picture.Picture(pixels, dtype=np.dtype(dtype), high=high, density=(300.0, 150.0, 2))
    path = tmp_path / f"a{extension}"
    files.write(path, picture)
    back = files.read(path)
    assert back.density is not None and back.density[2] == 2
    assert back.density[:2] == pytest.approx((300, 150), rel=1e-3)
    doubled = images_picture.with_pixels(back, np.zeros((20, 24, 3)), 2)
    assert doubled.density is not None and doubled.density[:2] == pytest.approx((600, 300), rel=1e-3)


def test_what_imagej_says_of_a_micrograph_is_kept(tmp_path: Path) -> None:
    path, copy = tmp_path / "cells.tif", tmp_path / "copy.tif"
    words = {"unit": "um", "Info": "10x, 488 nm"}
    tifffile.imwrite(path, np.ones((8, 9), np.uint16), imagej=True, resolution=(9.2, 9.2), metadata=words)
    picture = files.read(path)
    files.write(copy, picture)
    with tifffile.TiffFile(path) as old, tifffile.TiffFile(copy) as new:
        assert old.imagej_metadata is not None and new.imagej_metadata is not None
        assert new.imagej_metadata["unit"] == "um"
        assert new.pages[0].tags["XResolution"].value == pytest.approx(old.pages[0].tags["XResolution"].value)
    assert images_picture.with_pixels(picture, np.zeros((16, 18))).description == "ImageJ=1.11a\nunit=um"


def test_a_turned_picture_turns_its_scale(tmp_path: Path) -> None:
    path = tmp_path / "turned.tif"
    turned = [(0x0112, "H", 1, 6, True)]
    tifffile.imwrite(path, np.ones((8, 9), np.uint8), resolution=(100, 200), extratags=turned, metadata=None)
    picture = files.read(path)
    assert picture.pixels.shape == (9, 8) and picture.density is not None and picture.density[:2] == (200, 100)


@pytest.mark.parametrize(
    "tags",
    [
        [(282, 11, 1, 72.0, True), (283, 11, 1, 72.0, True)],
        [(282, 3, 1, 72, True), (283, 3, 1, 72, True)],
        [(282, 5, 1, (72, 0), True), (283, 5, 1, (72, 0), True)],
        [(282, 5, 2, (72, 1, 72, 1), True), (283, 5, 1, (72, 1), True), (296, 3, 2, (2, 2), True)],
        [(282, 5, 1, (72, 1), True), (283, 5, 1, (72, 1), True), (296, 3, 1, 7, True)],
    ],
)
def test_odd_resolution_tags_do_not_cost_the_picture(tmp_path: Path, tags: list) -> None:
    path = tmp_path / "odd.tif"
    tifffile.imwrite(path, np.ones((8, 9), np.uint8), extratags=tags, metadata=None)
    picture = files.read(path)
    files.write(tmp_path / "copy.tif", picture)
    assert files.read(tmp_path / "copy.tif").pixels.shape == (8, 9)


@pytest.mark.parametrize("extension", [".png", ".jpg", ".bmp", ".webp", ".tif"])
def test_a_scale_too_fine_for_a_format_is_left_out(tmp_path: Path, extension: str) -> None:
    picture = images_picture.Picture(np.zeros((8, 9, 3)), density=(1e8, 1e8, 3))
    path = tmp_path / f"a{extension}"
    files.write(path, picture)
    back = files.read(path).density
    usual = {".tif": 1e8, ".bmp": 96}.get(extension)  # Pillow gives a BMP 96 per inch where nothing is known
    assert back is None if usual is None else back is not None and back[0] == pytest.approx(usual, rel=1e-2)


def test_maker_artist_and_date_go_from_format_to_format(tmp_path: Path) -> None:
    tags = Image.Exif()
    words = {271: "Zeiss", 306: "2026:11:29 10:00:00", 315: "Müller", 33432: "© 2026 Ж"}
    tags.update({code: text.encode() for code, text in words.items()})
    Image.new("RGB", (9, 8)).save(tmp_path / "a.jpg", exif=tags)
    for before, after in (("a.jpg", "b.tif"), ("b.tif", "c.png"), ("c.png", "d.tif")):
        files.write(tmp_path / after, files.read(tmp_path / before))
    with tifffile.TiffFile(tmp_path / "d.tif") as tiff:
        assert {code: tiff.pages.first.tags.valueof(code) for code in tags} == words


def test_enlarging_keeps_the_unit_of_imagej(tmp_path: Path) -> None:
    metadata = {"unit": "um", "Info": "something of its size"}
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((8, 9), np.uint16), imagej=True, metadata=metadata, resolution=(2, 2))
    files.write(tmp_path / "b.tif", images_picture.with_pixels(files.read(tmp_path / "a.tif"), np.zeros((16, 18)), 2))
    with tifffile.TiffFile(tmp_path / "b.tif") as tiff:
        assert tiff.imagej_metadata == {"ImageJ": "1.11a", "unit": "um"}
        assert tiff.pages.first.tags.valueof("XResolution") == (4, 1)
