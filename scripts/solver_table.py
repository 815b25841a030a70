"""Run every splitting with every iteration on deblurring: evaluations and seconds to a residual of 1e-3, 1e-4, 1e-5.

    python scripts/solver_table.py --data PATH/bsds500 --kernels PATH/kernels [--pictures 2] [--max-steps 600]

Centre crops of 128 x 128 of BSDS500 val, levin09_1, circular, noise 2.55/255, euler-fast at the strength of its rule
for tau = 1.9; continuation has a tau and two strengths of its own and calls the denoiser twice an evaluation.
Each splitting has its own fixed points. Within one splitting, every certified iteration must reach the same picture.
The column "apart" is the largest distance (root mean square) between them. Writes docs/results/solvers.{json,md}.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from bsds500 import pictures
from results import today, write_results
from tqdm import tqdm

from pnpkit import kernels, proximal, registry
from pnpkit.fidelities.least_squares import LeastSquares
from pnpkit.images import pixels
from pnpkit.images.metrics import psnr
from pnpkit.maps import Map
from pnpkit.networks.base import Network
from pnpkit.operators.blur import blur
from pnpkit.restoration import plan, simulate
from pnpkit.solvers import splittings
from pnpkit.solvers.iterations import Anderson, Halpern, Iteration, KrasnoselskiiMann, Picard
from pnpkit.solvers.loop import solve
from pnpkit.solvers.result import Step

TOLERANCES = (1e-3, 1e-4, 1e-5)
NOISE = 2.55 / 255


def by_continuation(fidelity: LeastSquares, network: Network) -> Map:
    """Return the map of continuation, as in ``pnpkit deblur``."""
    tau, sigma = plan.by_rule(splittings.CONTINUATION, NOISE, network, fidelity)
    return splittings.continuation(fidelity, plan.inside(network), tau, sigma, (0, 1))


def at_rule(network: Network) -> Map:
    return network.at(network.rule.forward(NOISE, 1.9))


SPLITTINGS: dict[str, Callable[[LeastSquares, Network], Map]] = {
    "continuation": by_continuation,
    "forward-backward": lambda f, n: splittings.forward_backward(f, at_rule(n), limits=(0, 1)),
    "half-quadratic": lambda f, n: splittings.half_quadratic(f, at_rule(n), 1.9, (0, 1)),
    "Douglas-Rachford": lambda f, n: splittings.douglas_rachford(f, at_rule(n), 1.9),
    "ADMM": lambda f, n: splittings.admm(f, at_rule(n), 1.9),
    "Davis-Yin": lambda f, n: splittings.davis_yin(f, at_rule(n), proximal.box(0, 1), 1.9 / f.L),
}
ITERATIONS: dict[str, Iteration] = {
    "Picard": Picard(),
    "Krasnosel'skii-Mann 0.7": KrasnoselskiiMann(0.7),
    "Halpern": Halpern(),
    "Anderson": Anderson(),
}


def measure(map: Map, x0: torch.Tensor, iteration: Iteration, max_steps: int) -> tuple[dict, torch.Tensor]:
    """Return first evaluation and second at which each tolerance was met (None: not met), and the last picture."""
    started, reached = time.perf_counter(), dict[float, tuple[int, float]]()

    def watch(step: Step) -> None:
        for tolerance in TOLERANCES:
            if max(step.residual) <= tolerance and tolerance not in reached:
                reached[tolerance] = (step.number, time.perf_counter() - started)

    run = solve(map, x0, iteration=iteration, tol=TOLERANCES[-1], max_steps=max_steps, callback=watch)
    return {"reached": {str(t): reached.get(t) for t in TOLERANCES}, "guarantee": str(run.guarantee)}, run.x


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--kernels", type=Path, required=True)
    parser.add_argument("--pictures", type=int, default=2)
    parser.add_argument("--max-steps", type=int, default=600)
    args = parser.parse_args()
    kernel, network = kernels.load(args.kernels / "levin09_1.npy"), registry.load_denoiser("euler-fast")
    rows: dict[str, dict[str, list]] = {s: {i: [] for i in ITERATIONS} for s in SPLITTINGS}
    apart: dict[str, float] = {}
    for crop in tqdm(pictures(args.data / "val", args.pictures, "crop128")):
        y = pixels.to_tensor(simulate.simulate(crop, kernel, NOISE, boundary="circular"))
        fidelity = LeastSquares(blur(kernel, "circular", (128, 128)), y)
        for name, splitting in SPLITTINGS.items():
            ends = []
            for label, iteration in ITERATIONS.items():
                found, x = measure(splitting(fidelity, network), y, iteration, args.max_steps)
                rows[name][label].append(found | {"psnr": psnr(x, pixels.to_tensor(crop))})
                if found["reached"][str(TOLERANCES[-1])] is not None:
                    ends.append(x)
            gaps = [float((a - b).square().mean().sqrt()) for a in ends for b in ends]
            apart[name] = max([apart.get(name, 0.0), *gaps])
    lines = [
        f"Evaluations / seconds ({torch.get_num_threads()} threads) until the residual is reached, mean over "
        f"{args.pictures} pictures. A dash means that some picture did not reach it within {args.max_steps} "
        "evaluations.",
        "",
        "| splitting | iteration | 1e-3 | 1e-4 | 1e-5 | PSNR (dB) | apart |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, iterations in rows.items():
        for label, runs in iterations.items():
            cells = []
            for tolerance in map_str(TOLERANCES):
                hits = [r["reached"][tolerance] for r in runs]
                cells.append("-" if None in hits else "{:.0f} / {:.1f}".format(*np.mean(hits, 0)))
            score = f"{np.mean([r['psnr'] for r in runs]):.2f}"
            lines.append(f"| {name} | {label} | " + " | ".join(cells) + f" | {score} | {apart[name]:.1e} |")
    record = {
        "command": "python scripts/solver_table.py --data PATH/bsds500 --kernels PATH/kernels "
        f"--pictures {args.pictures} --max-steps {args.max_steps}",
        "date": today(),
        "seed": 0,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "runs": rows,
        "apart": apart,
    }
    write_results("solvers", record, lines)
    print("\n".join(lines))


def map_str(values: tuple[float, ...]) -> list[str]:
    return [str(value) for value in values]


if __name__ == "__main__":
    main()
