"""The run watches its own theorem: planted violations are caught, and what rounding explains accuses nobody."""

from __future__ import annotations

import json

import catalogue
import deepinv
import numpy as np
import plants
import pytest
import scipy.sparse
import torch
from deepinv.physics import Denoising
from results import RESULTS

import pnpkit
from pnpkit import proximal
from pnpkit.certificates import Certificate, Side
from pnpkit.fidelities.least_squares import LeastSquares
from pnpkit.laws.maps import audit
from pnpkit.maps import Map
from pnpkit.solvers import splittings
from pnpkit.solvers.guarantee import Existence, Lack
from pnpkit.solvers.iterations import FISTA, Anderson, Fista, Halpern, Iteration, KrasnoselskiiMann, Picard
from pnpkit.solvers.loop import solve
from pnpkit.solvers.result import Status

HIDDEN = {("slope 1.5", "FISTA")}  # it jumps to a corner of the box, which is a fixed point


@pytest.mark.parametrize("label", plants.RUNS)
@pytest.mark.parametrize("name", plants.PLANTS)
def test_a_planted_violation_is_caught_and_told(name: str, label: str) -> None:
    step, words = plants.caught(name, plants.RUNS[label])
    if name == "honest" or (name, label) in HIDDEN:
        assert step is None
        return
    assert step is not None and words.startswith("nothing is guaranteed: the run contradicts the certificate: ")
    assert any(word in words for word in ("two points", "outside of the box", "the residual ||x - T x||"))


def test_the_stored_table_is_that_of_the_script() -> None:
    stored = json.loads((RESULTS / "plants.json").read_text())["plants"]
    assert set(stored) == set(plants.PLANTS) and all(set(row) == set(plants.RUNS) for row in stored.values())
    for label, run in plants.RUNS.items():
        assert stored["roll"][label]["step"] == plants.caught("roll", run)[0] == 2


@pytest.mark.parametrize("iteration", [Picard(), KrasnoselskiiMann(), Halpern(), Anderson(), Fista()])
def test_a_map_without_a_fixed_point_does_not_converge(iteration: Iteration) -> None:
    """T x = x + 1 is 1/2-averaged; its residual is small beside ||x|| in the end, and beside nothing that was given."""
    shift = Map(lambda x: x + 1, Certificate("shift", 1.0, 0.5, Side.PROVEN, "a translation"))
    run = solve(shift, torch.zeros(1, 1, 2, 2), iteration=iteration, tol=2e-3, max_steps=1500)
    assert run.status is Status.STEP_LIMIT and run.residuals[-1] > 2e-3
    assert run.guarantee.existence in (Existence.ASSUMED, None)


def test_a_solution_far_from_the_start_is_still_reached() -> None:
    towards = Map(lambda x: 0.5 * x + 50, Certificate("half", 0.5, 0.75, Side.PROVEN, "linear"))
    run = solve(towards, torch.ones(1, 1, 2, 2), tol=1e-5)
    assert run.status is Status.CONVERGED and float((run.x - 100).abs().max()) < 0.01


@pytest.mark.parametrize("size", [1.0, 1e6])
def test_the_rounding_of_large_data_accuses_no_map(size: float) -> None:
    generator = torch.Generator().manual_seed(0)
    y = torch.rand(1, 1, 16, 16, generator=generator)
    y[0, 0, 3, 4] = size
    fidelity = LeastSquares(pnpkit.blur(np.ones((1, 1)), boundary="circular", image_size=(16, 16)), y)
    wavelet = pnpkit.load_denoiser("wavelet").at(0.03)
    for iteration in (Picard(), Anderson()):
        map = splittings.forward_backward(fidelity, wavelet, 1 / fidelity.L, (0, 1))
        run = solve(map, fidelity.y.clamp(0, 1), iteration=iteration, tol=1e-6, max_steps=40)
        assert run.status in (Status.CONVERGED, Status.STEP_LIMIT) and run.guarantee


@pytest.mark.parametrize("name", catalogue.MAPS)
def test_no_true_map_is_accused(name: str) -> None:
    map, x0 = catalogue.MAPS[name](), catalogue.image(1, 3, *catalogue.SIZE, seed=11)
    for iteration in (Picard(), Halpern(), Anderson()):
        run = solve(map, x0, iteration=iteration, tol=0.0, max_steps=8)
        assert run.status is not Status.FALSIFIED, str(run.guarantee)


@pytest.mark.parametrize("name", [name for name in catalogue.NETWORKS if name not in ("ridge", "tv")])
def test_the_rounding_of_float32_accuses_no_network(name: str) -> None:
    map, x0 = catalogue.NETWORKS[name]().at(0.1), catalogue.image(1, 3, *catalogue.SIZE, seed=11).float()
    for iteration in (Picard(), Halpern(), Anderson()):
        run = solve(map, x0, iteration=iteration, tol=0.0, max_steps=40)
        assert run.status is not Status.FALSIFIED, str(run.guarantee)


def test_the_audit_searches_averagedness_too() -> None:
    """-0.9 in one direction and 0.95 elsewhere never expands, and is no 1/2-averaged map."""
    direction = torch.zeros(1, 3, 8, 8, dtype=torch.float64)
    direction[0, 1, 2, 3] = 1.0
    claim = Certificate("linear", 1.0, 0.5, Side.PROVEN, "for the test")

    def linear(x: torch.Tensor) -> torch.Tensor:
        return 0.95 * x - 1.85 * direction * x

    found = audit(linear, claim, catalogue.image(3, 3, 8, 8), rounds=20)
    assert found.lipschitz <= 1 and found.falsified
    assert found.averagedness == pytest.approx(0.95, abs=1e-6), "(1 + 0.9) / 2 is what -0.9 needs"
    true = Certificate("linear", 1.0, 0.95, Side.PROVEN, "for the test")
    assert not audit(linear, true, catalogue.image(3, 3, 8, 8), rounds=20).falsified


def test_an_iteration_says_which_tau_it_wants() -> None:
    generator = np.random.default_rng(0)
    matrix, y = generator.standard_normal((20, 12)), generator.standard_normal(20)
    run = pnpkit.projected_gradient(matrix, y, (0, 0.5), iteration=Fista())
    assert run.guarantee.theorem is not None and run.guarantee.theorem.name == FISTA
    assert (Fista().tau_L, Picard().tau_L) == (1.0, 1.9)


@pytest.mark.parametrize(("factor", "covered"), [(1 - 1e-6, True), (1 + 9e-14, True), (1 + 1e-6, False)])
def test_a_tau_of_one_over_L_is_that_up_to_rounding(factor: float, covered: bool) -> None:
    fidelity = LeastSquares(Denoising(), torch.ones(1, 1, 2, 2, dtype=torch.float64))
    map = splittings.forward_backward(fidelity, proximal.soft_threshold(0.1), factor / fidelity.L)
    assert (Fista().theorem(map.certificate) is not None) == covered


@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_the_momentum_of_fista_is_no_divergence_where_nothing_is_proven_either(kind: str) -> None:
    generator = np.random.default_rng(2)
    matrix, y = generator.standard_normal((30, 20)), generator.standard_normal(30)
    operator = matrix if kind == "dense" else scipy.sparse.linalg.aslinearoperator(scipy.sparse.csr_matrix(matrix))
    run = pnpkit.fista(operator, y, 0.1, tol=1e-10, max_steps=3000)
    assert run.status is Status.CONVERGED


def test_a_contraction_by_less_than_rounding_has_no_unique_fixed_point() -> None:
    near = Certificate("T", 1 - 9e-8, 0.9, Side.PROVEN, "float32 angles", bounded=True)
    assert not near.contractive and Certificate("T", 1 - 1e-6, 0.9, Side.PROVEN, "given").contractive
    run = solve(Map(lambda x: 0.5 * x, near), torch.ones(1, 1, 2, 2))
    assert run.guarantee.existence is Existence.BOUNDED


def test_a_value_outside_of_the_box_is_told() -> None:
    claim = Certificate("T", 1.0, 0.5, Side.PROVEN, "given", bounded=True)
    run = solve(Map(lambda x: 0.5 * x + 1, claim, box=(0.0, 1.0)), torch.ones(1, 1, 2, 2))
    assert run.status is Status.FALSIFIED and run.guarantee.lack is Lack.CONTRADICTED
    assert "1.5 lies outside of the box [0, 1]" in run.guarantee.reason


def test_small_numbers_do_not_underflow_to_convergence() -> None:
    y = 1e-30 * torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    blur = pnpkit.blur(np.full((3, 3), 1 / 9), boundary="circular", image_size=(16, 16))
    fidelity = LeastSquares(blur, y)
    run = solve(splittings.forward_backward(fidelity, proximal.nonnegative(), 1 / fidelity.L), y, max_steps=2)
    assert run.residuals[0] > 1e-4 and isinstance(fidelity.operator, deepinv.physics.LinearPhysics)


def test_an_expansion_too_small_for_any_pair_is_seen_in_the_residual() -> None:
    """A slope of 1.0005 may be rounding of float32 between two points, and cannot be over many steps."""
    creeping = Map(lambda x: x + 1 + 5e-4 * x, Certificate("T", 1.0, 0.5, Side.PROVEN, ""))
    run = solve(creeping, torch.zeros(1, 3, 8, 8), iteration=Picard(), tol=0.0, max_steps=50)
    assert run.status is Status.FALSIFIED and 2 < run.steps < 10
