"""Run the synthetic deblurring of Hurault et al. (ICLR 2022) by Wiener filters, total variation and denoisers.

    python scripts/deblurring_table.py --data PATH/bsds500 --kernels PATH/kernels [--track crop128] [--pictures 10]
        [--noises 2.55 7.65 12.75] [--names euler-fast dncnn wavelet:forward-backward] [--steps 300] [--watched 60]
        [--add] [--bfloat16] [--jobs 2]

--add keeps the stored rows and runs only the named methods; the noisy pictures must be those of the stored rows. --jobs
sets how many pictures are processed at a time, each by its own process with its share of the threads.

Track whole: the first pictures of BSDS500 val. Track crop128: their centres, 128 x 128, cropped and then blurred. Ten
kernels: levin09 1 to 8, box 9 x 9, Gaussian 25 x 25 sigma 1.6. Circular boundary (scipy.ndimage.convolve, mode "wrap"),
numpy.random.seed(0) before each picture's noise, PSNR at the last iterate and its peak. A method without proof (dncnn)
makes --watched plain steps; with --bfloat16 it multiplies in that type.

Total variation minimises f + w TV, coupled over the colours and periodic, by ADMM until a step changes it by 2e-5. w is
the best of five values on crops of BSDS500 train. Writes docs/results/deblurring-TRACK.{json,md} after every noise
level.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import scipy.ndimage
import torch
from bsds500 import pictures
from deblurring_page import KERNELS, NOISES, add, missing, store
from process import put_back
from tqdm import tqdm

from pnpkit import kernels, registry
from pnpkit.fidelities.least_squares import LeastSquares
from pnpkit.images import pixels
from pnpkit.images.metrics import psnr
from pnpkit.networks.base import Network
from pnpkit.operators.blur import blur
from pnpkit.restoration import baselines
from pnpkit.solvers.result import Step
from pnpkit.solvers.splittings import CONTINUATION, SPLITTINGS
from pnpkit.solvers.stages import solve_in_stages

TV_WEIGHTS = {n: tuple(c * 2 ** (j / 2) for j in range(-2, 3)) for n, c in zip(NOISES, (2e-3, 1e-2, 2e-2), strict=True)}
WIENER_BALANCE = dict(zip(NOISES, (0.01, 0.05, 0.1), strict=True))
Row = dict[str, Any]


def degrade(clean: np.ndarray, kernel: np.ndarray, noise: float) -> np.ndarray:
    """Degrade a picture by the protocol: true convolution, wrapped around, noise / 255 added with seed 0."""
    blurred = np.stack([scipy.ndimage.convolve(clean[..., c], kernel, mode="wrap") for c in range(3)], -1)
    np.random.seed(0)
    return blurred + noise / 255 * np.random.standard_normal(blurred.shape)


@cache
def denoiser(name: str) -> Network:
    """Load a denoiser once per process, so that seconds are those of restoring only."""
    return registry.load_denoiser(name)


def with_denoiser(args: argparse.Namespace, name: str, fidelity: LeastSquares, clean: np.ndarray, noise: float) -> Row:
    """NAME, continuation as ``pnpkit deblur`` has it, or NAME:SPLITTING; ``first`` is the PSNR after a first pass."""
    head, _, tail = name.rpartition(":")
    network = denoiser(head if tail in SPLITTINGS else name)
    splitting, scores = tail if tail in SPLITTINGS else CONTINUATION, []
    proven = network.looks()[0].certificate.averaged

    def watch(step: Step) -> None:
        scores.append(psnr(pixels.from_tensor(step.x), clean))

    rounded = args.bfloat16 and not proven
    stages = baselines.stages_by_rule(network, splitting, fidelity, noise / 255, rounded=rounded)
    steps = args.steps if proven else args.watched
    result = solve_in_stages(stages, fidelity.y, max_steps=steps, callback=watch)
    last = psnr(pixels.from_tensor(result.x), clean)
    found = {"psnr": last, "peak": max(scores), "steps": result.steps, "residual": result.residuals[-1]}
    first = [scores[stage.steps - 1] for stage in result.guarantee.before]
    return found | ({"first": first[-1]} if first else {})


def total_variation(weight: float, y: np.ndarray, kernel: np.ndarray, clean: np.ndarray) -> Row:
    scores: list[float] = []
    run = baselines.total_variation(y, kernel, weight, callback=lambda x: scores.append(psnr(x.clip(0, 1), clean)))
    return {"psnr": scores[-1], "peak": max(scores), "steps": run.steps, "residual": run.change}


def filtered(x: np.ndarray, clean: np.ndarray) -> Row:
    score = psnr(x.clip(0, 1), clean)
    return {"psnr": score, "peak": score, "steps": 0, "residual": None}


def best_weight(crops: list[np.ndarray], blurs: dict[str, np.ndarray], noise: float) -> float:
    """Return the weight of total variation with the best mean PSNR on other pictures."""
    problems = [(degrade(clean, kernel, noise), kernel, clean) for clean in crops for kernel in blurs.values()]
    means = [np.mean([total_variation(w, *problem)["psnr"] for problem in problems]) for w in TV_WEIGHTS[noise]]
    return TV_WEIGHTS[noise][int(np.argmax(means))]


def blurs_in(folder: Path) -> dict[str, np.ndarray]:
    """Return the ten kernels."""
    taps = np.exp(-(np.arange(-12, 13) ** 2) / (2 * 1.6**2))
    shakes = {f"levin09_{k}": kernels.load(folder / f"levin09_{k}.npy") for k in range(1, KERNELS - 1)}
    return shakes | {"box 9": kernels.box(9), "gaussian 1.6": kernels.normalise(np.outer(taps, taps))}


def in_turn(
    args: argparse.Namespace, cleans: list[np.ndarray], noise: float, weight: float | None
) -> Iterator[list[tuple[str, Row]]]:
    """Yield the rows of one picture after the other, with several pictures computed at a time."""
    work = Work(args, noise, weight, max(1, torch.get_num_threads() // args.jobs))
    if args.jobs == 1:
        yield from map(work, cleans)
        return
    with ProcessPoolExecutor(args.jobs, mp_context=get_context("spawn")) as pool:
        yield from pool.map(work, cleans)


@dataclass(frozen=True)
class Work:
    """From a picture to its rows: every kernel, every method; ``weight`` is that of total variation, None leaves out
    what needs no denoiser."""

    args: argparse.Namespace
    noise: float
    weight: float | None
    threads: int

    @put_back()
    def __call__(self, clean: np.ndarray) -> list[tuple[str, Row]]:
        args, noise = self.args, self.noise
        torch.set_num_threads(self.threads)
        rows: list[tuple[str, Row]] = []
        for label, kernel in blurs_in(args.kernels).items():
            y = degrade(clean, kernel, noise)
            fidelity = LeastSquares(blur(kernel, "circular", clean.shape[:2]), pixels.to_tensor(y))
            found = {"degraded": filtered(y, clean)}
            if self.weight is not None:
                found["Wiener"] = filtered(baselines.wiener_filter(y, kernel, WIENER_BALANCE[noise]), clean)
                found["unsupervised Wiener"] = filtered(baselines.unsupervised_wiener_filter(y, kernel), clean)
                started = time.perf_counter()
                found["total variation"] = total_variation(self.weight, y, kernel, clean)
                found["total variation"]["seconds"] = time.perf_counter() - started
            for name in args.names:
                started = time.perf_counter()
                found[name] = with_denoiser(args, name, fidelity, clean, noise)
                found[name]["seconds"] = time.perf_counter() - started
            rows += [(name, {"kernel": label, **values}) for name, values in found.items()]
        return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--kernels", type=Path, required=True)
    parser.add_argument("--track", choices=("crop128", "whole"), default="crop128")
    parser.add_argument("--pictures", type=int, default=10)
    parser.add_argument("--noises", type=float, nargs="+", choices=tuple(TV_WEIGHTS), default=list(TV_WEIGHTS))
    parser.add_argument("--names", nargs="*", default=["euler-fast", "dncnn"])
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--watched", type=int, default=60)
    parser.add_argument("--add", action="store_true")
    parser.add_argument("--bfloat16", action="store_true")
    parser.add_argument("--jobs", type=int, default=1)
    args = parser.parse_args()
    if args.jobs < 1:
        parser.error(f"--jobs {args.jobs}: expected at least one picture at a time")
    cleans = pictures(args.data / "val", args.pictures, args.track)
    if args.add:
        if absent := missing(args.track, args.noises, len(cleans)):
            parser.error(f"nothing is stored for {len(cleans)} pictures at noise {absent}: run it without --add first")
    training = [] if args.add else pictures(args.data / "train", 2, "crop128")
    rows: dict[str, dict[str, list]] = {}
    weights = {}
    for noise in args.noises:
        weight = weights[str(noise)] = None if args.add else best_weight(training, blurs_in(args.kernels), noise)
        for runs in tqdm(in_turn(args, cleans, noise, weight), total=len(cleans), desc=f"noise {noise}"):
            for name, row in runs:
                rows.setdefault(name, {}).setdefault(str(noise), []).append(row)
        if args.add:
            add(args, rows, str(noise))
        else:
            store(args, rows, weights)


if __name__ == "__main__":
    main()
