"""Synthetic deblurring of Hurault et al. (ICLR 2022): Wiener filters, total variation, denoisers of the registry.

    python scripts/deblurring_table.py --data PATH/bsds500 --kernels PATH/kernels [--track crop128] [--pictures 10]
        [--noises 2.55 7.65] [--names euler dncnn wavelet:forward-backward] [--steps 300]

Track crop128: centre crops of 128 x 128 of the first pictures of BSDS500 val; levin09 1 and 5, box 9 x 9, Gaussian
25 x 25 sigma 1.6. Track whole: whole pictures, all eight levin09 kernels. Circular boundary (scipy.ndimage.convolve,
mode "wrap"), numpy.random.seed(0) before each picture's noise, PSNR at the last iterate and its peak.

Total variation is f + w TV, coupled over the colours, to a residual of 1e-4 by FISTA; w is the best of three on crops
of BSDS500 train. Writes docs/results/deblurring-TRACK.{json,md}.
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import time
from collections.abc import Callable
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import scipy.ndimage
import torch
from skimage.restoration import unsupervised_wiener, wiener
from tqdm import tqdm

from pnpkit import images, kernels, proximal, registry, strength
from pnpkit.fidelity import LeastSquares
from pnpkit.files import write_whole
from pnpkit.iterations import Anderson, Fista, Iteration, Picard
from pnpkit.maps import Map
from pnpkit.metrics import psnr
from pnpkit.operators import blur
from pnpkit.solver import Step, solve
from pnpkit.splittings import HALF_QUADRATIC, SPLITTINGS, forward_backward

RESULTS = Path(__file__).parent.parent / "docs" / "results"
TV_WEIGHTS = {2.55: (1e-3, 2e-3, 4e-3), 7.65: (5e-3, 1e-2, 2e-2), 12.75: (1e-2, 2e-2, 4e-2)}
WIENER_BALANCE = {2.55: 0.01, 7.65: 0.05, 12.75: 0.1}


def degrade(clean: np.ndarray, kernel: np.ndarray, noise: float) -> np.ndarray:
    """The protocol's picture: true convolution, wrapped around, noise / 255 added with seed 0."""
    blurred = np.stack([scipy.ndimage.convolve(clean[..., c], kernel, mode="wrap") for c in range(3)], -1)
    np.random.seed(0)
    return blurred + noise / 255 * np.random.standard_normal(blurred.shape)


def run(map: Map, y: np.ndarray, clean: np.ndarray, iteration: Iteration, tol: float, steps: int) -> dict[str, float]:
    """PSNR at the end and at its peak, evaluations, residual."""
    scores: list[float] = []

    def watch(step: Step) -> None:
        scores.append(psnr(images.from_tensor(step.x), clean))

    result = solve(map, images.to_tensor(y), iteration=iteration, tol=tol, max_steps=steps, callback=watch)
    last = psnr(images.from_tensor(result.x), clean)
    return {"psnr": last, "peak": max(scores), "steps": result.steps, "residual": result.residuals[-1]}


def total_variation(weight: float, y: np.ndarray, fidelity: LeastSquares, clean: np.ndarray, steps: int) -> dict:
    """min f + weight TV by FISTA, tau = 1 / L."""
    tau = 1 / fidelity.L
    prox = proximal.total_variation(tau * weight, tolerance=1e-4)
    return run(forward_backward(fidelity, prox, tau), y, clean, Fista(), 1e-4, steps)


def with_denoiser(name: str, iteration: Iteration, steps: int) -> Callable[..., dict[str, float]]:
    """NAME, half-quadratic splitting as ``pnpkit deblur`` has it, or NAME:forward-backward."""
    denoiser, _, other = name.partition(":")
    network, splitting = registry.load_denoiser(denoiser), other or HALF_QUADRATIC
    if splitting not in SPLITTINGS:
        raise SystemExit(f"unknown splitting {splitting}: {', '.join(SPLITTINGS)}")

    def method(y: np.ndarray, fidelity: LeastSquares, clean: np.ndarray, kernel: np.ndarray, noise: float) -> dict:
        tau = strength.step_for(splitting, noise / 255, network, fidelity)
        backward = network.at(strength.strength_for(noise / 255, tau, network, splitting))
        map = SPLITTINGS[splitting](fidelity, backward, tau, (0.0, 1.0))
        return run(map, y, clean, iteration, 1e-4, steps)

    return method


def by_channel(filter: Callable[[np.ndarray], np.ndarray], y: np.ndarray, clean: np.ndarray) -> dict[str, float]:
    score = psnr(np.stack([filter(y[..., c]) for c in range(3)], -1).clip(0, 1), clean)
    return {"psnr": score, "peak": score, "steps": 0, "residual": float("nan")}


def filters(y: np.ndarray, clean: np.ndarray, kernel: np.ndarray, balance: float) -> dict[str, dict[str, float]]:
    """What needs no iteration."""

    def supervised(channel: np.ndarray) -> np.ndarray:
        return np.asarray(wiener(channel, kernel, balance, clip=False))

    def unsupervised(channel: np.ndarray) -> np.ndarray:
        return np.asarray(unsupervised_wiener(channel, kernel, clip=False, rng=0)[0])

    return {
        "degraded": by_channel(np.asarray, y, clean),
        "Wiener": by_channel(supervised, y, clean),
        "unsupervised Wiener": by_channel(unsupervised, y, clean),
    }


def best_weight(crops: list[np.ndarray], blurs: dict[str, np.ndarray], noise: float, steps: int) -> float:
    """The weight of total variation with the best mean PSNR on other pictures."""
    means = []
    for weight in TV_WEIGHTS[noise]:
        found = []
        for clean in crops:
            for kernel in blurs.values():
                y = degrade(clean, kernel, noise)
                fidelity = LeastSquares(blur(kernel, "circular", clean.shape[:2]), images.to_tensor(y))
                found.append(total_variation(weight, y, fidelity, clean, steps)["psnr"])
        means.append(np.mean(found))
    return TV_WEIGHTS[noise][int(np.argmax(means))]


def pictures(folder: Path, count: int, track: str) -> list[np.ndarray]:
    """The first pictures of a split on the 0..1 scale, whole or their centres."""
    found = [imageio.imread(path) / 255 for path in sorted(folder.glob("*.jpg"))[:count]]
    if track == "whole":
        return found
    corners = [(p.shape[0] // 2 - 64, p.shape[1] // 2 - 64) for p in found]
    return [p[row : row + 128, column : column + 128] for p, (row, column) in zip(found, corners, strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--kernels", type=Path, required=True)
    parser.add_argument("--track", choices=("crop128", "whole"), default="crop128")
    parser.add_argument("--pictures", type=int, default=10)
    parser.add_argument("--noises", type=float, nargs="+", default=[2.55, 7.65])
    parser.add_argument("--names", nargs="*", default=["euler", "dncnn"])
    parser.add_argument("--steps", type=int, default=300)
    args = parser.parse_args()
    numbers = (1, 5) if args.track == "crop128" else range(1, 9)
    blurs = {f"levin09_{k}": kernels.load(args.kernels / f"levin09_{k}.npy") for k in numbers}
    taps = np.exp(-(np.arange(-12, 13) ** 2) / (2 * 1.6**2))
    blurs |= {"box 9": kernels.box(9), "gaussian 1.6": kernels.normalise(np.outer(taps, taps))}
    cleans = pictures(args.data / "val", args.pictures, args.track)
    training = pictures(args.data / "train", 2, "crop128")
    iterations: dict[str, Iteration] = {"dncnn": Picard()}
    methods = {
        name: with_denoiser(name, iterations.get(name.split(":")[0], Anderson()), args.steps) for name in args.names
    }
    rows: dict[str, dict[str, list]] = {}
    weights = {}
    for noise in args.noises:
        weight = weights[str(noise)] = best_weight(training, blurs, noise, args.steps)
        for clean in tqdm(cleans, desc=f"noise {noise}"):
            for label, kernel in blurs.items():
                y = degrade(clean, kernel, noise)
                fidelity = LeastSquares(blur(kernel, "circular", clean.shape[:2]), images.to_tensor(y))
                found = filters(y, clean, kernel, WIENER_BALANCE[noise])
                started = time.perf_counter()
                found["total variation"] = total_variation(weight, y, fidelity, clean, args.steps)
                found["total variation"]["seconds"] = time.perf_counter() - started
                for name, method in methods.items():
                    started = time.perf_counter()
                    found[name] = method(y, fidelity, clean, kernel, noise)
                    found[name]["seconds"] = time.perf_counter() - started
                for name, values in found.items():
                    rows.setdefault(name, {}).setdefault(str(noise), []).append({"kernel": label, **values})
    store(args, rows, weights)


def store(args: argparse.Namespace, rows: dict[str, dict[str, list]], weights: dict[str, float]) -> None:
    lines = [
        f"Track {args.track}: PSNR (dB) at the end / at its peak, mean over {args.pictures} pictures and the kernels; "
        "evaluations of the map; largest relative residual at the end.",
        "",
        "| method | " + " | ".join(f"noise {n} | steps | residual" for n in args.noises) + " |",
        "| --- |" + " --- |" * (3 * len(args.noises)),
    ]
    for name, by_noise in rows.items():
        cells = []
        for noise in args.noises:
            runs = by_noise[str(noise)]
            last, peak, steps = (np.mean([r[key] for r in runs]) for key in ("psnr", "peak", "steps"))
            cells += [f"{last:.2f} / {peak:.2f}"]
            cells += [f"{steps:.0f}", f"{max(r['residual'] for r in runs):.1e}"] if steps else ["", ""]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    record = {
        "command": "python scripts/deblurring_table.py --data PATH/bsds500 --kernels PATH/kernels "
        f"--track {args.track} --pictures {args.pictures} --noises {' '.join(map(str, args.noises))} "
        f"--names {' '.join(args.names)} --steps {args.steps}",
        "seed": 0,
        "date": datetime.date.today().isoformat(),
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}",
        "total_variation_weights": weights,
        "runs": rows,
    }
    write_whole(RESULTS / f"deblurring-{args.track}.json", (json.dumps(record, indent=1) + "\n").encode())
    write_whole(RESULTS / f"deblurring-{args.track}.md", ("\n".join(lines) + "\n").encode())
    print("\n".join(lines))


if __name__ == "__main__":
    main()
