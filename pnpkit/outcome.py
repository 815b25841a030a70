"""What is said of a restoration: how near it came to a reference, the lines on the terminal, the fields of --json."""

from __future__ import annotations

import math
import platform
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pnpkit import __version__
from pnpkit.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from pnpkit.images import Picture
    from pnpkit.problem import Restoration

APART = 100.0  # two float files whose ranges differ by more are of different units
UNIT = 2.0  # floats up to here are on the 0..1 scale, which noise leaves; beyond it they count like integers


def sharp(name: str, picture: Picture, factor: int = 1) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]:
    """The reference's pixels, and what brings the picture's to their scale.

    A scene larger than the frame, as `pnpkit blur` leaves it, is cut to its centre.
    """
    from pnpkit import images

    stored, size = images.read(Path(name)), picture.pixels.shape
    scene = stored.pixels
    size = (factor * size[0], factor * size[1], *size[2:])
    margins = [scene.shape[axis] - size[axis] for axis in (0, 1)]
    if scene.ndim != len(size) or any(margin < 0 or margin % 2 for margin in margins):
        raise InputError(f"{name}: the reference is {scene.shape}, the result {size}: not the same frame")
    spans = [p.high - p.low for p in (picture, stored) if p.dtype.kind == "f"]
    if len(spans) == 2 and max(spans) > APART * min(spans) > 0:
        ranges = [f"{p.low:.4g} to {p.high:.4g}" for p in (stored, picture)]
        raise InputError(
            f"{name}: the reference goes from {ranges[0]}, the picture from {ranges[1]}: not the same units"
        )
    rows, columns = (margin // 2 for margin in margins)
    return scene[rows : rows + size[0], columns : columns + size[1]], same_units(picture, stored)


def same_units(picture: Picture, reference: Picture) -> Callable[[np.ndarray], np.ndarray]:
    """From the scale of the picture to that of the reference: floats beyond 0..1 were stretched by their own range.

    Integers are compared by 0..1 of their type, unless the other file holds floats beyond ``UNIT``: then by their
    values.
    """
    import numpy as np

    floats = [p for p in (picture, reference) if p.dtype.kind == "f"]
    stored = any(max(abs(p.low), abs(p.high)) > UNIT for p in floats)

    def range_of(p: Picture) -> tuple[float, float]:
        if p.dtype.kind == "f" or stored:
            return (p.low, p.high - p.low or 1.0)
        return (0.0, p.high / np.iinfo(p.dtype).max)

    (low, span), (zero, unit) = range_of(picture), range_of(reference)
    return lambda pixels: (low - zero + pixels * span) / unit


def describe(name: str, target: Path, picture: Picture, run: Restoration, scores: dict[str, float]) -> str:
    """What a person wants to know, most important first."""
    lines = []
    before = f"{scores['psnr_input']:.2f} -> " if "psnr_input" in scores else ""
    gain = f", PSNR {before}{scores['psnr']:.2f} dB" if scores else ""
    done = "denoised"
    if run.residuals:
        done = f"{run.status.value.split(':')[0]}, {run.steps} steps, residual {run.residuals[-1]:.2e}"
    lines.append(f"{name} -> {target}: {done}{gain}, {run.seconds:.1f} s")
    if run.kernel_note:
        lines.append(f"kernel: {run.kernel_note}" if run.kernel is not None else run.kernel_note)
    line = f"noise level {run.noise_level:.4f}, strength {run.strength:.4f}{' in linear light' if run.linear else ''}"
    line += f" ({run.strength_note})" + (f", {run.step_note}" if run.step_note else "")
    if run.objective and run.tau is not None:
        line += f", objective f + R / {run.tau:.4g} = " + ", ".join(f"{value:.8g}" for value in run.objective)
    lines.append(line)
    lines += [f"note: {note}" for note in picture.notes]
    lines.append(f"guarantee: {run.guarantee}")
    lines.append(run.certificate.describe(depth=1))
    return "\n".join(lines)


def fields(run: Restoration, scores: dict[str, float]) -> dict[str, Any]:
    """The fields of --json."""
    import deepinv
    import torch

    return {
        "status": run.status.name.lower(),
        "message": run.status.value,
        "steps": run.steps,
        "guide_steps": run.guide_steps,
        "residual": finite(run.residuals[-1:])[0] if run.residuals else None,
        "residuals": finite(run.residuals),
        "objective": finite(run.objective),
        "splitting": run.splitting or None,
        "tau": run.tau,
        "L": run.L,
        "noise_level": run.noise_level,
        "strength": run.strength,
        "strength_rule": run.strength_note,
        "linear": run.linear,
        "kernel": run.kernel_note or None,
        "guarantee": run.guarantee,
        "certificate": run.certificate.to_json(),
        **dict(zip(scores, finite(scores.values()), strict=True)),
        "seconds": run.seconds,
        "versions": {
            "pnpkit": __version__,
            "torch": torch.__version__,
            "deepinv": deepinv.__version__,
            "python": platform.python_version(),
        },
    }


def finite(values: Iterable[float]) -> list[float | None]:
    """JSON knows no infinity, which the PSNR of equal pictures is, and no NaN: None."""
    return [value if math.isfinite(value) else None for value in values]
