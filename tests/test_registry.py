"""Every shipped denoiser: hash, card, and its claim derived again from the weights."""

from __future__ import annotations

import json
import math
import os
import shutil
from pathlib import Path

import catalogue
import deepinv
import numpy as np
import pytest
import torch
from safetensors import safe_open

import pnpkit
from pnpkit import registry
from pnpkit.certificates import Certificate, Side
from pnpkit.errors import CardError, InputError, UnknownName
from pnpkit.laws.maps import audit
from pnpkit.networks.foreign import Foreign
from pnpkit.networks.guided import GuidedEuler
from pnpkit.registry import Card
from pnpkit.restoration import simulate
from pnpkit.solvers.guarantee import Existence

CARDS = registry.denoisers()
NAMES = sorted(CARDS)
LEARNT = [name for name in NAMES if CARDS[name].training]
PROVEN = [name for name in NAMES if CARDS[name].certificate.averaged]
GUIDED = [name for name in NAMES if CARDS[name].architecture == "guided"]  # proven once a guide is given


def test_the_lectures_denoisers_are_shipped() -> None:
    assert {"euler", "dncnn"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_card_is_complete(name: str) -> None:
    card = CARDS[name]
    assert card.name == name and card.sigma_range == (0.0, pytest.approx(50 / 255))
    assert card.paper and card.licence
    assert {"5", "15", "25", "50"} <= set(card.scores)
    assert {"5", "25", "50", "command", "date"} <= set(card.audit)
    assert not any(found["falsified"] for found in card.audit.values() if isinstance(found, dict))
    place = registry.folder() / name
    assert (place / "README.md").read_text() == registry.model_card(card)
    with safe_open(place / "weights.safetensors", "pt") as file:
        assert all(torch.isfinite(file.get_tensor(key)).all() for key in file.keys())


@pytest.mark.parametrize("name", LEARNT)
def test_what_was_learnt_tells_how(name: str) -> None:
    card = CARDS[name]
    assert {"data", "command", "config", "steps", "hours", "device", "date"} <= set(card.training)
    assert card.training["hours"] >= (1 if name in ("euler", "dncnn") else 0) and "val" not in card.training["data"]
    curve = (registry.folder() / name / "training.csv").read_text().splitlines()
    assert curve[0].startswith("step,seconds") and len(curve) >= 3


@pytest.mark.parametrize("name", NAMES)
def test_claim_is_derived_again_from_the_weights(name: str) -> None:
    card = registry.denoisers()[name]
    derived = pnpkit.certify(name)
    assert derived.side is card.certificate.side
    if name not in PROVEN:
        assert name in ("dncnn", *GUIDED)
        assert math.isinf(derived.lipschitz) and derived.averagedness is None
        assert len(derived.parts) == (2 if name in GUIDED else 0)
        for part, stored in zip(derived.parts, card.certificate.parts, strict=True):
            assert part.averaged and part.averagedness == pytest.approx(stored.averagedness, rel=1e-6)
        return
    assert derived.lipschitz <= 1 and derived.averagedness is not None and derived.averagedness < 1
    assert derived.averagedness == pytest.approx(card.certificate.averagedness, rel=1e-6)
    assert derived.kind is card.certificate.kind
    if name == "ridge":
        assert derived.method == card.certificate.method, "the norm that it names is the one that divides its kernels"


@pytest.mark.parametrize("name", [name for name in PROVEN if name != "tv"])
def test_shipped_claims_survive_an_adversarial_search(name: str) -> None:
    """Pairs pushed apart through the real network, in float64: the claim stands at every level."""
    from test_maps import worst_ratios

    network = pnpkit.load_denoiser(name)
    for level in (1 / 255, 15 / 255, 50 / 255):
        lipschitz, alpha = worst_ratios(network.at(level), pairs=3, rounds=4)
        assert lipschitz <= 1 + 1e-9
        assert network.certificate.averagedness is not None and alpha <= network.certificate.averagedness


@pytest.mark.parametrize("name", GUIDED)
def test_shipped_claims_hold_for_any_guide(name: str) -> None:
    """The guide may be a photograph, its ruin, or nothing like a picture at all."""
    network = pnpkit.load_denoiser(name)
    assert isinstance(network, GuidedEuler)
    points = catalogue.image(1, 3, 12, 14)
    for seed, guide in enumerate((points, catalogue.image(1, 3, 12, 14, seed=5), torch.zeros_like(points))):
        map = network.double().given(guide, points).at(25 / 255)
        found = audit(map, map.certificate, points, rounds=8, seed=seed)
        assert map.certificate.averaged and not found.falsified and found.lipschitz > 0.5


@pytest.mark.parametrize("name", [name for name in NAMES if name != "identity"])
def test_shipped_denoisers_denoise(name: str) -> None:
    x = torch.linspace(0.2, 0.8, 48).expand(1, 3, 48, 48).contiguous()
    x[..., 16:32, 16:32] = 0.1
    for level in (5 / 255, 25 / 255, 50 / 255):
        noisy = x + level * torch.randn(x.shape, generator=catalogue.generator())
        before, after = (noisy - x).square().mean(), (pnpkit.load_denoiser(name)(noisy, level) - x).square().mean()
        assert after < (0.25 if name in LEARNT else 0.35) * before


def test_loading_does_not_derive_but_remembers(monkeypatch: pytest.MonkeyPatch) -> None:
    network = pnpkit.load_denoiser("euler")
    monkeypatch.setattr(type(network), "certify", lambda self: pytest.fail("derived again"))
    assert network.certificate == registry.denoisers()["euler"].certificate


def test_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(UnknownName, match="did you mean 'euler'.*available: .*dncnn"):
        pnpkit.load_denoiser("eular")


def test_tampered_weights_are_refused(tmp_path: Path) -> None:
    place = tmp_path / "euler"
    shutil.copytree(registry.folder() / "euler", place)
    data = bytearray((place / "weights.safetensors").read_bytes())
    data[-1] ^= 1
    (place / "weights.safetensors").write_bytes(bytes(data))
    with pytest.raises(CardError, match="sha256"):
        registry.load_from(place, registry.read_card(place))
    (place / "weights.safetensors").unlink()
    with pytest.raises(CardError, match="cannot read"):
        registry.load_from(place, registry.read_card(place))


@pytest.mark.parametrize("damage", ["{", "{}", '{"name": "x"}', "[]"])
def test_damaged_cards_are_refused(tmp_path: Path, damage: str) -> None:
    (tmp_path / "card.json").write_text(damage)
    with pytest.raises(CardError):
        registry.read_card(tmp_path)


def test_export_and_load_are_inverse(tmp_path: Path) -> None:
    network = catalogue.euler()
    card = Card(
        name="small",
        architecture="euler",
        arguments={"blocks": 2, "channels": 8, "hidden": 8},
        sha256="",
        sigma_range=(0.0, network.top),
        certificate=network.certificate,
        training={},
        scores={},
        paper="",
        licence="",
    )
    written = registry.export(network, card, tmp_path / "small")
    assert sorted(p.name for p in (tmp_path / "small").iterdir()) == ["README.md", "card.json", "weights.safetensors"]
    again = registry.load_from(tmp_path / "small", registry.read_card(tmp_path / "small"))
    x = catalogue.image()
    torch.testing.assert_close(again(x, 0.1), network(x, 0.1))
    assert again.certificate.side is Side.PROVEN and written.sha256 != ""
    assert Certificate.from_json(json.loads((tmp_path / "small" / "card.json").read_text())["certificate"])


def test_deepinvs_denoisers_come_by_name_and_claim_nothing() -> None:
    median = pnpkit.load_denoiser("deepinv:MedianFilter")
    x = catalogue.image().float()
    assert median(x, 0.1).shape == x.shape and not median.certificate.proven
    assert not pnpkit.certify("deepinv:MedianFilter").proven
    with pytest.raises(InputError, match="no denoiser called 'DRUNett'"):
        pnpkit.load_denoiser("deepinv:DRUNett")
    with pytest.raises(InputError, match="cannot be built here"):
        pnpkit.load_denoiser("deepinv:EquivariantDenoiser")


class Planted:
    """Unpickled, it makes a file: what a malicious weights file can do, and more."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> tuple:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("forced", [None, "0"])
def test_a_malicious_weights_file_of_deepinv_is_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forced: str | None
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.delenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", raising=False)
    if forced is not None:
        monkeypatch.setenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", forced)
    (tmp_path / "checkpoints").mkdir()
    weights = tmp_path / "checkpoints" / "dncnn_sigma2_color.pth"
    torch.save({"weights": Planted(tmp_path / "ran")}, weights)
    with pytest.raises(InputError, match="holds more than weights"):
        pnpkit.load_denoiser("deepinv:DnCNN")
    assert not (tmp_path / "ran").exists()
    assert os.environ.get("TORCH_FORCE_WEIGHTS_ONLY_LOAD") == forced
    clean = deepinv.models.DnCNN(pretrained=None).state_dict()
    torch.save(clean, weights)
    assert pnpkit.load_denoiser("deepinv:DnCNN")(torch.zeros(1, 3, 8, 8), 0.1).shape == (1, 3, 8, 8)


@pytest.mark.parametrize("name", NAMES)
def test_every_denoiser_deblurs_and_says_what_is_proven(name: str) -> None:
    rows, columns = np.mgrid[:24, :28]
    blurred = simulate.simulate(0.5 + 0.4 * np.sin(rows / 3) * np.cos(columns / 4), "gaussian:1", 0.01)
    run = pnpkit.deblur(blurred, "gaussian:1", denoiser=name, noise_level=0.01, max_steps=3)
    assert run.image.shape == blurred.shape and np.isfinite(run.image).all()
    assert run.certificate.averaged == (name in PROVEN + GUIDED)
    assert (run.guarantee.existence is Existence.BOUNDED) == run.certificate.averaged


def test_a_foreign_denoiser_that_fails_when_called_says_why() -> None:
    class Lacking(deepinv.models.Denoiser):
        def forward(self, x: torch.Tensor, sigma: float) -> torch.Tensor:
            raise RuntimeError("needs a package that is not here")

    with pytest.raises(InputError, match="Lacking cannot work here: needs a package"):
        Foreign(Lacking(), "Lacking")(torch.zeros(1, 3, 4, 4), 0.1)
