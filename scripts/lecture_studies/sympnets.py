"""Row 8 of the lecture: SympNets against plain networks on Hamiltonian systems."""

from __future__ import annotations

from collections.abc import Callable

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lecture_studies.sheet import Sheet, Verdict, number, spread
from pnpkit.dynamics.plain import ResNet, parameter_count
from pnpkit.sympnet.study import Run, Study, StudyConfig, run
from pnpkit.sympnet.systems import system

SMALL = ("LA-SympNet", "G-SympNet", "G-SympNet, reversible", "G-SympNet, paper's start", "HNN, midpoint rule", "ResNet")
LARGE = ("G-SympNet", "G-SympNet, reversible", "HNN, midpoint rule", "ResNet")
SETTINGS: dict[str, tuple[tuple[str, ...], StudyConfig]] = {
    "oscillator": ((*SMALL, "MLP"), StudyConfig(seeds=5, adam=1500, polish=40)),
    "pendulum": (SMALL, StudyConfig(seeds=5, adam=1000, polish=60)),
    "henon-heiles": (LARGE, StudyConfig(pairs=800, seeds=3, adam=500, polish=60)),
    "kepler": (LARGE, StudyConfig(pairs=800, seeds=3, adam=500, polish=70)),
    "double-pendulum": (LARGE, StudyConfig(pairs=400, seeds=3, adam=400, polish=40)),
    "three-bodies": (LARGE, StudyConfig(pairs=600, seeds=3, adam=600, polish=12)),
}
FAST = StudyConfig(pairs=100, seeds=1, adam=30, polish=8, horizon=5.0, probes=8)
PORTRAITS = {"three-bodies": [(0, 1), (2, 3), (4, 5)], "double-pendulum": [(0, 1)], "kepler": [(0, 1)]}
SHOWN = ("LA-SympNet", "G-SympNet", "G-SympNet, reversible", "HNN, midpoint rule", "ResNet")


def study_of(name: str) -> Callable[[bool, int], Sheet]:
    """The study of one system."""

    def study(fast: bool, seed: int) -> Sheet:
        kinds, config = SETTINGS[name]
        if fast:
            kinds, config = (kinds[0], "ResNet"), FAST
        config = StudyConfig(**{**vars(config), "seed": seed})
        found = run(system(name), kinds, config)
        return Sheet(
            title=f"Learned flow maps of the {name.replace('-', ' ')}",
            rows=(8,),
            setting=f"{config.pairs} noise-free pairs {found.system.step} apart, {config.seeds} seeds, Adam 1e-2 in "
            f"one cycle for {config.adam} steps of 128, then at most {config.polish} Levenberg-Marquardt steps, for "
            f"every kind alike; float64; rollout from {tuple(round(v, 3) for v in found.system.start)} to "
            f"T = {number(float(found.times[-1]), 3)}.",
            seeds=config.seeds,
            verdicts=verdicts(found) if name == "oscillator" else [],
            table=[row(found, kind) for kind in kinds],
            tables={"runs": [numbers(one) for one in found.runs], "curves": curves(found)},
            figures={"figure": draw(found)},
            remarks=remarks(found),
        )

    return study


def row(found: Study, kind: str) -> dict[str, str]:
    runs = found.of(kind)
    return {
        "network": kind,
        "numbers": str(runs[0].parameters),
        "energy error, Adam only": spread([r.before for r in runs]),
        "energy error": spread([r.energy.largest for r in runs]),
        "drift x T": spread([abs(r.energy.drift) * float(found.times[-1]) for r in runs]),
        "drifts": f"{sum(r.energy.drifts for r in runs)} of {len(runs)}",
        "error at T": spread([r.error for r in runs]),
        "error ~ t^k, k": spread([r.growth for r in runs]),
        "symplecticity defect": spread([r.symplecticity for r in runs], 1),
        "reversibility defect": spread([r.reversibility for r in runs], 1),
        **{name: spread([r.invariants[name] for r in runs]) for name in runs[0].invariants},
    }


def numbers(one: Run) -> dict[str, str | float]:
    return {
        "kind": one.kind,
        "seed": one.seed,
        "parameters": one.parameters,
        "train_mse": one.train,
        "energy_error_adam": one.before,
        "energy_error": one.energy.largest,
        "oscillation": one.energy.oscillation,
        "drift": one.energy.drift,
        "drift_uncertainty": one.energy.uncertainty,
        "error_at_T": one.error,
        "growth": one.growth,
        "horizon_0.1": one.horizon,
        "symplecticity": one.symplecticity,
        "volume": one.volume,
        "reversibility": one.reversibility,
    }


def curves(found: Study, points: int = 200) -> list[dict[str, float]]:
    """Energy error and distance from the reference, thinned: median over seeds."""
    every = max(1, len(found.times) // points)
    columns: dict[str, np.ndarray] = {"t": found.times.numpy()}
    for kind in found.kinds():
        columns[f"{kind}: |H - H0|"] = np.median(energies(found, kind), 0)
        columns[f"{kind}: distance"] = np.median(distances(found, kind), 0)
    return [{name: float(values[k]) for name, values in columns.items()} for k in range(0, len(found.times), every)]


def energies(found: Study, kind: str) -> np.ndarray:
    """|H(t) - H(0)|, (seeds, T)."""
    return np.stack([(e - e[0]).abs().numpy() for e in (found.system.energy(r.states) for r in found.of(kind))])


def distances(found: Study, kind: str) -> np.ndarray:
    """||z(t) - reference||, (seeds, T)."""
    return np.stack([(r.states - found.reference).norm(dim=-1).numpy() for r in found.of(kind)])


def band(axis: Axes, times: np.ndarray, values: np.ndarray, label: str) -> None:
    """Median over seeds, and their range."""
    values = np.where(values > 0, values, np.nan)[:, 1:]
    line = axis.plot(times[1:], np.median(values, 0), label=label)[0]
    axis.fill_between(times[1:], values.min(0), values.max(0), color=line.get_color(), alpha=0.15, linewidth=0)


def windows(times: np.ndarray, values: np.ndarray, count: int = 80) -> tuple[np.ndarray, np.ndarray]:
    """The largest of (seeds, T) in each of ``count`` pieces of time: drift shows, oscillation does not hide it."""
    pieces = [piece for piece in np.array_split(np.arange(len(times)), count) if len(piece)]
    return np.array([times[p].mean() for p in pieces]), np.stack([values[:, p].max(1) for p in pieces], axis=1)


def draw(found: Study) -> Figure:
    figure, axes = plt.subplots(1, 4, figsize=(15, 3.7))
    name, shown = found.system.name, [kind for kind in found.kinds() if kind in SHOWN]
    times = found.times.numpy()
    columns = PORTRAITS.get(name, [(0, found.system.dimension)])
    for kind in (k for k in shown if k in ("G-SympNet", "LA-SympNet", "ResNet")):
        worst = max(found.of(kind), key=lambda r: np.nan_to_num(r.error, nan=np.inf)).states.numpy()
        for a, b in columns:
            axes[0].plot(worst[:, a], worst[:, b], f"C{shown.index(kind)}", linestyle="-", linewidth=0.7, alpha=0.8)
    for a, b in columns:
        reference = found.reference.numpy()
        axes[0].plot(reference[:, a], reference[:, b], "k:", linewidth=0.9)
    reach = np.abs(found.reference.numpy()[:, [c for pair in columns for c in pair]]).max() * 1.6
    what = "orbit" if name in PORTRAITS else "phase portrait"
    axes[0].set(xlim=(-reach, reach), ylim=(-reach, reach), title=f"{what}, worst seed (dotted: reference)")
    for kind in shown:
        middles, worst_of = windows(times, energies(found, kind))
        band(axes[1], middles, worst_of, kind)
        band(axes[2], times, distances(found, kind), kind)
    axes[1].set(yscale="log", xlabel="t", title="energy error, largest in each of 80 windows")
    axes[2].set(yscale="log", xscale="log", xlabel="t", title="distance from the reference")
    for position, kind in enumerate(found.kinds()):
        for values, mark, label in (
            ([r.symplecticity for r in found.of(kind)], "o", "||J'^T J J' - J||"),
            ([max(abs(r.energy.drift) * times[-1], 1e-17) for r in found.of(kind)], "x", "|drift| T"),
        ):
            text = label if position == 0 else None
            axes[3].plot([max(v, 1e-17) for v in values], [position] * len(values), mark, color="k", label=text)
    axes[3].set(xscale="log", title="defect and drift, each seed", yticks=range(len(found.kinds())))
    axes[3].set_yticklabels([k.replace("G-SympNet, ", "G, ") for k in found.kinds()], fontsize=8)
    axes[3].axvline(1e-12, color="0.6", linewidth=0.8)
    axes[3].legend(fontsize=7)
    handles, labels = axes[1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(shown))
    return figure


def verdicts(found: Study) -> list[Verdict]:
    symp, plain = found.of("LA-SympNet"), found.of("ResNet")
    largest = max(r.before for r in symp)
    polished = max(r.energy.largest for r in symp)
    growing = sum(r.energy.drifts for r in plain)
    return [
        Verdict(
            "SympNet, largest energy error to T = 100, Adam only",
            "0.008 .. 0.039 (25 numbers, 6 seeds, re-run)",
            f"{spread([r.before for r in symp])} ({symp[0].parameters} numbers)",
            largest <= 0.039,
        ),
        *(
            Verdict(
                f"the same, {kind}",
                "-",
                f"{spread([r.before for r in found.of(kind)])} ({found.of(kind)[0].parameters} numbers)",
                max(r.before for r in found.of(kind)) <= 0.039,
            )
            for kind in found.kinds()
            if kind.startswith("G-SympNet") and "paper" not in kind
        ),
        Verdict("the small one after the polish", "-", spread([r.energy.largest for r in symp]), polished <= 0.008),
        Verdict(
            "ResNet, largest energy error, Adam only",
            "0.010 .. 2.78 (55 numbers)",
            f"{spread([r.before for r in plain])} ({parameter_count(ResNet(2, 2, 5))} numbers)",
        ),
        Verdict("ResNets whose energy drifts", "5 of 6", f"{growing} of {len(plain)}"),
    ]


def remarks(found: Study) -> list[str]:
    symplectic = [r for r in found.runs if r.kind not in ("ResNet", "MLP")]
    plain = [r for r in found.runs if r.kind in ("ResNet", "MLP")]
    return [
        f"Symplecticity: at most {number(max(r.symplecticity for r in symplectic), 2)} for the symplectic maps, at "
        f"least {number(min(r.symplecticity for r in plain), 2)} for the others.",
        f"Secular drift beyond three standard errors: {sum(r.energy.drifts for r in symplectic)} of {len(symplectic)} "
        f"symplectic maps, {sum(r.energy.drifts for r in plain)} of {len(plain)} others.",
        f"Within 0.1 of the reference up to T = {number(float(found.times[-1]), 3)}: "
        f"{sum(r.horizon == np.inf for r in symplectic)} of {len(symplectic)} symplectic maps, "
        f"{sum(r.horizon == np.inf for r in plain)} of {len(plain)} others; the first to leave does so at "
        f"t = {number(min(r.horizon for r in found.runs), 3)}. A symplectic map that has left the region it was "
        "trained on promises nothing about the system's own energy.",
    ]
