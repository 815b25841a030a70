"""Row 8 of the lecture: SympNets against plain networks on Hamiltonian systems."""

from __future__ import annotations

from collections.abc import Callable

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from lecture_studies.palette import GREY, look
from lecture_studies.sheet import Sheet, Verdict, number, spread
from pnpkit.dynamics.plain import ResNet, parameter_count
from pnpkit.sympnet.study import Run, Study, StudyConfig, run
from pnpkit.sympnet.systems import system

SMALL = ("LA-SympNet", "G-SympNet", "G-SympNet, reversible", "G-SympNet, paper's start", "HNN, midpoint rule", "ResNet")
LARGE = ("G-SympNet", "G-SympNet, reversible", "HNN, midpoint rule", "ResNet")
SETTINGS: dict[str, tuple[tuple[str, ...], StudyConfig]] = {
    "oscillator": ((*SMALL, "MLP"), StudyConfig(seeds=5, adam=1500, polish=40)),
    "pendulum": (SMALL, StudyConfig(seeds=5, adam=1000, polish=60)),
    "henon-heiles": (LARGE, StudyConfig(pairs=800, seeds=5, adam=500, polish=60)),
    "kepler": (LARGE, StudyConfig(pairs=800, seeds=5, adam=500, polish=70)),
    "double-pendulum": (LARGE, StudyConfig(pairs=400, seeds=5, adam=400, polish=40)),
    "three-bodies": (LARGE, StudyConfig(pairs=600, seeds=5, adam=600, polish=12)),
}
FAST = StudyConfig(pairs=100, seeds=1, adam=30, polish=8, horizon=5.0, probes=8)
LAST = {"henon-heiles": 15.0, "kepler": 13.0, "double-pendulum": 10.0}  # time shown of a rollout that fills the panel
PORTRAITS = {"three-bodies": [(0, 1), (2, 3), (4, 5)], "double-pendulum": [(0, 1)], "kepler": [(0, 1)]}
PLAIN = ("ResNet", "MLP")
TITLES = {"henon-heiles": "Henon-Heiles system", "kepler": "Kepler problem", "three-bodies": "three-body problem"}
SHOWN = ("LA-SympNet", "G-SympNet", "G-SympNet, reversible", "HNN, midpoint rule", "ResNet")


def study_of(name: str) -> Callable[[bool, int], Sheet]:
    """Return the study of one system."""

    def study(fast: bool, seed: int) -> Sheet:
        kinds, config = SETTINGS[name]
        if fast:
            kinds, config = (kinds[0], "ResNet"), FAST
        config = StudyConfig(**{**vars(config), "seed": seed})
        found = run(system(name), kinds, config)
        return Sheet(
            title=f"Learned flow maps of the {TITLES.get(name, name.replace('-', ' '))}",
            rows=(8,),
            setting=f"{config.pairs} noise-free pairs {found.system.step} apart, {config.seeds} seeds, Adam 1e-2 in "
            f"one cycle for {config.adam} steps of 128, then at most {config.polish} Levenberg-Marquardt steps, the "
            f"same for every kind; float64; rollout from {tuple(round(v, 3) for v in found.system.start)} to "
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
    """Return energy error and distance from the reference, thinned: medians over seeds."""
    every = max(1, len(found.times) // points)
    columns: dict[str, np.ndarray] = {"t": found.times.numpy()}
    for kind in found.kinds():
        columns[f"{kind}: |H - H0|, Adam only"] = np.median(energies(found, kind, early=True), 0)
        columns[f"{kind}: |H - H0|"] = np.median(energies(found, kind), 0)
        columns[f"{kind}: distance"] = np.median(distances(found, kind), 0)
    return [{name: float(values[k]) for name, values in columns.items()} for k in range(0, len(found.times), every)]


def energies(found: Study, kind: str, early: bool = False) -> np.ndarray:
    """Return |H(t) - H(0)|, (seeds, T), inf after a blow-up; with ``early``, after Adam alone."""
    states = [run.early if early else run.states for run in found.of(kind)]
    energy = [found.system.energy(s) for s in states]
    return np.stack([(e - e[0]).abs().nan_to_num(nan=np.inf).numpy() for e in energy])


def distances(found: Study, kind: str) -> np.ndarray:
    """Return ||z(t) - reference||, (seeds, T), inf after a blow-up."""
    gaps = [(run.states - found.reference).norm(dim=-1) for run in found.of(kind)]
    return np.stack([gap.nan_to_num(nan=np.inf).numpy() for gap in gaps])


def band(axis: Axes, times: np.ndarray, values: np.ndarray, kind: str) -> None:
    """Draw the median over seeds and the range."""
    values = np.where((values > 0) & np.isfinite(values), values, np.nan)[:, 1:]
    axis.plot(times[1:], np.median(values, 0), label=kind, **look(kind))
    low, high = values.min(0), values.max(0)
    axis.fill_between(times[1:], low, high, color=look(kind)["color"], alpha=0.12, linewidth=0)


def windows(times: np.ndarray, values: np.ndarray, count: int = 80) -> tuple[np.ndarray, np.ndarray]:
    """Return the largest of (seeds, T) in each of ``count`` time windows, which shows drift despite oscillation."""
    pieces = [piece for piece in np.array_split(np.arange(len(times)), count) if len(piece)]
    return np.array([times[p].mean() for p in pieces]), np.stack([values[:, p].max(1) for p in pieces], axis=1)


def draw(found: Study) -> Figure:
    """Draw each map's rollout in its own panel (above), and energies, distances and defects (below)."""
    shown = [kind for kind in found.kinds() if kind in SHOWN]
    figure = plt.figure(figsize=(15, 7.2))
    above, below = figure.subfigures(2, 1)
    portraits(found, shown, np.atleast_1d(above.subplots(1, len(shown), sharex=True, sharey=True)))
    axes = below.subplots(1, 4)
    axes[1].sharey(axes[0])
    times = found.times.numpy()
    for kind in shown:
        band(axes[0], *windows(times, energies(found, kind, early=True)), kind)
        band(axes[1], *windows(times, energies(found, kind)), kind)
        band(axes[2], times, distances(found, kind), kind)
    for axis, when in zip(axes, ("Adam only", "after the polish"), strict=False):
        axis.set(yscale="log", xlabel="t (largest in each of 80 windows)", title=f"energy error, {when}")
    axes[2].set(yscale="log", xscale="log", xlabel="t", title="distance from the reference, after the polish")
    for position, kind in enumerate(found.kinds()):
        for values, mark, label in (
            ([r.symplecticity for r in found.of(kind)], "o", "||F'^T J F' - J||"),
            ([max(abs(r.energy.drift) * times[-1], 1e-17) for r in found.of(kind)], "x", "|drift| T"),
        ):
            text = label if position == 0 else None
            color = look(kind)["color"]
            place = [position] * len(values)
            axes[3].plot([max(v, 1e-17) for v in values], place, mark, color=color, linestyle="", label=text)
    axes[3].set(xscale="log", title="after the polish, each seed", yticks=range(len(found.kinds())))
    axes[3].set_yticklabels([k.replace("G-SympNet, ", "G, ") for k in found.kinds()], fontsize=8)
    axes[3].axvline(1e-12, color=GREY, linewidth=0.8)
    axes[3].legend(fontsize=7)
    handles, labels = axes[1].get_legend_handles_labels()
    below.legend(handles, labels, loc="outside lower center", ncols=len(shown))
    return figure


def portraits(found: Study, shown: list[str], axes: np.ndarray) -> None:
    """Draw the worst seed after Adam (pale) and after the polish, each kind by itself, with the reference."""
    name, times = found.system.name, found.times.numpy()
    columns = PORTRAITS.get(name, [(0, found.system.dimension)])
    last = times >= times[-1] - LAST.get(name, np.inf)
    reference = found.reference.numpy()
    reach = np.abs(reference[:, [c for pair in columns for c in pair]]).max() * 1.5
    for axis, kind in zip(axes, shown, strict=True):
        color = look(kind)["color"]
        early = max((r.early for r in found.of(kind)), key=lambda s: away(s, found)).numpy()
        polished = max((r.states for r in found.of(kind)), key=lambda s: away(s, found)).numpy()
        for place, (a, b) in enumerate(columns):
            first = place == 0
            axis.plot(*early[last][:, [a, b]].T, color=color, alpha=0.45, linewidth=0.8, linestyle="-",
                      label="Adam only" if first else None)  # fmt: skip
            axis.plot(*polished[last][:, [a, b]].T, color=color, linewidth=1.3, linestyle="-",
                      label="after the polish" if first else None)  # fmt: skip
            axis.plot(*reference[last][:, [a, b]].T, color="black", linewidth=0.9, linestyle=":",
                      label="reference" if first else None)  # fmt: skip
        axis.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", title=kind)
        axis.legend(fontsize=6.5, loc="upper right", frameon=True, framealpha=0.85)
    what = "q1, q2" if name in PORTRAITS else "q1, p1" if found.system.dimension > 1 else "q, p"
    axes[0].set_ylabel(f"{what}, t in [{times[last][0]:g}, {times[-1]:.4g}]\nworst seed")


def away(states: Tensor, found: Study) -> float:
    """Return the distance from the reference at the end; inf after a blow-up."""
    return float((states[-1] - found.reference[-1]).norm().nan_to_num(nan=np.inf))


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
    symplectic = [r for r in found.runs if r.kind not in PLAIN]
    plain = [r for r in found.runs if r.kind in PLAIN]
    first = min(r.horizon for r in found.runs)
    left = f"the first to leave does so at t = {number(first, 3)}" if np.isfinite(first) else "none leaves"
    return [
        f"Symplecticity: at most {number(max(r.symplecticity for r in symplectic), 2)} for the symplectic maps, at "
        f"least {number(min(r.symplecticity for r in plain), 2)} for the others.",
        f"Secular drift beyond three standard errors: {sum(r.energy.drifts for r in symplectic)} of {len(symplectic)} "
        f"symplectic maps, {sum(r.energy.drifts for r in plain)} of {len(plain)} others.",
        f"Within 0.1 of the reference up to T = {number(float(found.times[-1]), 3)}: "
        f"{sum(r.horizon == np.inf for r in symplectic)} of {len(symplectic)} symplectic maps, "
        f"{sum(r.horizon == np.inf for r in plain)} of {len(plain)} others; {left}. A symplectic map that has left the "
        "region it was trained on promises nothing about the system's own energy.",
        *losses(found),
    ]


def losses(found: Study) -> list[str]:
    """Return a sentence for each median by which a plain network beats a symplectic one, or the polish harms."""
    said = []
    for plain in (kind for kind in found.kinds() if kind in PLAIN):
        for what, value in (("energy error", lambda r: r.energy.largest), ("error at T", lambda r: r.error)):
            middles = {kind: float(np.median([value(r) for r in found.of(kind)])) for kind in found.kinds()}
            beaten = [k for k in found.kinds() if k not in PLAIN and middles[plain] < middles[k]]
            if beaten:
                others = listed([f"{k} ({number(middles[k])})" for k in beaten])
                said.append(f"The {plain} beats {others}: its median {what} is {number(middles[plain])}.")
    for kind in found.kinds():
        before = float(np.median([r.before for r in found.of(kind)]))
        after = float(np.median([r.energy.largest for r in found.of(kind)]))
        if after > before and number(after) != number(before):
            said.append(
                f"The polish, which never raises the training error, raises the median energy error of {kind} from "
                f"{number(before)} to {number(after)}."
            )
    return said


def listed(words: list[str]) -> str:
    """Join the words to one list, separated by semicolons, since names contain commas."""
    return " and ".join(filter(None, ["; ".join(words[:-1]), words[-1]]))
