"""Named algorithms against independent solutions: scikit-learn, scipy and closed forms, to 1e-6 in float64."""

from __future__ import annotations

import functools
from collections.abc import Callable

import catalogue
import deepinv
import numpy as np
import pytest
import scipy.optimize
import scipy.sparse
import sklearn.linear_model
import torch
from deepinv.physics import Denoising
from scipy.sparse.linalg import aslinearoperator

import pnpkit
from pnpkit import proximal
from pnpkit.errors import InputError, StepSizeError
from pnpkit.operators.matrix import from_matrix
from pnpkit.solvers.guarantee import Existence
from pnpkit.solvers.iterations import FISTA, Anderson, Fista, Iteration, KrasnoselskiiMann, Picard
from pnpkit.solvers.result import Result, Status

MATRIX = np.random.default_rng(0).standard_normal((30, 12))
Y = MATRIX @ np.random.default_rng(1).standard_normal(12) + 0.1 * np.random.default_rng(2).standard_normal(30)
TIGHT = {"tol": 1e-12, "max_steps": 20_000}


def lasso(weight: float) -> np.ndarray:
    model = sklearn.linear_model.Lasso(alpha=weight / len(Y), fit_intercept=False, tol=1e-14, max_iter=100_000)
    return model.fit(MATRIX, Y).coef_


@pytest.mark.parametrize("algorithm", ["ista", "fista"])
@pytest.mark.parametrize("weight", [0.5, 5.0, 40.0])
def test_sparse_regression_is_scikit_learns_lasso(algorithm: str, weight: float) -> None:
    run = getattr(pnpkit, algorithm)(MATRIX, Y, weight, **TIGHT)
    assert isinstance(run.x, np.ndarray) and run.x.shape == (12,)
    assert np.abs(run.x - lasso(weight)).max() <= 1e-6
    assert run.guarantee.theorem is not None
    assert (run.guarantee.theorem.name == FISTA) == (algorithm == "fista")


@pytest.mark.parametrize("iteration", [Picard(), KrasnoselskiiMann(0.9), Anderson(), Fista()])
def test_every_iteration_finds_the_lasso(iteration: object) -> None:
    run = pnpkit.ista(MATRIX, Y, 5.0, iteration=iteration, tau=1 / np.linalg.norm(MATRIX, 2) ** 2 * 0.999, **TIGHT)
    assert run.status is Status.CONVERGED and np.abs(run.x - lasso(5.0)).max() <= 1e-6


def test_projected_gradient_is_scipys_bounded_least_squares() -> None:
    run = pnpkit.projected_gradient(MATRIX, Y, (-0.3, 0.4), **TIGHT)
    truth = scipy.optimize.lsq_linear(MATRIX, Y, (-0.3, 0.4), tol=1e-14).x
    assert np.abs(run.x - truth).max() <= 1e-6 and run.guarantee.existence is Existence.UNIQUE


def test_projected_gradient_is_scipys_nonnegative_least_squares() -> None:
    run = pnpkit.projected_gradient(MATRIX, Y, proximal.nonnegative(), **TIGHT)
    assert np.abs(run.x - scipy.optimize.nnls(MATRIX, Y)[0]).max() <= 1e-6


def test_ridge_is_its_normal_equations() -> None:
    run = pnpkit.proximal_gradient(MATRIX, Y, lambda tau: proximal.tikhonov(3 * tau), **TIGHT)
    truth = np.linalg.solve(MATRIX.T @ MATRIX + 3 * np.eye(12), MATRIX.T @ Y)
    assert np.abs(run.x - truth).max() <= 1e-6


def test_a_scipy_operator_runs_but_its_norm_is_only_measured() -> None:
    """Of more columns than a measured norm takes products; the columns beyond those of the lasso are 0."""
    wide = np.hstack([MATRIX, np.zeros((30, 100))])
    run = pnpkit.ista(aslinearoperator(wide), Y, 5.0, tau=1e-2, **TIGHT)
    assert np.abs(run.x[:12] - lasso(5.0)).max() <= 1e-6
    assert not run.guarantee


@pytest.mark.parametrize("kind", [scipy.sparse.csr_array, aslinearoperator, lambda matrix: sparse_tensor(matrix)])
def test_fista_converges_whatever_the_matrix_is_kept_in(kind: Callable[[np.ndarray], object]) -> None:
    rng = np.random.default_rng(2)
    matrix, y = rng.standard_normal((30, 20)), rng.standard_normal(30)
    dense, other = (pnpkit.fista(operator, y, 0.1, tol=1e-10) for operator in (matrix, kind(matrix)))
    assert dense.status is other.status is Status.CONVERGED and other.certificate.nonexpansive
    np.testing.assert_allclose(other.x, dense.x, atol=1e-8)


def sparse_tensor(matrix: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(matrix).to_sparse()


def test_fista_with_a_denoiser_or_a_long_step_is_labelled_not_proven() -> None:
    physics, _, y = catalogue.operator("gaussian circular")
    run = pnpkit.plug_and_play(physics, y, catalogue.euler(), strength=0.1, iteration=Fista(), max_steps=5)
    assert not run.guarantee
    tau = 1.9 / np.linalg.norm(MATRIX, 2) ** 2
    long = pnpkit.ista(MATRIX, Y, 1.0, iteration=Fista(), tau=tau, max_steps=3)
    assert not long.guarantee


def test_an_iteration_says_which_step_it_wants_and_rounding_costs_no_theorem() -> None:
    f = pnpkit.LeastSquares(from_matrix(MATRIX), torch.from_numpy(Y)[None])
    limits = (0.0, 0.5)
    for tau in (None, 1 / f.L, (1 + 9e-14) / f.L):
        run = pnpkit.projected_gradient(MATRIX, Y, limits, iteration=Fista(), tau=tau)
        assert run.guarantee and run.status is Status.CONVERGED
    assert not pnpkit.projected_gradient(MATRIX, Y, limits, iteration=Fista(), tau=1.001 / f.L).guarantee
    usual, same = (pnpkit.ista(MATRIX, Y, 1.0, iteration=iteration) for iteration in (None, Picard()))
    np.testing.assert_array_equal(usual.x, same.x)


@functools.cache
def to_the_fixed_point(iteration: Iteration) -> Result:
    physics, _, y = catalogue.operator("gaussian circular")
    options = {"strength": 0.05, "tol": 1e-9, "max_steps": 20_000}
    return pnpkit.plug_and_play(physics, y, catalogue.euler(), iteration=iteration, **options)


@pytest.mark.parametrize("iteration", [Anderson(), Anderson(depth=2), KrasnoselskiiMann(0.7)])
def test_plug_and_play_reaches_the_same_fixed_point(iteration: Iteration) -> None:
    """The contraction has one fixed point; Anderson needs at most half the steps of Picard."""
    plain, other = to_the_fixed_point(Picard()), to_the_fixed_point(iteration)
    assert plain.status is Status.CONVERGED and other.status is Status.CONVERGED
    assert float((plain.x - other.x).abs().max()) < 1e-5
    assert other.guarantee
    if isinstance(iteration, Anderson):
        assert other.steps <= plain.steps / 2


def test_the_safeguard_bounds_the_sum_of_the_errors() -> None:
    """Whatever the candidates, the errors against T x_k sum below D r_0 zeta(1.1)."""
    anderson = Anderson(D=0.5)
    generator = catalogue.generator()
    x = torch.randn(1, 1, 4, 4, generator=generator, dtype=torch.float64)
    memory, total, first = anderson.start(x), 0.0, None
    for k in range(200):
        image = 0.2 * torch.randn(x.shape, generator=generator, dtype=x.dtype)  # no map at all
        first = float((x - image).norm()) if first is None else first
        following, memory = anderson.next(k, x, image, memory)
        total += float((following - image).norm())
        x = following
    assert memory.accelerated is not None and float(memory.accelerated) > 0
    assert total <= 0.5 * first * 10.6  # zeta(1.1) = 10.58


def test_deepinv_denoisers_come_in_and_claim_nothing() -> None:
    physics, _, y = catalogue.operator("gaussian circular")
    median = deepinv.models.MedianFilter()
    run = pnpkit.plug_and_play(physics, y, median, strength=0.1, max_steps=5)
    assert not run.guarantee and bool(torch.isfinite(run.x).all())


def test_pnpkit_denoisers_go_out_into_deepinv_solvers() -> None:
    from deepinv.optim import PnP
    from deepinv.optim.data_fidelity import L2
    from deepinv.optim.optimizers import optim_builder

    physics, _, y = catalogue.operator("gaussian circular")
    physics, y = physics.float(), y.float()
    physics = pnpkit.blur(pnpkit.kernels.gaussian(1.0), "circular", catalogue.SIZE)
    model = optim_builder(
        iteration="PGD",
        prior=PnP(denoiser=catalogue.euler()),
        data_fidelity=L2(),
        early_stop=False,
        max_iter=200,
        params_algo={"stepsize": 1.0, "g_param": 0.05},
    )
    theirs = model(y, physics)
    ours = pnpkit.plug_and_play(
        physics, y, catalogue.euler(), strength=0.05, tau=1.0, limits=None, tol=0, max_steps=200
    )
    torch.testing.assert_close(theirs, ours.x, atol=2e-4, rtol=0)


def test_bad_input_is_refused() -> None:
    with pytest.raises(StepSizeError):
        pnpkit.ista(MATRIX, Y, 1.0, tau=1.0)
    with pytest.raises(InputError, match="weight"):
        pnpkit.ista(MATRIX, Y, -1.0)
    with pytest.raises(InputError, match="operator is"):
        pnpkit.ista("matrix", Y, 1.0)
    with pytest.raises(InputError, match="finite"):
        pnpkit.ista(MATRIX, Y * np.nan, 1.0)
    with pytest.raises(InputError, match="denoiser is"):
        pnpkit.plug_and_play(MATRIX, Y, 3, strength=0.1)
    with pytest.raises(TypeError):
        pnpkit.ista(MATRIX, Y, 1.0, tolerance=1e-3)


def test_arrays_of_any_type_are_taken() -> None:
    usual = pnpkit.fista(MATRIX, Y, 0.1, tol=1e-10).x
    for operator, y in (
        (scipy.sparse.csr_array(MATRIX), Y),
        (MATRIX, Y.astype(">f8")),
        (MATRIX[:, ::-1], Y),
        (MATRIX.astype(np.longdouble), Y),
        (MATRIX.astype(np.float32), Y),
    ):
        found = pnpkit.fista(operator, y, 0.1, tol=1e-10).x
        found = found[::-1] if operator is not MATRIX and np.shares_memory(MATRIX, np.asarray(operator)) else found
        np.testing.assert_allclose(found, usual, atol=1e-5)
    whole = pnpkit.fista(np.array([[1, 2], [3, 4]]), np.array([1, 2]), 0.1)
    assert whole.x.dtype == np.float64 and whole.status is Status.CONVERGED


@pytest.mark.parametrize(
    ("operator", "y", "message"),
    [
        (MATRIX, Y[:-1], r"\(30,\) or a batch"),
        (aslinearoperator(MATRIX), Y[:-1], r"\(30,\) or a batch"),
        (MATRIX * 1j, Y, "real numbers"),
        (aslinearoperator(MATRIX * (1 + 1j)), Y, "expected a real operator"),
        (MATRIX, Y * np.nan, "30 NaN or inf among 30"),
        ("matrix", Y, "got str"),
        (np.ones((2, 0)), Y[:2], r"rows and columns, got a matrix \(2, 0\)"),
        (np.eye(30) * 1e200, Y, "scale A and y"),
        (Denoising(), np.ones((0, 1, 4, 4)), "with numbers in it"),
        (Denoising(), torch.ones(1, 1, 4, 4, dtype=torch.bfloat16), "float32 or float64"),
        (pnpkit.blur(np.ones((3, 3)) / 9, "circular", (6, 6)), np.ones((1, 1, 7, 6)), "does not fit A"),
    ],
)
def test_what_is_no_real_problem_is_refused(operator: object, y: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        pnpkit.ista(operator, y, 0.1)


def test_a_first_iterate_may_be_an_array() -> None:
    start = np.random.default_rng(3).standard_normal(12)
    run = pnpkit.plug_and_play(MATRIX, Y, proximal.box(-1, 1), strength=1.0, x0=start, limits=None, max_steps=1)
    step = np.clip(start - 1.9 / np.linalg.norm(MATRIX, 2) ** 2 * MATRIX.T @ (MATRIX @ start - Y), -1, 1)
    np.testing.assert_allclose(run.x, step, atol=1e-9)
    with pytest.raises(InputError, match="the shape of A"):
        pnpkit.plug_and_play(MATRIX, Y, proximal.box(-1, 1), strength=1.0, x0=start[:-1])


class Lag:
    """An operator as pylops makes them: a shape, matvec and rmatvec, none of scipy's classes."""

    shape, dtype = (12, 12), np.dtype(np.float64)

    def matvec(self, x: np.ndarray) -> np.ndarray:
        return x + 0.5 * np.roll(x, 1)

    def rmatvec(self, y: np.ndarray) -> np.ndarray:
        return y + 0.5 * np.roll(y, -1)


def test_whatever_scipy_takes_for_an_operator_is_one() -> None:
    matrix = np.eye(12) + 0.5 * np.roll(np.eye(12), 1, 0)
    y = np.random.default_rng(0).standard_normal(12)
    ours, dense = (pnpkit.ista(operator, y, 0.1, tol=1e-12) for operator in (Lag(), matrix))
    np.testing.assert_allclose(ours.x, dense.x, atol=1e-10)
    assert ours.guarantee and dense.guarantee


def test_an_object_with_A_and_its_adjoint_is_refused_with_the_way_to_make_it_one() -> None:
    class Duck:
        def A(self, x: torch.Tensor) -> torch.Tensor:
            return 2 * x

        A_adjoint = A

    y = torch.ones(1, 1, 4, 4, dtype=torch.float64)
    for call in (lambda: pnpkit.ista(Duck(), y, 0.1), lambda: pnpkit.LeastSquares(Duck(), y)):
        with pytest.raises(InputError, match=r"deepinv\.physics\.LinearPhysics\(A=A, A_adjoint=A_adjoint\)"):
            call()
    physics = deepinv.physics.LinearPhysics(A=Duck().A, A_adjoint=Duck().A_adjoint)
    assert pnpkit.ista(physics, y, 0.1).status is Status.CONVERGED


def halved(x: torch.Tensor, sigma: float) -> torch.Tensor:
    assert isinstance(sigma, float)
    return x / (1 + sigma)


NAMED = {"wavelet": True, "network": True, "function": False, "deepinv": False}


@pytest.mark.parametrize("kind", NAMED)
def test_a_denoiser_is_named_alike_everywhere(kind: str) -> None:
    given = {"network": catalogue.euler(), "function": halved, "deepinv": deepinv.models.MedianFilter()}
    denoiser = given.get(kind, kind)
    physics, _, y = catalogue.operator("gaussian circular")
    run = pnpkit.plug_and_play(physics, y, denoiser, strength=0.05, max_steps=3)
    assert bool(torch.isfinite(run.x).all())
    picture, kernel = catalogue.image(1, 3, 24, 24).float(), pnpkit.kernels.gaussian(1.0)
    restored = pnpkit.deblur(picture, kernel, denoiser=denoiser, boundary="circular", noise_level=0.02, max_steps=3)
    assert restored.certificate.averaged == run.certificate.averaged == NAMED[kind]
    assert pnpkit.denoise(picture, 0.05, denoiser=denoiser).image.shape == picture.shape


def test_what_is_no_denoiser_is_refused_with_what_is() -> None:
    picture = catalogue.image(1, 3, 24, 24).float()
    for wrong in (3, proximal.box(0, 1)):
        with pytest.raises(InputError, match=r"a network, a deepinv denoiser or a function D\(x, sigma\)"):
            pnpkit.denoise(picture, 0.05, denoiser=wrong)


def test_other_data_terms_go_into_every_algorithm() -> None:
    """A reading that is off by 100 moves least squares, and Huber's loss hardly."""
    spoiled = Y.copy()
    spoiled[3] += 100
    clean = pnpkit.ista(MATRIX, Y, 0.1, tol=1e-9).x
    plain = pnpkit.ista(MATRIX, spoiled, 0.1, tol=1e-9).x
    robust = pnpkit.ista(MATRIX, spoiled, 0.1, tol=1e-9, fidelity=lambda A, y: pnpkit.Huber(A, y, 0.1)).x
    assert np.linalg.norm(robust - clean) < 0.1 * np.linalg.norm(plain - clean)
    left_out = np.ones(len(Y))
    left_out[3] = 0
    weighted = pnpkit.fista(
        MATRIX, spoiled, 0.1, tol=1e-9, fidelity=lambda A, y: pnpkit.WeightedLeastSquares(A, y, left_out)
    )
    kept = np.delete(MATRIX, 3, 0), np.delete(Y, 3)
    np.testing.assert_allclose(weighted.x, pnpkit.ista(*kept, 0.1, tol=1e-10).x, atol=1e-6)
    assert weighted.guarantee.theorem == pnpkit.fista(MATRIX, Y, 0.1, tol=1e-9).guarantee.theorem
