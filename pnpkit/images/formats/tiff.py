"""TIFF, read and written by tifffile."""

from __future__ import annotations

import math
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import numpy as np
import tifffile
from PIL import Image

from pnpkit.errors import InputError
from pnpkit.images.formats import raw
from pnpkit.images.formats.codec import Codec
from pnpkit.images.picture import INCH, ORIENTATION, TEXTS, Picture, Stored, check_header, raw_exif, texts
from pnpkit.images.pixels import TYPES

_EXTRAS = {0: "UNSPECIFIED", 1: "premultiplied alpha", 2: "straight alpha"}  # TIFF's codes of extra samples


_COLOURS = {"MINISBLACK": 1, "MINISWHITE": 1, "PALETTE": 1, "RGB": 3}  # samples per pixel, without alpha


_SENSOR = ("CFA", "LINEAR_RAW")  # colour kinds of sensor data of a camera


MOST_CLAIMED = 10_000  # most bytes of pixels per byte of the file; deflate reaches 1032, absent tiles any number


MOST_PIECES, MOST_PAGES = 300_000, 1000  # most strips or tiles (read within seconds), and most pages to look at


def decode(path: Path, head: bytes, most: int) -> Stored:
    """Decode one page of integers of 8 or 16 bits or floats, grey or RGB, with or without straight alpha.

    The sensor data of a camera (DNG, NEF, ARW) are developed, see ``raw.decode``.

    Raises:
        InputError: the layout is another one, there are several pages or more than MOST_PIECES strips, or the header
            claims more than MOST_CLAIMED times the size of the file.
    """
    with tifffile.TiffFile(path) as tiff:
        found = [page for page in islice(tiff.pages, MOST_PAGES) if isinstance(page, tifffile.TiffPage)]
        if of_a_sensor(found):
            return raw.decode(path, head, most)
        pages = [page for page in found if not page.is_reduced]
        if not pages:
            raise InputError(f"{path}: expected an image, got a TIFF that holds none")
        page, frames = pages[0], len(pages) * pages[0].imagedepth
        told = tiff.is_imagej or page.is_shaped  # such files may hold a whole stack as one page
        if told and not circular(tiff):
            frames = max(frames, tiff.series[0].size // math.prod(page.shape or (1,)))
        check_header(path, page.imagewidth, page.imagelength, most, frames)
        check_layout(path, page)
        return stored_page(page)


def circular(tiff: tifffile.TiffFile) -> bool:
    """Whether the chain of pages leads back to one of the first pages, so that counting them never ends."""
    offsets = [page.offset for page in islice(tiff.pages, MOST_PAGES)]
    return len(set(offsets)) < len(offsets)


def of_a_sensor(pages: list[tifffile.TiffPage]) -> bool:
    """Whether a page, or a page below it, holds sensor data. The others are then thumbnails."""
    for page in pages:
        kinds = [page, *(below for below in page.pages or () if isinstance(below, tifffile.TiffPage))]
        if any(tifffile.PHOTOMETRIC(kind.photometric).name in _SENSOR for kind in kinds):
            return True
    return False


def check_layout(path: Path, page: tifffile.TiffPage) -> None:
    """Raise InputError for a page whose colours, samples or alpha ``decode`` does not take, or of too many pieces."""
    kind, dtype = tifffile.PHOTOMETRIC(page.photometric).name, np.dtype(page.dtype or object)
    alphas = page.samplesperpixel - _COLOURS.get(kind, 0)
    straight = page.extrasamples == (tifffile.EXTRASAMPLE.UNASSALPHA,) * alphas
    if kind not in _COLOURS or alphas not in (0, 1) or not straight or dtype.name not in (*TYPES, "bool"):
        extra = ", ".join(_EXTRAS.get(int(extra), "of no kind that is known") for extra in page.extrasamples)
        came = f"{kind}, {page.samplesperpixel} samples of {dtype}{f', the further ones {extra}' if extra else ''}"
        raise InputError(f"{path}: expected grey or RGB, {' '.join(TYPES)}, straight alpha, got {came}: convert")
    if kind == "MINISWHITE" and dtype.kind == "f":
        raise InputError(f"{path}: expected floats with 0 for black, got a TIFF with 0 for white: convert it")
    claimed, held = page.nbytes, path.stat().st_size
    if claimed > MOST_CLAIMED * held:
        raise InputError(f"{path}: expected the data of {claimed} bytes of pixels, got a file of {held} bytes")
    largest = max(page.databytecounts, default=0)
    if largest > held:
        raise InputError(f"{path}: expected a strip or tile of {largest} bytes, got a file of {held} bytes: truncated?")
    pieces = len(page.dataoffsets)
    if pieces > MOST_PIECES:
        raise InputError(
            f"{path}: expected at most {MOST_PIECES} strips or tiles, got {pieces}: write it with larger ones"
        )


def stored_page(page: tifffile.TiffPage) -> Stored:
    """Return the content of a page with the metadata of its tags."""
    kind, dtype, notes = tifffile.PHOTOMETRIC(page.photometric).name, np.dtype(page.dtype or object), []
    stored = page.asarray(squeeze=False)[:, 0]  # (planes, H, W, samples): planes or samples is 1
    samples = np.concatenate(list(stored), axis=-1)  # in native byte order
    if kind == "MINISWHITE":
        samples[..., 0] = np.invert(samples[..., 0])
        notes.append("white-is-zero converted to black-is-zero")
    if kind == "RGB" and len(stored) > 1:
        notes.append(f"{len(stored)} planes taken for the colours of one picture")
    if kind == "PALETTE":
        samples = (page.colormap >> 8).astype(np.uint8).T[samples[..., 0]]
        notes.append("palette converted to RGB")
    if dtype.kind == "b":
        samples = samples.astype(np.uint8) * 255
        notes.append("1 bit converted to 8 bit grey")
    icc, odd = profile(page)
    exif = Image.Exif()
    exif.update({code: str(page.tags.valueof(code)).encode() for code in TEXTS if code in page.tags})
    return Stored(
        samples,
        kind=kind,
        notes=(*notes, odd, absent(page)),
        orientation=page.tags.valueof(ORIENTATION, 1),
        icc=icc,
        exif=raw_exif(exif),
        density=[page.tags.valueof(name) for name in ("XResolution", "YResolution")],
        unit=page.tags.valueof("ResolutionUnit", INCH),
        description="" if page.is_shaped else page.description,  # tifffile writes its own note on the shape again
        planar=len(stored) > 1,
    )


def profile(page: tifffile.TiffPage) -> tuple[bytes | None, str]:
    """Return the colour profile. If its tag does not hold bytes, return None and a note."""
    icc = page.iccprofile
    if icc is None or isinstance(icc, bytes):
        return icc, ""
    return None, "a colour profile that is not stored as bytes left out"


def absent(page: tifffile.TiffPage) -> str:
    """Return a note on strips or tiles without data in the file, which are read as 0."""
    pairs = list(zip(page.dataoffsets, page.databytecounts, strict=False))
    missing = sum(not (offset and count) for offset, count in pairs)
    what = "tiles" if page.is_tiled else "strips"
    return f"{missing} of {len(pairs)} {what} are absent from the file and read as 0" if missing else ""


def encode(file: BinaryIO, samples: np.ndarray, picture: Picture) -> None:
    """Write without loss, with the type of the samples."""
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
        extratags=[(code, "s", 0, text, True) for code, text in texts(picture.exif)],
        **density,
    )


CODEC = Codec((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), decode, (".tif", ".tiff"), encode, TYPES, alpha=True)
