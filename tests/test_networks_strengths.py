"""Maps of strengths: D(., s) with one s for each pixel, its proof kept; refused in one line where there is none."""

from __future__ import annotations

from pathlib import Path

import catalogue
import pytest
import torch
from torch import Tensor

from pnpkit.errors import InputError
from pnpkit.images import files
from pnpkit.images.pixels import to_tensor
from pnpkit.laws.maps import audit
from pnpkit.networks.base import Network
from pnpkit.networks.foreign import wrapped
from pnpkit.networks.tiles import Tiled
from pnpkit.networks.volumes import Volumetric
from pnpkit.registry import load_denoiser

CAT = Path(__file__).parents[1] / "data" / "images" / "cat.png"

TAKERS = [name for name in catalogue.NETWORKS if name != "gradient-step"]


def uneven(*shape: int, top: float = 0.15) -> Tensor:
    """Strengths (B, 1, H, W) that vary by a factor of 30, in steps and smoothly."""
    rows, columns = shape[-2:]
    ramp = torch.linspace(top / 30, top, columns, dtype=torch.float64).expand(shape).clone()
    ramp[..., : rows // 2, :] = ramp[..., : rows // 2, :].flip(-1) / 2
    return ramp


@pytest.mark.parametrize("name", TAKERS)
def test_a_constant_map_is_the_number(name: str) -> None:
    network, x = catalogue.NETWORKS[name](), catalogue.image(2, 3, *catalogue.SIZE)
    constant = torch.full((1, 1, *catalogue.SIZE), 0.1, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(network(x, constant), network(x, 0.1), rtol=1e-9, atol=1e-9)
        grey = x[:, :1]
        torch.testing.assert_close(network(grey, constant), network(grey, 0.1), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", [name for name in TAKERS if name != "identity"])
def test_it_acts_by_place(name: str) -> None:
    """Where the strength is 0 all around, nothing is taken away; where it is not, something is."""
    network, x = catalogue.NETWORKS[name](), catalogue.image(1, 3, 32, 64)
    strengths = torch.zeros(1, 1, 32, 64, dtype=torch.float64)
    strengths[..., 40:] = 0.15
    with torch.no_grad():
        left = (network(x, strengths) - network(x, torch.zeros_like(strengths)))[..., 12:24].abs().max()
        right = (network(x, strengths) - network(x, torch.full_like(strengths, 0.15)))[..., 52:60].abs().max()
        scale = (network(x, 0.15) - network(x, 0.0)).abs().max()
    assert scale > 0
    if "guided" not in name:  # whose U-Net looks farther than this picture is wide
        assert left < 1e-2 * scale and right < 0.05 * scale


PROVEN = [name for name in TAKERS if "guided" not in name and name != "dncnn"]


@pytest.mark.parametrize("name", PROVEN)
def test_the_certificate_is_that_of_a_number_and_no_audit_falsifies_it(name: str) -> None:
    network, x = catalogue.NETWORKS[name](), catalogue.image(2, 3, 9, 12)
    map = network.at(uneven(2, 1, 9, 12))
    assert map.certificate == network.at(0.1).certificate == network.certificate and map.certificate.averaged
    tolerance = 1e-3 if name == "tv" else None  # solved for to 1e-4
    assert not audit(map, map.certificate, x, rounds=5, tolerance=tolerance).falsified


@pytest.mark.parametrize("arguments", [{}, {**catalogue.UNET, "centres": True, "masks": True}])
def test_so_it_is_with_a_guide(arguments: dict[str, object]) -> None:
    network, x = catalogue.guided(**arguments), catalogue.image(1, 3, *catalogue.SIZE)
    given = network.given(catalogue.image(1, 3, *catalogue.SIZE, seed=4))
    strengths = uneven(1, 1, *catalogue.SIZE)
    map = given.at(strengths)
    assert map.certificate == given.at(0.1).certificate and map.certificate.averaged
    assert not audit(map, map.certificate, x, rounds=5).falsified
    with torch.no_grad():  # features are kept by level: of another map they are others
        kept, other = given(x, strengths), given(x, strengths.flip(-1))
        torch.testing.assert_close(given(x, strengths), kept)
        assert float((other - kept).abs().max()) > 1e-4
        constant = torch.full_like(strengths, 0.1)
        torch.testing.assert_close(given(x, constant), given(x, 0.1), rtol=1e-9, atol=1e-9)


def test_above_the_largest_level_the_whole_map_is_scaled() -> None:
    network, x = catalogue.euler(), catalogue.image(2, 3, 8, 8)
    strengths = uneven(2, 1, 8, 8, top=2 * network.top)
    map = network.at(strengths)
    torch.testing.assert_close(map(x), 2 * network(x / 2, strengths / 2))
    assert map.certificate.averagedness == network.certificate.averagedness


@pytest.mark.parametrize("name", ["euler two scales", "euler through windows", "guided", "dncnn"])
def test_tiles_and_channels_cut_the_map_alike(name: str) -> None:
    network, x = catalogue.NETWORKS[name](), catalogue.image(1, 3, 71, 101)
    strengths = uneven(1, 1, 71, 101)
    with torch.no_grad():
        torch.testing.assert_close(Tiled(network, 32)(x, strengths), network(x, strengths), rtol=1e-9, atol=1e-9)


def test_channels_share_the_map() -> None:
    network, x = catalogue.euler().per_channel(), catalogue.image(2, 4, 9, 8)
    strengths = uneven(2, 1, 9, 8)
    with torch.no_grad():
        out = network(x, strengths)
        torch.testing.assert_close(out[1:, 2:3], catalogue.euler()(x[1:, 2:3], strengths[1:]))
    assert network.at(strengths).certificate == network.certificate


X = catalogue.image(2, 3, 8, 9)


@pytest.mark.parametrize(
    ("strengths", "words"),
    [
        (torch.full((2, 1, 9, 8), 0.1), r"a map of strengths for pictures \(2, 3, 8, 9\) is \(2, 1, 8, 9\)"),
        (torch.full((3, 1, 8, 9), 0.1), r"is \(2, 1, 8, 9\), got \(3, 1, 8, 9\)"),
        (torch.full((2, 3, 8, 9), 0.1), r"is \(2, 1, 8, 9\), got \(2, 3, 8, 9\)"),
        (torch.full((8, 9), 0.1), r"one for each of 2 images, or a map \(2, 1, 8, 9\), got \(8, 9\)"),
        (torch.full((2, 1, 8, 9), -0.1), "a finite number >= 0, got a map from -0.1"),
        (torch.full((2, 1, 8, 9), float("nan")), "a finite number >= 0, got a map from nan"),
    ],
)
def test_another_shape_or_a_level_below_zero_is_refused(strengths: Tensor, words: str) -> None:
    with pytest.raises(InputError, match=words):
        catalogue.euler()(X, strengths)


@pytest.mark.parametrize(
    "network", [catalogue.gradient_step(), wrapped(lambda x, sigma: x)], ids=["gradient-step", "foreign"]
)
def test_a_denoiser_that_takes_none_says_so(network: Network) -> None:
    for call in (lambda s: network.at(s), lambda s: network(X, s)):
        with pytest.raises(InputError, match="takes no map of strengths: give one number, or one for each image"):
            call(torch.full((2, 1, 8, 9), 0.1))


def test_a_map_that_is_written_to_is_refused_and_bad_ones_at_once() -> None:
    strengths = uneven(2, 1, 8, 9)
    map = catalogue.euler().at(strengths)
    strengths[0] = 0.0
    with pytest.raises(InputError, match="sigma"):
        map(X)
    with pytest.raises(InputError, match=">= 0"):
        catalogue.euler().at(-uneven(2, 1, 8, 9))


def test_volumes_take_one_strength() -> None:
    with pytest.raises(InputError, match="takes one strength for a volume"):
        Volumetric(catalogue.euler())(torch.rand(1, 1, 4, 8, 9), torch.full((1, 1, 8, 9), 0.1))


@pytest.mark.parametrize("name", ["euler-fast", "wavelet"])
def test_where_noise_is_uneven_a_map_denoises_better_than_any_number(name: str) -> None:
    """Noise of 3/255 on the left and 30/255 on the right."""
    network = load_denoiser(name)
    clean = to_tensor(files.read(CAT).pixels[100:164, 100:164], torch.float32)
    levels = torch.full((1, 1, 64, 64), 3 / 255)
    levels[..., 32:] = 30 / 255
    y = clean + levels * torch.randn(1, 1, 64, 64, generator=catalogue.generator())

    def error(sigma: float | Tensor) -> float:
        with torch.no_grad():
            return float((network(y, sigma) - clean).square().mean())

    assert error(levels) < 0.96 * min(error(sigma / 255) for sigma in (3, 6, 10, 15, 20, 30))
