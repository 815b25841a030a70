"""The table of formats: every codec keeps its laws, and a format is added by one codec and one row."""

from __future__ import annotations

import ast
import struct
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
import tifffile
from pictures import random_picture, refused
from PIL import Image

from pnpkit import kernels
from pnpkit.command.places import expand
from pnpkit.errors import InputError
from pnpkit.images import files, formats
from pnpkit.images.formats.codec import Codec
from pnpkit.images.picture import Picture, Stored

ROWS = {name: codec for name, codec in files.FORMATS.items() if codec.extensions}


def test_every_codec_has_a_row() -> None:
    folder = Path(str(formats.__file__)).parent
    made = {
        path.stem
        for path in folder.glob("*.py")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "CODEC"
    }
    assert made == {name.lower() for name in files.FORMATS} | {"raw", "heif"}, "these two are known by more than a head"
    magics = [magic for codec in files.FORMATS.values() for magic in codec.magics]
    assert len(set(magics)) == len(magics) and all(0 < len(magic) <= files.HEAD for magic in magics)


CASES = [
    (name, dtype, channels, alpha)
    for name, codec in ROWS.items()
    for dtype, channels, alpha in product(codec.types, (1, 3), (False, True)[: 1 + codec.alpha])
]


@pytest.mark.parametrize(("name", "dtype", "channels", "alpha"), CASES)
def test_what_is_written_is_known_by_its_content_and_comes_back(
    tmp_path: Path, name: str, dtype: str, channels: int, alpha: bool
) -> None:
    codec, picture = files.FORMATS[name], random_picture(dtype, channels, alpha)
    for extension in codec.extensions:
        files.write(tmp_path / f"a{extension}", picture)
        (tmp_path / f"a{extension}").rename(tmp_path / "without-extension")
        assert files.decode(tmp_path / "without-extension")[1] is codec
        back = files.read(tmp_path / "without-extension")
        assert back.dtype == picture.dtype and (back.alpha is not None) == alpha
        if not codec.lossy:
            grey = back.pixels[..., 0] if back.pixels.ndim > picture.pixels.ndim else back.pixels  # WebP has no grey
            values = [p.low + pixels * (p.high - p.low) for p, pixels in ((back, grey), (picture, picture.pixels))]
            np.testing.assert_allclose(*values, rtol=1e-6)
            if picture.alpha is not None:
                np.testing.assert_array_equal(back.alpha, picture.alpha)


def test_a_format_is_added_by_one_codec_and_one_row(monkeypatch, tmp_path: Path, cli) -> None:  # type: ignore[no-untyped-def]
    """Raw bytes behind a small head: reading, writing, folders, refusals and commands follow from the row."""

    def decode(path: Path, head: bytes, most: int) -> Stored:
        rows, columns = struct.unpack("<HH", head[4:8])
        return Stored(np.frombuffer(path.read_bytes()[8:], np.uint8).reshape(rows, columns))

    def encode(file: BinaryIO, samples: np.ndarray, picture: Picture) -> None:
        file.write(b"tiny" + struct.pack("<HH", *samples.shape) + samples.tobytes())

    unknown = tmp_path / "a.tiny"
    unknown.write_bytes(b"tiny")
    refused(unknown, "expected a PNG, TIFF, FITS, JPEG, WebP, BMP or GIF file")
    monkeypatch.setitem(files.FORMATS, "tiny", Codec((b"tiny",), decode, (".tiny",), encode, ("uint8",)))

    picture = random_picture("uint8", 1, False)
    files.write(unknown, picture)
    np.testing.assert_array_equal(files.read(unknown).pixels, picture.pixels)
    assert expand([str(tmp_path)]) == [str(unknown)]
    refused(unknown, "uint16", ".tif", action=lambda: files.write(unknown, random_picture("uint16", 1, False)))
    (tmp_path / "b").write_bytes(b"other")
    refused(tmp_path / "b", "expected a PNG, TIFF, FITS, JPEG, WebP, BMP, GIF or tiny file")
    code, _, error = cli("denoise", unknown, "--denoiser", "identity", "-o", tmp_path / "out.tiny", "--quiet")
    assert code == 0 and error == "" and (tmp_path / "out.tiny").read_bytes() == unknown.read_bytes()


def raw(path: Path, main_is_reduced: bool) -> None:
    """As cameras write them: a thumbnail on top, the mosaic of the sensor below it."""
    random = np.random.default_rng(0)
    with tifffile.TiffWriter(path) as tiff:
        thumbnail = random.integers(0, 255, (24, 32, 3), np.uint8)
        tiff.write(thumbnail, photometric="rgb", subfiletype=int(main_is_reduced), subifds=1)
        tiff.write(random.integers(0, 4095, (96, 128), np.uint16), photometric="cfa")


@pytest.mark.parametrize("reduced", [True, False])
def test_a_camera_raw_file_is_not_taken_for_its_thumbnail(tmp_path: Path, reduced: bool) -> None:
    raw(tmp_path / "a.dng", reduced)
    if find_spec("rawpy") is None:
        refused(tmp_path / "a.dng", "camera raw", "16-bit TIFF")
    else:
        assert files.read(tmp_path / "a.dng").pixels.shape == (96, 128, 3), "the thumbnail has 24 x 32"


@pytest.mark.parametrize("head", [b"FUJIFILMCCD-RAW ", b"IIRO\x08\0\0\0", b"IIU\0\x18\0\0\0", b"\0\0\0\x18ftypcrx "])
def test_camera_raw_files_of_other_kinds_are_told_what_they_are(tmp_path: Path, head: bytes) -> None:
    (tmp_path / "a.raf").write_bytes(head + bytes(100))
    refused(tmp_path / "a.raf", "camera raw", "16-bit TIFF")


@pytest.mark.parametrize("compression", ["tiff_lzw", "jpeg", "group4"])
def test_a_compression_that_needs_the_extra_says_so(tmp_path: Path, compression: str) -> None:
    Image.new("1" if compression == "group4" else "RGB", (20, 10)).save(tmp_path / "a.tif", compression=compression)
    try:
        import imagecodecs  # noqa: F401
    except ImportError:
        refused(tmp_path / "a.tif", "pip install 'pnpkit[files]'")
    else:
        assert files.read(tmp_path / "a.tif").pixels.shape[:2] == (10, 20)


@pytest.mark.parametrize("code", [2, 3, 4])  # ASCII, SHORT, LONG
def test_a_profile_of_another_type_is_left_out_and_said(tmp_path: Path, code: int, cli) -> None:  # type: ignore[no-untyped-def]
    values = np.random.default_rng(0).integers(0, 255, (12, 14), np.uint8)
    tag = (34675, code, 0, "text", True) if code == 2 else (34675, code, 4, (1, 2, 3, 4), True)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="minisblack", extratags=[tag])
    picture = files.read(tmp_path / "a.tif")
    assert picture.icc is None and any("colour profile" in note for note in picture.notes)
    code, out, error = cli("denoise", tmp_path / "a.tif", "--denoiser", "identity", "-o", tmp_path / "b.tif")
    assert code == 0 and error == "" and "colour profile" in out
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "b.tif"), values)


def test_absent_tiles_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.full((64, 64), 200, np.uint8), photometric="minisblack", tile=(32, 32))
    assert files.read(path).notes == ()
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        tags = tiff.pages.first.tags
        for name in ("TileOffsets", "TileByteCounts"):
            tags[name].overwrite([0, *tags[name].value[1:]])
    picture = files.read(path)
    assert any("1 of 4 tiles are absent" in note for note in picture.notes) and picture.pixels[:32, :32].max() == 0


def test_giant_numbers_of_strips_are_refused_quickly(tmp_path: Path) -> None:
    import time

    count = 2_000_000
    entries = [(256, 1), (257, count), (258, 8), (259, 1), (262, 1), (273, 200), (277, 1), (278, 1), (279, 200)]
    data = b"II*\0" + struct.pack("<IH", 8, len(entries))
    for tag, value in entries:
        data += struct.pack("<HHII", tag, 4, count if tag in (273, 279) else 1, value)
    (tmp_path / "a.tif").write_bytes((data + bytes(4)).ljust(200, b"\0") + b"\1\0\0\0" * count)
    started = time.process_time()
    refused(tmp_path / "a.tif", "strips or tiles", str(count))
    assert time.process_time() - started < 5  # 0.5 s; over 10 s when each is read


def test_a_small_file_that_claims_a_large_picture_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    """Its tiles are absent, or its header lies: found by fuzzing."""
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((16, 16), np.uint8), photometric="minisblack", tile=(16, 16))
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        for name in ("ImageWidth", "ImageLength"):
            tiff.pages.first.tags[name].overwrite(20_000)
    refused(path, "20000 x 20000 pixels in")
    tifffile.imwrite(tmp_path / "flat.tif", np.zeros((3000, 3000), np.uint8), compression="zlib")
    assert files.read(tmp_path / "flat.tif").pixels.shape == (3000, 3000), "what is flat is small"


def test_a_large_picture_is_no_kernel_and_is_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for extension in (".png", ".tif", ".bmp"):
        files.write(tmp_path / f"k{extension}", Picture(np.zeros((600, 600))))
        monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
        monkeypatch.setattr(tifffile.TiffPage, "asarray", lambda self: pytest.fail("decoded"))
        with pytest.raises(InputError, match="at most 251001 pixels, got 600 x 600"):
            kernels.parse(str(tmp_path / f"k{extension}"))
        monkeypatch.undo()
