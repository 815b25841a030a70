"""Tune the strength of the denoiser: PSNR gain for strength = factor * rule(noise), by denoiser and noise level.

    python scripts/tune_strength.py --data PATH/bsds500 --kernels PATH/kernels [--pictures 3]
        [--names euler dncnn] [--splitting half-quadratic]

Centre crops of 128 x 128 of the first pictures of BSDS500 *train* (not val), circular blurs (levin09 1 and 5, box 9,
Gaussian 1.6), noise 2.55, 7.65, 12.75 of 255. Writes docs/results/strength.{json,md}. The
``rule`` of each network holds what it found: ``factor`` and ``exponent`` for forward-backward splitting, ``coupling``
and ``working`` for half-quadratic splitting.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from bsds500 import pictures
from results import RESULTS, today, write_results
from tqdm import tqdm

from pnpkit import kernels, registry
from pnpkit.images.metrics import psnr
from pnpkit.restoration import deblur, plan, simulate
from pnpkit.solvers.splittings import CONTINUATION, FORWARD_BACKWARD, SPLITTINGS

FACTORS = (0.6, 1.0, 1.7)
NOISES = (2.55, 7.65, 12.75)
COMMAND = "python scripts/tune_strength.py --data PATH/bsds500 --kernels PATH/kernels"


def gains(name: str, splitting: str, level: float, crops: list[np.ndarray], blurs: list[np.ndarray]) -> list[float]:
    """Return the mean gain in PSNR (dB) for each factor; tau follows the rule of the splitting."""
    network = registry.load_denoiser(name)
    tau = 1.9 if splitting == FORWARD_BACKWARD else plan.penalty_for(level, network)
    rule = plan.strength_for(level, tau, network, splitting)
    means = []
    for factor in FACTORS:
        found = []
        for crop in crops:
            for kernel in blurs:
                blurred = simulate.simulate(crop, kernel, level, boundary="circular")
                run = deblur.deblur(
                    blurred,
                    kernel,
                    denoiser=network,
                    noise_level=level,
                    strength=min(factor * rule, network.top),
                    splitting=splitting,
                    tau=tau,
                    boundary="circular",
                    tol=3e-4,
                    max_steps=60,
                )
                found.append(psnr(np.asarray(run.image), crop) - psnr(blurred, crop))
        means.append(round(float(np.mean(found)), 3))
    return means


def four_blurs(folder: Path) -> list[np.ndarray]:
    """Return two shakes and two plain blurs."""
    return [*(kernels.load(folder / f"levin09_{k}.npy") for k in (1, 5)), kernels.box(9), kernels.gaussian(1.6)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--kernels", type=Path, required=True, help="folder with levin09_1.npy and levin09_5.npy")
    parser.add_argument("--pictures", type=int, default=3)
    parser.add_argument("--names", nargs="*", default=["euler", "dncnn"])
    parser.add_argument("--splitting", choices=tuple(SPLITTINGS), default=CONTINUATION)
    args = parser.parse_args()
    crops, blurs = pictures(args.data / "train", args.pictures, "crop128"), four_blurs(args.kernels)

    store = RESULTS / "strength.json"
    sections = json.loads(store.read_text())["sections"] if store.exists() else {}
    for name in args.names:
        table = {
            str(noise): gains(name, args.splitting, noise / 255, crops, blurs) for noise in tqdm(NOISES, desc=name)
        }
        sections[f"{name}, {args.splitting}"] = {
            "command": f"{COMMAND} --pictures {args.pictures} --names {name} --splitting {args.splitting}",
            "pictures": args.pictures,
            "date": today(),
            "torch": torch.__version__,
            "gain_dB": table,
        }
        print(name, table, flush=True)
    record = {"command": COMMAND, "date": today(), "seed": 0, "factors": FACTORS}
    record |= {"sections": sections}
    lines = [
        "| denoiser, splitting | crops | noise | " + " | ".join(f"x {f:g}" for f in FACTORS) + " |",
        "| --- |" + " --- |" * (2 + len(FACTORS)),
    ]
    lines += [
        f"| {name} | {entry['pictures']} | {noise} | " + " | ".join(f"{g:.2f}" for g in row) + " |"
        for name, entry in sections.items()
        for noise, row in entry["gain_dB"].items()
    ]
    head = "Gain in PSNR (dB) if the strength is a factor times that of the rule. Means over pictures and blurs."
    write_results("strength", record, [head, "", *lines])


if __name__ == "__main__":
    main()
