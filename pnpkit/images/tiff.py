"""Read and write TIFF through tifffile."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
import tifffile
from PIL import Image

from pnpkit.errors import InputError
from pnpkit.images.picture import _INCH, _TEXTS, Picture, _check_header, _dense, _picture, _raw, _texts
from pnpkit.images.pillow import _ORIENTATION
from pnpkit.images.pixels import TYPES

_EXTRAS = {0: "UNSPECIFIED", 1: "premultiplied alpha", 2: "straight alpha"}  # what TIFF calls further samples


_TIFF_COLOURS = {"MINISBLACK": 1, "MINISWHITE": 1, "PALETTE": 1, "RGB": 3}  # samples per pixel, without alpha


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
