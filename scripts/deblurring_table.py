"""Synthetic deblurring of Hurault et al. (ICLR 2022): Wiener filters, total variation, denoisers of the registry.

    python scripts/deblurring_table.py --data PATH/bsds500 --kernels PATH/kernels [--track crop128] [--pictures 10]
        [--noises 2.55 7.65 12.75] [--names euler-fast dncnn wavelet:forward-backward] [--steps 300] [--watched 60]
        [--add] [--bfloat16] [--jobs 2]

--add keeps the rows that are stored and runs the named methods only; noisy pictures must be those of the stored rows.
--jobs: so many pictures at a time, each by a process of its own with its share of the threads.

Track whole: the first pictures of BSDS500 val. Track crop128: their centres, 128 x 128, cropped and then blurred. Ten
kernels: levin09 1 to 8, box 9 x 9, Gaussian 25 x 25 sigma 1.6. Circular boundary (scipy.ndimage.convolve, mode "wrap"),
numpy.random.seed(0) before each picture's noise, PSNR at the last iterate and its peak. What has no proof (dncnn) makes
--watched plain steps, with --bfloat16 multiplied in that type.

Total variation is f + w TV, coupled over the colours, periodic, by ADMM until a step changes it by 2e-5; w is the best
of five on crops of BSDS500 train. Writes docs/results/deblurring-TRACK.{json,md} after every noise level.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import numpy as np
import scipy.ndimage
import torch
from process import put_back
from results import RESULTS, today, write_results
from skimage.restoration import unsupervised_wiener, wiener
from torch import Tensor
from tqdm import tqdm

from pnpkit import kernels, registry
from pnpkit.blind import latent
from pnpkit.fidelity import LeastSquares
from pnpkit.images import pixels
from pnpkit.images.metrics import psnr
from pnpkit.maps import Map
from pnpkit.networks.half_precision import rough_denoisers
from pnpkit.operators.blur import blur
from pnpkit.restoration import plan
from pnpkit.restoration.defaults import GUIDE
from pnpkit.restoration.pipeline import Networks, guided_by
from pnpkit.solvers.iterations import Anderson, Picard
from pnpkit.solvers.result import Result, Step
from pnpkit.solvers.splittings import CONTINUATION, SPLITTINGS
from pnpkit.solvers.stages import Stage, solve_in_stages

TV_STEPS = 500
TV_WEIGHTS = {n: tuple(c * 2 ** (j / 2) for j in range(-2, 3)) for n, c in ((2.55, 2e-3), (7.65, 1e-2), (12.75, 2e-2))}
PENALTY, TV_CHANGE = 5.0, 2e-5  # of ADMM, in units of the weight: its thresholds are the inverse, 0.2; and its end
KERNELS = 10
FEW = ("levin09_1", "levin09_5", "box 9", "gaussian 1.6")  # two shakes and two plain blurs
WIENER_BALANCE = {2.55: 0.01, 7.65: 0.05, 12.75: 0.1}


def degrade(clean: np.ndarray, kernel: np.ndarray, noise: float) -> np.ndarray:
    """The protocol's picture: true convolution, wrapped around, noise / 255 added with seed 0."""
    blurred = np.stack([scipy.ndimage.convolve(clean[..., c], kernel, mode="wrap") for c in range(3)], -1)
    np.random.seed(0)
    return blurred + noise / 255 * np.random.standard_normal(blurred.shape)


def run(stages: list[Stage], x: Tensor, clean: np.ndarray, steps: int) -> dict[str, float]:
    """PSNR at the end and at its peak, evaluations, residual; ``first`` is the PSNR where a first pass ended."""
    scores: list[float] = []

    def watch(step: Step) -> None:
        scores.append(psnr(pixels.from_tensor(step.x), clean))

    result = solve_in_stages(stages, x, max_steps=steps, callback=watch)
    last = psnr(pixels.from_tensor(result.x), clean)
    found = {"psnr": last, "peak": max(scores), "steps": result.steps, "residual": result.residuals[-1]}
    first = [scores[stage.steps - 1] for stage in result.guarantee.before]
    return found | ({"first": first[-1]} if first else {})


def total_variation(weight: float, y: np.ndarray, kernel: np.ndarray, clean: np.ndarray, steps: int) -> dict:
    """min 1/2 ||k * x - y||^2 + weight sum |D x| by ADMM on d = D x: spectra are divided, gradients shrunk."""
    rho = PENALTY * weight
    channels = [latent.Deconvolution(y[..., c].astype(np.float32), kernel) for c in range(3)]
    x, scores = y, []
    auxiliary, dual = np.zeros((2, *y.shape), np.float32), np.zeros((2, *y.shape), np.float32)
    for _ in range(steps):
        goal = auxiliary - dual
        following = np.stack([solve(rho, *goal[..., c]) for c, solve in enumerate(channels)], -1)
        change = float(np.linalg.norm(following - x) / np.linalg.norm(following))
        x = following
        scores.append(psnr(x.clip(0, 1), clean))
        ahead = np.stack(latent.gradient(x)) + dual
        length = np.sqrt(np.square(ahead).sum((0, 3), keepdims=True))
        auxiliary = ahead * np.maximum(1 - weight / rho / np.maximum(length, 1e-12), 0)
        dual = ahead - auxiliary
        if change <= TV_CHANGE:
            break
    return {"psnr": scores[-1], "peak": max(scores), "steps": len(scores), "residual": change}


def with_denoiser(name: str, steps: int, watched: int, half: bool = False) -> Callable[..., dict[str, float]]:
    """NAME, continuation as ``pnpkit deblur`` has it, or NAME:SPLITTING; what looks twice is run twice."""
    head, _, tail = name.rpartition(":")
    network = registry.load_denoiser(head if tail in SPLITTINGS else name)
    splitting = tail if tail in SPLITTINGS else CONTINUATION
    first, second = network.looks()
    proven = first.certificate.averaged
    at = rough_denoisers if half and not proven else plan.inside

    def method(y: np.ndarray, fidelity: LeastSquares, clean: np.ndarray, kernel: np.ndarray, noise: float) -> dict:
        tau, sigma = plan.by_rule(splitting, noise / 255, network, fidelity)

        def stage(denoisers: Networks, tol: float) -> Stage:
            def map_after(result: Result | None) -> Map:
                return SPLITTINGS[splitting](fidelity, at(denoisers(result)), tau, sigma, (0.0, 1.0))

            return Stage(map_after, tol, Anderson() if proven else Picard())

        stages = [stage(lambda _: first, 1e-4 if second is None else GUIDE)]
        if second is not None:
            stages.append(stage(guided_by(second, first, fidelity, noise / 255), 1e-4))
        return run(stages, pixels.to_tensor(y), clean, steps if proven else watched)

    return method


def by_channel(filter: Callable[[np.ndarray], np.ndarray], y: np.ndarray, clean: np.ndarray) -> dict[str, Any]:
    score = psnr(np.stack([filter(y[..., c]) for c in range(3)], -1).clip(0, 1), clean)
    return {"psnr": score, "peak": score, "steps": 0, "residual": None}


def filters(y: np.ndarray, clean: np.ndarray, kernel: np.ndarray, balance: float) -> dict[str, dict[str, Any]]:
    """What needs no iteration."""

    def supervised(channel: np.ndarray) -> np.ndarray:
        return np.asarray(wiener(channel, kernel, balance, clip=False))

    def unsupervised(channel: np.ndarray) -> np.ndarray:
        return np.asarray(unsupervised_wiener(channel, kernel, clip=False, rng=0)[0])

    return {
        "Wiener": by_channel(supervised, y, clean),
        "unsupervised Wiener": by_channel(unsupervised, y, clean),
    }


def best_weight(crops: list[np.ndarray], blurs: dict[str, np.ndarray], noise: float) -> float:
    """The weight of total variation with the best mean PSNR on other pictures."""
    means = []
    for weight in TV_WEIGHTS[noise]:
        found = []
        for clean in crops:
            for kernel in blurs.values():
                found.append(total_variation(weight, degrade(clean, kernel, noise), kernel, clean, TV_STEPS)["psnr"])
        means.append(np.mean(found))
    return TV_WEIGHTS[noise][int(np.argmax(means))]


def pictures(folder: Path, count: int, track: str) -> list[np.ndarray]:
    """The first pictures of a split on the 0..1 scale, whole or their centres."""
    found = [imageio.imread(path) / 255 for path in sorted(folder.glob("*.jpg"))[:count]]
    if track == "whole":
        return found
    corners = [(p.shape[0] // 2 - 64, p.shape[1] // 2 - 64) for p in found]
    return [p[row : row + 128, column : column + 128] for p, (row, column) in zip(found, corners, strict=True)]


def blurs_in(folder: Path) -> dict[str, np.ndarray]:
    """The ten kernels."""
    taps = np.exp(-(np.arange(-12, 13) ** 2) / (2 * 1.6**2))
    shakes = {f"levin09_{k}": kernels.load(folder / f"levin09_{k}.npy") for k in range(1, KERNELS - 1)}
    return shakes | {"box 9": kernels.box(9), "gaussian 1.6": kernels.normalise(np.outer(taps, taps))}


def in_turn(
    args: argparse.Namespace, cleans: list[np.ndarray], noise: float, weight: float | None
) -> Iterator[list[tuple[str, dict[str, Any]]]]:
    """The rows of one picture after the other, several at a time."""
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
    def __call__(self, clean: np.ndarray) -> list[tuple[str, dict[str, Any]]]:
        args, noise = self.args, self.noise
        torch.set_num_threads(self.threads)
        methods = {name: with_denoiser(name, args.steps, args.watched, args.bfloat16) for name in args.names}
        rows: list[tuple[str, dict[str, Any]]] = []
        for label, kernel in blurs_in(args.kernels).items():
            y = degrade(clean, kernel, noise)
            fidelity = LeastSquares(blur(kernel, "circular", clean.shape[:2]), pixels.to_tensor(y))
            found = {"degraded": by_channel(np.asarray, y, clean)}
            if self.weight is not None:
                found |= filters(y, clean, kernel, WIENER_BALANCE[noise])
                started = time.perf_counter()
                found["total variation"] = total_variation(self.weight, y, kernel, clean, TV_STEPS)
                found["total variation"]["seconds"] = time.perf_counter() - started
            for name, method in methods.items():
                started = time.perf_counter()
                found[name] = method(y, fidelity, clean, kernel, noise)
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
        stored = json.loads((RESULTS / f"deblurring-{args.track}.json").read_text())["runs"]["degraded"]
        if missing := [n for n in args.noises if len(stored.get(str(n), ())) != len(cleans) * KERNELS]:
            parser.error(f"nothing is stored for {len(cleans)} pictures at noise {missing}: run it without --add first")
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


def table(rows: dict[str, dict[str, list]], noises: list[str], few: tuple[str, ...] = ()) -> list[str]:
    """A line for each method; only the runs with the ``few`` kernels, if there are any."""
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
    """Put the new rows of this noise level beside those that are stored."""
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
    """Of the weights of NAME or NAME:SPLITTING, where it has some."""
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
    """The record, and its table for people; blank where a method was not run at a noise level."""
    rows = record["runs"]
    done = [noise for noise in map(str, TV_WEIGHTS) if noise in rows["degraded"]]
    lines = [
        f"Track {args.track}: PSNR (dB) at the end / at its peak, mean over {args.pictures} pictures and ten kernels; "
        "evaluations of the map, largest relative residual at the end (total variation: sweeps of ADMM, last change).",
        "",
        *table(rows, done),
        "",
        f"The same, with four of the kernels: {', '.join(FEW)}.",
        "",
        *table(rows, done, FEW),
    ]
    write_results(f"deblurring-{args.track}", record, lines)
    print("\n".join(lines))


if __name__ == "__main__":
    main()
