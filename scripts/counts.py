"""Restore pictures of few counts (protocol P6): the gain from knowing the variance, compared with other methods.

    python scripts/counts.py --data PATH [--pictures 10] [--kernels levin09_1 levin09_5 box:9 gaussian:1.6]
        [--peaks 200 50 10] [--denoiser euler-guided] [--track crop128] [--methods ...] [--read 2 --offset 100]
        [--before CHECKOUT]

PATH holds bsds500/val and kernels. y = (Poisson(peak * K x) + offset + N(0, read^2)) / peak, K circular, the seed is
the index of the picture. ``weighted`` is not told gain, offset and read noise; ``given`` is told all of them. The
scores are PSNR in dB after clipping to 0..1, and the mean relative error of the flux in 16 x 16 blocks. ``before`` is
the default of another version of pnpkit, whose checkout is given; it gets the readings clipped to 0..1. ``readings``
shows the effect of the noise alone on the flux: it compares the readings with the blurred picture without noise. Rows
that are stored already are kept, so the script may be stopped and called again. Writes docs/results/counts.{json,md}.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bsds500 import pictures
from results import RESULTS, stamp, write_results
from tqdm import tqdm

import pnpkit as pk
from pnpkit import kernels
from pnpkit.images.metrics import psnr
from pnpkit.images.pixels import from_tensor, to_tensor

BLOCK = 16
DPIR = (8, 49 / 255, 0.23)  # steps, first strength, balance: Zhang et al., IEEE TPAMI 44(10), 2022
METHODS = ("readings", "degraded", "before", "unweighted", "weighted", "given", "anscombe", "dpir", "richardson-lucy")


@dataclass(frozen=True)
class Sensor:
    """Gain, offset and read noise of a sensor, in the units of y."""

    gain: float
    offset: float
    read: float


def restored(method: str, y: np.ndarray, kernel: np.ndarray, of: Sensor, x: np.ndarray, denoiser: str) -> np.ndarray:
    """Restore the readings by a method, without their offset; Richardson-Lucy is told which iteration is best."""
    deblur: Callable[..., Any] = pk.deblur
    how: dict[str, Any] = {"boundary": "circular", "denoiser": denoiser}
    light = y - of.offset
    if method == "degraded":
        return light
    if method == "unweighted":
        return np.asarray(deblur(y, kernel, noise="gaussian", **how).image) - of.offset
    if method == "weighted":
        return np.asarray(deblur(y, kernel, **how).image) - of.offset
    if method == "given":
        known = deblur(y, kernel, gain=of.gain, offset=of.offset, read_noise=of.read, **how)
        return np.asarray(known.image) - of.offset
    if method == "anscombe":  # a blur does not commute with it
        more = 3 / 8 + (of.read / of.gain) ** 2
        level = 2 * np.sqrt((light / of.gain + more).clip(0))
        v = np.asarray(deblur(level, kernel, noise="gaussian", noise_level=1.0, **how).image)
        return of.gain * (np.square(v / 2) - more + 1 / 4)
    if method == "dpir":
        return dpir(light, kernel, float(np.sqrt(of.gain * max(light.mean(), of.gain) + of.read**2)))
    return richardson_lucy(light.clip(0), kernel, x)


EARLIER = """
import sys, numpy as np, torch, pnpkit
torch.set_num_threads(1)
for line in sys.stdin:
    with np.load(line.strip() + "/case.npz") as case:
        run = pnpkit.deblur(case["y"].clip(0, 1), case["kernel"], boundary="circular")
    np.save(line.strip() + "/made.npy", np.asarray(run.image))
    print("made", flush=True)
"""


class Version:
    """The default of another version of pnpkit, which restores case after case in its own process."""

    def __init__(self, checkout: Path):
        self.folder = tempfile.TemporaryDirectory()
        environment = os.environ | {"PYTHONPATH": str(checkout.resolve())}
        self.process = subprocess.Popen(
            [sys.executable, "-c", EARLIER],
            env=environment,
            cwd=self.folder.name,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __call__(self, y: np.ndarray, kernel: np.ndarray) -> np.ndarray:
        assert self.process.stdin is not None and self.process.stdout is not None
        np.savez(Path(self.folder.name) / "case.npz", y=y, kernel=kernel)
        print(self.folder.name, file=self.process.stdin, flush=True)
        if self.process.stdout.readline().strip() != "made":
            raise SystemExit("the other version failed: see above")
        restored: np.ndarray = np.load(Path(self.folder.name) / "made.npy")
        return restored


def dpir(y: np.ndarray, kernel: np.ndarray, level: float) -> np.ndarray:
    """Run half-quadratic steps with falling strength and ``dncnn``: no fixed point, no proof."""
    steps, first, balance = DPIR
    network, data = pk.load_denoiser("dncnn"), to_tensor(y)
    operator = pk.blur(kernel, boundary="circular", image_size=(y.shape[0], y.shape[1]))
    fidelity, x = pk.LeastSquares(operator, data), data
    with torch.no_grad():
        for sigma in np.geomspace(max(first, level), level, steps):
            x = fidelity.prox(float(sigma**2 / (balance * level**2)))(x)
            x = network(x, min(float(sigma), network.top))
    return from_tensor(x)


def richardson_lucy(y: np.ndarray, kernel: np.ndarray, x: np.ndarray, steps: int = 150) -> np.ndarray:
    """Return the iterate with the largest PSNR."""
    spread = np.zeros(y.shape[:2])
    spread[: kernel.shape[0], : kernel.shape[1]] = kernel
    spread = np.roll(spread, [-(side // 2) for side in kernel.shape], (0, 1))
    gains = np.fft.rfft2(spread)[..., None]

    def blur(z: np.ndarray, gains: np.ndarray) -> np.ndarray:
        return np.fft.irfft2(gains * np.fft.rfft2(z, axes=(0, 1)), s=y.shape[:2], axes=(0, 1))

    now, best = np.full_like(y, y.mean()), y
    for _ in range(steps):
        now = now * blur(y / np.maximum(blur(now, gains), 1e-6), gains.conj())
        best = max((best, now), key=lambda z: psnr(z.clip(0, 1), x))
    return best


def flux_error(z: np.ndarray, x: np.ndarray) -> float:
    """Return the mean relative error of the sums over blocks."""

    def sums(picture: np.ndarray) -> np.ndarray:
        rows, columns = (side // BLOCK for side in picture.shape[:2])
        cut = picture[: rows * BLOCK, : columns * BLOCK]
        return np.asarray(cut.reshape(rows, BLOCK, columns, BLOCK, -1).sum((1, 3)))

    return float(np.mean(np.abs(sums(z) - sums(x)) / np.maximum(sums(x), 1e-9)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--pictures", type=int, default=10)
    parser.add_argument("--kernels", nargs="+", default=["levin09_1", "levin09_5", "box:9", "gaussian:1.6"])
    parser.add_argument("--peaks", nargs="+", type=float, default=[200, 50, 10])
    parser.add_argument("--methods", nargs="+", default=[m for m in METHODS if m != "before"], choices=METHODS)
    parser.add_argument("--denoiser", default="euler-guided")
    parser.add_argument("--track", default="crop128", choices=["crop128", "whole"])
    parser.add_argument("--read", type=float, default=0.0, help="standard deviation of the read noise, in counts")
    parser.add_argument("--offset", type=float, default=0.0, help="in counts")
    parser.add_argument("--before", type=Path, help="the checkout of another version: nothing else is run")
    args = parser.parse_args()
    name = "counts" if args.track == "crop128" else "counts-whole"
    stored = RESULTS / f"{name}.json"
    rows: list[dict[str, Any]] = json.loads(stored.read_text())["rows"] if stored.exists() else []
    earlier = None if args.before is None else Version(args.before)
    methods = [m for m in args.methods if m != "before"] if earlier is None else ["before"]
    known = {(row["picture"], row["kernel"], row["peak"], row["method"], *group(row)) for row in rows}
    command = f"python scripts/counts.py --data PATH --track {args.track}"
    scenes = pictures(args.data / "bsds500" / "val", args.pictures, args.track)
    cases = [(i, k, p, m) for i in range(len(scenes)) for k in args.kernels for p in args.peaks for m in methods]
    for index, spec, peak, method in tqdm(cases):
        if (index, spec, peak, method, args.denoiser, args.read) in known:
            continue
        file = args.data / "kernels" / f"{spec}.npy"
        kernel = np.load(file) if file.exists() else kernels.parse(spec)
        kernel, x = kernel / kernel.sum(), scenes[index]
        clean = pk.simulate(x, kernel, boundary="circular").clip(0)
        random = np.random.default_rng(index)
        y = random.poisson(peak * clean) / peak
        if args.read or args.offset:
            y = y + (args.offset + args.read * random.standard_normal(y.shape)) / peak
        began = time.process_time()
        if earlier is not None:
            z = earlier(y, kernel)
        elif method == "readings":
            z, x = y, clean
        else:
            z = restored(method, y, kernel, Sensor(1 / peak, args.offset / peak, args.read / peak), x, args.denoiser)
        row = {"picture": index, "kernel": spec, "peak": peak, "method": method, "denoiser": args.denoiser}
        row |= {"read": args.read, "offset": args.offset}
        row |= {"psnr": psnr(z.clip(0, 1), x), "flux": flux_error(z, x), "seconds": time.process_time() - began}
        rows.append(row)
        write_results(name, {"rows": rows} | stamp(command, "index of the picture"), table(rows).splitlines())
    print(table(rows))


def group(row: dict[str, Any]) -> tuple[str, float]:
    """Return the denoiser and the read noise of a row."""
    return row["denoiser"], row.get("read", 0.0)


def table(rows: list[dict[str, Any]]) -> str:
    """Return means over pictures and kernels; gains over unweighted use the cases that both methods have."""
    head = "PSNR in dB; mean error of the flux in blocks of 16 x 16 pixels; gain in PSNR over unweighted "
    lines = [head + "in the same cases.", ""]
    lines += ["| peak | read noise | method | denoiser | cases | PSNR | flux | gain |", "| --- " * 8 + "|"]
    seen = dict.fromkeys((row["peak"], row["method"], *group(row)) for row in rows)
    for peak, method, denoiser, read in sorted(seen, key=lambda key: (key[3], -key[0], METHODS.index(key[1]), key[2])):
        chosen = [r for r in rows if (r["peak"], r["method"], *group(r)) == (peak, method, denoiser, read)]
        plain = {
            (r["picture"], r["kernel"]): r["psnr"]
            for r in rows
            if (r["peak"], r["method"], *group(r)) == (peak, "unweighted", denoiser, read)
        }
        gains = [r["psnr"] - plain[key] for r in chosen if (key := (r["picture"], r["kernel"])) in plain]
        gain = float(np.mean(gains)) if gains else math.nan
        flux = f"{100 * np.mean([r['flux'] for r in chosen]):.2f} %"
        if method == "readings":  # of another picture
            lines.append(f"| {peak:g} | {read:g} | {method} | {denoiser} | {len(chosen)} | - | {flux} | - |")
            continue
        values = f"{np.mean([r['psnr'] for r in chosen]):.2f} | {flux}"
        lines.append(f"| {peak:g} | {read:g} | {method} | {denoiser} | {len(chosen)} | {values} | {gain:+.2f} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
