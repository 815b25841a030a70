"""Dense gradient-flow steps and isometric down-sampling: exact adjoints, sound norms, no expansion anywhere."""

from __future__ import annotations

import catalogue
import pytest
import torch
from torch import Tensor, nn
from torch.autograd.functional import jacobian

from pnpkit.certificates import Side
from pnpkit.layers.dense import GradientFlowDense, GradientFlowPatches, OrthonormalRows, from_patches, to_patches
from pnpkit.robust.sampling import DisjointMaxPool, Haar, Unshuffle


def layer(features: int = 7, hidden: int = 5, step: float = 2.0, gain: float = 1.0) -> GradientFlowDense:
    torch.manual_seed(0)
    made = GradientFlowDense(features, hidden, step).double()
    made.weight.data = torch.randn(hidden, features, dtype=torch.float64) * gain
    made.bias.data = torch.randn(hidden, dtype=torch.float64)
    return made


def jacobian_norms(function: nn.Module, shape: tuple[int, ...], tries: int = 10, scale: float = 1.0) -> Tensor:
    """Spectral norms of the exact Jacobian at random points, where the activations are on and off in turn."""
    found = []
    for seed in range(tries):
        x = scale * torch.randn(1, *shape, generator=catalogue.generator(seed), dtype=torch.float64)
        matrix = jacobian(function, x).flatten(0, len(shape)).flatten(1)
        found.append(torch.linalg.matrix_norm(matrix, 2))
    return torch.stack(found)


def test_step_is_the_gradient_step_of_its_potential() -> None:
    phi = layer()
    x = torch.randn(3, 7, generator=catalogue.generator(), dtype=torch.float64, requires_grad=True)
    potential = torch.relu(x @ phi.weight.T + phi.bias).square().sum() / 2
    (gradient,) = torch.autograd.grad(potential, x)
    torch.testing.assert_close(phi(x), x - 2 * gradient, rtol=1e-12, atol=1e-12)


def test_the_way_back_is_the_exact_adjoint() -> None:
    """The Jacobian id - tau W_S^T W_S is symmetric: W^T is the adjoint of W, not a second weight."""
    phi = layer()
    x = torch.randn(7, generator=catalogue.generator(1), dtype=torch.float64)
    matrix = jacobian(phi, x)
    torch.testing.assert_close(matrix, matrix.T, rtol=0, atol=1e-13)


@pytest.mark.parametrize("gain", [0.01, 1.0, 30.0])
def test_norm_is_proven_and_the_secured_step_never_expands(gain: float) -> None:
    phi = layer(gain=gain)
    assert phi.norm_bound() >= float(torch.linalg.svdvals(phi.weight.detach())[0])
    phi.secure()
    certificate = phi.certify("phi")
    assert certificate.nonexpansive and certificate.side is Side.PROVEN
    assert float(jacobian_norms(phi, (7,), scale=5.0).max()) <= 1 + 1e-12


def test_a_step_beyond_the_bound_is_not_certified_and_does_expand() -> None:
    phi = layer(step=2.4)
    phi.weight.data = OrthonormalRows()(phi.weight.data)
    phi.bias.data.fill_(100.0)  # every unit on: the worst case is met
    assert phi.certify("phi").lipschitz == pytest.approx(1.4)
    assert float(jacobian_norms(phi, (7,)).max()) == pytest.approx(1.4)


def test_a_short_step_is_averaged() -> None:
    phi = layer(step=0.5)
    phi.weight.data = OrthonormalRows()(phi.weight.data)
    assert phi.certify("phi").averagedness == pytest.approx(0.25)


def test_orthonormal_rows_make_the_step_a_reflection_everywhere() -> None:
    phi = layer()
    phi.weight.data = OrthonormalRows()(phi.weight.data)
    eye = torch.eye(7, dtype=torch.float64)
    signs = set()
    for seed in range(12):
        matrix = jacobian(phi, torch.randn(7, generator=catalogue.generator(seed), dtype=torch.float64))
        torch.testing.assert_close(matrix @ matrix.T, eye, rtol=0, atol=1e-12)
        signs.add(round(float(torch.linalg.det(matrix))))
    assert signs == {-1, 1}  # different sets of units were on


def test_steering_keeps_rows_orthonormal_under_training_and_release_keeps_the_map() -> None:
    phi = GradientFlowDense(9, 6)
    phi.steer()
    optimizer = torch.optim.SGD(phi.parameters(), lr=0.5)
    x = torch.randn(20, 9, generator=catalogue.generator())
    for _ in range(5):
        optimizer.zero_grad()
        phi(x).abs().sum().backward()
        optimizer.step()
    torch.testing.assert_close(phi.weight @ phi.weight.T, torch.eye(6), rtol=0, atol=1e-5)
    before = phi(x)
    phi.release()
    torch.testing.assert_close(phi(x), before)
    assert set(dict(phi.named_parameters())) == {"weight", "bias"}
    phi.secure()
    assert phi.certify("phi").nonexpansive


def test_spectral_steering_holds_the_largest_singular_value_only() -> None:
    phi = GradientFlowDense(9, 6)
    phi.weight.data = torch.randn(6, 9, generator=catalogue.generator()) * 3
    phi.steer("spectral")
    values = torch.linalg.svdvals(phi.weight.detach())
    assert float(values[0]) == pytest.approx(1, abs=1e-4) and float(values[-1]) < 0.8
    raw = phi.parametrizations.weight.original
    (gradient,) = torch.autograd.grad(phi.weight.square().sum(), raw)
    assert bool((gradient * raw).sum().abs() < 1e-4 * gradient.norm() * raw.norm())  # no pull on the scale


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="hidden"):
        GradientFlowDense(4, 5)
    with pytest.raises(ValueError, match="step"):
        GradientFlowDense(4, 2, step=0)


def test_patches_are_a_permutation_and_come_back() -> None:
    x = torch.arange(2 * 3 * 4 * 6, dtype=torch.float64).view(2, 3, 4, 6)
    patches = to_patches(x, 2)
    assert patches.shape == (2, 2, 3, 12)
    assert set(patches[0].flatten().tolist()) == set(x[0].flatten().tolist())
    assert patches[0, 0, 0].tolist() == x[0, :, :2, :2].flatten().tolist()
    torch.testing.assert_close(from_patches(patches, 2), x, rtol=0, atol=0)


@pytest.mark.parametrize("shift", [0, 1])
def test_a_step_on_patches_has_the_norm_of_its_small_matrix(shift: int) -> None:
    torch.manual_seed(0)
    phi = GradientFlowPatches(2, 2, 8, shift).double()
    phi.dense.weight.data *= 1.1
    phi.dense.bias.data.fill_(100.0)
    claimed = phi.certify("phi").lipschitz
    assert claimed == pytest.approx(2 * 1.1**2 - 1, rel=1e-5)
    assert float(jacobian_norms(phi, (2, 4, 4), tries=2).max()) == pytest.approx(claimed)
    phi.dense.bias.data.zero_()
    phi.dense.secure()
    assert float(jacobian_norms(phi, (2, 4, 4)).max()) <= 1 + 1e-12


def test_shifted_patches_reach_across_the_border_of_unshifted_ones() -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 1, 4, 4, dtype=torch.float64)
    one = jacobian(GradientFlowPatches(1, 2, 4, 1).double(), x).view(16, 16)
    assert float(one[5, 10].abs()) > 0  # pixels (1, 1) and (2, 2) share a patch only when it is moved


@pytest.mark.parametrize("sampling", [Unshuffle(2), Haar()], ids=["unshuffle", "haar"])
def test_down_sampling_is_orthogonal(sampling: Unshuffle | Haar) -> None:
    matrix = jacobian(sampling, torch.randn(1, 2, 4, 6, dtype=torch.float64)).reshape(48, 48)
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(48, dtype=torch.float64), rtol=0, atol=1e-14)
    assert sampling.certify("s").nonexpansive
    assert sampling(torch.zeros(1, 2, 4, 6)).shape == (1, 8, 2, 3)


def test_haar_of_a_constant_is_its_mean_doubled() -> None:
    out = Haar()(torch.ones(1, 1, 2, 2))
    assert out.flatten().tolist() == [2.0, 0.0, 0.0, 0.0]


def test_maxima_over_disjoint_windows_do_not_expand_and_over_overlapping_ones_do() -> None:
    pool = DisjointMaxPool(2)
    for seed in range(20):
        x, y = torch.randn(2, 1, 3, 6, 8, generator=catalogue.generator(seed), dtype=torch.float64)
        assert (pool(x) - pool(y)).norm() <= (x - y).norm()
    peak = torch.zeros(1, 1, 5, 5)
    peak[0, 0, 2, 2] = 1
    overlapping = nn.MaxPool2d(3, stride=1)
    assert float((overlapping(peak) - overlapping(torch.zeros_like(peak))).norm()) == 3.0
    assert pool.certify("max").nonexpansive


def test_weights_of_zero_are_the_identity_and_of_nan_prove_nothing() -> None:
    phi = layer()
    phi.weight.data.zero_()
    phi.secure()
    assert phi.certify("phi").averaged
    phi.weight.data.fill_(float("nan"))
    assert not phi.certify("phi").nonexpansive
    phi.secure()
    assert not phi.certify("phi").nonexpansive and 0 < float(phi.step) < 3
