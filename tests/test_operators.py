"""Forward models: linear, exact adjoints, norms sound and tight against a dense SVD."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import catalogue
import numpy as np
import physics as deep
import pytest
import scipy.ndimage
import scipy.signal
import torch
from deepinv.physics import (
    Blur,
    BlurFFT,
    ComposedLinearPhysics,
    Decolorize,
    Denoising,
    Downsampling,
    DownsamplingMatlab,
    Inpainting,
    LinearPhysics,
    StackedLinearPhysics,
    Upsampling,
)
from deepinv.utils import TensorList
from torch import Tensor

from pnpkit import kernels
from pnpkit.certificates import Bound, Premise, Side
from pnpkit.errors import InputError, LawBroken, UnknownName
from pnpkit.fidelities.least_squares import LeastSquares
from pnpkit.laws.operators import check_adjoint, check_linear, check_norm
from pnpkit.operators.blur import blur
from pnpkit.operators.norms import norm_bound, smallest_singular_value


@pytest.mark.parametrize("name", catalogue.OPERATORS)
def test_linear_with_an_exact_adjoint_and_a_norm_within_its_bound(name: str) -> None:
    """By the laws that users run, on all three channels, to 1e-12."""
    physics, x, _ = catalogue.operator(name)
    check_linear(physics, x, tolerance=1e-12)
    check_adjoint(physics, x, tolerance=1e-12)
    check_norm(physics, x, tolerance=1e-12)


ALL = {**deep.CASES, **deep.OURS}


@pytest.mark.parametrize("name", sorted(set(ALL) - deep.FAILING - deep.LOOSE))
def test_the_laws_hold_for_every_operator(name: str) -> None:
    x = torch.rand(1, *ALL[name].shape, generator=catalogue.generator(2)).to(ALL[name].dtype or torch.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deepinv has deprecated defaults
        physics = ALL[name].make()
    check_linear(physics, x)
    check_adjoint(physics, x)
    check_norm(physics, x)


@pytest.mark.parametrize("name", sorted(deep.LOOSE))
def test_the_laws_find_the_rough_adjoints_of_deepinv(name: str) -> None:
    x = torch.rand(1, *ALL[name].shape, generator=catalogue.generator(2))
    with pytest.raises(LawBroken, match="not adjoint"):
        check_adjoint(ALL[name].make(), x)


class Shear(LinearPhysics):
    """x -> x + s (x moved by a row), from elsewhere, with a proof of its own: ||A|| <= 1 + |s|."""

    def __init__(self, s: float, claim: float | None = None):
        super().__init__()
        self.s, self.claim = s, 1 + abs(s) if claim is None else claim

    def A(self, x: Tensor, **kwargs: object) -> Tensor:
        return x + self.s * x.roll(1, -2)

    def A_adjoint(self, y: Tensor, **kwargs: object) -> Tensor:
        return y + self.s * y.roll(-1, -2)

    def norm_bound(self) -> Bound:
        return Bound(self.claim, Side.PROVEN, "triangle inequality", (Premise("the sides wrap around"),))

    def smallest_singular_value(self) -> float:
        return max(0.0, 1 - abs(self.s))


def test_an_operator_of_a_users_own_carries_its_bound() -> None:
    """One class, no table: the bound is PROVEN, its premise is passed on, the gradient step a contraction."""
    x = catalogue.image(1, 1, 6, 5)
    physics = Shear(0.5)
    bound = norm_bound(physics, x)
    assert bound and bound.value == 1.5
    fidelity = LeastSquares(physics, physics.A(x))
    certificate = fidelity.gradient_step(1.0 / fidelity.L).certificate
    assert certificate.contractive and certificate.lipschitz == pytest.approx(1 - 0.25 / 2.25)
    assert tuple(map(str, certificate.premises)) == ("the sides wrap around",)
    for law in (check_linear, check_adjoint, check_norm):
        law(physics, x)
    stack = StackedLinearPhysics([physics, Denoising()])
    assert norm_bound(stack, x).premises == bound.premises and norm_bound(stack, x).value == pytest.approx(3.25**0.5)


def test_a_bound_of_ones_own_that_is_refuted_or_of_another_operator_is_not_believed() -> None:
    class Louder(Shear):
        def A(self, x: Tensor, **kwargs: object) -> Tensor:
            return 3 * super().A(x)

    x = catalogue.image(1, 1, 6, 5)
    with pytest.raises(InputError, match="is no bound"):
        norm_bound(Shear(0.5, claim=1.0), x)
    found = norm_bound(Louder(0.5), x)
    assert found.side is Side.MEASURED and 3 < found.value <= 4.5 and smallest_singular_value(Louder(0.5)) == 0
    replaced = Shear(0.5)
    replaced.A = lambda x: 5 * x  # type: ignore[method-assign]
    assert norm_bound(replaced, x).side is Side.MEASURED


def test_a_bound_is_no_proof_where_the_adjoint_is_none() -> None:
    class Askew(Shear):
        def A_adjoint(self, y: Tensor, **kwargs: object) -> Tensor:
            return y + self.s * y.roll(1, -2)

        def norm_bound(self) -> Bound:
            return Bound(1.5, Side.PROVEN, "triangle inequality")

    x = catalogue.image(1, 1, 6, 5)
    assert norm_bound(Askew(0.5), x).side is Side.MEASURED
    vouched = LeastSquares(Askew(0.5), x, norm=1.6)
    assert vouched.side is Side.MEASURED and not vouched.gradient_step().certificate.nonexpansive
    with pytest.raises(InputError, match="A_adjoint is none"):
        vouched.prox(1.0)


@pytest.mark.parametrize("name", catalogue.OPERATORS)
def test_norm_bound_is_sound_and_tight(name: str) -> None:
    physics, x, _ = catalogue.operator(name)
    values = torch.linalg.svdvals(catalogue.dense(physics, x))
    bound = norm_bound(physics)
    assert bound.side is Side.PROVEN
    assert float(values[0]) <= bound.value * (1 + 1e-12)
    assert bound.value <= 1.12 * float(values[0])  # small frames: the bound holds for every size
    assert smallest_singular_value(physics) <= float(values[-1]) + 1e-12


def test_smallest_singular_value_of_a_circular_blur_is_found() -> None:
    physics, x, _ = catalogue.operator("gaussian circular")
    assert smallest_singular_value(physics) == pytest.approx(
        float(torch.linalg.svdvals(catalogue.dense(physics, x))[-1]), rel=1e-6
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


class Unknown(LinearPhysics):
    """Twice the image, in a class that pnpkit knows nothing about."""

    def A(self, x: Tensor, **kwargs: object) -> Tensor:
        return 2 * x

    def A_adjoint(self, y: Tensor, **kwargs: object) -> Tensor:
        return 2 * y


def test_unstructured_operators_are_measured_and_labelled() -> None:
    with pytest.raises(TypeError, match="example"):
        norm_bound(Unknown())
    bound = norm_bound(Unknown(), catalogue.image(1, 1, 8, 8))
    assert bound.side is Side.MEASURED and "lower bound" in bound.method and bound.value == pytest.approx(2)


def _filters(kernel: np.ndarray) -> Tensor:
    return torch.from_numpy(kernel)[None, None]


def _composed() -> LinearPhysics:
    masked = Inpainting(img_size=(1, 8, 10), mask=(catalogue.image(1, 1, 8, 10) > 0.5).double())
    return ComposedLinearPhysics(Blur(_filters(kernels.gaussian(1.0)), padding="circular"), masked)


MORE: dict[str, Callable[[], LinearPhysics]] = {
    "replicate": lambda: Blur(_filters(kernels.box(5)), padding="replicate"),
    "reflect": lambda: Blur(_filters(kernels.box(5)), padding="reflect"),
    "replicate signed": lambda: Blur(_filters(catalogue.signed_kernel()), padding="replicate"),
    "decimation": lambda: Downsampling((1, 8, 10), filter=None, factor=2),
    "downsampling": lambda: Downsampling((1, 8, 10), filter=_filters(kernels.gaussian(0.8)), factor=2),
    "composed": _composed,
}


@pytest.mark.parametrize("name", MORE)
def test_norms_of_more_deepinv_physics_are_sound(name: str) -> None:
    physics, x = MORE[name](), catalogue.image(1, 1, 8, 10)
    truth = float(torch.linalg.svdvals(catalogue.dense(physics, x))[0])
    bound = norm_bound(physics, x)
    assert bound.side is Side.PROVEN and truth <= bound.value * (1 + 1e-12) and bound.value <= 2.2 * truth


def test_reflecting_borders_push_a_unit_sum_blur_above_one() -> None:
    physics, x = MORE["reflect"](), catalogue.image(1, 1, 8, 10)
    assert float(torch.linalg.svdvals(catalogue.dense(physics, x))[0]) > 1.01


def test_norms_of_decolorize_and_stacks() -> None:
    x = catalogue.image(1, 3, 6, 7)
    grey = Decolorize().double()
    basis = torch.eye(3, dtype=torch.float64).view(3, 3, 1, 1)
    truth = float(torch.linalg.matrix_norm(grey.A(basis).flatten(1), 2))
    assert truth <= norm_bound(grey, x).value * (1 + 1e-6) <= truth * 1.001
    stack = StackedLinearPhysics([Denoising(), Denoising()])
    assert norm_bound(stack, x).value == pytest.approx(2**0.5) and norm_bound(stack, x).side is Side.PROVEN
    mixed = norm_bound(StackedLinearPhysics([Denoising(), Unknown()]), x)
    assert mixed.side is Side.MEASURED and "lower bound" in mixed.method


class Tripled(Blur):
    """Another operator than the blur that it derives from."""

    def A(self, x: Tensor, **kwargs: object) -> Tensor:
        return 3 * super().A(x)

    def A_adjoint(self, y: Tensor, **kwargs: object) -> Tensor:
        return 3 * super().A_adjoint(y)


def test_a_subclass_with_an_operator_of_its_own_is_measured() -> None:
    x, filters = catalogue.image(1, 1, 9, 9), torch.ones(1, 1, 3, 3, dtype=torch.float64) / 9
    assert norm_bound(Blur(filters, padding="valid"), x).side is Side.PROVEN
    found = norm_bound(Tripled(filters, padding="valid"), x)
    assert found.side is Side.MEASURED and 2 < found.value <= 3
    fidelity = LeastSquares(Tripled(filters, padding="valid"), torch.zeros(1, 1, 7, 7, dtype=torch.float64))
    u = fidelity.prox(2.0)(x)
    assert float((u + 2 * fidelity.gradient(u) - x).square().mean().sqrt()) < 1e-4
    assert norm_bound(DownsamplingMatlab(factor=2), x[..., :8, :8]).side is Side.MEASURED
    turned = Denoising()
    turned.A = lambda x: 5 * x  # type: ignore[method-assign]
    assert norm_bound(turned, x).value == pytest.approx(5) and norm_bound(turned, x).side is Side.MEASURED


@pytest.mark.parametrize("kind", [Denoising, Inpainting])
def test_functions_that_deepinv_was_handed_are_measured(kind: type) -> None:
    functions = {"U": lambda x: 5 * x, "U_adjoint": lambda y: 5 * y}
    operator = kind(**functions) if kind is Denoising else kind((1, 4, 4), mask=0.5, **functions)
    x = catalogue.image(1, 1, 4, 4).to(operator.mask.dtype)
    truth = float(torch.linalg.vector_norm(operator.A(x)) / torch.linalg.vector_norm(x))
    found = norm_bound(operator, x)
    assert truth > 1 and found.side is Side.MEASURED and found.value >= truth * (1 - 1e-5)
    assert smallest_singular_value(operator) == 0.0


@pytest.mark.parametrize("what, factor", [("mask", 3.0), ("filter", 1 / 3), ("angle", 2.0), ("filter", 3.0)])
def test_a_circular_blur_has_the_norm_of_what_it_computes_with(what: str, factor: float) -> None:
    """deepinv computes the gains once, from the filter: what is written to either later leaves the other as it was."""
    operator = BlurFFT((1, 4, 4), filter=torch.full((1, 1, 3, 3), 1 / 9))
    setattr(operator, what, getattr(operator, what) * factor)
    flat = torch.ones(1, 1, 4, 4)
    truth = float(operator.A(flat).norm() / flat.norm())
    found = norm_bound(operator, flat)
    assert found.side is Side.PROVEN and found.value >= truth * (1 - 1e-6)
    assert smallest_singular_value(operator) <= float(operator.mask.min() * operator.angle.abs().min()) * (1 + 1e-6)


def test_a_stack_without_its_adjoint_is_refused() -> None:
    with pytest.warns(DeprecationWarning), pytest.raises(InputError, match="reduction='sum'"):
        norm_bound(StackedLinearPhysics([Denoising()], reduction="mean"), catalogue.image(1, 1, 4, 4))
    x = catalogue.image(1, 1, 4, 4)
    with pytest.warns(DeprecationWarning), pytest.raises(InputError, match="reduction='sum'"):
        LeastSquares(StackedLinearPhysics([Denoising()], reduction="mean"), TensorList([x]), norm=1.0)


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


def test_norms_where_deepinv_does_something_else() -> None:
    """A kernel larger than the picture is cut, replicated rows have a wrong adjoint, three dimensions are not two."""
    kernel = torch.ones(1, 1, 1, 9, dtype=torch.float64)
    kernel[..., 8] = -4
    cut = BlurFFT(img_size=(1, 1, 8), filter=kernel)
    ones = torch.ones(1, 1, 1, 8, dtype=torch.float64)
    assert norm_bound(cut).value >= float(cut.A(ones).norm() / ones.norm())
    rows = Blur(torch.full((1, 1, 1, 5), 0.2, dtype=torch.float64), padding="replicate")
    assert norm_bound(rows, catalogue.image(1, 1, 32, 8)).side is Side.MEASURED
    square = Blur(torch.full((1, 1, 3, 5), 1 / 15, dtype=torch.float64), padding="replicate")
    assert norm_bound(square, catalogue.image(1, 1, 32, 8)).side is Side.PROVEN
    assert norm_bound(Denoising(mask=3.0)).value == 3


@pytest.mark.parametrize("size", [5, 11, 13])
def test_a_singular_blur_of_a_large_scale_has_no_smallest_gain(size: int) -> None:
    assert smallest_singular_value(blur(torch.full((1, size), 1e6 / size), "circular", (1, size))) == 0


def test_a_wrong_adjoint_at_the_border_of_a_large_picture_is_found() -> None:
    """deepinv's replicate padding with a kernel of one column: entries of its adjoint are off by 0.6."""
    physics, x = Blur(torch.full((1, 1, 5, 1), 0.2), padding="replicate"), torch.rand(1, 1, 108, 40)
    assert norm_bound(physics, x).side is Side.MEASURED
    with pytest.raises(LawBroken, match="not adjoint"):
        check_adjoint(physics, x)
    assert check_adjoint(Blur(torch.full((1, 1, 5, 5), 0.04), padding="replicate"), x) < 1e-4


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1j])
def test_a_kernel_that_holds_no_real_numbers_is_refused(value: complex) -> None:
    with pytest.raises(InputError, match="a blur kernel must hold"):
        blur(np.full((3, 3), value), "zero")


def test_enlarging_has_the_norm_of_its_adjoint() -> None:
    filters = torch.full((1, 1, 3, 3), 1 / 9, dtype=torch.float64)
    up = Upsampling(img_size=(1, 8, 8), filter=filters, factor=2, padding="circular")
    x = catalogue.image(1, 1, 4, 4)
    truth = float(torch.linalg.matrix_norm(up.A(torch.eye(16, dtype=x.dtype).view(16, 1, 4, 4)).flatten(1), 2))
    bound = norm_bound(up, x)
    assert bound.side is Side.PROVEN and truth <= bound.value * (1 + 1e-12)


def _tiny(filters: np.ndarray | Tensor, padding: str, factor: int, size: tuple[int, int]) -> Downsampling:
    return Downsampling((1, *size), filter=torch.as_tensor(filters)[None, None], factor=factor, padding=padding)


@pytest.mark.parametrize("padding", ["circular", "replicate", "reflect"])
@pytest.mark.parametrize("factor", [2, 3])
def test_filtered_down_and_upsampling_have_the_norm_of_their_aliases(padding: str, factor: int) -> None:
    """Not that of the blur before the decimation, which is 2 to 3 times as large."""
    size = (6 * factor, 4 * factor)
    down = _tiny(kernels.gaussian(0.3 * factor), padding, factor, size)
    filters = torch.as_tensor(kernels.gaussian(0.3 * factor))[None, None]
    up = Upsampling((1, *size), filter=filters, factor=factor, padding=padding)
    for operator, x in ((down, catalogue.image(1, 1, *size)), (up, catalogue.image(1, 1, 6, 4))):
        truth = float(torch.linalg.svdvals(catalogue.dense(operator, x))[0])
        bound = norm_bound(operator, x)
        assert bound and truth <= bound.value * (1 + 1e-12)
        assert bound.value <= truth * (1 + 1e-6 if padding == "circular" else 1.15)
