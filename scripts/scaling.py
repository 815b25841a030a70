"""Measure memory and time of ``pnpkit deblur`` on colour pictures of 1, 4 and 24 megapixels, each in its own process.

    python scripts/scaling.py [--denoiser wavelet] [--method picard] [--max-memory 7] [--steps 2] [--sizes 1 4 24]

data/images/astronaut.png, mirrored until it is large enough (24: 6000 x 4000), blurred by motion:9,30, noise 0.01, as a
TIFF of 8 bits. The peak is the resident set that the system reports for the process (wait4), including Python and torch
(about 0.8 GiB). Seconds are processor seconds, which other jobs do not change, and wall seconds. Writes
docs/results/scaling.{json,md}, a row for each denoiser and size.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from results import RESULTS, today, write_results

from pnpkit import kernels
from pnpkit.images import files, picture
from pnpkit.restoration import simulate

ROOT = Path(__file__).parent.parent
SHAPES = {1: (800, 1250), 4: (1600, 2500), 24: (4000, 6000)}  # megapixels -> rows, columns
KERNEL, NOISE = "motion:9,30", 0.01


def large(shape: tuple[int, int]) -> picture.Picture:
    """Make the mirrored picture, blurred across the seams as one scene, with separate noise in every pixel."""
    base = files.read(ROOT / "data" / "images" / "astronaut.png").pixels
    tile = np.concatenate([base, base[::-1]])
    tile = np.concatenate([tile, tile[:, ::-1]], axis=1)  # a period of an endless scene: blurring it is circular
    blurred = simulate.simulate(tile, kernels.parse(KERNEL), boundary="circular").astype(np.float32)
    times = [-(-size // period) for size, period in zip(shape, tile.shape[:2], strict=True)]
    pixels = np.tile(blurred, (*times, 1))[: shape[0], : shape[1]]
    pixels += NOISE * np.random.default_rng(0).standard_normal(pixels.shape, dtype=np.float32)
    return picture.Picture(pixels)


def measure(size: int, args: argparse.Namespace) -> dict[str, Any]:
    """Run the command once and measure it."""
    with tempfile.TemporaryDirectory() as folder:
        source, target, report = (str(Path(folder) / name) for name in ("in.tif", "out.tif", "r.json"))
        files.write(source, large(SHAPES[size]))
        words = ["deblur", source, "--kernel", KERNEL, "--denoiser", args.denoiser, "--method", args.method]
        words += ["--max-memory", str(args.max_memory), "--max-steps", str(args.steps)]
        started = time.perf_counter()
        command = [sys.executable, "-m", "pnpkit", *words, "-o", target, "--json", report, "--quiet"]
        process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"})
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        if os.waitstatus_to_exitcode(status) != 0:
            raise SystemExit(f"pnpkit {' '.join(words)} failed")
        run = json.loads(Path(report).read_text())
        shape = files.read(target).pixels.shape
    pixels, busy = shape[0] * shape[1] / 1e6, usage.ru_utime + usage.ru_stime
    return {
        "command": f"pnpkit {' '.join(words)}",
        "shape": shape,
        "denoiser": args.denoiser,
        "method": args.method,
        "max_memory_GiB": args.max_memory,
        "steps": run["steps"],
        "peak_GiB": usage.ru_maxrss * 1024 / 2**30,
        "seconds": seconds,
        "processor_seconds": busy,
        "processor_seconds_per_megapixel": busy / pixels,
        "date": today(),
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs, 1 thread used, torch {torch.__version__}",
        "load": os.getloadavg()[0],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--denoiser", default="wavelet")
    parser.add_argument("--method", default="picard")
    parser.add_argument("--max-memory", type=float, default=7)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--sizes", type=int, nargs="+", choices=sorted(SHAPES), default=sorted(SHAPES))
    args = parser.parse_args()
    path = RESULTS / "scaling.json"
    record = json.loads(path.read_text()) if path.exists() else {"runs": {}}
    record |= {"command": " ".join(["python scripts/scaling.py", *sys.argv[1:]])}
    record |= {"date": today(), "seed": 0}
    for size in args.sizes:
        found = measure(size, args)
        record["runs"][f"{args.denoiser}, {args.method}, {args.max_memory:g} GiB, {size} MP"] = found
        print(found, flush=True)
        lines = [
            "Memory and processor time of `pnpkit deblur` on colour pictures, each run in its own process. The peak is "
            "the largest resident memory, including Python and torch.",
            "",
            "| run | steps | peak GiB | processor seconds | per megapixel |",
            "| --- | --- | --- | --- | --- |",
        ]
        for name, run in record["runs"].items():
            figures = f"{run['peak_GiB']:.2f} | {run['processor_seconds']:.0f}"
            lines.append(f"| {name} | {run['steps']} | {figures} | {run['processor_seconds_per_megapixel']:.1f} |")
        write_results("scaling", record, lines)


if __name__ == "__main__":
    main()
