"""Image files in and out with everything kept: depth, alpha, value range, orientation, colour profile.

Pillow does 8 bit files and grey 16 bit PNG, pypng colour 16 bit PNG (of which Pillow keeps 8 bits), tifffile TIFF.
"""

from __future__ import annotations

import math
import os
import struct
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import png
import tifffile
from PIL import BmpImagePlugin, GifImagePlugin, Image, JpegImagePlugin, PngImagePlugin, WebPImagePlugin
from PIL.ImageFile import ImageFile

from pnpkit.errors import InputError, one_line
from pnpkit.files import replacing
from pnpkit.jpeg import compression_error
from pnpkit.pixels import FLOAT_LIMIT as FLOAT_LIMIT
from pnpkit.pixels import TYPES, check_holes, check_pixels, covered, quantised, scale_of
from pnpkit.pixels import as_float as as_float
from pnpkit.pixels import from_tensor as from_tensor
from pnpkit.pixels import to_tensor as to_tensor

MAX_PIXELS = 500_000_000  # a file whose header claims more is refused before any of it is decoded
_ORIENTATION = 0x0112  # the tag of EXIF and of TIFF
_TURNED = (5, 6, 7, 8)  # orientations that exchange rows and columns
_TEXTS = (271, 272, 306, 315, 33432)  # tags of EXIF and of TIFF: maker, model, date and time, artist, copyright
_NO_UNIT, _INCH, _CENTIMETRE = 1, 2, 3  # units of TIFF
_EXTRAS = {0: "UNSPECIFIED", 1: "premultiplied alpha", 2: "straight alpha"}  # what TIFF calls further samples
_DENSEST = 65535  # pixels per inch that every format can hold
# Opened by class, not by Image.open: that enforces Pillow's own pixel limit, a global setting, and calls a phone's JPEG
# with an embedded preview an animation.
_PILLOW: dict[bytes, Callable[[Path], ImageFile]] = {
    b"\x89PNG\r\n\x1a\n": PngImagePlugin.PngImageFile,
    b"\xff\xd8\xff": JpegImagePlugin.JpegImageFile,
    b"RIFF": WebPImagePlugin.WebPImageFile,
    b"BM": BmpImagePlugin.BmpImageFile,
    b"GIF8": GifImagePlugin.GifImageFile,
}
_CONVERTED = {  # Pillow's mode -> the mode to convert to and the note
    "1": ("L", "1 bit converted to 8 bit grey"),
    "P": ("RGB", "palette converted to RGB"),
    "CMYK": ("RGB", "CMYK converted to RGB without its colour profile"),
}
_TIFF_COLOURS = {"MINISBLACK": 1, "MINISWHITE": 1, "PALETTE": 1, "RGB": 3}  # samples per pixel, without alpha


@dataclass(frozen=True, eq=False)
class Picture:
    """An image and what it takes to write it back as it came: value in the file = low + pixels * (high - low).

    pixels: float32 or float64, (H, W) or (H, W, 3), on the 0..1 scale or, where a white was given, beyond it, without
    alpha. alpha: (H, W), the file's own values, or None. dtype: of the file, uint8, uint16 or a float. notes: sentences
    on what reading had to change. exif, icc: raw bytes or None. compression: root mean square error of the pixels that
    a JPEG's tables tell of, on the same scale; 0 for all others. density: pixels per unit across and down, and the unit
    as TIFF numbers it (1 none, 2 inch, 3 centimetre), or None. description: what a TIFF says of itself, the unit of
    ImageJ's scale for instance. holes: what was not looked at, (H, W) booleans, where something was not. planar: a TIFF
    that keeps its colours one after the other.
    """

    pixels: np.ndarray
    alpha: np.ndarray | None = None
    dtype: np.dtype[Any] = np.dtype(np.uint8)
    low: float = 0.0
    high: float = 255.0
    notes: tuple[str, ...] = ()
    exif: bytes | None = None
    icc: bytes | None = None
    compression: float = 0.0
    density: tuple[float, float, int] | None = None
    description: str = ""
    holes: np.ndarray | None = None
    planar: bool = False


def read(path: str | os.PathLike[str], holes: np.ndarray | None = None, white: float | None = None) -> Picture:
    """Read a PNG, TIFF, JPEG, WebP, BMP or still GIF file; its content decides, not its extension.

    8 and 16 bit integers and floats, grey or RGB, with or without alpha. Palettes and CMYK become RGB, 1 bit becomes
    8 bit grey, EXIF orientation is applied; each leaves a note. Floats stay as they are when all lie in 0..1, else
    their minimum and maximum become 0 and 1 in float64 (written back exactly up to rounding). ``white``, a value in
    the units of the file, is what becomes 1 where it is given: what is brighter goes beyond. What ``holes`` marks,
    (H, W) booleans, is not looked at: floats there, NaN for instance, become the mean of the others.
    Raises InputError, with the path, for a file that is missing, a folder, empty, no image, truncated, of several
    frames, of no pixels or more than MAX_PIXELS, with NaN or inf, or of another layout.
    """
    path = Path(path)
    check_input(path)
    try:
        with path.open("rb") as file:
            head = file.read(32)
        if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
            return _read_tiff(path, holes, white)
        for magic, opener in _PILLOW.items():
            if head.startswith(magic):
                return _read_pillow(path, opener, head, holes, white)
        came = f"one that begins with {head[:8]!r}: convert it" if head else "an empty one: get it afresh"
        raise InputError(f"{path}: expected a PNG, TIFF, JPEG, WebP or BMP file, got {came}")
    except InputError:
        raise
    except PermissionError as error:
        raise InputError(f"{path}: expected a readable file, got 'permission denied': change its mode") from error
    except Exception as error:  # on damaged data a decoder raises whatever it stumbles over
        reason = one_line(error) or type(error).__name__
        if "imagecodecs" in reason:
            advice = "save it without compression or install the package imagecodecs"
            raise InputError(f"{path}: expected a TIFF compression readable here, got {reason}: {advice}") from error
        raise InputError(f"{path}: expected a whole image, got a truncated or damaged one: {reason}") from error


def check_input(path: str | os.PathLike[str]) -> None:
    """Raises InputError where there is no file."""
    if not os.path.isfile(path):
        came = "a folder or device" if os.path.exists(path) else "nothing there"
        raise InputError(f"{path}: expected an image file, got {came}: give the path of one image")


def write(path: str | os.PathLike[str], picture: Picture) -> None:
    """Write a picture in the format of the extension with its dtype, range, alpha and, where there is room, metadata.

    Integers are clipped to their range and rounded to nearest; floats are stored as they are. All but JPEG (quality 95,
    full chroma) are lossless. The file appears whole or not at all. Raises InputError for an unknown extension, an
    absent folder, content the format cannot hold, NaN, alpha of another shape or type, and a failing encoder or disk.
    """
    path = Path(path)
    _check_place(path)
    check_fits(path, picture)
    dtype, alpha = np.dtype(picture.dtype), picture.alpha
    check_pixels(f"{path}: ", picture.pixels)
    samples = quantised(picture.pixels, dtype, picture.low, picture.high)
    if alpha is not None:
        if alpha.shape != samples.shape[:2] or alpha.dtype != dtype:
            came = f"{alpha.dtype} {alpha.shape}"
            raise InputError(f"{path}: expected alpha {dtype} {samples.shape[:2]}, got {came}: convert or resize it")
        samples = np.dstack([samples, alpha])
    try:
        with replacing(path) as file:
            _FORMATS[path.suffix.lower()][0](file, samples, picture)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: could not be written, nothing was changed: {error}") from error


def check_output(path: str | os.PathLike[str], inputs: Iterable[str | os.PathLike[str]], overwrite: bool) -> None:
    """Refuse, before any work is done, an output that cannot or should not be written.

    Raises InputError for an unknown extension, an absent folder, a path that is one of the inputs (by any name or link,
    whatever ``overwrite`` says) and a path that exists, unless ``overwrite``.
    """
    path = Path(path)
    _check_place(path)
    for source in inputs:
        linked = os.path.exists(path) and os.path.exists(source) and os.path.samefile(path, source)
        if linked or os.path.realpath(path) == os.path.realpath(source):
            raise InputError(f"{path}: the output is the input {source}: choose another name, inputs stay untouched")
    if os.path.exists(path) and not overwrite:
        raise InputError(f"{path}: the output exists already: choose another name or add --overwrite")


def check_fits(path: str | os.PathLike[str], picture: Picture) -> None:
    """Raises InputError where the format of the extension cannot hold the picture's type or its alpha."""
    dtype, alpha, path = np.dtype(picture.dtype), picture.alpha, Path(path)
    fitting = [end for end, (_, types, layers) in _FORMATS.items() if dtype.name in types and (alpha is None or layers)]
    if path.suffix.lower() not in fitting:
        content = f"{dtype}{'' if alpha is None else ' with alpha'}"
        raise InputError(f"{path}: {path.suffix} cannot hold {content}; formats that can: {' '.join(fitting) or '-'}")


def with_pixels(picture: Picture, pixels: np.ndarray, factor: int = 1) -> Picture:
    """The picture with other pixels, ``factor`` times as dense. Of alpha, where they are fewer, the middle is kept, as
    the valid part of a convolution is; where they are denser, each takes the nearest sample."""
    if picture.density is not None:
        across, down, unit = picture.density
        picture = replace(picture, density=(factor * across, factor * down, unit))
    if pixels.shape[:2] != picture.pixels.shape[:2]:
        lines = picture.description.splitlines() if picture.description.startswith("ImageJ=") else ()
        units = [line for line in lines if line.startswith(("ImageJ=", "unit="))]  # all else may tell of the size
        picture = replace(picture, description="\n".join(units))
    if picture.alpha is None:
        return replace(picture, pixels=pixels)
    sizes = list(zip(pixels.shape[:2], picture.alpha.shape, strict=True))
    if any(n > factor * old for n, old in sizes):
        raise InputError(f"expected at most {factor} times the pixels of alpha {picture.alpha.shape}, got {sizes}")
    rows, columns = (np.arange(n) // factor + (old - n // factor) // 2 for n, old in sizes)
    return replace(picture, pixels=pixels, alpha=picture.alpha[np.ix_(rows, columns)])


def _check_header(path: Path, width: int, height: int, frames: int = 1) -> None:
    if width < 1 or height < 1:
        raise InputError(f"{path}: expected an image with pixels in it, got {width} x {height}: get it afresh")
    if width * height > MAX_PIXELS:
        raise InputError(f"{path}: expected at most {MAX_PIXELS} pixels, got {width} x {height}: crop or shrink it")
    if frames != 1:
        raise InputError(f"{path}: expected a still image, got {frames} frames: extract the one to use")


def _check_place(path: Path) -> None:
    if path.suffix.lower() not in _FORMATS:
        raise InputError(f"{path}: unknown image extension '{path.suffix}'; known: {' '.join(_FORMATS)}")
    if not path.parent.is_dir():
        raise InputError(f"{path}: expected an existing folder to write to, there is no {path.parent}: create it")
    if not os.access(path.parent, os.W_OK):
        raise InputError(f"{path}: expected a folder that may be written to, {path.parent} may not: choose another")
    if os.path.isdir(path):
        raise InputError(f"{path}: expected a file name to write to, got a folder: add a name")


def _read_pillow(
    path: Path,
    opener: Callable[[Path], ImageFile],
    head: bytes,
    holes: np.ndarray | None = None,
    white: float | None = None,
) -> Picture:
    depth = 8
    if opener is PngImagePlugin.PngImageFile:
        width, height, depth = struct.unpack(">IIB", head[16:25])
        _check_header(path, width, height)  # here, as Pillow takes a PNG without pixels for no PNG
    with opener(path) as image:
        _check_header(path, image.width, image.height, getattr(image, "n_frames", 1))
        image.load()
        transparent = image.has_transparency_data
        mode, note = _CONVERTED.get(image.mode, (image.mode, ""))
        if depth == 16 and (image.mode != "I;16" or transparent):
            samples = _read_pypng(path)
        else:
            samples = np.asarray(image.convert(mode + "A" if transparent and mode in ("L", "RGB") else mode))
        icc = None if image.mode == "CMYK" else image.info.get("icc_profile")
        try:
            tags = image.getexif()
            orientation = tags.pop(_ORIENTATION, 1)
            exif, remark = _raw(tags), ""
        except Exception:  # damaged metadata must not cost the picture
            orientation, exif, remark = 1, None, "damaged EXIF left out"
        picture = _picture(path, samples, (note, remark), orientation, icc, exif, holes, white)
        if isinstance(image, JpegImagePlugin.JpegImageFile):
            picture = replace(picture, compression=compression_error(image) * 255 / picture.high)
        density = image.info.get("dpi")
        return _dense(picture, None if density is None else [(value, 1) for value in density], _INCH, orientation)


def _raw(tags: Image.Exif) -> bytes | None:
    """EXIF as it was: Pillow reads text as Latin 1 and would write it as ASCII."""
    tags.update({code: text.encode("latin-1", "replace") for code, text in tags.items() if isinstance(text, str)})
    return tags.tobytes() if len(tags) else None


def _dense(picture: Picture, density: Any, unit: Any, orientation: int) -> Picture:
    """With its pixels per unit across and down, if these are what they should be; turned as the picture was."""
    try:
        across, down = (float(top / bottom) for top, bottom in density)
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):  # odd tags must not cost the picture
        return picture
    if not (0 < across < math.inf and 0 < down < math.inf and unit in (_NO_UNIT, _INCH, _CENTIMETRE)):
        return picture
    return replace(picture, density=(down, across, unit) if orientation in _TURNED else (across, down, unit))


def _read_pypng(path: Path) -> np.ndarray:
    with path.open("rb") as file:
        width, height, rows, info = png.Reader(file=file).read()
        samples = np.array(list(rows), np.uint16).reshape(height, width, info["planes"])
    if "transparent" not in info:
        return samples
    opaque = (samples != info["transparent"]).any(axis=-1)
    return np.dstack([samples, np.where(opaque, 65535, 0).astype(np.uint16)])


def _read_tiff(path: Path, holes: np.ndarray | None, white: float | None) -> Picture:
    with tifffile.TiffFile(path) as tiff:
        pages = [page for page in tiff.pages if isinstance(page, tifffile.TiffPage) and not page.is_reduced]
        if not pages:
            raise InputError(f"{path}: expected an image, got a TIFF that holds none")
        page, frames = pages[0], len(pages) * pages[0].imagedepth
        if tiff.is_imagej or page.is_shaped:  # these may write a whole stack as one page
            frames = max(frames, tiff.series[0].size // math.prod(page.shape or (1,)))
        _check_header(path, page.imagewidth, page.imagelength, frames)
        kind, dtype = tifffile.PHOTOMETRIC(page.photometric).name, np.dtype(page.dtype or object)
        alphas = page.samplesperpixel - _TIFF_COLOURS.get(kind, 0)
        straight = page.extrasamples == (tifffile.EXTRASAMPLE.UNASSALPHA,) * alphas
        if kind not in _TIFF_COLOURS or alphas not in (0, 1) or not straight or dtype.name not in (*TYPES, "bool"):
            extra = ", ".join(_EXTRAS.get(int(extra), "of no kind that is known") for extra in page.extrasamples)
            came = f"{kind}, {page.samplesperpixel} samples of {dtype}{f', the further ones {extra}' if extra else ''}"
            raise InputError(f"{path}: expected grey or RGB, {' '.join(TYPES)}, straight alpha, got {came}: convert")
        stored = page.asarray(squeeze=False)[:, 0]  # (planes, H, W, samples): planes or samples is 1
        samples, note = np.concatenate(list(stored), axis=-1), ""  # in native byte order
        if kind == "MINISWHITE" and dtype.kind == "f":
            raise InputError(f"{path}: expected floats with 0 for black, got a TIFF with 0 for white: convert it")
        if kind == "MINISWHITE":
            samples[..., 0], note = np.invert(samples[..., 0]), "white-is-zero converted to black-is-zero"
        if kind == "RGB" and len(stored) > 1:
            note = f"{len(stored)} planes taken for the colours of one picture"
        if kind == "PALETTE":
            samples, note = (page.colormap >> 8).astype(np.uint8).T[samples[..., 0]], "palette converted to RGB"
        if dtype.kind == "b":
            samples, note = samples.astype(np.uint8) * 255, "1 bit converted to 8 bit grey"
        orientation = page.tags.valueof(_ORIENTATION, 1)
        exif = Image.Exif()
        exif.update({code: str(page.tags.valueof(code)).encode() for code in _TEXTS if code in page.tags})
        picture = _picture(path, samples, (note,), orientation, page.iccprofile, _raw(exif), holes, white)
        if not page.is_shaped:  # tifffile's own note on the shape is written anew
            picture = replace(picture, description=page.description)
        picture = replace(picture, planar=len(stored) > 1)
        density = [page.tags.valueof(name) for name in ("XResolution", "YResolution")]
        return _dense(picture, density, page.tags.valueof("ResolutionUnit", _INCH), orientation)


def _picture(
    path: Path,
    samples: np.ndarray,
    notes: tuple[str, ...],
    orientation: int,
    icc: bytes | None,
    exif: bytes | None = None,
    holes: np.ndarray | None = None,
    white: float | None = None,
) -> Picture:
    """Turn upright, split off alpha and map to 0..1 what a file holds: (H, W) or (H, W, channels), alpha last."""
    if orientation in _TURNED:
        samples = samples.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        samples = samples[:, ::-1]
    if orientation in (3, 4, 7, 8):
        samples = samples[::-1]
    if orientation in range(2, 9):
        notes += ("EXIF orientation applied",)
    samples = np.atleast_3d(samples)
    channels, dtype = samples.shape[2], samples.dtype
    colours = samples[..., :3] if channels > 2 else samples[..., 0]
    alpha = samples[..., -1].copy() if channels in (2, 4) else None
    if holes is not None:
        check_holes(f"{path}: ", holes, colours.shape[:2])
        colours = covered(colours, holes)
    check_pixels(f"{path}: ", colours)
    low, high, note = scale_of(f"{path}: ", colours, white)
    notes += (note,)
    single = dtype.kind == "u" or (dtype != np.float64 and (low, high) == (0, 1))
    pixels = (colours.astype(np.float32 if single else np.float64, order="C") - low) / (high - low or 1.0)
    return Picture(pixels, alpha, dtype, low, high, tuple(filter(None, notes)), exif, icc, holes=holes)


def _write_pillow(file: BinaryIO, samples: np.ndarray, picture: Picture, form: str, **options: Any) -> None:
    metadata = {"exif": picture.exif, "icc_profile": picture.icc, "dpi": _per_inch(picture)}
    Image.fromarray(samples).save(file, form, **options, **{key: data for key, data in metadata.items() if data})


def _per_inch(picture: Picture) -> tuple[float, float] | None:
    across, down, unit = picture.density or (0.0, 0.0, _NO_UNIT)
    scale = {_INCH: 1.0, _CENTIMETRE: 2.54}.get(unit)
    return None if scale is None or scale * max(across, down) > _DENSEST else (scale * across, scale * down)


def _write_png(file: BinaryIO, samples: np.ndarray, picture: Picture) -> None:
    if samples.dtype == np.uint8 or samples.ndim == 2:
        return _write_pillow(file, samples, picture, "PNG")
    height, width, channels = samples.shape
    encoded = BytesIO()
    writer = png.Writer(width, height, greyscale=channels == 2, alpha=channels != 3, bitdepth=16)
    writer.write_packed(encoded, (row.tobytes() for row in samples.astype(">u2")))
    chunks = list(png.Reader(bytes=encoded.getvalue()).chunks())
    if picture.exif:
        chunks.insert(1, (b"eXIf", picture.exif.removeprefix(b"Exif\0\0")))
    if picture.icc:
        chunks.insert(1, (b"iCCP", b"ICC profile\0\0" + zlib.compress(picture.icc)))
    dpi = _per_inch(picture)
    if dpi is not None:
        chunks.insert(1, (b"pHYs", struct.pack(">IIB", *(round(value / 0.0254) for value in dpi), 1)))
    png.write_chunks(file, chunks)


def _texts(exif: bytes | None) -> list[tuple[int, bytes]]:
    """What of EXIF has a place in a TIFF, byte for byte: cameras write other alphabets as UTF-8."""
    tags = Image.Exif()
    tags.load(exif or b"")
    return [(code, str(tags[code]).encode("latin-1", "replace")) for code in _TEXTS if code in tags]


def _write_tiff(file: BinaryIO, samples: np.ndarray, picture: Picture) -> None:
    kind = "rgb" if picture.pixels.ndim == 3 else "minisblack"
    extra = None if picture.alpha is None else ("unassalpha",)
    planar = None if samples.ndim == 2 else "separate" if picture.planar else "contig"
    samples = samples.transpose(2, 0, 1) if planar == "separate" else samples
    density = (
        {} if picture.density is None else {"resolution": picture.density[:2], "resolutionunit": picture.density[2]}
    )
    tifffile.imwrite(
        file,
        samples,
        photometric=kind,
        planarconfig=planar,
        extrasamples=extra,
        iccprofile=picture.icc,
        description=picture.description.encode() or None,
        metadata=None,
        extratags=[(code, "s", 0, text, True) for code, text in _texts(picture.exif)],
        **density,
    )


_write_jpeg = partial(_write_pillow, form="JPEG", quality=95, subsampling=0)
# extension -> writer, types it can hold, whether it holds alpha
_FORMATS: dict[str, tuple[Callable[[BinaryIO, np.ndarray, Picture], None], tuple[str, ...], bool]] = {
    ".png": (_write_png, ("uint8", "uint16"), True),
    ".tif": (_write_tiff, TYPES, True),
    ".tiff": (_write_tiff, TYPES, True),
    ".jpg": (_write_jpeg, ("uint8",), False),
    ".jpeg": (_write_jpeg, ("uint8",), False),
    ".webp": (partial(_write_pillow, form="WEBP", lossless=True, exact=True), ("uint8",), True),
    ".bmp": (partial(_write_pillow, form="BMP"), ("uint8",), False),  # Pillow reads no alpha back from BMP
}
EXTENSIONS = tuple(_FORMATS)
