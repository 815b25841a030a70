"""Compare rules for the denoiser's strength: the closed rule, SURE per picture, discrepancy, the best fixed, an oracle.

    python scripts/strength_rules.py --data PATH/bsds500 --kernels PATH/kernels [--names wavelet euler]
        [--split val] [--pictures 3] [--blurs levin09_1 gaussian]

Centre crops of 128 x 128 of the first pictures of BSDS500, degraded as by ``deblurring_table.py`` (circular blur, noise
2.55, 7.65, 12.75 of 255). Every strength in FACTORS times the closed rule runs to a residual of 1e-4; between them
PSNR and discrepancy, ||A x - y||^2 / (s^2 N), are interpolated in log strength. ``best fixed`` is the factor with the
best mean at a noise level, ``oracle`` the best factor of each picture, ``discrepancy`` where that is c, for the c of
DISCREPANCIES with the best mean (in hindsight). ``sure`` is ``restoration.sure.by_sure`` and a run from its end; its
cost is all of its evaluations over those of the closed rule's run.

Writes docs/results/strength-rules.{json,md}, a section for each denoiser and split; on --split train the constant
``Sure.shrink`` is what the table calls implied.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bsds500 import pictures
from deblurring_table import degrade
from results import RESULTS, stamp, write_results
from tqdm import tqdm

from pnpkit import kernels, registry
from pnpkit.fidelities.data import DataTerm
from pnpkit.fidelities.least_squares import LeastSquares
from pnpkit.images import pixels
from pnpkit.images.metrics import psnr
from pnpkit.maps import Map
from pnpkit.networks.base import Network
from pnpkit.operators.blur import blur
from pnpkit.restoration import plan, sure
from pnpkit.solvers.iterations import Anderson
from pnpkit.solvers.loop import solve
from pnpkit.solvers.result import Result
from pnpkit.solvers.splittings import CONTINUATION, continuation

FACTORS = (0.5, 0.7, 1.0, 1.4, 2.0)
NOISES = (2.55, 7.65, 12.75)
DISCREPANCIES = (0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0)
TOL, STEPS = 1e-4, 100


def case(network: Network, clean: np.ndarray, kernel: np.ndarray, noise: float) -> dict[str, Any]:
    """Restore one degraded picture under every rule."""
    y, level = pixels.to_tensor(degrade(clean, kernel, noise)), noise / 255
    fidelity = LeastSquares(blur(kernel, "circular", clean.shape[:2]), y)
    tau = plan.penalty_for(level, network)

    def map_at(data: DataTerm, sigma: float) -> Map:
        return continuation(data, plan.inside(network), tau, sigma, (0.0, 1.0))

    def run(sigma: float, start: torch.Tensor) -> Result:
        return solve(map_at(fidelity, sigma), start, iteration=Anderson(), tol=TOL, max_steps=STEPS)

    closed, start = plan.strength_for(level, tau, network, CONTINUATION), y.clamp(0, 1)
    runs = {1.0: run(closed, start)}
    for factor in (1.4, 2.0, 0.7, 0.5):  # a fixed point is where it is: each goes on from its neighbour
        neighbour = {1.4: 1.0, 2.0: 1.4, 0.7: 1.0, 0.5: 0.7}[factor]
        runs[factor] = run(factor * closed, runs[neighbour].x)
    how = sure.SURE[CONTINUATION]
    choice = sure.by_sure(fidelity, map_at, start, level, closed, network.top, how)
    end = run(choice.strength, choice.start)
    least = sure.least_of_parabola([t[0] for t in choice.tried], [t[1] for t in choice.tried])
    return {
        "psnr": [psnr(pixels.from_tensor(runs[f].x), clean) for f in FACTORS],
        "discrepancy": [float(2 * fidelity.value(runs[f].x)) / level**2 / y.numel() for f in FACTORS],
        "closed": {"strength": closed, "evaluations": runs[1.0].steps},
        "sure": {
            "factor": choice.strength / closed,
            "least_risk_factor": least / closed,
            "psnr": psnr(pixels.from_tensor(end.x), clean),
            "evaluations": choice.evaluations + end.steps,
        },
    }


def at(values: list[float], factor: float) -> float:
    """Interpolate a quantity of the grid at any factor, linearly in its logarithm."""
    return float(np.interp(np.log(factor), np.log(FACTORS), values))


def with_discrepancy(found: dict[str, Any], c: float) -> float:
    """Return the PSNR where the discrepancy, which grows with the strength, is c, or at the nearer end."""
    return at(found["psnr"], float(np.exp(np.interp(c, found["discrepancy"], np.log(FACTORS)))))


def compare(cases: list[dict[str, Any]]) -> dict[str, float]:
    """Return the mean PSNR of every rule at one noise level, and the cost of SURE."""
    grid = np.array([c["psnr"] for c in cases])
    hindsight = {c: float(np.mean([with_discrepancy(one, c) for one in cases])) for c in DISCREPANCIES}
    best = max(hindsight, key=lambda c: hindsight[c])
    return {
        "best fixed": float(grid.mean(0).max()),
        "its factor": FACTORS[int(grid.mean(0).argmax())],
        "closed": float(grid[:, FACTORS.index(1.0)].mean()),
        "sure": float(np.mean([c["sure"]["psnr"] for c in cases])),
        "discrepancy": hindsight[best],
        "its c": best,
        "oracle": float(grid.max(1).mean()),
        "cost of sure": float(np.mean([c["sure"]["evaluations"] / c["closed"]["evaluations"] for c in cases])),
    }


def implied_shrink(cases: list[dict[str, Any]]) -> float:
    """Return the geometric mean over the pictures of the factor with best PSNR over that with least risk."""
    ratios = [FACTORS[int(np.argmax(c["psnr"]))] / c["sure"]["least_risk_factor"] for c in cases]
    return float(np.exp(np.mean(np.log(ratios))))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--kernels", type=Path, required=True)
    parser.add_argument("--names", nargs="+", default=["wavelet"])
    parser.add_argument("--split", choices=("train", "val"), default="val")
    parser.add_argument("--pictures", type=int, default=3)
    parser.add_argument("--blurs", nargs="+", default=["levin09_1", "gaussian"])
    args = parser.parse_args()
    taps = np.exp(-(np.arange(-12, 13) ** 2) / (2 * 1.6**2))
    made = {"box": kernels.box(9), "gaussian": kernels.normalise(np.outer(taps, taps))}
    blurs = {b: made[b] if b in made else kernels.load(args.kernels / f"{b}.npy") for b in args.blurs}
    crops = pictures(args.data / args.split, args.pictures, "crop128")
    for name in args.names:
        network = registry.load_denoiser(name)
        cases: dict[str, list[dict[str, Any]]] = {}
        for noise in NOISES:
            for clean in tqdm(crops, desc=f"{name}, noise {noise}"):
                for label, kernel in blurs.items():
                    found = {"blur": label, **case(network, clean, kernel, noise)}
                    cases.setdefault(str(noise), []).append(found)
        store(name, args, cases)


def store(name: str, args: argparse.Namespace, cases: dict[str, list[dict[str, Any]]]) -> None:
    """Add this section to the record, and write the table of all sections."""
    path = RESULTS / "strength-rules.json"
    command = "python scripts/strength_rules.py --data PATH/bsds500 --kernels PATH/kernels"
    command += f" --names {name} --split {args.split} --pictures {args.pictures} --blurs {' '.join(args.blurs)}"
    about = stamp(command)
    sections = json.loads(path.read_text())["sections"] if path.exists() else {}
    sections[f"{name}, {args.split}"] = {
        **about,
        "factors": FACTORS,
        "rule": vars(sure.SURE[CONTINUATION]),
        "implied_shrink": implied_shrink([c for some in cases.values() for c in some]),
        "rules": {noise: compare(some) for noise, some in cases.items()},
        "cases": cases,
    }
    lines = [
        "PSNR (dB) for each rule for the strength, mean over crops of 128 x 128 pixels and blurs. The cost is counted",
        "in evaluations; the run of the closed rule costs 1. The discrepancy rule uses the best c in hindsight, and",
        "the oracle uses the best strength of each picture.",
        "",
        "| denoiser, split | noise | best fixed (factor) | closed, cost 1 | sure | cost | discrepancy (c) | oracle |",
        "| --- |" + " --- |" * 7,
    ]
    for section, entry in sections.items():
        for noise, r in entry["rules"].items():
            cells = [section, noise, f"{r['best fixed']:.2f} (x {r['its factor']:g})", f"{r['closed']:.2f}"]
            cells += [f"{r['sure']:.2f}", f"{r['cost of sure']:.1f}", f"{r['discrepancy']:.2f} ({r['its c']:g})"]
            lines.append(f"| {' | '.join(cells)} | {r['oracle']:.2f} |")
        lines.append(f"| {section} | implied shrink | {entry['implied_shrink']:.2f} | | | | | |")
    write_results("strength-rules", {**about, "sections": sections}, lines)
    print("\n".join(lines))


if __name__ == "__main__":
    main()
