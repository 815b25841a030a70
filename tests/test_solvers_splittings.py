"""Splittings against independent solutions, and their averagedness against pairs."""

from __future__ import annotations

import math
from collections.abc import Callable

import catalogue
import numpy as np
import pytest
import scipy.optimize
import torch
from deepinv.physics import Denoising
from hypothesis import given, settings
from hypothesis import strategies as st
from test_algorithms import MATRIX, Y, lasso

from pnpkit import proximal
from pnpkit.errors import InputError, StepSizeError
from pnpkit.fidelities.least_squares import LeastSquares
from pnpkit.maps import Map
from pnpkit.operators.matrix import from_matrix
from pnpkit.solvers.iterations import KRASNOSELSKII_MANN, Fista
from pnpkit.solvers.loop import solve
from pnpkit.solvers.result import Status
from pnpkit.solvers.splittings import admm, continuation, davis_yin, douglas_rachford, factors_for, firm, half_quadratic

FIDELITY = LeastSquares(from_matrix(MATRIX), torch.from_numpy(Y)[None])
START = torch.zeros(1, 12, dtype=torch.float64)
TAU = 1 / FIDELITY.L


@pytest.mark.parametrize("splitting", [douglas_rachford, admm])
@pytest.mark.parametrize("tau", [0.01, 0.1])
def test_douglas_rachford_and_admm_find_the_lasso(splitting: Callable[..., Map], tau: float) -> None:
    run = solve(splitting(FIDELITY, proximal.soft_threshold(5 * tau), tau), START, tol=1e-13, max_steps=20_000)
    assert run.certificate.averagedness == 0.5 and run.guarantee.theorem is not None
    assert run.guarantee.theorem.name == KRASNOSELSKII_MANN
    assert np.abs(run.x[0].numpy() - lasso(5.0)).max() <= 1e-6


def test_davis_yin_finds_the_bounded_lasso() -> None:
    """On 0 <= x <= 0.4 the penalty 5 ||x||_1 is linear: a smooth problem with bounds, which scipy solves."""
    map = davis_yin(FIDELITY, proximal.box(0.0, 0.4), proximal.soft_threshold(5 * TAU), TAU)
    run = solve(map, START, tol=1e-13, max_steps=50_000)
    assert run.certificate.averagedness == pytest.approx(2 / 3)

    def objective(x: np.ndarray) -> tuple[float, np.ndarray]:
        gap = MATRIX @ x - Y
        return 0.5 * gap @ gap + 5 * x.sum(), MATRIX.T @ gap + 5

    options = {"ftol": 1e-16, "gtol": 1e-12, "maxiter": 10_000}
    bounds = [(0.0, 0.4)] * 12
    truth = scipy.optimize.minimize(
        objective, np.zeros(12), jac=True, bounds=bounds, method="L-BFGS-B", options=options
    )
    assert np.abs(run.x[0].numpy() - truth.x).max() <= 1e-6


def test_davis_yin_at_the_end_of_its_interval_claims_what_rounding_leaves() -> None:
    fidelity = LeastSquares(Denoising(), torch.zeros(1, 1, 2, 2, dtype=torch.float64))
    map = davis_yin(fidelity, proximal.box(0, 1), proximal.nonnegative(), math.nextafter(2 / fidelity.L, 0))
    assert map.certificate.lipschitz == 1 and not map.certificate.averaged  # 2 / (4 - tau L) rounds to 1


def test_davis_yin_is_scipys_nonnegative_least_squares() -> None:
    map = davis_yin(FIDELITY, proximal.nonnegative(), proximal.soft_threshold(0.0), TAU)
    run = solve(map, START, tol=1e-13, max_steps=50_000)
    assert np.abs(run.x[0].numpy() - scipy.optimize.nnls(MATRIX, Y)[0]).max() <= 1e-6


def test_half_quadratic_is_a_linear_system() -> None:
    """x = prox_ridge(prox_{tau f}(x)): (1 + w)(I + tau A^T A) x - x = ... solved directly."""
    tau, weight = 0.1, 0.3
    run = solve(half_quadratic(FIDELITY, proximal.tikhonov(weight), tau), START, tol=1e-14, max_steps=20_000)
    inner = np.eye(12) + tau * MATRIX.T @ MATRIX
    truth = np.linalg.solve((1 + weight) * inner - np.eye(12), tau * MATRIX.T @ Y)
    assert np.abs(run.x[0].numpy() - truth).max() <= 1e-6


def test_continuation_is_the_penalties_in_turn() -> None:
    """x_1 = B(s_1) prox_{c_1 tau f}(x), x = B(s_2) prox_{c_2 tau f}(x_1) with B(s) = 1 / (1 + s): solved directly."""
    tau, sigma, factors = 0.1, 0.3, (4.0, 1.0)
    map = continuation(FIDELITY, proximal.tikhonov, tau, sigma, factors=factors)
    run = solve(map, START, tol=1e-14, max_steps=20_000)
    normal, data = MATRIX.T @ MATRIX, MATRIX.T @ Y
    step, offset = np.eye(12), np.zeros(12)
    for factor in factors:
        inverse = np.linalg.inv(np.eye(12) + factor * tau * normal) / (1 + factor**0.5 * sigma)
        step, offset = inverse @ step, inverse @ (offset + factor * tau * data)
    truth = np.linalg.solve(np.eye(12) - step, offset)
    assert np.abs(run.x[0].numpy() - truth).max() <= 1e-6
    alone = half_quadratic(FIDELITY, proximal.tikhonov(sigma), tau, (0, 1))
    same = continuation(FIDELITY, proximal.tikhonov, tau, sigma, (0, 1), factors=(1.0,))
    assert torch.equal(alone(START), same(START)) and same.certificate.averagedness == alone.certificate.averagedness


def test_where_noise_is_weak_less_strength_is_enough() -> None:
    assert factors_for(1.0) == (8.0, 1.0) and factors_for(1000.0) == (2.0, 0.25)
    assert factors_for(25.0) == (4.0, 0.5)
    usual = continuation(FIDELITY, proximal.tikhonov, 25.0, 0.3)
    assert torch.equal(usual(START), continuation(FIDELITY, proximal.tikhonov, 25.0, 0.3, factors=(4.0, 0.5))(START))
    with pytest.raises(InputError, match="tau"):
        continuation(FIDELITY, proximal.tikhonov, -1.0, 0.3)


@pytest.mark.parametrize("factors", [(), (0.0,), (1.0, -2.0), (float("inf"),)])
def test_continuation_needs_positive_factors(factors: tuple[float, ...]) -> None:
    with pytest.raises(InputError):
        continuation(FIDELITY, proximal.tikhonov, 0.1, 0.3, factors=factors)


SPLITTINGS: dict[str, Callable[[LeastSquares, Map], Map]] = {
    "douglas-rachford": lambda f, d: douglas_rachford(f, d, 0.8),
    "admm": lambda f, d: admm(f, d, 0.8),
    "half quadratic": lambda f, d: half_quadratic(f, d, 0.8, (0, 1)),
    "continuation": lambda f, d: continuation(f, lambda _: d, 0.8, 0.05, (0, 1)),
    "davis-yin": lambda f, d: davis_yin(f, d, proximal.box(0, 1)),
}


def problem() -> LeastSquares:
    physics, _, y = catalogue.operator("gaussian circular")
    return LeastSquares(physics, y)


@pytest.mark.parametrize("name", SPLITTINGS)
def test_with_a_denoiser_it_is_proven_and_converges(name: str) -> None:
    fidelity = problem()
    map = SPLITTINGS[name](fidelity, catalogue.euler().at(0.05))
    assert map.certificate.averaged
    run = solve(map, fidelity.y, tol=1e-6, max_steps=5000)
    assert run.status is Status.CONVERGED and run.guarantee
    assert float((run.x - fidelity.y).abs().mean()) > 1e-3 and bool(torch.isfinite(run.x).all())


@pytest.mark.parametrize("name", SPLITTINGS)
def test_without_a_proven_denoiser_nothing_is_claimed(name: str) -> None:
    map = SPLITTINGS[name](problem(), catalogue.dncnn().at(0.05))
    assert not map.certificate.averaged and not map.certificate.proven


@pytest.mark.parametrize("name", SPLITTINGS)
@given(seed=st.integers(0, 10**6), scale=st.sampled_from([1e-3, 1e-1, 1.0]))
@settings(max_examples=25, deadline=None)
def test_averagedness_survives_random_pairs(name: str, seed: int, scale: float) -> None:
    """40 pairs an example: 1,000 for each splitting."""
    map = MAPS.setdefault(name, SPLITTINGS[name](problem40(), catalogue.euler().at(0.1)))
    generator = catalogue.generator(seed)
    x = torch.rand(40, 3, *catalogue.SIZE, generator=generator, dtype=torch.float64) * 2 - 0.5
    y = x + scale * torch.randn(x.shape, generator=generator, dtype=x.dtype)
    with torch.no_grad():
        move = (x - map(x) - y + map(y)).square().sum((1, 2, 3))
        image = (map(x) - map(y)).square().sum((1, 2, 3))
    alpha = map.certificate.averagedness
    assert alpha is not None
    before = (x - y).square().sum((1, 2, 3))
    assert bool((image <= before - (1 - alpha) / alpha * move + 1e-9 * before).all())


MAPS: dict[str, Map] = {}


def problem40() -> LeastSquares:
    physics, _, y = catalogue.operator("gaussian circular")
    return LeastSquares(physics, y.expand(40, -1, -1, -1))


def test_firm_keeps_fixed_points_and_halves_the_averagedness() -> None:
    d = catalogue.euler().at(0.1)
    assert d.certificate.averagedness is not None and d.certificate.averagedness > 0.5
    relaxed = firm(d)
    assert relaxed.certificate.averagedness is not None and relaxed.certificate.averagedness <= 0.5
    constant = torch.zeros(1, 3, 4, 4, dtype=torch.float64)
    torch.testing.assert_close(relaxed(constant), d(constant))
    box = proximal.box(0, 1)
    assert firm(box) is box


def test_iterative_proxes_name_their_premise() -> None:
    physics, _, y = catalogue.operator("motion zero")
    fidelity = LeastSquares(physics, y)
    certificate = fidelity.prox(0.5).certificate
    assert "inner solver of prox f" in certificate.all_premises()[0].kind
    assert problem().prox(0.5).certificate.premises == ()
    with pytest.raises(InputError, match="tau > 0"):
        fidelity.prox(0.0)
    with pytest.raises(StepSizeError):
        davis_yin(fidelity, proximal.box(0, 1), proximal.box(0, 1), 3.0)


def test_douglas_rachford_and_admm_end_at_one_picture() -> None:
    """Both solve x = prox_f z, x = firm(D)(2x - z): with a strongly convex f the picture is unique."""
    physics, _, y = catalogue.operator("identity")
    fidelity, denoiser = LeastSquares(physics, y), catalogue.euler().at(0.1)
    one = solve(douglas_rachford(fidelity, denoiser, 0.7), y, tol=1e-10, max_steps=5000)
    two = solve(admm(fidelity, denoiser, 0.7), y, tol=1e-10, max_steps=5000)
    assert one.status is Status.CONVERGED and two.status is Status.CONVERGED
    assert float((one.x - two.x).abs().max()) <= 1e-6
    assert float((one.x - y).abs().max()) > 1e-3


def test_fista_has_a_theorem_for_a_composition_alone() -> None:
    """Two reflections have the same parts, and are no proximal map after a gradient step."""
    one = LeastSquares(Denoising(), catalogue.image(1, 1, 4, 4))
    two = LeastSquares(Denoising(), catalogue.image(1, 1, 4, 4, seed=1))
    assert Fista().theorem((one.prox(1.0) @ two.gradient_step(0.5)).certificate) is not None
    assert Fista().theorem(douglas_rachford(one, two.gradient_step(0.5), 1.0).certificate) is None


def test_an_objective_is_never_below_the_minimum() -> None:
    """f + the indicator of a box, whose minimum is 2, while the image is still outside of the box."""
    fidelity = LeastSquares(Denoising(), torch.full((1, 1, 2, 2), 2.0))
    for splitting in (douglas_rachford, admm):
        for steps in (1, 2, 50):
            run = solve(splitting(fidelity, proximal.box(0, 1), 5.0), torch.zeros(1, 1, 2, 2), max_steps=steps, tol=0)
            assert run.objective[0] >= 2 - 1e-5
        assert run.objective[0] == pytest.approx(2, abs=1e-5)


def test_the_image_is_read_out_of_compositions_too() -> None:
    fidelity = LeastSquares(Denoising(), catalogue.image(1, 1, 4, 4))
    map, z = douglas_rachford(fidelity, proximal.box(0, 1), 1.0), catalogue.image(1, 1, 4, 4, seed=1)
    torch.testing.assert_close((map @ map).readout(z), map.readout(z))
    torch.testing.assert_close(map.scale(2.0).readout(z), map.readout(2 * z) / 2)
    with pytest.raises(InputError, match="auxiliary"):
        proximal.box(0, 1) @ map


def test_an_objective_over_sets_is_that_of_a_point_in_them() -> None:
    """Also behind an orthonormal transform; of two sets, whose common points are not known, there is none."""
    fidelity = LeastSquares(Denoising(), torch.full((1, 1, 2, 2), 2.0))
    mirrored = proximal.orthonormal(torch.neg, torch.neg, proximal.box(-1, 0))
    run = solve(douglas_rachford(fidelity, mirrored, 5.0), torch.zeros(1, 1, 2, 2), max_steps=2, tol=0)
    assert run.objective[0] == pytest.approx(2, abs=1e-5)
    assert davis_yin(fidelity, proximal.box(0, 1), proximal.l2_ball(1.2)).objective is None


@pytest.mark.parametrize("splitting", [douglas_rachford, admm, half_quadratic])
def test_a_tensor_of_tau_is_read_once(splitting: Callable[..., Map]) -> None:
    tau, x = torch.tensor(0.1, dtype=torch.float64), torch.ones_like(START)
    T = splitting(FIDELITY, proximal.soft_threshold(0.5), tau)
    before = T(x)
    tau.fill_(7.0)
    assert torch.equal(T(x), before)


def test_a_tensor_of_a_relaxation_is_read_once() -> None:
    lam, s, x = torch.tensor(0.5), torch.tensor(2.0), torch.tensor([[-3.0, 5.0]])
    relaxed, scaled = proximal.nonnegative().relax(lam), proximal.soft_threshold(1.0).scale(s)
    before = relaxed(x), scaled(x)
    lam.fill_(1.0), s.fill_(0.1)
    assert torch.equal(relaxed(x), before[0]) and torch.equal(scaled(x), before[1])
