"""Speed: one 481 x 321 photograph to a residual of 1e-4, beside deepinv and scikit-image.

    python scripts/benchmark.py --data PATH/bsds500 --kernels PATH/kernels [--threads 2] [--limit 1000] [--repeat 5]

First picture of BSDS500 val (481 x 321), levin09_1, circular, noise 2.55/255, numpy.random.seed(0). All in one run on
the same threads: seconds and evaluations to ||x - T x|| <= tol ||x||, tol = 1e-3, 1e-4, 1e-5 as far as it went, and the
median seconds of an evaluation. pnpkit splits by continuation, as its command does, unless a name says otherwise: T
then calls the denoiser twice. What is cheap, one evaluation of each denoiser beside the bare convolutions in it, is the
median of --repeat, turn by turn; a whole restoration is the median of --runs. deepinv runs its own loop on the same
operator with the same DnCNN weights; scikit-image's TV denoiser stands behind gradient steps on it, and its
unsupervised Wiener filter works channel by channel. --only picks methods by a part of their names, --size crops.
Writes speed.{json,md} into docs/results (or --out).
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import deepinv
import imageio.v3 as imageio
import numpy as np
import scipy.ndimage
import torch
from deepinv.optim import PnP, TVPrior
from deepinv.optim.data_fidelity import L2
from process import put_back
from results import RESULTS, today, write_results
from skimage.restoration import denoise_tv_chambolle, unsupervised_wiener
from torch import Tensor

from pnpkit import certificates, kernels, registry
from pnpkit.fidelity import LeastSquares
from pnpkit.images import pixels
from pnpkit.images.metrics import psnr
from pnpkit.machine import probes
from pnpkit.maps import Map
from pnpkit.networks.base import Network
from pnpkit.networks.half_precision import rough_denoisers
from pnpkit.operators.blur import blur
from pnpkit.restoration import plan
from pnpkit.restoration.pipeline import CHEAP, PATIENCE, ROUGH
from pnpkit.solvers.iterations import Anderson, Iteration, Picard
from pnpkit.solvers.loop import solve
from pnpkit.solvers.result import Result, Step
from pnpkit.solvers.splittings import CONTINUATION, FORWARD_BACKWARD, HALF_QUADRATIC, SPLITTINGS, forward_backward
from pnpkit.solvers.stages import Stage, solve_in_stages

NOISE, TOLERANCE = 2.55 / 255, 1e-4
LEVELS = (1e-3, 1e-4, 1e-5)
REFERENCE = "deepinv PGD, PnP with DnCNN"


class Clock:
    """Notes when each evaluation of a map was over."""

    def __init__(self) -> None:
        self.times = [time.perf_counter()]

    def __call__(self, step: Step) -> None:
        self.times.append(time.perf_counter())

    def row(self, run: Result) -> dict[str, Any]:
        """The run with what it took."""
        seconds = np.subtract(self.times[1:], self.times[0])
        return {
            "x": run.x,
            "seconds": run.seconds,
            "steps": run.steps,
            "residual": run.residuals[-1],
            "step": float(np.median(np.diff(self.times))),
            "reached": reached(run.residuals, seconds.tolist()),
            "guarantee": str(run.guarantee),
        }


def reached(residuals: tuple[float, ...], seconds: list[float]) -> dict[str, tuple[int, float]]:
    """Evaluations and seconds to each level that was reached."""
    found = {}
    for level in LEVELS:
        below = [index for index, residual in enumerate(residuals) if residual <= level]
        if below:
            found[f"{level:.0e}"] = (below[0] + 1, seconds[below[0]])
    return found


def ours(
    name: str,
    splitting: str,
    iteration: Iteration,
    fidelity: LeastSquares,
    y: Tensor,
    limit: int,
    precision: str = "float32",
    tol: float = TOLERANCE,
) -> dict[str, Any]:
    """A run of pnpkit from y."""
    network, split = registry.load_denoiser(name), SPLITTINGS[splitting]
    (tau, sigma), clock = plan.by_rule(splitting, NOISE, network, fidelity), Clock()
    box = (0.0, 1.0)
    exact = split(fidelity, plan.inside(network), tau, sigma, box)
    stages = [Stage(lambda _: exact, tol, iteration)]
    if precision == "bfloat16":
        rough = split(fidelity, rough_denoisers(network), tau, sigma, box)
        first = Stage(lambda _: rough, max(tol, ROUGH), iteration, CHEAP, PATIENCE, ", in float32")
        stages.insert(0, first)
    return clock.row(solve_in_stages(stages, y, max_steps=limit, callback=clock))


def total_variation(fidelity: LeastSquares, y: Tensor, weight: float, limit: int) -> dict[str, Any]:
    """scikit-image's denoise_tv_chambolle after gradient steps of length 1 (an inexact proximal gradient method)."""

    def denoise(x: Tensor) -> Tensor:
        return pixels.to_tensor(denoise_tv_chambolle(pixels.from_tensor(x), weight=weight, channel_axis=-1)).to(x)

    clock = Clock()
    backward = Map(denoise, certificates.nothing("denoise_tv_chambolle", "stops by its own rule"))
    map = forward_backward(fidelity, backward, 1.0)
    return clock.row(solve(map, y, tol=TOLERANCE, max_steps=limit, callback=clock))


def wiener(kernel: np.ndarray, y: Tensor) -> dict[str, Any]:
    """scikit-image's unsupervised Wiener filter, channel by channel: no fixed point, no residual."""
    started = time.perf_counter()
    planes = [unsupervised_wiener(plane, kernel, clip=False, rng=0)[0] for plane in y[0].numpy()]
    seconds = time.perf_counter() - started
    return {"x": torch.from_numpy(np.stack(planes))[None].to(y), "seconds": seconds, "guarantee": "none is given"}


def theirs(prior: deepinv.optim.Prior, strength: float, weight: float, operator: Any, y: Tensor, limit: int) -> dict:
    """deepinv's PGD, step 1, with its own stopping rule on the same residual."""
    model = deepinv.optim.optim_builder(
        iteration="PGD",
        prior=prior,
        data_fidelity=L2(),
        early_stop=True,
        crit_conv="residual",
        thres_conv=TOLERANCE,
        max_iter=limit,
        params_algo={"stepsize": 1.0, "g_param": strength, "lambda": weight},
    )
    started = time.perf_counter()
    with torch.no_grad():
        x, metrics = model(y, operator, compute_metrics=True)
    seconds = time.perf_counter() - started
    residuals = tuple(float(residual) for residual in metrics["residual"][0])
    step = seconds / max(len(residuals), 1)  # its loop tells no times
    return {
        "x": x,
        "seconds": seconds,
        "steps": len(residuals),
        "residual": residuals[-1],
        "step": step,
        "reached": reached(residuals, [step * k for k in range(1, len(residuals) + 1)]),
        "guarantee": "none is given",
    }


def evaluations(names: tuple[str, ...], x: Tensor, repeat: int) -> dict[str, dict[str, float]]:
    """Median seconds of D(x, sigma) and of the bare convolutions in it, float32 ``channels_last``, turn by turn."""
    found = {}
    for name in names:
        network = registry.load_denoiser(name)
        bare = convolutions(network, x)
        times: dict[str, list[float]] = {"seconds": [], "bare": []}
        with torch.no_grad():
            for _ in range(repeat):
                times["seconds"].append(probes.seconds_of(lambda network=network: network(x, 0.05), 1))  # type: ignore[misc]
                times["bare"].append(probes.seconds_of(bare, 1))
        found[name] = {key: float(np.median(values)) for key, values in times.items()}
        found[name]["ratio"] = found[name]["seconds"] / found[name]["bare"]
    return found


def convolutions(network: Network, x: Tensor) -> Callable[[], Tensor]:
    """The convolutions of D(x, sigma) and nothing else, on random numbers."""
    with torch.no_grad(), probes.Convolutions() as seen:
        network(x, 0.05)
    layers = [
        (torch.rand(shape).contiguous(memory_format=torch.channels_last), torch.rand(kernel), padding)
        for shape, kernel, padding in dict.fromkeys(seen.found)
    ]
    counts = [seen.found.count(key) for key in dict.fromkeys(seen.found)]

    def work() -> Tensor:
        for (a, w, padding), count in zip(layers, counts, strict=True):
            for _ in range(count):
                out = torch.nn.functional.conv2d(a, w.contiguous(memory_format=torch.channels_last), padding=padding)
        return out

    return work


def median_of(method: Callable[[], dict[str, Any]], runs: int) -> dict[str, Any]:
    """The run of the median seconds."""
    found = sorted((method() for _ in range(runs)), key=lambda row: row["seconds"])
    return {**found[len(found) // 2], "runs": runs}


@put_back()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--kernels", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--limit", type=int, default=1000)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--only", action="append", default=[])
    parser.add_argument("--size", type=int, default=0, help="crop to so many pixels a side; 0 is the whole picture")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    clean = imageio.imread(min((args.data / "val").glob("*.jpg")))[: args.size or None, : args.size or None] / 255
    kernel = kernels.load(args.kernels / "levin09_1.npy")
    blurred = np.stack([scipy.ndimage.convolve(clean[..., c], kernel, mode="wrap") for c in range(3)], -1)
    np.random.seed(0)
    y = pixels.to_tensor(blurred + NOISE * np.random.standard_normal(blurred.shape))
    single = evaluations(("euler", "euler-fast", "dncnn"), y, args.repeat)
    print(single, flush=True)
    rows = {}
    for name, method in methods(kernel, y, args.limit).items():
        if args.only and not any(part in name for part in args.only):
            continue
        found = median_of(method, args.runs)
        rows[name] = {k: v for k, v in found.items() if k != "x"}
        rows[name]["psnr"] = psnr(pixels.from_tensor(found["x"]).clip(0, 1), clean)
        print(name, rows[name], flush=True)
    store(args, rows, single)


def methods(kernel: np.ndarray, y: Tensor, limit: int) -> dict[str, Callable[[], dict[str, Any]]]:
    """Everything that is compared, by its name in the table."""
    operator = blur(kernel, "circular", (y.shape[-2], y.shape[-1]))
    fidelity = LeastSquares(operator, y)
    dncnn = registry.load_denoiser("dncnn")
    sigma = plan.strength_for(NOISE, 1.0, dncnn)
    both, half = CONTINUATION, HALF_QUADRATIC
    splittings = {"": both, "half-quadratic, ": half, "forward-backward, ": FORWARD_BACKWARD}
    accelerated = {
        f"pnpkit, {name}, {label}Anderson": partial(ours, name, splitting, Anderson(), fidelity, y, limit)
        for name in ("wavelet", "euler-fast", "euler")
        for label, splitting in splittings.items()
    }
    return accelerated | {
        "pnpkit, euler, Anderson, bfloat16 first": lambda: ours(
            "euler", both, Anderson(), fidelity, y, limit, "bfloat16"
        ),
        "pnpkit, euler, Picard": lambda: ours("euler", both, Picard(), fidelity, y, limit),
        REFERENCE: lambda: theirs(PnP(denoiser=dncnn), sigma, 1.0, operator, y, limit),
        "deepinv PGD, TV prior": lambda: theirs(TVPrior(n_it_max=50), 1.0, 2e-3, operator, y, limit),
        "scikit-image, denoise_tv_chambolle": lambda: total_variation(fidelity, y, 2e-3, limit),
        "scikit-image, unsupervised_wiener": lambda: wiener(kernel, y),
    }


def store(args: argparse.Namespace, rows: dict[str, dict[str, Any]], single: dict[str, dict[str, float]]) -> None:
    lines = [
        f"{args.threads} threads of {processor()}. Medians of {args.repeat}, turn by turn, float32:",
        "",
        "| denoiser | s per evaluation | its bare convolutions (s) | ratio |",
        "| --- | --- | --- | --- |",
        *(f"| {name} | {r['seconds']:.3f} | {r['bare']:.3f} | {r['ratio']:.2f} |" for name, r in single.items()),
        "",
        f"Whole restorations, median of {args.runs}:",
        "",
        "| method | seconds | share of deepinv with DnCNN | evaluations | residual | s per evaluation | to 1e-3 | "
        "PSNR (dB) |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, row in rows.items():
        share = f"1/{rows[REFERENCE]['seconds'] / row['seconds']:.1f}" if REFERENCE in rows else "-"
        run = "- | - | -"
        if "steps" in row:
            run = f"{row['steps']} | {row['residual']:.1e} | {row['step']:.3f}"
        first = "{} steps, {:.1f} s".format(*row["reached"]["1e-03"]) if "1e-03" in row.get("reached", {}) else "-"
        lines.append(f"| {name} | {row['seconds']:.1f} | {share} | {run} | {first} | {row['psnr']:.2f} |")
    options = f" --size {args.size}" if args.size else ""
    options += "".join(f" --only '{part}'" for part in args.only)
    record = {
        "command": "python scripts/benchmark.py --data PATH/bsds500 --kernels PATH/kernels "
        f"--threads {args.threads} --limit {args.limit} --repeat {args.repeat} --runs {args.runs}{options}",
        "seed": 0,
        "date": today(),
        "machine": f"{processor()}, {args.threads} threads, torch {torch.__version__}, deepinv {deepinv.__version__}",
        "evaluations": single,
        "runs": rows,
    }
    write_results("speed", record, lines, args.out)
    print("\n".join(lines))


def processor() -> str:
    """The CPU's name where the system tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
