"""Measure point-spread functions from beads and stars, and compare them with the truth and with photutils' widths.

    python scripts/point_spreads.py --data PATH

PATH holds instruments/micro3d and instruments/astro. The beads are points at places between the samples, blurred by the
function of a microscope (Gibson & Lanni), with Poisson noise and 400 counts at the peak; and a stack of real beads,
whose objective is not known. The stars are Moffat profiles with Poisson noise, and two real fields. photutils' widths
are the medians of Gaussians that ``fit_fwhm`` fits to the same stars, or to the result if a Gaussian is not the model.
Writes docs/results/point-spreads.{json,md}.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path

import numpy as np
import tifffile
from results import stamp, write_results
from scipy.ndimage import shift

from pnpkit import kernels
from pnpkit.psf import stars as telescope
from pnpkit.psf.beads import beads
from pnpkit.psf.optics import optics
from pnpkit.psf.spread import Spread, fwhm

COMMAND, SEED = "python scripts/point_spreads.py --data PATH", 0
VOXEL = (0.125, 0.022, 0.022)  # µm, of the real beads


def bead_stack(known: Spread, count: int, peak: float, rng: np.random.Generator) -> np.ndarray:
    """Make a stack of count x count points between the samples, imaged by ``known``; 5 counts of background."""
    d, h, w = known.values.shape
    stack = np.zeros((d + 12, count * (h + 8), count * (w + 8)))
    for row, column in np.ndindex(count, count):
        offset = rng.uniform(-0.5, 0.5, 3)
        moved = np.maximum(shift(np.pad(known.values, 2), offset, order=3), 0)
        low = (4, row * (h + 8) + 2, column * (w + 8) + 2)
        stack[tuple(slice(a, a + n) for a, n in zip(low, moved.shape, strict=True))] += moved
    return rng.poisson(5 + peak * stack / known.values.max()).astype(np.uint16)


def star_field(width: float, rng: np.random.Generator) -> np.ndarray:
    """Make 36 stars between the samples, Moffat with beta 3.5, on a sky of 300 counts."""
    rows, columns = np.mgrid[:200, :200].astype(float)
    field = np.full(rows.shape, 300.0)
    alpha = width / 2 / np.sqrt(2 ** (1 / 3.5) - 1)
    for y, x in [(y, x) for y in range(20, 200, 32) for x in range(20, 200, 32)]:
        r = (rows - y - rng.uniform(-0.5, 0.5)) ** 2 + (columns - x - rng.uniform(-0.5, 0.5)) ** 2
        field += rng.uniform(1000, 8000) * (1 + r / alpha**2) ** -3.5
    return rng.poisson(field).astype(float)


def fitted(values: np.ndarray) -> float:
    """Return the width that photutils fits to a point-spread function."""
    from photutils.psf import fit_fwhm

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        middle = tuple(n // 2 for n in values.shape[::-1])
        return float(np.asarray(fit_fwhm(values, xypos=[middle], fit_shape=(7, 7)))[0])


def fitted_to_stars(picture: np.ndarray, found: int) -> float:
    """Return the median width that photutils fits to the ``found`` stars that the function is made of."""
    from photutils.psf import fit_fwhm

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data, sky, noise = telescope.without_sky(picture)
        width = telescope.first_width(data, noise)
        across = int(np.ceil(8 * width)) | 1
        all_stars = telescope.find(data, noise, width)
        alone = telescope.usable(all_stars, data, across, width, telescope.ceiling_of(picture, None, sky))
        kept = telescope.alike(alone, data)[:found]
        widths = np.asarray(fit_fwhm(data, xypos=[star[:2] for star in kept], fit_shape=(7, 7)))
    return float(np.median(widths))


def row(what: str, axis: str, unit: str, measured: float, expected: float, of: str) -> dict:
    """Return one line of the table."""
    off = 100 * (measured / expected - 1)
    return {"what": what, "axis": axis, "unit": unit, "measured": measured, "expected": expected, "of": of, "off": off}


def table(rows: list[dict]) -> list[str]:
    """Return the rows as Markdown."""
    lines = [
        "Point-spread functions measured from beads and stars: their full widths at half the maximum (FWHM), compared "
        "with the expected widths.",
        "",
        "| what | axis | measured FWHM | expected | difference, % | expected from |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for r in rows:
        known = np.isfinite(r["expected"])
        expected = f"{r['expected']:.4g} {r['unit']}" if known else "not known"
        off = f"{r['off']:+.1f}" if known else ""
        lines.append(
            f"| {r['what']} | {r['axis']} | {r['measured']:.4g} {r['unit']} | {expected} | {off} | {r['of']} |"
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    data = parser.parse_args().data / "instruments"
    rng, rows = np.random.default_rng(SEED), []
    for name, how in (("wide field, NA 1.4", {}), ("confocal, NA 1.4", {"excitation": 488, "pinhole": 1.0})):
        known = optics(1.4, 520, 1.515, 0.06, 0.15, size=31, planes=25, **how)  # type: ignore[arg-type]
        found = beads(bead_stack(known, 2, 400, rng), known.step, "µm", known.values.shape)
        for axis, measured, expected in zip("zyx", found.widths(), known.widths(), strict=True):
            rows.append(row(f"beads, {name}", axis, "µm", measured, expected, "the function that made them"))
    real = beads(tifffile.imread(data / "micro3d" / "beads-confocal-41x150x150.tif"), VOXEL, "µm")
    for axis, measured in zip("zyx", real.widths(), strict=True):
        rows.append(row("beads, real confocal", axis, "µm", measured, float("nan"), "its objective is not known"))
    for width in (2.4, 3.5):
        field = star_field(width, rng)
        found = telescope.stars(field)
        true = fwhm(kernels.moffat(width, 3.5))[0]
        for axis, measured in zip("yx", fwhm(found.values), strict=True):
            rows.append(row(f"stars, Moffat {width}", axis, "px", measured, true, "the profile that made them"))
        own = fitted_to_stars(field, 200)
        rows.append(row(f"stars, Moffat {width}", "Gaussian fit", "px", fitted(found.values), own, "photutils' fits"))
    from astropy.io import fits

    for name in ("ntt-emmi-field", "spitzer-irac2"):
        field = np.asarray(fits.getdata(data / "astro" / f"{name}.fits")[:256, :256], dtype=float)
        found = telescope.stars(field)
        own = fitted_to_stars(field, 200)
        rows.append(row(f"stars, {name}", "Gaussian fit", "px", fitted(found.values), own, "photutils' fits"))
    clear = [{**r, "expected": r["expected"] if np.isfinite(r["expected"]) else None,
              "off": r["off"] if np.isfinite(r["off"]) else None} for r in rows]  # fmt: skip
    write_results("point-spreads", {"rows": clear} | stamp(COMMAND, SEED), table(rows))
    print("\n".join(table(rows)))


if __name__ == "__main__":
    main()
