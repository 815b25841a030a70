"""A data term on a box: its proximal map is that of the sum, to the error that it states."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pnpkit import kernels
from pnpkit.errors import InexactWarning, InputError
from pnpkit.fidelities import constrained
from pnpkit.fidelities.constrained import Constrained
from pnpkit.fidelities.kullback_leibler import KullbackLeibler
from pnpkit.fidelities.weighted import WeightedLeastSquares
from pnpkit.operators.matrix import from_matrix
from pnpkit.operators.volume import VolumeBlur


def problem() -> Constrained:
    generator = torch.Generator().manual_seed(0)
    psf = kernels.normalise(np.random.default_rng(0).random((3, 5, 3)))
    y = torch.randn((1, 1, 5, 8, 7), generator=generator, dtype=torch.float64)
    weights = 0.2 + torch.rand(y.shape, generator=generator, dtype=torch.float64)
    return Constrained(
        WeightedLeastSquares(VolumeBlur(psf, "zero", (5, 8, 7), dtype=torch.float64), y, weights), (0, 2)
    )


def test_the_proximal_map_is_nearest_in_the_box_to_the_error_that_it_states() -> None:
    f, x = problem(), torch.linspace(-2, 3, 280, dtype=torch.float64).view(1, 1, 5, 8, 7)
    for tau in (0.5, 30.0):
        P = f.prox(tau)
        u = P(x)
        exact = x.clamp(0, 2)
        for _ in range(800):  # plain projected gradient steps
            exact = (exact - (tau * f.gradient(exact) + exact - x) / (1 + tau * f.L)).clamp(0, 2)
        assert float((u - exact).square().mean().sqrt()) <= P.error <= 1e-3
        assert float(u.min()) == 0 and float(u.max()) <= 2 and float((u == 0).sum()) > 20
        other = P(x + 0.3 * x.cos())
        gap = (u - other).square().sum() - ((u - other) * (x - (x + 0.3 * x.cos()))).sum()
        assert float(gap) <= 1e-2  # firmly nonexpansive
        assert P.certificate.averagedness == 0.5 and "the inner solver" in P.certificate.premises[0]


def test_a_floor_raises_the_bottom_of_the_box_place_by_place() -> None:
    f, x = problem(), torch.linspace(-2, 3, 280, dtype=torch.float64).view(1, 1, 5, 8, 7)
    floor = torch.rand(x.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64) - 0.3
    P = Constrained(f.inner, f.limits, floor).prox(30.0)
    exact = x
    for _ in range(800):
        exact = exact - (30.0 * f.gradient(exact) + exact - x) / (1 + 30.0 * f.L)
        exact = torch.maximum(exact.clamp(0, 2), floor)
    u = P(x)
    assert float((u - exact).square().mean().sqrt()) <= P.error
    assert bool((u >= floor).all()) and float((u == floor).sum()) > 20 and float(u.min()) == 0
    assert any(t is floor for t in Constrained(f.inner, f.limits, floor).with_data(f.y).watched())
    with pytest.raises(InputError, match="floor below its top"):
        Constrained(f.inner, f.limits, floor + 2)


def test_other_data_are_taken_by_both_terms() -> None:
    f = problem()
    moved = f.with_data(f.y + 1)
    x = torch.ones(1, 1, 5, 8, 7, dtype=torch.float64)
    torch.testing.assert_close(moved.gradient(x), moved.inner.gradient(x))
    assert not torch.allclose(moved.gradient(x), f.gradient(x))


def test_what_it_cannot_do_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    f = problem()
    with pytest.raises(InputError, match="low <= high"):
        Constrained(f.inner, (1, 0))
    counts = KullbackLeibler(from_matrix(torch.eye(3, dtype=torch.float64)), torch.ones(1, 3).double())
    with pytest.raises(InputError, match="proven, finite L"):
        Constrained(counts, (0, 1))
    monkeypatch.setattr(constrained, "MOST", 1)
    with pytest.warns(InexactWarning):
        f.prox(1e4)(torch.rand(1, 1, 5, 8, 7, dtype=torch.float64))


def test_a_gradient_step_is_refused_since_it_leaves_the_box() -> None:
    with pytest.raises(InputError, match=r"use prox\(tau\)"):
        problem().gradient_step(0.1)
