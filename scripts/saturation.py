"""Restore night scenes with saturated lamps (protocol P8) in four ways.

    python scripts/saturation.py --data PATH [--scenes hu10 pan3 chen7] [--side 256] [--denoiser NAME] [--tol 1e-4]

PATH holds instruments/night: blurred picture, sharp picture and kernel of each scene; Hu's kernel is rotated by 180
degrees. The window with most saturated pixels of each scene is used; --side 0 uses the whole. The PSNR in dB is taken
over pixels below 250 in the sharp picture; over those of them that are below 250 in the blurred picture as well, so
that they hold a reading; and over all pixels.
Rows that are stored already are kept. Writes docs/results/saturation.{json,md}.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import numpy as np
from results import RESULTS, stamp, write_results

import pnpkit as pk
from pnpkit.noise.clipped import grown

CEILING, BRIGHT = 255, 250
SCORES = ("unsaturated", "read", "all")
WAYS = ("blurred", "as they are", "no weight", "one-sided")


def scene(folder: Path, name: str, side: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return blurred and sharp picture and kernel, in the window of this side with most saturated readings."""
    y, x = (np.asarray(imageio.imread(folder / f"{name}-{what}.png")) for what in ("blurred", "sharp"))
    turned = folder / f"{name}-kernel-flip.png"
    kernel = imageio.imread(turned if turned.exists() else folder / f"{name}-kernel.png").astype(float)
    kernel = kernel if kernel.ndim == 2 else kernel.mean(-1)
    kernel = kernel[::-1, ::-1] if turned.exists() else kernel
    if side:
        size = min(side, *y.shape[:2])
        sums = np.pad((np.atleast_3d(y) >= BRIGHT).any(-1).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
        inside = sums[size:, size:] - sums[:-size, size:] - sums[size:, :-size] + sums[:-size, :-size]
        row, column = np.unravel_index(inside.argmax(), inside.shape)
        y, x = (picture[row : row + size, column : column + size] for picture in (y, x))
    return y, x, kernel / kernel.sum()


def restored(way: str, y: np.ndarray, kernel: np.ndarray, **how: Any) -> np.ndarray:
    """The picture, its saturated pixels taken in that way; with no weight those around them have none, too."""
    if way == "blurred":
        return y
    if way == "one-sided":
        return np.asarray(pk.deblur(y, kernel, **how).image)
    mask = np.asarray(np.atleast_3d(grown(y >= CEILING, 1)).any(-1)) if way == "no weight" else None
    return np.asarray(pk.deblur(y, kernel, saturation="off", mask=mask, **how).image)


def score(z: np.ndarray, x: np.ndarray, chosen: np.ndarray) -> float:
    return float(-10 * np.log10(np.mean(np.square((z.astype(float) - x)[chosen] / 255))))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--scenes", nargs="+", default=["hu10", "pan3", "chen7"])
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=WAYS)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--denoiser", default="euler-guided")
    parser.add_argument("--tol", type=float, default=1e-4)
    parser.add_argument("--pictures", type=Path, help="folder for what comes out")
    args = parser.parse_args()
    stored = RESULTS / "saturation.json"
    rows: list[dict[str, Any]] = json.loads(stored.read_text())["rows"] if stored.exists() else []
    command = "python scripts/saturation.py --data PATH"
    for name in args.scenes:
        y, x, kernel = scene(args.data / "instruments" / "night", name, args.side)
        for way in args.ways:
            key = {"scene": name, "way": way, "side": args.side, "denoiser": args.denoiser, "tol": args.tol}
            if any(key.items() <= row.items() for row in rows):
                continue
            z = restored(way, y, kernel, denoiser=args.denoiser, tol=args.tol)
            dim = x < BRIGHT
            found = {"unsaturated": score(z, x, dim), "read": score(z, x, dim & (y < BRIGHT))}
            rows.append(key | found | {"all": score(z, x, np.ones_like(dim))})
            write_results("saturation", {"rows": rows} | stamp(command), table(rows).splitlines())
            if args.pictures:
                args.pictures.mkdir(parents=True, exist_ok=True)
                imageio.imwrite(args.pictures / f"{name}-{way.replace(' ', '-')}.png", z)
    print(table(rows))


def table(rows: list[dict[str, Any]]) -> str:
    """Return a line for each scene, window, denoiser and tolerance, and a column for each way."""
    head = "PSNR in dB over three sets of pixels: unsaturated in the sharp picture / unsaturated in both pictures / "
    lines = [head + "all.", ""]
    lines += ["| scene | side | denoiser | tol | " + " | ".join(WAYS) + " |", "| --- " * (4 + len(WAYS)) + "|"]
    names = ("scene", "side", "denoiser", "tol")
    for key in dict.fromkeys(tuple(row[name] for name in names) for row in rows):
        found = {row["way"]: row for row in rows if tuple(row[name] for name in names) == key}
        cells = [" / ".join(f"{found[w][n]:.2f}" for n in SCORES) if w in found else "" for w in WAYS]
        lines.append("| " + " | ".join([*map(str, key), *cells]) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
