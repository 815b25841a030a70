"""Row 9 of the lecture: gradients through depth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from lecture_studies.palette import ORANGE, look
from lecture_studies.sheet import Sheet, Verdict, number, spread
from pnpkit.gradients.networks import DeepConfig
from pnpkit.gradients.study import DATA, RATES, DepthTraining, Trained, constant_field, random_weights, train

STEP = 0.1  # the lecture's h, at every depth
COMMON = 2e-2  # one rate for all networks, at which a network's failure says little
FLOOR = 1e-8  # below the rounding of float32 a gradient is lost against the weight that it moves


def networks(layers: int) -> dict[str, DeepConfig]:
    """Return the networks by name. h = T/N equals h = 0.1 at the lecture's twelve layers."""
    named = {
        "MLP": DeepConfig("MLP", layers),
        "MLP, orthogonal start": DeepConfig("MLP", layers, start="orthogonal"),
        "ResNet": DeepConfig("ResNet", layers, step=STEP),
        "H1": DeepConfig("H1", layers, step=STEP),
        "H2": DeepConfig("H2", layers, step=STEP),
    }
    if layers > 12:
        named |= {f"{kind}, h = T/N": DeepConfig(kind, layers) for kind in ("ResNet", "H2")}
    return named


def depth_study(layers: int) -> Callable[[bool, int], Sheet]:
    """Return the study of gradients and accuracy at one depth, each network at its own learning rate."""

    def study(fast: bool, seed: int) -> Sheet:
        config = DepthTraining(seed=seed, steps=600 if layers < 100 else 300)
        depth = min(layers, 6) if fast else layers
        if fast:
            config = replace(
                config, steps=20, points=100, recordings=2, probes=4, batch=50, seeds=2, rates=(5e-3, COMMON)
            )
        runs = {name: train(network, config) for name, network in networks(depth).items()}
        rows = [row(name, r, config.data) for name, r in runs.items()]
        if layers == 64 and not fast:
            for data in [d for d in DATA if d != config.data]:
                for name in ("MLP", "ResNet", "H2"):
                    rows.append(row(name, train(networks(depth)[name], replace(config, data=data, steps=300)), data))
        return Sheet(
            title=f"Gradients through {layers} layers",
            rows=(9,),
            setting=f"{config.data}, {config.points} training points, {depth} layers of 4 features, tanh, h = {STEP} "
            f"(T = {STEP * depth:.1f})"
            + (f" or h = T/N with T = {runs['H2, h = T/N'].config.end}" if "H2, h = T/N" in runs else "")
            + f"; Adam in one cycle for {config.steps} steps of {config.batch}, {config.seeds} seeds. Each network is "
            f"trained at the rates {', '.join(f'{rate:g}' for rate in config.rates)}. The results are those of the "
            f"rate with the highest median accuracy on {config.points} validation points (among equal ones, with the "
            f"lowest loss there). Accuracy is measured on {config.points} other points. All in float64; Jacobians at "
            f"{config.probes} points at {config.recordings} moments."
            f"{' The other data sets are trained for 300 steps.' if layers == 64 else ''}",
            seeds=config.seeds,
            verdicts=verdicts(runs),
            table=rows,
            tables={
                "gradients": [record for name, r in runs.items() for record in records(name, r)],
                "rates": [
                    {"network": name, **{f"validation_at_{rate:g}": v for rate, v in r.validation.items()}}
                    for name, r in runs.items()
                ],
                "runs": [
                    {"network": name, "seed": k, "rate": r.rate, "test_accuracy": float(v), "lowest": float(low)}
                    for name, r in runs.items()
                    for k, (v, low) in enumerate(zip(r.accuracy, r.lowest, strict=True))
                ],
            },
            figures={"figure": draw(runs)},
            remarks=remarks(runs),
        )

    return study


def middle(values: Tensor) -> float:
    """Return the median; of an even number of values, the mean of the two in the middle."""
    return float(values.quantile(0.5))


def percent(values: Tensor) -> str:
    """Format accuracies as median (smallest .. largest)."""
    low, mid, high = (100 * float(v) for v in (values.min(), values.quantile(0.5), values.max()))
    return f"{mid:.1f} ({low:.1f} .. {high:.1f}) %"


def verdicts(runs: dict[str, Trained]) -> list[Verdict]:
    h2, resnet, mlp = runs["H2"], runs["ResNet"], runs["MLP"]
    found = [
        Verdict(
            "H2: smallest ||dx_N/dx_j|| over training, points, layers, seeds",
            ">= 1",
            f"{float(h2.lowest.min()):.9f}",
            float(h2.lowest.min()) >= 1 - 1e-9,
        ),
        Verdict("ResNet: the same", ">= 1 (re-run)", number(float(resnet.lowest.min()), 3)),
        Verdict("MLP: ||dx_N/dx_0|| at the start", "near 1e-7 (12 layers)", spread(mlp.spectra[:, 0, 0, 0].tolist())),
        Verdict(
            "accuracy of H2 against MLP, each at its own rate",
            "MLP at chance (one rate)",
            f"{percent(h2.accuracy)} against {percent(mlp.accuracy)}",
            middle(h2.accuracy) > middle(mlp.accuracy),
        ),
    ]
    for end in ("", ", h = T/N"):
        if f"H2{end}" in runs:
            ours, theirs = runs[f"H2{end}"].accuracy, runs[f"ResNet{end}"].accuracy
            found.append(
                Verdict(
                    f"accuracy of H2 against ResNet, each at its own rate{end}",
                    "-",
                    f"{percent(ours)} against {percent(theirs)}",
                    middle(ours) >= middle(theirs),
                )
            )
    return found


def remarks(runs: dict[str, Trained]) -> list[str]:
    """Return the remarks, including losses and rates at the end of the grid."""
    said = ["||dx_N/dx_j|| >= 1 rules out vanishing gradients. It does not rule out exploding gradients."]
    for name in ("MLP", "MLP, orthogonal start"):
        r = runs[name]
        common = r.validation.get(COMMON)
        text = f"{name}: {percent(r.accuracy)} at the rate {r.rate:g}"
        if common is not None and r.rate != COMMON:
            text += f"; at the rate {COMMON:g} the median on the validation points is {100 * common:.1f} %"
        said.append(text + ". Chance is 50 %.")
    for end in ("", ", h = T/N"):
        if f"H2{end}" in runs and middle(runs[f"H2{end}"].accuracy) < middle(runs[f"ResNet{end}"].accuracy):
            h2, resnet = runs[f"H2{end}"].accuracy, runs[f"ResNet{end}"].accuracy
            said.append(
                f"The ResNet beats H2{end or f', h = {STEP}'}: {percent(resnet)} against {percent(h2)}. A gradient "
                "that cannot vanish does not make a network easy to train."
            )
    ends = [
        name
        for name, r in runs.items()
        if len(r.validation) > 2 and r.rate in (min(RATES), max(RATES)) and middle(r.accuracy) < 0.9995
    ]
    if ends:
        said.append(f"The chosen rate is the first or the last of the grid for {', '.join(ends)}: another may do more.")
    return said


def row(name: str, r: Trained, data: str) -> dict[str, str]:
    return {
        "network": name,
        "data": data,
        "rate": f"{r.rate:g}",
        "test accuracy": percent(r.accuracy),
        "||dx_N/dx_0|| at the start": spread(r.spectra[:, 0, 0, 0].tolist()),
        "at the end": spread(r.spectra[:, -1, 0, 0].tolist()),
        "smallest ||dx_N/dx_j||": spread(r.lowest.tolist()),
        "largest": spread(r.highest.tolist()),
        "smallest ||dL/dtheta_j||, start": spread(r.weights[:, 0].amin(-1).tolist()),
    }


def records(name: str, r: Trained) -> list[dict[str, str | float]]:
    """Return medians over seeds."""
    spectra, weights = r.spectra.quantile(0.5, dim=0), r.weights.quantile(0.5, dim=0)
    return [
        {
            "network": name,
            "step": step,
            "layer": layer,
            "largest_singular_value": float(spectra[k, layer, 0]),
            "smallest_singular_value": float(spectra[k, layer, 1]),
            "parameter_gradient": float(weights[k, layer]),
        }
        for k, step in enumerate(r.at)
        for layer in range(r.config.layers)
    ]


def draw(runs: dict[str, Trained]) -> Figure:
    """Draw the spectrum of dx_N/dx_j by layer during training (above) and the parameter gradients (below)."""
    figure, axes = plt.subplots(2, len(runs), figsize=(2.3 * len(runs), 5.6), sharey="row", sharex=True)
    for column, (name, r) in enumerate(runs.items()):
        spectra, weights = r.spectra.quantile(0.5, dim=0), r.weights.quantile(0.5, dim=0)
        layers, color = np.arange(r.config.layers), look(name)["color"]
        above, below = axes[:, column]
        for k, step in enumerate(r.at):
            alpha = 0.25 + 0.75 * k / max(len(r.at) - 1, 1)
            label = f"step {step}" if k in (0, len(r.at) - 1) else None
            above.plot(layers, spectra[k, :, 0], "-", color=color, alpha=alpha, label=label)
            above.plot(layers, spectra[k, :, 1], ":", color=color, alpha=alpha, linewidth=1)
            below.plot(layers, weights[k], "-", color=color, alpha=alpha)
        above.axhline(1, color="black", linewidth=0.7)
        above.set(yscale="log", title=f"{name}\n{percent(r.accuracy)}")
        above.title.set_fontsize(8.5)
        below.set(yscale="log", xlabel="layer j")
        for axis, least in ((above, float(spectra[..., 0].min())), (below, float(weights.min()))):
            if least < FLOOR:
                text = f"down to {least:.0e}"
                axis.text(0.97, 0.04, text, transform=axis.transAxes, fontsize=7.5, ha="right", color="black")
    axes[0, 0].set_ylabel("singular values of dx_N/dx_j\n(solid largest, dotted smallest)")
    axes[1, 0].set_ylabel("||dL/dtheta_j||")
    axes[0, 0].legend(fontsize=7)
    for line, values in zip(
        axes, ([r.spectra for r in runs.values()], [r.weights for r in runs.values()]), strict=True
    ):
        least = min(float(v.quantile(0.5, dim=0).min()) for v in values)
        line[0].set_ylim(bottom=max(FLOOR, least / 2))
    figure.suptitle("pale to dark: training; medians over seeds, accuracy with its range", fontsize=8.5)
    return figure


def explosion_study(fast: bool, seed: int) -> Sheet:
    depths = [4, 8] if fast else [4, 8, 16, 32, 64, 128, 256]
    far = [10, 20] if fast else [10, 20, 50, 100, 200, 500, 1000, 2000, 5000]
    constant = constant_field(far, STEP)
    rough = (0.0, 1.0) if fast else (0.0, 0.1, 0.3, 1.0)
    layers = 6 if fast else 64
    config = DepthTraining(seed=seed, steps=300, recordings=3)
    if fast:
        config = replace(config, steps=15, points=100, seeds=2, rates=(COMMON,))
    draws = range(seed, seed + config.seeds)
    every = {s: torch.stack([random_weights(depths, 0.5, s, seed=k) for k in draws]) for s in rough}
    norms = {s: values.quantile(0.5, dim=0) for s, values in every.items()}
    weights = (0.0, 1e-2) if fast else (0.0, 1e-4, 1e-2)
    trained = {w: train(DeepConfig("H2", layers, step=0.5), replace(config, penalty=w)) for w in weights}
    color, styles = look("H2")["color"], ("-", "--", "-.", ":")
    figure, axes = plt.subplots(1, 3, figsize=(13, 3.8))
    axes[0].loglog(far, constant, "o-", color=color, label=f"H2's rule, h = {STEP}")
    axes[0].loglog(far, constant[-1] * torch.tensor(far) / far[-1], "k:", label="proportional to depth")
    axes[0].set(xlabel="layers", title="y' = J tanh(y): ||dx_N/dx_0||, penalty = 0")
    for k, (s, values) in enumerate(norms.items()):
        shade = color if s < 1 else ORANGE
        axes[1].semilogy(depths, values, "o" + styles[k], color=shade, label=f"change per layer {s:g}")
        axes[1].fill_between(depths, every[s].amin(0), every[s].amax(0), color=shade, alpha=0.1, linewidth=0)
    axes[1].set(xlabel="layers", title="H2, random weights, h = 0.5: ||dx_N/dx_0||")
    for k, (w, one) in enumerate(trained.items()):
        norm = one.spectra[:, -1, :, 0]
        label = f"penalty {w:g}, {percent(one.accuracy)}"
        axes[2].semilogy(norm.quantile(0.5, dim=0), styles[k], color=color, label=label)
        axes[2].fill_between(range(layers), norm.amin(0), norm.amax(0), color=color, alpha=0.08, linewidth=0)
    axes[2].set(xlabel="layer j", title=f"H2 trained, {layers} layers, h = 0.5: ||dx_N/dx_j||")
    for axis in axes:
        axis.legend(fontsize=7.5)
    exponent = float((constant[-1] / constant[-2]).log() / np.log(far[-1] / far[-2]))
    most, least = (every[s][:, -1].tolist() for s in (1.0, 0.0))
    ends = {w: r.spectra[:, -1, :, 0].amax(-1) for w, r in trained.items()}
    none, full = weights[0], weights[-1]
    without, with_ = (spread(ends[w].tolist()) for w in (none, full))
    lowered = middle(ends[full]) < middle(ends[none])
    return Sheet(
        title="Hamiltonian networks can explode",
        rows=(9,),
        setting=f"y' = J tanh(y) from (1, 0); H2 with 4 features, weights N(0, 1/2) changing from layer to layer; H2 "
        f"with {layers} layers trained on the Swiss roll for {config.steps} steps with and without the smoothness "
        f"penalty, each at the best of the rates {', '.join(f'{rate:g}' for rate in config.rates)} by the median "
        f"accuracy on validation points; {config.seeds} seeds.",
        seeds=config.seeds,
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
                f"{spread(most)} against {spread(least)}",
                float(np.median(most)) > float(np.median(least)),
            ),
            Verdict(
                "largest ||dx_N/dx_j|| after training (median of points), without and with the penalty",
                "-",
                f"{without} and {with_}",
                lowered,
            ),
        ],
        table=[
            {
                "penalty": f"{w:g}",
                "rate": f"{r.rate:g}",
                "test accuracy": percent(r.accuracy),
                "largest ||dx_N/dx_j|| at the end, median of points": spread(ends[w].tolist()),
                "largest at any moment and point": spread(r.highest.tolist()),
                "smallest": number(float(r.lowest.min()), 6),
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
            "If the weights are the same in every layer, the penalty is zero. The norm still grows without bound, in "
            "proportion to depth.",
            f"The penalty {full:g} moves the median accuracy from {100 * middle(trained[none].accuracy):.1f} to "
            f"{100 * middle(trained[full].accuracy):.1f} % and the median norm at the end from "
            f"{number(middle(ends[none]))} to {number(middle(ends[full]))}. It smooths the weights, but it does "
            "not bound the norm.",
        ],
    )
