"""Least squares: gradients, constants, steps, prox."""

from __future__ import annotations

import copy
import math

import catalogue
import numpy as np
import problems
import pytest
import torch
from deepinv.physics import (
    Decolorize,
    DecomposablePhysics,
    Denoising,
    GaussianNoise,
    LinearPhysics,
    StackedLinearPhysics,
)
from deepinv.utils import TensorList
from test_operators import Unknown

import pnpkit as pk
from pnpkit import kernels, proximal
from pnpkit.certificates import Bound, Side
from pnpkit.errors import InputError, StepSizeError
from pnpkit.fidelities.least_squares import LeastSquares
from pnpkit.operators import normal_equations
from pnpkit.operators.blur import blur
from pnpkit.operators.matrix import from_matrix
from pnpkit.operators.norms import norm_bound
from pnpkit.solvers.result import Status


@pytest.mark.parametrize("name", catalogue.OPERATORS)
def test_gradient_is_the_derivative_of_the_value(name: str) -> None:
    physics, x, y = catalogue.operator(name)
    fidelity = LeastSquares(physics, y)
    x.requires_grad_()
    (derivative,) = torch.autograd.grad(fidelity.value(x).sum(), x)
    torch.testing.assert_close(fidelity.gradient(x).detach(), derivative)


def test_step_sizes_outside_the_legal_interval_are_refused_with_the_numbers() -> None:
    physics, _, y = catalogue.operator("gaussian circular")
    fidelity = LeastSquares(physics, y)
    for tau in (0.0, -1.0, 2 / fidelity.L, 5.0, math.nan, math.inf):
        with pytest.raises(StepSizeError, match=r"tau = .* L = \|\|A\|\|\^2 <= 1 .* below 2"):
            fidelity.gradient_step(tau)
    certificate = fidelity.gradient_step(1.0).certificate
    assert certificate.averagedness == pytest.approx(0.5)
    assert 0 < fidelity.mu < 1e-6 and certificate.lipschitz == pytest.approx(1 - fidelity.mu, abs=1e-15)
    assert not certificate.contractive  # by less than 1e-6: rounding could take it
    mild = LeastSquares(blur(kernels.gaussian(0.6), "circular", catalogue.SIZE, dtype=torch.float64), y)
    assert mild.gradient_step(1.0).certificate.contractive  # a Gaussian has no zero on this grid


def test_contraction_factor_is_that_of_the_matrix() -> None:
    physics, x, y = catalogue.operator("gaussian circular")
    fidelity = LeastSquares(physics, y)
    basis = torch.eye(x[0, 0].numel(), dtype=x.dtype).view(-1, 1, *x.shape[2:])
    tau = 1.5
    truth = torch.linalg.matrix_norm((basis - tau * physics.A_adjoint(physics.A(basis))).flatten(1), 2)
    assert float(truth) <= fidelity.gradient_step(tau).certificate.lipschitz + 1e-9
    assert fidelity.gradient_step(tau).certificate.lipschitz == pytest.approx(float(truth), rel=1e-6)


def test_a_measured_norm_proves_nothing_unless_the_user_vouches_for_a_bound() -> None:
    physics = Unknown()
    y = catalogue.image(1, 1, 8, 8)
    measured = LeastSquares(physics, y).gradient_step().certificate
    assert measured.side is Side.MEASURED and "only measured" in measured.method
    vouched = LeastSquares(physics, y, norm=2.0).gradient_step().certificate
    assert vouched.averaged and "given by the user" in vouched.all_premises()[0].kind


def test_prox_is_the_minimiser() -> None:
    fidelity, _, _, _ = problems.tikhonov()
    x, tau = catalogue.image(1, 3, *catalogue.SIZE, seed=4), 0.7
    u = fidelity.prox(tau)(x)
    torch.testing.assert_close(fidelity.gradient(u) + (u - x) / tau, torch.zeros_like(u), atol=1e-10, rtol=0)


@pytest.mark.parametrize("name", catalogue.OPERATORS)
@pytest.mark.parametrize("tau", [0.3, 30.0])
def test_prox_of_every_operator_is_its_minimiser(name: str, tau: float) -> None:
    physics, x, y = catalogue.operator(name)
    fidelity, z = LeastSquares(physics, y), x.detach() + 0.1
    u = fidelity.prox(tau)(z)
    error = u + tau * fidelity.gradient(u) - z  # at least the distance to the minimiser, root mean square
    assert float(error.square().mean().sqrt()) <= 2 * normal_equations.TOLERANCE


def test_closed_forms_lose_nothing_to_a_large_tau() -> None:
    """Their rounding is that of x, not of tau x: in float32 no expansion that the proof excludes."""
    physics = blur(kernels.gaussian(1.5), "circular", (16, 16))
    prox = LeastSquares(physics, catalogue.image(1, 1, 16, 16).float()).prox(1e6)
    x = catalogue.image(1, 1, 16, 16, seed=1).float()
    for seed in range(5):
        step = 0.1 * torch.randn(x.shape, generator=catalogue.generator(seed))
        assert float((prox(x + step) - prox(x)).norm() / step.norm()) <= 1 + 1e-4


@pytest.mark.parametrize("tau", [0.0, -1.0, math.nan, math.inf, 1e-60, 1e60])
def test_a_tau_that_is_none_in_the_type_of_the_data_is_refused(tau: float) -> None:
    with pytest.raises(InputError, match="finite tau > 0"):
        LeastSquares(Denoising(), torch.zeros(1, 1, 2, 2)).prox(tau)


def test_a_tau_that_the_inner_solver_cannot_meet_is_refused() -> None:
    fidelity = LeastSquares(blur(kernels.gaussian(1.0), "unknown"), torch.rand(1, 1, 8, 8))
    with pytest.raises(InputError, match="too large for float32"):
        fidelity.prox(1e7)


@pytest.mark.parametrize("norm", [0.0, -1.0, math.nan, math.inf])
def test_a_norm_that_is_none_is_refused(norm: float) -> None:
    with pytest.raises(InputError, match="finite number > 0"):
        LeastSquares(Denoising(), torch.zeros(1, 1, 2, 2), norm=norm)


def test_steps_errors_are_input_errors() -> None:
    assert issubclass(StepSizeError, InputError)


CHANGES = {
    "another filter": lambda physics: physics.update_parameters(filter=3 * physics.filter),
    "written to": lambda physics: physics.filter.mul_(3),
    "part of a stack": lambda physics: physics.filter.mul_(3),
}


@pytest.mark.parametrize("change", CHANGES)
def test_an_operator_that_changed_is_refused(change: str) -> None:
    physics, x, y = catalogue.operator("gaussian circular")
    if "stack" in change:
        fidelity = LeastSquares(StackedLinearPhysics([Denoising(), physics]), TensorList([y, y]))
    else:
        fidelity = LeastSquares(physics, y)
    maps = (fidelity.gradient_step(1.0 / fidelity.L), fidelity.prox(2.0))
    before = [map(x) for map in maps]
    physics.noise_model = GaussianNoise(0.2)  # no part of A
    for map, image in zip(maps, before, strict=True):
        torch.testing.assert_close(map(x), image, rtol=0, atol=0)
    CHANGES[change](physics)
    for call in (*maps, fidelity.value, fidelity.gradient):
        with pytest.raises(InputError, match="make a new LeastSquares"):
            call(x)


@pytest.mark.parametrize("write", [lambda f: f.y.mul_(2), lambda f: setattr(f, "y", 2 * f.y)])
def test_a_measurement_that_changed_is_refused(write: object) -> None:
    physics, x, y = catalogue.operator("gaussian circular")
    fidelity = LeastSquares(physics, y)
    maps = (fidelity.gradient_step(), fidelity.prox(2.0))
    other = fidelity.with_data(3 * y)
    write(fidelity)
    for call in (*maps, fidelity.value, fidelity.gradient, lambda x: copy.deepcopy(fidelity)):
        with pytest.raises(InputError, match="y was changed"):
            call(x)
    other.gradient(x)
    ball = proximal.data_ball(physics, y, 50.0)
    y.add_(1)
    with pytest.raises(InputError, match="y was changed"):
        ball(x)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:FutureWarning")  # by the first torch.func.jvp of a process
@pytest.mark.parametrize("name", ["gaussian circular", "gaussian unknown", "mask"])
def test_torchs_transforms_go_through(name: str) -> None:
    """vmap over problems that stop by no number, derivatives both ways; prox has a symmetric derivative."""
    physics, x, y = catalogue.operator(name)
    fidelity = LeastSquares(physics, y)
    direction = catalogue.image(*x.shape, seed=8)
    prox = fidelity.prox(2.0)
    for function in (fidelity.gradient, fidelity.gradient_step(), *([prox] if fidelity.has_closed_prox else [])):
        together = torch.func.vmap(function)(torch.stack([x, 2 * x]))
        torch.testing.assert_close(together[1], function(2 * x))
    forward = torch.func.jvp(prox, (x,), (direction,))[1]
    backward = torch.func.vjp(prox, x)[1](direction)[0]
    assert float((forward - backward).square().mean().sqrt()) <= 2 * normal_equations.TOLERANCE


def test_arrays_of_numpy_are_copied() -> None:
    matrix = np.eye(3)
    physics = from_matrix(matrix)
    matrix *= 5
    assert norm_bound(physics).value == pytest.approx(1)
    kernel = np.full((3, 3), 1 / 9)
    physics = blur(kernel, "zero")
    kernel *= 5
    assert norm_bound(physics).value == pytest.approx(1)


def test_other_data_keep_what_is_known_of_the_norm() -> None:
    physics, y = Unknown(), catalogue.image(1, 1, 8, 8)
    one = LeastSquares(physics, y)
    other = one.with_data(2 * y)
    assert other.side is Side.MEASURED and other.L == one.L and one.y is y
    torch.testing.assert_close(other.gradient(y), physics.A_adjoint(physics.A(y) - 2 * y))


def test_a_stack_is_one_least_squares_problem() -> None:
    """A list of measurements: value, gradient, prox, and the fixed point of the joint problem."""
    blurred, x, y = catalogue.operator("gaussian circular")
    stack, measured = StackedLinearPhysics([blurred, Denoising()]), TensorList([y, x])
    fidelity = LeastSquares(stack, measured)
    assert fidelity.side is Side.PROVEN and fidelity.L == pytest.approx(2)
    parts = [LeastSquares(blurred, y), LeastSquares(Denoising(), x)]
    z = catalogue.image(seed=5)
    torch.testing.assert_close(fidelity.value(z), sum(part.value(z) for part in parts))
    torch.testing.assert_close(fidelity.gradient(z), sum(part.gradient(z) for part in parts))
    u = fidelity.prox(3.0)(z)
    assert float((u + 3 * fidelity.gradient(u) - z).square().mean().sqrt()) <= 2 * normal_equations.TOLERANCE
    run = pk.projected_gradient(stack, measured, (-math.inf, math.inf), tol=1e-12)
    torch.testing.assert_close(fidelity.gradient(run.x), torch.zeros_like(z), atol=1e-9, rtol=0)
    with pytest.raises(InputError, match="finite numbers"):
        pk.ista(stack, TensorList([y, torch.full_like(x, math.nan)]), 0.1)


def test_nothing_measured_is_no_division_by_zero() -> None:
    run = pk.fista(np.zeros((2, 3)), np.ones(2), 0.1)
    assert run.status is Status.CONVERGED and not run.x.any()


def test_a_norm_that_power_iteration_refutes_is_refused() -> None:
    x = catalogue.image(1, 1, 4, 4)
    with pytest.raises(InputError, match="at least 1"):
        LeastSquares(Denoising(), x, norm=0.1)
    assert LeastSquares(Denoising(), x, norm=1.0).premises == ("||A|| <= 1, given by the user",)


def test_a_bound_that_is_not_looked_at_is_a_premise() -> None:
    given = Bound(2.0, Side.PROVEN, "told by a friend")
    certificate = LeastSquares(Denoising(), catalogue.image(1, 1, 4, 4), norm=given).gradient_step().certificate
    assert certificate.averaged and certificate.premises == ("||A|| <= 2, given as told by a friend",)


def test_the_error_of_an_inner_solver_grows_with_the_norm() -> None:
    """Twenty times the norm, four hundred times the rounding: said, and true."""
    kernel = np.full((5, 5), 20 / 25)
    physics, exact = (blur(kernel, "unknown", (24, 24), dtype=dtype) for dtype in (torch.float32, torch.float64))
    x = catalogue.image(1, 1, 28, 28)
    y = exact.A(catalogue.image(1, 1, 28, 28, seed=1))
    fidelity = LeastSquares(physics, y.float())
    prox = fidelity.prox(10.0)
    found, true = prox(x.float()), LeastSquares(exact, y).prox(10.0)(x)
    assert float((found - true).square().mean().sqrt()) <= prox.error
    assert prox.error == pytest.approx(normal_equations.ROUNDING * torch.finfo(torch.float32).eps * 4001, rel=1e-3)
    assert f"{prox.error:.1g}" in prox.certificate.premises[0]
    with pytest.raises(InputError, match="too large for float32"):
        fidelity.prox(1e3)


def test_a_decomposition_by_somebody_else_is_a_premise() -> None:
    """deepinv takes U and V as functions, too. V three times an orthonormal one is no decomposition: no closed form."""
    x, minus, triple = catalogue.image(1, 1, 4, 4), lambda x: -x, lambda x: 3 * x
    foreign = LeastSquares(DecomposablePhysics(V=minus, V_adjoint=minus, mask=torch.ones_like(x)), x)
    assert foreign.has_closed_prox and "orthonormal" in foreign.prox(1.0).certificate.premises[0]
    wrong = LeastSquares(DecomposablePhysics(V=triple, V_adjoint=triple, mask=torch.ones_like(x)), x)
    assert not wrong.has_closed_prox and "inner solver" in wrong.prox(1.0).certificate.premises[0]
    torch.testing.assert_close(wrong.prox(1.0)(2 * x), (2 * x + 3 * x) / 10, atol=1e-4, rtol=0)
    for known in (Denoising(), Decolorize(), DecomposablePhysics(mask=torch.ones_like(x))):
        assert LeastSquares(known, x).prox(1.0).certificate.premises == ()
    known = Denoising()
    known.V = triple  # type: ignore[method-assign]
    with pytest.raises(InputError, match="A_adjoint is none"):
        LeastSquares(known, x).prox(1.0)


@pytest.mark.parametrize("name", ["gaussian circular", "gaussian unknown"])
def test_copies_work_and_still_watch(name: str) -> None:
    physics, x, y = catalogue.operator(name)
    fidelity = LeastSquares(physics, y)
    other = copy.deepcopy(fidelity)
    torch.testing.assert_close(other.gradient(x), fidelity.gradient(x))
    other.operator.filter.mul_(2)
    with pytest.raises(InputError, match="make a new LeastSquares"):
        other.gradient(x)
    physics.filter.mul_(2)
    with pytest.raises(InputError, match="make a new LeastSquares"):
        copy.deepcopy(fidelity)


def test_an_error_that_rests_on_a_measured_norm_says_so() -> None:
    premises = LeastSquares(Unknown(), catalogue.image(1, 1, 8, 8)).prox(2.0).certificate.premises
    assert "only measured" in premises[1]


def test_the_svd_of_a_matrix_is_found_once_and_again_after_a_change(monkeypatch: pytest.MonkeyPatch) -> None:
    physics = from_matrix(np.diag([1.0, 2.0]))
    calls, svd = [], torch.linalg.svd
    monkeypatch.setattr(torch.linalg, "svd", lambda *given, **how: calls.append(1) or svd(*given, **how))
    x = torch.ones(1, 2, dtype=torch.float64)
    for _ in range(3):
        assert physics.prox_l2(x, 0 * x, 1.0)[0].tolist() == pytest.approx([0.5, 0.2])
    assert len(calls) == 1
    physics.matrix.mul_(0)
    torch.testing.assert_close(physics.prox_l2(x, 0 * x, 1.0), x)


@pytest.mark.parametrize(
    ("operator", "y", "message"),
    [
        (lambda x: x, torch.ones(1, 1, 4, 4), "from_matrix"),
        (Denoising(), np.ones((1, 1, 4, 4)), "got ndarray"),
        (Denoising(), torch.full((1, 1, 4, 4), torch.nan), "NaN"),
        (Denoising(), torch.ones(1, 1, 4, 4).half(), "got torch.float16"),
        (Denoising(), torch.ones(0, 1, 4, 4), "with numbers in it"),
        (blur(np.ones((3, 3)) / 9, "circular", (6, 6)), torch.ones(1, 1, 7, 6), "does not fit A"),
    ],
)
def test_what_is_no_problem_is_refused(operator: object, y: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        LeastSquares(operator, y)


@pytest.mark.parametrize("norm", ["1", 0.0, math.inf, 1e200])
def test_what_is_no_norm_is_refused(norm: object) -> None:
    with pytest.raises(InputError, match=r"a finite number|scale A and y"):
        LeastSquares(Denoising(), torch.ones(1, 1, 4, 4), norm)


@pytest.mark.parametrize("scale", [1.0, 1e3, 1e6])
def test_the_stated_error_of_a_prox_holds_for_data_of_any_size(scale: float) -> None:
    """In float32 the solver rounds like x + tau A^T y, which is as large as the data."""
    random = np.random.default_rng(1)
    left, right = (np.linalg.qr(random.standard_normal((9, 9)))[0] for _ in range(2))
    matrix = torch.from_numpy(left @ np.diag(np.geomspace(4.6, 0.14, 9)) @ right)
    single, truth, tau = matrix.float(), scale * torch.from_numpy(random.random(9)), 5000.0
    operator = LinearPhysics(A=lambda x: x @ single.T, A_adjoint=lambda y: y @ single)
    f = LeastSquares(operator, (matrix @ truth).float()[None])
    point, start = f.prox(tau), (1.1 * truth).float()[None]
    system = torch.eye(9, dtype=torch.float64) + tau * matrix.T @ matrix
    exact = torch.linalg.solve(system, start[0].double() + tau * matrix.T @ f.y[0].double())
    assert float((point(start)[0].double() - exact).square().mean().sqrt()) <= point.error
