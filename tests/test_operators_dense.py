"""Every fast path against the dense matrix: all operators, two and three dimensions, paddings, types, casts, copies."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import Any

import deepinv.physics as dp
import physics
import pytest
import torch
from deepinv.utils import TensorList
from torch import Tensor

from pnpkit.certificates import Side
from pnpkit.errors import InputError
from pnpkit.fidelities.least_squares import LeastSquares
from pnpkit.operators.adjoint import has_adjoint
from pnpkit.operators.norms import norm_bound, smallest_singular_value

CASES = {**physics.CASES, **physics.OURS}
CASTS: dict[str, Callable[[Any], tuple[Any, torch.dtype]]] = {
    "as it is made": lambda operator: (operator, torch.float32),
    ".double()": lambda operator: (operator.double(), torch.float64),
    ".to(torch.float64)": lambda operator: (operator.to(torch.float64), torch.float64),
    ".half()": lambda operator: (operator.half(), torch.float32),
    "deepcopy": lambda operator: (copy.deepcopy(operator), torch.float32),
}
NO_FOLD = torch.finfo(torch.float32).eps * 100  # what the rounding of deepinv's float32 parameters may change


def dense(apply: Callable[[Tensor], Tensor | TensorList], shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """The matrix (m, n) of a linear function of one image, in float64, column by column."""
    basis = torch.eye(torch.Size(shape).numel(), dtype=dtype).view(-1, 1, *shape)
    return torch.cat([physics.flat(apply(image)) for image in basis]).T


def problem(name: str, cast: str) -> tuple[dp.LinearPhysics, Tensor, Tensor]:
    """The operator, an image of its domain and its matrix; skips what deepinv itself cannot compute."""
    case = CASES[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a cast drops imaginary parts, deepinv has deprecated defaults
        operator, dtype = CASTS[cast](case.make())
    dtype = case.dtype or dtype
    x = torch.rand(1, *case.shape, generator=physics.generator(2)).to(dtype)
    try:
        operator.A_adjoint(operator.A(x))
        return operator, x, dense(operator.A, case.shape, dtype)
    except (RuntimeError, IndexError, NotImplementedError) as error:
        assert name in physics.FAILING or cast.startswith((".half", ".double", ".to")), error
        pytest.skip(f"deepinv cannot compute it: {error}")


@pytest.mark.parametrize("cast", CASTS)
@pytest.mark.parametrize("name", CASES)
def test_constants_are_those_of_the_matrix(name: str, cast: str) -> None:
    operator, x, matrix = problem(name, cast)
    if x.is_complex():  # only its refusal is tested
        return
    values = torch.linalg.svdvals(matrix)
    bound = norm_bound(operator, x)
    largest, rounding = float(values[0]), NO_FOLD if cast != ".half()" else 5e-3
    assert bound.side is Side.MEASURED or bound.value >= largest * (1 - rounding)
    if bound.side is Side.MEASURED:
        assert bound.value <= largest * (1 + rounding)
        assert name in physics.UNPROVEN, "no proof of a norm is lost without a word"
    if name in physics.EXACT and cast != ".half()":
        assert bound.value == pytest.approx(largest, rel=1e-3)
    least = float(values[-1]) if matrix.shape[0] >= matrix.shape[1] else 0.0
    assert smallest_singular_value(operator) <= least * (1 + rounding) + 1e-6 * largest


@pytest.mark.parametrize("cast", [cast for cast in CASTS if cast != ".half()"])
@pytest.mark.parametrize("name", CASES)
def test_gradient_and_prox_are_those_of_the_matrix(name: str, cast: str) -> None:
    operator, x, matrix = problem(name, cast)
    measured = operator.A(0.5 * x)
    if any(part.is_complex() for part in (measured if isinstance(measured, TensorList) else [measured])):
        with pytest.raises(InputError, match="float32 or float64"):
            LeastSquares(operator, measured)
        return
    fidelity, y = LeastSquares(operator, measured), physics.flat(measured)[0]
    z = x + 0.1
    point = physics.flat(z)[0]
    back = physics.flat(operator.A_adjoint(measured))[0]
    if float((back - matrix.T @ y).norm()) > 1e-4 * float(matrix.norm() * y.norm()):
        assert not has_adjoint(operator, x) and fidelity.side is Side.MEASURED
        with pytest.raises(InputError, match="A_adjoint is none"):
            fidelity.prox(1.0)
        return
    gradient = physics.flat(fidelity.gradient(z))[0]
    torch.testing.assert_close(gradient, matrix.T @ (matrix @ point - y), atol=1e-4, rtol=1e-4)
    for tau in (0.3, 30.0):
        exact = torch.linalg.solve(
            torch.eye(len(point), dtype=torch.float64) + tau * matrix.T @ matrix, point + tau * matrix.T @ y
        )
        prox = fidelity.prox(tau)
        error = float((physics.flat(prox(z))[0] - exact).square().mean().sqrt())
        assert error <= max(prox.error, 1e-5), (tau, prox.certificate.method)


@pytest.mark.parametrize("cast", ["deepcopy", ".to(torch.float64)"])
def test_a_circular_blur_that_lost_its_phase_is_solved_by_what_it_computes(cast: str) -> None:
    """The closed form would be off by 0.6 at tau = 30."""
    operator, x, _ = problem("BlurFFT without a zero", cast)
    fidelity = LeastSquares(operator, operator.A(x))
    assert fidelity.has_closed_prox == (cast == "deepcopy")
    u = fidelity.prox(30.0)(x + 0.1)
    assert float((u - x - 0.1 + 30 * fidelity.gradient(u)).square().mean().sqrt()) <= 1e-4


@pytest.mark.parametrize("padding", ["valid", "constant"])
def test_a_blur_of_a_volume_does_not_take_the_way_of_pictures(padding: str) -> None:
    operator = dp.Blur(physics.random(1, 1, 3, 3, 3) / 3, padding=padding)
    for depth in (3, 5):
        x = torch.rand(1, 1, depth, 6, 5, generator=physics.generator())
        fidelity = LeastSquares(operator, operator.A(x))
        u = fidelity.prox(5.0)(x + 0.1)
        assert float((u - x - 0.1 + 5 * fidelity.gradient(u)).square().mean().sqrt()) <= 1e-4
        assert fidelity.side is Side.PROVEN


def test_every_linear_operator_of_deepinv_is_in_the_catalogue() -> None:
    """Or is named with the package that it needs: then making it says so."""
    exported = {kind for kind in vars(dp).values() if isinstance(kind, type) and issubclass(kind, dp.LinearPhysics)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = {type(case.make()) for case in physics.CASES.values()}
    assert {kind.__name__ for kind in exported - made} == set(physics.ELSEWHERE)
    for make, error in physics.ELSEWHERE.values():
        with warnings.catch_warnings(), pytest.raises(error):
            warnings.simplefilter("ignore")
            make()
    assert {*physics.UNPROVEN, *physics.EXACT, *physics.FAILING} <= set(CASES)
