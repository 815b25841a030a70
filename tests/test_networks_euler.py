"""The Euler networks: mirrors, windows, thresholds, and certificates beside Jacobians."""

from __future__ import annotations

import math

import catalogue
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pnpkit.certificates import Side
from pnpkit.layers.windows import Windows
from pnpkit.networks import classical
from pnpkit.networks.architectures import build
from pnpkit.registry import load_denoiser


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


def test_an_unshuffled_euler_needs_room_for_its_squares() -> None:
    with pytest.raises(ValueError, match="12 channels or more"):
        build("euler", {"unshuffle": 2, "channels": 8})


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


@pytest.mark.parametrize("angle", [0.1, 0.7, 1.3])
@torch.no_grad()
def test_windows_are_isometric_to_the_rounding_of_the_picture(angle: float) -> None:
    windows = Windows()
    windows.angle.fill_(angle)
    x = catalogue.image(1, 3, 8, 10)
    torch.testing.assert_close(windows.project(windows.lift(x), 8, 10), x, atol=1e-15, rtol=1e-14)
