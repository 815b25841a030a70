"""Gradients through depth: the bound of symplectic layers, its failure for the others, and explosion."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from pnpkit.errors import InputError, UnknownName
from pnpkit.gradients.networks import KINDS, DeepConfig, DeepNetwork, parameter_gradients, sensitivities
from pnpkit.gradients.study import DATA, DepthTraining, constant_field, random_weights, train


def network(kind: str, layers: int = 6, **settings: float) -> DeepNetwork:
    torch.manual_seed(0)
    return DeepNetwork(DeepConfig(kind, layers, **settings)).double()  # type: ignore[arg-type]


def points(count: int = 10) -> torch.Tensor:
    return torch.randn(count, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("kind", KINDS)
def test_spectra_are_those_of_the_jacobian(kind: str) -> None:
    net, x = network(kind), points(3)
    found = sensitivities(net, x)
    state = net.states(x)[2][1].detach()

    def rest(z: torch.Tensor) -> torch.Tensor:
        for layer in net.layers[2:]:
            z = layer(z)
        return z

    expected = torch.linalg.svdvals(torch.func.jacrev(rest)(state))
    torch.testing.assert_close(found[2, 1], expected.detach())


@pytest.mark.parametrize("step", [0.1, 1.0])
def test_symplectic_layers_never_let_the_gradient_vanish(step: float) -> None:
    for seed in range(3):
        torch.manual_seed(seed)
        net = DeepNetwork(DeepConfig("H2", 20, step=step)).double()
        values = sensitivities(net, points())
        assert float(values[..., 0].min()) >= 1 - 1e-9
        pairs = values[..., 0] * values[..., -1]  # singular values of a symplectic matrix come in pairs s, 1/s
        torch.testing.assert_close(pairs, torch.ones_like(pairs), rtol=1e-6, atol=0)


def test_plain_layers_do() -> None:
    values = sensitivities(network("MLP", 40), points())
    assert float(values[0, :, 0].max()) < 1e-2
    assert float(values[0, :, 0].max()) < float(values[-1, :, 0].min())


def test_parameter_gradients_are_those_of_autograd() -> None:
    net, x = network("H2"), points()
    loss = net(x).square().mean()
    found = parameter_gradients(net, loss)
    net(x).square().mean().backward()
    expected = [torch.cat([p.grad.flatten() for p in layer.parameters() if p.grad is not None]) for layer in net.layers]
    torch.testing.assert_close(found, torch.stack([e.norm() for e in expected]))


def test_roughness_is_zero_for_equal_layers_only() -> None:
    net = network("H2")
    assert float(net.roughness().detach()) > 0
    for layer in net.layers[1:]:
        layer.load_state_dict(net.layers[0].state_dict())
    assert float(net.roughness().detach()) == 0


def test_constant_weights_explode_in_proportion_to_depth() -> None:
    near, far = constant_field([500, 1000], 0.1)
    assert float(near) > 10
    assert float(far / near) == pytest.approx(2, rel=0.1)


def test_independent_weights_explode_faster_and_faster() -> None:
    short, long = random_weights([16, 64], 0.5, 1.0)
    assert float(long) > 4 * float(short) > 4


TINY = DepthTraining(points=200, steps=60, batch=50, rates=(2e-2,), seeds=2, recordings=3, probes=4)


@pytest.mark.parametrize("data", DATA)
def test_training_looks_at_the_gradients_and_learns(data: str) -> None:
    found = train(DeepConfig("H2", 8, step=0.4), replace(TINY, data=data, penalty=1e-6))
    assert found.at == [0, 30, 60] and found.spectra.shape == (2, 3, 8, 2) and found.weights.shape == (2, 3, 8)
    assert float(found.lowest.min()) >= 1 - 1e-9 and bool((found.highest >= found.lowest).all())
    assert float(found.accuracy.min()) > (0.5 if data == "swiss-roll" else 0.7)


def test_each_network_gets_the_rate_that_suits_it() -> None:
    found = train(DeepConfig("ResNet", 6, step=0.4), replace(TINY, data="double-circles", rates=(1e-6, 2e-2)))
    assert found.rate == 2e-2 == max(found.validation, key=lambda rate: found.validation[rate])


def test_rates_side_by_side_do_not_disturb_each_other() -> None:
    network, tiny = DeepConfig("H1", 5, step=0.2), replace(TINY, data="double-circles")
    alone, beside = train(network, tiny), train(network, replace(tiny, rates=(1e-7, 2e-2)))
    assert beside.rate == 2e-2
    torch.testing.assert_close(beside.spectra, alone.spectra, rtol=1e-8, atol=1e-12)
    torch.testing.assert_close(beside.accuracy, alone.accuracy)


def test_the_penalty_smooths_the_weights() -> None:
    network = DeepConfig("H2", 6, step=0.2)
    assert not torch.equal(train(network, TINY).spectra, train(network, replace(TINY, penalty=1.0)).spectra)


@pytest.mark.parametrize("kind", KINDS)
def test_an_orthogonal_start_is_one(kind: str) -> None:
    torch.manual_seed(0)
    for layer in DeepNetwork(DeepConfig(kind, 3, start="orthogonal")).double().layers:
        weight = layer.get_parameter("weight")
        one = torch.eye(weight.shape[-1]).double().expand_as(weight)  # drawn in float32
        torch.testing.assert_close(weight @ weight.mT, one, rtol=0, atol=1e-6)


def test_unknown_names_answer_with_what_there_is() -> None:
    with pytest.raises(UnknownName, match="H1, H2, MLP, ResNet"):
        DeepNetwork(DeepConfig("H3"))
    with pytest.raises(UnknownName, match="normal, orthogonal"):
        DeepNetwork(DeepConfig(start="zeros"))
    with pytest.raises(UnknownName, match="swiss-roll"):
        train(DeepConfig(), DepthTraining("moons"))
    with pytest.raises(InputError, match="two recordings"):
        train(DeepConfig(), replace(TINY, recordings=1))
