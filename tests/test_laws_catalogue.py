"""The catalogues that the laws run over are complete: whatever there is stands in them."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from types import ModuleType

import catalogue
import physics
import problems
import pytest
from deepinv.physics import LinearPhysics

import pnpkit.fidelities
from pnpkit import proximal
from pnpkit.fidelities.data import DataTerm
from pnpkit.maps import Map
from pnpkit.networks import architectures
from pnpkit.operators import matrix
from pnpkit.solvers import iterations, splittings
from pnpkit.solvers.loop import solve
from pnpkit.solvers.result import Status

PARTS = [module.name for module in pkgutil.iter_modules(pnpkit.fidelities.__path__)]
ROOMS = [importlib.import_module(f"pnpkit.fidelities.{name}") for name in PARTS]
ELSEWHERE = {"Separable", "Constrained"}  # what others are made of; on a box: test_fidelities_constrained


def makers_of_maps(module: ModuleType) -> set[str]:
    """The public functions of a module that return a Map."""
    functions = inspect.getmembers(module, inspect.isfunction)
    own = [(name, f) for name, f in functions if f.__module__ == module.__name__ and not name.startswith("_")]
    return {name for name, function in own if inspect.signature(function).return_annotation in (Map, "Map")}


def test_every_operator_of_ours_is_in_the_catalogue() -> None:
    kinds = {kind for _, kind in inspect.getmembers(matrix, inspect.isclass) if kind.__module__ == matrix.__name__}
    ours = {type(case.make()) for case in physics.OURS.values()}
    assert {kind for kind in kinds if issubclass(kind, LinearPhysics)} <= ours


def test_every_proximal_map_is_in_the_catalogue() -> None:
    assert makers_of_maps(proximal) == {name.split(",")[0] for name in catalogue.PROXES}


def test_every_data_term_is_in_the_catalogue() -> None:
    kinds = {kind for part in ROOMS for _, kind in inspect.getmembers(part, inspect.isclass)}
    made = {kind for kind in kinds if issubclass(kind, DataTerm) and not inspect.isabstract(kind)}
    assert {kind.__name__ for kind in made} == {name.split(",")[0] for name in catalogue.FIDELITIES} | ELSEWHERE


def test_every_splitting_is_in_the_catalogue() -> None:
    assert makers_of_maps(splittings) == set(catalogue.SPLITTINGS)


def test_every_network_is_in_the_catalogue_and_is_a_map_there() -> None:
    kinds = {type(make()) for make in catalogue.NETWORKS.values()}
    assert {network for network, _ in architectures.NETWORKS.values()} <= kinds
    assert set(catalogue.NETWORKS) <= set(catalogue.MAPS)


def test_every_iteration_is_in_the_catalogue() -> None:
    assert {name: type(make()) for name, make in catalogue.ITERATIONS.items()} == iterations.ITERATIONS


@pytest.mark.parametrize("name", catalogue.ITERATIONS)
def test_every_iteration_ends_at_the_fixed_point_of_a_contraction(name: str) -> None:
    fidelity, prox, _, solution = problems.tikhonov()
    map = splittings.forward_backward(fidelity, prox, fidelity.unit_step_size())
    run = solve(map, fidelity.start(), iteration=catalogue.ITERATIONS[name](), tol=1e-3, max_steps=5000)
    assert run.status is Status.CONVERGED
    factor = map.certificate.lipschitz  # ||x - x*|| <= ||x - T x|| / (1 - factor)
    assert factor < 0.95 and float((run.x - solution).norm()) <= 1e-3 / (1 - factor) * float(solution.norm())
