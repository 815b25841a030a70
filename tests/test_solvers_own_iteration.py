"""An iteration of a user's own: its class and one row of ITERATIONS, and it works in solve and in deblur."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import pnpkit
from pnpkit.certificates import Certificate, Side
from pnpkit.maps import Map
from pnpkit.solvers.guarantee import Existence, Theorem
from pnpkit.solvers.iterations import ITERATIONS, Iteration
from pnpkit.solvers.result import Status


@dataclass(frozen=True)
class HeavyBall(Iteration):
    """x_{k+1} = T x_k + b (x_k - x_{k-1}) (Polyak 1964); covered for b = 0 alone, where it is Picard's."""

    momentum: float = 0.2

    def start(self, x: Tensor) -> Tensor:
        return x

    def next(self, k: int, x: Tensor, image: Tensor, memory: Tensor) -> tuple[Tensor, Any]:
        return image + self.momentum * (x - memory), x

    def theorem(self, certificate: Certificate) -> Theorem | None:
        covered = self.momentum == 0 and certificate.averaged
        return Theorem("Krasnosel'skii-Mann", "no momentum") if covered else None


def test_it_runs_in_solve_and_its_theorem_is_asked() -> None:
    half = Map(lambda x: 0.5 * x + 1, Certificate("half", 0.5, 0.75, Side.PROVEN, "linear"))
    for momentum, covered in ((0.2, False), (0.0, True)):
        run = pnpkit.solve(half, torch.zeros(1, 1, 2, 2), iteration=HeavyBall(momentum), tol=1e-6)
        assert run.status is Status.CONVERGED and float((run.x - 2).abs().max()) < 1e-4
        assert bool(run.guarantee) == covered and (run.guarantee.existence is Existence.UNIQUE) == covered


def test_one_row_of_the_table_makes_it_a_method_of_deblur(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ITERATIONS, "heavy-ball", HeavyBall)
    y = np.random.default_rng(0).random((12, 14, 3)).astype(np.float32)
    options = {"denoiser": "wavelet", "noise_level": 0.02, "boundary": "circular", "tol": 1e-4}
    ours = pnpkit.deblur(y, "box:3", method="heavy-ball", **options)  # type: ignore[arg-type]
    theirs = pnpkit.deblur(y, "box:3", method="picard", **options)  # type: ignore[arg-type]
    assert ours.status is theirs.status is Status.CONVERGED and not ours.guarantee and theirs.guarantee
    assert np.abs(ours.image - theirs.image).max() < 0.01
