"""The training protocol."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TrainingConfig:
    """The protocol; the same for every network.

    ``hours`` of running time (or ``steps``, when positive) set the length of the cosine schedule; the time of
    interrupted runs counts. Levels are top * u^``level_skew``, u uniform in [0, 1]: below 1, strong noise comes more
    often. The loss is the mean squared error of each sample divided by (sigma + 1/255)^``level_power``; 1.2 makes a
    decibel weigh about the same at every level.
    """

    hours: float = 1.0
    steps: int = 0
    batch: int = 16
    patch: int = 64
    learning_rate: float = 5e-4
    table_rate: float = 20.0  # thresholds and steps learn this much faster
    kernel_rate: float = 0.0  # where positive: kernels from features to features learn by Muon, this much faster
    warmup: int = 200
    gradient_limit: float = 0.1
    ema: float = 0.999
    top: float = 50 / 255
    level_power: float = 1.2
    level_skew: float = 1.0
    seed: int = 0
    checkpoint_minutes: float = 5.0
