"""Measure a person's waiting time (protocol P9): the time of a photograph, the forecast, and the time of each phase.

    python scripts/person_time.py --data PATH [--megapixels 0.15 2] [--kernel motion:11,30] [--blind] [--denoiser NAME]
        [--label now]

PATH holds bsds500; larger photographs are composed of its pictures side by side. They are blurred with the kernel,
noise of 2.55 of 255 is added, and they are restored in the way of `pnpkit deblur`: with --preview, then by default. The
forecast is made in processor seconds and compared with these, since other jobs on the machine stretch wall time
unevenly; wall seconds are given as well. Rows that are stored already are kept; a label names their version (earlier
versions made their forecast in wall seconds). Writes docs/results/person-time.{json,md}.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from results import RESULTS, stamp, write_results

from pnpkit.command.forecast import forecast
from pnpkit.command.options import settings_from
from pnpkit.command.part import for_preview, part_for
from pnpkit.command.tasks import Deblur
from pnpkit.images import files
from pnpkit.images.metrics import psnr
from pnpkit.images.picture import Picture
from pnpkit.machine import startup
from pnpkit.machine.phases import Phase
from pnpkit.registry import open_denoiser
from pnpkit.restoration.simulate import simulate


def photograph(data: Path, megapixels: float) -> np.ndarray:
    """Return a picture of this size, 3 to 2, composed of the wide pictures of the val split in their order."""
    rows, columns = (round(1000 * math.sqrt(megapixels * ratio)) for ratio in (2 / 3, 3 / 2))
    tiles = [
        pixels
        for path in sorted(data.glob("bsds500/**/val/*.jpg"))
        if (pixels := files.read(path).pixels).shape[1] > 400
    ]
    down, across = -(-rows // 321), -(-columns // 481)
    strips = [np.concatenate([tiles[(across * i + j) % len(tiles)] for j in range(across)], 1) for i in range(down)]
    return np.concatenate(strips)[:rows, :columns]


def measured(picture: Picture, sharp: np.ndarray, task: Deblur, denoiser: str, preview: bool) -> dict[str, Any]:
    """Measure the seconds of a restoration, by phases, and the forecast that was made of it."""
    settings = replace(settings_from("deblur", {}), denoiser=denoiser)
    if preview:
        part = part_for(task, picture, None, True)
        task, settings = for_preview(task, settings, part.factor)  # type: ignore[assignment]
        picture = part.of(picture)
    settings = replace(settings, denoiser=open_denoiser(settings.denoiser))
    started, clock = time.perf_counter(), time.perf_counter
    time.perf_counter = time.process_time
    try:
        foreseen = forecast(task, settings, picture)
    finally:
        time.perf_counter = clock
    probe, times = time.perf_counter() - started, list[tuple[str, float]]()

    def enter(phase: Phase) -> None:
        if not any(name == phase.name for name, _ in times):  # the level of noise may be looked at again
            times.append((phase.name, time.perf_counter()))

    started, processor = time.perf_counter(), time.process_time()
    run = task.restore(picture, replace(settings, progress=enter), lambda step: None)
    ended, processor = time.perf_counter(), time.process_time() - processor
    times.append(("end", ended))
    phases = {name: after - at for (name, at), (_, after) in zip(times, times[1:], strict=False)}
    return {
        "foreseen": None if foreseen is None else foreseen.total,
        "probe": probe,
        "seconds": ended - started,
        "processor": processor,
        "steps": run.steps,
        "guide_steps": run.guide_steps,
        "status": run.status.name.lower(),
        "psnr": None if preview else psnr(np.asarray(run.image).clip(0, 1), sharp),
        "clock": "processor",
        "phases": phases,
        "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }


def table(rows: dict[str, dict[str, Any]]) -> list[str]:
    """Return the rows as a table."""
    lines = [
        "Photographs restored in the way of `pnpkit deblur`. The forecast (foreseen) is made in processor seconds, and "
        "the ratio is the forecast divided by the processor time. In rows of earlier versions both refer to wall "
        "seconds.",
        "",
        "| photograph | foreseen, s | took, s | ratio | processor, s | steps | dB | share of each phase |",
    ]
    lines.append("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for name, row in rows.items():
        total = sum(row["phases"].values())
        shares = ", ".join(f"{phase} {100 * part / total:.0f} %" for phase, part in row["phases"].items())
        foreseen, took = row["foreseen"], row["processor" if row.get("clock") == "processor" else "seconds"]
        known = ("-", "-") if foreseen is None else (f"{foreseen:.1f}", f"{foreseen / took:.2f}")
        cells = (
            name,
            known[0],
            f"{row['seconds']:.1f}",
            known[1],
            f"{row['processor']:.1f}",
            str(row["steps"]),
            f"{row['psnr']:.2f}" if row.get("psnr") else "-",
            shares,
        )
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--megapixels", type=float, nargs="+", default=[0.15, 2.0])
    parser.add_argument("--kernel", default="motion:11,30")
    parser.add_argument("--blind", action="store_true", help="the kernel is estimated, too")
    parser.add_argument("--denoiser", default="euler-guided")
    parser.add_argument("--label", default="now")
    arguments = parser.parse_args()
    startup.keep_memory()  # as the command does: else clearing pages takes a third of the time
    stored = RESULTS / "person-time.json"
    rows: dict[str, dict[str, Any]] = json.loads(stored.read_text())["rows"] if stored.exists() else {}
    for megapixels in arguments.megapixels:
        sharp = photograph(arguments.data, megapixels)
        torch.manual_seed(0)
        picture = Picture(simulate(sharp, arguments.kernel, 0.01, seed=0))
        rim = [(a - b) // 2 for a, b in zip(sharp.shape, picture.pixels.shape, strict=True)]
        sharp = sharp[rim[0] : rim[0] + picture.pixels.shape[0], rim[1] : rim[1] + picture.pixels.shape[1]]
        for kernel in (arguments.kernel, *(["auto"] if arguments.blind else [])):
            for preview in (True, False):
                what = "preview" if preview else "default"
                known = "given" if kernel != "auto" else "estimated"
                name = f"{arguments.label}: {megapixels:g} megapixels, kernel {known}, {what}"
                if name in rows:
                    continue
                rows[name] = measured(picture, sharp, Deblur(kernel, "unknown"), arguments.denoiser, preview)
                command = f"python scripts/person_time.py {' '.join(sys.argv[1:])}"
                command = command.replace(str(arguments.data), "PATH")
                write_results("person-time", {**stamp(command), "rows": rows}, table(rows))
                print(table({name: rows[name]})[-1], flush=True)


if __name__ == "__main__":
    main()
