"""Find the penalties of continuation and their order: PSNR by the factors and the noise level.

    python scripts/tune_continuation.py --data PATH/bsds500 --kernels PATH/kernels [--name euler-fast] [--pictures 6]
        [--factors 4,0.5 8,1,0.25 ...]

Centre crops of 128 x 128 of the first pictures of BSDS500 *train* (not val), circular blurs (levin09 1 and 5, box 9,
Gaussian 1.6), noise 2.55, 7.65, 12.75 of 255; tau and sigma by the rules of ``restoration.plan``. Evaluations are those
of the denoiser. Writes docs/results/continuation.{json,md}; ``solvers.splittings.factors_for`` holds what it found.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from bsds500 import pictures
from results import today, write_results
from tqdm import tqdm
from tune_strength import NOISES, four_blurs

from pnpkit import registry
from pnpkit.fidelities.least_squares import LeastSquares
from pnpkit.images import pixels
from pnpkit.images.metrics import psnr
from pnpkit.networks.base import Network
from pnpkit.operators.blur import blur
from pnpkit.restoration import plan, simulate
from pnpkit.solvers.iterations import Anderson
from pnpkit.solvers.loop import solve
from pnpkit.solvers.splittings import CONTINUATION, continuation, factors_for

FACTORS = ((1.0,), (2.0, 0.25), (4.0, 0.5), (8.0, 1.0), (4.0, 1.0, 0.25), (8.0, 1.5, 0.25), (16.0, 4.0, 1.0))
COMMAND = "python scripts/tune_continuation.py --data PATH/bsds500 --kernels PATH/kernels"


def run(network: Network, blurred: np.ndarray, kernel: np.ndarray, level: float, factors: tuple | None) -> tuple:
    """Return the restored picture and the number of evaluations of the denoiser."""
    fidelity = LeastSquares(blur(kernel, "circular", blurred.shape[:2]), pixels.to_tensor(blurred))
    tau, sigma = plan.by_rule(CONTINUATION, level, network, fidelity)
    map = continuation(fidelity, plan.inside(network), tau, sigma, (0.0, 1.0), factors)
    found = solve(map, fidelity.y, iteration=Anderson(), tol=3e-4, max_steps=60)
    return pixels.from_tensor(found.x), found.steps * len(factors or factors_for(tau))


def parse(text: str) -> tuple[float, ...]:
    return tuple(float(part) for part in text.split(","))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--kernels", type=Path, required=True, help="folder with levin09_1.npy and levin09_5.npy")
    parser.add_argument("--name", default="euler-fast")
    parser.add_argument("--pictures", type=int, default=6)
    parser.add_argument("--factors", type=parse, nargs="*", default=list(FACTORS))
    args = parser.parse_args()
    network = registry.load_denoiser(args.name)
    crops, blurs = pictures(args.data / "train", args.pictures, "crop128"), four_blurs(args.kernels)

    rows: dict[str, dict[str, list[float]]] = {}
    for factors in tqdm([None, *args.factors], desc=args.name):
        label = ", ".join(f"{c:g}" for c in factors) if factors else "the rule"
        for noise in NOISES:
            scores, work = [], []
            for crop in crops:
                for kernel in blurs:
                    blurred = simulate.simulate(crop, kernel, noise / 255, boundary="circular")
                    restored, evaluations = run(network, blurred, kernel, noise / 255, factors)
                    scores.append(psnr(restored, crop))
                    work.append(evaluations)
            rows.setdefault(label, {})[str(noise)] = [round(float(np.mean(v)), 3) for v in (scores, work)]
        print(label, rows[label], flush=True)
    store(args, rows)


def store(args: argparse.Namespace, rows: dict[str, dict[str, list[float]]]) -> None:
    command = f"{COMMAND} --name {args.name} --pictures {args.pictures} --factors "
    command += " ".join(",".join(f"{c:g}" for c in factors) for factors in args.factors)
    record = {"command": command, "date": today(), "seed": 0, "torch": torch.__version__}
    record |= {"psnr_and_evaluations": rows}
    lines = [
        f"PSNR (dB) of continuation with `{args.name}` and, in brackets, the number of evaluations of the denoiser. "
        f"Means over {args.pictures} training crops and four blurs.",
        "",
        "| factors | " + " | ".join(f"noise {noise}" for noise in NOISES) + " |",
        "| --- |" + " --- |" * len(NOISES),
    ]
    lines += [
        f"| {label} | " + " | ".join(f"{score:.2f} ({work:.0f})" for score, work in cells.values()) + " |"
        for label, cells in rows.items()
    ]
    write_results("continuation", record, lines)


if __name__ == "__main__":
    main()
