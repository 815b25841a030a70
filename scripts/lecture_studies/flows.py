"""Rows 1 to 5 of the lecture: the circle, the planar flow, the portrait, layers and the Wasserstein critic."""

from __future__ import annotations

import io
from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image

from lecture_studies.palette import BLACK, GREY, look
from lecture_studies.sheet import Sheet, Verdict, number, spread
from pnpkit.structure import circle, planar, portrait, wasserstein

MARKS = {"plain": "o", "penalised": "s", "normalised": "^"}


def circle_study(fast: bool, seed: int) -> Sheet:
    config = circle.CircleConfig(seed=seed, **({"steps": 60, "seeds": 2} if fast else {}))
    runs = circle.run(config)
    figure, axes = plt.subplots(1, 4, figsize=(13, 3.4))
    grid = np.linspace(0, 2 * np.pi, 1000)
    exact = circle.curve(torch.from_numpy(grid)).numpy()
    for axis, one in zip(axes, runs, strict=False):
        axis.plot(*exact.T, "k:", linewidth=1, label="the circle")
        axis.plot(*one.curves[int(one.error.argmax())].numpy().T, label="largest error", **look(one.way))
        axis.set(title=one.way, aspect="equal", xlim=(-1.4, 1.4), ylim=(-1.4, 1.4))
        points = np.maximum(one.violation.numpy(), 1e-17)
        axes[3].plot(one.error.numpy(), points, MARKS[one.way], color=look(one.way)["color"], label=one.way)
    axes[0].legend(loc="center")
    axes[3].set(yscale="log", xlabel="rms error", title="largest | ||z|| - 1 |, each seed")
    axes[3].legend(loc="center right")
    rows = [
        {"way": r.way, "rms error": spread(r.error.tolist()), "violation": spread(r.violation.tolist())} for r in runs
    ]
    normalised = runs[-1]
    ratio = float(np.median(normalised.error) / np.median(runs[0].error))
    return Sheet(
        title="A curve on the unit circle: plain, penalised, normalised",
        rows=(2,),
        setting=f"{config.points} points with noise {config.noise}, MLP of two hidden layers of {config.width}, "
        f"{config.steps} steps of Adam, {config.seeds} seeds, penalty weight {config.penalty}.",
        seeds=config.seeds,
        verdicts=[
            Verdict(
                "norm violation of the normalised network",
                "rounding level",
                number(float(normalised.violation.max())),
                float(normalised.violation.max()) < 1e-14,
            )
        ],
        table=rows,
        tables={
            "runs": [
                {"way": r.way, "seed": k, "rms_error": float(e), "violation": float(v)}
                for r in runs
                for k, (e, v) in enumerate(zip(r.error, r.violation, strict=True))
            ]
        },
        figures={"figure": figure},
        remarks=[f"The normalised network's error is {number(ratio)} times the plain one's (medians)."],
    )


def planar_study(fast: bool, seed: int) -> Sheet:
    small = {"points": 300, "train": 200, "steps": 150, "seeds": 1}
    config = planar.PlanarConfig(seed=seed, **(small if fast else {}))
    found = planar.run(config)
    worst = float(found.accuracy.min())
    return Sheet(
        title="A ResNet as Euler steps in R^3 separates a disc from a ring",
        rows=(1,),
        setting=f"{config.train} training points, {config.points - config.train} test points, {config.layers} layers "
        f"x + dt B tanh(A x + b), T = {config.end:g}, lift by a zero, Adam in one cycle to 1e-2, {config.steps} steps "
        f"of {config.batch}, {config.seeds} seeds.",
        seeds=config.seeds,
        verdicts=[
            Verdict("test accuracy, worst seed", ">= 99.5 % (figure to reach)", f"{100 * worst:.2f} %", worst >= 0.995)
        ],
        table=[{"test accuracy": spread((100 * found.accuracy).tolist(), 4) + " %"}],
        figures={"figure": planar_strip(found)},
        animations={"flow": planar_animation(found, 5 if fast else 60)},
    )


def planar_strip(found: planar.PlanarRun) -> Figure:
    """Draw the test points after 0, 1/3, 2/3 and all of the layers."""
    figure = plt.figure(figsize=(13, 3.6))
    last = len(found.states) - 1
    for place, layer in enumerate((0, last // 3, 2 * last // 3, last)):
        axis = figure.add_subplot(1, 4, place + 1, projection="3d")
        planar_points(axis, found, found.states[layer], layer == last)
        axis.set_title(f"layer {layer}")
    return figure


def planar_points(axis: plt.Axes, found: planar.PlanarRun, points: torch.Tensor, plane: bool) -> None:
    for label, mark in ((0, "o"), (1, "^")):
        chosen = points[found.labels == label].numpy()
        axis.scatter(*chosen.T, s=4, marker=mark, c=f"C{label}", alpha=0.6)
    low, high = found.states.amin((0, 1)).numpy(), found.states.amax((0, 1)).numpy()
    axis.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), zlim=(low[2], high[2]), xticks=[], yticks=[], zticks=[])
    normal = found.normal.numpy()
    if plane:  # drawn over its two flattest axes
        k = int(np.abs(normal).argmax())
        a, b = (c for c in range(3) if c != k)
        u, v = np.meshgrid(np.linspace(low[a], high[a], 12), np.linspace(low[b], high[b], 12))
        w = -(normal[a] * u + normal[b] * v + found.offset) / normal[k]
        w = np.where((w > low[k]) & (w < high[k]), w, np.nan)
        parts = {a: u, b: v, k: w}
        axis.plot_wireframe(parts[0], parts[1], parts[2], color="0.5", linewidth=0.5)


def planar_animation(found: planar.PlanarRun, frames: int) -> bytes:
    """Make a GIF of the points moving through the layers, linearly between them."""
    count, pictures = len(found.states) - 1, []
    for moment in [*np.linspace(0, count, frames), *[count] * (frames // 5)]:
        layer = min(int(moment), count - 1)
        part = moment - layer
        figure = plt.figure(figsize=(3.6, 3.6))
        axis = figure.add_subplot(projection="3d")
        points = (1 - part) * found.states[layer] + part * found.states[layer + 1]
        planar_points(axis, found, points, moment == count)
        axis.set_title(f"t = {moment / count:.2f}")
        axis.view_init(20, -60 + 40 * moment / count)
        data = io.BytesIO()
        with plt.rc_context({"savefig.bbox": None}):  # every frame of one size
            figure.savefig(data, format="png", dpi=80)
        plt.close(figure)
        pictures.append(Image.open(data).convert("P", palette=Image.Palette.ADAPTIVE, colors=64))
    out = io.BytesIO()
    pictures[0].save(out, "GIF", save_all=True, append_images=pictures[1:], duration=90, loop=0)
    return out.getvalue()


def portrait_study(fast: bool, seed: int) -> Sheet:
    pairs = 200 if fast else 4000
    steps = np.linspace(0, 3, 13 if fast else 61)
    euler = [portrait.largest_ratio(partial(portrait.euler, step=float(s)), pairs, seed) for s in steps]
    flow = [portrait.largest_ratio(partial(portrait.flow, time=float(s)), pairs, seed) for s in steps]
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.8))
    axis = np.linspace(-2, 2, 25)
    x, y = np.meshgrid(axis, axis)
    field = portrait.field(torch.from_numpy(np.stack([x, y], -1))).numpy()
    axes[0].streamplot(x, y, field[..., 0], field[..., 1], color="0.75", density=1, linewidth=0.6, arrowsize=0.7)
    rest = np.linalg.norm(field, axis=-1) == 0
    axes[0].plot(x[rest], y[rest], ".", color=GREY, markersize=3, label="equilibria")
    trajectories(axes[0])
    axes[0].set(title="x' = -W^T relu(W x)", aspect="equal", xlim=(-2, 2), ylim=(-2, 2))
    axes[0].legend(loc="lower left", frameon=True, framealpha=1, fontsize=7)
    axes[1].plot(steps, euler, label="Euler map, tau", **look("Euler map"))
    axes[1].plot(steps, flow, label="exact flow, t = tau", **look("exact flow"))
    axes[1].plot(steps, np.maximum(1, np.abs(1 - steps)), "k:", label="max(1, |1 - tau|)")
    axes[1].axvline(portrait.LARGEST_STEP, color="0.6", linewidth=0.8)
    axes[1].set(xlabel="tau", title="largest ||f(x) - f(y)|| / ||x - y|| found", ylim=(0.9, 2.1))
    axes[1].legend()
    inside = max(e for s, e in zip(steps, euler, strict=True) if s <= portrait.LARGEST_STEP)
    beyond = euler[-1]
    return Sheet(
        title="A gradient flow and its Euler map: 1-Lipschitz up to 2 / ||W||^2",
        rows=(3, 4),
        setting=f"W = 1/2 [[sqrt 2, -sqrt 2], [sqrt 2, sqrt 2]], {pairs} random pairs, distant and close.",
        seeds=1,
        verdicts=[
            Verdict("largest ratio for tau in [0, 2 / ||W||^2]", "1", f"{inside:.12f}", inside <= 1 + 1e-9),
            Verdict("largest ratio of the exact flow", "1", f"{max(flow):.12f}", max(flow) <= 1 + 1e-9),
            Verdict("the bound is sharp: ratio at tau = 3", "2", f"{beyond:.6f}", abs(beyond - 2) < 1e-3),
        ],
        table=[
            {"tau": f"{s:g}", "Euler map": number(e, 6), "exact flow": number(f, 6)}
            for s, e, f in zip(steps, euler, flow, strict=True)
            if abs(s * 2 - round(s * 2)) < 1e-9
        ],
        tables={
            "ratios": [{"tau": float(s), "euler": e, "flow": f} for s, e, f in zip(steps, euler, flow, strict=True)]
        },
        figures={"figure": figure},
        remarks=[
            "The layers with their proven norms are `pnpkit.layers.gradient_flow` (convolutions) and "
            "`pnpkit.layers.dense` (matrices). A ratio over pairs is a lower bound and proves nothing."
        ],
    )


def trajectories(axis: plt.Axes, step: float = 1.5, count: int = 12) -> None:
    """Draw the exact flow from a ring of starts, and repeated Euler maps with a step below the bound."""
    angles = torch.arange(count, dtype=torch.float64) * (2 * np.pi / count) + 0.1
    starts = 1.9 * torch.stack([angles.cos(), angles.sin()], -1)
    times = torch.linspace(0, 6, 60, dtype=torch.float64)
    paths = torch.stack([portrait.flow(starts, float(t)) for t in times], 1).numpy()
    jumps = [starts]
    for _ in range(5):
        jumps.append(portrait.euler(jumps[-1], step))
    for k, (path, jump) in enumerate(zip(paths, torch.stack(jumps, 1).numpy(), strict=True)):
        axis.plot(*path.T, linewidth=1.2, label=None if k else "exact flow", **look("exact flow"))
        label = None if k else f"Euler map, tau = {step}"
        axis.plot(*jump.T, marker=".", markersize=4, linewidth=0.8, label=label, **look("Euler map"))
    axis.plot(*starts.numpy().T, "o", color=BLACK, markersize=2.5, label="starts")


def critic_study(fast: bool, seed: int) -> Sheet:
    count = 60 if fast else 400
    config = wasserstein.CriticConfig(seed=seed, **({"steps": 40, "seeds": 1, "layers": 3} if fast else {}))
    cases = dict(list(wasserstein.CASES.items())[:2]) if fast else wasserstein.CASES
    rows, records, above, tight, critics = [], [], [], [], {}
    for name, case in cases.items():
        p, q = case.draw(count, torch.Generator().manual_seed(seed))
        bounds, made = wasserstein.estimate(p, q, config)
        fresh_p, fresh_q = case.draw(20 * count, torch.Generator().manual_seed(seed + 10**6))
        with torch.no_grad():
            fresh = [-float(wasserstein.gap(c, fresh_p, fresh_q)) for c in made]
        between = wasserstein.exact(p, q)
        lipschitz = max(c.certify().lipschitz for c in made)
        critics[name] = made[int(np.argmax(bounds))]
        above.append(max(bounds) - between)
        tight.append(min(bounds) / between)
        rows.append(
            {
                "case": name,
                "W1 between the samples": number(between, 4),
                "critic on them": spread(bounds, 4),
                "W1 between the laws": "-" if case.truth is None else number(case.truth, 4),
                "critic on fresh samples": spread(fresh, 4),
                "proven Lipschitz": f"{lipschitz:g}",
            }
        )
        records += [
            {"case": name, "seed": k, "exact_samples": between, "critic_samples": b, "critic_fresh": f}
            for k, (b, f) in enumerate(zip(bounds, fresh, strict=True))
        ]
    return Sheet(
        title="Wasserstein-1 from below by a critic that is proven 1-Lipschitz",
        rows=(5, 4),
        setting=f"{count} points a set; critic: lift to {config.features}, {config.layers} gradient-flow steps with "
        f"orthonormal rows, unit vector; Adam, {config.steps} full batches, {config.seeds} seeds; exact values by "
        "sorting (d = 1) or the best assignment; there are 20 times as many fresh samples.",
        seeds=config.seeds,
        verdicts=[
            Verdict("critic above the exact W1 of the samples", "never", number(max(above)), max(above) <= 1e-9),
            Verdict("share of the exact W1 that is reached, worst", "-", f"{100 * min(tight):.1f} %"),
        ],
        table=rows,
        tables={"runs": records},
        figures={"figure": draw_critics(critics, count, seed)},
    )


def draw_critics(critics: dict[str, wasserstein.Critic], count: int, seed: int) -> Figure:
    """Draw the critics of the cases in one and two dimensions, with the samples."""
    chosen = {n: c for n, c in critics.items() if wasserstein.CASES[n].dimension < 3}
    figure, axes = plt.subplots(1, len(chosen), figsize=(3.6 * len(chosen), 3.4), squeeze=False)
    for axis, (name, critic) in zip(axes[0], chosen.items(), strict=True):
        p, q = wasserstein.CASES[name].draw(count, torch.Generator().manual_seed(seed))
        points = torch.linspace(-5, 5, 121, dtype=torch.float64)
        with torch.no_grad():
            if p.shape[-1] == 1:
                value = critic(points[:, None])
                axis.plot(points, value - value.mean(), label="critic")
                axis.hist(p[:, 0].numpy(), 30, density=True, alpha=0.5, color="C1", label="P")
                axis.hist(q[:, 0].numpy(), 30, density=True, alpha=0.5, color="C2", label="Q")
                axis.legend()
            else:
                grid = torch.cartesian_prod(points, points)
                value = critic(grid).view(121, 121).T
                axis.contour(points, points, value, 20, linewidths=0.7, colors="0.4")
                axis.scatter(*p.numpy().T, s=3, c="C1", marker="o", label="P")
                axis.scatter(*q.numpy().T, s=3, c="C2", marker="^", label="Q")
                axis.set_aspect("equal")
                axis.legend(loc="upper right", frameon=True, framealpha=1, markerscale=3)
        axis.set_title(name.replace(", d", "\nd"), fontsize=8.5)
    return figure
