"""What a study hands back: figures, tables, and each of the lecture's numbers beside ours."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from matplotlib.figure import Figure

Table = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Verdict:
    """A figure of the lecture and ours; ``met`` is None if the authors gave no number."""

    what: str
    authors: str
    ours: str
    met: bool | None = None


@dataclass
class Sheet:
    """One study.

    Attributes:
        title: a sentence.
        rows: of the table of the lecture's items.
        setting: what was run, so that it can be run again.
        seeds: how many networks of each kind.
        table: the rows that the results page shows.
        tables: more rows, by name, written as CSV only.
        figures: by name, written as PNG.
        animations: by name, GIF files.
        remarks: what the numbers say, misses included.
    """

    title: str
    rows: tuple[int, ...]
    setting: str
    seeds: int
    verdicts: list[Verdict] = field(default_factory=list)
    table: Table = ()
    tables: dict[str, Table] = field(default_factory=dict)
    figures: dict[str, Figure] = field(default_factory=dict)
    animations: dict[str, bytes] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Format values as median (smallest .. largest), or as the value alone if there is one."""
    low, middle, high = min(values), float(np.median(values)), max(values)
    if len(values) == 1:
        return number(middle, digits)
    return f"{number(middle, digits)} ({number(low, digits)} .. {number(high, digits)})"


def number(value: float, digits: int = 2) -> str:
    """Format a number with few digits, as a person would write it."""
    if value != value:
        return "-"
    if np.isinf(value):
        return "blew up"
    return f"{value:.{digits}g}" if value == 0 or 1e-2 <= abs(value) < 1e4 else f"{value:.{max(digits - 1, 0)}e}"


def markdown(table: Table) -> str:
    """Return rows with equal keys as a Markdown table."""
    if not table:
        return ""
    names = list(table[0])
    lines = ["| " + " | ".join(names) + " |", "| " + " | ".join("---" for _ in names) + " |"]
    lines += ["| " + " | ".join(str(row[name]) for name in names) + " |" for row in table]
    return "\n".join(lines)


def comma_separated(table: Table) -> bytes:
    """Return the same rows as CSV, with floats to seven digits."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table[0])
    writer.writerows([f"{v:.7g}" if isinstance(v, float) else v for v in row.values()] for row in table)
    return text.getvalue().encode()
