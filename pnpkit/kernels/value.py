"""A blur kernel and what is known of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, eq=False)
class Kernel:
    """A blur kernel and what is known of it; false where there are doubts. Its text is the origin, then the doubts.

    Attributes:
        weights: (h, w) or (d, h, w), float64 as ``normalise`` gives it. ``np.asarray`` of the kernel is this.
        origin: where it comes from, in words.
        confidence: of an estimate, 0..1; None for a kernel that was given.
        form: of an estimate: ``sharp``, a family with its parameters, or ``free-form``.
        doubts: what may be wrong with it, one sentence each.
        candidate: where no blur was taken, but it is not sure that there is none, the likeliest one.
    """

    weights: np.ndarray
    origin: str
    confidence: float | None = None
    form: str = ""
    doubts: tuple[str, ...] = ()
    candidate: Kernel | None = None

    def __bool__(self) -> bool:
        return not self.doubts

    @property
    def family(self) -> str:
        """``form`` without its parameters: gaussian, motion, disk, free-form or sharp; empty for one that was given."""
        return self.form.partition(":")[0]

    def __str__(self) -> str:
        return "; ".join((self.origin, *self.doubts))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.weights, dtype) if copy or dtype is not None else self.weights
