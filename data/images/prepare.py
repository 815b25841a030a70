"""Make the pictures of this folder again, from photographs that scikit-image ships and one simulated blur.

    python data/images/prepare.py

Writes astronaut.png, cat.png, coffee.png (crops), kernel.png (a curved camera shake, made here) and then runs

    pnpkit blur data/images/cat.png --kernel data/images/kernel.png --noise-level 0.01 -o data/images/cat-blurred.png
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import skimage.data

from pnpkit import kernels
from pnpkit.images import files
from pnpkit.images.picture import Picture, with_pixels
from pnpkit.restoration import simulate

HERE = Path(__file__).parent
CROPS = {  # name: (picture, first row, first column), 256 x 320 pixels
    "astronaut": (skimage.data.astronaut, 0, 80),
    "cat": (skimage.data.chelsea, 10, 60),
    "coffee": (skimage.data.coffee, 60, 140),
}
NOISE = 0.01


def shake(size: int = 15, samples: int = 4000) -> np.ndarray:
    """A curved path of even speed, blurred by half a pixel: how a hand moves during an exposure."""
    t = np.linspace(0, 1, samples)
    x = 5.0 * np.sin(2.2 * t) - 2.5
    y = 4.5 * np.cos(3.1 * t + 0.4) * t
    x, y = x - x.mean(), y - y.mean()
    grid = np.arange(size) - size // 2
    weights = np.exp(-((grid[:, None] - y) ** 2) / 0.5) @ np.exp(-((grid[:, None] - x) ** 2) / 0.5).T
    return kernels.normalise(weights)


def main() -> None:
    for name, (picture, row, column) in CROPS.items():
        crop = picture()[row : row + 256, column : column + 320]
        files.write(HERE / f"{name}.png", Picture(crop / 255))
    kernels.save(HERE / "kernel.png", shake())
    sharp = files.read(HERE / "cat.png")
    blurred = simulate.simulate(sharp.pixels, str(HERE / "kernel.png"), NOISE)
    files.write(HERE / "cat-blurred.png", with_pixels(sharp, blurred))


if __name__ == "__main__":
    main()
