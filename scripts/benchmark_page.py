"""The measuring functions of the benchmark, and the table that it stores: docs/results/speed.{json,md}."""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import deepinv
import numpy as np
import torch
from results import today, write_results
from torch import Tensor

from pnpkit import registry
from pnpkit.machine import probes
from pnpkit.solvers.result import Result, Step

LEVELS = (1e-3, 1e-4, 1e-5)
REFERENCE = "deepinv PGD, PnP with DnCNN"


class Clock:
    """Records when each evaluation of a map ended."""

    def __init__(self) -> None:
        self.times = [time.perf_counter()]

    def __call__(self, step: Step) -> None:
        self.times.append(time.perf_counter())

    def row(self, run: Result) -> dict[str, Any]:
        """Return the record of a run with its cost."""
        seconds = np.subtract(self.times[1:], self.times[0])
        return {
            "x": run.x,
            "seconds": run.seconds,
            "steps": run.steps,
            "residual": run.residuals[-1],
            "step": float(np.median(np.diff(self.times))),
            "reached": reached(run.residuals, seconds.tolist()),
            "guarantee": str(run.guarantee),
        }


def reached(residuals: tuple[float, ...], seconds: list[float]) -> dict[str, tuple[int, float]]:
    """Return the evaluations and seconds to each level that was reached."""
    found = {}
    for level in LEVELS:
        below = [index for index, residual in enumerate(residuals) if residual <= level]
        if below:
            found[f"{level:.0e}"] = (below[0] + 1, seconds[below[0]])
    return found


def evaluations(names: tuple[str, ...], x: Tensor, repeat: int) -> dict[str, dict[str, float]]:
    """Return median seconds of D(x, sigma) and of its bare convolutions, float32 ``channels_last``, in turn."""
    found = {}
    for name in names:
        network = registry.load_denoiser(name, device=str(x.device))
        bare = probes.bare_convolutions(lambda network=network: network(x, 0.05))  # type: ignore[misc]
        times: dict[str, list[float]] = {"seconds": [], "bare": []}
        with torch.no_grad():
            for _ in range(repeat):
                times["seconds"].append(probes.seconds_of(lambda network=network: network(x, 0.05), 1))  # type: ignore[misc]
                times["bare"].append(probes.seconds_of(bare, 1))
        found[name] = {key: float(np.median(values)) for key, values in times.items()}
        found[name]["ratio"] = found[name]["seconds"] / found[name]["bare"]
    return found


def median_of(method: Callable[[], dict[str, Any]], runs: int) -> dict[str, Any]:
    """Return the run with the median seconds."""
    found = sorted((method() for _ in range(runs)), key=lambda row: row["seconds"])
    return {**found[len(found) // 2], "runs": runs}


def store(args: argparse.Namespace, rows: dict[str, dict[str, Any]], single: dict[str, dict[str, float]]) -> None:
    machine = torch.cuda.get_device_name() if args.device == "cuda" else f"{args.threads} threads of {processor()}"
    lines = [
        f"Machine: {machine}. One evaluation in float32: medians of {args.repeat} runs, with the methods in turn:",
        "",
        "| denoiser | s per evaluation | its bare convolutions (s) | ratio |",
        "| --- | --- | --- | --- |",
        *(f"| {name} | {r['seconds']:.3f} | {r['bare']:.3f} | {r['ratio']:.2f} |" for name, r in single.items()),
        "",
        f"Whole restorations, each the median of {args.runs} runs:",
        "",
        "| method | seconds | share of deepinv with DnCNN | evaluations | residual | s per evaluation | to 1e-3 | "
        "PSNR (dB) |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, row in rows.items():
        share = f"1/{rows[REFERENCE]['seconds'] / row['seconds']:.1f}" if REFERENCE in rows else "-"
        run = "- | - | -"
        if "steps" in row:
            run = f"{row['steps']} | {row['residual']:.1e} | {row['step']:.3f}"
        first = "{} steps, {:.1f} s".format(*row["reached"]["1e-03"]) if "1e-03" in row.get("reached", {}) else "-"
        lines.append(f"| {name} | {row['seconds']:.1f} | {share} | {run} | {first} | {row['psnr']:.2f} |")
    options = f" --size {args.size}" if args.size else ""
    options += f" --device {args.device}" if args.device != "cpu" else ""
    options += "".join(f" --only '{part}'" for part in args.only)
    record = {
        "command": "python scripts/benchmark.py --data PATH/bsds500 --kernels PATH/kernels "
        f"--threads {args.threads} --limit {args.limit} --repeat {args.repeat} --runs {args.runs}{options}",
        "seed": 0,
        "date": today(),
        "machine": f"{processor()}, {args.threads} threads, torch {torch.__version__}, deepinv {deepinv.__version__}",
        "evaluations": single,
        "runs": rows,
    }
    write_results("speed", record, lines, args.out)
    print("\n".join(lines))


def processor() -> str:
    """Return the name of the CPU, if the system tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
