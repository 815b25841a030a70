"""Writing a point-spread function to a file, and drawing a picture of it."""

from __future__ import annotations

import os
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from pnpkit import kernels
from pnpkit.errors import InputError
from pnpkit.images import stacks
from pnpkit.images.stacks import Stack
from pnpkit.machine.files import write_whole
from pnpkit.psf.spread import Spread

SUFFIXES = (".tif", ".tiff", ".fits", ".npy", ".png")
SIDE, MARGIN = 320, 12  # side of a view and the margin around it, in pixels


def save(path: str | os.PathLike[str], spread: Spread, overwrite: bool = True) -> None:
    """Write a point-spread function as TIFF (float32, ImageJ's axes and sampling), FITS or NPY; or PNG if it is flat.

    Raises:
        InputError: the extension is another one, a PNG would have slices, or the file cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES or (path.suffix.lower() == ".png" and spread.values.ndim == 3):
        fitting = " ".join(SUFFIXES[:-1] if spread.values.ndim == 3 else SUFFIXES)
        raise InputError(f"{path}: a point-spread function of {spread.values.ndim} dimensions is written as {fitting}")
    if path.suffix.lower() == ".png":
        return kernels.save(path, spread.values, overwrite=overwrite)
    axes = "ZYX"[-spread.values.ndim :]
    known = spread.unit != "px"
    steps = dict(zip(axes, spread.step, strict=True)) if known else {}
    values = spread.values if path.suffix.lower() == ".npy" else spread.values.astype(np.float32)
    stacks.write(path, Stack(values, axes, steps, spread.unit if known else ""), overwrite)


def picture(path: str | os.PathLike[str], spread: Spread, overwrite: bool = True) -> None:
    """Write a PNG that shows the planes through its peak, as the fourth root of brightness, with a scale bar."""
    if Path(path).suffix.lower() != ".png":
        raise InputError(f"{path}: the picture of a point-spread function is a .png")
    buffer = BytesIO()
    shown(spread).save(buffer, "PNG")
    try:
        write_whole(Path(path), buffer.getvalue(), overwrite)
    except OSError as error:
        raise InputError(f"cannot write '{path}': {error.strerror}") from None


def shown(spread: Spread) -> Image.Image:
    """Return the planes side by side: yx, and also zx and zy if there are slices."""
    middle = np.unravel_index(int(spread.values.argmax()), spread.values.shape)
    views = [("y, x", spread.values, spread.step)]
    if spread.values.ndim == 3:
        z, y, x = middle
        steps = spread.step
        views = [
            ("y, x", spread.values[z], steps[1:]),
            ("z, x", spread.values[:, y], (steps[0], steps[2])),
            ("z, y", spread.values[:, :, x], (steps[0], steps[1])),
        ]
    panels = [_view(name, plane, (float(step[0]), float(step[1])), spread.unit) for name, plane, step in views]
    whole = Image.new("L", (sum(p.width + MARGIN for p in panels) + MARGIN, max(p.height for p in panels) + 2 * MARGIN))
    left = MARGIN
    for panel in panels:
        whole.paste(panel, (left, MARGIN))
        left += panel.width + MARGIN
    return whole


def _view(name: str, plane: np.ndarray, step: tuple[float, float], unit: str) -> Image.Image:
    """Draw one plane to scale, with its name and a scale bar."""
    extent = [n * s for n, s in zip(plane.shape, step, strict=True)]
    scale = SIDE / max(extent)
    rows, columns = (max(1, round(e * scale)) for e in extent)
    grey = np.round(255 * (plane / plane.max()) ** 0.25).astype(np.uint8)
    image = Image.new("L", (SIDE, SIDE + 36))
    image.paste(Image.fromarray(grey).resize((columns, rows), Image.Resampling.NEAREST))
    length = _round_number(max(extent) / 4)
    draw = ImageDraw.Draw(image)
    draw.line((2, SIDE + 8, 2 + length * scale, SIDE + 8), fill=255, width=3)
    draw.text((2, SIDE + 14), f"{name}   bar {length:g} {unit.replace('µ', 'u')}", fill=255)
    return image


def _round_number(length: float) -> float:
    """Return the largest number not above ``length`` that is 1, 2 or 5 times a power of ten."""
    power = 10.0 ** np.floor(np.log10(length))
    return float(max(n for n in (1, 2, 5) if n * power <= length * (1 + 1e-9)) * power)
