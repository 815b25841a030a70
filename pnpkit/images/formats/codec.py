"""What a file format must offer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from pnpkit.images.picture import Picture, Stored


@dataclass(frozen=True)
class Codec:
    """One format: a row of ``images.files.FORMATS``.

    Attributes:
        magics: first bytes by which its files are known.
        extensions: of the files that are written, in lower case with the dot; empty where nothing is written.
        decode: (path, the first 32 bytes, most pixels) -> what the file holds. Raises InputError for a layout that is
            no picture and, before any of it is decoded, for a header that claims more pixels; anything on damaged data.
        encode: (file, samples, picture): write samples (H, W) or (H, W, channels) of the picture's type, alpha last,
            and what the format can hold of the picture's metadata.
        types: names of the dtypes that ``encode`` can hold. alpha: whether it can hold alpha.
        lossy: what is written does not come back exactly.
        parts: whether one file may hold several images, told apart as ``path[NAME]``; ``decode`` then splits the name.
    """

    magics: tuple[bytes, ...]
    decode: Callable[[Path, bytes, int], Stored]
    extensions: tuple[str, ...] = ()
    encode: Callable[[BinaryIO, np.ndarray, Picture], None] | None = None
    types: tuple[str, ...] = ()
    alpha: bool = False
    lossy: bool = False
    parts: bool = False
