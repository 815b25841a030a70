"""The denoising networks: any size, grey, precision, levels; and certificates that follow the weights."""

from __future__ import annotations

import math
import warnings

import catalogue
import numpy as np
import process
import pytest
import torch
import torch.nn.functional as F
from deepinv.models import Denoiser
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pnpkit.certificates import Certificate, Side, nothing
from pnpkit.errors import InputError, UnknownName
from pnpkit.fidelities.least_squares import LeastSquares
from pnpkit.laws.maps import audit
from pnpkit.layers.activations import Clip
from pnpkit.layers.windows import Windows
from pnpkit.networks import classical
from pnpkit.networks.architectures import build
from pnpkit.networks.base import Network, Traits
from pnpkit.networks.euler import Euler
from pnpkit.registry import load_denoiser

TOP = 50 / 255


@pytest.mark.parametrize("name", catalogue.NETWORKS)
@given(height=st.integers(1, 9), width=st.integers(1, 9), channels=st.sampled_from([1, 3]), level=st.floats(0, TOP))
@settings(max_examples=15, deadline=None)
def test_any_size_any_level(name: str, height: int, width: int, channels: int, level: float) -> None:
    network = catalogue.NETWORKS[name]()
    assert isinstance(network, Denoiser)
    x = catalogue.image(2, channels, height, width).float()
    out = network(x, level)
    assert out.shape == x.shape and out.dtype == x.dtype and bool(torch.isfinite(out).all())


@pytest.mark.parametrize("name", catalogue.NETWORKS)
def test_float64_agrees_with_float32(name: str) -> None:
    network = catalogue.NETWORKS[name]()
    x = catalogue.image()
    double = network(x, 0.1)
    assert double.dtype == torch.float64
    torch.testing.assert_close(network(x.float(), 0.1).double(), double, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", catalogue.NETWORKS)
def test_each_image_of_a_batch_has_its_own_level(name: str) -> None:
    network = catalogue.NETWORKS[name]()
    x = catalogue.image(2, 3, 8, 8)
    both = network(x, torch.tensor([0.02, 0.15]))
    torch.testing.assert_close(both[0:1], network(x[0:1], 0.02))
    torch.testing.assert_close(both[1:2], network(x[1:2], 0.15))


@pytest.mark.parametrize("name", catalogue.NETWORKS)
def test_without_gradients_results_take_the_place_of_others_but_never_of_the_input(name: str) -> None:
    network, x = catalogue.NETWORKS[name](), catalogue.image(2, 3, 8, 9)
    before, recorded = x.clone(), network(x, 0.1)
    with torch.no_grad():
        torch.testing.assert_close(network(x, 0.1), recorded.detach(), rtol=1e-12, atol=1e-14)
        with torch.inference_mode():
            torch.testing.assert_close(network(x, 0.1), recorded.detach(), rtol=1e-12, atol=1e-14)
        single = x.float()
        with torch.autocast("cpu", torch.bfloat16):
            network(single, 0.1)
        assert torch.equal(single, before.float())
        network(x, 0.1).add_(1)  # the result is never the caller's picture, not even of the identity
    assert torch.equal(x, before)


def test_grey_is_the_average_of_three_equal_channels() -> None:
    network = catalogue.euler()
    x = catalogue.image(1, 1, 8, 8)
    colour = network(x.expand(-1, 3, -1, -1), 0.1)
    torch.testing.assert_close(network(x, 0.1), colour.mean(1, keepdim=True))


def test_euler_without_noise_is_the_identity() -> None:
    x = catalogue.image()
    torch.testing.assert_close(catalogue.euler()(x, 0.0), x)


def test_circular_euler_commutes_with_shifts() -> None:
    network, x = catalogue.euler(padding="circular"), catalogue.image()
    shifted = network(x.roll((3, 5), (2, 3)), 0.1)
    torch.testing.assert_close(shifted, network(x, 0.1).roll((3, 5), (2, 3)))


def test_euler_is_proven_and_dncnn_is_not() -> None:
    proven = catalogue.euler().certificate
    assert proven.side is Side.PROVEN and proven.lipschitz == 1
    assert proven.averagedness is not None and proven.averagedness < 1
    assert len(proven.parts) == 2 and "every image size" in proven.method
    nothing = catalogue.dncnn().certificate
    assert nothing.side is Side.MEASURED and nothing.averagedness is None
    assert not nothing.proven


def test_a_fresh_euler_network_is_proven_by_construction() -> None:
    torch.manual_seed(1)
    assert build("euler", {"blocks": 3}).certificate.averaged


def test_certificate_follows_the_weights() -> None:
    network = catalogue.euler()
    before = network.certificate
    with torch.no_grad():
        network.steps()[0].kernel *= 2
    after = network.certificate
    assert before.averaged and not after.averaged and after.lipschitz > 1
    network.secure()
    assert network.certificate.averaged


@pytest.mark.parametrize("unshuffle, scales", [(1, (1,)), (1, (1, 2)), (1, (3, 1)), (2, (1,)), (2, (2, 1))])
@pytest.mark.parametrize("padding", ["zero", "circular"])
def test_certificate_agrees_with_the_jacobian(unshuffle: int, scales: tuple[int, ...], padding: str) -> None:
    """The network is 1-Lipschitz where it stands: no singular value of its Jacobian is above 1."""
    network = catalogue.euler(unshuffle=unshuffle, scales=scales, padding=padding, channels=12)
    x = catalogue.image(1, 3, 5, 6)
    assert network.certificate.averaged
    jacobian = torch.autograd.functional.jacobian(lambda u: network(u, 0.1), x).reshape(90, 90)
    assert float(torch.linalg.svdvals(jacobian)[0]) <= 1 + 1e-9


def windows_of(x: Tensor, angles: list[float]) -> list[tuple[float, Tensor, tuple[int, int]]]:
    """For each channel of overlapping windows on a torus: its weight, what it is of, and by how much it is shifted."""
    found = []
    for colour, angle in enumerate(angles):
        along = [math.sin(angle), math.cos(angle), math.cos(angle), math.sin(angle)]
        for row in (0, 1):
            for column in (0, 1):
                for a, b in ((row, column), (row, 3 - column), (3 - row, column), (3 - row, 3 - column)):
                    found.append((along[a] * along[b], x[:, colour : colour + 1], (1 - a, 1 - b)))
    return found


@pytest.mark.parametrize("overlapping", [False, True])
@pytest.mark.parametrize("size", [(1, 1), (1, 4), (2, 3), (5, 6)])
def test_a_mirrored_euler_sees_the_picture_beside_its_mirror_images(size: tuple[int, int], overlapping: bool) -> None:
    """D(x) is E^T D(E x) / 4, E x the picture beside its mirror images on a torus: hence the proof, for any size."""
    channels = 52 if overlapping else 16
    network = catalogue.euler(padding="mirror", unshuffle=2, channels=channels, overlapping=overlapping)
    x = catalogue.image(1, 3, *size)
    beside = torch.cat([x, x.flip(3)], 3)
    beside = torch.cat([beside, beside.flip(2)], 2)
    around = catalogue.euler(padding="circular", unshuffle=2, channels=channels)
    if network.windows is not None:  # written out, shift by shift
        angles = [0.3, 0.7, 1.1]
        network.windows.angle.data = torch.tensor(angles, dtype=torch.float64)
        around.lift = lambda x: torch.cat(
            [w * u.roll(by, (2, 3))[..., ::2, ::2] for w, u, by in windows_of(x, angles)], 1
        )

        def project(z: Tensor, rows: int, columns: int) -> Tensor:
            back = torch.zeros(1, 3, rows, columns, dtype=z.dtype)
            for channel, (weight, _, by) in enumerate(windows_of(x, angles)):
                spread = torch.zeros(1, rows, columns, dtype=z.dtype)
                spread[:, ::2, ::2] = weight * z[:, channel]
                back[:, channel // 16] += spread.roll((-by[0], -by[1]), (1, 2))
            return back

        around.project = project
    out = network(x, 0.1)
    for block, own in zip(around.steps(), network.steps(), strict=True):
        block.kernel.data, block.raw_step.data = own.filters.detach().double(), own.raw_step.detach()
        for name in ("low", "high"):
            quarter = getattr(own.activation, name).values.detach()
            getattr(block.activation, name).values.data = quarter.repeat_interleave(4, 1)
    torch.testing.assert_close(around(beside, 0.1)[..., : size[0], : size[1]], out)
    for axis in (2, 3):
        if x.shape[axis] % 2 == 0:  # else its squares of 2 x 2 are others from the other side
            torch.testing.assert_close(network(x.flip(axis), 0.1), out.flip(axis))
    assert network.certificate.averaged
    jacobian = torch.autograd.functional.jacobian(lambda u: network(u, 0.1), x).reshape(x.numel(), -1)
    assert float(torch.linalg.svdvals(jacobian)[0]) <= 1 + 1e-9


def test_a_mirrored_euler_has_no_frame_to_see() -> None:
    """Filters without a mean leave a constant picture alone up to its border; padded by zeros they do not."""
    x = torch.full((1, 3, 5, 7), 0.5, dtype=torch.float64)
    torch.testing.assert_close(catalogue.euler(padding="mirror", unshuffle=2, channels=16)(x, 0.1), x)
    changed = catalogue.euler(unshuffle=2, channels=16)(x, 0.1).detach()
    assert float((changed - x).abs().max()) > 1e-3


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (3, 6), (8, 5)])
def test_overlapping_windows_are_isometric_and_undone_by_their_adjoint(size: tuple[int, int]) -> None:
    """P Q = I for all sizes; for even sides, where every window counts once, ||Q x|| = ||x|| and P = Q^T besides."""
    windows = Windows().double()
    windows.angle.data = torch.tensor([0.2, 0.8, 1.3], dtype=torch.float64)
    x = catalogue.image(2, 3, *size)
    seen = windows.lift(x)
    assert seen.shape == (2, 48, -(-size[0] // 2), -(-size[1] // 2))
    torch.testing.assert_close(windows.project(seen, *size), x)
    if not (size[0] % 2 or size[1] % 2):
        torch.testing.assert_close(seen.norm(), x.norm())
        z = torch.randn(seen.shape, generator=catalogue.generator(5), dtype=torch.float64)
        torch.testing.assert_close((seen * z).sum(), (x * windows.project(z, *size)).sum())


def test_overlapping_windows_of_angle_zero_are_the_squares_alone() -> None:
    windows, x = Windows().double(), catalogue.image(1, 3, 6, 4)
    windows.angle.data.zero_()
    seen = windows.lift(x).unflatten(1, (3, 4, 4))
    torch.testing.assert_close(seen[:, :, 3].flatten(1, 2), F.pixel_unshuffle(x, 2))
    assert not seen[:, :, :3].any()


def test_overlapping_windows_are_refused_without_a_mirror_or_room() -> None:
    with pytest.raises(ValueError, match="padding"):
        build("euler", {"blocks": 1, "unshuffle": 2, "overlapping": True})
    with pytest.raises(ValueError, match="windows need 48 channels"):
        build("euler", {"blocks": 1, "unshuffle": 2, "padding": "mirror", "overlapping": True, "channels": 32})


@pytest.mark.parametrize(
    "wrong",
    [
        {"unshuffle": 1},
        {"unshuffle": 2, "scales": (1, 2)},
        {"unshuffle": 2, "hidden": 6},
        {"unshuffle": 2, "activation": "relu"},
    ],
)
def test_what_cannot_be_mirrored_is_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match="mirrored"):
        build("euler", {"blocks": 1, "channels": 16, "padding": "mirror", **wrong})


@pytest.mark.parametrize("level", [-0.01, float("inf"), float("nan")])
def test_levels_outside_the_range_are_refused(level: float) -> None:
    with pytest.raises(InputError, match="outside"):
        catalogue.euler()(catalogue.image(), level)
    with pytest.raises(InputError, match="outside"):
        catalogue.euler().at(level)


@pytest.mark.parametrize("level", [None, "auto", 0.1 + 0j, torch.full((3,), 0.1), [0.1]])
def test_what_is_no_level_is_refused(level: object) -> None:
    with pytest.raises(InputError, match="sigma is"):
        catalogue.euler()(catalogue.image(2, 3, 8, 8), level)


@pytest.mark.parametrize("number", [np.float32(0.1), np.float64(0.1), torch.tensor(0.1), torch.full((2, 1, 1, 1), 0.1)])
def test_levels_may_be_numbers_of_any_house(number: object) -> None:
    x = catalogue.image(2, 3, 8, 8)
    torch.testing.assert_close(catalogue.euler()(x, number), catalogue.euler()(x, 0.1), atol=1e-7, rtol=0)


def test_an_array_is_no_picture_for_a_network() -> None:
    with pytest.raises(InputError, match="got ndarray"):
        catalogue.euler()(catalogue.image().numpy(), 0.1)


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 2, 8, 8), (1, 4, 8, 8), (1, 3, 0, 5)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="float tensor"):
        catalogue.euler()(catalogue.image(*shape), 0.1)


def test_an_unshuffled_euler_needs_room_for_its_squares() -> None:
    with pytest.raises(ValueError, match="12 channels or more"):
        build("euler", {"unshuffle": 2, "channels": 8})


def test_unknown_architecture_or_argument() -> None:
    with pytest.raises(UnknownName, match="did you mean 'euler'"):
        build("eulr", {})
    with pytest.raises(TypeError):
        build("euler", {"blokcs": 3})


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


@pytest.mark.parametrize("at_once", [0, 3])
def test_shifts_that_are_shrunk_together_give_the_same_bits(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    network, x, level = catalogue.NETWORKS["wavelet"](), catalogue.image(2, 3, 11, 14), torch.tensor([0.05, 0.1])
    together = network(x, level)
    monkeypatch.setattr(classical, "AT_ONCE", at_once * x.numel())
    assert torch.equal(network(x, level), together)


def test_without_a_threshold_every_shift_is_undone() -> None:
    network = load_denoiser("wavelet").double()
    x = torch.rand(1, 3, 17, 30, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(network(x, 0.0), x, atol=1e-9)


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


def test_maps_can_be_compiled_whole() -> None:
    """What counts writing is left out where torch compiles."""
    network, x = catalogue.euler(), catalogue.image(1, 3, 8, 8)
    fidelity = LeastSquares(catalogue.OPERATORS["identity"](), x)
    map = network.at(0.1)
    for function in (map, fidelity.gradient):
        compiled = torch.compile(function, fullgraph=True, backend="eager")
        torch.testing.assert_close(compiled(x), function(x))


def test_a_network_of_ones_own_has_the_usual_rule() -> None:
    class Half(Network):
        traits, config = Traits(1.0), None

        def denoise(self, x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
            return 0.5 * x

        def certify(self) -> Certificate:
            return nothing("half", "not derived")

    assert Half().rule.forward(0.1, 1.9) == pytest.approx(1.9**0.5 * 0.1)


BEYOND = [name for name in catalogue.NETWORKS if name != "ridge"]  # whose inner tolerance is that of its own scale


@pytest.mark.parametrize("name", BEYOND)
@torch.no_grad()
def test_beyond_its_range_a_denoiser_is_itself_scaled(name: str) -> None:
    """D(c x; c s) / c, picture by picture; inside the range nothing changes."""
    network, x = catalogue.NETWORKS[name](), catalogue.image(3, 3, 8, 9)
    levels = torch.tensor([0.1, 0.5, 2.0], dtype=torch.float64)
    found = network(x, levels)
    for number, level in enumerate(levels.tolist()):
        times = max(1.0, level / network.top)
        expected = network(x[number : number + 1] / times, level / times) * times
        torch.testing.assert_close(found[number : number + 1], expected, atol=1e-9, rtol=0)
    map = network.at(0.5)
    assert map.certificate.averagedness == network.certificate.averagedness
    assert map.certificate.kind is network.certificate.kind and map.certificate.side is network.certificate.side


def test_beyond_its_range_a_claim_survives_an_adversarial_search() -> None:
    map = catalogue.euler().double().at(1.0)
    found = audit(map, map.certificate, 5 * catalogue.image(2, 3, 8, 9), rounds=6)
    assert map.certificate.averaged and not found.falsified and found.lipschitz > 0.5


def test_a_guide_is_scaled_with_its_picture() -> None:
    network = catalogue.guided().double()
    x, guide, hint = (catalogue.image(1, 3, 8, 9, seed=n) for n in range(3))
    times = 1.0 / network.top
    small = network.given(guide / times, hint / times)(x / times, network.top) * times
    torch.testing.assert_close(network.given(guide, hint)(x, 1.0), small)


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


@pytest.mark.parametrize("wrong", [{"largest": -0.3}, {"start": 0.0}, {"tolerance": float("nan")}, {"channels": (4,)}])
def test_a_ridge_is_convex_or_refused(wrong: dict) -> None:
    with pytest.raises(InputError):
        build("ridge", wrong)
    with pytest.raises(InputError, match="gains"):
        build("total-variation", {"gains": (0.1, -0.2)})


@pytest.mark.parametrize("name", ["euler through windows", "euler clip zero", "dncnn"])
def test_a_trace_would_fix_the_parity_of_the_sides_and_is_refused(name: str) -> None:
    network = catalogue.NETWORKS[name]().float()
    with warnings.catch_warnings(), pytest.raises(InputError, match="torch.compile or torch.export"):
        warnings.simplefilter("ignore")
        torch.jit.trace(lambda x: network(x, 0.1), torch.rand(1, 3, 8, 8))


@pytest.mark.parametrize("angle", [0.1, 0.7, 1.3])
@torch.no_grad()
def test_windows_are_isometric_to_the_rounding_of_the_picture(angle: float) -> None:
    windows = Windows()
    windows.angle.fill_(angle)
    x = catalogue.image(1, 3, 8, 10)
    torch.testing.assert_close(windows.project(windows.lift(x), 8, 10), x, atol=1e-15, rtol=1e-14)


def test_a_contraction_counts_by_more_than_rounding() -> None:
    for lipschitz, counts in ((1.0, False), (1 - 9e-8, False), (1 - 1e-6, True), (0.5, True)):
        assert Certificate("T", lipschitz, 0.9, Side.PROVEN, "").contractive is counts
