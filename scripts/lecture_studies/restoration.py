"""Rows 10 to 15 of the lecture: proximal methods, denoisers and their repetition, Plug-and-Play with its proof."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import scipy.optimize
import torch
from matplotlib.figure import Figure
from torch import Tensor

import pnpkit
from lecture_studies.palette import GREY, look
from lecture_studies.sheet import Sheet, Verdict, number
from pnpkit import kernels, proximal
from pnpkit.images import files
from pnpkit.images.metrics import psnr
from pnpkit.images.pixels import from_tensor, to_tensor
from pnpkit.operators.blur import blur
from pnpkit.restoration import plan, simulate
from pnpkit.solvers.iterations import Halpern, Picard
from pnpkit.solvers.result import Result, Step

ROOT = Path(__file__).parent.parent.parent
PICTURES = ROOT / "data" / "images"
DENOISERS = ("euler", "wavelet", "dncnn")
REPEATED = ("euler", "ridge", "dncnn")


def proximal_study(fast: bool, seed: int) -> Sheet:
    """Row 10: each algorithm against an independent solution."""
    random = np.random.default_rng(seed)
    rows, columns = (40, 60) if fast else (80, 200)
    matrix = random.standard_normal((rows, columns)) / np.sqrt(rows)
    truth = np.where(random.random(columns) < 0.05, 3 * random.standard_normal(columns), 0)
    y = matrix @ truth + 0.02 * random.standard_normal(rows)
    tall, weight = matrix.T, 0.05
    z = tall @ random.standard_normal(rows) + 0.1
    tight: dict[str, Any] = {"tol": 1e-12, "max_steps": 100_000}

    runs = {"ISTA": pnpkit.ista(matrix, y, weight, **tight), "FISTA": pnpkit.fista(matrix, y, weight, **tight)}
    kkt = {name: optimality(matrix, y, run.x, weight) for name, run in runs.items()}
    box = pnpkit.projected_gradient(tall, z, (-0.3, 0.4), **tight).x
    positive = pnpkit.projected_gradient(tall, z, proximal.nonnegative(), **tight).x
    ridge = pnpkit.proximal_gradient(tall, z, lambda tau: proximal.tikhonov(3 * tau), **tight).x
    differences = {
        "projected gradient, box": box - scipy.optimize.lsq_linear(tall, z, (-0.3, 0.4), tol=1e-14).x,
        "projected gradient, x >= 0": positive - scipy.optimize.nnls(tall, z)[0],
        "ridge": ridge - np.linalg.solve(tall.T @ tall + 3 * np.eye(rows), tall.T @ z),
    }
    gaps = {name: float(np.abs(d).max()) for name, d in differences.items()}
    verdicts = [Verdict(f"{name}: largest difference", "-", number(gap), gap <= 1e-6) for name, gap in gaps.items()]
    verdicts += [Verdict(f"{name}: optimality conditions", "-", number(gap), gap <= 1e-6) for name, gap in kkt.items()]
    table = [
        {
            "algorithm": name,
            "steps": run.steps,
            "objective": f"{run.objective[0]:.10f}",
            "guarantee": str(run.guarantee),
        }
        for name, run in runs.items()
    ]
    curves = {"ISTA": objectives(matrix, y, weight, pnpkit.ista), "FISTA": objectives(matrix, y, weight, pnpkit.fista)}
    return Sheet(
        title="Proximal gradient, projected gradient, ridge, ISTA",
        rows=(10,),
        setting=f"{rows} x {columns} Gaussian matrix, 5 % of the entries of x are not zero, noise 0.02, weight "
        f"{weight}; float64. Independent solutions: scipy's lsq_linear and nnls, the normal equations, and for the l1 "
        "norm its optimality conditions.",
        seeds=1,
        verdicts=verdicts,
        table=table,
        tables={
            "objective": [{"step": k + 1, **{n: c[k] for n, c in curves.items()}} for k in range(len(curves["ISTA"]))]
        },
        figures={"figure": draw_sparse(truth, runs["ISTA"].x, curves)},
        remarks=["Steps are counted until the relative fixed-point residual is 1e-12."],
    )


def optimality(matrix: np.ndarray, y: np.ndarray, x: np.ndarray, weight: float) -> float:
    """How far x is from a minimiser: A^T (y - A x) is weight sign(x) where x is not 0, at most weight in size where it
    is."""
    dual = matrix.T @ (y - matrix @ x)
    off = np.where(x != 0, np.abs(dual - weight * np.sign(x)), np.clip(np.abs(dual) - weight, 0, None))
    return float(off.max())


def objectives(matrix: np.ndarray, y: np.ndarray, weight: float, algorithm: object, steps: int = 200) -> list[float]:
    found: list[float] = []

    def watch(step: Step) -> None:
        x = step.x[0].numpy()
        found.append(float(0.5 * np.sum((matrix @ x - y) ** 2) + weight * np.abs(x).sum()))

    assert callable(algorithm)
    algorithm(matrix, y, weight, tol=0, max_steps=steps, callback=watch)
    return found


def draw_sparse(truth: np.ndarray, found: np.ndarray, curves: dict[str, list[float]]) -> Figure:
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3))
    left.stem(truth, linefmt=GREY, markerfmt="o", basefmt=" ", label="true")
    left.plot(np.flatnonzero(found), found[found != 0], "x", color=look("ISTA")["color"], label="ISTA")
    left.set(xlabel="entry", ylabel="value", title="Sparse recovery")
    left.legend()
    least = min(min(curve) for curve in curves.values())
    for name, curve in curves.items():
        right.semilogy(np.arange(1, len(curve) + 1), np.array(curve) - least + 1e-16, label=name, **look(name))
    right.set(xlabel="step", ylabel="objective - smallest seen", title="ISTA and FISTA", ylim=(1e-10, None))
    right.legend()
    return figure


def cat(size: int) -> Tensor:
    """Return the cat's eyes, (1, 3, size, size)."""
    pixels = files.read(PICTURES / "cat.png").pixels
    return to_tensor(pixels[60 : 60 + size, 90 : 90 + size])


def denoising_study(fast: bool, seed: int) -> Sheet:
    """Row 11: the pictures, and the stored table of ``scripts/evaluate_denoisers.py``."""
    clean, level = cat(64 if fast else 160), 25 / 255
    noisy = clean + level * torch.randn(clean.shape, generator=torch.Generator().manual_seed(seed))
    panels = {"clean": clean, "noisy": noisy}
    for name in DENOISERS:
        with torch.no_grad():
            panels[name] = pnpkit.load_denoiser(name)(noisy, level)
    stored = json.loads((ROOT / "docs" / "results" / "denoising.json").read_text())
    table = [
        {"denoiser": name, **{f"sigma {s}": f"{v['psnr']:.2f} / {v['ssim']:.3f}" for s, v in scores.items()}}
        for name, scores in stored["results"].items()
        if "pictures" not in scores  # scored on all of them: what was scored on a few cannot stand beside it
    ]
    return Sheet(
        title="Denoisers: the Euler network, wavelet shrinkage, DnCNN",
        rows=(11,),
        setting=f"Picture: sigma 25/255. Table: PSNR (dB) / SSIM on BSDS500 val, {stored['protocol']}, by "
        f"`{stored['command']}`, {stored['date']}.",
        seeds=1,
        table=table,
        figures={"figure": strip({n: (x, score(x, clean) if n != "clean" else "") for n, x in panels.items()})},
        remarks=[
            "The tables of the paper were not available. All numbers here are ours, under one protocol.",
            "euler-lecture has the size of the lecture's network, but neither its activation (there a leaky ReLU, here "
            "thresholds that follow the noise level) nor its training (there sigma 0.15, here every sigma up to "
            "50/255).",
        ],
    )


def score(x: Tensor, clean: Tensor) -> str:
    return f"{psnr(from_tensor(x).clip(0, 1), from_tensor(clean)):.2f} dB"


def strip(panels: dict[str, tuple[Tensor, str]], rows: int = 1) -> Figure:
    """Draw pictures side by side, each with a title and a line below."""
    columns = -(-len(panels) // rows)
    figure, axes = plt.subplots(rows, columns, figsize=(2.1 * columns, 2.4 * rows), squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for axis, (name, (x, line)) in zip(axes.flat, panels.items(), strict=False):
        axis.imshow(from_tensor(x).clip(0, 1))
        axis.set_title(f"{name}\n{line}" if line else name, fontsize=8.5)
    return figure


def repetition_study(fast: bool, seed: int) -> Sheet:
    """Row 12: a denoiser applied again and again, from two starts."""
    clean, level = cat(32 if fast else 96), 15 / 255
    marks = (1, 5, 20) if fast else (1, 10, 100, 1000)
    start = torch.cat([clean, clean + level * torch.randn(clean.shape, generator=torch.Generator().manual_seed(seed))])
    panels: dict[str, tuple[Tensor, str]] = {}
    distances, verdicts, rows = {}, [], []
    for name in REPEATED:
        network, x, apart = pnpkit.load_denoiser(name), start, [float((start[0] - start[1]).norm())]
        for k in range(1, marks[-1] + 1):
            with torch.no_grad():
                following = network(x, level)
            if not bool(torch.isfinite(following).all()):
                break
            x = following
            apart.append(float((x[0] - x[1]).norm()))
            if k in marks:
                panels[f"{name}, {k}"] = (x[:1], score(x[:1], clean))
        rises = sum(b > a * (1 + 1e-6) for a, b in zip(apart, apart[1:], strict=False))
        distances[name] = apart
        proven = network.certificate.nonexpansive
        text = f"{rises} rises in {len(apart) - 1} applications, last / first {number(apart[-1] / apart[0])}"
        verdicts.append(Verdict(f"{name}: distance of two trajectories", "-", text, rises == 0 if proven else None))
        rows.append(
            {"denoiser": name, **{f"after {k}": panels[f"{name}, {k}"][1] for k in marks if f"{name}, {k}" in panels}}
        )
    length = max(map(len, distances.values()))
    table = [
        {"applications": k, **{n: d[k] if k < len(d) else float("nan") for n, d in distances.items()}}
        for k in range(length)
    ]
    return Sheet(
        title="A denoiser applied again and again",
        rows=(12,),
        setting=f"Crop of {clean.shape[-1]} x {clean.shape[-1]} pixels of data/images/cat.png, D(., 15/255) applied "
        f"{marks[-1]} times to the clean crop and to the crop with noise of that level; float32.",
        seeds=1,
        verdicts=verdicts,
        table=rows,
        tables={"distances": table},
        figures={"pictures": strip(panels, rows=len(REPEATED)), "distances": draw_distances(distances)},
        remarks=[
            "The table shows the PSNR of the clean start after the given number of applications. No denoiser is meant "
            "to be iterated without data, so all of them lose detail. Nonexpansive ones never move two starts apart.",
        ],
    )


def draw_distances(distances: dict[str, list[float]]) -> Figure:
    figure, axis = plt.subplots(figsize=(5.5, 3.2))
    for name, curve in distances.items():
        axis.loglog(np.arange(1, len(curve)), np.array(curve[1:]) / curve[0], label=name, **look(name))
    axis.axhline(1, color="black", linewidth=0.6)
    axis.set(xlabel="applications", ylabel="distance of the two trajectories / at the start")
    axis.legend()
    return figure


def deblurring_study(fast: bool, seed: int) -> Sheet:
    """Rows 13 to 15: the naive inverse, Plug-and-Play with its certificate, residuals under the proven bound."""
    clean, noise = cat(48 if fast else 160), 0.01
    kernel, size = kernels.motion(9, 30), (clean.shape[-2], clean.shape[-1])
    y = to_tensor(simulate.simulate(from_tensor(clean), kernel, noise, boundary="circular", seed=seed))
    operator = blur(kernel, "circular", size)
    panels = {"clean": (clean, ""), "blurred + noise": (y, score(y, clean))}
    inverse = operator.A_dagger(y)
    panels["naive inverse"] = (inverse.clamp(0, 1), score(inverse, clean))
    steps, runs, peaks = 30 if fast else 400, {}, {}
    for label in (*DENOISERS, "euler, Halpern"):
        name = label.split(",")[0]
        network, best = pnpkit.load_denoiser(name), Best(clean)
        runs[label] = pnpkit.plug_and_play(
            operator,
            y,
            network,
            strength=plan.strength_for(noise, 1.9, network),
            x0=y,
            iteration=Picard() if label == name else Halpern(),
            tol=0,
            max_steps=steps,
            callback=best,
        )
        peaks[label] = best
        if label == name:
            panels[name] = (runs[name].x, score(runs[name].x, clean))
    panels["dncnn, at its best"] = (peaks["dncnn"].x, f"step {peaks['dncnn'].step}: {score(peaks['dncnn'].x, clean)}")
    verdicts = []
    for name, run in runs.items():
        if run.bounds:
            under = all(r <= b for r, b in zip(run.residuals, run.bounds, strict=True))
            text = f"last residual {run.residuals[-1]:.1e}, bound {run.bounds[-1]:.1e}"
            verdicts.append(Verdict(f"{name}: residuals under the proven bound", "-", text, under))
    alpha = runs["euler"].certificate.averagedness
    summary = [
        {
            "method": name,
            "PSNR at the end": score(run.x, clean),
            "highest PSNR on the way": f"{score(peaks[name].x, clean)}, step {peaks[name].step}",
            "residual": f"{run.residuals[-1]:.1e}",
            "rises of the residual": sum(
                b > a * (1 + 1e-3) for a, b in zip(run.residuals, run.residuals[1:], strict=False)
            ),
            "status": run.status.value.split(":")[0],
        }
        for name, run in runs.items()
    ]
    table = [
        {
            "step": k + 1,
            **{n: r.residuals[k] for n, r in runs.items()},
            "bound, euler": runs["euler"].bounds[k],
            **{f"PSNR, {n}": peaks[n].curve[k] for n in runs},
        }
        for k in range(min(len(r.residuals) for r in runs.values()))
    ]
    return Sheet(
        title="Ill-posedness, and Plug-and-Play deblurring with its proof",
        rows=(13, 14, 15),
        setting=f"Crop of {size[0]} x {size[1]} pixels of data/images/cat.png, motion blur of 9 pixels at 30 degrees, "
        f"circular, noise {noise}; tau = 1.9 / L, {steps} plain steps, strengths by each denoiser's rule.",
        seeds=1,
        verdicts=verdicts,
        table=summary,
        tables={"residuals": table},
        figures={"pictures": strip(panels), "residuals": draw_residuals(runs, peaks)},
        remarks=[
            f"The composed averagedness of T with euler is {alpha:.6f}; {runs['euler'].guarantee}.",
            f"dncnn: {runs['dncnn'].guarantee}; {runs['dncnn'].status.value}.",
            f"dncnn is at {score(peaks['dncnn'].x, clean)} after {peaks['dncnn'].step} steps and at "
            f"{score(runs['dncnn'].x, clean)} after {steps}; euler ends at {score(runs['euler'].x, clean)}. A run of "
            "dncnn that is stopped in time loses little, but nothing in the run tells when to stop.",
        ],
    )


class Best:
    """A callback that records the PSNR of each iterate and the best iterate."""

    def __init__(self, clean: Tensor):
        self.clean, self.step, self.x = from_tensor(clean), 0, clean
        self.curve: list[float] = []

    def __call__(self, step: Step) -> None:
        here = psnr(from_tensor(step.x).clip(0, 1), self.clean)
        if not self.curve or here > max(self.curve):
            self.step, self.x = step.number, step.x.clone()
        self.curve.append(here)


def draw_residuals(runs: dict[str, Result], peaks: dict[str, Best]) -> Figure:
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.6))
    for name, run in runs.items():
        steps, color = np.arange(1, len(run.residuals) + 1), look(name)["color"]
        left.loglog(steps, run.residuals, label=name, **look(name))
        if run.bounds:
            left.loglog(steps, run.bounds, color=color, linewidth=0.7, linestyle=":", label=f"bound, {name}")
        right.semilogx(steps, peaks[name].curve, label=name, **look(name))
    left.set(xlabel="step", ylabel="||x - T x|| / ||x||")
    right.set(xlabel="step", ylabel="PSNR (dB)")
    left.legend(fontsize=7, ncols=2)
    return figure
