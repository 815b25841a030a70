"""Measure time to quality: processor seconds and PSNR of the default, the former default, and deepinv's DPIR schedule.

    python scripts/time_to_quality.py --data PATH [--pictures 0 3] [--size 128] [--name tolerances]
        [--kernels levin1 box gaussian] [--noises 2.55 7.65] [--methods before now quick dpir]

PATH holds bsds500 and kernels. A crop from the middle of a val picture (--size 0: all of it) is blurred, circular, and
noise is added, as in protocol P2, with the kernel and the noise level given. ``before`` ends the first pass at 1e-3 and
the second at 1e-4; ``now`` at ``defaults.GUIDE`` and ``defaults.ROUGH``, as larger pictures are restored by default;
``quick`` is the default with ``quick=True``; ``dpir`` is deepinv's DPIR, 8 steps without a fixed point, with ``dncnn``.
All methods of a case run in turn, in one process: other jobs on the machine stretch them alike, so ratios are
meaningful. Rows that are stored already are kept. Writes docs/results/NAME.{json,md}.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import scipy.ndimage
import torch
from deepinv.optim.dpir import DPIR
from results import RESULTS, stamp, write_results

import pnpkit as pk
from pnpkit import kernels
from pnpkit.images import files, pixels
from pnpkit.images.metrics import psnr
from pnpkit.restoration import defaults, pipeline

METHODS = ("before", "now", "quick", "dpir")


def kernel_of(name: str, data: Path) -> np.ndarray:
    """Return a kernel of protocol P2: levinN, box (9 x 9) or gaussian (25 x 25, sigma 1.6)."""
    if name.startswith("levin"):
        return kernels.load(data / "kernels" / f"levin09_{name.removeprefix('levin')}.npy")
    return kernels.box(9) if name == "box" else kernels.parse("gaussian:1.6")


def case(sharp: np.ndarray, kernel: np.ndarray, noise: float) -> np.ndarray:
    """Return the blurred picture with its noise."""
    blurred = np.stack([scipy.ndimage.convolve(sharp[..., c], kernel, mode="wrap") for c in range(3)], -1)
    np.random.seed(0)
    return blurred + noise * np.random.standard_normal(blurred.shape)


def run(method: str, y: np.ndarray, kernel: np.ndarray, noise: float) -> tuple[np.ndarray, dict[str, Any]]:
    """Run a method on y, and return the picture and the cost."""
    tensor = pixels.to_tensor(y.astype(np.float32))
    started = time.process_time()
    if method == "dpir":
        physics = pk.blur(kernel, "circular", (y.shape[0], y.shape[1]))
        with torch.no_grad():
            x = DPIR(sigma=noise, denoiser=pk.load_denoiser("dncnn"))(tensor, physics)
        return pixels.from_tensor(x), {"seconds": time.process_time() - started, "steps": 8}
    guide, tol = (1e-3, defaults.EXACT) if method == "before" else (defaults.GUIDE, defaults.ROUGH)
    pipeline.GUIDE = guide  # no setting: what was measured is the default
    more: dict[str, Any] = {"quick": True} if method == "quick" else {"tol": tol}
    found = pk.deblur(tensor, kernel, boundary="circular", noise_level=noise, limits=(0.0, 1.0), **more)
    told = {"seconds": time.process_time() - started, "steps": found.steps, "guide_steps": found.guide_steps}
    return pixels.from_tensor(torch.as_tensor(found.image)), told


def table(rows: dict[str, dict[str, Any]]) -> list[str]:
    """Return a row for each case with steps, seconds and PSNR of each method, then means compared with ``now``."""
    methods = [m for m in METHODS if any(m in row for row in rows.values())]
    lines = [
        "Each cell gives steps, processor seconds and PSNR (dB) of a method. `before` is the former default, `now` the "
        "present one, `quick` the default with `quick=True`, and `dpir` deepinv's DPIR schedule with `dncnn`.",
        "",
        f"| case | {' | '.join(f'{m}: steps, s, dB' for m in methods)} |",
        "| --- |" + " --- |" * len(methods),
    ]
    for name, row in rows.items():
        told = [row.get(m) for m in methods]
        cells = ["" if t is None else f"{t['steps']}, {t['seconds']:.1f}, {t['psnr']:.2f}" for t in told]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    lines.append("")
    for m in methods:
        both = [(row[m], row["now"]) for row in rows.values() if m in row and "now" in row and m != "now"]
        if both:
            ratio = sum(now["seconds"] for _, now in both) / sum(other["seconds"] for other, _ in both)
            gains = [now["psnr"] - other["psnr"] for other, now in both]
            mean = f"its mean PSNR differs by {np.mean(gains):+.3f} dB ({min(gains):+.3f} to {max(gains):+.3f})"
            lines.append(f"`now` against `{m}`, {len(both)} cases: it takes {ratio:.2f} of the processor time; {mean}.")
            lines.append("")
    return lines[:-1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--pictures", type=int, nargs="+", default=[0])
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--kernels", nargs="+", default=["levin1", "box", "gaussian"])
    parser.add_argument("--noises", type=float, nargs="+", default=[2.55, 7.65])
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--name", default="tolerances")
    args = parser.parse_args()
    stored = RESULTS / f"{args.name}.json"
    rows: dict[str, dict[str, Any]] = json.loads(stored.read_text())["rows"] if stored.exists() else {}
    torch.set_num_threads(1)
    pictures = sorted((args.data / "bsds500").glob("**/val/*.jpg"))
    command = f"python scripts/time_to_quality.py {' '.join(sys.argv[1:])}".replace(str(args.data), "PATH")
    run("now", np.random.default_rng(0).random((32, 32, 3)), kernels.box(3), 0.01)  # what the first run alone pays for
    for number in args.pictures:
        whole = files.read(pictures[number]).pixels
        size = args.size or max(whole.shape)
        top, left = (max(0, side - size) // 2 for side in whole.shape[:2])
        sharp = whole[top : top + size, left : left + size]
        for name in args.kernels:
            for noise in args.noises:
                key = f"picture {number}, {sharp.shape[1]} x {sharp.shape[0]}, {name}, noise {noise:g}"
                row, kernel = rows.setdefault(key, {}), kernel_of(name, args.data)
                y = case(sharp, kernel, noise / 255)
                for method in args.methods:
                    if method not in row:
                        x, told = run(method, y, kernel, noise / 255)
                        row[method] = {**told, "psnr": psnr(np.clip(x, 0, 1), sharp)}
                write_results(args.name, {**stamp(command), "rows": rows}, table(rows))
                print(key, row, flush=True)


if __name__ == "__main__":
    main()
