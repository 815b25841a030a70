"""Laws of every data term: convex, its gradient and constants, a proximal map to its stated error; and refusals."""

from __future__ import annotations

import copy
import math

import catalogue
import numpy as np
import pytest
import scipy.optimize
import torch
from deepinv.physics import Denoising, Downsampling, Inpainting, LinearPhysics, StackedLinearPhysics
from deepinv.utils import TensorList
from torch import Tensor

import pnpkit as pk
from pnpkit import kernels, proximal
from pnpkit.certificates import Kind, Side
from pnpkit.errors import InputError, StepSizeError
from pnpkit.fidelities.data import DataTerm
from pnpkit.laws.maps import audit
from pnpkit.operators.blur import blur
from pnpkit.operators.matrix import from_matrix
from pnpkit.solvers import splittings
from pnpkit.solvers.result import Status

NAMES = list(catalogue.FIDELITIES)
SMOOTH = [name for name in NAMES if name != "KullbackLeibler, no background"]
WIDTHS = {"unknown": (9, 10), "circular": (8, 9), "zero": (8, 9)}


def small(
    name: str, boundary: str = "unknown", dtype: torch.dtype = torch.float64, batch: int = 1, channels: int = 2
) -> DataTerm:
    """On a few pixels."""
    A = blur(kernels.gaussian(0.7)[:, 1:-1] if boundary == "zero" else kernels.box(3), boundary, (7, 8), dtype=dtype)
    return catalogue.FIDELITIES[name](A, catalogue.image(batch, channels, 7, 8, seed=1).to(dtype))


def picture(f: DataTerm, seed: int) -> Tensor:
    start = f.start()
    return catalogue.image(*start.shape, seed=seed).to(start) * 1.4 - 0.2


def length(x: Tensor) -> float:
    return float(torch.linalg.vector_norm(x))


@pytest.mark.parametrize("name", NAMES)
def test_the_value_is_convex_along_segments(name: str) -> None:
    f = small(name)
    for seed in range(10):
        a, b = picture(f, seed), picture(f, seed + 100)
        if "no background" in name:
            a, b = a.clamp(min=0.01), b.clamp(min=0.01)
        for t in (0.1, 0.5, 0.8):
            assert float(f.value((1 - t) * a + t * b)) <= float((1 - t) * f.value(a) + t * f.value(b)) + 1e-9


@pytest.mark.parametrize("name", NAMES)
def test_the_gradient_is_a_difference_quotient(name: str) -> None:
    f = small(name)
    for seed in range(4):
        x, d = picture(f, seed), catalogue.image(*f.start().shape, seed=seed + 50) - 0.5
        if "no background" in name:
            x = x.clamp(min=0.05)
        step = 1e-6
        quotient = float((f.value(x + step * d) - f.value(x - step * d)) / (2 * step))
        assert quotient == pytest.approx(float((f.gradient(x) * d).sum()), rel=2e-4, abs=1e-5)


@pytest.mark.parametrize("boundary", WIDTHS)
@pytest.mark.parametrize("name", SMOOTH)
def test_L_is_at_least_the_norm_of_every_hessian_and_mu_at_most_the_least(name: str, boundary: str) -> None:
    f = small(name, boundary)
    assert f.side is Side.PROVEN and f.norm.side is Side.PROVEN
    largest = 0.0
    for seed in range(6):
        x = picture(f, seed) * (0.0 if seed == 0 else 1.0)
        hessian = torch.autograd.functional.jacobian(lambda u: f.gradient(u).flatten(), x).flatten(1)
        values = torch.linalg.eigvalsh((hessian + hessian.T) / 2)
        assert float(values[0]) >= f.mu - 1e-9
        largest = max(largest, float(values[-1]))
        y = picture(f, seed + 20)
        assert length(f.gradient(x) - f.gradient(y)) <= f.L * (1 + 1e-9) * length(x - y)
    assert largest <= f.L * (1 + 1e-9)
    if name in ("LeastSquares", "ClippedLeastSquares"):
        assert largest >= 0.5 * f.L, "a bound that says something"


def solution(f: DataTerm, z: Tensor, tau: float) -> tuple[Tensor, float]:
    """argmin_u f(u) + 1/(2 tau) ||u - z||^2 by scipy, from a start inside of the domain; and its error."""

    def both(flat: np.ndarray) -> tuple[float, np.ndarray]:
        u = torch.from_numpy(flat).view_as(z)
        value = tau * f.value(u).sum() + (u - z).square().sum() / 2
        slope = tau * f.gradient(u) + u - z
        if not math.isfinite(float(value)):
            return 1e300, np.zeros_like(flat)
        return float(value), slope.numpy().ravel()

    def hessian(flat: np.ndarray) -> np.ndarray:
        u = torch.from_numpy(flat).view_as(z)
        jacobian = torch.autograd.functional.jacobian(lambda u: tau * f.gradient(u).flatten(), u)
        return jacobian.view(u.numel(), -1).numpy() + np.eye(u.numel())

    start = z.clamp(min=0.2).numpy().ravel()
    if math.isfinite(f.L):
        options = {"maxiter": 20_000, "maxfun": 100_000, "ftol": 0.0, "gtol": 1e-10, "maxcor": 50}
        found = scipy.optimize.minimize(both, start, jac=True, method="L-BFGS-B", options=options)
    else:  # L-BFGS ends where the line search steps out of the domain
        found = scipy.optimize.minimize(both, start, jac=True, hess=hessian, method="trust-exact", tol=1e-8)
    error = float(np.sqrt(np.mean(np.square(found.jac))))  # at least the distance to the minimiser, as ours
    assert error <= 1e-4, found.message
    return torch.from_numpy(found.x).view_as(z), error


@pytest.mark.parametrize("boundary", WIDTHS)
@pytest.mark.parametrize("tau", [0.2, 20.0])
@pytest.mark.parametrize("name", NAMES)
def test_prox_is_the_minimiser_that_scipy_finds_to_its_stated_error(name: str, tau: float, boundary: str) -> None:
    f = small(name, boundary)
    z = picture(f, 7)
    map = f.prox(tau)
    exact, slack = solution(f, z, tau)
    assert float((map(z) - exact).square().mean().sqrt()) <= map.error + slack
    single = small(name, boundary, torch.float32)
    map = single.prox(tau)
    assert map(z.float()).dtype == torch.float32
    assert float((map(z.float()).double() - exact).square().mean().sqrt()) <= map.error + slack + 1e-6
    assert map.error <= 1e-3


OTHERS = {
    "mask": lambda: Inpainting((2, 7, 8), mask=(catalogue.image(1, 2, 7, 8, seed=3) > 0.4).double()),
    "identity": lambda: Denoising(),
    "decimation": lambda: Downsampling((2, 14, 16), filter=torch.ones(1, 1, 3, 3).double() / 9, factor=2),
}


@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("name", NAMES)
def test_prox_of_other_operators_is_the_minimiser(name: str, other: str) -> None:
    A = OTHERS[other]()
    f = catalogue.FIDELITIES[name](
        A, catalogue.image(1, 2, 7, 8, seed=1) * (A.A(torch.ones_like(A.A_adjoint(catalogue.image(1, 2, 7, 8)))) > 0)
    )
    z = picture(f, 7)
    map = f.prox(3.0)
    u = map(z)
    assert float((u - z + 3 * f.gradient(u)).square().mean().sqrt()) <= map.error + 1e-9


@pytest.mark.parametrize("name", NAMES)
def test_prox_is_firmly_nonexpansive_and_its_certificate_survives_an_audit(name: str) -> None:
    f = small(name)
    map = f.prox(30.0)
    assert map.certificate.kind is Kind.PROX and map.certificate.averagedness == 0.5
    slack = map.error * math.sqrt(f.start().numel())
    for seed in range(4):
        a, b = (
            picture(f, seed),
            picture(f, seed) + 10.0 ** -(seed % 4) * catalogue.image(*f.start().shape, seed=seed + 9),
        )
        p, q = map(a), map(b)
        assert length(p - q) ** 2 <= float(((p - q) * (a - b)).sum()) + 2 * slack * length(a - b) + slack**2
    rounds = (
        8 if name == "LeastSquares" else 4
    )  # of a prox relaxed by 1.1 four rounds find in the others what eight find
    found = audit(map, map.certificate, picture(f, 3), rounds=rounds, tolerance=0.02 if map.error else 1e-8)
    assert not found.falsified, str(found)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:FutureWarning")  # by the first torch.func.jvp of a process
@pytest.mark.parametrize("name", NAMES)
def test_the_derivative_of_prox_is_that_of_differences(name: str) -> None:
    f = small(name)
    map, z = f.prox(2.0), picture(f, 3)
    d = catalogue.image(*z.shape, seed=8) - 0.5
    quotient = (map(z + 0.05 * d) - map(z - 0.05 * d)) / 0.1
    pulled = torch.func.vjp(map, z)[1](d)[0]
    pushed = torch.func.jvp(map, (z,), (d,))[1]
    assert length(pulled - pushed) <= 2e-3 * length(d), "symmetric"
    assert length(pushed - quotient) <= 0.12 * length(d)


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_is_as_each_alone(name: str) -> None:
    f, z = small(name, batch=2), None
    z = picture(f, 3)
    together = f.prox(5.0)(z)
    for i in range(2):
        rows = [catalogue.image(2, 2, 7, 8, seed=1)[i : i + 1], z[i : i + 1]]
        alone = part(name, f, i, rows[0])
        torch.testing.assert_close(f.value(z)[i : i + 1], alone.value(rows[1]))
        torch.testing.assert_close(f.gradient(z)[i : i + 1], alone.gradient(rows[1]))
        torch.testing.assert_close(together[i : i + 1], alone.prox(5.0)(rows[1]), atol=1e-4, rtol=0)


def part(name: str, f: DataTerm, i: int, y: Tensor) -> DataTerm:
    """The data term of one image of the batch, with its own weights and masks."""
    if name == "LeastSquares":
        return pk.LeastSquares(f.operator, y)
    other = copy.copy(f)
    other.y = y
    other.phi = f.phi.each(lambda t: t[i : i + 1] if t.ndim and len(t) > 1 else t)  # type: ignore[attr-defined]
    other._watch()
    return other


@pytest.mark.parametrize("name", NAMES)
def test_splittings_take_every_data_term(name: str) -> None:
    f, denoiser = small(name, channels=1), catalogue.euler().at(0.1)
    maps = [
        splittings.half_quadratic(f, denoiser, 2.0, (0.0, 1.0)),
        splittings.continuation(f, lambda sigma: denoiser, 2.0, 0.1, (0.0, 1.0)),
        splittings.douglas_rachford(f, proximal.box(0, 1) @ denoiser, 2.0),
        splittings.admm(f, proximal.box(0, 1) @ denoiser, 2.0),
    ]
    if name in SMOOTH:
        maps += [
            splittings.forward_backward(f, denoiser, limits=(0.0, 1.0)),
            splittings.davis_yin(f, denoiser, proximal.box(0, 1)),
        ]
    for map in maps:
        assert map.certificate.averaged
        run = pk.solve(map, f.start().clamp(0.05, 1), tol=1e-3, max_steps=3000, iteration=pk.Anderson())
        assert run.status is Status.CONVERGED, name


@pytest.mark.parametrize("name", NAMES)
def test_copies_and_other_data_are_watched(name: str) -> None:
    f = small(name)
    x = picture(f, 2).clamp(min=0.1)
    other = f.with_data(f.y * 0.5)
    assert type(other) is type(f) and other.norm == f.norm and float(other.value(x)) != float(f.value(x))
    for i in range(len(f.watched())):
        f = small(name)
        map, given = f.prox(1.0), f.watched()[i]
        given.copy_(given.clone())
        for call in (map, f.value, f.gradient):
            with pytest.raises(InputError, match="was changed"):
                call(x)
        with pytest.raises(InputError, match="was changed"):
            copy.deepcopy(f)
    copied = copy.deepcopy(other)
    torch.testing.assert_close(copied.gradient(x), other.gradient(x))
    other.operator.filter.mul_(2)
    copied.gradient(x)
    with pytest.raises(InputError, match=f"make a new {type(f).__name__}"):
        other.gradient(x)


Y = catalogue.image(1, 2, 4, 5)
FULL, NONE = torch.ones(1, 2, 4, 5, dtype=torch.bool), torch.zeros(1, 2, 4, 5, dtype=torch.bool)
REFUSED = {
    "weights must be finite numbers >= 0": lambda: pk.WeightedLeastSquares(Denoising(), Y, -torch.ones_like(Y)),
    "weights must be finite": lambda: pk.WeightedLeastSquares(Denoising(), Y, torch.full_like(Y, math.nan)),
    "nothing was measured": lambda: pk.WeightedLeastSquares(Denoising(), Y, torch.zeros_like(Y)),
    "weights must have the shape of y": lambda: pk.WeightedLeastSquares(Denoising(), Y, torch.ones(1, 2, 4, 4)),
    "every reading of an image has weight 0": lambda: pk.Huber(Denoising(), Y, 0.1, weights=0.0),
    "above must have the shape": lambda: pk.ClippedLeastSquares(Denoising(), Y, above=FULL[..., 1:, 1:]),
    "above must be a mask of booleans": lambda: pk.ClippedLeastSquares(Denoising(), Y, above=Y),
    "both at the ceiling": lambda: pk.ClippedLeastSquares(Denoising(), Y, above=FULL, below=FULL),
    "readings y >= 0": lambda: pk.KullbackLeibler(Denoising(), Y - 0.5),
    "gain must be a finite number > 0": lambda: pk.KullbackLeibler(Denoising(), Y, gain=0.0),
    "gain must be a finite number": lambda: pk.KullbackLeibler(Denoising(), Y, gain=-1.0),
    "background must be finite numbers >= 0": lambda: pk.KullbackLeibler(Denoising(), Y, background=-0.1),
    "background must have the shape": lambda: pk.KullbackLeibler(Denoising(), Y, background=torch.ones(3)),
    "delta must be a finite number > 0": lambda: pk.Huber(Denoising(), Y, 0.0),
    "delta must be": lambda: pk.Huber(Denoising(), Y, math.inf),
    "takes stacks": lambda: pk.Huber(StackedLinearPhysics([Denoising()]), TensorList([Y]), 0.1),
    "must have the shape of y, (1, 2, 4, 5), got (1, 2, 4, 4)": lambda: pk.Huber(Denoising(), Y, 0.1).with_data(
        Y[..., 1:]
    ),
    "the least is -0.5": lambda: pk.KullbackLeibler(Denoising(), Y).with_data(Y * 0 - 0.5),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_is_no_data_term_is_refused_in_one_line(message: str) -> None:
    with pytest.raises(InputError) as error:
        REFUSED[message]()
    assert message in str(error.value) and "\n" not in str(error.value)


def test_a_gradient_step_where_there_is_none_is_refused() -> None:
    f = pk.KullbackLeibler(Denoising(), Y)
    assert math.isinf(f.L)
    for call in (f.gradient_step, lambda: splittings.forward_backward(f, proximal.box(0, 1), 0.1)):
        with pytest.raises(StepSizeError, match="background"):
            call()
    assert math.isfinite(pk.KullbackLeibler(Denoising(), Y, 0.01).L)
    assert pk.KullbackLeibler(Denoising(), Y * 0, 0.0).L == 0, "where nothing was counted f is linear"


def test_the_formulas() -> None:
    """Each value by hand, at one pixel."""
    y, v = torch.tensor([[2.0]]).double(), torch.tensor([[3.0]]).double()
    A = from_matrix(torch.eye(1).double())
    yes = torch.ones(1, 1, dtype=torch.bool)
    expected = {
        pk.WeightedLeastSquares(A, y, 4.0): 2.0,
        pk.ClippedLeastSquares(A, y, 4.0, above=yes): 0.0,
        pk.ClippedLeastSquares(A, y, 4.0, below=yes): 2.0,
        pk.ClippedLeastSquares(A, y + 2, 4.0, above=yes): 2.0,
        pk.ClippedLeastSquares(A, y + 2, 4.0, below=yes): 0.0,
        pk.KullbackLeibler(A, y, 0.5, 2.0): (3.5 - 2 * math.log(3.5)) / 2,
        pk.Huber(A, y, 0.5): 0.5 * (1 - 0.25),
        pk.Huber(A, y, 2.0, weights=3.0): 1.5,
    }
    for f, value in expected.items():
        assert float(f.value(v)) == pytest.approx(value)
    kl = pk.KullbackLeibler(A, y)
    assert math.isinf(float(kl.value(torch.zeros_like(v)))) and float(kl.value(v)) == pytest.approx(3 - 2 * math.log(3))
    below, b = pk.KullbackLeibler(A, y, 0.5), 0.5
    taylor = b - 2 * math.log(b) + (1 - 2 / b) * -0.2 + 2 / b**2 / 2 * 0.04
    assert float(below.value(torch.full_like(v, -0.2))) == pytest.approx(taylor)


def test_weights_of_one_and_no_clipped_reading_are_least_squares() -> None:
    A = blur(kernels.box(3), "unknown", dtype=torch.float64)
    y = catalogue.image(1, 2, 7, 8)
    plain, x = pk.LeastSquares(A, y), catalogue.image(1, 2, 9, 10, seed=3)
    for f in (pk.WeightedLeastSquares(A, y, 1.0), pk.ClippedLeastSquares(A, y), pk.Huber(A, y, 1e6)):
        torch.testing.assert_close(f.value(x), plain.value(x))
        torch.testing.assert_close(f.gradient(x), plain.gradient(x))
        gap = f.prox(10.0)(x) - plain.prox(10.0)(x)
        assert float(gap.square().mean().sqrt()) <= f.prox(10.0).error + plain.prox(10.0).error
        assert f.L == pytest.approx(plain.L)


def test_a_reading_at_the_ceiling_says_that_the_scene_is_at_least_so_bright() -> None:
    """A lamp of brightness 3 behind a ceiling of 1: one-sided data leave it alone, plain data cut it."""
    scene = torch.full((1, 1, 9, 9), 0.2, dtype=torch.float64)
    scene[..., 4, 4] = 3.0
    y = scene.clamp(max=1.0)
    one_sided = pk.ClippedLeastSquares(Denoising(), y, above=y >= 1.0)
    torch.testing.assert_close(one_sided.prox(50.0)(scene), scene)
    assert float(pk.LeastSquares(Denoising(), y).prox(50.0)(scene)[..., 4, 4]) < 1.1


@pytest.mark.parametrize("scale", [1.0, 1e3, 1e6])
@pytest.mark.parametrize("kind", ["weighted", "clipped", "huber"])
def test_the_stated_error_of_newtons_prox_holds_for_data_of_any_size(kind: str, scale: float) -> None:
    """In float32 against the same prox in float64: both errors are stated."""
    random = np.random.default_rng(1)
    left, right = (np.linalg.qr(random.standard_normal((9, 9)))[0] for _ in range(2))
    matrix = torch.from_numpy(left @ np.diag(np.geomspace(2.0, 0.14, 9)) @ right)
    truth = scale * torch.from_numpy(random.random(9))
    y, start, weights = (matrix @ truth)[None], (1.1 * truth)[None], torch.from_numpy(random.random((1, 9)) + 0.1)

    def point(dtype: torch.dtype) -> tuple[torch.Tensor, float]:
        own = matrix.to(dtype)
        A = LinearPhysics(A=lambda x: x @ own.T, A_adjoint=lambda v: v @ own)
        given = y.to(dtype)
        f = {
            "weighted": lambda: pk.WeightedLeastSquares(A, given, weights.to(dtype)),
            "clipped": lambda: pk.ClippedLeastSquares(A, given, above=given > given.median()),
            "huber": lambda: pk.Huber(A, given, 0.02 * scale),
        }[kind]()
        prox = f.prox(50.0)
        return prox(start.to(dtype)).double(), prox.error

    (single, error), (double, smaller) = point(torch.float32), point(torch.float64)
    assert float((single - double).square().mean().sqrt()) <= error + smaller
    assert error < 0.05 * scale
