"""Row 9 of the lecture: gradients through depth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.figure import Figure

from lecture_studies.sheet import Sheet, Verdict, number
from pnpkit.gradients.networks import KINDS, DeepConfig
from pnpkit.gradients.study import DATA, Trained, TrainingConfig, constant_field, random_weights, train


def depth_study(layers: int) -> Callable[[bool, int], Sheet]:
    """Gradients of the four networks at one depth. The step is the lecture's h = 0.1 at every depth."""

    def study(fast: bool, seed: int) -> Sheet:
        config = TrainingConfig(seed=seed, steps=600 if layers < 100 else 200)
        depth = min(layers, 6) if fast else layers
        if fast:
            config = replace(config, steps=20, points=100, looks=2, probes=4, batch=50)
        runs = [train(DeepConfig(kind, depth, step=0.1), config) for kind in KINDS]
        rows = [row(r, config.data) for r in runs]
        if layers == 64 and not fast:
            for data in [d for d in DATA if d != config.data]:
                for kind in ("MLP", "H2"):
                    one = train(DeepConfig(kind, depth, step=0.1), replace(config, data=data, steps=300))
                    rows.append(row(one, data))
        by = {r.config.kind: r for r in runs}
        verdicts = [
            Verdict(
                "H2: smallest ||dx_N/dx_j|| over training, points, layers",
                ">= 1",
                f"{by['H2'].lowest:.9f}",
                by["H2"].lowest >= 1 - 1e-9,
            ),
            Verdict("ResNet: the same", ">= 1 (re-run)", number(by["ResNet"].lowest, 3)),
            Verdict(
                "MLP: ||dx_N/dx_0|| at the start", "near 1e-7 (12 layers)", number(float(by["MLP"].spectra[0, 0, 0]))
            ),
            Verdict(
                "accuracy of H2 against MLP",
                "MLP at chance",
                f"{100 * by['H2'].accuracy:.1f} % against {100 * by['MLP'].accuracy:.1f} %",
                by["H2"].accuracy > by["MLP"].accuracy,
            ),
        ]
        return Sheet(
            title=f"Gradients through {layers} layers",
            rows=(9,),
            setting=f"{config.data}, {config.points} training points, {depth} layers of 4 features, h = 0.1 (T = "
            f"{0.1 * depth:.1f}), tanh, Adam in one cycle to {config.rate} for {config.steps} steps of {config.batch}, "
            f"one seed; Jacobians in float64 at {config.probes} points at {config.looks} moments.",
            seeds=1,
            verdicts=verdicts,
            table=rows,
            tables={"gradients": [record for r in runs for record in records(r)]},
            figures={"figure": draw(runs)},
            remarks=["That ||dx_N/dx_j|| >= 1 rules out vanishing gradients. It says nothing against exploding ones."],
        )

    return study


def row(r: Trained, data: str) -> dict[str, str]:
    return {
        "network": r.config.kind,
        "data": data,
        "test accuracy": f"{100 * r.accuracy:.1f} %",
        "||dx_N/dx_0|| at the start": number(float(r.spectra[0, 0, 0])),
        "at the end": number(float(r.spectra[-1, 0, 0])),
        "smallest ||dx_N/dx_j||": number(r.lowest),
        "largest": number(r.highest),
        "smallest ||dL/dtheta_j||, start": number(float(r.weights[0].min())),
    }


def records(r: Trained) -> list[dict[str, str | float]]:
    return [
        {
            "kind": r.config.kind,
            "step": step,
            "layer": layer,
            "largest_singular_value": float(r.spectra[k, layer, 0]),
            "smallest_singular_value": float(r.spectra[k, layer, 1]),
            "parameter_gradient": float(r.weights[k, layer]),
        }
        for k, step in enumerate(r.at)
        for layer in range(r.config.layers)
    ]


def draw(runs: list[Trained]) -> Figure:
    """Above: the spectrum of dx_N/dx_j by layer, start to end of training. Below: the parameter gradients."""
    figure, axes = plt.subplots(2, len(runs), figsize=(14, 6), sharey="row", sharex=True)
    for column, r in enumerate(runs):
        layers = np.arange(r.config.layers)
        for k, step in enumerate(r.at):
            shade = str(0.75 - 0.75 * k / max(len(r.at) - 1, 1))
            label = f"step {step}" if k in (0, len(r.at) - 1) else None
            axes[0, column].plot(layers, r.spectra[k, :, 0].clamp_min(1e-30), "-", color=shade, label=label)
            axes[0, column].plot(layers, r.spectra[k, :, 1].clamp_min(1e-30), ":", color=shade)
            axes[1, column].plot(layers, r.weights[k].clamp_min(1e-30), "-", color=shade)
        axes[0, column].axhline(1, color="C1", linewidth=0.8)
        axes[0, column].set(yscale="log", title=f"{r.config.kind}, accuracy {100 * r.accuracy:.1f} %")
        axes[1, column].set(yscale="log", xlabel="layer j")
    axes[0, 0].set_ylabel("singular values of dx_N/dx_j\n(solid largest, dotted smallest)")
    axes[1, 0].set_ylabel("||dL/dtheta_j||")
    axes[0, 0].legend()
    return figure


def explosion_study(fast: bool, seed: int) -> Sheet:
    depths = [4, 8] if fast else [4, 8, 16, 32, 64, 128, 256]
    far = [10, 20] if fast else [10, 20, 50, 100, 200, 500, 1000, 2000, 5000]
    constant = constant_field(far, 0.1)
    rough = (0.0, 1.0) if fast else (0.0, 0.1, 0.3, 1.0)
    norms = {s: random_weights(depths, 0.5, s, seed=seed) for s in rough}
    layers = 6 if fast else 64
    config = TrainingConfig(seed=seed, steps=15 if fast else 300, looks=3, points=100 if fast else 2000)
    weights = (0.0, 1e-2) if fast else (0.0, 1e-4, 1e-2)
    trained = {w: train(DeepConfig("H2", layers, step=0.5), replace(config, penalty=w)) for w in weights}
    figure, axes = plt.subplots(1, 3, figsize=(13, 3.8))
    axes[0].loglog(far, constant, "o-", label="semi-implicit Euler, h = 0.1")
    axes[0].loglog(far, constant[-1] * torch.tensor(far) / far[-1], "k:", label="proportional to depth")
    axes[0].set(xlabel="layers", title="y' = J tanh(y): ||dx_N/dx_0||, penalty = 0")
    for s, values in norms.items():
        axes[1].semilogy(depths, values, "o-", label=f"change per layer {s:g}")
    axes[1].set(xlabel="layers", title="random weights, h = 0.5: median ||dx_N/dx_0||")
    for w, one in trained.items():
        axes[2].semilogy(one.spectra[-1, :, 0], label=f"penalty {w:g}, accuracy {100 * one.accuracy:.1f} %")
    axes[2].set(xlabel="layer j", title=f"trained, {layers} layers, h = 0.5: ||dx_N/dx_j||")
    for axis in axes:
        axis.legend()
    exponent = float((constant[-1] / constant[-2]).log() / np.log(far[-1] / far[-2]))
    most, least = (float(norms[s][-1]) for s in (1.0, 0.0))
    ends = {w: float(r.spectra[-1, :, 0].max()) for w, r in trained.items()}
    without, with_ = ends[weights[0]], ends[weights[-1]]
    return Sheet(
        title="Hamiltonian networks can explode",
        rows=(9,),
        setting=f"y' = J tanh(y) from (1, 0); H2 with 4 features, weights N(0, 1/2) changing from layer to layer; H2 "
        f"with {layers} layers trained on the Swiss roll for {config.steps} steps with and without the smoothness "
        "penalty.",
        seeds=1,
        verdicts=[
            Verdict(
                "growth of ||dx_N/dx_0|| for constant weights, N^k",
                "unbounded",
                f"k = {exponent:.3f}, up to {number(float(constant[-1]), 3)}",
                exponent > 0.5,
            ),
            Verdict(
                f"independent weights against constant ones, {depths[-1]} layers",
                "-",
                f"{number(most)} against {number(least)}",
                most > least,
            ),
            Verdict(
                "largest ||dx_N/dx_j|| after training (median of points), without and with the penalty",
                "-",
                f"{number(without)} and {number(with_)}",
                with_ < without,
            ),
        ],
        table=[
            {
                "penalty": f"{w:g}",
                "test accuracy": f"{100 * r.accuracy:.1f} %",
                "largest ||dx_N/dx_j|| at the end, median of points": number(ends[w]),
                "largest at any moment and point": number(r.highest),
                "smallest": number(r.lowest, 6),
            }
            for w, r in trained.items()
        ],
        tables={
            "constant": [{"layers": n, "norm": float(v)} for n, v in zip(far, constant, strict=True)],
            "random": [
                {"layers": n, **{f"change_{s:g}": float(norms[s][k]) for s in rough}} for k, n in enumerate(depths)
            ],
        },
        figures={"figure": figure},
        remarks=[
            "With weights that are the same in every layer the penalty is zero and the norm still grows without "
            "bound, in proportion to depth. Smoother random weights grow more slowly at great depth.",
            f"In training (one seed) the penalty {weights[-1]:g} moved the accuracy from "
            f"{100 * trained[weights[0]].accuracy:.1f} to {100 * trained[weights[-1]].accuracy:.1f} % and the norm at "
            f"the end from {number(without)} to {number(with_)}: it smooths weights, it does not bound the norm.",
        ],
    )
