"""The map of ``--weights``, read from a file: inverse variances in the units of the input."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pnpkit.errors import InputError
from pnpkit.images import address

if TYPE_CHECKING:
    import numpy as np

    from pnpkit.images.picture import Picture


def place_of(name: str, source: str) -> str:
    """The map of an input; a mere [NAME] is an extension of the input itself."""
    return f"{address.file_of(source)}{name}" if name.startswith("[") and name.endswith("]") else name


def check_weights(name: str | None) -> None:
    """Refuse a map that is not there, whatever the picture."""
    from pnpkit.images.files import check_input

    if name is not None and not name.startswith("["):
        check_input(name)


def weighted(picture: Picture, name: str | None, source: str, kind: str) -> Picture:
    """The picture with the weights of a file.

    Args:
        name: of the file, or [NAME] of an extension of ``source``; None: as it is. kind: what the map is, or auto.

    Raises:
        InputError: a map of another size, or of numbers that are no weights.
    """
    if name is None:
        return picture
    from pnpkit.noise.weights import RELATIVE, inverse_variances, kind_of

    path = place_of(name, source)
    values, title = read(path)
    size = picture.pixels.shape[:2]
    if values.shape[:2] != size:
        came = [f"{columns} x {rows}" for rows, columns in (values.shape[:2], size)]
        raise InputError(f"{path}: the weights are {came[0]} pixels, the image {came[1]}: not the same")
    if values.ndim == 3 and (values.shape[2] != 3 or picture.pixels.ndim == 2):
        raise InputError(f"{path}: expected one plane of weights, got {values.shape[2]}: choose one, such as FILE[1]")
    file, part = address.split(path)
    found = kind_of(kind, part, title, file.stem)
    try:
        inverse = inverse_variances(values, found)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    span = (picture.high - picture.low) or 1.0
    why = "as you said" if kind != "auto" else "auto"
    note = f"weights {path}: {'relative weights' if found == RELATIVE else found.replace('-', ' ')} ({why})"
    notes = (*picture.notes, note)
    return replace(picture, weights=inverse * span**2, relative=found == RELATIVE, notes=notes)


def weights_of_stack(name: str | None, source: str, kind: str) -> tuple[np.ndarray | None, str]:
    """The weights of a stack as its file holds them, and what they are.

    Args:
        name: of the file, or [NAME] of an extension of ``source``. kind: what the map is, or auto.
    """
    if name is None:
        return None, "auto"
    from pnpkit.images import stacks
    from pnpkit.noise.weights import kind_of

    path = place_of(name, source)
    file, part = address.split(path)
    return stacks.read(path).samples, kind_of(kind, part, file.stem)


def read(path: str) -> tuple[np.ndarray, str]:
    """The numbers of a map as its file holds them, (H, W) or (H, W, C), and the name that a FITS gives it."""
    import numpy as np

    from pnpkit.images import files, stacks
    from pnpkit.images.picture import upright

    if address.file_of(path).suffix.lower() in (".npy", ".npz"):
        samples = np.squeeze(stacks.read(path).samples)
        if samples.ndim != 2:
            raise InputError(f"{path}: expected weights (H, W), got an array {samples.shape}: choose a plane")
        return samples, ""
    stored, _ = files.decode(path)
    if stored.compression > 0:
        raise InputError(f"{path}: expected weights saved without loss, got a JPEG: save them as FITS or TIFF")
    samples = upright(stored)
    return samples[..., 0] if samples.shape[2:] == (1,) else samples, stored.title
