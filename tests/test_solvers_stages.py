"""Runs in stages: residuals joined, the last stage's proof, and who takes over when."""

from __future__ import annotations

import math

import pytest
import torch

from pnpkit.certificates import Certificate, Side, nothing
from pnpkit.errors import InputError
from pnpkit.maps import Map
from pnpkit.solvers.iterations import Anderson, Picard
from pnpkit.solvers.loop import solve
from pnpkit.solvers.result import Result, Status, Step
from pnpkit.solvers.stages import Stage, solve_in_stages

START = torch.ones(1, 1, 2, 2, dtype=torch.float64)


def towards(goal: float, factor: float = 0.5) -> Map:
    """x -> goal + factor (x - goal): a contraction with the fixed point ``goal``."""
    certificate = Certificate(f"towards {goal}", factor, (1 + factor) / 2, Side.PROVEN, "linear")
    return Map(lambda x: goal + factor * (x - goal), certificate, box=(-10.0, 10.0))


def stage(map: Map, tol: float = 1e-3, **more: object) -> Stage:
    return Stage(lambda _: map, tol, Picard(), **more)  # type: ignore[arg-type]


def test_one_stage_is_a_run() -> None:
    one, run = solve_in_stages([stage(towards(3.0))], START, max_steps=50), solve(towards(3.0), START, tol=1e-3)
    assert (one.residuals, one.steps, one.status, one.bounds) == (run.residuals, run.steps, run.status, run.bounds)
    assert one.guarantee == run.guarantee and one.guarantee.before == ()


def test_a_stage_begins_where_the_one_before_it_ended() -> None:
    seen: list[Step] = []
    first, second = solve(towards(3.0), START, tol=1e-3), towards(4.0, 0.25)
    last = solve(second, first.x, tol=1e-3)
    run = solve_in_stages([stage(towards(3.0)), stage(second)], START, max_steps=50, callback=seen.append)
    assert torch.equal(run.x, last.x) and run.residuals == first.residuals + last.residuals
    assert [step.number for step in seen] == list(range(1, run.steps + 1))
    assert run.certificate == second.certificate, "the proof is that of the last stage"
    assert run.bounds == (math.inf,) * first.steps + last.bounds
    assert [stage.steps for stage in run.guarantee.before] == [first.steps]


def test_the_map_of_a_stage_is_made_of_what_converged_before_it() -> None:
    given: list[Result | None] = []

    def map(run: Result | None) -> Map:
        given.append(run)
        return towards(4.0)

    rough = stage(towards(3.5), patience=3)
    run = solve_in_stages([stage(towards(3.0)), rough, Stage(map, 1e-3, Picard())], START, max_steps=90)
    assert given[0] is not None and torch.equal(given[0].x, solve(towards(3.0), START, tol=1e-3).x)
    assert run.status is Status.CONVERGED and len(run.guarantee.before) == 2


def test_a_stage_that_does_not_converge_ends_the_run() -> None:
    run = solve_in_stages([stage(towards(3.0)), stage(towards(4.0))], START, max_steps=3)
    assert run.status is Status.STEP_LIMIT and run.certificate.name == "towards 3.0" and run.guarantee.before == ()


def test_a_stage_that_takes_the_last_step_leaves_none_for_the_next() -> None:
    steps = solve(towards(3.0), START, tol=1e-3).steps
    run = solve_in_stages([stage(towards(3.0)), stage(towards(4.0))], START, max_steps=steps)
    assert run.status is Status.STEP_LIMIT and run.steps == steps


@pytest.mark.parametrize("limit", [1, 2, 7])
def test_the_last_step_is_never_one_of_which_nothing_is_proven(limit: int) -> None:
    rough = Map(lambda x: -x, nothing("flip", "made up"))
    run = solve_in_stages([stage(rough, patience=3), stage(towards(4.0))], START, max_steps=limit)
    assert run.steps == limit and run.certificate.name == "towards 4.0"
    assert sum(stage.steps for stage in run.guarantee.before) == min(limit - 1, 4), (
        "one smallest residual, and three after it"
    )


def test_a_safeguard_stays_as_wide_as_it_was() -> None:
    """The bound on an accelerated step is D times a first residual, which is smaller for a later stage."""
    assert Anderson(D=2.0).resumed(50.0) == Anderson(D=100.0) and Picard().resumed(50.0) == Picard()


def test_the_last_stage_must_be_one_that_proves_something() -> None:
    for stages in ([], [stage(towards(3.0), patience=1)]):
        with pytest.raises(InputError, match="last stage without patience"):
            solve_in_stages(stages, START, max_steps=5)
