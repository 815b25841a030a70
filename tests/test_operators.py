"""Forward models: linear, exact adjoints, norms sound and tight against a dense SVD."""

from __future__ import annotations

import catalogue
import numpy as np
import pytest
import scipy.ndimage
import scipy.signal
import torch
from deepinv.physics import Blur, LinearPhysics
from torch import Tensor

from pnpkit import kernels
from pnpkit.certificates import Side
from pnpkit.errors import InputError, UnknownName
from pnpkit.operators import blur, norm_bound, smallest_singular_value


def dense(physics: LinearPhysics, x: Tensor) -> Tensor:
    """The matrix of the operator on one channel."""
    basis = torch.eye(x[0, 0].numel(), dtype=x.dtype).view(-1, 1, *x.shape[2:])
    return physics.A(basis).flatten(1).T


@pytest.mark.parametrize("name", catalogue.OPERATORS)
def test_linear_with_an_exact_adjoint(name: str) -> None:
    physics, x, y = catalogue.operator(name)
    other = torch.rand(x.shape, generator=catalogue.generator(5), dtype=x.dtype)
    torch.testing.assert_close(physics.A(2 * x - 3 * other), 2 * physics.A(x) - 3 * physics.A(other))
    torch.testing.assert_close((physics.A(x) * y).sum(), (x * physics.A_adjoint(y)).sum())


@pytest.mark.parametrize("name", catalogue.OPERATORS)
def test_norm_bound_is_sound_and_tight(name: str) -> None:
    physics, x, _ = catalogue.operator(name)
    values = torch.linalg.svdvals(dense(physics, x))
    bound = norm_bound(physics)
    assert bound.side is Side.PROVEN
    assert float(values[0]) <= bound.value * (1 + 1e-12)
    assert bound.value <= 1.12 * float(values[0])  # small frames: the bound holds for every size
    assert smallest_singular_value(physics) <= float(values[-1]) + 1e-12


def test_smallest_singular_value_of_a_circular_blur_is_found() -> None:
    physics, x, _ = catalogue.operator("gaussian circular")
    assert smallest_singular_value(physics) == pytest.approx(
        float(torch.linalg.svdvals(dense(physics, x))[-1]), rel=1e-6
    )


def test_blur_is_a_true_convolution_centred_at_half_the_size() -> None:
    kernel = np.random.default_rng(0).random((5, 7))
    x = np.random.default_rng(1).random((12, 15))
    tensor = torch.from_numpy(x)[None, None]
    for boundary, mode in (("circular", "wrap"), ("zero", "constant")):
        ours = blur(kernel, boundary, (12, 15), dtype=torch.float64).A(tensor)[0, 0].numpy()
        np.testing.assert_allclose(ours, scipy.ndimage.convolve(x, kernel, mode=mode), atol=1e-12)
    ours = blur(kernel, "unknown", (8, 9), dtype=torch.float64).A(tensor)[0, 0].numpy()
    np.testing.assert_allclose(ours, scipy.signal.convolve2d(x, kernel, mode="valid"), atol=1e-12)


def test_unstructured_operators_are_measured_and_labelled() -> None:
    physics = Blur(torch.full((1, 1, 3, 3), 1 / 9, dtype=torch.float64), padding="replicate")
    with pytest.raises(TypeError, match="example"):
        norm_bound(physics)
    bound = norm_bound(physics, catalogue.image(1, 1, 8, 8))
    assert bound.side is Side.MEASURED and "lower bound" in bound.method


@pytest.mark.parametrize(
    ("kernel", "boundary", "size", "message"),
    [
        (np.ones((4, 3)), "zero", None, "odd sizes"),
        (np.ones(3), "zero", None, "2-D"),
        (np.ones((9, 9)), "unknown", (8, 20), r"kernel \(9x9\) is larger than the image \(8x20\)"),
        (np.ones((3, 3)), "circular", None, "image_size"),
    ],
)
def test_bad_blurs_are_refused(kernel: np.ndarray, boundary: str, size: tuple[int, int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        blur(kernel, boundary, size)


def test_unknown_boundary_suggests_the_nearest() -> None:
    with pytest.raises(UnknownName, match="did you mean 'circular'"):
        blur(kernels.box(3), "circula", (8, 8))
