"""Speed: one 481 x 321 photograph to a residual of 1e-4, beside deepinv's PGD with DnCNN and its TV prior.

    python scripts/benchmark.py --data PATH/bsds500 --kernels PATH/kernels [--threads 2] [--limit 1000] [--repeat 5]

First picture of BSDS500 val (481 x 321), levin09_1, circular, noise 2.55/255, numpy.random.seed(0). All in one run on
the same threads: seconds and evaluations to ||x - T x|| <= 1e-4 ||x||, the median seconds of an evaluation, and its
ratio to the bare convolutions that the network needs. deepinv runs its own loop on the same operator with the same
DnCNN weights. Writes docs/results/speed.{json,md}.
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import deepinv
import imageio.v3 as imageio
import numpy as np
import scipy.ndimage
import torch
from deepinv.optim import PnP, TVPrior
from deepinv.optim.data_fidelity import L2
from torch import Tensor

from pnpkit import images, kernels, registry, restore
from pnpkit.fidelity import LeastSquares
from pnpkit.files import write_whole
from pnpkit.iterations import Anderson, Iteration, Picard
from pnpkit.metrics import psnr
from pnpkit.operators import blur
from pnpkit.solver import solve
from pnpkit.splittings import forward_backward, half_quadratic

RESULTS = Path(__file__).parent.parent / "docs" / "results"
NOISE, TOLERANCE = 2.55 / 255, 1e-4


def ours(name: str, splitting: str, iteration: Iteration, fidelity: LeastSquares, y: Tensor, limit: int) -> dict:
    """A run of pnpkit from y."""
    network, tau = registry.load_denoiser(name), fidelity.default_step()
    denoiser = network.at(restore.strength_for(NOISE, tau, network))
    if splitting == "half-quadratic":
        map = half_quadratic(fidelity, denoiser, tau, (0.0, 1.0))
    else:
        map = forward_backward(fidelity, denoiser, tau, (0.0, 1.0))
    times: list[float] = [time.perf_counter()]
    run = solve(
        map,
        y,
        iteration=iteration,
        tol=TOLERANCE,
        max_steps=limit,
        callback=lambda step: times.append(time.perf_counter()),
    )
    return {
        "x": run.x,
        "seconds": run.seconds,
        "steps": run.steps,
        "residual": run.residuals[-1],
        "step": float(np.median(np.diff(times))),
        "guarantee": run.guarantee,
    }


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
    residuals = metrics["residual"][0]
    return {
        "x": x,
        "seconds": seconds,
        "steps": len(residuals),
        "residual": float(residuals[-1]),
        "step": seconds / max(len(residuals), 1),
        "guarantee": "none is given",
    }


def bare_convolutions(size: tuple[int, int], count: int, repeat: int) -> float:
    """Median seconds of so many 64 -> 64 3 x 3 convolutions, float32, channels_last."""
    x = torch.rand(1, 64, *size).contiguous(memory_format=torch.channels_last)
    kernel = (0.05 * torch.randn(64, 64, 3, 3)).contiguous(memory_format=torch.channels_last)
    times = []
    with torch.no_grad():
        for _ in range(repeat + 1):
            started = time.perf_counter()
            for _ in range(count):
                torch.nn.functional.conv2d(x, kernel, padding=1)
            times.append(time.perf_counter() - started)
    return float(np.median(times[1:]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--kernels", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--limit", type=int, default=1000)
    parser.add_argument("--repeat", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    clean = imageio.imread(min((args.data / "val").glob("*.jpg"))) / 255
    kernel = kernels.load(args.kernels / "levin09_1.npy")
    blurred = np.stack([scipy.ndimage.convolve(clean[..., c], kernel, mode="wrap") for c in range(3)], -1)
    np.random.seed(0)
    y = images.to_tensor(blurred + NOISE * np.random.standard_normal(blurred.shape))
    operator = blur(kernel, "circular", clean.shape[:2])
    fidelity = LeastSquares(operator, y)
    bare = bare_convolutions(clean.shape[:2], 20, args.repeat)
    print(f"20 bare convolutions: {bare:.3f} s", flush=True)

    dncnn = registry.load_denoiser("dncnn")
    sigma = restore.strength_for(NOISE, 1.0, dncnn)
    methods: dict[str, Callable[[], dict]] = {
        "pnpkit, wavelet, half-quadratic, Anderson": lambda: ours(
            "wavelet", "half-quadratic", Anderson(), fidelity, y, args.limit
        ),
        "pnpkit, wavelet, Anderson": lambda: ours("wavelet", "forward-backward", Anderson(), fidelity, y, args.limit),
        "pnpkit, euler, half-quadratic, Anderson": lambda: ours(
            "euler", "half-quadratic", Anderson(), fidelity, y, args.limit
        ),
        "pnpkit, euler, Anderson": lambda: ours("euler", "forward-backward", Anderson(), fidelity, y, args.limit),
        "pnpkit, euler, Picard": lambda: ours("euler", "forward-backward", Picard(), fidelity, y, args.limit),
        "deepinv PGD, PnP with DnCNN": lambda: theirs(PnP(denoiser=dncnn), sigma, 1.0, operator, y, args.limit),
        "deepinv PGD, TV prior": lambda: theirs(TVPrior(n_it_max=50), 1.0, 2e-3, operator, y, args.limit),
    }
    rows = {}
    for name, method in methods.items():
        found = method()
        rows[name] = {k: v for k, v in found.items() if k != "x"}
        rows[name]["psnr"] = psnr(images.from_tensor(found["x"]).clip(0, 1), clean)
        print(name, rows[name], flush=True)
    store(args, rows, bare)


def store(args: argparse.Namespace, rows: dict[str, dict[str, Any]], bare: float) -> None:
    reference = rows["deepinv PGD, PnP with DnCNN"]["seconds"]
    lines = [
        f"{args.threads} threads of {processor()}; 20 bare 64 -> 64 convolutions (float32): {bare:.3f} s.",
        "",
        "| method | seconds | share of deepinv with DnCNN | evaluations | residual | s per evaluation | PSNR (dB) |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, row in rows.items():
        lines.append(
            f"| {name} | {row['seconds']:.1f} | 1/{reference / row['seconds']:.1f} | {row['steps']} | "
            f"{row['residual']:.1e} | {row['step']:.3f} | {row['psnr']:.2f} |"
        )
    record = {
        "command": "python scripts/benchmark.py --data PATH/bsds500 --kernels PATH/kernels "
        f"--threads {args.threads} --limit {args.limit} --repeat {args.repeat}",
        "seed": 0,
        "date": datetime.date.today().isoformat(),
        "machine": f"{processor()}, {args.threads} threads, torch {torch.__version__}, deepinv {deepinv.__version__}",
        "bare_convolutions": bare,
        "runs": rows,
    }
    write_whole(RESULTS / "speed.json", (json.dumps(record, indent=1) + "\n").encode())
    write_whole(RESULTS / "speed.md", ("\n".join(lines) + "\n").encode())
    print("\n".join(lines))


def processor() -> str:
    """The CPU's name where the system tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
