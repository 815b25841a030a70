"""What is said of a restoration: the lines on the terminal, the fields of --json, the history in a file's header."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pnpkit.command.messages import in_flags, say
from pnpkit.command.options import Options
from pnpkit.command.places import Places
from pnpkit.command.tasks import Task
from pnpkit.command.verdict import Verdict, assurance, duration
from pnpkit.machine.files import write_whole
from pnpkit.restoration.defaults import POINTS_STAY

if TYPE_CHECKING:
    from pnpkit.images.picture import Picture
    from pnpkit.kernels import Kernel
    from pnpkit.restoration.result import Restoration


LINES = 6  # on the terminal at most


def describe(
    places: Places, picture: Picture, run: Restoration, told: Verdict, scores: dict[str, float], seconds: float
) -> str:
    """The verdict, what reading had to change, where the result is, and the seconds of all of it: at most six lines."""
    before = f"{scores['psnr_input']:.2f} -> " if "psnr_input" in scores else ""
    gain = f", PSNR {before}{scores['psnr']:.2f} dB" if scores else ""
    data = [] if run.data is None else run.data.within(picture.low, picture.high).sentences()
    data += [note for note in "; ".join(run.notes).split("; ") if note.startswith(POINTS_STAY)]
    remarks = [found for found in (list(picture.notes), data) if found]
    if len(told.sentences) + len(remarks) + (run.guide is not None) >= LINES:
        remarks = [sum(remarks, [])]
    notes = [f"note: {'; '.join(found)}" for found in remarks]
    line = f"{places.source} -> {places.output}: {duration(seconds)}{gain}; {assurance(run)}"
    guide = [] if run.guide is None else [f"guide: given; {run.guide}"]
    return "\n".join((*told.sentences, *guide, *notes, line))


def say_more(run: Restoration, options: Options) -> None:
    """Print what --explain and --proof ask for."""
    if options.explain:
        say(f"\n{run.explain()}")
    if options.proof:
        say(f"\n{proof(run)}")


def proof(run: Restoration) -> str:
    """The derivation, each premise once: kernel, levels and step, how the run ended, the theorem, the certificate."""
    lines = []
    if run.kernel_note:
        lines.append(f"kernel: {run.kernel_note}" if run.kernel is not None else run.kernel_note)
    line = f"noise level {run.noise_level:.4f}, strength {run.strength:.4f}{' in linear light' if run.linear else ''}"
    line += f" ({run.strength_note})" + (f", {run.step_note}" if run.step_note else "")
    if run.objective and run.tau is not None:
        line += f", objective f + R / {run.tau:.4g} = " + ", ".join(f"{value:.8g}" for value in run.objective)
    lines.append(line)
    if run.residuals:
        goal = "" if run.plan is None else f", tolerance {run.plan.tol:g}"
        lines.append(f"{run.status.value.split(':')[0]}, {run.steps} steps, residual {run.residuals[-1]:.2e}{goal}")
    lines += [] if run.guide is None else [f"guide: given; {run.guide}"]
    lines.append(f"guarantee: {run.guarantee}")
    lines.append(run.certificate.describe(depth=1 if run.amount in (0, 1) else 2))  # that of what is mixed, too
    return "\n".join(lines)


def fields(
    run: Restoration, told: Verdict, scores: dict[str, float], low: float = 0.0, high: float = 1.0
) -> dict[str, Any]:
    """The fields of --json that tell what came of the run; ``low`` and ``high`` are what 0 and 1 are in the file."""
    return {
        "verdict": " ".join(told.sentences),
        "explanation": in_flags(run.explain()),
        "status": run.status.name.lower(),
        "message": run.status.value,
        "steps": run.steps,
        "guide_steps": run.guide_steps,
        "guide": None if run.guide is None else asdict(run.guide),
        "residual": finite(run.residuals[-1:])[0] if run.residuals else None,
        "residuals": finite(run.residuals),
        "objective": finite(run.objective),
        "splitting": run.splitting or None,
        "tau": run.tau,
        "tol": None if run.plan is None else run.plan.tol,
        "L": run.L,
        "noise_level": run.noise_level,
        "strength": run.strength,
        "strength_rule": in_flags(run.strength_note),
        "amount": run.amount,
        "linear": run.linear,
        "kernel": in_flags(run.kernel_note) or None,
        "blur": None if run.blur is None else blur_fields(run.blur),
        "guarantee": str(run.guarantee),
        "proof": run.guarantee.to_json(),
        "certificate": run.certificate.to_json(),
        **dict(zip(scores, finite(scores.values()), strict=True)),
        "data": None if run.data is None else run.data.within(low, high).to_json(),
        "seconds": run.seconds,
    }


def blur_fields(blur: Kernel) -> dict[str, Any]:
    """The form of an estimated blur and how sure it is; and of one that may be there."""
    about = {"form": blur.form or None, "confidence": blur.confidence}
    return about if blur.candidate is None else {**about, "candidate": blur_fields(blur.candidate)}


def history(task: Task, run: Restoration) -> tuple[str, ...]:
    """What was done, for the header of the result."""
    from pnpkit import __version__

    weights = f", weights {task.weights}" if task.weights else ""
    return (
        f"pnpkit {__version__} {task.name}: {run.kernel_note or 'no kernel'}{weights}",
        f"noise level {run.noise_level:.6g}, strength {run.strength:.6g}, {run.status.name.lower()}",
    )


def write_json(path: Path, found: dict[str, Any], overwrite: bool) -> None:
    """Write the fields of --json, whole or not at all; their numbers are finite, see ``finite``."""
    write_whole(path, (json.dumps(found, indent=1, allow_nan=False) + "\n").encode(), overwrite)


def finite(values: Iterable[float]) -> list[float | None]:
    """JSON knows no infinity, which the PSNR of equal pictures is, and no NaN: None."""
    return [value if math.isfinite(value) else None for value in values]
