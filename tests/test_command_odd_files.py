"""Odd files through the real command: each restored with depth and alpha kept, or refused in one line; none crashes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import png
import pytest
import tifffile
from PIL import Image

from pnpkit.command.cli import main
from pnpkit.errors import InputError
from pnpkit.images import files


def noise(*shape: int, dtype: type = np.uint8) -> np.ndarray:
    return np.random.default_rng(sum(shape)).integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)


def save(values: np.ndarray, **options: object) -> Callable[[Path], None]:
    return lambda path: Image.fromarray(values).save(path, **options)


def deep(colour: str, planes: int) -> Callable[[Path], None]:
    values = noise(9, 12 * planes, dtype=np.uint16)
    return lambda path: png.from_array(values, f"{colour};16").save(str(path))


def floats(low: float, high: float) -> Callable[[Path], None]:
    values = np.random.default_rng(0).uniform(low, high, (9, 12)).astype(np.float32)
    return lambda path: tifffile.imwrite(path, values, photometric="minisblack")


def rotated(path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(noise(9, 12, 3)).save(path, exif=exif)


def animated(path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "green")]
    frames[0].save(path, save_all=True, append_images=frames[1:])


def half(path: Path) -> None:
    Image.fromarray(noise(40, 40, 3)).save(path)
    path.write_bytes(path.read_bytes()[:700])


def bomb(path: Path) -> None:
    Image.fromarray(noise(4, 4, 3)).save(path)
    data = bytearray(path.read_bytes())
    data[18:26] = (60_000).to_bytes(4, "little") * 2
    path.write_bytes(data)


# ruff: noqa: E501
# name, how it is made, kernel, and what comes out: (dtype, height, width, channels, alpha)
RESTORED = {
    "16-bit grey with alpha": ("a.png", deep("LA", 2), "box:3", ("uint16", 9, 12, 1, True)),
    "16-bit colour": ("a.png", deep("RGB", 3), "box:3", ("uint16", 9, 12, 3, False)),
    "16-bit colour with alpha": ("a.png", deep("RGBA", 4), "box:3", ("uint16", 9, 12, 3, True)),
    "EXIF-rotated JPEG": ("a.jpg", rotated, "box:3", ("uint8", 12, 9, 3, False)),
    "palette": ("a.png", lambda p: Image.fromarray(noise(9, 12, 3)).quantize(8).save(p), "box:3", ("uint8", 9, 12, 3, False)),
    "one bit": ("a.png", lambda p: Image.fromarray(noise(9, 12) > 99).save(p), "box:3", ("uint8", 9, 12, 1, False)),
    "1 x 1": ("a.png", save(noise(1, 1)), "auto", ("uint8", 1, 1, 1, False)),
    "1 x 500": ("a.png", save(noise(1, 500, 3)), "auto", ("uint8", 1, 500, 3, False)),
    "500 x 1": ("a.png", save(noise(500, 1)), "auto", ("uint8", 500, 1, 1, False)),
    "CMYK JPEG": ("a.jpg", lambda p: Image.new("CMYK", (12, 9), (0, 99, 9, 0)).save(p), "box:3", ("uint8", 9, 12, 3, False)),
    "black": ("a.png", save(np.zeros((40, 40), np.uint8)), "auto", ("uint8", 40, 40, 1, False)),
    "white": ("a.png", save(np.full((40, 40, 3), 255, np.uint8)), "auto", ("uint8", 40, 40, 3, False)),
    "floats far from 0..1": ("a.tif", floats(-50, 3000), "box:3", ("float32", 9, 12, 1, False)),
    "lossy WebP": ("a.webp", save(noise(9, 12, 3), quality=50), "box:3", ("uint8", 9, 12, 3, False)),
    "BMP": ("a.bmp", save(noise(9, 12)), "box:3", ("uint8", 9, 12, 1, False)),
    "still GIF written as PNG": ("a.png", lambda p: Image.new("RGB", (12, 9)).save(p, "GIF"), "box:3", ("uint8", 9, 12, 3, False)),
    "odd name": ("ü ö (1).png", save(noise(9, 12)), "box:3", ("uint8", 9, 12, 1, False)),
}  # fmt: skip
REFUSED = {
    "3 pixels and a 5-pixel kernel": ("a.png", save(noise(3, 3)), "box:5", "larger than the image"),
    "animated GIF": ("a.gif", animated, "box:3", "frames"),
    "half a PNG": ("a.png", half, "box:3", "a.png"),
    "text": ("a.jpg", lambda p: p.write_text("not an image"), "box:3", "a.jpg"),
    "empty": ("a.png", lambda p: p.write_bytes(b""), "box:3", "a.png"),
    "bomb": ("a.bmp", bomb, "box:3", "60000"),
}  # fmt: skip


def deblur(path: Path, kernel: str, monkeypatch: pytest.MonkeyPatch) -> int:
    out = path.with_name(f"out{path.suffix}".replace(".gif", ".png"))  # GIF is read, not written
    words = ["pnpkit", "deblur", str(path), "--kernel", kernel, "--max-steps", "1", "-o", str(out)]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as stop:
        main()
    assert isinstance(stop.value.code, int)
    return stop.value.code


@pytest.mark.parametrize("what", RESTORED)
def test_odd_files_are_restored(what: str, tmp_path: Path, monkeypatch, capsys) -> None:  # type: ignore[no-untyped-def]
    name, make, kernel, (dtype, height, width, channels, alpha) = RESTORED[what]
    make(tmp_path / name)
    before = files.read(tmp_path / name)
    assert deblur(tmp_path / name, kernel, monkeypatch) == 0
    assert capsys.readouterr().err == ""
    after = files.read(tmp_path / f"out{Path(name).suffix}")
    shape = (height, width) if channels == 1 else (height, width, 3)
    assert (str(after.dtype), after.pixels.shape, after.alpha is not None) == (dtype, shape, alpha)
    if alpha:
        np.testing.assert_array_equal(after.alpha, before.alpha)
    assert np.isfinite(after.pixels).all()


@pytest.mark.parametrize("what", REFUSED)
def test_odd_files_are_refused_in_one_line(what: str, tmp_path: Path, monkeypatch, capsys) -> None:  # type: ignore[no-untyped-def]
    name, make, kernel, word = REFUSED[what]
    make(tmp_path / name)
    assert deblur(tmp_path / name, kernel, monkeypatch) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1 and word in captured.err
    assert not list(tmp_path.glob("out*"))


def test_planes_are_colours_and_it_is_said(tmp_path: Path) -> None:
    planes = np.random.default_rng(0).random((3, 9, 7)).astype(np.float32)
    tifffile.imwrite(tmp_path / "planes.tif", planes, photometric="rgb", planarconfig="separate")
    picture = files.read(tmp_path / "planes.tif")
    np.testing.assert_array_equal(picture.pixels, planes.transpose(1, 2, 0))
    assert "3 planes taken for the colours" in picture.notes[0]
    files.write(tmp_path / "again.tif", picture)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "again.tif"), planes)


def test_floats_with_zero_for_white_are_refused_for_what_they_are(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "white.tif", np.zeros((4, 4), np.float32), photometric="miniswhite")
    with pytest.raises(InputError, match="0 for black, got a TIFF with 0 for white"):
        files.read(tmp_path / "white.tif")
