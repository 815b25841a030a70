"""Proximal maps: firmly nonexpansive, and the minimisers that they claim to be."""

from __future__ import annotations

from collections.abc import Callable

import catalogue
import numpy as np
import pytest
import scipy.optimize
import torch
from catalogue import MATRIX, NORMAL, PROXES, RIGHT, SHAPE, turn
from deepinv.models import TVDenoiser
from deepinv.physics import Blur, Decolorize, LinearPhysics
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import Tensor

from pnpkit import proximal
from pnpkit.certificates import Kind
from pnpkit.errors import InputError
from pnpkit.fidelities.least_squares import LeastSquares
from pnpkit.maps import Map
from pnpkit.numerics.wavelets import Basis
from pnpkit.operators.matrix import from_matrix

points = hnp.arrays(np.float64, (1, *SHAPE), elements=st.floats(-5, 5))


@pytest.mark.parametrize("name", PROXES)
@given(points, points)
@settings(max_examples=60, deadline=None)
def test_firmly_nonexpansive(name: str, one: np.ndarray, two: np.ndarray) -> None:
    prox = PROXES[name]()
    assert prox.certificate.averagedness == 0.5 and prox.certificate.kind is Kind.PROX
    x, y = torch.from_numpy(one), torch.from_numpy(two)
    p, q = prox(x), prox(y)
    inner = float(((p - q) * (x - y)).sum())
    solver = 2 * prox.error * x.numel() ** 0.5  # what both may be off by where they are solved for; else 0
    assert float((p - q).square().sum()) <= inner + 3 * solver * float((x - y).norm()) + solver**2 + 1e-9
    assert float((p - q).norm()) <= prox.certificate.lipschitz * float((x - y).norm()) + solver + 1e-9


PENALTIES: dict[str, Callable[[Tensor], Tensor]] = {
    "soft_threshold": lambda u: 0.7 * u.abs().sum(),
    "group_soft_threshold": lambda u: 0.7 * u.square().sum(1).sqrt().sum(),
    "tikhonov": lambda u: 0.25 * u.square().sum(),
    "orthonormal": lambda u: 0.4 * turn(u).abs().sum(),
    "wavelet_soft_threshold": lambda u: 0.4 * sum(d.abs().sum() for d in Basis("haar", 1).analyse(u)[1]),
}


@pytest.mark.parametrize("name", PENALTIES)
def test_a_proximal_map_knows_its_penalty(name: str) -> None:
    u, penalty = catalogue.image(1, *SHAPE), PROXES[name]().objective
    assert penalty is not None
    torch.testing.assert_close(penalty(u), PENALTIES[name](u)[None])


def test_the_data_ball_is_scipys_constrained_minimiser() -> None:
    matrix, z = MATRIX.mT[:, :3], torch.tensor([[2.0, -1.0, 3.0]], dtype=torch.float64)
    y = matrix @ torch.tensor([0.3, 0.5, -0.2], dtype=torch.float64) + 0.1
    truth = scipy.optimize.minimize(
        lambda u: 0.5 * np.sum((u - z[0].numpy()) ** 2),
        np.zeros(3),
        jac=lambda u: u - z[0].numpy(),
        constraints={"type": "ineq", "fun": lambda u: 0.8**2 - np.sum((matrix.numpy() @ u - y.numpy()) ** 2)},
        method="SLSQP",
        options={"ftol": 1e-15},
    ).x
    ball = proximal.data_ball(from_matrix(matrix), y[None], 0.8)
    assert np.abs(ball(z)[0].numpy() - truth).max() < 1e-6
    assert ball.certificate.premises == (proximal.EXACT,)
    torch.testing.assert_close(ball(ball(z)), ball(z))


@pytest.mark.parametrize(
    ("physics", "premises"),
    [
        (catalogue.OPERATORS["gaussian circular"](), 0),
        (catalogue.OPERATORS["gaussian unknown"](), 1),
        (Decolorize().double(), 0),
    ],
)
def test_the_data_ball_is_entered_at_the_nearest_point(physics: LinearPhysics, premises: int) -> None:
    """At the nearest point z - u is a positive multiple of A^T (A u - y), and u is on the sphere."""
    z = 0.5 + catalogue.image(1, 3, *catalogue.SIZE, seed=3)
    y = physics.A(catalogue.image(1, 3, *catalogue.SIZE, seed=4))
    ball = proximal.data_ball(physics, y, 0.05)
    u = ball(z)
    back = physics.A_adjoint(physics.A(u) - y)
    assert float((physics.A(u) - y).norm()) == pytest.approx(0.05, rel=1e-3)
    angle = float(((z - u) * back).sum() / ((z - u).norm() * back.norm()))
    assert angle > 1 - (1e-9 if premises == 0 else 1e-2)
    inner = [premise for premise in ball.certificate.premises if premise != proximal.EXACT]
    assert len(inner) == premises


def test_a_ball_of_an_operator_that_was_changed_is_refused() -> None:
    operator = from_matrix(MATRIX.mT)
    ball = proximal.data_ball(operator, torch.zeros(1, operator.shape[0], dtype=torch.float64), 1.0)
    operator.matrix *= 2
    with pytest.raises(InputError, match="changed after the ball"):
        ball(torch.ones(1, operator.shape[1], dtype=torch.float64))


def test_an_empty_data_ball_is_refused() -> None:
    with pytest.raises(InputError, match="the data ball is empty"):
        proximal.data_ball(from_matrix(MATRIX.mT), torch.full((1, 8), 9.0, dtype=torch.float64), 1e-3)


@pytest.mark.parametrize("name", PENALTIES)
@given(points, points)
@settings(max_examples=40, deadline=None)
def test_minimises_its_objective(name: str, one: np.ndarray, two: np.ndarray) -> None:
    z, other = torch.from_numpy(one), torch.from_numpy(two)
    best = PROXES[name]()(z)

    def objective(u: Tensor) -> float:
        return float(PENALTIES[name](u) + 0.5 * (u - z).square().sum())

    for share in (1e-3, 0.1, 1.0):
        assert objective(best) <= objective(best + share * (other - best)) + 1e-9


INSIDE: dict[str, Callable[[Tensor], Tensor]] = {
    "box": lambda u: ((u >= -1) & (u <= 0.5)).all(),
    "nonnegative": lambda u: (u >= 0).all(),
    "l2_ball": lambda u: (u - 0.3).norm() <= 1.5 + 1e-9,
    "l1_ball": lambda u: u.abs().sum() <= 2 + 1e-9,
    "simplex": lambda u: (u >= 0).all() & ((u.sum() - 1).abs() < 1e-9),
    "half_space": lambda u: (u * NORMAL).sum() <= 0.7 + 1e-9,
    "affine": lambda u: (MATRIX @ u.flatten() - RIGHT).norm() < 1e-9,
}


@pytest.mark.parametrize("name", INSIDE)
@given(points)
@settings(max_examples=40, deadline=None)
def test_projections_land_inside_and_stay(name: str, one: np.ndarray) -> None:
    projection = PROXES[name]()
    image = projection(torch.from_numpy(one))
    assert bool(INSIDE[name](image))
    torch.testing.assert_close(projection(image), image, atol=1e-9, rtol=0)


@pytest.mark.parametrize("name", PROXES)
def test_a_batch_is_treated_image_by_image(name: str) -> None:
    if name == "orthonormal":
        return
    prox, x = PROXES[name](), torch.randn(3, *SHAPE, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for index in range(3):
        torch.testing.assert_close(prox(x)[index], prox(x[index : index + 1])[0])


def test_impossible_parameters_are_refused() -> None:
    for make in (
        lambda: proximal.soft_threshold(-1),
        lambda: proximal.tikhonov(float("nan")),
        lambda: proximal.box(1, 0),
        lambda: proximal.l2_ball(float("inf")),
        lambda: proximal.simplex(0),
        lambda: proximal.half_space(torch.zeros(2), 1.0),
        lambda: proximal.affine(torch.zeros(1, 8, dtype=torch.float64), torch.ones(1, dtype=torch.float64)),
    ):
        with pytest.raises(InputError):
            make()


@pytest.mark.parametrize("name", catalogue.PROXES)
def test_every_proximal_map_names_its_rounding_or_its_solver(name: str) -> None:
    certificate = PROXES[name]().certificate
    assert proximal.EXACT in map(str, certificate.all_premises())


def test_the_soft_threshold_of_complex_numbers_keeps_their_phase() -> None:
    z = torch.tensor([[3 + 4j, 0.3 - 0.4j, 0j]], dtype=torch.complex128)
    for weight, first in ((1.0, 2.4 + 3.2j), (0.0, 3 + 4j)):
        prox = proximal.soft_threshold(weight)
        assert prox(z)[0, 0] == pytest.approx(first) and prox(z)[0, 2] == 0
        assert prox.objective is not None and prox.objective(z).item() == pytest.approx(5.5 * weight)
    assert proximal.soft_threshold(1.0)(z)[0, 1] == 0


@pytest.mark.parametrize(
    ("prox", "z", "message"),
    [
        (proximal.simplex(1.0), torch.ones(4), r"got \(4,\): z\[None\] is a batch of one"),
        (proximal.l1_ball(1.0), torch.ones(4), "a batch of one"),
        (proximal.l2_ball(1.0), torch.ones(()), "a batch of one"),
        (proximal.box(0, 1), torch.ones(1, 4) * 1j, "no complex"),
        (proximal.simplex(1.0), torch.ones(1, 4) * 1j, "no complex"),
    ],
)
def test_what_has_no_proximal_map_is_refused(prox: Map, z: Tensor, message: str) -> None:
    with pytest.raises(InputError, match=message):
        prox(z)


def test_projection_onto_an_ill_conditioned_affine_set_in_float32() -> None:
    matrix = torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0 + 2**-13, 0.0]])
    z = torch.tensor([[3.0, -1.0, 2.0]])
    found = proximal.affine(matrix, matrix @ torch.ones(3))(z)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, torch.tensor([[1.0, 1.0, 2.0]]), atol=1e-6, rtol=0)


def test_total_variation_minimises_and_names_its_premise() -> None:
    prox = proximal.total_variation(0.3, tolerance=1e-9, max_steps=20_000)
    assert "duality gap" in prox.certificate.premises[0] and prox.certificate.averagedness == 0.5
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(2, 2, 6, 7, generator=generator, dtype=torch.float64)
    best = prox(z)

    def objective(u: Tensor) -> float:
        rows = torch.zeros_like(u)
        columns = torch.zeros_like(u)
        rows[..., :-1, :], columns[..., :-1] = u.diff(dim=-2), u.diff(dim=-1)
        return float(0.3 * (rows.square() + columns.square()).sum(1).sqrt().sum() + 0.5 * (u - z).square().sum())

    for _ in range(50):
        direction = torch.randn(z.shape, generator=generator, dtype=z.dtype)
        assert objective(best) <= objective(best + 1e-2 * direction) + 1e-9
    torch.testing.assert_close(prox(z[1:]), best[1:], atol=1e-6, rtol=0)
    torch.testing.assert_close(prox(z), best, atol=0, rtol=0)  # no memory between calls
    assert float((prox(z[:1]) - prox(z[1:])).norm()) <= float((z[:1] - z[1:]).norm())


def test_total_variation_of_a_grey_picture_is_deepinvs() -> None:
    z = catalogue.image(2, 1, 9, 8)
    theirs = torch.cat([TVDenoiser(crit=1e-9, n_it_max=5000)(one[None], 0.2) for one in z])
    torch.testing.assert_close(
        proximal.total_variation(0.2, tolerance=1e-5, max_steps=50_000)(z), theirs, atol=2e-5, rtol=0
    )


def test_the_duality_gap_bounds_the_error() -> None:
    z = catalogue.image(1, 3, 12, 10)
    exact = proximal.total_variation(0.1, tolerance=1e-7)(z)
    for tolerance in (1e-2, 1e-3, 1e-4):
        error = (proximal.total_variation(0.1, tolerance=tolerance)(z) - exact).square().mean().sqrt()
        assert float(error) <= tolerance + 1e-7


def test_in_another_basis_a_map_keeps_what_is_proven_about_it_and_no_more() -> None:
    loose = proximal.orthonormal(lambda x: x, lambda x: x, proximal.box(0, 1).relax(3.0)).certificate
    assert loose.lipschitz > 1 and loose.averagedness is None
    tight = proximal.orthonormal(lambda x: x, lambda x: x, proximal.box(0, 1)).certificate
    assert tight.averagedness == 0.5


@pytest.mark.parametrize("tau", [1e3, 1e6])
def test_the_prox_of_a_matrix_rounds_like_the_point(tau: float) -> None:
    """In float32 no expansion that the proof excludes, and the point of a solve in float64."""
    generator = torch.Generator().manual_seed(0)
    matrix, y, x = (torch.randn(*shape, generator=generator) for shape in ((20, 40), (1, 20), (1, 40)))
    prox = LeastSquares(from_matrix(matrix), y).prox(tau)
    exact = LeastSquares(from_matrix(matrix.double()), y.double()).prox(tau)
    torch.testing.assert_close(prox(x).double(), exact(x.double()), atol=1e-6, rtol=1e-6)
    u = exact(x.double())
    gradient = (u @ matrix.double().mT - y) @ matrix.double()
    torch.testing.assert_close(u + tau * gradient, x.double(), atol=1e-7 * tau, rtol=0)
    for _ in range(20):
        other = x + 0.1 * torch.randn(x.shape, generator=generator)
        assert float((prox(x) - prox(other)).norm()) <= float((x - other).norm()) * (1 + 1e-5)


def test_large_values_are_projected_onto_the_simplex() -> None:
    for value in (1e8, -1e8):
        torch.testing.assert_close(proximal.simplex()(torch.full((1, 4), value)), torch.full((1, 4), 0.25))
    torch.testing.assert_close(proximal.l1_ball(1.0)(torch.full((1, 4), 1e8)), torch.full((1, 4), 0.25))


def test_a_picture_too_small_for_wavelets_has_no_penalty() -> None:
    x = torch.rand(2, 1, 1, 16)
    prox = proximal.wavelet_soft_threshold(0.1)
    assert prox.objective is not None and prox.objective(x).tolist() == [0.0, 0.0]
    torch.testing.assert_close(prox(x), x)


def test_the_error_of_a_data_ball_is_no_larger_than_said() -> None:
    exact, x, _ = catalogue.operator("gaussian unknown")
    rough = Blur(exact.filter.float(), padding="valid", use_fft=True)
    y, z = exact.A(x) + 0.05, x + 0.3 * catalogue.image(*x.shape, seed=7)
    for radius in (0.1, 0.03):
        ball = proximal.data_ball(rough, y.float(), radius)
        gap = ball(z.float()) - proximal.data_ball(exact, y, radius)(z)
        assert (
            float(gap.square().mean().sqrt()) <= ball.error < 0.1
            and "no bound is known" in ball.certificate.premises[0]
        )


@pytest.mark.parametrize("weight, tolerance", [(0.2, 3e-3), (0.5, 3e-2)])
def test_total_variation_stops_where_its_gap_is_small_enough(weight: float, tolerance: float) -> None:
    """P(u) - min P is at most the gap, which is at most half of the squared tolerance, times the values."""
    z = catalogue.image(1, 3, 16, 18)

    def objective(u: torch.Tensor) -> float:
        return float(0.5 * (u - z).square().sum() + proximal.total_variation(weight).objective(u).sum())

    found, least = (proximal.total_variation(weight, tolerance=t, max_steps=20_000)(z) for t in (tolerance, 1e-4))
    assert objective(found) - objective(least) <= 0.5 * tolerance**2 * z.numel()
