"""Gradient-flow layers: exact adjoints, and norms that are sound and tight against a dense SVD."""

from __future__ import annotations

import catalogue
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pnpkit.layers.activations import ACTIVATIONS, Clip
from pnpkit.layers.gradient_flow import GradientFlowConv2d, adjoint_kernel, convolve
from pnpkit.layers.mirrored import MirroredFlowConv2d, extended, flipped, mirrored, orbit, symmetric
from pnpkit.layers.unit_norm import UnitNorm
from pnpkit.numerics.norms import conv_norm_bound, matrix_norm_bound
from pnpkit.training.muon import Muon


def random_kernel(hidden: int, channels: int, size: int, seed: int = 0) -> Tensor:
    return torch.randn(hidden, channels, size, size, generator=catalogue.generator(seed), dtype=torch.float64)


def dense_norm(kernel: Tensor, size: tuple[int, int], padding: str) -> float:
    """||W|| on images of one size: the matrix, column by column, and its SVD."""
    basis = torch.eye(kernel.shape[1] * size[0] * size[1], dtype=kernel.dtype).view(-1, kernel.shape[1], *size)
    return float(torch.linalg.matrix_norm(convolve(basis, kernel, padding).flatten(1), 2))


@pytest.mark.parametrize("padding", ["zero", "circular"])
@pytest.mark.parametrize("shape", [(4, 3, 3), (3, 4, 3), (2, 2, 5), (3, 3, 1)])
def test_adjoint_is_exact(shape: tuple[int, int, int], padding: str) -> None:
    kernel = random_kernel(*shape)
    x = catalogue.image(1, shape[1], 7, 9)
    y = catalogue.image(1, shape[0], 7, 9, seed=1)
    left = (convolve(x, kernel, padding) * y).sum()
    right = (x * convolve(y, adjoint_kernel(kernel), padding)).sum()
    torch.testing.assert_close(left, right, rtol=1e-12, atol=0)


@pytest.mark.parametrize("padding", ["zero", "circular"])
@pytest.mark.parametrize("shape", [(4, 3, 3), (3, 4, 3), (2, 1, 5)])
@pytest.mark.parametrize("size", [(1, 1), (2, 5), (6, 7)])
def test_norm_bound_is_never_below_a_dense_svd(
    shape: tuple[int, int, int], size: tuple[int, int], padding: str
) -> None:
    for seed in range(3):
        kernel = random_kernel(*shape, seed=seed)
        assert dense_norm(kernel, size, padding) <= conv_norm_bound(kernel, 32)


@pytest.mark.parametrize("seed", range(3))
def test_norm_bound_is_within_one_percent_of_a_dense_svd(seed: int) -> None:
    kernel = random_kernel(2, 2, 3, seed)
    truth = dense_norm(kernel, (20, 20), "circular")
    assert truth <= conv_norm_bound(kernel, 64) <= 1.01 * truth


def test_norm_bound_of_known_kernels() -> None:
    delta = torch.zeros(1, 1, 3, 3)
    delta[..., 1, 1] = -2.0
    assert conv_norm_bound(delta, 128) == pytest.approx(2, rel=1e-3)
    mean = torch.full((1, 1, 5, 5), 1 / 25)
    assert 1 <= conv_norm_bound(mean, 128) <= 1.003
    with pytest.raises(ValueError, match="odd"):
        conv_norm_bound(torch.zeros(1, 1, 4, 4))
    with pytest.raises(ValueError, match="grid"):
        conv_norm_bound(torch.zeros(1, 1, 3, 3), 2)


def test_matrix_norm_bound() -> None:
    matrix = torch.randn(5, 7, generator=catalogue.generator(), dtype=torch.float64)
    assert matrix_norm_bound(matrix) >= float(torch.linalg.svdvals(matrix)[0])
    assert matrix_norm_bound(matrix) <= float(torch.linalg.svdvals(matrix)[0]) * (1 + 1e-12)


def test_the_steering_estimate_is_a_lower_bound_that_comes_close_and_is_differentiable() -> None:
    kernel = random_kernel(6, 4, 3).float().requires_grad_()
    unit = UnitNorm()(kernel)
    proven = conv_norm_bound(unit, 128)
    assert 1 - 1e-5 <= proven <= 1.03
    assert conv_norm_bound(UnitNorm(grid=64)(kernel), 128) <= 1.005
    (gradient,) = torch.autograd.grad(unit.square().sum(), kernel)
    # The ratio does not depend on the scale of the kernel, so its gradient has no component along it.
    assert (gradient * kernel).sum().abs() < 1e-4 * gradient.norm() * kernel.norm()


@pytest.mark.parametrize("name", ACTIVATIONS)
@given(level=st.floats(0, 0.19), seed=st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_activations_have_slope_between_zero_and_one(name: str, level: float, seed: int) -> None:
    torch.manual_seed(seed)
    activation = ACTIVATIONS[name](3, 0.2)
    for parameter in activation.parameters():
        parameter.data += torch.randn(parameter.shape)
    z = torch.sort(torch.randn(200, dtype=torch.float64) * 0.3).values.view(1, 1, 1, -1).expand(1, 3, 1, -1)
    out = activation(z, torch.tensor([level]))
    rise, run = out.diff(dim=-1), z.diff(dim=-1)
    assert bool((rise >= -1e-12).all()) and bool((rise <= run + 1e-9).all())


def test_clip_vanishes_without_noise_and_levels_interpolate() -> None:
    clip = Clip(2, top=1.0, knots=3)
    z = torch.randn(2, 2, 3, 3, generator=catalogue.generator())
    assert bool((clip(z, torch.zeros(2)) == 0).all())
    table = clip.low
    table.values.data = torch.tensor([[0.0, 1.0], [2.0, 1.0], [6.0, 1.0]])
    got = table(torch.tensor([0.0, 0.25, 0.75, 1.0]))[:, :, 0, 0]
    torch.testing.assert_close(got, torch.tensor([[0.0, 1.0], [1.0, 1.0], [4.0, 1.0], [6.0, 1.0]]))


def test_layer_is_the_gradient_step_of_its_potential() -> None:
    torch.manual_seed(0)
    layer = GradientFlowConv2d(3, 5, 3, Clip(5, top=0.2)).double()
    x, level = catalogue.image().requires_grad_(), torch.tensor([0.1], dtype=torch.float64)
    z = convolve(x, layer.kernel, "zero")
    low, high = -0.1 * layer.activation.low(level).exp(), 0.1 * layer.activation.high(level).exp()
    u = z.clamp(low, high)
    potential = (u * z - u.square() / 2).sum()  # Huber: z^2/2 inside, high z - high^2/2 outside
    (gradient,) = torch.autograd.grad(potential, x)
    torch.testing.assert_close(layer(x, level), x - layer.step.double() * gradient)


SIZES = [(1, 1), (1, 2), (2, 3), (4, 5), (5, 6)]  # places
ODD = [(False, False), (False, True), (True, False), (True, True)]


def unfolded(x: Tensor, odd: tuple[bool, bool]) -> Tensor:
    """E x on the torus: x beside its mirror images; where ``odd`` the last row or column is its own."""
    for axis, flip, own in ((-1, 1, odd[1]), (-2, 2, odd[0])):
        count = x.shape[axis] - own
        x = torch.cat([x, flipped(x.narrow(axis, 0, count).flip(axis), flip)], axis)
    return x


def own_images(x: Tensor, odd: tuple[bool, bool]) -> Tensor:
    """x with last rows and columns that are their own mirror images, where ``odd``."""
    for axis, flip, own in ((-1, 1, odd[1]), (-2, 2, odd[0])):
        if own:
            first, last = x.narrow(axis, 0, x.shape[axis] - 1), x.narrow(axis, x.shape[axis] - 1, 1)
            x = torch.cat([first, (last + flipped(last, flip)) / 2], axis)
    return x


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("odd", ODD)
def test_the_gradient_of_a_mirrored_field_is_that_of_its_operations(
    size: tuple[int, int], odd: tuple[bool, bool]
) -> None:
    x = catalogue.image(2, 8, *size).requires_grad_()
    weights = torch.randn((2, 8, size[0] + 2, size[1] + 2), generator=catalogue.generator(1), dtype=torch.float64)
    (fast,) = torch.autograd.grad((weights * mirrored(x, odd)).sum(), x)
    (plain,) = torch.autograd.grad((weights * extended(x, odd)).sum(), x)
    torch.testing.assert_close(fast, plain, atol=1e-14, rtol=1e-14)
    assert torch.equal(mirrored(x, odd), extended(x, odd))


@pytest.mark.filterwarnings("ignore:.torch.jit.script:FutureWarning")  # by torch's own forward derivatives
@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("size", [(1, 1), (3, 4)])
def test_a_mirrored_field_has_all_derivatives(size: tuple[int, int], odd: tuple[bool, bool]) -> None:
    """First and second, forward and backward, one by one and batched."""
    x = catalogue.image(1, 4, *size).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x: mirrored(x, odd), x, check_forward_ad=True, check_batched_grad=True, check_batched_forward_grad=True
    )
    assert torch.autograd.gradgradcheck(lambda x: mirrored(x, odd).pow(3), x)
    x, many = x.detach(), catalogue.image(3, 1, 4, *size, seed=1)
    _, tangents = torch.func.vmap(lambda v: torch.func.jvp(lambda x: mirrored(x, odd), (x,), (v,)))(many)
    torch.testing.assert_close(tangents, torch.stack([extended(v, odd) for v in many]))
    per_sample = torch.func.vmap(torch.func.grad(lambda v: mirrored(v, odd).square().sum()))(many)
    for v, gradient in zip(many, per_sample, strict=True):
        (expected,) = torch.autograd.grad(extended(v.requires_grad_(), odd).square().sum(), v)
        torch.testing.assert_close(gradient, expected)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("odd", ODD)
def test_a_symmetric_field_is_its_own_mirror_image_where_odd(size: tuple[int, int], odd: tuple[bool, bool]) -> None:
    """The nearest such field: the same as the torus has; no gradient is lost, and the field that came stays."""
    x = catalogue.image(2, 8, *size)
    before = x.clone()
    found = symmetric(x, odd)
    torch.testing.assert_close(found, own_images(x, odd))
    assert torch.equal(x, before) and torch.equal(symmetric(found, odd), found)
    assert torch.autograd.gradcheck(lambda x: symmetric(x, odd), x.requires_grad_())
    with torch.no_grad():
        assert torch.equal(symmetric(before, odd), found) and torch.equal(before, found)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("odd", ODD)
def test_a_mirrored_convolution_is_the_one_on_the_torus(size: tuple[int, int], odd: tuple[bool, bool]) -> None:
    """The picture beside its mirror images, padded by nothing else: W E x = E V x, exactly what the proof takes."""
    kernel = orbit(random_kernel(3, 8, 3))
    x = own_images(catalogue.image(1, 8, *size), odd)
    seen = F.conv2d(mirrored(x, odd), kernel)
    torch.testing.assert_close(unfolded(seen, odd), convolve(unfolded(x, odd), kernel, "circular"))


@pytest.mark.parametrize("size", SIZES)
def test_a_mirrored_convolution_has_the_adjoint_and_the_norm_of_its_symbol(size: tuple[int, int]) -> None:
    for seed in range(3):
        kernel = orbit(random_kernel(2, 4, 3, seed))
        basis = torch.eye(4 * size[0] * size[1], dtype=kernel.dtype).view(-1, 4, *size)
        matrix = F.conv2d(mirrored(basis, (False, False)), kernel).flatten(1)
        basis = torch.eye(8 * size[0] * size[1], dtype=kernel.dtype).view(-1, 8, *size)
        back = F.conv2d(mirrored(basis, (False, False)), adjoint_kernel(kernel)).flatten(1)
        torch.testing.assert_close(back, matrix.T)
        assert float(torch.linalg.matrix_norm(matrix, 2)) <= conv_norm_bound(kernel, 32)


def test_filters_without_their_mirror_images_have_no_such_norm() -> None:
    """What the proof needs is needed: one filter, padded by the mirror image, is larger than its symbol says."""
    kernel = torch.zeros(1, 1, 1, 3, dtype=torch.float64)
    kernel[..., 0], kernel[..., 1] = 1.0, 1.0  # x[i - 1] + x[i], twice x[0] at the frame: norm 2 at most elsewhere
    padded = F.conv2d(F.pad(torch.eye(3, dtype=torch.float64)[:, None, None], (1, 1, 0, 0), mode="replicate"), kernel)
    assert float(torch.linalg.matrix_norm(padded.flatten(1), 2)) > 2


def test_steered_orbits_have_unit_norm() -> None:
    torch.manual_seed(0)
    layer = MirroredFlowConv2d(16, 64, Clip(16, 0.2, images=4))
    assert conv_norm_bound(layer.filters) <= 1 + 1e-6 and layer.kernel.shape == (16, 16, 3, 3)
    unit = UnitNorm(filters=layer.spread)
    assert 1 - 1e-5 <= conv_norm_bound(orbit(unit(3 * layer.kernel)), 128) <= 1.03


def test_a_quarter_of_the_filters_moves_as_all_would() -> None:
    """Muon on what is learnt, and on the kernel that it stands for: the same kernel afterwards."""
    learnt = torch.nn.Parameter(random_kernel(3, 8, 3))
    whole = torch.nn.Parameter(orbit(learnt.detach()))
    learnt.grad = random_kernel(3, 8, 3, seed=1)
    whole.grad = orbit(learnt.grad)
    Muon([{"params": [learnt], "orthogonal": True, "spread": orbit}], lr=0.1).step()
    Muon([{"params": [whole], "orthogonal": True}], lr=0.1).step()
    torch.testing.assert_close(orbit(learnt), whole)


def test_unknown_padding_is_refused() -> None:
    with pytest.raises(ValueError, match="zero, circular"):
        GradientFlowConv2d(3, 3, 3, Clip(3, 0.2), padding="reflect")
