"""The denoising networks: any size, grey, precision and level; what is refused; levels beyond the range."""

from __future__ import annotations

import warnings

import catalogue
import numpy as np
import pytest
import torch
from deepinv.models import Denoiser
from hypothesis import given, settings
from hypothesis import strategies as st

from pnpkit.certificates import Certificate, Side, nothing
from pnpkit.errors import InputError, UnknownName
from pnpkit.fidelities.least_squares import LeastSquares
from pnpkit.laws.maps import audit
from pnpkit.networks.architectures import build
from pnpkit.networks.base import Network, Traits

TOP = 50 / 255


@pytest.mark.parametrize("name", catalogue.NETWORKS)
@given(height=st.integers(1, 9), width=st.integers(1, 9), channels=st.sampled_from([1, 3]), level=st.floats(0, TOP))
@settings(max_examples=15, deadline=None)
def test_any_size_any_level(name: str, height: int, width: int, channels: int, level: float) -> None:
    network = catalogue.NETWORKS[name]()
    assert isinstance(network, Denoiser)
    x = catalogue.image(2, channels, height, width).float()
    out = network(x, level)
    assert out.shape == x.shape and out.dtype == x.dtype and bool(torch.isfinite(out).all())


@pytest.mark.parametrize("name", catalogue.NETWORKS)
def test_float64_agrees_with_float32(name: str) -> None:
    network = catalogue.NETWORKS[name]()
    x = catalogue.image()
    double = network(x, 0.1)
    assert double.dtype == torch.float64
    torch.testing.assert_close(network(x.float(), 0.1).double(), double, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", catalogue.NETWORKS)
def test_each_image_of_a_batch_has_its_own_level(name: str) -> None:
    network = catalogue.NETWORKS[name]()
    x = catalogue.image(2, 3, 8, 8)
    both = network(x, torch.tensor([0.02, 0.15]))
    torch.testing.assert_close(both[0:1], network(x[0:1], 0.02))
    torch.testing.assert_close(both[1:2], network(x[1:2], 0.15))


@pytest.mark.parametrize("name", catalogue.NETWORKS)
def test_without_gradients_results_take_the_place_of_others_but_never_of_the_input(name: str) -> None:
    network, x = catalogue.NETWORKS[name](), catalogue.image(2, 3, 8, 9)
    before, recorded = x.clone(), network(x, 0.1)
    with torch.no_grad():
        torch.testing.assert_close(network(x, 0.1), recorded.detach(), rtol=1e-12, atol=1e-14)
        with torch.inference_mode():
            torch.testing.assert_close(network(x, 0.1), recorded.detach(), rtol=1e-12, atol=1e-14)
        single = x.float()
        with torch.autocast("cpu", torch.bfloat16):
            network(single, 0.1)
        assert torch.equal(single, before.float())
        network(x, 0.1).add_(1)  # the result is never the caller's picture, not even of the identity
    assert torch.equal(x, before)


def test_grey_is_the_average_of_three_equal_channels() -> None:
    network = catalogue.euler()
    x = catalogue.image(1, 1, 8, 8)
    colour = network(x.expand(-1, 3, -1, -1), 0.1)
    torch.testing.assert_close(network(x, 0.1), colour.mean(1, keepdim=True))


@pytest.mark.parametrize("level", [-0.01, float("inf"), float("nan")])
def test_levels_outside_the_range_are_refused(level: float) -> None:
    with pytest.raises(InputError, match="outside"):
        catalogue.euler()(catalogue.image(), level)
    with pytest.raises(InputError, match="outside"):
        catalogue.euler().at(level)


@pytest.mark.parametrize("level", [None, "auto", 0.1 + 0j, torch.full((3,), 0.1), [0.1]])
def test_what_is_no_level_is_refused(level: object) -> None:
    with pytest.raises(InputError, match="sigma is"):
        catalogue.euler()(catalogue.image(2, 3, 8, 8), level)


@pytest.mark.parametrize("number", [np.float32(0.1), np.float64(0.1), torch.tensor(0.1), torch.full((2, 1, 1, 1), 0.1)])
def test_levels_may_be_numbers_of_any_house(number: object) -> None:
    x = catalogue.image(2, 3, 8, 8)
    torch.testing.assert_close(catalogue.euler()(x, number), catalogue.euler()(x, 0.1), atol=1e-7, rtol=0)


def test_an_array_is_no_picture_for_a_network() -> None:
    with pytest.raises(InputError, match="got ndarray"):
        catalogue.euler()(catalogue.image().numpy(), 0.1)


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 2, 8, 8), (1, 4, 8, 8), (1, 3, 0, 5)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="float tensor"):
        catalogue.euler()(catalogue.image(*shape), 0.1)


def test_unknown_architecture_or_argument() -> None:
    with pytest.raises(UnknownName, match="did you mean 'euler'"):
        build("eulr", {})
    with pytest.raises(TypeError):
        build("euler", {"blokcs": 3})


def test_maps_can_be_compiled_whole() -> None:
    """What counts writing is left out where torch compiles."""
    network, x = catalogue.euler(), catalogue.image(1, 3, 8, 8)
    fidelity = LeastSquares(catalogue.OPERATORS["identity"](), x)
    map = network.at(0.1)
    for function in (map, fidelity.gradient):
        compiled = torch.compile(function, fullgraph=True, backend="eager")
        torch.testing.assert_close(compiled(x), function(x))


def test_a_network_of_ones_own_has_the_usual_rule() -> None:
    class Half(Network):
        traits, config = Traits(1.0), None

        def denoise(self, x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
            return 0.5 * x

        def certify(self) -> Certificate:
            return nothing("half", "not derived")

    assert Half().rule.forward(0.1, 1.9) == pytest.approx(1.9**0.5 * 0.1)


BEYOND = [name for name in catalogue.NETWORKS if name != "ridge"]  # whose inner tolerance is that of its own scale


@pytest.mark.parametrize("name", BEYOND)
@torch.no_grad()
def test_beyond_its_range_a_denoiser_is_itself_scaled(name: str) -> None:
    """D(c x; c s) / c, picture by picture; inside the range nothing changes."""
    network, x = catalogue.NETWORKS[name](), catalogue.image(3, 3, 8, 9)
    levels = torch.tensor([0.1, 0.5, 2.0], dtype=torch.float64)
    found = network(x, levels)
    for number, level in enumerate(levels.tolist()):
        times = max(1.0, level / network.top)
        expected = network(x[number : number + 1] / times, level / times) * times
        torch.testing.assert_close(found[number : number + 1], expected, atol=1e-9, rtol=0)
    map = network.at(0.5)
    assert map.certificate.averagedness == network.certificate.averagedness
    assert map.certificate.kind is network.certificate.kind and map.certificate.side is network.certificate.side


def test_beyond_its_range_a_claim_survives_an_adversarial_search() -> None:
    map = catalogue.euler().double().at(1.0)
    found = audit(map, map.certificate, 5 * catalogue.image(2, 3, 8, 9), rounds=6)
    assert map.certificate.averaged and not found.falsified and found.lipschitz > 0.5


def test_a_guide_is_scaled_with_its_picture() -> None:
    network = catalogue.guided().double()
    x, guide, hint = (catalogue.image(1, 3, 8, 9, seed=n) for n in range(3))
    times = 1.0 / network.top
    small = network.given(guide / times, hint / times)(x / times, network.top) * times
    torch.testing.assert_close(network.given(guide, hint)(x, 1.0), small)


@pytest.mark.parametrize("wrong", [{"largest": -0.3}, {"start": 0.0}, {"tolerance": float("nan")}, {"channels": (4,)}])
def test_a_ridge_is_convex_or_refused(wrong: dict) -> None:
    with pytest.raises(InputError):
        build("ridge", wrong)
    with pytest.raises(InputError, match="gains"):
        build("total-variation", {"gains": (0.1, -0.2)})


@pytest.mark.parametrize("name", ["euler through windows", "euler clip zero", "dncnn"])
def test_a_trace_would_fix_the_parity_of_the_sides_and_is_refused(name: str) -> None:
    network = catalogue.NETWORKS[name]().float()
    with warnings.catch_warnings(), pytest.raises(InputError, match="torch.compile or torch.export"):
        warnings.simplefilter("ignore")
        torch.jit.trace(lambda x: network(x, 0.1), torch.rand(1, 3, 8, 8))


def test_a_contraction_counts_by_more_than_rounding() -> None:
    for lipschitz, counts in ((1.0, False), (1 - 9e-8, False), (1 - 1e-6, True), (0.5, True)):
        assert Certificate("T", lipschitz, 0.9, Side.PROVEN, "").contractive is counts
