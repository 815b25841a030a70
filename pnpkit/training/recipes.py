"""The recipes of the shipped denoisers, by name: the network, the protocol, and the initial weights."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pnpkit.training.config import TrainingConfig

MIRRORED = {"blocks": 9, "unshuffle": 2, "padding": "mirror", "overlapping": True}


@dataclass(frozen=True)
class Recipe:
    """A network and a protocol that were seen to work together.

    Attributes:
        about: a description in one line.
        architecture, arguments: see ``networks.architectures.build``.
        config: the protocol.
        start: the denoiser whose weights are used at the start; empty for random weights.
        precision: auto or float32.
    """

    about: str
    architecture: str
    config: TrainingConfig
    arguments: dict[str, Any] = field(default_factory=dict)
    start: str = ""
    precision: str = "auto"


RECIPES = {
    "euler-fast": Recipe(
        "proven; 64 filters a step; starts from random weights",
        "euler",
        TrainingConfig(
            hours=0.75, batch=4, learning_rate=1.5e-3, kernel_rate=6, warmup=100, ema=0.998,
            level_power=1.0, level_skew=0.75,
        ),
        MIRRORED,
    ),
    "euler": Recipe(
        "proven; 128 filters a step; starts from random weights",
        "euler",
        TrainingConfig(
            hours=1.0, batch=8, patch=72, learning_rate=1.5e-3, kernel_rate=6, warmup=100,
            level_power=1.0, level_skew=0.72,
        ),
        {**MIRRORED, "hidden": 128},
    ),
    "guided": Recipe(
        "proven given the guide; starts from the shipped euler-guided",
        "guided",
        TrainingConfig(hours=0.25, batch=8, patch=80, learning_rate=5e-4, kernel_rate=8, warmup=30, ema=0.99),
        {"coarse": 96},
        start="euler-guided",
    ),
    "dncnn": Recipe(
        "nothing proven; starts from the shipped dncnn",
        "dncnn",
        TrainingConfig(
            hours=1.45, batch=4, patch=72, learning_rate=5e-4, kernel_rate=8, warmup=40, level_power=0.8, level_skew=0.6
        ),
        start="dncnn",
    ),
    "ridge": Recipe(
        "proven; the proximal map of a learned convex potential",
        "ridge",
        TrainingConfig(hours=0.41, batch=8, patch=40, learning_rate=3e-3, table_rate=10, warmup=20),
        precision="float32",
    ),
    "wavelet": Recipe(
        "proven; thresholds of wavelets; takes a few minutes",
        "wavelet",
        TrainingConfig(steps=300, batch=8, learning_rate=2e-3, table_rate=10, warmup=10, checkpoint_minutes=1.0),
        precision="float32",
    ),
}  # fmt: skip
