"""Restore two real volumes and show three planes of each: a light sheet and a confocal grid, with measured functions.

    python scripts/volume_pictures.py --data PATH [--max-steps 20]

PATH holds instruments/micro3d. Parts of 21 x 64 x 64 samples; the functions are cut to 9 x 25 x 25 around their peak.
Each picture has the middle planes yx, zx and zy, a row each: the data, scikit-image's Richardson-Lucy after 10 and
after 30 iterations on the data without their background, and pnpkit by default (noise estimated; of the grid's few
counts a gain of 1 is given). There is no truth. Writes docs/figures/volume-light-sheet.png and volume-grid.png, and
docs/results/volume-pictures.{json,md}.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from results import RESULTS, stamp, write_results
from skimage.restoration import richardson_lucy
from volumes import planes

import pnpkit as pk
from pnpkit import kernels
from pnpkit.psf.beads import beads
from pnpkit.psf.spread import Spread, cleaned, resampled

COMMAND, ITERATIONS = "python scripts/volume_pictures.py --data PATH --max-steps {}", (10, 30)


def centre(values: np.ndarray) -> np.ndarray:
    """Return the 9 x 25 x 25 samples around the peak, divided by their sum."""
    peak = np.unravel_index(int(values.argmax()), values.shape)
    reach = [min(r, p, n - 1 - p) for r, p, n in zip((4, 12, 12), peak, values.shape, strict=True)]
    return kernels.normalise(values[tuple(slice(p - r, p + r + 1) for p, r in zip(peak, reach, strict=True))])


def light_sheet(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return a part of the stack, and its function resampled from steps of 0.1 µm to 0.3 µm in z."""
    stack = tifffile.imread(folder / "lls-crop-48x160x160.tif")
    values, _ = cleaned(tifffile.imread(folder / "lls-psf-61x64x64.tif").astype(float))
    spread = resampled(Spread(values, (0.1, 0.1, 0.1), "µm"), (0.3, 0.1, 0.1))
    smooth = stack[:, 32:-32, 32:-32].mean(0)
    y, x = (int(i) + 32 for i in np.unravel_index(int(smooth.argmax()), smooth.shape))
    return stack[13:34, y - 32 : y + 32, x - 32 : x + 32], centre(spread.values)


def grid(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return a part of the stack, and the mean of the beads."""
    stack = tifffile.imread(folder / "grid-confocal-21x150x150.tif")
    found = beads(tifffile.imread(folder / "beads-confocal-41x150x150.tif"), (0.125, 0.022, 0.022), "µm")
    return stack[:, 43:107, 43:107], centre(found.values)


def contrast(volume: np.ndarray) -> float:
    """Standard deviation over mean of the profile along x or y, above the darkest hundredth; the larger of the two."""
    middle = volume[len(volume) // 2 - 2 : len(volume) // 2 + 3].astype(float)
    middle = middle - np.quantile(middle, 0.01)
    return float(max(np.std(p) / max(np.mean(p), 1e-9) for p in (middle.mean((0, 1)), middle.mean((0, 2)))))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--max-steps", type=int, default=20)
    given, rows = parser.parse_args(), []
    for name, opened in (("grid", grid), ("light-sheet", light_sheet)):
        volume, psf = opened(given.data / "instruments" / "micro3d")
        volume = np.ascontiguousarray(volume)
        dark = float(np.quantile(volume, 0.01))
        light = np.maximum(volume.astype(np.float64) - dark, 0)
        lucy = {f"Richardson-Lucy, {n}": richardson_lucy(light, psf, n, clip=False) for n in ITERATIONS}
        counts: dict[str, Any] = {"noise": "poisson", "gain": 1.0, "offset": dark} if name == "grid" else {}
        run = pk.deblur(volume.astype(np.float32), psf, max_steps=given.max_steps, **counts)
        made = {"data": volume - dark, **lucy, "pnpkit": np.asarray(run.image) - dark}
        shown = [np.maximum(v.astype(float), 0) for v in made.values()]
        planes(shown, RESULTS.parent / "figures" / f"volume-{name}.png")
        assert run.data is not None
        told = f"{run.data.noise}, {run.status.name.lower()}, {run.steps} steps, {run.seconds:.0f} s"
        rows += [
            {"volume": name, "method": m, "contrast": contrast(np.asarray(v)), "note": told if m == "pnpkit" else ""}
            for m, v in made.items()
        ]
        lines = [
            "Real volumes, for which there is no truth. The contrast of a profile is its standard deviation divided by "
            "its mean; the larger value of the profiles along x and y is given.",
            "",
            "| volume | method | contrast of the profile | |",
            "| --- | --- | --- | --- |",
        ]
        lines += [f"| {r['volume']} | {r['method']} | {r['contrast']:.2f} | {r['note']} |" for r in rows]
        write_results("volume-pictures", {"rows": rows} | stamp(COMMAND.format(given.max_steps)), lines)


if __name__ == "__main__":
    main()
