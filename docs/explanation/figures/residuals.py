"""The stored residuals of scripts/figures.py."""

import csv
from pathlib import Path

import matplotlib.pyplot as plt

STORED = next(
    place / "docs" / "results" / "residuals.csv"
    for place in (Path.cwd(), *Path.cwd().parents)
    if (place / "docs" / "results" / "residuals.csv").exists()
)
with STORED.open(newline="") as file:
    rows = list(csv.DictReader(file))
figure, axis = plt.subplots(figsize=(7, 3.2))
for name, style, colour in (("dncnn", "--", "C3"), ("euler-fast", "-", "C0")):
    curve = [(int(row["iteration"]), float(row[name])) for row in rows if row[name]]
    label = f"{name} ({'proven' if name != 'dncnn' else 'nothing proven'})"
    axis.semilogy(*zip(*curve, strict=True), style, color=colour, label=label)
axis.set(xlabel="step", ylabel="||x - T x|| / ||x||")
axis.grid(alpha=0.3)
axis.legend()
figure.tight_layout()
