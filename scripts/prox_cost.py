"""Compare the cost of the proximal maps of weighted, one-sided, Huber and Kullback-Leibler data with least squares.

The cost is the processor time of one thread, the least of a few calls on the same point, in one run. There are two
points: one far from the solution (A^T y with noise of 0.05), as at the start of a restoration, and one near it (the
least-squares map of the first point, with noise of 0.005), as later. Weights follow the picture and range from 1 to 10;
values above 0.85 are clipped.

    python scripts/prox_cost.py            # writes docs/results/prox-cost.md and .json
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import results
import torch
from skimage import data
from skimage.filters import gaussian
from torch import Tensor

import pnpkit as pk
from pnpkit import kernels
from pnpkit.fidelities.data import DataTerm
from pnpkit.images import pixels
from pnpkit.maps import Map
from pnpkit.operators.blur import blur

KERNELS = {"motion 15": kernels.motion(15, 30), "Gaussian 2": kernels.gaussian(2.0)}
CEILING = 0.85
NOISE = 0.02


def terms(A: object, y: Tensor) -> dict[str, DataTerm]:
    """Return the data terms that are compared; the first is least squares."""
    smooth = torch.from_numpy(gaussian(y.numpy(), (0, 0, 1.5, 1.5))).clamp(0, 1).to(y)
    weights = 10 / (1 + 9 * smooth)
    weights, top = weights / weights.mean(), y > CEILING
    uneven = 1 + 9 * torch.rand(y.shape, generator=torch.Generator().manual_seed(3))
    cut = y.clamp(max=CEILING)
    return {
        "least squares": pk.LeastSquares(A, y),
        "weighted, by the picture": pk.WeightedLeastSquares(A, y, weights),
        "weighted, at random": pk.WeightedLeastSquares(A, y, uneven / uneven.mean()),
        "one-sided": pk.ClippedLeastSquares(A, cut, above=top),
        "one-sided, weighted": pk.ClippedLeastSquares(A, cut, weights, above=top),
        "Huber": pk.Huber(A, y, 0.05),
        "Kullback-Leibler": pk.KullbackLeibler(A, y, 0.02),
    }


def seconds(map: Map, z: Tensor, calls: int) -> float:
    """Return the least processor time of a few calls."""
    found = []
    for _ in range(calls):
        start = time.process_time()
        map(z)
        found.append(time.process_time() - start)
    return min(found)


def rows(boundary: str, name: str, size: int, taus: list[float], calls: int) -> list[dict[str, object]]:
    """Return a row for each tau and point: seconds of least squares, and the ratios of the others."""
    clean = pixels.to_tensor(data.astronaut()[:size, :size].astype(np.float32) / 255)[:, 1:2]
    A = blur(KERNELS[name], boundary, (size, size) if boundary == "circular" else None)
    draw = torch.Generator().manual_seed(1)
    y = A.A(clean)
    y = (y + NOISE * torch.randn(y.shape, generator=draw)).clamp(0, 1)
    start, known, found = A.A_adjoint(y), terms(A, y), []
    noise = torch.randn(start.shape, generator=draw)
    for tau in taus:
        maps = {term: f.prox(tau) for term, f in known.items()}
        points: dict[str, Callable[[Map], Tensor]] = {
            "far": lambda map: start + 0.05 * noise,
            "near": lambda map: map(start + 0.05 * noise) + 0.005 * noise,
        }
        for point, at in points.items():
            times = {term: seconds(map, at(map), calls) for term, map in maps.items()}
            base = times["least squares"]
            ratios = {term: round(value / base, 2) for term, value in times.items() if term != "least squares"}
            clipped = round(float((y > CEILING).float().mean()), 4)
            found.append(
                {"boundary": boundary, "kernel": name, "tau": tau, "point": point, "seconds": round(base, 4)}
                | {"clipped": clipped, "closed": known["least squares"].has_closed_prox, "ratios": ratios}
            )
    return found


def page(table: list[dict[str, object]], size: int) -> list[str]:
    """Return the table as Markdown."""
    names = list(table[0]["ratios"])  # type: ignore[call-overload]
    lines = [
        "# Cost of the proximal maps of other data terms",
        "",
        f"The cost is given in units of the time of least squares, on {size} x {size} pixels, one channel, float32,",
        "one thread. The table is made by `scripts/prox_cost.py`, which says what is compared. *closed* means that",
        "least squares has a closed form there.",
        "",
        "| boundary | kernel | tau | point | least squares, s | " + " | ".join(names) + " |",
        "| --- | --- | --- | --- | --- |" + " --- |" * len(names),
    ]
    for row in table:
        ratios: dict[str, float] = row["ratios"]  # type: ignore[assignment]
        base = f"{row['seconds']}" + (" (closed)" if row["closed"] else "")
        cells = [row["boundary"], row["kernel"], f"{row['tau']:g}", row["point"], base, *ratios.values()]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return lines


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--calls", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)  # as in a run, where solvers may begin at the point
    table = [
        row
        for boundary in ("unknown", "circular")
        for name in KERNELS
        for row in rows(boundary, name, args.size, [5.0, 50.0, 500.0], args.calls)
    ]
    stamp = results.stamp(f"python scripts/prox_cost.py --size {args.size} --calls {args.calls}", 1)
    results.write_results("prox-cost", {**stamp, "rows": table}, page(table, args.size))


if __name__ == "__main__":
    main()
