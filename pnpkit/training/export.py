"""Export of a trained run as a denoiser: a folder with proven weights, a card and the training curve."""

from __future__ import annotations

import datetime
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pnpkit import registry
from pnpkit.networks.base import Network
from pnpkit.training.run import Run

CURVE = "training.csv"


def history(run: Run, meta: dict[str, Any], data: str, command: str, device: str) -> dict[str, Any]:
    """Return the field ``training`` of a card."""
    return {
        "data": data,
        "command": command,
        "config": meta["config"],
        "start": meta["start"],
        "steps": run.step,
        "hours": round(run.seconds / 3600, 3),
        **({"unfinished": round(run.progress, 3)} if run.progress < 1 else {}),
        "device": device,
        "date": datetime.date.today().isoformat(),
    }


def write(
    network: Network, name: str, architecture: str, training: dict[str, Any], licence: str, place: Path,
    curve: Path | None = None,
) -> registry.Card:  # fmt: skip
    """Write a denoiser's folder. Its certificate is derived from the weights, and its claim is listed beside it."""
    network.name = name
    card = registry.Card(
        name=name,
        architecture=architecture,
        arguments=asdict(network.config),
        sha256="",
        sigma_range=(0.0, network.top),
        certificate=network.certify(),
        training=training,
        scores={},
        paper=network.paper,
        licence=licence,
    )
    place.mkdir(parents=True, exist_ok=True)
    if curve is not None and curve.exists():
        shutil.copy(curve, place / CURVE)
    return registry.export(network, card, place)
