"""The interface of a file format."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from pnpkit.images.picture import Picture, Stored


@dataclass(frozen=True)
class Codec:
    """A file format: one row of ``images.files.FORMATS``.

    Attributes:
        magics: first bytes by which its files are recognised.
        extensions: extensions of the files that are written, in lower case with the dot; empty if nothing is written.
        decode: (path, the first 32 bytes, most pixels) -> the content of the file. It raises InputError for a layout
            that is no picture and, before anything is decoded, for a header that claims more pixels. On damaged data it
            can raise any error.
        encode: (file, samples, picture) writes samples (H, W) or (H, W, channels) of the picture's type, alpha last,
            and the metadata of the picture that the format can hold.
        types: names of the dtypes that ``encode`` can hold.
        alpha: whether ``encode`` can hold alpha.
        lossy: whether values change when they are written and read back.
        parts: whether one file may hold several images, named ``path[NAME]``. Then ``decode`` splits the name.
    """

    magics: tuple[bytes, ...]
    decode: Callable[[Path, bytes, int], Stored]
    extensions: tuple[str, ...] = ()
    encode: Callable[[BinaryIO, np.ndarray, Picture], None] | None = None
    types: tuple[str, ...] = ()
    alpha: bool = False
    lossy: bool = False
    parts: bool = False
