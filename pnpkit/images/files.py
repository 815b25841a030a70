"""Reading and writing of image files. Bit depth, alpha, value range, orientation and colour profile are kept.

``FORMATS`` is the table of formats. Each codec is a file in ``images/formats`` and a row in the table.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from pnpkit.errors import InputError, one_line
from pnpkit.images import address
from pnpkit.images import picture as pictures
from pnpkit.images.formats import bmp, fits, gif, heif, jpeg, ome_zarr, png, raw, tiff, webp
from pnpkit.images.formats.codec import Codec
from pnpkit.images.picture import Picture, Stored, developed
from pnpkit.images.pixels import check_pixels, quantised
from pnpkit.machine.files import check_name, replacing

FORMATS: dict[str, Codec] = {
    "PNG": png.CODEC,
    "TIFF": tiff.CODEC,
    "FITS": fits.CODEC,
    "JPEG": jpeg.CODEC,
    "WebP": webp.CODEC,
    "BMP": bmp.CODEC,
    "GIF": gif.CODEC,
}


EXISTS = "the output exists already: choose another name or set `overwrite`"


DEVELOPED = {  # extensions that can only be read, with the extension that their results are written as
    **dict.fromkeys(raw.EXTENSIONS, ".tif"),
    **dict.fromkeys(heif.EXTENSIONS, ".png"),
}


HEAD = 32  # number of first bytes from which the codec is chosen


def extensions() -> dict[str, Codec]:
    """Return the codec for every extension that can be written, in the order of the table."""
    return {extension: codec for codec in FORMATS.values() for extension in codec.extensions}


def read(
    path: str | os.PathLike[str],
    holes: np.ndarray | None = None,
    white: float | None = None,
    black: float | None = None,
    *,
    unknown: bool = False,
) -> Picture:
    """Read a PNG, TIFF, FITS, JPEG, WebP, BMP or still GIF file. The format is found from the content of the file.

    With their extras, HEIC, AVIF and camera raw files are also read; raw files are developed to linear light. Pixels
    are integers of 8, 16 or 32 bits or floats, grey or RGB, with or without alpha. Palettes and CMYK become RGB, 1 bit
    becomes 8 bit grey, and the EXIF orientation is applied; each of these leaves a note.

    Floats stay as they are if all lie in 0..1. Otherwise their minimum and maximum become 0 and 1 in float64 (written
    back exactly up to rounding). The same holds for int16 and for integers of 32 bits.

    Args:
        path: the file; ``path[NAME]`` or ``path[NUMBER]`` is an extension of a FITS.
        holes: (H, W) booleans of pixels to ignore. Floats there, such as NaN, become the mean of the others.
        white: the value, in units of the file, that becomes 1. Brighter values become larger than 1.
        black: the value, in units of the file, that becomes 0.
        unknown: whether pixels that are NaN count as holes too.

    Raises:
        InputError: the file is missing, a folder, empty, no image, truncated, of several frames, without pixels, of
            more than MAX_PIXELS, with NaN or inf, or of another layout. The message names the path.
    """
    return developed(f"{path}: ", decode(path)[0], holes, white, black, unknown)


def decode(path: str | os.PathLike[str], most: int | None = None) -> tuple[Stored, Codec]:
    """Decode a file and return its content and the codec that read it. Raises InputError as ``read`` does.

    ``most`` is the largest number of pixels; None allows MAX_PIXELS.
    """
    path, (file, part) = Path(path), address.split(path)
    check_input(file)
    if address.is_zarr(file):
        raise InputError(f"{path}: expected a picture, got an OME-Zarr, which is a stack: deblur and denoise take it")
    try:
        with file.open("rb") as opened:
            head = opened.read(HEAD)
        for known, codec in ((raw.is_raw, raw.CODEC), (heif.is_heif, heif.CODEC)):
            if known(head):
                return codec.decode(path, head, pictures.MAX_PIXELS if most is None else most), codec
        for name, codec in FORMATS.items():
            if head.startswith(codec.magics):
                if part and not codec.parts:
                    raise InputError(f"{path}: only a FITS file has parts, got a {name}: leave out [{part}]")
                return codec.decode(path, head, pictures.MAX_PIXELS if most is None else most), codec
        came = f"one that begins with {head[:8]!r}: convert it" if head else "an empty one: get the file again"
        *names, last = FORMATS
        raise InputError(f"{path}: expected a {', '.join(names)} or {last} file, got {came}")
    except (InputError, MemoryError):
        raise
    except PermissionError as error:
        raise InputError(f"{path}: expected a readable file, got 'permission denied': change its mode") from error
    except Exception as error:  # on damaged data a decoder can raise any error
        reason = one_line(error) or type(error).__name__
        if "imagecodecs" in reason:
            advice = "install the extra (pip install 'pnpkit[files]') or save it without compression"
            raise InputError(f"{path}: expected a TIFF compression readable here, got {reason}: {advice}") from error
        raise InputError(f"{path}: expected a whole image, got a truncated or damaged one: {reason}") from error


def check_input(path: str | os.PathLike[str]) -> None:
    """Raise InputError unless there is a file, or a folder of zarr, which is treated like one."""
    path = address.file_of(path)
    if not os.path.isfile(path) and not address.is_zarr(path):
        came = "a folder or device" if os.path.exists(path) else "nothing there"
        raise InputError(f"{path}: expected an image file, got {came}: give the path of one image")


def write(path: str | os.PathLike[str], picture: Picture, overwrite: bool = True) -> None:
    """Write a picture in the format of the extension, with its dtype, range, alpha and, if possible, its metadata.

    Integers are clipped to their range and rounded to the nearest; floats are stored as they are. All formats but JPEG
    (quality 95, full chroma) are lossless. The file appears whole or not at all.

    Raises:
        InputError: the extension is unknown, the folder does not exist, the format cannot hold the content, a value is
            NaN, alpha has another shape or type, or the encoder or the disk fails. Without ``overwrite`` also if the
            file exists, even if it appeared a moment ago.
    """
    path = Path(path)
    _check_place(path, tuple(extensions()))
    check_storable(path, picture)
    dtype, alpha, encode = np.dtype(picture.dtype), picture.alpha, extensions()[path.suffix.lower()].encode
    assert encode is not None  # of every codec with an extension
    check_pixels(f"{path}: ", picture.pixels)
    samples = quantised(picture.pixels, dtype, picture.low, picture.high)
    if alpha is not None:
        if alpha.shape != samples.shape[:2] or alpha.dtype != dtype:
            came = f"{alpha.dtype} {alpha.shape}"
            raise InputError(f"{path}: expected alpha {dtype} {samples.shape[:2]}, got {came}: convert or resize it")
        samples = np.dstack([samples, alpha])
    try:
        with replacing(path, overwrite) as file:
            encode(file, samples, picture)
    except FileExistsError:
        raise InputError(f"{path}: {EXISTS}") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: could not be written, nothing was changed: {error}") from error


def check_output(
    path: str | os.PathLike[str],
    inputs: Iterable[str | os.PathLike[str]],
    overwrite: bool,
    known: tuple[str, ...] = (),
) -> None:
    """Refuse, before any work is done, an output that cannot or should not be written.

    Args:
        path: the output.
        inputs: the files that are read.
        overwrite: whether an existing output may be replaced.
        known: the allowed extensions, if they are not those of pictures.

    Raises:
        InputError: the extension is unknown, the folder does not exist, or the path exists and ``overwrite`` is False.
            Also if the path is one of the inputs, under any name or link, whatever ``overwrite`` says.
    """
    path = Path(path)
    _check_place(path, known or tuple(extensions()))
    for source in map(address.file_of, inputs):
        linked = os.path.exists(path) and os.path.exists(source) and os.path.samefile(path, source)
        if linked or os.path.realpath(path) == os.path.realpath(source):
            raise InputError(f"{path}: the output is the input {source}: choose another name, inputs stay untouched")
    if os.path.exists(path) and not overwrite:
        raise InputError(f"{path}: {EXISTS}")


def check_storable(path: str | os.PathLike[str], picture: Picture) -> None:
    """Raise InputError if the format of the extension cannot hold the picture's type or its alpha."""
    dtype, alpha, path = np.dtype(picture.dtype), picture.alpha, Path(path)
    able = [end for end, codec in extensions().items() if dtype.name in codec.types and (alpha is None or codec.alpha)]
    if path.suffix.lower() not in able:
        content = f"{dtype}{'' if alpha is None else ' with alpha'}"
        raise InputError(f"{path}: {path.suffix} cannot hold {content}; formats that can: {' '.join(able) or '-'}")


def _check_place(path: Path, known: tuple[str, ...]) -> None:
    if path.suffix.lower() not in known:
        raise InputError(f"{path}: unknown image extension '{path.suffix}'; known: {' '.join(known)}")
    if not path.parent.is_dir():
        raise InputError(f"{path}: expected an existing folder to write to, there is no {path.parent}: create it")
    if not os.access(path.parent, os.W_OK):
        raise InputError(f"{path}: expected a folder that may be written to, {path.parent} may not: choose another")
    check_name(path)
    if os.path.isdir(path) and not (ome_zarr.SUFFIX in known and address.is_zarr(path)):
        raise InputError(f"{path}: expected a file name to write to, got a folder: add a name")
