"""The training protocol."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pnpkit.errors import InputError


@dataclass(frozen=True)
class TrainingConfig:
    """The training protocol, which is the same for every network.

    The length of the cosine schedule is ``hours`` of running time, or ``steps`` if that is positive; the time of
    interrupted runs counts. Noise levels are top * u^``level_skew`` with u uniform in [0, 1]. An exponent below 1 makes
    strong noise more frequent. The loss is the mean squared error of each sample divided by
    (sigma + 1/255)^``level_power``. With 1.2 a decibel weighs about the same at every level.
    """

    hours: float = 1.0
    steps: int = 0
    batch: int = 16
    patch: int = 64
    learning_rate: float = 5e-4
    table_rate: float = 20.0  # factor on the learning rate of thresholds and step sizes
    kernel_rate: float = 0.0  # if positive: the same factor for kernels between features, which then learn by Muon
    warmup: int = 200
    gradient_limit: float = 0.1
    ema: float = 0.999
    top: float = 50 / 255
    level_power: float = 1.2
    level_skew: float = 1.0
    seed: int = 0
    checkpoint_minutes: float = 5.0

    def check(self) -> None:
        """Raise InputError for a length, or a rate, with which nothing could be learnt."""
        if self.steps < 0:
            raise InputError(f"`steps` must be at least 0, where the clock decides, got {self.steps}")
        positive = ("learning_rate", "level_skew") if self.steps else ("hours", "learning_rate", "level_skew")
        for name in positive:
            if not 0 < getattr(self, name) < math.inf:
                raise InputError(f"`{name}` must be a number above 0, got {getattr(self, name)}")
        if not 0 <= self.kernel_rate < math.inf:
            raise InputError(f"`kernel_rate` must be a number of at least 0, got {self.kernel_rate}")
