"""Reference trajectories against closed forms; rollouts; ensembles that do not depend on each other."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from pnpkit.dynamics.ensembles import ensemble
from pnpkit.dynamics.trajectories import reference, rollout
from pnpkit.errors import InputError


def test_reference_solves_a_rotation_exactly() -> None:
    z = torch.tensor([[1.0, 0.0], [0.0, 2.0]], dtype=torch.float64)
    times = torch.linspace(0, 7, 15, dtype=torch.float64)
    found = reference(lambda s: np.stack([s[:, 1], -s[:, 0]], axis=1), z, times)
    turn = torch.stack([torch.stack([times.cos(), times.sin()], -1), torch.stack([-times.sin(), times.cos()], -1)], -2)
    torch.testing.assert_close(found, (turn @ z.mT).mT, atol=1e-10, rtol=0)


def test_reference_at_time_zero_is_the_start() -> None:
    z = torch.rand(3, 2, dtype=torch.float64)
    assert torch.equal(reference(np.negative, z, torch.zeros(1, dtype=torch.float64)), z[None])


@pytest.mark.filterwarnings("ignore:overflow")
def test_reference_that_blows_up_is_an_error() -> None:
    with pytest.raises(InputError, match="the reference solution failed"):
        reference(np.square, torch.ones(1, dtype=torch.float64), torch.tensor([2.0], dtype=torch.float64))


def test_rollout_applies_again_and_again() -> None:
    assert rollout(lambda x: 2 * x, torch.tensor(3.0), 4).tolist() == [3, 6, 12, 24, 48]


def test_members_do_not_depend_on_the_size_of_the_ensemble() -> None:
    few, many = (ensemble(count, 5, lambda: nn.Linear(3, 2)) for count in (2, 4))
    for a, b in zip(few, many, strict=False):
        assert torch.equal(a.weight, b.weight) and a.weight.dtype == torch.float64
    assert not torch.equal(many[0].weight, many[1].weight)
