"""Stacks: slices, times and channels of one measurement, with the axes, sampling and names from their file."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from pnpkit.errors import InputError
from pnpkit.images import address, files
from pnpkit.images.formats import ome_tiff, ome_zarr
from pnpkit.images.pixels import TYPES
from pnpkit.machine.files import replacing, replacing_folder

AXES = "TCZYX"  # time, channel, slice, row, column


UNKNOWN = "QIMVRHPAE"  # axes of tifffile that are treated as slices


@dataclass(frozen=True, eq=False)
class Stack:
    """An array with named axes, and all that is needed to write it back in its original form.

    Attributes:
        samples: an array of the file's own type, with one axis for each letter of ``axes``.
        axes: letters of ``AXES``, rows and columns last.
        steps: distance between two samples along an axis, by its letter, as far as it is known.
        unit: unit of the steps, "µm" for instance.
        kind: kind of the file: "imagej", "ome", "tiff", "fits", "npy", "npz" or "zarr".
        tags: other metadata of the file, in the form of its kind.
        notes: what was changed by reading.
        history: what was done to the stack, for files that keep a history.
    """

    samples: np.ndarray
    axes: str
    steps: dict[str, float] = field(default_factory=dict)
    unit: str = ""
    kind: str = "tiff"
    tags: Any = None
    notes: tuple[str, ...] = ()
    history: tuple[str, ...] = ()

    def step(self) -> tuple[float, float, float] | None:
        """The steps (z, y, x), or None if one is unknown."""
        found = [self.steps.get(axis) for axis in "ZYX"]
        return None if None in found else (float(found[0] or 0), float(found[1] or 0), float(found[2] or 0))


def check_axes(axes: str, dimensions: int) -> str:
    """Return the axes in capitals.

    They must be different letters of ``AXES``, one for each dimension of the array, with YX last.

    Raises:
        InputError: the axes are not of this form.
    """
    letters = str(axes).upper()
    known = len(set(letters)) == len(letters) and set(letters) <= set(AXES)
    if not known or not letters.endswith("YX"):
        raise InputError(f"axes are letters of {AXES}, each once, YX last, such as ZYX or TCZYX, got '{axes}'")
    if len(letters) != dimensions:
        raise InputError(f"axes name each dimension of the array, which has {dimensions}, got '{axes}'")
    return letters


def is_stack(path: str | os.PathLike[str]) -> bool:
    """Whether a file holds more than one picture: slices, times, or channels that are not colours."""
    file = address.file_of(path)
    suffix = file.suffix.lower()
    try:
        if suffix in (".npy", ".npz") or address.is_zarr(file):
            return True
        with file.open("rb") as opened:
            head = opened.read(files.HEAD)
        for codec in (files.FORMATS["TIFF"], files.FORMATS["FITS"]):
            if head.startswith(codec.magics):
                return (_tiff_shape(file) if codec is files.FORMATS["TIFF"] else _fits_shape(Path(path))) != ()
    except InputError:
        raise
    except Exception:  # reading the file will report what is wrong with it
        return False
    return False


def _tiff_shape(file: Path) -> tuple[int, ...]:
    """Return the shape of a TIFF that holds several pictures; () for any other file."""
    import tifffile

    from pnpkit.images.formats.tiff import circular

    with tifffile.TiffFile(file) as tiff:
        if circular(tiff) or not tiff.series or len(tiff.series) > 1:
            return ()
        series = tiff.series[0]
        page = series.keyframe
        planes = series.size // max(1, int(np.prod(page.shape)))
        named = zip(series.axes, series.shape, strict=True)
        if any(axis in "ZT" and size > 1 for axis, size in named):  # also if 3 or 4 slices are stored as colours
            return tuple(series.shape)
        colours = page.photometric == tifffile.PHOTOMETRIC.RGB  # a palette is how ImageJ shows a stack
        return () if colours or planes * page.imagedepth == 1 else tuple(series.shape)


def _fits_shape(path: Path) -> tuple[int, ...]:
    """Return the shape of a FITS cube; () if the image is one picture or the colours of one."""
    from astropy.io import fits as astropy_fits

    from pnpkit.images.formats import fits

    file, part = address.split(path)
    with fits.quietly(), astropy_fits.open(file) as units:
        number, _ = fits.chosen(path, units, part)
        shape = tuple(size for size in units[number].shape[:-2] if size != 1)
        return () if shape in ((), (3,)) else tuple(units[number].shape)


def read(path: str | os.PathLike[str], most: int | None = None, axes: str = "") -> Stack:
    """Read a stack from a TIFF, FITS or NPY file, or an OME-Zarr. ``axes`` names its axes if the file does not.

    Raises:
        InputError: the file is no stack, has an unsupported type, or more than ``most`` samples. The message names the
            path.
    """
    path = Path(path)
    files.check_input(path)
    try:
        stack = _read(path, axes)
    except (InputError, MemoryError):
        raise
    except ImportError as error:
        raise InputError(f"{path}: {error}") from None
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path}: expected a whole stack, got a truncated or damaged one: {reason}") from error
    if most is not None and stack.samples.size > most:
        raise InputError(f"{path}: expected at most {most} samples, got {stack.samples.size}")
    if stack.samples.dtype.name not in TYPES:
        raise InputError(f"{path}: expected samples of {', '.join(TYPES)}, got {stack.samples.dtype}: convert it")
    return stack


def _read(path: Path, axes: str) -> Stack:
    file = address.file_of(path)
    suffix = file.suffix.lower()
    if suffix in (".npy", ".npz"):
        return _read_numpy(path, axes)
    if address.is_zarr(file):
        return _read_zarr(file, axes)
    with file.open("rb") as opened:
        head = opened.read(files.HEAD)
    if head.startswith(files.FORMATS["FITS"].magics):
        return _read_fits(path, axes)
    if not head.startswith(files.FORMATS["TIFF"].magics):
        came = "an empty file" if not head else "a file of another kind"
        raise InputError(f"{path}: expected a stack, a TIFF, FITS, NPY, NPZ or OME-Zarr file, got {came}: convert it")
    return _read_tiff(file, axes)


def _read_numpy(path: Path, axes: str) -> Stack:
    loaded = np.load(path, allow_pickle=False)
    name = ""
    if isinstance(loaded, np.lib.npyio.NpzFile):
        with loaded:
            if len(loaded.files) != 1:
                raise InputError(f"{path}: expected an archive with one array, got {', '.join(loaded.files) or 'none'}")
            name, loaded = loaded.files[0], loaded[loaded.files[0]]
    samples = loaded.astype(loaded.dtype.newbyteorder("="), copy=False)
    named = check_axes(axes or GUESS.get(samples.ndim, ""), samples.ndim)
    return Stack(samples, named, kind="npz" if name else "npy", tags=name)


GUESS = {2: "YX", 3: "ZYX", 4: "CZYX", 5: "TCZYX"}  # assumed axes by their number, if nothing names them


def _read_zarr(folder: Path, axes: str) -> Stack:
    held = ome_zarr.read(folder)
    named = check_axes(axes or held.axes or GUESS.get(held.samples.ndim, ""), held.samples.ndim)
    return Stack(held.samples, named, held.steps, held.unit, "zarr", (held.attributes, held.blocks), held.notes)


def _read_fits(path: Path, axes: str) -> Stack:
    try:
        from astropy.io import fits as astropy_fits
    except ImportError:
        from pnpkit.images.formats.fits import missing

        raise missing(path) from None
    from pnpkit.images.formats import fits

    file, part = address.split(path)
    with fits.quietly(), astropy_fits.open(file, do_not_scale_image_data=True, memmap=False) as units:
        number, note = fits.chosen(path, units, part)
        unit = units[number]
        samples, packed = fits.unpacked(unit, np.asarray(unit.data))
        headers = [units[0].header, unit.header] if number else [unit.header]
        cards = tuple(header.tostring() for header in headers)
    names = check_axes(axes or AXES[-samples.ndim :], samples.ndim)
    return Stack(samples, names, kind="fits", tags=(cards, packed), notes=(note,) if note else ())


def _read_tiff(file: Path, axes: str) -> Stack:
    import tifffile

    with tifffile.TiffFile(file) as tiff:
        series = tiff.series[0]
        samples, told, notes = series.asarray(), series.axes, []
        kind = "ome" if tiff.is_ome else "imagej" if tiff.is_imagej else "tiff"
        steps, unit = _steps(tiff, kind)
        tags = tiff.ome_metadata if kind == "ome" else dict(tiff.imagej_metadata or {}) if kind == "imagej" else None
    samples = samples.astype(samples.dtype.newbyteorder("="), copy=False)
    if axes:
        return Stack(samples, check_axes(axes, samples.ndim), steps, unit, kind, tags)
    named = told
    if "Z" not in named:
        for letter in UNKNOWN:
            named = named.replace(letter, "Z", 1) if "Z" not in named else named
    if named != told:
        notes.append(f"the axes {told} of the file are taken for {named}")
    if "S" in named and samples.shape[named.index("S")] == 1:
        samples, named = samples.squeeze(named.index("S")), named.replace("S", "")
    if "S" in named or not set(named) <= set(AXES):
        raise InputError(f"{file}: expected the axes {AXES}, got {told} {samples.shape}: name them with `axes`")
    order = sorted(range(len(named)), key=lambda i: AXES.index(named[i]))  # the order of AXES, whatever the file has
    samples, named = samples.transpose(order), "".join(named[i] for i in order)
    return Stack(samples, named, steps, unit, kind, tags, tuple(notes))


def _steps(tiff: Any, kind: str) -> tuple[dict[str, float], str]:
    """Return the sampling of a TIFF and its unit, as far as its metadata contain them."""
    steps: dict[str, float] = {}
    if kind == "ome":
        from xml.etree import ElementTree

        root = ElementTree.fromstring(tiff.ome_metadata)
        pixels = next((node for node in root.iter() if node.tag.endswith("}Pixels")), None)
        if pixels is None:
            return {}, ""
        for axis in "XYZ":
            value = pixels.get(f"PhysicalSize{axis}")
            if value is not None and float(value) > 0:
                steps[axis] = float(value)
        return steps, pixels.get("PhysicalSizeXUnit", "µm") if steps else ""
    tags = tiff.pages[0].tags
    if kind == "imagej":
        told = tiff.imagej_metadata or {}
        unit = str(told.get("unit", "")).encode().decode("unicode_escape", "replace")
        for axis, name in (("X", "XResolution"), ("Y", "YResolution")):
            top, bottom = tags.valueof(name, (0, 0))
            if unit and top and bottom:
                steps[axis] = bottom / top
        if told.get("spacing"):
            steps["Z"] = float(told["spacing"])
        return steps, {"micron": "µm", "um": "µm"}.get(unit, unit)
    return {}, ""


def write(path: str | os.PathLike[str], stack: Stack, overwrite: bool = True) -> None:
    """Write a stack in the format of the extension, with axes, sampling and the other metadata of its file.

    Raises:
        InputError: the extension is another one, or the file cannot be written.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(f"{path}: a stack is written as {' '.join(SUFFIXES)}, got '{suffix}'")
    try:
        if suffix == ome_zarr.SUFFIX:
            with replacing_folder(path, overwrite) as folder:
                _write_zarr(folder, path, stack)
            return
        with replacing(path, overwrite) as file:
            WRITERS[suffix](file, stack)
    except FileExistsError:
        raise InputError(f"{path}: {files.EXISTS}") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: could not be written, nothing was changed: {error}") from error


def _write_tiff(file: BinaryIO, stack: Stack) -> None:
    import tifffile

    if stack.kind == "ome":
        return ome_tiff.write(file, stack.samples, stack.axes, str(stack.tags))
    if stack.kind == "zarr":
        return ome_tiff.write_new(file, stack.samples, stack.axes, stack.steps, stack.unit, channel_names(stack))
    big = stack.samples.nbytes > 2**32 - 2**25
    y, x = (stack.steps.get(axis, 0.0) for axis in "YX")
    told = (
        {key: value for key, value in (stack.tags or {}).items() if key not in _SHAPED}
        if stack.kind == "imagej"
        else {}
    )
    told |= {"spacing": stack.steps["Z"]} if "Z" in stack.steps else {}
    told |= {"unit": "um" if stack.unit == "µm" else stack.unit} if stack.unit else {}
    imagej = stack.samples.dtype.name in ("uint8", "uint16", "float32") and not big
    resolution = (1 / x, 1 / y) if x and y else None
    if imagej:
        order = "".join(axis for axis in "TZCYX" if axis in stack.axes)  # the order of ImageJ
        samples = stack.samples.transpose([stack.axes.index(axis) for axis in order])
        tifffile.imwrite(file, samples, imagej=True, resolution=resolution, metadata={**told, "axes": order})
    else:
        tifffile.imwrite(
            file,
            stack.samples,
            bigtiff=big,
            photometric="minisblack",
            resolution=resolution,
            metadata={"axes": stack.axes},
        )


_SHAPED = ("ImageJ", "images", "slices", "channels", "frames", "hyperstack", "axes", "min", "max", "Ranges", "spacing")


def channel_names(stack: Stack) -> list[str]:
    """Return the names of the channels, if the file contains them."""
    if stack.kind == "ome":
        return ome_tiff.channel_names(str(stack.tags))
    return ome_zarr.channel_names(stack.tags[0]) if stack.kind == "zarr" else []


def _write_zarr(folder: Path, path: Path, stack: Stack) -> None:
    attributes, blocks = stack.tags if stack.kind == "zarr" else ({}, ())
    held = ome_zarr.Held(stack.samples, stack.axes, stack.steps, stack.unit, attributes, blocks)
    ome_zarr.write(folder, held, path.name.split(".")[0], channel_names(stack), stack.history)


def _write_fits(file: BinaryIO, stack: Stack) -> None:
    from pnpkit.images.formats import fits
    from pnpkit.images.picture import Picture

    cards, packed = stack.tags if stack.kind == "fits" else ((), None)
    fits.encode_array(file, stack.samples, Picture(np.zeros((1, 1)), cards=cards, packed=packed, history=stack.history))


def _write_npy(file: BinaryIO, stack: Stack) -> None:
    np.save(file, stack.samples, allow_pickle=False)


def _write_npz(file: BinaryIO, stack: Stack) -> None:
    named: dict[str, Any] = {str(stack.tags) if stack.kind == "npz" else "image": stack.samples}
    np.savez_compressed(file, **named)


WRITERS = {
    ".tif": _write_tiff,
    ".tiff": _write_tiff,
    ".fits": _write_fits,
    ".fit": _write_fits,
    ".fts": _write_fits,
    ".npy": _write_npy,
    ".npz": _write_npz,
}
SUFFIXES = (*WRITERS, ome_zarr.SUFFIX)  # of all formats that can be written


def as_floats(stack: Stack) -> Stack:
    """Return the stack as float32 in the units of its file."""
    tags = (stack.tags[0], None) if stack.kind == "fits" else stack.tags
    return replace(stack, samples=stack.samples.astype(np.float32), tags=tags)
