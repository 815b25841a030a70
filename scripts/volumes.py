"""Restore volumes of bars with known truth (protocol P7), next to Richardson-Lucy at its best and its TV variant.

    python scripts/volumes.py --data PATH [--reduction 2] [--denoiser NAME] [--max-steps 500] [--measured]

PATH holds instruments/micro3d/bars25-*. The truth is averaged over blocks of ``reduction`` samples along each axis,
convolved exactly (periodic) with the point-spread function of an objective of NA 1.4 (Gibson & Lanni), and given
Poisson noise with 50 and 10 counts at its peak. --measured adds the measured data of the set at full size. The PSNR in
dB is taken after the best affine fit to the truth. Richardson-Lucy is stopped where it is best in hindsight, which
flatters it; the weight of its TV variant (Dey et al. 2006) is chosen in the same way. Rows that are stored already are
kept, except those of the denoiser.
Writes docs/results/volumes.{json,md} and docs/figures/volumes.png, the middle planes of the last data.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import torch
from results import RESULTS, stamp, write_results

import pnpkit as pk
from pnpkit import kernels
from pnpkit.operators.volume import VolumeBlur
from pnpkit.psf.optics import optics

COMMAND = "python scripts/volumes.py --data PATH --denoiser {} --max-steps {}"
PEAKS, ITERATIONS, WEIGHTS, SEED = (50, 10), 300, (0.0005, 0.002, 0.01), 0


def blocks(x: np.ndarray, n: int) -> np.ndarray:
    """Return means over blocks of n samples along each axis."""
    d, h, w = (side // n for side in x.shape)
    return x[: d * n, : h * n, : w * n].reshape(d, n, h, n, w, n).mean((1, 3, 5))


def score(z: np.ndarray, x: np.ndarray) -> float:
    """Return the PSNR of a z + b with the best a and b; the peak is that of x."""
    columns = np.stack([z.ravel().astype(float), np.ones(z.size)], 1)
    fit, *_ = np.linalg.lstsq(columns, x.ravel(), rcond=None)
    return float(10 * np.log10(x.max() ** 2 / np.mean((columns @ fit - x.ravel()) ** 2)))


def total_variation_factor(x: torch.Tensor, weight: float) -> torch.Tensor:
    """1 / (1 - weight div(grad x / |grad x|)), periodic."""
    steps = torch.stack([x.roll(-1, axis) - x for axis in (-3, -2, -1)])
    unit = steps / (steps.square().sum(0).sqrt() + 1e-6 * float(x.max()))
    divergence = sum((unit[i] - unit[i].roll(1, axis) for i, axis in enumerate((-3, -2, -1))), torch.zeros_like(x))
    return 1 / (1 - weight * divergence)


def richardson_lucy(y: np.ndarray, x: np.ndarray, A: VolumeBlur, weight: float = 0.0) -> tuple[np.ndarray, float, int]:
    """Return the best of all iterates, its score and its number."""
    data = torch.from_numpy(np.maximum(y, 0))[None, None]
    u = torch.full_like(data, float(data.mean()))
    best = (y, score(y, x), 0)
    for iteration in range(1, ITERATIONS + 1):
        u = u * A.A_adjoint(data / A.A(u).clamp_min(1e-9))
        u = u * total_variation_factor(u, weight) if weight else u
        found = score(u[0, 0].numpy(), x)
        if found > best[1]:
            best = (u[0, 0].numpy(), found, iteration)
        if iteration > best[2] + 60:
            break
    return best


def problems(data: Path, reduction: int, measured: bool) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray, float]]:
    """Return data, truth, kernel and gain by name."""
    names = [data / f"bars25-{what}.tif" for what in ("actual", "data", "kernel")]
    truth, given, kernel = (tifffile.imread(name).astype(float) for name in names)
    small = blocks(truth, reduction)
    size = [side - 1 + side % 2 for side in small.shape]
    psf = optics(1.4, 520, 1.515, 0.1, 0.25, model="scalar", size=size[1], planes=size[0]).values
    sharp = VolumeBlur(psf, "circular", small.shape, dtype=torch.float64).A(torch.from_numpy(small)[None, None])[0, 0]
    light = np.maximum(sharp.numpy(), 0) / float(sharp.max())
    found = {}
    for peak in PEAKS:
        counts = np.random.default_rng(SEED).poisson(peak * light).astype(np.float32)
        found[f"exact, peak {peak}"] = (counts, small, psf, 1.0)
    if measured:
        whole = kernels.normalise(kernel)[1:-1, 1:-1, 1:-1]
        found["as measured"] = (given.astype(np.float32), truth, whole / whole.sum(), 0.0)
    return found


def planes(volumes: list[np.ndarray], path: Path) -> None:
    """Draw the middle planes yx, zx and zy of each volume, one row per volume, each on its own scale."""
    from PIL import Image

    rows = []
    for volume in volumes:
        z, y, x = (side // 2 for side in volume.shape)
        shown = [volume[z], volume[:, y], volume[:, :, x]]
        top = float(np.quantile(volume, 0.999)) or 1.0
        width = max(plane.shape[1] for plane in shown)
        padded = [np.pad(np.clip(p / top, 0, 1), ((0, 2), (0, width - p.shape[1] + 2))) for p in shown]
        height = max(p.shape[0] for p in padded)
        rows.append(np.concatenate([np.pad(p, ((0, height - p.shape[0]), (0, 0))) for p in padded], 1))
    image = Image.fromarray(np.round(255 * np.concatenate(rows)).astype(np.uint8))
    image.resize((4 * image.width, 4 * image.height), Image.Resampling.NEAREST).save(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--reduction", type=int, default=2)
    parser.add_argument("--denoiser", default="euler-guided")
    parser.add_argument("--max-steps", type=int, default=500)
    parser.add_argument("--measured", action="store_true")
    arguments = parser.parse_args()
    path = RESULTS / "volumes.json"
    rows = json.loads(path.read_text())["rows"] if path.exists() else []
    rows = [row for row in rows if not row["method"].startswith(arguments.denoiser)]
    known = {(row["data"], row["method"]) for row in rows}
    given = problems(arguments.data / "instruments" / "micro3d", arguments.reduction, arguments.measured)
    made = {name: {"truth": x, "data": y} for name, (y, x, _, _) in given.items()}

    def add(name: str, method: str, psnr: float, seconds: float = 0.0, note: str = "") -> None:
        size = "x".join(map(str, given[name][1].shape))
        row = {"data": name, "size": size, "method": method, "psnr": psnr, "seconds": seconds, "note": note}
        rows.append(row)
        known.add((name, method))
        made_by = stamp(COMMAND.format(arguments.denoiser, arguments.max_steps), SEED)
        write_results("volumes", {"rows": rows} | made_by, table(rows).splitlines())

    for directions, (name, (y, x, psf, gain)) in itertools.product(("slices", "three"), given.items()):
        A = VolumeBlur(psf, "circular", x.shape, dtype=torch.float64)
        if (name, "data") not in known:
            add(name, "data", score(y, x))
        for weight in (0.0, *WEIGHTS):
            method = f"Richardson-Lucy, TV {weight:g}" if weight else "Richardson-Lucy"
            start = time.perf_counter()
            if (name, method) not in known:
                made[name][method], psnr, iteration = richardson_lucy(y.astype(float), x, A, weight)
                add(name, method, psnr, time.perf_counter() - start, f"best at iteration {iteration}")
        method = f"{arguments.denoiser}, {directions}"
        if (name, method) in known:
            continue
        how: dict[str, Any] = {"noise": "poisson", "gain": gain} if gain else {}
        run = pk.deblur(
            y, psf, boundary="circular", denoiser=arguments.denoiser, max_steps=arguments.max_steps,
            directions=directions, **how,
        )  # fmt: skip
        made[name][method] = np.asarray(run.image)
        note = f"{run.status.name.lower()}, {run.steps} steps, residual {run.residuals[-1]:.1e}"
        add(name, method, score(made[name][method], x), run.seconds, note)
        planes(list(made[name].values()), RESULTS.parent / "figures" / "volumes.png")


def table(rows: list[dict]) -> str:
    """Return the rows as Markdown."""
    head = (
        "Volumes of bars with known truth, restored by pnpkit and by Richardson-Lucy, which is stopped where it is "
        "best in hindsight. The PSNR is taken after the best affine fit to the truth.\n\n"
        "| data | size | method | PSNR, dB | seconds | |\n| --- | --- | --- | --- | --- | --- |\n"
    )
    names = ("data", "size", "method", "psnr", "seconds", "note")
    cells = [[row[name] for name in names] for row in rows]
    lines = [f"| {d} | {s} | {m} | {p:.2f} | {t:.0f} | {n} |" for d, s, m, p, t, n in cells]
    return head + "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
