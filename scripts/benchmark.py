"""Compare the speed with deepinv and scikit-image: one photograph of 481 x 321, to a residual of 1e-4.

    python scripts/benchmark.py --data PATH/bsds500 --kernels PATH/kernels [--threads 2] [--limit 1000] [--repeat 5]

The picture is the first one of BSDS500 val (481 x 321), with levin09_1, circular, noise 2.55/255, numpy.random.seed(0).
All methods run in one process on the same threads. The script measures seconds and evaluations to
||x - T x|| <= tol ||x|| for tol = 1e-3, 1e-4, 1e-5, as far as the method reached it, and the median seconds of an
evaluation. pnpkit uses continuation, as its command does, unless a name says otherwise; T then calls the denoiser
twice. One evaluation of each denoiser, and of the bare convolutions in it, is the median of --repeat, with the methods
in turn; a whole restoration is the median of --runs. deepinv runs its own loop on the same operator with the same DnCNN
weights. scikit-image's TV denoiser is used after gradient steps on the same operator, and its unsupervised Wiener
filter works channel by channel. --only selects methods by a part of their names, --size crops the picture. Writes
speed.{json,md} into docs/results (or --out).
"""

from __future__ import annotations

import argparse
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
from benchmark_page import REFERENCE, Clock, evaluations, median_of, reached, store
from deepinv.optim import PnP, TVPrior
from deepinv.optim.data_fidelity import L2
from process import put_back
from results import RESULTS
from torch import Tensor

from pnpkit import kernels, registry
from pnpkit.fidelities.least_squares import LeastSquares
from pnpkit.images import pixels
from pnpkit.images.metrics import psnr
from pnpkit.operators.blur import blur
from pnpkit.restoration import baselines, plan
from pnpkit.solvers.iterations import Anderson, Iteration, Picard
from pnpkit.solvers.loop import solve
from pnpkit.solvers.splittings import CONTINUATION, FORWARD_BACKWARD, HALF_QUADRATIC
from pnpkit.solvers.stages import solve_in_stages

NOISE, TOLERANCE = 2.55 / 255, 1e-4


def ours(
    name: str,
    splitting: str,
    iteration: Iteration,
    fidelity: LeastSquares,
    y: Tensor,
    limit: int,
    precision: str = "float32",
) -> dict[str, Any]:
    """Run pnpkit on y."""
    network, clock = registry.load_denoiser(name, device=str(y.device)), Clock()
    stages = baselines.stages_by_rule(
        network,
        splitting,
        fidelity,
        NOISE,
        iteration=iteration,
        tol=TOLERANCE,
        rough_first=precision == "bfloat16",
    )
    return clock.row(solve_in_stages(stages, y, max_steps=limit, callback=clock))


def total_variation(fidelity: LeastSquares, y: Tensor, weight: float, limit: int) -> dict[str, Any]:
    """Run scikit-image's denoise_tv_chambolle after gradient steps."""
    clock, map = Clock(), baselines.chambolle_steps(fidelity, weight)
    return clock.row(solve(map, y, tol=TOLERANCE, max_steps=limit, callback=clock))


def wiener(kernel: np.ndarray, y: Tensor) -> dict[str, Any]:
    """Run scikit-image's unsupervised Wiener filter, which has no fixed point and no residual."""
    started = time.perf_counter()
    x = baselines.unsupervised_wiener_filter(y[0].permute(1, 2, 0).cpu().numpy(), kernel)
    seconds = time.perf_counter() - started
    return {"x": torch.from_numpy(x).permute(2, 0, 1)[None].to(y), "seconds": seconds, "guarantee": "none is given"}


def theirs(prior: deepinv.optim.Prior, strength: float, weight: float, operator: Any, y: Tensor, limit: int) -> dict:
    """Run deepinv's PGD with step 1 and its own stopping rule on the same residual."""
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
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    clean = imageio.imread(min((args.data / "val").glob("*.jpg")))[: args.size or None, : args.size or None] / 255
    kernel = kernels.load(args.kernels / "levin09_1.npy")
    blurred = np.stack([scipy.ndimage.convolve(clean[..., c], kernel, mode="wrap") for c in range(3)], -1)
    np.random.seed(0)
    y = pixels.to_tensor(blurred + NOISE * np.random.standard_normal(blurred.shape)).to(args.device)
    single = evaluations(("euler", "euler-fast", "dncnn"), y, args.repeat)
    print(single, flush=True)
    rows = {}
    for name, method in methods(kernel, y, args.limit).items():
        if args.only and not any(part in name for part in args.only):
            continue
        found = median_of(method, args.runs)
        rows[name] = {k: v for k, v in found.items() if k != "x"}
        rows[name]["psnr"] = psnr(pixels.from_tensor(found["x"].cpu()).clip(0, 1), clean)
        print(name, rows[name], flush=True)
    store(args, rows, single)


def methods(kernel: np.ndarray, y: Tensor, limit: int) -> dict[str, Callable[[], dict[str, Any]]]:
    """Return all methods that are compared, by their names in the table."""
    operator = blur(kernel, "circular", (y.shape[-2], y.shape[-1]), device=y.device)
    fidelity = LeastSquares(operator, y)
    dncnn = registry.load_denoiser("dncnn", device=str(y.device))
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


if __name__ == "__main__":
    main()
