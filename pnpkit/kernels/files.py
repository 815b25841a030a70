"""Reading and writing blur kernels in files."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pnpkit.errors import InputError
from pnpkit.images import address
from pnpkit.kernels.families import MAX_SIZE, normalise
from pnpkit.machine.files import write_whole

if TYPE_CHECKING:
    from pnpkit.images.stacks import Stack

FORMS = (
    "gaussian:SIGMA, motion:LENGTH,ANGLE, disk:RADIUS, box:SIZE, moffat:FWHM,BETA, airy:RADIUS, "
    "or a file (.npy .png .tif .tiff .bmp .fits)"
)


IMAGE_SUFFIXES = (".png", ".tif", ".tiff", ".bmp", ".fits", ".fit", ".fts")


SAVE_SUFFIXES = (".npy", ".png")


REVERSED = ("MINISWHITE", "PALETTE")  # colour kinds of TIFF in which a number is not an amount of light


ESTIMATE = "pnpkit estimate"  # the key of the text in a PNG that says how a kernel was estimated


def load(path: str | os.PathLike[str]) -> np.ndarray:
    """Read a kernel from a file and divide it by its sum.

    Args:
        path: a ``.npy`` file (never unpickled), a stack of slices (TIFF or FITS) or a grey image ``.png .tif .tiff .bmp
            .fits`` of any bit depth. A colour image is accepted if its channels are equal, and an alpha channel if it
            is opaque.

    Raises:
        InputError: the file is missing, empty, of another kind, or no kernel. The message names the path.
    """
    path, file = Path(path), address.file_of(path)
    if not os.path.isfile(file):
        raise InputError(f"kernel file '{path}' does not exist (or is no file); expected {FORMS}")
    suffix = file.suffix.lower()
    if suffix != ".npy" and suffix not in IMAGE_SUFFIXES:
        lossy = ": JPEG changes the values of a kernel, save it as PNG or TIFF" if suffix in (".jpg", ".jpeg") else ""
        raise InputError(f"kernel file '{path}' is not one of .npy {' '.join(IMAGE_SUFFIXES)}{lossy}")
    try:
        if file.stat().st_size == 0:
            raise InputError("the file is empty")
        return normalise(_read_array(path) if suffix == ".npy" else _read_image(path))
    except (InputError, OSError) as error:
        raise InputError(f"kernel file '{path}': {error}") from None


def _read_array(path: Path) -> np.ndarray:
    try:
        with path.open("rb") as file:  # numpy does not close a file that it cannot read
            array = np.load(file, allow_pickle=False)
    except OSError:
        raise
    except Exception as error:  # a damaged header can lead to any error
        raise InputError(f"not a .npy file of plain numbers ({' '.join(str(error).split())})") from None
    if not isinstance(array, np.ndarray):
        raise InputError("an archive of arrays, expected one array")
    return array


def _read_image(path: Path) -> np.ndarray:
    """Return the grey values of an image, (h, w)."""
    from pnpkit.images import files, stacks  # imported here, because most kernels need no file

    if stacks.is_stack(path):
        return _slices(stacks.read(path, MAX_SIZE**3))
    try:
        stored, codec = files.decode(path, MAX_SIZE**2)
    except InputError as error:
        raise InputError(f"not a readable image ({str(error).removeprefix(f'{path}: ')})") from None
    if codec.lossy:
        raise InputError("the image was saved with loss, expected exact values: save it as PNG or TIFF")
    if stored.kind in REVERSED:
        raise InputError(f"a TIFF of the kind {stored.kind}, expected grey with 0 for black: convert it")
    image = stored.samples
    if image.ndim == 3 and image.shape[-1] in (2, 4):
        alpha = image[..., -1]
        if (alpha != (np.iinfo(alpha.dtype).max if alpha.dtype.kind in "ui" else 1)).any():
            raise InputError("the image is transparent in places, expected an opaque grey image")
        image = image[..., :-1]
    if image.ndim == 3 and image.shape[-1] == 3:
        if (image != image[..., :1]).any():
            raise InputError("the image is coloured, expected a grey one: one kernel for all channels")
    return image[..., 0] if image.ndim == 3 else image


def _slices(stack: Stack) -> np.ndarray:
    """Return the values of a stack of slices, (d, h, w)."""
    if stack.samples.squeeze().ndim != 3:
        raise InputError(f"expected slices of one channel at one time, got the axes {stack.axes} {stack.samples.shape}")
    return stack.samples.squeeze()


def estimated(spec: str) -> tuple[str, float] | None:
    """Return form and confidence of a kernel that ``save`` wrote as an estimate; None for any other word or file."""
    from pnpkit.images.formats import png

    form, _, confidence = png.text(Path(spec), ESTIMATE).rpartition(" ")
    try:
        return (form, min(1.0, max(0.0, float(confidence)))) if form else None
    except ValueError:  # the key holds some other text
        return None


def save(
    path: str | os.PathLike[str],
    kernel: np.ndarray,
    estimate: tuple[str, float] | None = None,
    overwrite: bool = True,
) -> None:
    """Write a kernel as ``.npy`` exactly, or as ``.png`` with 16 bits scaled to its maximum (half a level of rounding).

    The file appears complete or not at all: it is written beside its final place and then renamed.

    Args:
        path: ends with ``.npy`` or ``.png``.
        kernel: an array that ``normalise`` accepts.
        estimate: form and confidence of an estimated kernel. A PNG keeps them, and ``estimated`` reads them.
        overwrite: whether an existing file is replaced.

    Raises:
        InputError: the suffix is another one, the array is no kernel, or the file cannot be written.
    """
    path, kernel = Path(path), normalise(kernel)
    suffix = path.suffix.lower()
    if suffix not in SAVE_SUFFIXES:
        raise InputError(f"a kernel is written as {' or '.join(SAVE_SUFFIXES)}, got '{path}'")
    content = _npy_bytes(kernel) if suffix == ".npy" else _png_bytes(kernel, estimate)
    try:
        write_whole(path, content, overwrite)
    except OSError as error:
        raise InputError(f"cannot write the kernel to '{path}': {error.strerror}") from None


def _npy_bytes(kernel: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, kernel, allow_pickle=False)
    return buffer.getvalue()


def _png_bytes(kernel: np.ndarray, estimate: tuple[str, float] | None) -> bytes:
    from PIL import Image, PngImagePlugin

    buffer, text = io.BytesIO(), PngImagePlugin.PngInfo()
    if estimate is not None:
        text.add_text(ESTIMATE, f"{estimate[0]} {estimate[1]:.4f}")
    Image.fromarray(np.round(65535 * kernel / kernel.max()).astype(np.uint16)).save(buffer, "PNG", pnginfo=text)
    return buffer.getvalue()
