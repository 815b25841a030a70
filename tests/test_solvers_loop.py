"""The one loop: exact answers, bounds that theory promises, and every way to stop."""

from __future__ import annotations

import math

import catalogue
import numpy as np
import problems
import pytest
import torch
from deepinv.physics import Denoising

from pnpkit import fista, ista, proximal
from pnpkit.certificates import Bound, Certificate, Side
from pnpkit.errors import InputError
from pnpkit.fidelities.least_squares import LeastSquares
from pnpkit.maps import Map
from pnpkit.operators.matrix import from_matrix
from pnpkit.solvers import splittings
from pnpkit.solvers.guarantee import Existence, Lack
from pnpkit.solvers.iterations import (
    HALPERN,
    KRASNOSELSKII_MANN,
    Anderson,
    Fista,
    Halpern,
    Iteration,
    KrasnoselskiiMann,
    Picard,
)
from pnpkit.solvers.loop import solve
from pnpkit.solvers.result import Status, Step
from pnpkit.solvers.splittings import forward_backward
from pnpkit.solvers.watch import farthest


@pytest.mark.parametrize("iteration", [Picard(), KrasnoselskiiMann(1.2)])
def test_ridge_reaches_its_closed_form(iteration: Iteration) -> None:
    fidelity, prox, tau, solution = problems.tikhonov()
    run = solve(
        forward_backward(fidelity, prox, tau),
        torch.zeros_like(solution),
        iteration=iteration,
        tol=1e-11,
        max_steps=2000,
    )
    assert run.status is Status.CONVERGED
    torch.testing.assert_close(run.x, solution, atol=1e-8, rtol=0)
    assert run.guarantee.existence is Existence.UNIQUE


def test_halpern_keeps_its_bound_where_picard_fails() -> None:
    map, x0 = problems.rotation(), catalogue.image(1, 1, 5, 2)
    stuck = solve(map, x0, tol=1e-9, max_steps=300)
    assert stuck.status is Status.STEP_LIMIT and stuck.guarantee.lack is Lack.THEOREM
    gaps: list[float] = []
    iterates = [x0]

    def watch(step: Step) -> None:
        gaps.append(step.residual[0])

    run = solve(map, x0, iteration=Halpern(), tol=0, max_steps=300, callback=watch)
    assert run.guarantee.theorem is not None and run.guarantee.theorem.name == HALPERN
    x, memory = x0, Halpern().start(x0)
    for k in range(300):  # ||x_k - T x_k|| <= 2 ||x_0 - x*|| / (k + 1) with x* = 0
        image = map(x)
        assert float((x - image).norm()) <= 2 * float(x0.norm()) / (k + 1) + 1e-12
        x, memory = Halpern().next(k, x, image, memory)
    assert len(gaps) == 300 and len(iterates) == 1


def test_krasnoselskii_mann_converges_for_a_nonexpansive_map() -> None:
    run = solve(
        problems.rotation(1.0), catalogue.image(1, 1, 5, 2), iteration=KrasnoselskiiMann(0.5), tol=0, max_steps=200
    )
    assert run.guarantee.theorem is not None and run.guarantee.theorem.name == KRASNOSELSKII_MANN
    assert float(run.x.norm()) < 1e-6


def test_residual_of_plug_and_play_never_rises_and_obeys_the_summed_bound() -> None:
    physics, x, y = catalogue.operator("motion circular")
    from pnpkit.fidelities.least_squares import LeastSquares

    map = forward_backward(LeastSquares(physics, y), catalogue.euler().at(0.1), limits=(0, 1))
    x0 = y
    fixed = solve(map, x0, tol=1e-12, max_steps=5000)
    assert fixed.status is Status.CONVERGED and fixed.guarantee.existence in (Existence.BOUNDED, Existence.UNIQUE)
    alpha = map.certificate.averagedness
    assert alpha is not None
    total, last, x = 0.0, float("inf"), x0
    with torch.no_grad():
        for _ in range(200):
            image = map(x)
            gap = float((x - image).norm())
            assert gap <= last * (1 + 1e-9)
            total, last, x = total + gap**2, gap, image
    assert total <= alpha / (1 - alpha) * float((x0 - fixed.x).square().sum()) * (1 + 1e-6)


def test_images_of_a_batch_stop_by_themselves() -> None:
    box = proximal.box(0.0, 1.0)
    towards = Map(lambda x: 0.5 * x, Certificate("half", 0.5, 0.75, Side.PROVEN, "linear"))
    x0 = torch.stack([torch.full((1, 2, 2), 0.5), torch.zeros(1, 2, 2)])
    run = solve(box @ towards, x0, tol=1e-3, max_steps=5)
    assert run.statuses == (Status.STEP_LIMIT, Status.CONVERGED) and run.status is Status.STEP_LIMIT
    torch.testing.assert_close(run.x[0], torch.full((1, 2, 2), 0.5 / 2**5))
    assert len(run.residuals_per_image) == run.steps == 5


def nothing_proven(function: object) -> Map:
    return Map(function, Certificate("f", float("inf"), None, Side.MEASURED, "made up"))  # type: ignore[arg-type]


def test_divergence_stops_and_keeps_a_finite_iterate() -> None:
    run = solve(nothing_proven(lambda x: 3 * x), torch.ones(1, 1, 2, 2), tol=1e-9)
    assert run.status is Status.DIVERGED and run.status.failed and run.steps < 10
    assert bool(torch.isfinite(run.x).all())


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_not_finite_keeps_the_last_finite_iterate(poison: float) -> None:
    calls = []

    def map(x: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        return x * 0.9 if len(calls) < 4 else x * poison

    run = solve(nothing_proven(map), torch.ones(1, 1, 2, 2), tol=1e-9)
    assert run.status is Status.NOT_FINITE and run.steps == 4
    torch.testing.assert_close(run.x, torch.full((1, 1, 2, 2), 0.9**3))


def test_a_false_certificate_is_found_out() -> None:
    liar = Map(lambda x: 1.01 * x + 0.1, Certificate("liar", 1.0, 0.5, Side.PROVEN, "made up"))
    run = solve(liar, torch.ones(1, 1, 2, 2), tol=1e-9)
    assert run.status is Status.FALSIFIED and run.steps <= 3


def test_a_tiny_step_does_not_count_as_convergence() -> None:
    """The residual is that of the unrelaxed map: Krasnosel'skii-Mann with lam = 1e-6 has not converged."""
    half = Map(lambda x: 0.5 * x, Certificate("half", 0.5, 0.75, Side.PROVEN, "linear"))
    run = solve(half, torch.ones(1, 1, 2, 2), iteration=KrasnoselskiiMann(1e-6), tol=1e-3, max_steps=20)
    assert run.status is Status.STEP_LIMIT and run.residuals[-1] == pytest.approx(0.5)


def test_rounding_is_not_mistaken_for_a_rise() -> None:
    fidelity, prox, tau, _ = problems.tikhonov()
    fidelity = LeastSquares(catalogue.OPERATORS["identity"](), fidelity.y.float())
    run = solve(forward_backward(fidelity, prox, tau), fidelity.y, tol=0, max_steps=500)
    assert run.status in (Status.STEP_LIMIT, Status.CONVERGED)


def test_bad_arguments() -> None:
    box = proximal.box(0, 1)
    with pytest.raises(InputError, match="NaN"):
        solve(box, torch.full((1, 1, 2, 2), float("nan")))
    for arguments in ({"tol": -1.0}, {"tol": float("nan")}, {"max_steps": 0}):
        with pytest.raises(InputError, match="tol >= 0"):
            solve(box, torch.ones(1, 1, 2, 2), **arguments)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        solve(box, torch.ones(1, 1, 2, 2), tolerance=1e-3)  # type: ignore[call-arg]


@pytest.mark.parametrize("iteration", [Picard(), KrasnoselskiiMann(0.8), Halpern()])
@pytest.mark.parametrize("contractive", [True, False])
def test_measured_residuals_stay_under_the_proven_bound(iteration: Iteration, contractive: bool) -> None:
    fidelity, prox, tau, solution = problems.tikhonov()
    map = forward_backward(fidelity, prox if contractive else proximal.box(0.2, 0.5), tau)
    run = solve(map, torch.zeros_like(solution), iteration=iteration, tol=1e-9, max_steps=3000)
    assert len(run.bounds) == run.steps
    assert all(r <= b * (1 + 1e-6) for r, b in zip(run.residuals, run.bounds, strict=True))
    assert "Measured against proven" in run.explain()
    first = solve(map, torch.zeros_like(solution), iteration=Anderson(), tol=1e-9)
    assert first.bounds == ()


@pytest.mark.parametrize("contractive", [True, False])
def test_no_fixed_point_is_farther_than_the_bound(contractive: bool) -> None:
    fidelity, prox, tau, solution = problems.tikhonov()
    map = forward_backward(fidelity, prox if contractive else proximal.box(0.2, 0.5), tau)
    for x0 in (torch.zeros_like(solution), solution, 3 * torch.ones_like(solution)):
        gap = torch.linalg.vector_norm((x0 - map(x0)).flatten(1), dim=1).tolist()
        end = solve(map, x0, tol=1e-13, max_steps=20000).x
        distance = torch.linalg.vector_norm((x0 - end).flatten(1), dim=1).tolist()
        assert all(d <= b + 1e-9 for d, b in zip(distance, farthest(map, x0, gap), strict=True))
    free = splittings.douglas_rachford(fidelity, proximal.nonnegative(), tau)
    assert solve(free, torch.zeros_like(solution)).bounds == (), "neither a box nor a contraction: nothing is known"


def test_the_objective_is_that_of_the_closed_form() -> None:
    fidelity, prox, tau, solution = problems.tikhonov()
    assert prox.objective is not None
    truth = float(fidelity.value(solution) + prox.objective(solution) / tau)
    for map in (
        forward_backward(fidelity, prox, tau),
        splittings.douglas_rachford(fidelity, prox, tau),
        splittings.admm(fidelity, prox, tau),
        splittings.davis_yin(fidelity, prox, proximal.box(-9, 9), tau),
    ):
        run = solve(map, torch.zeros_like(solution), tol=1e-10, max_steps=5000)
        assert run.objective == pytest.approx((truth,) * len(solution), rel=1e-9)
    boxed = solve(forward_backward(fidelity, prox, tau, (0, 1)), torch.zeros_like(solution))
    assert boxed.objective == () and boxed.bounds != ()


def test_a_covered_run_may_rise_as_far_as_its_theorem_allows() -> None:
    """Halpern on a turn by almost 180 degrees: the residual falls to a thousandth and rises again, by the theorem."""
    angle = torch.tensor(math.pi - 1e-3, dtype=torch.float64)
    turn = torch.stack([torch.stack([angle.cos(), -angle.sin()]), torch.stack([angle.sin(), angle.cos()])])
    certificate = Certificate("turn", 1.0, None, Side.PROVEN, "orthogonal")
    map = Map(lambda x: 1 + ((x - 1).view(-1, 2) @ turn.mT).view_as(x), certificate)
    run = solve(
        map,
        torch.tensor([1.0, 0.0], dtype=torch.float64).view(1, 1, 1, 2),
        iteration=Halpern(),
        tol=1e-4,
        max_steps=4000,
    )
    assert run.status is Status.CONVERGED and max(run.residuals[2:]) > 100 * min(run.residuals[:2])


@pytest.mark.parametrize("seed", [2, 13, 27])
def test_anderson_never_calls_a_covered_run_diverged(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    turn = torch.linalg.qr(torch.randn(12, 12, generator=generator, dtype=torch.float64))[0]
    matrix = torch.diag(torch.logspace(0, -3, 12, dtype=torch.float64)) @ turn
    data = 10 * torch.randn(12, generator=generator, dtype=torch.float64)
    run = ista(matrix, data, 0.3, iteration=Anderson(), tol=1e-10, max_steps=900)
    assert run.status in (Status.CONVERGED, Status.STEP_LIMIT)


@pytest.mark.parametrize("size", [2, 3, 5])
@pytest.mark.parametrize("weight", [0.0, 0.1])
def test_the_momentum_of_fista_is_never_called_divergence(size: int, weight: float) -> None:
    """In few dimensions the residual passes near zero and comes back."""
    rises = []
    for seed in range(8):
        generator = torch.Generator().manual_seed(seed)
        matrix = torch.randn(size, size, generator=generator, dtype=torch.float64)
        data = torch.randn(size, generator=generator, dtype=torch.float64)
        run = fista(matrix, data, weight, tol=1e-10, max_steps=1500)
        assert not run.status.failed and run.guarantee, seed
        fidelity = LeastSquares(from_matrix(matrix), data[None])
        tau = 1 / fidelity.L
        map = forward_backward(fidelity, proximal.soft_threshold(tau * weight), tau)
        z, iteration, gaps = torch.zeros(1, size, dtype=torch.float64), Fista(), []
        memory = iteration.start(z)
        for k in range(300):
            image = map(z)
            gaps.append(float((z - image).norm()))
            assert gaps[-1] <= iteration.allowed(k, gaps[0], 0.0) + 1e-12, (seed, k)
            z, memory = iteration.next(k, z, image, memory)
        rises.append(max(b / max(a, 1e-14) for a, b in zip(gaps, gaps[1:], strict=False)))
    assert max(rises) > 1  # else nothing was tried that could have been called divergence


def test_fista_with_a_step_that_is_too_long_is_falsified() -> None:
    fidelity = LeastSquares(Denoising(), torch.ones(1, 1, 1, 3, dtype=torch.float64), Bound(0.4, Side.PROVEN, "a lie"))
    map = forward_backward(fidelity, proximal.box(-1e9, 1e9), 1 / fidelity.L)
    assert Fista().theorem(map.certificate) is not None
    run = solve(map, torch.full((1, 1, 1, 3), 0.9, dtype=torch.float64), iteration=Fista(), max_steps=60)
    assert run.status is Status.FALSIFIED and run.guarantee.lack is Lack.CONTRADICTED


def test_a_run_that_left_the_numbers_keeps_no_promise() -> None:
    certificate = Certificate("overflow", 1.0, 0.5, Side.PROVEN, "on paper")
    map = Map(lambda x: torch.where(x > 0.5, x - 0.1, torch.nan), certificate)
    run = solve(map, torch.ones(1, 1, 2, 2), tol=0.0, max_steps=20)
    assert run.status is Status.NOT_FINITE and run.guarantee.lack is Lack.OVERFLOW
    assert not run.guarantee and bool(torch.isfinite(run.x).all())


def test_what_grows_beyond_its_theorem_is_falsified_and_loses_its_guarantee() -> None:
    lie = Map(lambda x: 3 * x, Certificate("lie", 1.0, 0.5, Side.PROVEN, "wrong"))
    x0 = catalogue.image(1, 1, 4, 4)
    for iteration in (Picard(), KrasnoselskiiMann(0.5), Halpern(), Anderson(D=1.0)):
        run = solve(lie, x0, iteration=iteration, max_steps=60)
        assert run.status is Status.FALSIFIED and run.guarantee.lack is Lack.CONTRADICTED, iteration


def test_a_relaxation_that_no_theorem_covers_is_not_held_against_the_map() -> None:
    fidelity = LeastSquares(Denoising(), torch.zeros(1, 1, 1, 2, dtype=torch.float64))
    map, x0 = fidelity.gradient_step(1.9), torch.ones(1, 1, 1, 2, dtype=torch.float64)
    run = solve(map, x0, iteration=KrasnoselskiiMann(1.2), max_steps=20)
    assert run.status is not Status.FALSIFIED and run.guarantee.lack is Lack.THEOREM
    assert not run.guarantee and "KrasnoselskiiMann(relaxation=1.2)" in run.guarantee.reason


def test_the_bound_of_an_image_that_stopped_stays() -> None:
    x0 = torch.ones(2, 1, 1, 2, dtype=torch.float64)
    x0[0] += 1e-4
    x0[1] += 1.2e-4
    run = solve(LeastSquares(Denoising(), torch.ones_like(x0)).gradient_step(0.9), x0, tol=1e-4)
    assert len(run.residuals) == 2
    assert all(residual <= bound for residual, bound in zip(run.residuals, run.bounds, strict=True))
    assert repr(run).startswith("<Result 2x1x1x2: converged in 2 steps, residual ") and "proven" in repr(run)


def test_the_explanation_names_the_existence_that_was_assumed() -> None:
    map, x0 = splittings.half_quadratic(problems.tikhonov()[0], proximal.nonnegative(), 1.0), problems.tikhonov()[3]
    assert "T has a fixed point" in solve(map, x0, max_steps=2).explain()


@pytest.mark.parametrize("tau", [1e-6, 1e-3])
def test_a_tiny_step_of_a_splitting_does_not_count_either(tau: float) -> None:
    """The shrinkage goes with tau, so T is almost the identity: the plain residual is tiny at any point."""
    fidelity, _, _, _ = problems.tikhonov()

    def soft(step: float) -> Map:
        return proximal.soft_threshold(0.01 * step)

    x0 = catalogue.image(1, 3, *catalogue.SIZE, seed=9)
    for map in (
        forward_backward(fidelity, soft(tau), tau),
        splittings.half_quadratic(fidelity, soft(tau), tau),
        splittings.douglas_rachford(fidelity, soft(tau), tau),
        splittings.davis_yin(fidelity, soft(tau), proximal.box(0, 1), tau),
        (soft(tau) @ fidelity.gradient_step(tau)).relax(0.5),
    ):
        run = solve(map, x0, tol=1e-4, max_steps=3)
        assert run.status is Status.STEP_LIMIT, map.certificate.name
        whole = solve(forward_backward(fidelity, soft(1 / fidelity.L), 1 / fidelity.L), x0, tol=0, max_steps=1)
        assert 0.2 < run.residuals[0] / whole.residuals[0] < 5


def test_a_map_is_not_accused_of_what_its_inner_solver_leaves_over() -> None:
    exact = problems.rotation(0.1).relax(0.5)
    generator = catalogue.generator(3)

    def rough(x: torch.Tensor) -> torch.Tensor:
        return exact(x) + 1e-3 * torch.randn(x.shape, generator=generator, dtype=x.dtype)

    x0 = 0.01 * catalogue.image(1, 3, 25, 2)
    accused = solve(Map(rough, exact.certificate), x0, tol=0, max_steps=200)
    known = solve(Map(rough, exact.certificate, error=4e-3), x0, tol=0, max_steps=200)
    assert accused.status is Status.FALSIFIED and known.status is Status.STEP_LIMIT


def test_a_step_that_rounding_took_is_no_convergence() -> None:
    fidelity = LeastSquares(Denoising(), torch.ones(1, 1, 4, 4))
    map = forward_backward(fidelity, proximal.box(0, 1), 1e-9)
    run = solve(map, torch.full((1, 1, 4, 4), 0.5), tol=1e-4, max_steps=3)
    assert run.status is Status.STEP_LIMIT and run.residuals[-1] > 1
    arrived = solve(map, torch.ones(1, 1, 4, 4), tol=1e-4, max_steps=3)
    assert arrived.status is Status.STEP_LIMIT, "nothing so short tells a fixed point from any other"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"map": catalogue.euler()}, "D.at"),
        ({"x0": np.ones((1, 1, 4, 4))}, "got ndarray"),
        ({"x0": torch.ones(1, 1, 4, 4, dtype=torch.uint8)}, "got torch.uint8"),
        ({"x0": torch.ones(4)}, "got torch.float32"),
        ({"x0": torch.ones(1, 4, 4)}, "came back as"),
        ({"iteration": "anderson"}, "got 'anderson'"),
        ({"iteration": Anderson}, "Anderson"),
        ({"tol": "1e-4"}, "are numbers"),
    ],
)
def test_what_cannot_be_run_is_refused_in_a_sentence(change: dict, message: str) -> None:
    map = LeastSquares(Denoising(), torch.ones(1, 1, 4, 4)).gradient_step(1.0)
    with pytest.raises(InputError, match=message):
        solve(**{"map": map, "x0": torch.ones(1, 1, 4, 4)} | change)


def test_what_is_no_map_is_told_how_to_become_one() -> None:
    fidelity = LeastSquares(Denoising(), torch.ones(1, 3, 8, 8))
    for build in (splittings.half_quadratic, forward_backward, splittings.douglas_rachford, splittings.admm):
        with pytest.raises(InputError, match=r"got Euler: a denoiser becomes one by D\.at\(sigma\)"):
            build(fidelity, catalogue.euler(), 1.0)
    with pytest.raises(InputError, match="a depth is at least 1"):
        Anderson(depth=0)


def half(x: torch.Tensor) -> torch.Tensor:
    """The upper half of the rows."""
    return x[..., : x.shape[-2] // 2, :]


def slow_below(factor: float) -> Map:
    """Halves the upper rows and multiplies the lower ones with ``factor``, which is claimed to be at most 0.99."""
    rates = torch.tensor([0.5, 0.5, factor, factor], dtype=torch.float64)[:, None]
    return Map(lambda x: rates * x, Certificate("T", 0.99, 0.995, Side.PROVEN, "diagonal"))


def test_the_residual_of_what_is_shown_ends_a_run() -> None:
    x = torch.ones(1, 1, 4, 3, dtype=torch.float64)
    whole, part = solve(slow_below(0.99), x, tol=1e-3), solve(slow_below(0.99), x, tol=1e-3, shown=half)
    assert part.status is Status.CONVERGED and part.steps < whole.steps
    assert part.residuals[0] == pytest.approx(0.5) and whole.residuals[0] < 0.4
    assert all(bound >= seen for bound, seen in zip(part.bounds, part.residuals, strict=True))


def test_a_run_says_which_pixels_its_residuals_are_of() -> None:
    """Those in the frame may rise, while those of all cannot; a frame that is black and stays so has converged."""
    turn = torch.tensor([[0.0, -0.9], [0.9, 0.0]], dtype=torch.float64)
    map = Map(lambda x: turn @ x, Certificate("T", 0.9, 0.95, Side.PROVEN, "a turn that shrinks"))
    x = torch.tensor([1.0, 1.0], dtype=torch.float64).view(1, 1, 2, 1)
    whole, part = solve(map, x, max_steps=5, tol=0), solve(map, x, max_steps=5, tol=0, shown=half)
    assert part.residuals[2] > 10 * part.residuals[1] and part.guarantee
    assert "of the pixels in the frame" in part.explain() and "of all pixels, never rise" in part.explain()
    assert "pixels" not in whole.explain() and part.cropped and not whole.cropped
    x = torch.tensor([0.0, 0.0, 1.0, 1.0], dtype=torch.float64).view(1, 1, 4, 1)
    assert solve(slow_below(0.99), x, shown=half).residuals == (0.0,)


def test_what_is_not_shown_is_checked() -> None:
    run = solve(slow_below(1.1), torch.ones(1, 1, 4, 3, dtype=torch.float64), tol=1e-9, shown=half)
    assert run.status is Status.FALSIFIED and not run.guarantee
