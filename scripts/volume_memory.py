"""Restore volumes in blocks: peak memory, time, and distance from the result of the whole, next to Richardson-Lucy.

    python scripts/volume_memory.py --size 24 96 96 --max-memory 0.2 [--steps 3] [--denoiser euler-fast]
    python scripts/volume_memory.py --size 512 1024 1024 --max-memory 8 --minutes 12

A synthetic uint16 volume (threads and balls, Gaussian kernel 5 x 7 x 7, Poisson noise with 200 counts at its peak) in a
memory-mapped file. Each method runs in a process of its own, since peak memory never falls: Richardson-Lucy of
scikit-image with 30 iterations; pnpkit in blocks within --max-memory GiB; and pnpkit on the whole, with --whole.
With --minutes the run in blocks is stopped after that time, and its progress is reported. Richardson-Lucy is then
measured on the first block with its surroundings.
Writes docs/results/volume-memory.{json,md}; rows of other sizes stay.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from results import RESULTS, stamp, write_results

from pnpkit import kernels

COMMAND = "python scripts/volume_memory.py --size {} {} {} --max-memory {} --steps {} --denoiser {}"
SEED, ITERATIONS = 0, 30


def kernel() -> np.ndarray:
    """Return a Gaussian with sigma 1.2 samples along z and 1.5 across."""
    z, y, x = np.mgrid[-2:3, -3:4, -3:4]
    return kernels.normalise(np.exp(-(z**2) / 2 / 1.2**2 - (y**2 + x**2) / 2 / 1.5**2))


def make(path: Path, shape: tuple[int, int, int]) -> None:
    """Make the volume and write it slab by slab."""
    from scipy.ndimage import convolve1d

    rng = np.random.default_rng(SEED)
    out = np.lib.format.open_memmap(path, "w+", np.uint16, shape)
    rows, columns = np.mgrid[: shape[1], : shape[2]].astype(np.float32)
    slab, sides = 16, [kernel().sum(tuple(a for a in range(3) if a != axis)).astype(np.float32) for axis in range(3)]
    for low in range(0, shape[0], slab):
        z = np.arange(low - 2, min(low + slab, shape[0]) + 2, dtype=np.float32)[:, None, None]
        threads = np.maximum(0, np.sin(rows / 7 + z / 5) * np.sin(columns / 9 - z / 11)) ** 8
        sharp = threads + ((rows % 48 - 24) ** 2 + (columns % 48 - 24) ** 2 + (z % 24 - 12) ** 2 < 30)
        blurred = sharp.astype(np.float32)
        for axis, taps in enumerate(sides):  # the kernel is a product
            blurred = convolve1d(blurred, taps, axis, mode="nearest")
        out[low : low + slab] = rng.poisson(100 + 200 * blurred[2:-2])
    out.flush()


class Stopped(Exception):
    """Raised when the time is over."""


class Clock:
    """Listens to the phases of a run, and stops it."""

    def __init__(self, minutes: float | None):
        self.end = math.inf if minutes is None else time.perf_counter() + 60 * minutes
        self.last = "nothing"

    def step(self, _: Any) -> None:
        """Stop the run after a step if the time is over."""
        if time.perf_counter() > self.end:
            raise Stopped

    def told(self, piece: str) -> None:
        """Note that a phase begins."""
        self.step(None)
        self.last = piece or self.last


def first_block(shape: tuple[int, ...], memory: float) -> Any:
    """Return the first of the blocks of a volume."""
    from pnpkit.restoration import blocks

    reach = tuple(taps // 2 for taps in kernel().shape)
    sides = blocks.blocks_for(shape, reach, memory)
    assert sides is not None, "the volume fits whole: give less memory"
    return blocks.cut(shape, reach, sides)[0]


def one(
    method: str, path: Path, memory: float, steps: int, denoiser: str, out: Path, minutes: float | None = None
) -> None:
    """Run a method in this process and print its figures."""
    from pnpkit.machine.memory import peak_memory

    volume = np.load(path, mmap_mode="r")
    if method == "lucy":
        from skimage.restoration import richardson_lucy

        volume = volume if minutes is None else volume[first_block(volume.shape, memory).seen]
        start = time.perf_counter(), time.process_time()
        result = richardson_lucy(np.asarray(volume, np.float32), kernel().astype(np.float32), ITERATIONS, clip=False)
    else:
        import pnpkit as pk
        from pnpkit.restoration.volumes import telling

        limit: dict[str, Any] = {"max_memory": memory} if method == "blocks" else {}
        clock, start = Clock(minutes), (time.perf_counter(), time.process_time())
        try:
            with telling(clock.told):
                run = pk.deblur(
                    volume, kernel(), noise="poisson", gain=1.0, offset=0.0, denoiser=denoiser, max_steps=steps,
                    callback=clock.step, **limit,
                )  # fmt: skip
        except Stopped:
            minutes = (time.perf_counter() - start[0]) / 60
            found: dict[str, Any] = {"seconds": 60 * minutes, "processor": time.process_time() - start[1]}
            note = f"{denoiser}, {steps} steps, stopped after {minutes:.0f} minutes at: {clock.last}"
            print(json.dumps(found | {"peak": peak_memory() / 2**30, "note": note, "megavoxels": volume.size / 1e6}))
            return
        result, note = np.asarray(run.image), run.kernel_note
    took = time.perf_counter() - start[0], time.process_time() - start[1]
    np.save(out, result)
    told = note if method != "lucy" else f"{ITERATIONS} iterations"
    told = f"{told} on the readings of one block" if method == "lucy" and minutes else told
    told = told if method == "lucy" else f"{denoiser}, {steps} steps, {told}"
    found = {"seconds": took[0], "processor": took[1], "peak": peak_memory() / 2**30, "note": told}
    print(json.dumps(found | {"megavoxels": volume.size / 1e6}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, nargs=3, default=(24, 96, 96))
    parser.add_argument("--max-memory", type=float, default=0.2)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--denoiser", default="euler-fast")
    parser.add_argument("--whole", action="store_true")
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        method, path, out = given.one[0], Path(given.one[1]), Path(given.one[2])
        return one(method, path, given.max_memory, given.steps, given.denoiser, out, given.minutes)
    size, path = "x".join(map(str, given.size)), RESULTS / "volume-memory.json"
    rows = json.loads(path.read_text())["rows"] if path.exists() else []
    rows = [row for row in rows if row["size"] != size]
    command = (
        COMMAND.format(*given.size, given.max_memory, given.steps, given.denoiser)
        + " --whole" * given.whole
        + (f" --minutes {given.minutes:g}" if given.minutes else "")
    )
    with tempfile.TemporaryDirectory() as folder:
        volume = Path(folder) / "volume.npy"
        make(volume, tuple(given.size))
        for method in ("lucy", "blocks", *(("whole",) if given.whole else ())):
            words = [sys.executable, __file__, "--one", method, str(volume), str(Path(folder) / f"{method}.npy"),
                     "--max-memory", str(given.max_memory), "--steps", str(given.steps),
                     "--denoiser", given.denoiser,
                     *(["--minutes", str(given.minutes)] if given.minutes else [])]  # fmt: skip
            found = json.loads(
                subprocess.run(words, check=True, capture_output=True, text=True).stdout.splitlines()[-1]
            )
            rows.append({"size": size, "method": method, "near": None, "command": command, **found})
        if given.whole:
            blocks, whole = (np.load(Path(folder) / f"{m}.npy").astype(float) for m in ("blocks", "whole"))
            change = np.sqrt(np.mean((whole - np.load(volume)) ** 2))
            rows[-2]["near"] = float(np.sqrt(np.mean((blocks - whole) ** 2)) / change)
    write_results("volume-memory", {"rows": rows} | stamp(command, SEED), table(rows))
    print("\n".join(table(rows)))


def table(rows: list[dict]) -> list[str]:
    """Return the rows as Markdown."""
    names = {"lucy": "scikit-image, Richardson-Lucy", "blocks": "pnpkit, blocks", "whole": "pnpkit, whole"}
    lines = [
        "Volumes restored in blocks and as a whole. The times per megavoxel are wall seconds and processor seconds. "
        "The distance between the two results is given in per cent of the change that the restoration makes.",
        "",
        "| size | method | seconds per megavoxel | of a processor | peak, GiB | distance from the whole | |",
    ]
    lines.append("| --- | --- | --- | --- | --- | --- | --- |")
    for r in rows:
        mega = r.get("megavoxels") or math.prod(map(int, r["size"].split("x"))) / 1e6
        near = "" if r["near"] is None else f"{100 * r['near']:.2g} % of the change"
        cells = [r["size"], names[r["method"]], f"{r['seconds'] / mega:.0f}", f"{r['processor'] / mega:.0f}",
                 f"{r['peak']:.2f}", near, r["note"]]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return lines


if __name__ == "__main__":
    main()
