"""Files that cannot be read or written are refused in one line, with the path."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from pictures import png_bytes, random_picture, refused
from PIL import Image

from pnpkit.errors import InputError
from pnpkit.images import files, stacks
from pnpkit.images import picture as images_picture
from pnpkit.images.picture import Picture


def test_unreadable_and_unwritable_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*args: Any) -> None:
        raise PermissionError("denied")

    path = tmp_path / "a.png"
    path.touch()
    with monkeypatch.context() as patch:  # root may read everything, so chmod would not do
        patch.setattr(Path, "open", denied)
        refused(path, "permission denied")
    monkeypatch.setattr(os, "access", lambda place, mode: False)
    refused(path, "may be written to", action=lambda: files.check_output(path, [], True))
    refused(tmp_path / ("a" * 300), "nothing there")


def test_a_phone_jpeg_with_a_preview_is_no_animation(tmp_path: Path) -> None:
    photo, preview = Image.new("RGB", (40, 30), "red"), Image.new("RGB", (8, 6), "red")
    photo.save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=[preview])
    with Image.open(tmp_path / "a.jpg") as image:
        assert getattr(image, "n_frames", 1) == 2
    assert files.read(tmp_path / "a.jpg").pixels.shape == (30, 40, 3)


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
    files.write(path, random_picture(dtype, channels, False, (60, 70)))
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
    np.testing.assert_array_equal(files.read(tmp_path / "a.gif").pixels, np.broadcast_to([1, 0, 0], (6, 8, 3)))


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
    tifffile.imwrite(path, np.zeros((4, 6), np.int64))
    refused(path, "int64", "uint16")
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
    refused(path, str(size[0]), str(images_picture.MAX_PIXELS))


def test_bombs_of_other_formats(tmp_path: Path) -> None:
    files.write(tmp_path / "a.bmp", random_picture("uint8", 3, False))
    data = bytearray((tmp_path / "a.bmp").read_bytes())
    data[18:26] = struct.pack("<ii", 60_000, 60_000)
    (tmp_path / "a.bmp").write_bytes(data)
    refused(tmp_path / "a.bmp", "60000 x 60000")

    files.write(tmp_path / "a.tif", random_picture("uint8", 1, False))
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+b") as tiff:
        for name in ("ImageWidth", "ImageLength"):
            tiff.pages.first.tags[name].overwrite(60_000)
    refused(tmp_path / "a.tif", "60000 x 60000")


def test_a_claim_that_the_file_is_too_small_for(tmp_path: Path) -> None:
    """They would take memory and time for what is not there; flat pictures are small, and are read."""
    files.write(tmp_path / "a.bmp", random_picture("uint8", 3, False))
    data = bytearray((tmp_path / "a.bmp").read_bytes())
    data[18:26] = struct.pack("<ii", 13, 2**25)
    (tmp_path / "a.bmp").write_bytes(data)
    refused(tmp_path / "a.bmp", "13 x 33554432 pixels in")

    Image.new("RGB", (9, 7)).save(tmp_path / "a.jpg", progressive=True)
    data = bytearray((tmp_path / "a.jpg").read_bytes())
    at = data.index(b"\xff\xc2") + 5
    data[at : at + 4] = struct.pack(">HH", 8000, 8000)
    (tmp_path / "a.jpg").write_bytes(data)
    refused(tmp_path / "a.jpg", "8000 x 8000 pixels in")

    Image.new("P", (9, 7)).save(tmp_path / "a.gif")
    data = bytearray((tmp_path / "a.gif").read_bytes())
    data[6:10] = struct.pack("<HH", 65296, 255)
    (tmp_path / "a.gif").write_bytes(data)
    refused(tmp_path / "a.gif", "65296 x 255 pixels in")

    for name in ("a.png", "a.webp", "a.tif", "a.jpg"):
        Image.new("L", (2010, 2000), 255).save(tmp_path / name, compression="tiff_deflate", lossless=True)
        assert files.decode(tmp_path / name)[0].samples.shape[:2] == (2000, 2010)


def test_pages_that_go_round_in_a_circle(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((4, 5), np.uint8))  # with tifffile's own note on the shape
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
        first = tiff.pages.first.offset
    data = bytearray((tmp_path / "a.tif").read_bytes())
    end = first + 2 + 12 * struct.unpack_from("<H", data, first)[0]
    second = len(data)
    data += data[first : end + 4]
    data[end : end + 4] = struct.pack("<I", second)
    data[second + end - first : second + end - first + 4] = struct.pack("<I", first)
    (tmp_path / "a.tif").write_bytes(data)
    refused(tmp_path / "a.tif", "frames")
    assert not stacks.is_stack(tmp_path / "a.tif")


def test_the_limit_is_ours_and_pillow_keeps_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    files.write(path, random_picture("uint8", 3, False, (20, 20)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert files.read(path).pixels.shape == (20, 20, 3)  # neither Pillow's error nor its warning
    assert Image.MAX_IMAGE_PIXELS == 100
    monkeypatch.setattr(images_picture, "MAX_PIXELS", 399)
    refused(path, "20 x 20", "399")


def test_no_pixels(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png_bytes(np.zeros((0, 0), np.uint8), 0, 8, size=(0, 5)))
    refused(tmp_path / "a.png", "5 x 0")


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
    message = refused(path, dtype, ".tif", action=lambda: files.write(path, picture))
    assert ext not in message.split("formats that can")[1]
    assert list(tmp_path.iterdir()) == []


def test_write_refuses_nan_a_foreign_alpha_and_bad_places(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    good = random_picture("uint8", 3, True)
    assert good.alpha is not None
    nan = dataclasses.replace(good, pixels=np.full((3, 4), np.nan))
    refused(path, "12 NaN", action=lambda: files.write(path, nan))
    other = dataclasses.replace(good, alpha=good.alpha[1:])
    refused(path, "alpha", "(10, 14)", action=lambda: files.write(path, other))
    wide = dataclasses.replace(good, alpha=good.alpha.astype(np.uint16))
    refused(path, "alpha", "uint16", action=lambda: files.write(path, wide))
    odd = dataclasses.replace(good, pixels=np.zeros((3, 4, 2)))
    refused(path, "(3, 4, 2)", action=lambda: files.write(path, odd))
    nowhere = tmp_path / "absent" / "a.png"
    refused(nowhere, "create it", action=lambda: files.write(nowhere, good))
    unknown = tmp_path / "a.xyz"
    refused(unknown, *files.extensions(), action=lambda: files.write(unknown, good))
    (tmp_path / "folder.png").mkdir()
    refused(tmp_path / "folder.png", "folder", action=lambda: files.write(tmp_path / "folder.png", good))
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
    monkeypatch.setitem(files.FORMATS, "PNG", dataclasses.replace(files.FORMATS["PNG"], encode=encode))
    expected = InputError if isinstance(error, OSError) else type(error)
    with pytest.raises(expected) as caught:
        files.write(path, random_picture("uint8", 3, False))
    if expected is InputError:
        assert str(path) in str(caught.value) and "disk full" in str(caught.value)
    assert path.read_bytes() == b"the old content"
    assert list(tmp_path.iterdir()) == [path]


def test_a_real_encoder_error_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a.webp"
    refused(path, "could not be written", action=lambda: files.write(path, Picture(np.zeros((1, 17_000)))))
    assert list(tmp_path.iterdir()) == []


def test_written_files_have_ordinary_permissions(tmp_path: Path) -> None:
    files.write(tmp_path / "a.png", random_picture("uint8", 1, False))
    (tmp_path / "plain").touch()
    assert (tmp_path / "a.png").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_check_output(tmp_path: Path) -> None:
    source, target = tmp_path / "in.png", tmp_path / "out.png"
    source.touch()

    def check(path: Path, overwrite: bool = False) -> Callable[[], None]:
        return lambda: files.check_output(path, [tmp_path / "other.png", source], overwrite)

    check(target)()
    refused(tmp_path / "no" / "out.png", "create it", action=check(tmp_path / "no" / "out.png"))
    refused(tmp_path / "out.gif", ".png", ".tif", action=check(tmp_path / "out.gif"))
    refused(tmp_path / "out", ".png", ".tif", action=check(tmp_path / "out"))
    (tmp_path / "d.png").mkdir()
    refused(tmp_path / "d.png", "folder", action=check(tmp_path / "d.png", True))
    target.touch()
    refused(target, "`overwrite`", action=check(target))
    check(target, True)()

    refused(source, "is the input", action=check(source, True))
    roundabout = tmp_path / "d.png" / ".." / "in.png"
    refused(roundabout, "is the input", action=check(roundabout, True))
    os.link(source, tmp_path / "hard.png")
    os.symlink(source, tmp_path / "soft.png")
    refused(tmp_path / "hard.png", "is the input", action=check(tmp_path / "hard.png", True))
    refused(tmp_path / "soft.png", "is the input", action=check(tmp_path / "soft.png", True))


def test_a_stack_in_one_page_is_no_still_image(tmp_path: Path) -> None:
    """As ImageJ and tifffile write stacks of more than 4 GB."""
    for name, how in (("a", {"imagej": True}), ("b", {"photometric": "minisblack"})):
        tifffile.imwrite(tmp_path / f"{name}.tif", np.zeros((5, 8, 9), np.uint16), truncate=True, **how)
        with pytest.raises(InputError, match="got 5 frames"):
            files.read(tmp_path / f"{name}.tif")


@pytest.mark.parametrize("samples", [2, 4])
def test_a_channel_that_no_tag_explains_is_not_taken_for_alpha(tmp_path: Path, samples: int) -> None:
    how = {"photometric": "minisblack" if samples == 2 else "rgb", "extrasamples": ["unspecified"]}
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((8, 9, samples), np.uint16), planarconfig="contig", **how)
    with pytest.raises(InputError, match="the further ones UNSPECIFIED"):
        files.read(tmp_path / "a.tif")


def test_a_tiff_without_a_page_is_said_to_be_one(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(b"II*\0\0\0\0\0")
    with pytest.raises(InputError, match="a TIFF that holds none"):
        files.read(tmp_path / "a.tif")


def test_a_strip_larger_than_its_file_is_refused_before_memory_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.ones((8, 8), np.float32), bigtiff=True)
    with tifffile.TiffFile(path, mode="r+") as file:
        file.pages[0].tags["StripByteCounts"].overwrite([2**62])
    with pytest.raises(InputError, match="expected a strip or tile of 4611686018427387904 bytes, got a file of"):
        files.decode(path)
