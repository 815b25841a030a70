"""Stars before and after: is their flux kept, and are there rings?

    python scripts/stars.py --data PATH [--fields ntt m51] [--denoiser euler-guided] [--tol 1e-3] [--pictures FOLDER]

PATH holds instruments/astro. The point-spread function is measured from the field's own stars (``psf.stars``), all
else is default. Aperture photometry (photutils): circles of RADIUS pixels, the sky is the median of a ring around them;
both sums are divided by the share of the point-spread function that falls into the circle, of a point after
restoration all. An error of a flux: the noise in the circle and of its sky, and the shot noise by the gain of the
field. A ring is the deepest value within RING pixels of a star below its sky, in units of the noise of the sky before.
Writes docs/results/stars.{json,md}, and a PNG of both, as the root above the sky, into FOLDER.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import numpy as np
from astropy.io import fits
from photutils.aperture import ApertureStats, CircularAnnulus, CircularAperture
from photutils.detection import DAOStarFinder
from results import RESULTS, stamp, write_results

import pnpkit as pk
from pnpkit.psf import stars as of_stars

RADIUS, RING, ANNULUS = 5.0, 12, (10.0, 15.0)
FAINT = 5.0  # times the noise: the peaks of the faintest stars
# file, electrons per unit of the data (for the shot noise: about what such cameras had), size of the spread
FIELDS: dict[str, tuple[str, float, int | None]] = {
    "ntt": ("ntt-emmi-field.fits", 2.2, None),
    "m51": ("m51-kpno.fits", 5.0, 15),
}


def found_stars(y: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """(N, 2) places (x, y) of stars that stand alone and do not saturate, the sky map's residual, and its noise."""
    rest, sky, noise = of_stars.without_sky(y)
    width = of_stars.first_width(rest, noise)
    table = DAOStarFinder(threshold=FAINT * noise, fwhm=width)(rest)
    x, rows = (table[name] for name in ("x_centroid", "y_centroid"))
    every = list(zip(x, rows, table["peak"], strict=True))
    top = of_stars.ceiling_of(y, None, sky)
    height, across = y.shape
    edge = int(ANNULUS[1]) + 1
    kept = []
    for x, row, peak in every:
        inside = edge <= x < across - edge and edge <= row < height - edge
        others = [o for o in every if 0 < (o[0] - x) ** 2 + (o[1] - row) ** 2 < (1.6 * RADIUS) ** 2]
        if inside and peak < top and all(o[2] < 0.2 * peak for o in others):
            kept.append((x, row))
    return np.array(kept), rest, noise


def fluxes(z: np.ndarray, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sums in circles above the median of their rings, and the skies."""
    sky = ApertureStats(z, CircularAnnulus(places, *ANNULUS)).median
    circles = CircularAperture(places, RADIUS)
    return ApertureStats(z, circles).sum - sky * circles.area, sky


def share_of(psf: np.ndarray) -> float:
    """The share of a point-spread function within RADIUS of its middle."""
    middle = [(side // 2) for side in psf.shape[::-1]]
    return float(ApertureStats(psf, CircularAperture(middle, RADIUS)).sum / psf.sum())


def rings(z: np.ndarray, places: np.ndarray, sky: np.ndarray, noise: float) -> np.ndarray:
    """The deepest value within RING of each star below its sky, in units of the noise."""
    deepest = []
    for (x, row), level in zip(places, sky, strict=True):
        i, k = int(round(row)), int(round(x))
        cut = z[max(0, i - RING) : i + RING + 1, max(0, k - RING) : k + RING + 1]
        deepest.append((level - cut.min()) / noise)
    return np.array(deepest)


def measured(field: str, folder: Path, denoiser: str, tol: float, pictures: Path | None) -> dict[str, Any]:
    """One row of the table."""
    name, gain, size = FIELDS[field]
    y = np.asarray(fits.getdata(folder / name), dtype=float)
    places, _, noise = found_stars(y)
    spread = of_stars.stars(y, size)
    began = time.process_time()
    run = pk.deblur(y, spread.values, denoiser=denoiser, tol=tol)
    seconds = time.process_time() - began
    z = np.asarray(run.image)
    before, sky = fluxes(y, places)
    if pictures is not None:
        pictures.mkdir(parents=True, exist_ok=True)
        low, high = sky.min() - 2 * noise, sky.max() + 40 * noise
        shown = [255 * ((picture - low) / (high - low)).clip(0, 1) ** 0.5 for picture in (y, z)]
        both = np.concatenate([shown[0], np.full((len(y), 4), 255.0), shown[1]], axis=1)
        imageio.imwrite(
            pictures / f"stars-{field}.png", np.kron(both.round().astype(np.uint8), np.ones((2, 2), np.uint8))
        )
    after, _ = fluxes(z, places)
    before = before / share_of(spread.values)
    area = np.pi * RADIUS**2
    errors = np.sqrt(
        area * noise**2 * (1 + area / (np.pi * (ANNULUS[1] ** 2 - ANNULUS[0] ** 2))) + before.clip(0) / gain
    )
    off = (after - before) / errors
    bright = before > np.quantile(before, 0.8)
    assert run.data is not None
    return {
        "field": field,
        "denoiser": denoiser,
        "stars": len(places),
        "within 1": float(np.mean(np.abs(off) <= 1)),
        "within 2": float(np.mean(np.abs(off) <= 2)),
        "worst": float(np.abs(off).max()),
        "ratio": float(np.median(after / before)),
        "ring before": float(np.max(rings(y, places[bright], sky[bright], noise))),
        "ring after": float(np.max(rings(z, places[bright], sky[bright], noise))),
        "flux": run.data.flux,
        "noise": run.data.kind,
        "psf": spread.notes[0],
        "seconds": seconds,
    }


def table(rows: list[dict[str, Any]]) -> str:
    lines = [f"Circles of {RADIUS:g} pixels; rings in units of the noise of the sky, of the brightest fifth.", ""]
    lines += [
        "| field | denoiser | noise | stars | within 1 error | within 2 | worst | median ratio | ring before | after |"
    ]
    lines += ["| --- " * 10 + "|"]
    for r in rows:
        shares = " | ".join(f"{100 * r[key]:.0f} %" for key in ("within 1", "within 2"))
        numbers = " | ".join(f"{r[key]:.2f}" for key in ("worst", "ratio", "ring before", "ring after"))
        lines.append(f"| {r['field']} | {r['denoiser']} | {r['noise']} | {r['stars']} | {shares} | {numbers} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--fields", nargs="+", default=list(FIELDS), choices=FIELDS)
    parser.add_argument("--denoiser", default="euler-guided")
    parser.add_argument("--tol", type=float, default=1e-3)
    parser.add_argument("--pictures", type=Path)
    args = parser.parse_args()
    stored = RESULTS / "stars.json"
    rows = json.loads(stored.read_text())["rows"] if stored.exists() else []
    for field in args.fields:
        row = measured(field, args.data / "instruments" / "astro", args.denoiser, args.tol, args.pictures)
        rows = [r for r in rows if (r["field"], r["denoiser"]) != (field, args.denoiser)] + [row]
        command = f"python scripts/stars.py --data PATH --denoiser {args.denoiser} --tol {args.tol:g}"
        write_results("stars", {"rows": rows} | stamp(command, "none"), table(rows).splitlines())
    print(table(rows))


if __name__ == "__main__":
    main()
