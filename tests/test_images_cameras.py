"""Camera raw files and the photographs of telephones: developed with their extras, told what to do without."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from pnpkit.command.places import destination, expand
from pnpkit.images import files

TO_SRGB = ((3.2404542, -1.5371385, -0.4985314), (-0.9692660, 1.8760108, 0.0415560), (0.0556434, -0.2040259, 1.0572252))
LEVELS = (40000, 20000, 10000)  # of red, green and blue in linear light


def dng(path: Path, turned: int = 1) -> None:
    """The smallest file that is one: a mosaic of a sensor that sees the primaries of sRGB."""

    def fractions(*values: float) -> tuple[int, ...]:
        return tuple(part for value in values for part in (round(1e6 * value), 1_000_000))

    mosaic = np.full((64, 80), LEVELS[1], np.uint16)
    mosaic[::2, ::2], mosaic[1::2, 1::2] = LEVELS[0], LEVELS[2]
    tags = [
        (50706, "B", 4, (1, 4, 0, 0), True),  # version
        (50708, "s", 0, "a test", True),  # camera
        (33421, "H", 2, (2, 2), True),  # the pattern repeats
        (33422, "B", 4, (0, 1, 1, 2), True),  # red, green, green, blue
        (50721, "2i", 9, fractions(*(v for row in TO_SRGB for v in row)), True),
        (50728, "2I", 3, fractions(1, 1, 1), True),  # white as shot
        (50778, "H", 1, 21, True),  # of daylight
        (50717, "I", 1, 65535, True),
        (274, "H", 1, turned, True),
    ]
    tifffile.imwrite(path, mosaic, photometric="cfa", extratags=tags, metadata=None)


@pytest.mark.parametrize("turned", [1, 6])
def test_a_raw_file_becomes_linear_light(tmp_path: Path, turned: int) -> None:
    pytest.importorskip("rawpy")
    dng(tmp_path / "a.dng", turned)
    picture = files.read(tmp_path / "a.dng")
    assert picture.pixels.shape == ((64, 80, 3) if turned == 1 else (80, 64, 3)) and picture.dtype == np.uint16
    np.testing.assert_allclose(65535 * picture.pixels[20:40, 20:40].mean((0, 1)), LEVELS, rtol=0.01)
    assert (picture.low, picture.high) == (0, 65535) and "linear light" in picture.notes[0]


def test_raw_files_are_restored_to_tiff(cli: Any, tmp_path: Path) -> None:
    pytest.importorskip("rawpy")
    dng(tmp_path / "a.DNG")
    assert destination(str(tmp_path / "a.DNG"), None, "denoised") == tmp_path / "a-denoised.tif"
    assert expand([str(tmp_path)]) == [str(tmp_path / "a.DNG")]
    code, out, error = cli("denoise", tmp_path / "a.DNG", "--denoiser", "identity")
    assert code == 0 and "linear light" in out, error
    made = tifffile.imread(tmp_path / "a-denoised.tif")
    assert made.dtype == np.uint16 and made.shape == (64, 80, 3)
    code, _, error = cli("denoise", tmp_path / "a.DNG", "--denoiser", "identity", "-o", tmp_path / "b.dng")
    assert code == 2 and "unknown image extension '.dng'" in error


def test_without_the_extras_one_line_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pictures import refused

    dng(tmp_path / "a.dng")
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0" + bytes(100))
    (tmp_path / "a.avif").write_bytes(b"\0\0\0\x1cftypavif\0\0\0\0" + bytes(100))
    for name in ("rawpy", "pillow_heif", "PIL.AvifImagePlugin"):
        monkeypatch.setitem(sys.modules, name, None)
    refused(tmp_path / "a.dng", "camera raw", "pip install 'pnpkit[raw]'", "16-bit TIFF")
    refused(tmp_path / "a.heic", "HEIC", "pip install 'pnpkit[heif]'", "convert")
    refused(tmp_path / "a.avif", "AVIF", "install Pillow 11.3", "convert")


@pytest.mark.parametrize("suffix", [".heic", ".avif"])
def test_photographs_of_telephones_are_read(tmp_path: Path, suffix: str) -> None:
    pytest.importorskip("pillow_heif" if suffix == ".heic" else "PIL.AvifImagePlugin")
    ramp = np.add.outer(np.arange(48) * 2, np.arange(64)).astype(np.uint8)
    image = Image.fromarray(np.dstack([ramp, 255 - ramp, ramp // 2]))
    exif = Image.Exif()
    exif[271] = "a maker"
    if suffix == ".heic":
        heif = pytest.importorskip("pillow_heif")
        heif.from_pillow(image).save(tmp_path / "a.heic", quality=95, exif=exif.tobytes())
    else:
        image.save(tmp_path / "a.avif", quality=95, exif=exif.tobytes())
    picture = files.read(tmp_path / f"a{suffix}")
    assert picture.pixels.shape == (48, 64, 3) and picture.dtype == np.uint8
    assert np.abs(255 * picture.pixels - np.asarray(image)).mean() < 2
    assert picture.exif is not None and b"a maker" in picture.exif
    assert destination(f"b{suffix}", None, "denoised") == Path("b-denoised.png")


def test_ten_bits_stay_ten_bits(tmp_path: Path) -> None:
    heif = pytest.importorskip("pillow_heif")
    ramp = (np.add.outer(np.arange(48) * 3, np.arange(64)) * 300 % 65536).astype(np.uint16)
    ramp = np.sort(ramp.ravel()).reshape(48, 64)
    heif.encode("RGB;16", (64, 48), np.dstack([ramp] * 3).tobytes(), str(tmp_path / "a.heic"), quality=100)
    picture = files.read(tmp_path / "a.heic")
    assert picture.dtype == np.uint16 and np.abs(65535 * picture.pixels[..., 1] - ramp).mean() < 300
