"""Storage of the deblurring table: docs/results/deblurring-TRACK.{json,md}."""

from __future__ import annotations

import argparse
import json
import platform
from typing import Any

import numpy as np
import torch
from results import RESULTS, today, write_results

from pnpkit import registry

KERNELS = 10
FEW = ("levin09_1", "levin09_5", "box 9", "gaussian 1.6")  # two shakes and two plain blurs
NOISES = (2.55, 7.65, 12.75)


def missing(track: str, noises: list[float], pictures: int) -> list[float]:
    """Return the noise levels for which no result of this many pictures is stored."""
    stored = json.loads((RESULTS / f"deblurring-{track}.json").read_text())["runs"]["degraded"]
    return [noise for noise in noises if len(stored.get(str(noise), ())) != pictures * KERNELS]


def table(rows: dict[str, dict[str, list]], noises: list[str], few: tuple[str, ...] = ()) -> list[str]:
    """Return a line for each method; only the runs with the ``few`` kernels, if they are given."""
    lines = [
        "| method | " + " | ".join(f"noise {n} | steps | residual" for n in noises) + " |",
        "| --- |" + " --- |" * (3 * len(noises)),
    ]
    for name, by_noise in rows.items():
        cells = []
        for noise in noises:
            if noise not in by_noise:
                cells += ["", "", ""]
                continue
            runs = [r for r in by_noise[noise] if not few or r["kernel"] in few]
            last, peak, steps = (np.mean([r[key] for r in runs]) for key in ("psnr", "peak", "steps"))
            cells += [f"{last:.2f} / {peak:.2f}"]
            cells += [f"{steps:.0f}", f"{max(r['residual'] for r in runs):.1e}"] if steps else ["", ""]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def add(args: argparse.Namespace, rows: dict[str, dict[str, list]], noise: str) -> None:
    """Add the new rows of this noise level to the stored ones."""
    record = json.loads((RESULTS / f"deblurring-{args.track}.json").read_text())
    known, came = ([r["psnr"] for r in runs["degraded"][noise]] for runs in (record["runs"], rows))
    if not (len(known) == len(came) and np.allclose(known, came, atol=1e-6)):
        raise SystemExit(f"the stored rows for noise {noise} are of other pictures: run all methods, without --add")
    for name in args.names:
        record["runs"].setdefault(name, {})[noise] = rows[name][noise]
        how = {"command": command(args), "date": today(), "sha256": sha256_of(name)}
        record.setdefault("added", {}).setdefault(name, {})[noise] = how
    write(args, record)


def sha256_of(name: str) -> str | None:
    """Return the hash of the weights of NAME or NAME:SPLITTING, if it has weights."""
    cards = registry.denoisers()
    head = name if name in cards else name.rpartition(":")[0]
    return cards[head].sha256 if head in cards else None


def command(args: argparse.Namespace) -> str:
    return (
        "python scripts/deblurring_table.py --data PATH/bsds500 --kernels PATH/kernels "
        f"--track {args.track} --pictures {args.pictures} --noises {' '.join(map(str, args.noises))} "
        f"--names {' '.join(args.names)} --steps {args.steps} --watched {args.watched}{' --add' * args.add}"
        f"{' --bfloat16' * args.bfloat16}{f' --jobs {args.jobs}' * (args.jobs > 1)}"
    )


def store(args: argparse.Namespace, rows: dict[str, dict[str, list]], weights: dict[str, float | None]) -> None:
    threads = f"{torch.get_num_threads()} threads for {args.jobs} pictures at a time"
    machine = f"{platform.machine()}, {threads}, torch {torch.__version__}"
    record = {
        "command": command(args),
        "seed": 0,
        "date": today(),
        "machine": machine,
        "total_variation_weights": weights,
        "sha256": {name: sha256_of(name) for name in args.names},
        "runs": rows,
    }
    write(args, record)


def write(args: argparse.Namespace, record: dict[str, Any]) -> None:
    """Write the record and its table; cells are blank if a method was not run at a noise level."""
    rows = record["runs"]
    done = [noise for noise in map(str, NOISES) if noise in rows["degraded"]]
    lines = [
        f"Track {args.track}: PSNR (dB) at the end / at its peak, mean over {args.pictures} pictures and ten kernels. "
        "Steps are evaluations of the map, and the residual is the largest relative residual at the end. For total "
        "variation, steps are sweeps of ADMM, and the residual is the last change.",
        "",
        *table(rows, done),
        "",
        f"The same for four of the kernels: {', '.join(FEW)}.",
        "",
        *table(rows, done, FEW),
    ]
    write_results(f"deblurring-{args.track}", record, lines)
    print("\n".join(lines))
