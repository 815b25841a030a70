"""Bounds on norms of arrays: at every scale, and of sparse matrices."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.sparse
import torch

from pnpkit.numerics.norms import conv_norm_bound, matrix_norm_bound, sparse_norm_bound


@pytest.mark.parametrize("scale", [1e-300, 1e-160, 1e-20, 1e20, 1e160, 1e300])
def test_the_bound_of_a_convolution_is_homogeneous(scale: float) -> None:
    kernel = torch.randn(3, 2, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert conv_norm_bound(kernel * scale) == pytest.approx(scale * conv_norm_bound(kernel), rel=1e-6)
    ones = torch.ones(2, 2, 3, 3, dtype=torch.float64) * scale
    assert 18 * scale * (1 - 1e-12) <= conv_norm_bound(ones) <= 18.1 * scale


def test_no_weights_have_the_norm_0() -> None:
    assert conv_norm_bound(torch.zeros(1, 1, 3, 3)) < 1e-14
    assert conv_norm_bound(torch.full((1, 1, 3, 3), math.nan)) == math.inf


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("scale", [1e-170, 1.0, 1e170])
def test_the_bound_of_a_sparse_matrix_is_sound_and_exact_for_non_negative_ones(signed: bool, scale: float) -> None:
    matrix = scipy.sparse.random_array((40, 25), density=0.1, rng=np.random.default_rng(0), format="csr")
    if signed:
        matrix.data -= 0.5
    truth = matrix_norm_bound(torch.from_numpy((matrix * scale).toarray()))
    bound = sparse_norm_bound(matrix * scale)
    assert truth * (1 - 1e-12) <= bound <= truth * (2 if signed else 1 + 1e-3)


def test_odd_sparse_matrices() -> None:
    assert sparse_norm_bound(scipy.sparse.csr_array((3, 4))) == 0
    assert sparse_norm_bound(scipy.sparse.csr_array(np.array([[math.inf, 0.0]]))) == math.inf
    assert sparse_norm_bound(scipy.sparse.csr_array(np.array([[0, 3], [0, 4]]))) == pytest.approx(5)
