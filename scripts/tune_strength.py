"""How strong should the denoiser be? PSNR gain over strength = factor * rule(noise), by denoiser and noise level.

    python scripts/tune_strength.py --data PATH/bsds500 --kernels PATH/kernels [--pictures 3]

Centre crops of 128 x 128 of the first pictures of BSDS500 *train* (not val), circular blurs (levin09 1 and 5, box 9,
Gaussian 1.6), noise 2.55, 7.65, 12.75 of 255. Writes docs/results/strength.{json,md}; the ``strength`` methods of the
networks hold what it found.
"""

from __future__ import annotations

import argparse
import datetime
import json
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import torch
from tqdm import tqdm

from pnpkit import kernels, registry, restore
from pnpkit.files import write_whole
from pnpkit.metrics import psnr

FACTORS = (0.6, 1.0, 1.7)
NOISES = (2.55, 7.65, 12.75)
RESULTS = Path(__file__).parent.parent / "docs" / "results"


def gains(name: str, noise: float, crops: list[np.ndarray], blurs: list[np.ndarray]) -> list[float]:
    """Mean gain in PSNR (dB) for each factor."""
    network = registry.load_denoiser(name)
    rule = network.strength(noise, 1.9)
    means = []
    for factor in FACTORS:
        found = []
        for crop in crops:
            for kernel in blurs:
                blurred = restore.simulate(crop, kernel, noise, boundary="circular")
                run = restore.deblur(
                    blurred,
                    kernel,
                    denoiser=network,
                    noise_level=noise,
                    strength=min(factor * rule, network.top),
                    boundary="circular",
                    tol=3e-4,
                    max_steps=60,
                )
                found.append(psnr(np.asarray(run.image), crop) - psnr(blurred, crop))
        means.append(round(float(np.mean(found)), 3))
    return means


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--kernels", type=Path, required=True, help="folder with levin09_1.npy and levin09_5.npy")
    parser.add_argument("--pictures", type=int, default=3)
    parser.add_argument("--names", nargs="*", default=["euler", "dncnn"])
    args = parser.parse_args()
    crops = []
    for path in sorted((args.data / "train").glob("*.jpg"))[: args.pictures]:
        picture = imageio.imread(path) / 255
        row, column = picture.shape[0] // 2 - 64, picture.shape[1] // 2 - 64
        crops.append(picture[row : row + 128, column : column + 128])
    blurs = [kernels.load(args.kernels / f"levin09_{k}.npy") for k in (1, 5)]
    blurs += [kernels.box(9), kernels.gaussian(1.6)]

    store = RESULTS / "strength.json"
    known = json.loads(store.read_text()) if store.exists() else {}
    same = known.get("pictures") == args.pictures
    table: dict[str, dict[str, list[float]]] = known["gain_dB"] if same else {}
    for name in args.names:
        table[name] = {str(noise): gains(name, noise / 255, crops, blurs) for noise in tqdm(NOISES, desc=name)}
        print(name, table[name], flush=True)
    record = {
        "command": "python scripts/tune_strength.py --data PATH/bsds500 --kernels PATH/kernels "
        f"--pictures {args.pictures}",
        "pictures": args.pictures,
        "date": datetime.date.today().isoformat(),
        "seed": 0,
        "torch": torch.__version__,
        "factors": FACTORS,
        "gain_dB": table,
    }
    lines = [
        "| denoiser | noise | " + " | ".join(f"x {f:g}" for f in FACTORS) + " |",
        "| --- |" + " --- |" * (1 + len(FACTORS)),
    ]
    lines += [
        f"| {name} | {noise} | " + " | ".join(f"{g:.2f}" for g in row) + " |"
        for name, rows in table.items()
        for noise, row in rows.items()
    ]
    text = "Gain in PSNR (dB) at factor times the rule, mean over pictures and blurs.\n\n" + "\n".join(lines) + "\n"
    RESULTS.mkdir(parents=True, exist_ok=True)
    write_whole(store, (json.dumps(record, indent=1) + "\n").encode())
    write_whole(RESULTS / "strength.md", text.encode())


if __name__ == "__main__":
    main()
