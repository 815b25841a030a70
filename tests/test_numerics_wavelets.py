"""Wavelet bases: orthonormal for every size, and vanishing on what they should not see."""

from __future__ import annotations

import catalogue
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pnpkit.errors import UnknownName
from pnpkit.numerics.wavelets import FILTERS, Basis, split


@pytest.mark.parametrize("wavelet", FILTERS)
@given(height=st.integers(1, 19), width=st.integers(1, 19), levels=st.integers(0, 5))
@settings(max_examples=25, deadline=None)
def test_orthonormal_for_every_size(wavelet: str, height: int, width: int, levels: int) -> None:
    x = catalogue.image(2, 3, height, width)
    basis = Basis(wavelet, levels)
    coarse, details = basis.analyse(x)
    assert coarse.numel() + sum(d.numel() for d in details) == x.numel()
    energy = coarse.square().sum() + sum(d.square().sum() for d in details)
    torch.testing.assert_close(energy, x.square().sum(), rtol=1e-12, atol=0)
    torch.testing.assert_close(basis.synthesise(coarse, details), x, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("wavelet", "degree"), [("haar", 0), ("db2", 1), ("db4", 3)])
def test_details_of_polynomials_vanish(wavelet: str, degree: int) -> None:
    """As many vanishing moments as there are pairs of taps; the wrap-around is left out."""
    x = torch.arange(40, dtype=torch.float64) / 40
    inside = slice(0, 20 - len(FILTERS[wavelet]) // 2)
    assert float(split(x**degree, wavelet)[1][inside].abs().max()) < 1e-10
    assert float(split(x ** (degree + 1), wavelet)[1][inside].abs().max()) > 1e-7


def test_unknown_wavelet() -> None:
    with pytest.raises(UnknownName, match="did you mean 'haar'"):
        Basis("harr")
