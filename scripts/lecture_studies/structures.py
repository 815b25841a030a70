"""Row 7 of the lecture: mass, norm, energy and constraint, preserved and not."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes

from lecture_studies.palette import look
from lecture_studies.sheet import Sheet, Verdict, number, spread
from pnpkit.structure import advection, energy, mass, sphere

FLOOR = 1e-17  # what is drawn for an exact zero


def curve(axis: Axes, times: np.ndarray, values: torch.Tensor, kind: str, first: int = 1) -> None:
    """Draw the median over seeds of (seeds, T) and its range, from the ``first`` time on, on a logarithmic axis."""
    kept = np.maximum(values.abs().numpy(), FLOOR)[:, first:]
    axis.plot(times[first:], np.median(kept, axis=0), linewidth=1, label=kind, **look(kind))
    color = look(kind)["color"]
    axis.fill_between(times[first:], kept.min(0), kept.max(0), color=color, alpha=0.12, linewidth=0)


def middle(values: torch.Tensor) -> float:
    """Return the median; of two values, their mean (torch takes the smaller)."""
    return float(np.median(values.numpy()))


def losses(runs: Sequence[Any], measures: Mapping[str, Callable[[Any], torch.Tensor]]) -> list[str]:
    """Return a sentence for each median by which another network beats the structured one, the first of the runs."""
    said = []
    for what, value in measures.items():
        ours = middle(value(runs[0]))
        for other in runs[1:]:
            if middle(value(other)) < ours:
                said.append(
                    f"The {other.kind} network beats the {runs[0].kind} one: its median {what} is "
                    f"{number(middle(value(other)))} against {number(ours)}."
                )
    return said


def mass_study(fast: bool, seed: int) -> Sheet:
    small = {"points": 200, "test": 100, "steps": 80, "polish": 2, "seeds": 1, "rollout": 5}
    config = mass.MassConfig(seed=seed, **(small if fast else {}))
    runs = mass.run(config)
    start = torch.tensor([[0.99, 0.01, 0.0]], dtype=torch.float64)
    times = torch.arange(config.rollout + 1, dtype=torch.float64) * config.time
    truth = mass.reference(start, times, config)[:, 0].numpy()
    figure, axes = plt.subplots(1, 3, figsize=(12, 3.5))
    for which, (label, style) in enumerate({"S": "-", "I": "--", "R": "-."}.items()):
        axes[0].plot(times, truth[:, which], "k:", linewidth=1)
        color = look(runs[0].kind)["color"]
        axes[0].plot(times, runs[0].states[0, :, which], color=color, linestyle=style, label=label)
    axes[0].set(title="structured, first seed (dotted: reference)", xlabel="t")
    axes[0].legend()
    for one in runs:
        curve(axes[1], times.numpy(), one.states.sum(-1) - 1, one.kind, 0)
        curve(axes[2], times.numpy(), (one.states - torch.from_numpy(truth)).norm(dim=-1), one.kind)
    axes[1].set(yscale="log", xlabel="t", title="|S + I + R - 1|, median and range")
    axes[2].set(yscale="log", xlabel="t", title="distance from the reference, median and range")
    axes[1].legend()
    exact = float(runs[0].violation.max())
    error = middle(runs[0].error)
    return Sheet(
        title="Mass preserved: the flow of the SIR model",
        rows=(7,),
        setting=f"beta = {config.infection}, gamma = {config.recovery} (the authors' values are not known), flow of "
        f"time {config.time}, {config.points} points on the simplex, {config.layers} layers of width {config.width}, "
        f"{config.steps} steps of Adam, {config.polish} of Levenberg-Marquardt, {config.seeds} seeds; "
        f"{config.rollout} applications from (0.99, 0.01, 0).",
        seeds=config.seeds,
        verdicts=[
            Verdict(
                "test mean square, median and range",
                "3.35e-6",
                number(error, 3),
                error <= 3.35e-6,
            ),
            Verdict("mass violation of the structured network", "exact", number(exact), exact < 1e-12),
        ],
        table=[
            {
                "network": r.kind,
                "test mean square": spread(r.error.tolist()),
                "mass violation": spread(r.violation.tolist()),
                "largest distance in the rollout": spread(r.distance.tolist()),
                "smallest compartment": spread(r.states.amin((1, 2)).tolist()),
            }
            for r in runs
        ],
        tables={
            "runs": [
                {"kind": r.kind, "seed": k, "test_mse": float(r.error[k]), "violation": float(r.violation[k])}
                for r in runs
                for k in range(config.seeds)
            ]
        },
        figures={"figure": figure},
        remarks=[
            "Mass is conserved exactly. The network does not enforce that compartments stay non-negative (last "
            "column).",
            *losses(runs, {"test mean square": lambda r: r.error, "largest distance": lambda r: r.distance}),
        ],
    )


def advection_study(fast: bool, seed: int) -> Sheet:
    small: dict[str, Any] = {
        "size": 10,
        "train": 16,
        "test": 2,
        "steps": 20,
        "seeds": 1,
        "rollout": 4,
        "long": 6,
        "channels": 2,
    }
    config = advection.AdvectionConfig(seed=seed, **(small if fast else {}))
    runs = advection.run(config)
    figure, axes = plt.subplots(1, 5, figsize=(15, 3.2))
    generator = torch.Generator().manual_seed(seed)
    first = advection.functions(config.train + config.test, config.size, generator)[config.train]
    exact = advection.shifted(first, config.shift, config.rollout)
    limit = float(first.abs().max())
    pictures = {"exact": exact, **{r.kind: r.pictures[0] for r in runs}}
    for axis, (title, picture) in zip(axes, pictures.items(), strict=False):
        axis.imshow(picture.numpy(), vmin=-limit, vmax=limit)
        axis.set(title=f"{title}, step {config.rollout}", xticks=[], yticks=[])
        axis.grid(False)
    steps = np.arange(config.long + 1)
    for one in runs:
        curve(axes[3], steps, one.error, one.kind)
        curve(axes[4], steps, one.violation, one.kind)
    axes[3].set(xscale="log", yscale="log", xlabel="step", title="relative error")
    axes[4].set(xscale="log", yscale="log", xlabel="step", title="change of the norm")
    axes[3].legend()
    kept = float(runs[0].violation.max())
    return Sheet(
        title="Norm preserved: linear advection on a periodic square",
        rows=(7,),
        setting=f"{config.size} x {config.size} grid, {config.train} pairs, targets with noise {config.noise}, one "
        f"step moves by {config.shift} pixels; {config.layers} layers of two 5 x 5 convolutions, tangent projection "
        f"and rescaling; {config.steps} steps of Adam, {config.seeds} seeds; trained in float32, applied in float64.",
        seeds=config.seeds,
        verdicts=[
            Verdict("norm violation of the structured network", "exact", number(kept), kept < 1e-12),
            Verdict(
                f"relative error after {config.rollout} steps, structured against plain",
                "-",
                " against ".join(number(middle(r.error[:, config.rollout])) for r in runs),
                middle(runs[0].error[:, config.rollout]) < middle(runs[1].error[:, config.rollout]),
            ),
        ],
        table=[
            {
                "network": r.kind,
                **{
                    f"{what}, step {k}": spread(values[:, k].tolist())
                    for k in (1, config.rollout, config.long)
                    for what, values in (("error", r.error), ("norm change", r.violation))
                },
            }
            for r in runs
        ],
        tables={
            "curves": [
                {"step": int(k)}
                | {f"{r.kind}_error": middle(r.error[:, k]) for r in runs}
                | {f"{r.kind}_norm": middle(r.violation[:, k]) for r in runs}
                for k in steps
            ]
        },
        figures={"figure": figure},
        remarks=[
            f"The preserved norm keeps the rollout bounded, but not accurate: after {config.long} steps the relative "
            "errors are " + " and ".join(f"{number(middle(r.error[:, -1]))} ({r.kind})" for r in runs) + ", medians.",
            *losses(
                runs,
                {
                    f"error after {k} step{'s' * (k > 1)}": lambda r, k=k: r.error[:, k]  # type: ignore[misc]
                    for k in (1, config.rollout, config.long)
                },
            ),
        ],
    )


def energy_study(fast: bool, seed: int) -> Sheet:
    small = {"trajectories": 60, "steps": 40, "seeds": 1, "rollout": 50}
    config = energy.EnergyConfig(seed=seed, **(small if fast else {}))
    runs = energy.run(config)
    figure, axes = plt.subplots(1, 4, figsize=(14, 3.4))
    for one in runs:
        worst = int(one.energy_error.abs().amax(-1).nan_to_num(torch.inf).argmax())
        axes[0].plot(*one.states[worst].numpy().T, linewidth=0.6, label=f"{one.kind}, worst seed", **look(one.kind))
        times = np.arange(config.rollout + 1) * config.step
        curve(axes[2], times, one.energy_error, one.kind)
        curve(axes[3], times, one.distance, one.kind)
    axes[0].set(xlim=(-1.8, 1.8), ylim=(-1.2, 1.2), xlabel="q", ylabel="p", title="rollout")
    axes[0].legend(fontsize=7)
    q, potential = energy.GRID.numpy(), runs[0].potential
    assert potential is not None
    truth = q**4 / 4 - q**2 / 2
    axes[1].plot(q, truth, "k:", label="V")
    for k, line in enumerate(potential.numpy()):
        axes[1].plot(q, line, linewidth=0.8, label="learned, each seed" if k == 0 else None, **look("structured"))
    axes[1].set(title="potential, equal at q = 1", xlabel="q")
    axes[1].legend()
    axes[2].set(yscale="log", xlabel="t", title="|H(t) - H(0)|, median and range")
    axes[3].set(yscale="log", xlabel="t", title="distance from the reference, median and range")
    axes[2].legend(fontsize=7)
    gaps = (potential - torch.from_numpy(truth)).abs().amax(-1)
    end = float(config.rollout * config.step)
    return Sheet(
        title="An unknown Hamiltonian from short noisy trajectories: T and V learned",
        rows=(7,),
        setting=f"Double well, {config.trajectories} trajectories of {config.length} steps of {config.step}, noise "
        f"{config.noise}; T and V of {config.width} neurons with leapfrog, against a field of two hidden layers of "
        f"{config.width} with Runge-Kutta 4; {config.steps} steps of Adam, {config.seeds} seeds.",
        seeds=config.seeds,
        verdicts=[
            Verdict(
                f"energy error to T = {end:g}, structured against plain",
                "-",
                " against ".join(number(middle(r.energy_error.abs().amax(-1))) for r in runs),
                middle(runs[0].energy_error.abs().amax(-1)) < middle(runs[1].energy_error.abs().amax(-1)),
            ),
            Verdict("error of the learned V on [-1.5, 1.5]", "-", spread(gaps.tolist())),
        ],
        table=[
            {
                "network": r.kind,
                "energy error": spread(r.energy_error.abs().amax(-1).tolist()),
                "energy error at T": spread(r.energy_error[:, -1].abs().tolist()),
                "distance at T": spread(r.distance[:, -1].tolist()),
            }
            for r in runs
        ],
        tables={
            "potential": [
                {"q": float(x), "V": float(v), **{f"seed{k}": float(p[i]) for k, p in enumerate(potential)}}
                for i, (x, v) in enumerate(zip(q, truth, strict=True))
            ]
        },
        figures={"figure": figure},
        remarks=losses(
            runs,
            {
                "energy error": lambda r: r.energy_error.abs().amax(-1),
                "distance at T": lambda r: r.distance[:, -1],
            },
        ),
    )


def sphere_study(fast: bool, seed: int) -> Sheet:
    small = {"points": 200, "steps": 60, "polish": 1, "seeds": 1, "rollout": 20}
    config = sphere.SphereConfig(seed=seed, **(small if fast else {}))
    runs = sphere.run(config)
    figure = plt.figure(figsize=(14, 3.6))
    axis = figure.add_subplot(1, 4, 1, projection="3d")
    u, v = np.mgrid[0 : 2 * np.pi : 24j, 0 : np.pi : 12j]
    axis.plot_wireframe(np.cos(u) * np.sin(v), np.sin(u) * np.sin(v), np.cos(v), color="0.8", linewidth=0.4)
    for one in (runs[0], runs[-1]):
        axis.plot(*one.states[0, :, :3].numpy().T, linewidth=0.8, label=one.kind, **look(one.kind))
    axis.set(xticks=[], yticks=[], zticks=[], title="rollout, first seed")
    axis.legend(fontsize=7)
    axes = [figure.add_subplot(1, 4, k) for k in (2, 3, 4)]
    times = np.arange(config.rollout + 1) * config.step
    for one in runs:
        for place, values in zip(axes, (one.violation, one.distance, one.energy_error), strict=True):
            curve(place, times, values, one.kind)
    for place, title in zip(axes, ("constraint violation", "distance from the reference", "energy error"), strict=True):
        place.set(yscale="log", xlabel="t", title=f"{title}, median and range")
    axes[0].legend(fontsize=7)
    kept = float(runs[0].violation.max())
    return Sheet(
        title="A constraint preserved: the spherical pendulum",
        rows=(7,),
        setting=f"{config.points} pairs {config.step} apart, speeds up to {config.speed}, MLP of two hidden layers of "
        f"{config.width}, {config.steps} steps of Adam, {config.seeds} seeds; {config.rollout} applications.",
        seeds=config.seeds,
        verdicts=[Verdict("constraint violation, structured", "exact", number(kept), kept < 1e-12)],
        table=[
            {
                "network": r.kind,
                "violation": spread(r.violation.amax(-1).tolist()),
                "distance at T": spread(r.distance[:, -1].tolist()),
                "energy error": spread(r.energy_error.amax(-1).tolist()),
            }
            for r in runs
        ],
        tables={
            "runs": [
                {
                    "kind": r.kind,
                    "seed": k,
                    "violation": float(r.violation[k].max()),
                    "distance": float(r.distance[k, -1]),
                }
                for r in runs
                for k in range(config.seeds)
            ]
        },
        figures={"figure": figure},
        remarks=[
            "The structure enforces the constraint, but not the dynamics: distance and energy are those of the "
            "network.",
            *losses(
                runs,
                {"distance at T": lambda r: r.distance[:, -1], "energy error": lambda r: r.energy_error.amax(-1)},
            ),
        ],
    )
