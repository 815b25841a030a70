"""Read and write PNG, JPEG and the other formats of Pillow; 16-bit PNG through pypng."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import png
from PIL import BmpImagePlugin, GifImagePlugin, Image, JpegImagePlugin, PngImagePlugin, WebPImagePlugin
from PIL.ImageFile import ImageFile

from pnpkit.images.jpeg import compression_error
from pnpkit.images.picture import _INCH, Picture, _check_header, _dense, _per_inch, _picture, _raw

_ORIENTATION = 0x0112  # the tag of EXIF and of TIFF


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


def _read_pypng(path: Path) -> np.ndarray:
    with path.open("rb") as file:
        width, height, rows, info = png.Reader(file=file).read()
        samples = np.array(list(rows), np.uint16).reshape(height, width, info["planes"])
    if "transparent" not in info:
        return samples
    opaque = (samples != info["transparent"]).any(axis=-1)
    return np.dstack([samples, np.where(opaque, 65535, 0).astype(np.uint16)])


def _write_pillow(file: BinaryIO, samples: np.ndarray, picture: Picture, form: str, **options: Any) -> None:
    metadata = {"exif": picture.exif, "icc_profile": picture.icc, "dpi": _per_inch(picture)}
    Image.fromarray(samples).save(file, form, **options, **{key: data for key, data in metadata.items() if data})


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


_write_jpeg = partial(_write_pillow, form="JPEG", quality=95, subsampling=0)
