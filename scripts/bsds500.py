"""Reading of BSDS500 pictures for the scripts."""

from __future__ import annotations

from pathlib import Path

import imageio.v3 as imageio
import numpy as np


def pictures(folder: Path, count: int, track: str) -> list[np.ndarray]:
    """Return the first pictures of a split on the 0..1 scale, whole or their centres."""
    found = [imageio.imread(path) / 255 for path in sorted(folder.glob("*.jpg"))[:count]]
    if track == "whole":
        return found
    corners = [(p.shape[0] // 2 - 64, p.shape[1] // 2 - 64) for p in found]
    return [p[row : row + 128, column : column + 128] for p, (row, column) in zip(found, corners, strict=True)]
