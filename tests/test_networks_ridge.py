"""The ridge denoiser: a proximal map to the tolerance it states, its implicit derivative, and R in min f + R."""

from __future__ import annotations

import math
from pathlib import Path

import catalogue
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_maps import worst_ratios
from test_training import pictures
from torch import Tensor

import pnpkit as pk
from pnpkit import algorithms
from pnpkit.certificates import Kind, Side
from pnpkit.errors import InputError
from pnpkit.fidelities.base import Smooth
from pnpkit.fidelities.least_squares import LeastSquares
from pnpkit.laws import maps
from pnpkit.networks.architectures import build
from pnpkit.networks.ridge import Analysis, Potential, composed, mirrored
from pnpkit.solvers.iterations import FISTA
from pnpkit.solvers.result import Step
from pnpkit.training import loop
from pnpkit.training.config import TrainingConfig
from pnpkit.training.run import Run, finish

LEVELS = torch.tensor([0.05, 0.15])


def potential(x: Tensor, level: float = 0.1, **arguments: object) -> Potential:
    with torch.no_grad():
        return catalogue.ridge(**arguments).potential(torch.full((len(x),), level), x)


def dense(function: object, shape: tuple[int, ...]) -> Tensor:
    """The matrix of a linear map of one picture."""
    basis = torch.eye(math.prod(shape), dtype=torch.float64).view(-1, *shape)
    return function(basis).flatten(1).mT  # type: ignore[operator]


@given(rows=st.integers(1, 9), columns=st.integers(1, 9))
@settings(max_examples=25, deadline=None)
def test_the_analysis_has_an_adjoint_and_a_bound_at_every_size(rows: int, columns: int) -> None:
    x = catalogue.image(1, 3, rows, columns)
    analysis = potential(x).analysis
    u = catalogue.image(1, 4, rows, columns, seed=1)
    torch.testing.assert_close((analysis(x) * u).sum(), (x * analysis.adjoint(u)).sum(), rtol=1e-12, atol=1e-13)
    seen = analysis(x).square().sum()
    assert float(seen) <= float((analysis.multiplicity * x.square()).sum()) * (1 + 1e-12)


def test_mirroring_repeats_pixels_as_often_as_it_says() -> None:
    assert mirrored(4, 2, torch.device("cpu")).tolist() == [1, 0, 0, 1, 2, 3, 3, 2]
    assert mirrored(1, 2, torch.device("cpu")).tolist() == [0] * 5
    assert float(potential(catalogue.image(1, 3, 8, 9)).analysis.multiplicity.max()) == 4


def test_the_layers_are_one_convolution_of_norm_at_most_one() -> None:
    network = catalogue.ridge(channels=(2, 4, 5), kernel_sizes=(3, 5, 3))
    with torch.no_grad():
        kernels = [kernel.double() for kernel in network.kernels()]
    whole = composed(kernels)
    assert whole.shape == (5, 3, 9, 9) and float(whole.sum((2, 3)).abs().max()) < 1e-6
    x = catalogue.image(1, 3, 10, 12)
    index = [mirrored(size, 4, x.device) for size in x.shape[-2:]]
    expected = torch.nn.functional.conv2d(x[..., index[0], :][..., index[1]], whole)
    torch.testing.assert_close(Analysis(kernels, 10, 12)(x), expected)
    what = torch.fft.fft2(whole, s=(96, 96)).permute(2, 3, 0, 1)
    assert 0.98 < float(torch.linalg.svdvals(what).max()) <= 1  # close to 1: the bound is not wasteful


def test_in_the_quadratic_zone_it_solves_a_linear_system() -> None:
    x = catalogue.image(1, 3, 5, 6) - 0.5
    network = catalogue.ridge(start=1e3)
    with torch.no_grad():
        here = network.potential(torch.tensor([0.1]), x)
        W = dense(here.analysis, (3, 5, 6))
        exact = torch.linalg.solve(torch.eye(90).double() + float(here.mu) * W.mT @ W, x.flatten())
        torch.testing.assert_close(network(x, 0.1).flatten(), exact, rtol=0, atol=1e-9)
    assert float((x.flatten() - exact).norm()) > 0.1 * float(x.norm())


@pytest.mark.parametrize("tolerance", [1e-2, 1e-4, 1e-7])
def test_the_error_is_below_the_stated_tolerance(tolerance: float) -> None:
    x = catalogue.image(2, 3, 12, 9)
    with torch.no_grad():
        exact = catalogue.ridge(tolerance=1e-13)(x, LEVELS)
        error = catalogue.ridge(tolerance=tolerance)(x, LEVELS) - exact
        moved = (exact - x).square().mean((1, 2, 3)).sqrt()
    found = error.square().mean((1, 2, 3)).sqrt()
    assert bool((found <= tolerance).all()) and bool((moved > 2e-2).all())


def test_it_is_the_proximal_map_of_its_regulariser() -> None:
    x, network = catalogue.image(2, 3, 9, 10), catalogue.ridge()
    R = network.regulariser(0.1, (9, 10))
    with torch.no_grad():
        z = network(x, 0.1)
        torch.testing.assert_close(z + R.gradient(z), x, rtol=0, atol=1e-9)
        grey = catalogue.image(1, 1, 9, 10)
        colour = grey.expand(-1, 3, -1, -1)
        torch.testing.assert_close(R.value(grey), R.value(colour) / 3)
    for point in (x, grey):
        point = point.clone().requires_grad_()
        (slope,) = torch.autograd.grad(R.value(point).sum(), point)
        torch.testing.assert_close(R.gradient(point), slope)


def test_firmly_nonexpansive_under_an_adversarial_search() -> None:
    map = catalogue.ridge().at(0.15)
    assert map.certificate.kind is Kind.PROX and map.certificate.averagedness == 0.5
    lipschitz, alpha = worst_ratios(map, pairs=4, rounds=6)
    assert 0.9 < lipschitz <= 1 + 1e-9 and 0.1 < alpha <= 0.5
    found = maps.audit(map, map.certificate, catalogue.image(2, 3, 8, 9), rounds=4, tolerance=1e-8)
    assert not found.falsified and found.lipschitz > 0.9


def test_the_jacobian_is_symmetric_between_its_bounds() -> None:
    network, x = catalogue.ridge(), catalogue.image(1, 3, 4, 5)
    J = torch.autograd.functional.jacobian(lambda u: network(u, 0.1), x).reshape(60, 60)
    torch.testing.assert_close(J, J.mT, rtol=0, atol=1e-8)
    values = torch.linalg.eigvalsh(J)
    L = network.regulariser(0.1, (4, 5)).L
    assert 1 / (1 + L) - 1e-9 <= float(values[0]) < 0.9 and float(values[-1]) <= 1 + 1e-9
    v = catalogue.image(1, 3, 4, 5, seed=1)
    _, pushed, back = maps.jacobian_steps(lambda u: network(u, 0.1), x, v)
    torch.testing.assert_close(pushed.flatten(), J @ v.flatten(), rtol=0, atol=1e-8)
    torch.testing.assert_close(back.flatten(), J.mT @ J @ v.flatten(), rtol=0, atol=1e-8)


def test_the_implicit_gradient_is_that_of_finite_differences() -> None:
    network, x = catalogue.ridge().double(), catalogue.image(2, 3, 4, 5).requires_grad_()
    names = [name for name, _ in network.named_parameters()]

    def run(x: Tensor, *values: Tensor) -> Tensor:
        network.train()  # the norm in the graph; 1e-12 for both solvers
        return torch.func.functional_call(network, dict(zip(names, values, strict=True)), (x, LEVELS))

    network = catalogue.ridge(coarse=1e-12).double()
    weights = [parameter.detach().clone().requires_grad_() for parameter in network.parameters()]
    assert torch.autograd.gradcheck(run, (x, *weights), atol=1e-6, check_undefined_grad=False, fast_mode=True)


def test_constant_and_black_pictures_stay_and_brightness_passes() -> None:
    network, x = catalogue.ridge(), catalogue.image()
    for value in (0.0, 0.7):
        flat = torch.full_like(x, value)
        torch.testing.assert_close(network(flat, 0.15), flat, rtol=0, atol=1e-7)  # weights are float32
    torch.testing.assert_close(network(x + 0.3, 0.15), network(x, 0.15) + 0.3, rtol=0, atol=1e-6)
    assert torch.equal(network(x, 0.0), x)


def test_the_certificate_follows_the_weights_and_holds_for_all_of_them() -> None:
    network = catalogue.ridge()
    before, x = network.certificate, catalogue.image()
    assert before.side is Side.PROVEN and "root mean square" in str(before)
    bound = network.norm_bound()
    assert f"{bound:.6g}" in before.method
    first, last = network.filters
    whole = composed([(first - first.mean((2, 3), keepdim=True)).detach().double(), last.detach().double()])
    what = torch.fft.fft2(whole, s=(64, 64)).permute(2, 3, 0, 1)
    assert bound * 0.99 < float(torch.linalg.svdvals(what).max()) <= bound
    out = network(x, 0.1)
    with torch.no_grad():
        last *= 7
    assert network.norm_bound() == pytest.approx(7 * bound) and network.certificate.averagedness == 0.5
    torch.testing.assert_close(network(x, 0.1), out, rtol=0, atol=1e-6)  # W is divided by its norm


def test_fista_finds_the_global_minimum_of_f_plus_r() -> None:
    mild = np.array([[0, 0.1, 0], [0.1, 0.6, 0.1], [0, 0.1, 0]])
    A = pk.blur(mild, "circular", (8, 9), dtype=torch.float64)
    y, values = A.A(catalogue.image(1, 3, 8, 9)), []
    R = catalogue.ridge().regulariser(0.1, (8, 9), 0.05)
    total = LeastSquares(A, y) + R

    def record(step: Step) -> None:
        values.append(float(total.value(step.x)))

    fast = algorithms.regularised(A, y, R, tol=1e-7)
    slow = algorithms.regularised(A, y, R, iteration=pk.Picard(), tol=1e-8, x0=0 * y + 0.9, callback=record)
    assert fast.status is pk.Status.CONVERGED and fast.guarantee.theorem.name == FISTA
    assert all(after <= before + 1e-12 for before, after in zip(values, values[1:], strict=False))
    assert fast.steps < slow.steps / 2 and values[-1] < 0.5 * values[0]
    assert fast.objective == pytest.approx(slow.objective, abs=1e-8)
    torch.testing.assert_close(fast.x, slow.x, rtol=0, atol=1e-5)


def test_plug_and_play_and_fista_end_at_one_picture() -> None:
    """D = prox_R, so the fixed point of D ∘ (id - tau grad f) minimises f + R / tau."""
    A = pk.blur(np.array([[0.2, 0.6, 0.2]]), "circular", (8, 9), dtype=torch.float64)
    y, network = A.A(catalogue.image(1, 3, 8, 9)), catalogue.ridge()
    tau = 1.9 / LeastSquares(A, y).L
    options = {"tol": 1e-7, "limits": (-math.inf, math.inf)}
    fixed = pk.plug_and_play(A, y, network, strength=0.1, tau=tau, iteration=pk.Anderson(), **options)
    least = algorithms.regularised(A, y, network.regulariser(0.1, (8, 9), 1 / tau), **options)
    torch.testing.assert_close(fixed.x, least.x, rtol=0, atol=1e-4)
    assert float((least.x - y).abs().max()) > 0.01


def test_deblur_by_fista_shows_its_objective() -> None:
    blurred = catalogue.image(1, 3, 16, 18)[0].permute(1, 2, 0).numpy()
    options = {"denoiser": catalogue.ridge(tolerance=1e-5), "noise_level": 0.02, "tol": 1e-4}
    run = pk.deblur(blurred, "gaussian:1", method="fista", max_steps=40, **options)
    assert run.guarantee.theorem.name == FISTA and len(run.objective) == 1 and run.objective[0] > 0
    shorter = pk.deblur(blurred, "gaussian:1", method="fista", max_steps=5, **options)
    assert shorter.objective[0] > run.objective[0]
    assert pk.deblur(blurred, "gaussian:1", max_steps=1, **options).objective == ()


def test_sums_add_what_is_known() -> None:
    A = pk.blur(catalogue.signed_kernel(), "circular", catalogue.SIZE, dtype=torch.float64)
    f, x = LeastSquares(A, catalogue.image()), catalogue.image(seed=4)
    g = Smooth(lambda x: x.square().flatten(1).sum(1) / 2, lambda x: x, 1.0, mu=1.0, premises=("p",))
    both = f + g
    assert (both.L, both.mu, both.side, both.premises) == (f.L + 1, f.mu + 1, Side.PROVEN, ("p",))
    torch.testing.assert_close(both.gradient(x), f.gradient(x) + x)
    torch.testing.assert_close(both.value(x), f.value(x) + g.value(x))
    measured = Smooth(g.value, g.gradient, 1.0, side=Side.MEASURED)
    assert (f + measured).side is Side.MEASURED and not (f + measured).gradient_step(0.1).certificate.averaged


@pytest.mark.parametrize(("sigma", "weight"), [(0.1, 0.0), (0.1, math.inf), (-0.1, 1.0), (0.3, 1.0)])
def test_a_regulariser_refuses_what_it_cannot_be(sigma: float, weight: float) -> None:
    with pytest.raises(InputError, match="weight > 0 and sigma in"):
        catalogue.ridge().regulariser(sigma, (8, 8), weight)


def test_a_regulariser_is_for_one_size() -> None:
    with pytest.raises(InputError, match=r"pictures \(8, 8\), got \(11, 14\)"):
        catalogue.ridge().regulariser(0.1, (8, 8)).value(catalogue.image())


def test_it_learns_through_its_fixed_point_and_resumes(tmp_path: Path) -> None:
    config = TrainingConfig(steps=40, batch=4, patch=16, warmup=2, learning_rate=3e-3, table_rate=10)
    torch.manual_seed(0)
    losses: list[float] = []
    run = Run(build("ridge", {"channels": (3, 6), "kernel_sizes": (3, 3)}), config)
    loop.train(run, pictures(), pictures(), tmp_path, half=True, on_step=lambda run, loss: losses.append(loss))
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])
    again = Run(build("ridge", {"channels": (3, 6), "kernel_sizes": (3, 3)}), config)
    again.load(tmp_path / "checkpoint.safetensors")
    for finished in (run, again):
        finish(finished)
    x = catalogue.image()
    torch.testing.assert_close(run.network(x, 0.1), again.network(x, 0.1))
    assert run.network.certificate.averaged and not run.network.training


def test_in_training_nothing_is_claimed_and_a_regulariser_stays_what_it_was() -> None:
    network = catalogue.ridge()
    z = catalogue.image(1, 3, 9, 8)
    regulariser = network.regulariser(0.1, (9, 8))
    before = network.regulariser(0.1, (9, 8)).value(z)
    assert network.certificate.averaged
    network.train()
    assert not network.certificate.nonexpansive and "eval" in network.certificate.method
    network.filters[0].data.mul_(3.0)
    network.raw_strength.values.data.add_(2.0)
    torch.testing.assert_close(regulariser.value(z), before)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("weights", [False, True])
def test_in_half_precision_it_is_solved_in_float32(dtype: torch.dtype, weights: bool) -> None:
    x = catalogue.image(1, 3, 16, 16).float()
    exact = pk.load_denoiser("ridge")(x, 0.1)
    network = pk.load_denoiser("ridge")
    found = (network.to(dtype) if weights else network)(x.to(dtype), 0.1)
    assert found.dtype is dtype and float((found.float() - exact).abs().max()) < 8 * torch.finfo(dtype).eps
