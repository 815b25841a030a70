"""Denoisers under the transforms of torch.func: right, or refused in one sentence."""

from __future__ import annotations

import catalogue
import pytest
import torch
from torch.autograd.functional import jacobian

import pnpkit as pk
from pnpkit.errors import InputError


def picture(*shape: int) -> torch.Tensor:
    return catalogue.image(*shape)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:FutureWarning")  # by torch.func itself
@pytest.mark.parametrize("name", catalogue.NETWORKS)
def test_derivatives_in_both_directions_are_one(name: str) -> None:
    network, x = catalogue.NETWORKS[name]().double(), picture(1, 3, 4, 5)
    usual = jacobian(lambda z: network(z, 0.08), x)
    for transform in (torch.func.jacrev, torch.func.jacfwd):
        atol = 1e-3 if name == "ridge" else 1e-12  # its derivative is solved for
        torch.testing.assert_close(transform(lambda z: network(z, 0.08))(x), usual, atol=atol, rtol=0)


@pytest.mark.parametrize("name", catalogue.NETWORKS)
def test_a_map_over_pictures_is_a_batch_or_refused(name: str) -> None:
    network, x = catalogue.NETWORKS[name]().double(), picture(2, 3, 8, 9)
    mapped = torch.func.vmap(lambda z: network(z[None], 0.08)[0])
    if network.error:
        with pytest.raises(InputError, match="as one batch"):
            mapped(x)
    else:
        torch.testing.assert_close(mapped(x), network(x, 0.08), atol=1e-12, rtol=0)
    with pytest.raises(InputError, match="as one batch"):
        torch.func.vmap(lambda level: network(x[:1], level)[0])(torch.tensor([0.05, 0.1]))


def test_a_device_without_numbers_is_refused() -> None:
    with pytest.raises(InputError, match="device meta holds no numbers"):
        catalogue.euler().to("meta")(torch.rand(1, 3, 8, 8, device="meta"), 0.1)
    with pytest.raises(InputError, match="device meta holds no numbers"):
        pk.load_denoiser("identity")(torch.rand(1, 3, 8, 8, device="meta"), 0.1)


@pytest.mark.parametrize("name", catalogue.NETWORKS)
@pytest.mark.parametrize("channels", [1, 3])
def test_of_no_pictures_it_makes_none(name: str, channels: int) -> None:
    empty = torch.zeros(0, channels, 8, 9, dtype=torch.float64)
    assert catalogue.NETWORKS[name]().double()(empty, 0.1).shape == empty.shape
