"""Fitting an ensemble at once is fitting each alone, and Gauss-Newton finds least squares."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from pnpkit.dynamics.ensembles import EnsembleTraining, levenberg_marquardt, train_ensemble
from pnpkit.dynamics.plain import MLP, ResNet, parameter_count
from pnpkit.errors import InputError


def problem() -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.linspace(-1, 1, 40, dtype=torch.float64)[:, None]
    return x, (3 * x).sin()


def models(count: int) -> list[nn.Module]:
    torch.manual_seed(0)
    return [MLP(1, 8, 1).double() for _ in range(count)]


def test_members_of_an_ensemble_do_not_touch_each_other() -> None:
    config = EnsembleTraining(steps=20, batch=0)
    together, alone = models(3), copy.deepcopy(models(3))
    losses = train_ensemble(together, problem(), config)
    assert losses.shape == (20, 3) and bool((losses[-1] < losses[0]).all())
    train_ensemble(alone[1:2], problem(), config)
    for a, b in zip(together[1].parameters(), alone[1].parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-9)


def test_fitting_is_deterministic_and_watched() -> None:
    seen: list[int] = []
    first, second = models(1), models(1)
    config = EnsembleTraining(steps=5, batch=7, seed=3)
    a = train_ensemble(first, problem(), config, watch=lambda step, _: seen.append(step))
    assert torch.equal(a, train_ensemble(second, problem(), config)) and seen == [0, 1, 2, 3, 4]
    with pytest.raises(InputError, match="at least one model"):
        train_ensemble([], problem(), config)


def test_gauss_newton_solves_linear_least_squares_at_once_and_curves_to_many_digits() -> None:
    x = torch.randn(30, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    y = x @ torch.tensor([[1.0], [-2.0], [0.5]]).double() + 0.1 * x[:, :1].square()
    line = nn.Linear(3, 1).double()
    levenberg_marquardt(line, (x, y), 6, damping=1e-9)
    solution = torch.linalg.lstsq(torch.cat([x, torch.ones(30, 1).double()], 1), y).solution[:, 0]
    torch.testing.assert_close(torch.cat([line.weight[0], line.bias]).detach(), solution)
    (curve,) = models(1)
    assert levenberg_marquardt(curve, problem(), 40) < 1e-6


def test_residual_networks_have_the_size_of_the_formula() -> None:
    net = ResNet(2, 3, 5)
    assert parameter_count(net) == 5 * (2 * 3 + 3 + 3 * 2)
    x = torch.ones(4, 2)
    assert torch.equal(net(x, 0.0), x)
