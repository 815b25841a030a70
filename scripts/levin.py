"""Deblur pictures with real blur (Levin et al. 2009): PSNR with and without the true kernel, and the error ratio.

    python scripts/levin.py --data PATH/levin [--denoiser euler-guided] [--max-steps 40] [--resume]

The boundary is unknown. Scores drop borders of 15 pixels and use the best shift within +-5 pixels in quarter pixels,
because the centre of a kernel is arbitrary. The error ratio is ||x_blind - x||^2 / ||x_given - x||^2; a restoration
succeeds if it is at most 3. Half of the kernel files are rotated by 180 degrees against the convolution; blurring the
sharp picture shows which ones. Writes docs/results/levin.{json,md} after every picture; --resume keeps the pictures
that are there already.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from results import RESULTS, today, write_results
from scipy import ndimage, signal

from pnpkit import kernels
from pnpkit.images import files
from pnpkit.images.metrics import psnr
from pnpkit.restoration import deblur

BORDER, REACH = 15, 5  # pixels
GIVEN_NOISE = 2.7 / 255  # what the measured kernels' errors act like: chosen on im1 with kernels 3 and 4
SUCCESS = 3.0
TOL = 3e-4


def aligned_psnr(image: np.ndarray, sharp: np.ndarray) -> float:
    """Return the PSNR inside the borders at the best shift: whole pixels first, then quarters around the best."""
    inside = (slice(BORDER, -BORDER),) * 2
    spline = ndimage.spline_filter(image, 3)

    def at(shift: tuple[float, float]) -> float:
        moved = ndimage.shift(spline, shift, order=3, prefilter=False, mode="nearest")
        return psnr(moved[inside], sharp[inside])

    whole = range(-REACH, REACH + 1)
    row, column = max(
        ((i, j) for i in whole for j in whole),
        key=lambda s: psnr(np.roll(image, s, (0, 1))[inside], sharp[inside]),
    )
    quarters = np.linspace(-1, 1, 9)
    near = {(min(max(row + a, -REACH), REACH), min(max(column + b, -REACH), REACH)) for a in quarters for b in quarters}
    return max(at(shift) for shift in near)


def turned_right(kernel: np.ndarray, blurred: np.ndarray, sharp: np.ndarray) -> np.ndarray:
    """Return the kernel or its rotation by 180 degrees, whichever reproduces the blurred picture better."""
    turned = kernel[::-1, ::-1].copy()
    return max((kernel, turned), key=lambda k: aligned_psnr(signal.fftconvolve(sharp, k, "same"), blurred))


def one(blurred: np.ndarray, sharp: np.ndarray, kernel: np.ndarray, denoiser: str, steps: int) -> dict[str, object]:
    given = deblur.deblur(blurred, kernel, denoiser=denoiser, noise_level=GIVEN_NOISE, tol=TOL, max_steps=steps)
    started = time.perf_counter()
    blind = deblur.deblur(blurred, "auto", denoiser=denoiser, tol=TOL, max_steps=steps)
    scores = [aligned_psnr(np.asarray(x), sharp) for x in (blurred, given.image, blind.image)]
    return {
        "blurred": round(scores[0], 2),
        "given": round(scores[1], 2),
        "blind": round(scores[2], 2),
        "ratio": round(10 ** ((scores[1] - scores[2]) / 10), 2),
        "kernel": blind.kernel_note,
        "steps": [given.steps, blind.steps],
        "seconds": [round(given.seconds), round(time.perf_counter() - started)],
    }


def save(rows: dict[str, dict[str, object]], args: argparse.Namespace) -> None:
    def column(name: str) -> np.ndarray:
        return np.array([row[name] for row in rows.values()], dtype=float)

    mean = {name: round(float(column(name).mean()), 2) for name in ("blurred", "given", "blind")}
    success = float(np.mean(column("ratio") <= SUCCESS))
    record = {
        "command": f"python scripts/levin.py --data PATH/levin --denoiser {args.denoiser} --max-steps {args.max_steps}",
        "date": today(),
        "torch": torch.__version__,
        "mean": mean,
        "success": round(success, 4),
        "pictures": rows,
    }
    lines = ["| picture | blurred | kernel given | blind | error ratio |", "| --- | --- | --- | --- | --- |"]
    lines += [f"| {n} | {r['blurred']} | {r['given']} | {r['blind']} | {r['ratio']} |" for n, r in rows.items()]
    lines.append(f"| mean of {len(rows)} | {mean['blurred']} | {mean['given']} | {mean['blind']} | |")
    head = (
        f"PSNR in dB for {len(rows)} of 16 pictures. Blind restoration succeeds (error ratio <= {SUCCESS:g}) for "
        f"{100 * success:.0f} % of them. "
    )
    head += f"`{record['command']}`"
    write_results("levin", record, [head, "", *lines])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--denoiser", default="euler-guided")
    parser.add_argument("--max-steps", type=int, default=40)
    parser.add_argument("--resume", action="store_true")
    args = parser.parse_args()
    rows: dict[str, dict[str, object]] = {}
    if args.resume and (RESULTS / "levin.json").exists():
        record = json.loads((RESULTS / "levin.json").read_text())
        if not record["command"].endswith(f"--denoiser {args.denoiser} --max-steps {args.max_steps}"):
            parser.error(f"the stored pictures were made by: {record['command']}")
        rows = record["pictures"]
    for number in range(1, 9):
        kernel = kernels.load(args.data / "kernels" / f"kernel{number}.png")
        for name in ("im1", "im2"):
            if f"{name} kernel {number}" in rows:
                continue
            sharp = files.read(args.data / "sharp" / f"{name}.png").pixels
            blurred = files.read(args.data / "blurred" / f"{name}_kernel{number}_img.png").pixels
            rows[f"{name} kernel {number}"] = one(
                blurred, sharp, turned_right(kernel, blurred, sharp), args.denoiser, args.max_steps
            )
            print(name, number, rows[f"{name} kernel {number}"], flush=True)
            save(rows, args)


if __name__ == "__main__":
    main()
