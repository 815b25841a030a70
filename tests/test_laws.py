"""Diagnostics find what is there, and laws of operators hold or say what is broken."""

from __future__ import annotations

import math

import catalogue
import pytest
import torch
from deepinv.physics import LinearPhysics
from torch import Tensor

import pnpkit
from pnpkit import proximal
from pnpkit.certificates import Bound, Certificate, Side
from pnpkit.errors import LawBroken
from pnpkit.fidelities.least_squares import LeastSquares
from pnpkit.laws.maps import audit
from pnpkit.laws.operators import check_adjoint, check_linear, check_norm
from pnpkit.solvers.iterations import residual_bound
from pnpkit.solvers.loop import solve
from pnpkit.solvers.result import Status, contraction_factor

CLAIM = Certificate("claim", 1.0, 0.9, Side.PROVEN, "for the test")


def points() -> Tensor:
    return catalogue.image(3, 3, 8, 8)


def test_the_audit_finds_the_norm_of_a_linear_map() -> None:
    gains = torch.linspace(0.2, 1.3, 192, dtype=torch.float64).view(1, 3, 8, 8)
    found = audit(lambda x: gains * x, CLAIM, points(), rounds=60)
    assert 1.25 < found.lipschitz <= 1.3 + 1e-9 and found.falsified and "FALSIFIED" in str(found)


def test_the_audit_finds_the_averagedness_of_a_reflection() -> None:
    found = audit(lambda x: 0.2 * x, CLAIM, points())  # (1 - a) id + a (-id): a = 0.4
    assert found.averagedness == pytest.approx(0.4) and found.lipschitz == pytest.approx(0.2) and not found.falsified
    assert audit(lambda x: -0.99 * x, CLAIM, points()).falsified  # needs 0.995


@pytest.mark.parametrize("name", ["euler clip zero", "euler relu zero", "plug and play", "box", "scaled"])
def test_the_audit_falsifies_no_true_claim(name: str) -> None:
    map = catalogue.MAPS[name]()
    found = audit(map, map.certificate, catalogue.image(2, 3, *catalogue.SIZE))
    assert not found.falsified and 0 < found.lipschitz <= 1


def test_the_audit_finds_that_dncnn_can_expand() -> None:
    network = catalogue.dncnn()
    with torch.no_grad():
        network.layers[-1].weight.mul_(500)  # type: ignore[union-attr, operator]
    found = audit(network.at(0.1), network.certificate, points())
    assert found.lipschitz > 1 and not found.falsified, "nothing was claimed, so nothing is falsified"


def test_rates_and_bounds() -> None:
    assert contraction_factor([0.5**k for k in range(20)]) == pytest.approx(0.5)
    assert math.isnan(contraction_factor([1.0]))
    assert residual_bound(0.5, 3.0, 8) == pytest.approx(1.0)


def test_explanations_say_what_is_proven_and_what_is_not() -> None:
    physics, _, y = catalogue.operator("gaussian circular")
    proven = pnpkit.plug_and_play(physics, y, catalogue.euler(), strength=0.05, max_steps=5).explain()
    for words in ("a fixed point", "averaged", "exact arithmetic", "tau = 1.9", "rose 0 times"):
        assert words in proven
    nothing = pnpkit.plug_and_play(physics, y, catalogue.dncnn(), strength=0.05, max_steps=5).explain()
    assert "Nothing is guaranteed" in nothing and "does not make the picture right" in nothing
    assert len(proven.split()) < 450


class Wrong(LinearPhysics):
    """A shift whose adjoint shifts the same way: wrong."""

    def A(self, x: Tensor, **kwargs: object) -> Tensor:
        return x.roll(1, -1)

    def A_adjoint(self, y: Tensor, **kwargs: object) -> Tensor:
        return y.roll(1, -1)


class Affine(Wrong):
    def A(self, x: Tensor, **kwargs: object) -> Tensor:
        return x + 1


@pytest.mark.parametrize("name", catalogue.OPERATORS)
def test_laws_hold_for_the_catalogue(name: str) -> None:
    physics, x, _ = catalogue.operator(name)
    assert check_linear(physics, x) < 1e-12 and check_adjoint(physics, x) < 1e-12
    assert check_norm(physics, x).side is Side.MEASURED


def test_broken_laws_are_named() -> None:
    x = points()
    with pytest.raises(LawBroken, match="not adjoint"):
        check_adjoint(Wrong(), x)
    with pytest.raises(LawBroken, match="not linear"):
        check_linear(Affine(), x)
    physics, x, _ = catalogue.operator("gaussian circular")
    with pytest.raises(LawBroken, match="above the bound 0.9"):
        check_norm(physics, x, 0.9)


def test_failures_are_stopped_with_the_right_sentence() -> None:
    """An under-estimated norm lets a step through that the residual then exposes; a wrong adjoint likewise."""
    physics, _, y = catalogue.operator("gaussian circular")
    cheat = LeastSquares(physics, y, norm=Bound(0.5, Side.PROVEN, "made up"))
    run = solve(cheat.gradient_step(7.0), y, tol=1e-9)
    assert run.status.failed and "made up" in str(run.certificate)
    wrong = LeastSquares(Wrong(), y, norm=1.0)
    run = solve(proximal.box(-1e9, 1e9) @ wrong.gradient_step(1.9), y, tol=1e-9)
    assert run.status is Status.DIVERGED and not run.certificate.averaged, "an adjoint that is none proves nothing"
