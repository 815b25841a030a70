"""Compare stars before and after restoration: their flux, and rings around them.

    python scripts/stars.py --data PATH [--fields ntt m51] [--denoiser euler-guided] [--tol 1e-3] [--pictures FOLDER]

PATH holds instruments/astro. The point-spread function is measured from the field's own stars (``psf.stars``); all
other settings are the defaults. Fluxes are measured by aperture photometry (photutils) in circles of RADIUS pixels; the
sky is the clipped median of a ring around them. The sum before restoration is divided by the share of the point-spread
function inside the circle. After restoration all light of a point lies inside.

Stars are isolated peaks above FAINT times the noise whose width, by a Gaussian that photutils fits, agrees with that of
the point-spread function to ALIKE. Peaks above LINEAR of the largest reading may saturate and are left out. Other
isolated peaks (galaxies, knots, faint peaks that noise widens) have their own line, since part of their light lies
outside the circle before. The error of a flux consists of the noise in the circle and of the median of its ring, from
the clipped deviation of that ring, and of the shot noise, from the gain of the field. A ring is the deepest value below
its sky within RING pixels of a star, in units of the deviation of its sky before.

Writes docs/results/stars.{json,md}, and a PNG of both pictures, as the root above the sky, into FOLDER.
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
from astropy.stats import SigmaClip
from photutils.aperture import ApertureStats, CircularAnnulus, CircularAperture
from photutils.detection import DAOStarFinder
from photutils.psf import fit_fwhm
from results import RESULTS, stamp, write_results

import pnpkit as pk
from pnpkit.psf import stars as of_stars

RADIUS, RING, ANNULUS = 5.0, 12, (10.0, 15.0)
FAINT = 3.0  # times the noise: the peaks of the faintest stars
ALIKE, LINEAR = 0.25, 0.8  # of the width of the point-spread function; of the largest reading
# file, electrons per unit of the data (for the shot noise: about what such cameras had), size of the spread
FIELDS: dict[str, tuple[str, float, int | None]] = {
    "ntt": ("ntt-emmi-field.fits", 2.2, None),
    "m51": ("m51-kpno.fits", 5.0, 15),
}


def found_stars(y: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Return (N, 2) places (x, y) of isolated unsaturated stars, the residual of the sky map, and its noise."""
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


def are_stars(rest: np.ndarray, places: np.ndarray, psf: np.ndarray) -> np.ndarray:
    """Whether each isolated peak is as wide as the point-spread function, (N,)."""
    alone = np.pad(psf / psf.max(), RING)
    middle = [side // 2 for side in alone.shape[::-1]]
    usual = float(np.squeeze(fit_fwhm(alone, xypos=[middle], fit_shape=(9, 9))))
    widths = np.array([float(np.squeeze(fit_fwhm(rest, xypos=[place], fit_shape=(9, 9)))) for place in places])
    return np.asarray(np.abs(widths / usual - 1) <= ALIKE)


def fluxes(z: np.ndarray, places: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return sums in circles above the medians of their rings, the skies, and their deviations."""
    ring = ApertureStats(z, CircularAnnulus(places, *ANNULUS), sigma_clip=SigmaClip(3.0))
    circles = CircularAperture(places, RADIUS)
    return ApertureStats(z, circles).sum - ring.median * circles.area, ring.median, ring.std


def share_of(psf: np.ndarray) -> float:
    """Return the share of a point-spread function within RADIUS of its middle."""
    middle = [(side // 2) for side in psf.shape[::-1]]
    return float(ApertureStats(psf, CircularAperture(middle, RADIUS)).sum / psf.sum())


def rings(z: np.ndarray, places: np.ndarray, sky: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Return the deepest value within RING of each star below its sky, in units of the noise there."""
    deepest = []
    for (x, row), level, deviation in zip(places, sky, noise, strict=True):
        i, k = int(round(row)), int(round(x))
        cut = z[max(0, i - RING) : i + RING + 1, max(0, k - RING) : k + RING + 1]
        deepest.append((level - cut.min()) / deviation)
    return np.array(deepest)


def measured(field: str, folder: Path, denoiser: str, tol: float, pictures: Path | None) -> list[dict[str, Any]]:
    """Return two rows of the table: one for stars, one for other isolated peaks."""
    name, gain, size = FIELDS[field]
    y = np.asarray(fits.getdata(folder / name), dtype=float)
    places, rest, noise = found_stars(y)
    spread = of_stars.stars(y, size)
    began = time.process_time()
    run = pk.deblur(y, spread.values, denoiser=denoiser, tol=tol)
    seconds = time.process_time() - began
    z = np.asarray(run.image)
    before, sky, deviation = fluxes(y, places)
    if pictures is not None:
        pictures.mkdir(parents=True, exist_ok=True)
        low, high = sky.min() - 2 * noise, sky.max() + 40 * noise
        shown = [255 * ((picture - low) / (high - low)).clip(0, 1) ** 0.5 for picture in (y, z)]
        both = np.concatenate([shown[0], np.full((len(y), 4), 255.0), shown[1]], axis=1)
        imageio.imwrite(
            pictures / f"stars-{field}.png", np.kron(both.round().astype(np.uint8), np.ones((2, 2), np.uint8))
        )
    after, _, _ = fluxes(z, places)
    before = before / share_of(spread.values)
    area, ring = np.pi * RADIUS**2, np.pi * (ANNULUS[1] ** 2 - ANNULUS[0] ** 2)
    of_median = np.pi / 2 * area / ring  # the variance of a median is pi / 2 times that of a mean
    errors = np.sqrt(area * deviation**2 * (1 + of_median) + before.clip(0) / gain)
    off = (after - before) / errors
    peaks = ApertureStats(rest, CircularAperture(places, 3)).max
    alike, linear = are_stars(rest, places, spread.values), peaks < LINEAR * rest.max()
    rows = []
    for what, chosen in (("stars", alike & linear), ("others", ~alike & linear)):
        bright = chosen & (before > np.quantile(before[chosen], 0.8))
        where = places[bright], sky[bright]
        row = {
            "field": field,
            "what": what,
            "denoiser": denoiser,
            "stars": int(chosen.sum()),
            "within 1": float(np.mean(np.abs(off[chosen]) <= 1)),
            "within 2": float(np.mean(np.abs(off[chosen]) <= 2)),
            "worst": float(np.abs(off[chosen]).max()),
            "ratio": float(np.median(after[chosen] / before[chosen])),
            "bright ratio": float(np.median(after[bright] / before[bright])),
            "ring before": float(np.max(rings(y, *where, deviation[bright]))),
            "ring after": float(np.max(rings(z, *where, deviation[bright]))),
            "noise": "" if run.data is None else run.data.kind,
            "psf": spread.notes[0],
            "seconds": seconds,
        }
        rows.append(row)
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    head = f"The fluxes are measured in circles of {RADIUS:g} pixels. The rings are those of the brightest fifth, in "
    lines = [head + "units of the noise of the sky.", ""]
    lines += [
        "| field | what | denoiser | noise | number | within 1 error | within 2 | worst | median ratio | of the "
        "brightest fifth | ring before | after |"
    ]
    lines += ["| --- " * 12 + "|"]
    for r in rows:
        shares = " | ".join(f"{100 * r[key]:.0f} %" for key in ("within 1", "within 2"))
        names = ("worst", "ratio", "bright ratio", "ring before", "ring after")
        numbers = " | ".join(f"{r[key]:.3f}" if "ratio" in key else f"{r[key]:.2f}" for key in names)
        words = " | ".join(str(r[key]) for key in ("field", "what", "denoiser", "noise", "stars"))
        lines.append(f"| {words} | {shares} | {numbers} |")
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
        found = measured(field, args.data / "instruments" / "astro", args.denoiser, args.tol, args.pictures)
        rows = [r for r in rows if (r["field"], r["denoiser"]) != (field, args.denoiser)] + found
        command = f"python scripts/stars.py --data PATH --denoiser {args.denoiser} --tol {args.tol:g}"
        write_results("stars", {"rows": rows} | stamp(command, "none"), table(rows).splitlines())
    print(table(rows))


if __name__ == "__main__":
    main()
