"""Storage of the comparison with published results: docs/results/published.{json,md}."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from deblurring_page import NOISES
from results import RESULTS, stamp, write_results

Row = dict[str, Any]

# Hurault, Leclaire & Papadakis (ICLR 2022): their table for this protocol, PSNR (dB) at noise 2.55 / 7.65 / 12.75.
PUBLISHED: dict[str, tuple[str, tuple[float | None, ...]]] = {
    "DPIR": ("none", (32.50, 28.91, 27.42)),
    "GS-PnP": ("falling objective", (32.33, 28.90, 27.44)),
    "IRCNN": ("none", (31.97, 28.58, 26.94)),
    "MMO": ("fixed point, if a penalised bound holds", (31.44, None, None)),
    "RED": ("none", (29.17, 25.26, 22.84)),
    "EPLL": ("none", (27.34, 25.16, 24.04)),
}
# At noise 2.55, kernels levin09 1 to 8, box, Gaussian.
BY_KERNEL = {
    "DPIR": (33.76, 33.30, 33.04, 33.09, 34.10, 34.34, 33.06, 32.77, 28.34, 29.16),
    "GS-PnP": (33.52, 33.07, 32.91, 32.83, 34.07, 34.25, 32.96, 32.54, 28.11, 29.03),
}
LABELS = (*(f"levin09_{k}" for k in range(1, 9)), "box 9", "gaussian 1.6")


def mean(rows: Sequence[Row], what: str, **where: Any) -> tuple[float, int]:
    """Return the mean of a score over the rows with these values, and the number of rows."""
    values = [row[what] for row in rows if all(row[key] == value for key, value in where.items())]
    return (float(np.mean(values)) if values else float("nan")), len(values)


def cell(found: tuple[float, int], wanted: int) -> str:
    """Format a mean, with its count if runs are missing."""
    value, count = found
    if not count:
        return ""
    return f"{value:.2f}" + (f" ({count} of {wanted})" if count != wanted else "")


def measured(rows: Sequence[Row]) -> list[float]:
    """Return the levels of noise that were run."""
    return [noise for noise in NOISES if any(row["noise"] == noise for row in rows)]


def table(rows: Sequence[Row], wanted: int) -> list[str]:
    """Return guarantee, quality and seconds, with a line for each method."""
    noises = measured(rows)
    heads = [f"noise {noise:g} | unclipped" for noise in noises]
    lines = [
        "| method | guarantee | " + " | ".join(heads) + " | s per picture |",
        "| --- | --- |" + " --- |" * (2 * len(noises) + 1),
    ]
    for name in dict.fromkeys(row["name"] for row in rows):
        kinds = sorted({row["kind"] for row in rows if row["name"] == name})
        cells = []
        for noise in noises:
            cells += [cell(mean(rows, what, name=name, noise=noise), wanted) for what in ("psnr", "unclipped")]
        seconds = mean(rows, "seconds", name=name)[0]
        lines.append(f"| {name} | {'; '.join(kinds)} | {' | '.join(cells)} | {seconds:.1f} |")
    for name, (kind, values) in PUBLISHED.items():
        known = (value for noise, value in zip(NOISES, values, strict=True) if noise in noises)
        cells = [f" | {'' if value is None else f'{value:.2f}'}" for value in known]
        lines.append(f"| {name} (published) | {kind} | {' | '.join(cells)} | |")
    return lines


def by_kernel(rows: Sequence[Row], wanted: int, noise: float) -> list[str]:
    """Return a column for each kernel: PSNR of the unclipped result at one level of noise."""
    labels = [label for label in LABELS if any(row["kernel"] == label for row in rows)]
    lines = ["| method | " + " | ".join(labels) + " |", "| --- |" + " --- |" * len(labels)]
    for name in dict.fromkeys(row["name"] for row in rows if row["noise"] == noise):
        cells = [cell(mean(rows, "unclipped", name=name, noise=noise, kernel=k), wanted // len(labels)) for k in labels]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    for name, values in BY_KERNEL.items() if noise == NOISES[0] else ():
        known = dict(zip(LABELS, values, strict=True))
        lines.append(f"| {name} (published) | {' | '.join(f'{known[label]:.2f}' for label in labels)} |")
    return lines


def write(rows: Sequence[Row], command: str, folder: Path | None, wanted: int) -> None:
    """Write the record and its page, or write into ``folder`` if the runs only checked the script."""
    check = "A CHECK OF THE SCRIPT on other pictures: nothing here stands beside published rows. " if folder else ""
    noises = ", ".join(f"{noise:g}" for noise in measured(rows))
    lines = [
        f"{check}CBSD10, ten kernels, circular, noise {noises} of 255: PSNR (dB), mean over pictures and "
        "kernels, where a run ends; clipped to 0..1, and unclipped, as the published figures are (Hurault et al., ICLR "
        "2022, not run here). A fixed point is no minimum, a guide is given before the proof begins, and a falling "
        "objective ends at a critical point. Seconds of the processor; the published methods ran on GPUs.",
        "",
        *table(rows, wanted),
    ]
    for noise in sorted({row["noise"] for row in rows}):
        lines += ["", f"By kernel, noise {noise:g}, unclipped:", "", *by_kernel(rows, wanted, noise)]
    record = {**stamp(command), "sha256": {row["name"]: row["sha256"] for row in rows}, "runs": list(rows)}
    write_results("published", record, lines, folder or RESULTS)
    print("\n".join(lines))
