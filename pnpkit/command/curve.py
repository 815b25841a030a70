"""The residual curve of a run, as a drawing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pnpkit.restoration.result import Restoration


WIDTH, HEIGHT = 640, 300  # of the curve, in units of its drawing


LEFT, RIGHT, TOP, BOTTOM = 50, 10, 15, 35  # margins around the axes


def curve(run: Restoration, tol: float | None = None) -> str:
    """The relative residual against the step, logarithmic, as SVG, with its tolerance, the second pass, and the proven
    bound where there is one."""
    steps = len(run.residuals)
    if not steps:
        return '<p class="soft">one application of the denoiser: nothing was iterated</p>'
    values = drawable(run.residuals)
    if not values:
        return '<p class="soft">no residual is to be seen on a logarithmic scale: they are 0, or not finite</p>'
    if steps == 1:
        return f"<p>One step was taken: its residual is {run.residuals[0]:.2g}. A curve needs two.</p>"
    bound = drawable(run.bounds[:steps], max(0, steps - len(run.bounds)))  # of the last steps, that the proof is for
    goal = [(0, tol), (steps - 1, tol)] if tol else []
    across = (WIDTH - LEFT - RIGHT) / (steps - 1)
    top = math.ceil(math.log10(max(v for _, v in values + bound)) + 1e-9)
    low = min(math.floor(math.log10(min(v for _, v in values + goal))), top - 1)

    def height(value: float) -> float:
        return TOP + (top - math.log10(value)) / (top - low) * (HEIGHT - TOP - BOTTOM)

    def line(points: list[tuple[int, float]], style: str) -> str:
        place = " ".join(f"{LEFT + i * across:.1f},{height(v):.1f}" for i, v in points)
        return f'<polyline fill="none" stroke-width="2" {style} points="{place}"/>'

    drawing = "".join(
        f'<path d="M{LEFT} {height(10.0**power):.1f}H{WIDTH - RIGHT}" stroke="var(--line)"/>'
        + text(4, height(10.0**power) + 4, f"1e{power}")
        for power in range(low, top + 1)
    )
    if run.guide_steps:
        x = LEFT + (run.guide_steps - 0.5) * across
        drawing += f'<path d="M{x:.1f} {TOP}V{HEIGHT - BOTTOM}" stroke="var(--soft)" stroke-dasharray="2 4"/>'
        left = x < WIDTH / 2
        drawing += text(x + (6 if left else -6), 26, "second pass, guided by the first", "start" if left else "end")
    if tol:
        drawing += f'<path d="M{LEFT} {height(tol):.1f}H{WIDTH - RIGHT}" stroke="var(--good)" stroke-width="1.5"/>'
        drawing += text(LEFT + 6, height(tol) - 5, f"tolerance {tol:g}")
    drawing += line(values, 'stroke="var(--mark)"')
    drawing += line(bound, 'stroke="var(--soft)" stroke-dasharray="6 5"') if bound else ""
    drawing += text(LEFT, HEIGHT - 12, "1") + text(WIDTH - RIGHT, HEIGHT - 12, f"step {steps}", "end")
    note = "dashed: the proven bound" if bound else "no bound on single residuals is proven for this iteration"
    told = f"residual against step: from {run.residuals[0]:.1e} to {run.residuals[-1]:.1e} in {steps} steps"
    box = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{told}">{drawing}</svg>'
    part = " of the pixels in the frame" if run.cropped else ""
    return f'{box}<p class="soft">||x − T x|| / ||x||{part}, in units of a full step; {note}</p>'


def text(x: float, y: float, words: str, anchor: str = "start") -> str:
    """The SVG of words in the drawing; x and y are in its units."""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{words}</text>'


def drawable(values: Sequence[float], skipped: int = 0) -> list[tuple[int, float]]:
    """The values that have a logarithm, each with its number, counted from ``skipped`` on."""
    return [(skipped + i, v) for i, v in enumerate(values) if math.isfinite(v) and v > 0]
