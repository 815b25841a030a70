"""Descent on f + g / tau: the gradient of g is exact, F never rises, and where it ends is a critical point."""

from __future__ import annotations

from pathlib import Path

import catalogue
import numpy as np
import pytest
import torch
from torch import Tensor

import pnpkit
from pnpkit import kernels
from pnpkit.errors import InputError
from pnpkit.fidelities.least_squares import LeastSquares
from pnpkit.networks.architectures import build
from pnpkit.networks.base import Network
from pnpkit.operators.blur import blur
from pnpkit.solvers.descent import DESCENT, GAMMA, Descent, Objective
from pnpkit.solvers.guarantee import Lack
from pnpkit.solvers.loop import solve
from pnpkit.solvers.result import Status
from pnpkit.training import loop
from pnpkit.training.config import TrainingConfig
from pnpkit.training.run import Run

SIZE = (10, 13)


def gradient_step(scale: float = 1.0, **config: object) -> Network:
    network = catalogue.gradient_step(**config).double()
    for parameter in network.parameters():
        parameter.mul_(scale)
    return network


def fidelity(seed: int = 1, batch: int = 1, width: float = 1.0) -> LeastSquares:
    operator = blur(kernels.gaussian(width), "circular", SIZE, dtype=torch.float64)
    return LeastSquares(operator, catalogue.image(batch, 3, *SIZE, seed=seed))


@pytest.mark.parametrize("stages", [(8,), (8, 12), (4, 8, 8)])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("sigma", [0.0, 0.1, 0.4])
def test_the_written_gradient_is_that_of_the_potential(stages: tuple[int, ...], channels: int, sigma: float) -> None:
    """Beside autograd, for odd sides, grey pictures and levels above the range; and D is id minus it."""
    network, x = gradient_step(stages=stages), catalogue.image(2, channels, *SIZE, seed=3).requires_grad_()
    known = network.energy_at(sigma)
    assert known is not None
    value, gradient = known(x)
    (expected,) = torch.autograd.grad(value.sum(), x)
    torch.testing.assert_close(gradient, expected, atol=1e-12, rtol=1e-10)
    torch.testing.assert_close(network(x, sigma), x - gradient, atol=1e-12, rtol=0)
    assert float(gradient.detach().abs().max()) > 1e-3 and bool((value >= 0).all())


def test_the_jacobian_of_the_denoiser_is_symmetric() -> None:
    """As that of every gradient is."""
    network, x = gradient_step(), catalogue.image(1, 3, 6, 6, seed=3)
    jacobian = torch.autograd.functional.jacobian(lambda x: network(x, 0.1), x).reshape(x.numel(), x.numel())
    torch.testing.assert_close(jacobian, jacobian.T, atol=1e-12, rtol=0)
    assert float(torch.linalg.eigvalsh(jacobian).min()) < 0.9, "a map that does nothing would pass any test"


def followed(objective: Objective, x: Tensor, steps: int) -> tuple[list[Tensor], list[Tensor]]:
    """Iterates, and F at each."""
    map, iteration, points = objective.map(), Descent(objective), [x]
    for k in range(steps):
        x, _ = iteration.next(k, x, map(x), None)
        points.append(x)
    return points, [objective.value(point) for point in points]


@pytest.mark.parametrize("scale", [1.0, 1.5, 2.5])
def test_the_objective_never_rises_though_the_denoiser_expands(scale: float) -> None:
    """With large weights the plain step raises F; backtracking finds one that does not, picture by picture."""
    network = gradient_step(scale)
    objective = Objective(fidelity(batch=2), network.energy_at(0.1), 10.0)  # type: ignore[arg-type]
    points, values = followed(objective, catalogue.image(2, 3, *SIZE, seed=5), 12)
    for before, after, x, y in zip(values, values[1:], points, points[1:], strict=False):
        assert bool((after <= before).all())
        moved = (y - x).flatten(1).square().sum(1)
        assert bool((after <= before - GAMMA / objective.tau * moved + 1e-12 * before).all())
    if scale == 2.5:
        plain = objective.value(objective.map()(points[0]))
        assert bool((plain > values[0]).any()), "the test must need its backtracking"


def test_where_it_ends_is_a_critical_point() -> None:
    """grad f(x) + grad g(x) / tau = 0, beside autograd."""
    network, data = gradient_step(), fidelity(width=0.4)
    objective = Objective(data, network.energy_at(0.1), 5.0)  # type: ignore[arg-type]
    run = solve(objective.map(), data.y, iteration=Descent(objective), tol=1e-5, max_steps=800)
    assert run.status is Status.CONVERGED and run.guarantee
    x = run.x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad((data.value(x) + network.energy_at(0.1)(x)[0] / 5.0).sum(), x)  # type: ignore[misc]
    (start,) = torch.autograd.grad(data.value(y := data.y.clone().requires_grad_()).sum(), y)
    assert float(gradient.norm()) < 1e-3 * float(start.norm())
    assert run.objective[0] == pytest.approx(float(objective.value(run.x)))


def test_what_a_run_gives_is_no_worse_than_its_start_even_at_the_step_limit() -> None:
    network, data = gradient_step(2.5), fidelity()
    objective = Objective(data, network.energy_at(0.1), 10.0)  # type: ignore[arg-type]
    for steps in (1, 2, 3):
        run = solve(objective.map(), data.y, iteration=Descent(objective), tol=0, max_steps=steps)
        assert run.objective[0] <= float(objective.value(data.y))


def test_the_guarantee_names_its_kind_and_claims_no_convergence() -> None:
    y = np.random.default_rng(0).random((20, 24, 3)).astype(np.float32)
    run = pnpkit.deblur(y, kernels.gaussian(1.0), denoiser=gradient_step().float(), max_steps=60)
    assert run.splitting == DESCENT and run.guarantee and run.guarantee.existence is None
    said = str(run.guarantee)
    assert said.startswith("F = f + g / tau never rises, and limit points of the iterates are critical points of F")
    assert "converges" not in said and not run.certificate.proven and "fit better" in run.explain()
    assert run.guarantee.to_json()["theorem"]["claim"] in said
    assert run.objective and "descent on f + g / tau" in run.step_note


def test_another_splitting_of_the_same_denoiser_is_not_covered() -> None:
    y = np.random.default_rng(0).random((20, 24, 3)).astype(np.float32)
    run = pnpkit.deblur(
        y, kernels.gaussian(1.0), denoiser=gradient_step().float(), splitting="half-quadratic", max_steps=3
    )
    assert not run.guarantee and run.guarantee.lack is Lack.CLAIM


def test_settings_that_do_not_go_with_descent_are_refused() -> None:
    y, network = np.zeros((20, 24, 3), np.float32), gradient_step().float()
    for words, more in (
        ("iteration of its own", {"method": "picard"}),
        ("not bfloat16", {"precision": "bfloat16"}),
        ("give a number", {"strength": "sure"}),
        ("has none", {"denoiser": "euler-fast", "splitting": DESCENT}),
    ):
        with pytest.raises(InputError, match=words) as caught:
            pnpkit.deblur(y, kernels.gaussian(1.0), **{"denoiser": network, **more})
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="tau > 0"):
        Objective(fidelity(), network.energy_at(0.1), 0.0)  # type: ignore[arg-type]


def test_training_makes_it_denoise(tmp_path: Path) -> None:
    """The loss of a few steps falls: the derivative of the written gradient is taken."""
    flat = [np.full((40, 40, 3), value, np.uint8) for value in (40, 120, 200)]
    torch.manual_seed(0)
    losses: list[float] = []
    config = TrainingConfig(steps=40, batch=4, patch=24, warmup=5, learning_rate=5e-4, kernel_rate=12.0)
    run = Run(build("gradient-step", {"stages": (16, 16), "blocks": 1}), config)
    loop.train(run, flat, flat[:1], tmp_path, half=False, on_step=lambda run, loss: losses.append(loss))
    assert np.mean(losses[-5:]) < 0.5 * np.mean(losses[:5])
