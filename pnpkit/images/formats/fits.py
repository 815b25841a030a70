"""FITS, read and written by astropy. Header, units and sky coordinates stay with the picture."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from pnpkit.errors import InputError, one_line
from pnpkit.images import address
from pnpkit.images.formats.codec import Codec
from pnpkit.images.picture import Packing, Picture, Stored, check_header

if TYPE_CHECKING:
    from astropy.io.fits import Header

MAGIC = b"SIMPLE  ="
TYPES = ("uint8", "uint16", "int16", "int32", "uint32", "float32", "float64")
_ZEROS = {("int16", 32768.0): "uint16", ("int32", 2147483648.0): "uint32"}  # how FITS stores unsigned integers
_STALE = ("DATAMIN", "DATAMAX", "DATASUM", "CHECKSUM")  # cards that describe the old numbers


def missing(path: Path) -> InputError:
    """Return the error for a missing astropy."""
    return InputError(f"{path}: FITS files need the extra 'fits' (astropy): pip install 'pnpkit[fits]'")


@contextmanager
def quietly() -> Iterator[None]:
    """Silence astropy's warnings inside the block: odd cards of old files are kept as they are."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def decode(path: Path, head: bytes, most: int) -> Stored:
    """Decode the image of the primary header or of an extension.

    ``field.fits[SCI]`` selects an extension by its name, ``field.fits[1]`` by its number; otherwise it is the first
    image in the file. Three planes are the colours of one picture. BSCALE and BZERO are applied, and blank pixels
    become NaN.

    Raises:
        InputError: the file has no image, the extension does not exist, or there are several planes.
    """
    try:
        from astropy.io import fits
    except ImportError:
        raise missing(path) from None
    file, part = address.split(path)
    with quietly(), fits.open(file, do_not_scale_image_data=True, memmap=False) as units:
        number, note = chosen(path, units, part)
        unit = units[number]
        shape = unit.shape
        while len(shape) > 2 and shape[0] == 1:
            shape = shape[1:]
        planes = int(np.prod(shape[:-2], dtype=np.int64))
        colours = len(shape) == 3 and shape[0] == 3
        check_header(path, shape[-1], shape[-2], most, 1 if colours else planes)
        samples, packed = unpacked(unit, np.asarray(unit.data).reshape(shape))
        headers = [units[0].header, unit.header] if number else [unit.header]
        return Stored(
            np.moveaxis(samples, 0, -1) if colours else samples,
            kind="FITS",
            notes=(note, "3 planes taken for the colours of one picture" if colours else ""),
            planar=colours,
            cards=tuple(header.tostring() for header in headers),
            packed=packed,
            title=unit.name,
        )


def chosen(path: Path, units: Any, part: str) -> tuple[int, str]:
    """Return the number of the selected image, and a note on the others."""
    images = [i for i, unit in enumerate(units) if unit.is_image and len(unit.shape) > 1 and unit.size]
    named = [f"{i} ({units[i].name})" if units[i].name else str(i) for i in images]
    if not images:
        kinds = ", ".join(type(unit).__name__ for unit in units)
        raise InputError(f"{path}: expected a FITS with an image, got one without ({kinds})")
    if part:
        same = [i for i in images if part in (str(i), f"{units[i].name},{units[i].ver}")]
        same += [i for i in images if part.upper() == units[i].name.upper()]
        if not same:
            raise InputError(f"{path}: expected one of its images, {', '.join(named)}, got '{part}'")
        return same[0], ""
    others = ", ".join(named[1:])
    return images[0], f"image {named[0]} of {len(images)}; the others, {others}, are not looked at" if others else ""


def unpacked(unit: Any, raw: np.ndarray) -> tuple[np.ndarray, Packing | None]:
    """Return the values of an image in native byte order, and their packing if they are stored as integers."""
    header, dtype = unit.header, raw.dtype.newbyteorder("=")
    scale, zero, blank = float(header.get("BSCALE", 1)), float(header.get("BZERO", 0)), header.get("BLANK")
    blank = blank if dtype.kind in "iu" and isinstance(blank, int) else None
    blanks = None if blank is None else raw == blank
    some = blanks is not None and bool(blanks.any())
    if (scale, zero) == (1, 0) and not some:
        wide = {"int64": "float64", "float16": "float32"}.get(dtype.name, dtype.name)
        return raw.astype(wide), None
    unsigned = _ZEROS.get((dtype.name, zero))
    if unsigned and scale == 1 and not some:
        return (raw.astype(np.int64) + int(zero)).astype(unsigned), None
    values = zero + scale * raw.astype(np.float64)
    if some:
        values[blanks] = np.nan
    values = values.astype(np.float32 if dtype.name in ("uint8", "int16", "float32") else np.float64)
    return values, Packing(dtype.name, scale, zero, blank) if dtype.kind in "iu" else None


def packed_again(samples: np.ndarray, packing: Packing) -> np.ndarray:
    """Return the integers that represent the values, clipped to the range of the type."""
    bounds = np.iinfo(packing.dtype)
    whole = np.rint((samples.astype(np.float64) - packing.zero) / packing.scale)
    empty = 0 if packing.blank is None else packing.blank
    return np.where(np.isnan(whole), empty, np.clip(whole, bounds.min, bounds.max)).astype(packing.dtype)


def encode(file: BinaryIO, samples: np.ndarray, picture: Picture) -> None:
    """Write the picture with its header, as primary image or extension as before; nothing else of its file."""
    encode_array(file, np.moveaxis(samples, -1, 0) if samples.ndim == 3 else samples, picture)


def encode_array(file: BinaryIO, data: np.ndarray, picture: Picture) -> None:
    """Write an array of any number of axes with the header of the picture."""
    try:
        from astropy.io import fits
    except ImportError:
        raise missing(Path(file.name)) from None
    with quietly():
        headers = [fits.Header.fromstring(cards) for cards in picture.cards]
        header = moved(headers[-1] if headers else fits.Header(), picture.moved)
        summed = any(card in header for card in ("CHECKSUM", "DATASUM"))
        for card in (*_STALE, "BSCALE", "BZERO", "BLANK"):
            header.remove(card, ignore_missing=True, remove_all=True)
        for sentence in picture.history:
            header.add_history(one_line(sentence))
        packing = picture.packed
        data = data if packing is None else packed_again(data, packing)
        image = fits.ImageHDU if len(headers) > 1 else fits.PrimaryHDU
        unit = image(np.ascontiguousarray(data), header)
        if packing is not None:
            told = {"BSCALE": packing.scale, "BZERO": packing.zero, "BLANK": packing.blank}
            unit.header.update({card: value for card, value in told.items() if value is not None})
        units = fits.HDUList([fits.PrimaryHDU(header=headers[0]), unit] if len(headers) > 1 else [unit])
        units.verify("silentfix+ignore")
        whole = BytesIO()  # astropy rejects a file that was opened as new
        units.writeto(whole, checksum=summed, output_verify="ignore")
        file.write(whole.getvalue())


def moved(header: Header, frame: tuple[int, int, int]) -> Header:
    """Update the coordinates in a header for a frame that was cut and whose pixels were divided into factor^2 each."""
    factor, rows, columns = frame
    for axis, cut in ((1, columns), (2, rows)):
        for end in ("", *"ABCDEFGHIJKLMNOPQRSTUVWXYZ"):  # alternative coordinates
            card = f"CRPIX{axis}{end}"
            if card in header:
                header[card] = (float(header[card]) - cut - 0.5) * factor + 0.5
            for card in (f"CDELT{axis}{end}", f"CD1_{axis}{end}", f"CD2_{axis}{end}"):
                if card in header and factor > 1 and not (card.startswith("CDELT") and f"CD1_1{end}" in header):
                    header[card] = float(header[card]) / factor
    return header


CODEC = Codec((MAGIC,), decode, (".fits", ".fit", ".fts"), encode, TYPES, parts=True)
