"""The class of a blur kernel together with what is known about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, eq=False)
class Kernel:
    """A blur kernel and what is known about it. It is false if there are doubts; its text is the origin and the doubts.

    Attributes:
        weights: (h, w) or (d, h, w), float64, as ``normalise`` returns it. ``np.asarray`` of the kernel is this array.
        origin: where the kernel comes from, in words.
        confidence: confidence of an estimate, 0..1; None for a kernel that was given.
        form: form of an estimate: ``sharp``, a family with its parameters, or ``free-form``.
        doubts: what may be wrong with the kernel, one sentence each.
        candidate: the most likely blur if none was chosen but it is not certain that there is none.
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
        """``form`` without its parameters: gaussian, motion, disk, free-form or sharp; empty for a given kernel."""
        return self.form.partition(":")[0]

    def __str__(self) -> str:
        return "; ".join((self.origin, *self.doubts))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.weights, dtype) if copy or dtype is not None else self.weights
