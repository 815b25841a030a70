"""A map whose tensors are written to after it was made says so, and does not change silently."""

from __future__ import annotations

from collections.abc import Callable

import catalogue
import pytest
import torch
from torch import Tensor

from pnpkit import proximal
from pnpkit.errors import InputError
from pnpkit.maps import Map

X = catalogue.image(1, 3, 8, 8)


def guided() -> tuple[Map, Tensor]:
    given = catalogue.NETWORKS["guided"]().given(X)
    return given.at(0.1), given.guide


def level() -> tuple[Map, Tensor]:
    sigma = torch.tensor([0.1])
    return catalogue.euler().at(sigma), sigma


def centre() -> tuple[Map, Tensor]:
    point = torch.zeros(3, 8, 8)
    return proximal.l2_ball(1.0, point), point


def normal() -> tuple[Map, Tensor]:
    direction = torch.ones(3, 8, 8)
    return proximal.half_space(direction, 0.0), direction


def matrix() -> tuple[Map, Tensor]:
    rows = torch.ones(1, 192, dtype=torch.float64)
    return proximal.affine(rows, torch.ones(1)), rows


@pytest.mark.parametrize("made", [guided, level, centre, normal, matrix], ids=lambda made: made.__name__)
def test_writing_to_what_a_map_is_made_of_is_refused(made: Callable[[], tuple[Map, Tensor]]) -> None:
    map, tensor = made()
    before = map(X)
    torch.testing.assert_close(map(X), before)
    tensor.mul_(2)
    with pytest.raises(InputError, match="after this map was made: make it anew"):
        map(X)


def test_a_guide_is_copied() -> None:
    guide = X.clone()
    map = catalogue.NETWORKS["guided"]().given(guide).at(0.1)
    before = map(X)
    guide.zero_()
    torch.testing.assert_close(map(X), before)
