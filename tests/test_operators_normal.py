"""The proximal map of the data term: exact for every operator, to the error that it proves, plane by plane or whole."""

from __future__ import annotations

from typing import Any

import catalogue
import pytest
import torch
from deepinv.physics import Blur
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pnpkit import kernels
from pnpkit.errors import InexactWarning
from pnpkit.fidelities.least_squares import LeastSquares
from pnpkit.numerics.conjugate_gradients import conjugate_gradients, length
from pnpkit.operators import normal_equations
from pnpkit.operators.blur import blur


@pytest.mark.parametrize("recorded", [True, False])
@pytest.mark.parametrize("tau", [0.3, 40.0, 1000.0])
@pytest.mark.parametrize("name", catalogue.OPERATORS)
def test_prox_is_that_of_a_dense_solve(name: str, tau: float, recorded: bool) -> None:
    """Where gradients are recorded, and where they are not and the solver starts at x."""
    physics, x, y = catalogue.operator(name)
    A = catalogue.dense(physics, x)
    right = (x + tau * physics.A_adjoint(y)).flatten(2)[0].T
    exact = torch.linalg.solve(torch.eye(A.shape[1], dtype=A.dtype) + tau * A.T @ A, right)
    with torch.set_grad_enabled(recorded):
        found = LeastSquares(physics, y).prox(tau)(x).flatten(2)[0].T
    closed = (found - exact).abs().max() <= 1e-9
    assert closed or float((found - exact).square().mean().sqrt()) <= normal_equations.TOLERANCE


@pytest.mark.parametrize("name", [n for n in catalogue.OPERATORS if "zero" in n or "unknown" in n])
def test_a_framed_blur_is_what_is_solved_with(name: str) -> None:
    physics, x, _ = catalogue.operator(name)
    known = normal_equations.structure(physics, x, 7.0)
    assert known.planes
    torch.testing.assert_close(known.gram(x), physics.A_adjoint(physics.A(x)))
    other = torch.rand(x.shape, generator=catalogue.generator(9), dtype=x.dtype)
    torch.testing.assert_close((known.inverse(x) * other).sum(), (x * known.inverse(other)).sum())
    assert float((known.inverse(x - other) * (x - other)).sum()) > 0


def test_a_start_at_x_saves_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of an x that explains the data up to noise, as late in a restoration."""
    physics = blur(kernels.motion(9, 30), "unknown", (60, 70), dtype=torch.float64)
    x = catalogue.image(1, 1, 64, 78)
    y = physics.A(x)
    y = y + 0.003 * torch.randn(y.shape, generator=catalogue.generator(1), dtype=y.dtype)
    prox, calls = LeastSquares(physics, y).prox(50.0), list[int]()

    def counted(apply: normal_equations.Linear, *rest: Any) -> Tensor:
        def system(u: Tensor) -> Tensor:
            calls.append(1)
            return apply(u)

        return conjugate_gradients(system, *rest)

    monkeypatch.setattr(normal_equations, "conjugate_gradients", counted)
    for recorded in (True, False):
        with torch.set_grad_enabled(recorded):
            prox(x)
        calls.append(0)
    zero, near = (len(part) for part in _split(calls))
    assert near < 0.8 * zero


def test_a_start_that_is_far_from_the_end_costs_no_exactness() -> None:
    """Of data that are zero, x is no guess: A^T A x, times tau, would be cancelled and rounded like it."""
    physics = blur(kernels.motion(9, 30), "unknown", (20, 22))
    x, y = catalogue.image(1, 1, 24, 30).float(), torch.zeros(1, 1, 20, 22)
    prox = LeastSquares(physics, y).prox(1e4)
    with torch.no_grad():
        here = prox(x)
    with torch.enable_grad():
        assert torch.equal(here, prox(x))


@pytest.mark.parametrize(
    "physics",
    [
        Blur(torch.ones(1, 1, 2, 3, dtype=torch.float64) / 6, padding="constant"),  # no centre
        Blur(torch.ones(1, 1, 3, 3, dtype=torch.float64) / 9, padding="reflect"),
        Blur(torch.rand(1, 3, 3, 3, dtype=torch.float64) / 9, padding="valid"),  # a filter for each colour
    ],
)
def test_other_blurs_are_solved_by_their_own_operator(physics: Blur) -> None:
    x, y = catalogue.image(1, 3, 9, 8), physics.A(catalogue.image(1, 3, 9, 8, seed=1))
    assert not normal_equations.structure(physics, x, 2.0).planes
    u = LeastSquares(physics, y).prox(2.0)(x)
    residual = u - x + 2.0 * physics.A_adjoint(physics.A(u) - y)
    assert float(residual.square().mean().sqrt()) <= 1.01 * normal_equations.TOLERANCE


def test_the_preconditioner_saves_most_of_the_steps() -> None:
    physics = blur(kernels.motion(9, 30), "unknown", (60, 70), dtype=torch.float64)
    x = catalogue.image(1, 1, 64, 78)
    known, tau, calls = normal_equations.structure(physics, x, 50.0), 50.0, []

    def system(u: Tensor) -> Tensor:
        calls.append(1)
        return u + tau * known.gram(u)

    goal = 1e-5 * length(x)
    for precondition in (lambda residual: residual, known.inverse):
        u = conjugate_gradients(system, x, goal, 500, precondition)
        assert float(length(system(u) - x)) <= 1.01 * float(goal)
        calls.append(0)
    plain, better = (len(part) for part in _split(calls))
    assert better < 0.7 * plain


@pytest.mark.parametrize("size", [(48, 60), (54, 63)])  # a box of 9 has exact zeros where 9 divides a side
def test_circular_blurs_without_a_stable_decomposition_take_few_steps(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Phases of frequencies that a Gaussian all but removes are those of rounding."""
    applied: list[int] = []
    real = normal_equations.conjugate_gradients

    def counted(apply: Any, *rest: Any) -> Tensor:
        def once(u: Tensor) -> Tensor:
            applied.append(1)
            return apply(u)  # type: ignore[no-any-return]

        return real(once, *rest)

    monkeypatch.setattr(normal_equations, "conjugate_gradients", counted)
    for kernel in (kernels.gaussian(1.6), kernels.box(9)):
        physics = blur(kernel, "circular", size)
        x = catalogue.image(1, 3, *size).float()
        f = LeastSquares(physics, physics.A(x))
        u = f.prox(300.0)(x)
        residual = u - x + 300.0 * f.gradient(u)
        assert float(residual.square().mean().sqrt()) <= 1e-4
    assert len(applied) <= 2 * 3 * 4


def _split(calls: list[int]) -> tuple[list[int], list[int]]:
    middle = calls.index(0)
    return calls[:middle], calls[middle + 1 : -1]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), size=st.integers(1, 12), count=st.integers(1, 3))
def test_conjugate_gradients_solve_each_item_by_itself(seed: int, size: int, count: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    root = torch.randn(count, size, size, generator=generator, dtype=torch.float64)
    matrices = root @ root.mT + torch.eye(size, dtype=torch.float64)
    right = torch.randn(count, size, generator=generator, dtype=torch.float64)
    right[0] = 0  # nothing to do there, and no division by zero
    goal = 1e-9 * torch.ones(count, 1, dtype=torch.float64)

    def apply(u: Tensor) -> Tensor:
        return (matrices @ u[..., None])[..., 0]

    together = conjugate_gradients(apply, right, goal, 200)
    assert float(length(together - torch.linalg.solve(matrices, right)).max()) <= 1e-8, "id <= M: residual bounds error"
    alone = [
        conjugate_gradients(lambda u, m=m: (m @ u[..., None])[..., 0], r[None], goal[:1], 200)  # type: ignore[misc]
        for m, r in zip(matrices, right, strict=True)
    ]
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-8, rtol=0)


def test_float32_asks_for_no_more_than_rounding_allows() -> None:
    physics = blur(kernels.gaussian(2.0), "unknown", (40, 40))
    y = torch.rand(1, 1, 40, 40, generator=catalogue.generator(0))
    fidelity = LeastSquares(physics, y)
    x = fidelity.start()
    u = fidelity.prox(1000.0)(x).double()
    exact = LeastSquares(blur(kernels.gaussian(2.0), "unknown", (40, 40), dtype=torch.float64), y.double())
    error = u - exact.prox(1000.0)(x.double())
    assert float(error.square().mean().sqrt()) <= 5e-4


def test_a_solver_that_does_not_reach_its_goal_says_so() -> None:
    generator = torch.Generator().manual_seed(0)
    gains = torch.logspace(0, 6, 400, dtype=torch.float64)[None]
    right, goal = torch.randn(1, 400, generator=generator, dtype=torch.float64), torch.full((1, 1), 1e-8)
    with pytest.warns(InexactWarning, match="ended after 20 steps"):
        conjugate_gradients(lambda u: gains * u, right, goal, 20)
    solved = conjugate_gradients(lambda u: gains * u, right, goal, 20, lambda u: u / gains)
    torch.testing.assert_close(solved, right / gains)
