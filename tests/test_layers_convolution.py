"""Convolutions without gradients give the numbers of torch's own, whatever multiplies them and however they lie."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import forward_ad

from pnpkit.layers import convolution as layer
from pnpkit.registry import open_denoiser

HERE = pytest.mark.skipif(not layer.winograd_pays(), reason="this processor does not multiply by Winograd's method")


@HERE
@settings(max_examples=40, deadline=None)
@given(
    batch=st.integers(1, 3),
    fan_in=st.integers(1, 20),
    fan_out=st.integers(1, 20),
    rows=st.integers(3, 40),
    columns=st.integers(3, 40),
    size=st.sampled_from([1, 3, 5]),
    padded=st.booleans(),
    biased=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_the_numbers_of_torch(
    batch: int, fan_in: int, fan_out: int, rows: int, columns: int, size: int, padded: bool, biased: bool, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(batch, fan_in, rows + size, columns + size, generator=generator)
    kernel = torch.randn(fan_out, fan_in, size, size, generator=generator)
    bias = torch.randn(fan_out, generator=generator) if biased else None
    padding = size // 2 if padded else 0
    exact = F.conv2d(*(None if t is None else t.double() for t in (x, kernel, bias)), padding=padding)
    with torch.no_grad():
        out = layer.convolution(layer.arranged(x), kernel, bias, padding)
    assert out.shape == exact.shape and out.is_contiguous()
    scale = float(kernel.abs().sum((1, 2, 3)).max()) * float(x.abs().max())
    assert float((out - exact).abs().max()) < 1e-5 * scale


@HERE
def test_it_is_used_for_float32_without_gradients_alone() -> None:
    x = torch.rand(1, 3, 16, 16)
    assert not layer.by_winograd(x)
    with torch.no_grad():
        assert layer.by_winograd(x) and not layer.by_winograd(x.double())
        with torch.autocast("cpu", torch.bfloat16):
            assert not layer.by_winograd(x)
        seen = []
        torch.func.vmap(lambda picture: seen.append(layer.by_winograd(picture)) or picture)(x[:, None])
    assert seen == [False]


@HERE
def test_bands_and_neighbours_change_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    x, kernel = torch.randn(3, 4, 21, 13, generator=generator), torch.randn(5, 4, 3, 3, generator=generator)
    with torch.no_grad():
        for padding in (0, 1, 2):
            whole = layer.convolution(x, kernel, None, padding)
            assert torch.equal(whole[1:2], layer.convolution(x[1:2], kernel, None, padding))
            with monkeypatch.context() as patch:
                patch.setattr(layer, "ROOM", 1)
                assert torch.equal(whole, layer.convolution(x, kernel, None, padding))


@pytest.mark.filterwarnings("ignore:.torch.jit.script")  # torch's own, on the way to tangents
def test_what_nnpack_does_not_take_goes_to_torch() -> None:
    """Empty batches, a bias of the wrong size, which NNPACK would read past its end, and forward-mode tangents."""
    x, kernel = torch.rand(2, 3, 16, 16), torch.rand(4, 3, 3, 3)
    with torch.no_grad():
        assert layer.convolution(x[:0], kernel, None, 1).shape == (0, 4, 16, 16)
        with pytest.raises(RuntimeError):
            layer.convolution(x, kernel, torch.rand(3), 1)
        with forward_ad.dual_level():
            for here, there in ((x, forward_ad.make_dual(kernel, kernel)), (forward_ad.make_dual(x, x), kernel)):
                tangent = forward_ad.unpack_dual(layer.convolution(here, there, None, 1)).tangent
                assert torch.allclose(tangent, F.conv2d(x, kernel, padding=1), rtol=1e-4)


@pytest.mark.parametrize("name", ["euler", "euler-fast", "euler-guided", "dncnn"])
def test_shipped_denoisers_give_the_same_with_and_without(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within ten times what float32 itself is off by."""
    network, x = open_denoiser(name), torch.rand(1, 3, 37, 42, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        here = network(x, 0.1)
        monkeypatch.setattr(layer, "winograd_pays", lambda: False)
        there = network(x, 0.1)
        exact = network.double()(x.double(), 0.1)
    assert float((here - exact).norm()) <= 10 * float((there - exact).norm())
