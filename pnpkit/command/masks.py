"""The mask of ``inpaint``, read from a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pnpkit.errors import InputError

if TYPE_CHECKING:
    import numpy as np


def read_mask(name: str) -> np.ndarray:
    """The pixels that a mask marks, (H, W) booleans: those that are neither black nor transparent.

    Float files count by their own values.

    Raises:
        InputError: a JPEG, or a mask that marks nothing.
    """
    import numpy as np

    from pnpkit.images import files

    mask = files.read(Path(name))
    if mask.compression > 0 or Path(name).suffix.lower() in (".jpg", ".jpeg"):
        raise InputError(
            f"{name}: expected a mask saved without loss, got a JPEG, whose black is not 0: save it as PNG"
        )
    values = mask.low + mask.pixels * (mask.high - mask.low)
    black = 1e-9 * max(abs(mask.low), abs(mask.high))  # the way to 0..1 and back rounds
    painted = np.any(np.abs(np.atleast_3d(values)) > black, axis=-1)
    opaque = np.ones_like(painted) if mask.alpha is None else mask.alpha > 0
    if not (painted & opaque).any():
        what = "black wherever it is opaque" if mask.alpha is not None and opaque.any() else "empty"
        raise InputError(f"{name}: the mask is {what} and marks nothing: paint what is missing in any colour but black")
    return painted & opaque
