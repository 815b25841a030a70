"""Networks whose weights or code change: certificates follow them, and claim nothing of what they cannot see."""

from __future__ import annotations

import catalogue
import process
import pytest
import torch

from pnpkit.certificates import Certificate
from pnpkit.errors import InputError
from pnpkit.layers.activations import Clip
from pnpkit.networks.base import Network
from pnpkit.networks.euler import Euler
from pnpkit.registry import load_denoiser


def test_certificate_follows_the_weights() -> None:
    network = catalogue.euler()
    before = network.certificate
    with torch.no_grad():
        network.steps()[0].kernel *= 2
    after = network.certificate
    assert before.averaged and not after.averaged and after.lipschitz > 1
    network.secure()
    assert network.certificate.averaged


def test_weights_that_change_behind_the_back_of_autograd_are_noticed() -> None:
    network = catalogue.euler()
    before = network.certificate
    block = network.steps()[0]
    block.kernel.data.mul_(3.0)
    assert before.averaged and not network.certificate.averaged


def test_a_certificate_outlives_what_does_not_change_the_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    for network in (load_denoiser("wavelet"), load_denoiser("euler-fast")):
        before = network.certificate
        monkeypatch.setattr(type(network), "certify", lambda self, grid=64: pytest.fail("derived again"))
        with process.put_back():
            torch.set_num_threads(2)
            assert network.certificate == before
        assert network.double().certificate == before


CHANGED = {
    "sorted": lambda kernel: kernel.data.copy_(kernel.data.flatten().sort().values.view_as(kernel)),
    "without signs": lambda kernel: kernel.data.abs_(),
    "scaled": lambda kernel: kernel.data.mul_(5),
}


@pytest.mark.parametrize("change", CHANGED)
def test_no_change_of_the_weights_goes_unnoticed(change: str) -> None:
    network = catalogue.euler()
    before = network.certificate
    CHANGED[change](network.blocks[0].kernel)
    assert before.averaged and network.certificate == network.certify() != before


def test_a_map_is_of_the_weights_and_the_mode_it_was_made_with() -> None:
    network, x = catalogue.euler(), catalogue.image(1, 3, 8, 8)
    map = network.at(0.1)
    before = map(x)
    with torch.no_grad():
        network.blocks[0].kernel.mul_(5)
    with pytest.raises(InputError, match="changed after this map was made"):
        map(x)
    assert not torch.equal(network.at(0.1)(x), before)
    ridge = catalogue.ridge()
    map = ridge.at(0.1)
    ridge.train()
    with pytest.raises(InputError, match="changed after this map was made"):
        map(x)


def test_nothing_is_proven_of_weights_that_are_no_numbers() -> None:
    network = catalogue.euler()
    network.blocks[0].kernel.data[0, 0, 0, 0] = float("nan")
    assert not network.certificate.nonexpansive


class Steep(Clip):
    def forward(self, z: torch.Tensor, *args: object) -> torch.Tensor:
        return 5 * super().forward(z, *args)  # type: ignore[arg-type]


class Twice(Euler):
    def denoise(self, x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        return 2 * super().denoise(x, level)


def _steep(network: Network) -> None:
    network.blocks[0].activation.__class__ = Steep


def _hook(network: Network) -> None:
    network.blocks[0].register_forward_hook(lambda module, args, out: 2 * out)


def _hook_outside(network: Network) -> None:
    network.register_forward_pre_hook(lambda module, args: (2 * args[0], *args[1:]))


def _subclass(network: Network) -> None:
    network.__class__ = Twice


def _method(network: Network) -> None:
    network.denoise = lambda x, level: 2 * x


def _kernel(network: Network) -> None:
    network.blocks[0].activation.kernel = lambda z, low, high: 5 * z


@pytest.mark.parametrize("change", [_steep, _hook, _hook_outside, _subclass, _method, _kernel])
@pytest.mark.parametrize("guided", [False, True])
def test_a_network_that_computes_otherwise_than_its_proof_claims_nothing(change: object, guided: bool) -> None:
    """As operators are asked; and a map that was made before refuses to go on."""
    whole = catalogue.guided() if guided else catalogue.euler()
    network = whole.second if guided else whole
    before = whole.looks()[1] if guided else whole
    assert before.certificate.averaged
    map = before.at(0.1)
    change(network)  # type: ignore[operator]
    for look in whole.looks():
        assert look is None or not look.certificate.nonexpansive or (guided and look is whole.first)
    if not guided:
        with pytest.raises(InputError, match="make it anew"):
            map(catalogue.image())


def test_a_subclass_with_a_proof_of_its_own_is_believed() -> None:
    class Own(Euler):
        def denoise(self, x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
            return x.clone()

        def certify(self) -> Certificate:
            return catalogue.build("identity", {}).certify()

    assert Own(catalogue.euler().config).certificate.averaged
