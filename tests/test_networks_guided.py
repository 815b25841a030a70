"""The guided denoiser: what is proven with a guide and what is not without, and how a restoration uses both."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import catalogue
import numpy as np
import pytest
import torch
from scipy import ndimage

import pnpkit
from pnpkit import kernels
from pnpkit.blind import choose
from pnpkit.blind.parametric import KernelEstimate
from pnpkit.certificates import Side
from pnpkit.errors import InputError
from pnpkit.fidelities.least_squares import LeastSquares
from pnpkit.laws.maps import audit
from pnpkit.networks.base import Network
from pnpkit.networks.guided import Given, GuidedEuler, SecondPass
from pnpkit.operators import blur as operators
from pnpkit.restoration import deblur, denoise, plan
from pnpkit.restoration.scale import scale_of
from pnpkit.solvers.guarantee import Existence, Lack
from pnpkit.solvers.result import Status, Step
from pnpkit.solvers.splittings import CONTINUATION
from pnpkit.training import growth, objectives, random_kernels, steering

PICTURE = np.random.default_rng(0).random((20, 24, 3)).astype(np.float32)


@pytest.fixture
def network() -> GuidedEuler:
    return catalogue.guided()


def test_nothing_is_claimed_of_a_picture_that_guides_itself(network: GuidedEuler) -> None:
    claim = network.certificate
    assert claim.side is Side.MEASURED and not claim.nonexpansive
    first, second = claim.parts
    assert first.averaged and second.averaged
    assert any("guide" in premise for premise in second.premises), "the premise must be named"


@pytest.mark.parametrize("seed", range(4))
def test_with_a_guide_no_pair_contradicts_the_proof(network: GuidedEuler, seed: int) -> None:
    guide, hint = (catalogue.image(2, 3, 12, 15, seed=seed + n) for n in (0, 5))
    map = network.double().given(guide, hint).at(0.15)
    found = audit(map, map.certificate, catalogue.image(2, 3, 12, 15, seed=seed + 10), rounds=12, seed=seed)
    assert map.certificate.averaged and not found.falsified
    assert found.lipschitz > 0.5, "the search must find something"


@pytest.mark.parametrize("size", [(8, 10), (7, 10), (8, 9), (7, 9), (1, 3)])
@pytest.mark.parametrize("choice", [{}, {"centres": True}, {"centres": True, "masks": True}, {"unet": (), "depth": 1}])
def test_with_mirrored_steps_no_pair_contradicts_the_proof(size: tuple[int, int], choice: dict[str, Any]) -> None:
    """Random guidance weights, even and odd sides, an adversarial search in float64; and the search finds something."""
    network = catalogue.guided(**(catalogue.UNET | choice)).double()
    guide, hint = (catalogue.image(1, 3, *size, seed=n) for n in (0, 5))
    map = network.given(guide, hint).at(0.15)
    found = audit(map, map.certificate, catalogue.image(1, 3, *size, seed=10), rounds=8)
    assert map.certificate.averaged and not found.falsified
    assert found.lipschitz > 0.5, "the search must find something"


@pytest.mark.parametrize("size", [(4, 6), (5, 6), (4, 5), (5, 5), (1, 3)])
@torch.no_grad()
def test_with_a_guide_the_map_is_the_gradient_flow_on_the_torus(size: tuple[int, int]) -> None:
    """J D_g of one mirrored step is symmetric, with eigenvalues in [1 - tau B^2, 1]: what the proof says of it."""
    network = catalogue.guided(**(catalogue.UNET | {"blocks": 1, "centres": True, "masks": True})).double()
    guide, hint = (catalogue.image(1, 3, *size, seed=n) for n in (0, 5))
    given, x = network.given(guide, hint), catalogue.image(1, 3, *size, seed=7)
    with torch.enable_grad():
        jacobian = torch.autograd.functional.jacobian(lambda x: given(x, 0.15), x).reshape(x.numel(), x.numel())
    torch.testing.assert_close(jacobian, jacobian.T, atol=1e-12, rtol=0)
    values = torch.linalg.eigvalsh(jacobian)
    alpha = given.certificate.averagedness
    assert alpha is not None and float(values.min()) >= 1 - 2 * alpha - 1e-12 and float(values.max()) <= 1 + 1e-12
    assert float(values.min()) < 0.99, "a step that does nothing would pass any test"


def test_the_proof_at_odd_sides_needs_fields_that_are_their_own_mirror_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without ``symmetric`` the step at an odd side is no gradient: its Jacobian is not symmetric."""
    monkeypatch.setattr("pnpkit.layers.mirrored.symmetric", lambda field, odd: field)
    network = catalogue.guided(**(catalogue.UNET | {"blocks": 1, "centres": True})).double()
    for size, own in (((4, 6), True), ((5, 6), False), ((4, 5), False)):
        given = network.given(catalogue.image(1, 3, *size), catalogue.image(1, 3, *size, seed=5))
        x = catalogue.image(1, 3, *size, seed=7)
        jacobian = torch.autograd.functional.jacobian(given.at(0.15), x).reshape(x.numel(), x.numel())
        assert (float((jacobian - jacobian.T).abs().max()) < 1e-12) is own


@pytest.mark.parametrize("size", [(12, 10), (11, 13)])
def test_writing_in_place_changes_no_bit(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """What is computed where gradients are recorded and where results take the place of their arguments, with the same
    convolutions."""
    monkeypatch.setattr("pnpkit.layers.convolution.winograd_pays", lambda: False)
    network = catalogue.guided(**catalogue.UNET, centres=True, masks=True)
    x, guide = (catalogue.image(2, 3, *size, seed=n).float() for n in (1, 2))
    given = network.given(guide)
    recorded = given(x, 0.1)
    with torch.no_grad():
        assert torch.equal(given(x, 0.1), recorded) and torch.equal(given(x, 0.1), recorded)
        assert torch.equal(network(x, 0.1), network(x.requires_grad_(), 0.1))


def test_the_proof_needs_the_guide_to_stay() -> None:
    """A picture that guides itself can move farther than its proof with a guide allows."""
    network = catalogue.guided().double()
    for head in network.guidance.heads:
        torch.nn.init.normal_(head.weight, std=8.0)
    proven = network.certificate.parts[1]
    points = catalogue.image(4, 3, 12, 15, seed=3)
    assert audit(network.at(0.15), proven, points, rounds=25).falsified


@torch.no_grad()
def test_a_denoised_picture_was_guided_by_the_first_pass_and_by_itself(network: GuidedEuler) -> None:
    x = catalogue.image(2, 3, 13, 10).float()
    level = torch.tensor([0.05, 0.15])
    first, _ = network.looks()
    guide = first(x, level)
    torch.testing.assert_close(network(x, level), network.given(guide, x)(x, level))
    for other in (network.given(torch.zeros_like(x), x), network.given(guide)):
        assert float((other(x, level) - network(x, level)).abs().max()) > 1e-3


@torch.no_grad()
def test_what_is_kept_of_a_guide_is_kept_for_each_level(network: GuidedEuler) -> None:
    x, guide = catalogue.image(1, 3, 12, 10).float(), catalogue.image(1, 3, 12, 10, seed=5).float()
    one = network.given(guide)
    for level in (0.02, 0.05, 0.1, 0.12, 0.15, 0.02):
        torch.testing.assert_close(one(x, level), network.given(guide)(x, level))


def test_grey_pictures_and_their_guides_go_through(network: GuidedEuler) -> None:
    x, guide = catalogue.image(1, 1, 12, 10).float(), catalogue.image(1, 1, 12, 10, seed=5).float()
    out = network.given(guide)(x, 0.1)
    colour = network.given(guide.expand(-1, 3, -1, -1))(x.expand(-1, 3, -1, -1), 0.1)
    torch.testing.assert_close(out, colour.mean(1, keepdim=True))


def test_a_guide_of_another_size_is_refused(network: GuidedEuler) -> None:
    given = network.given(catalogue.image(2, 3, 12, 10).float())
    for shape in ((2, 3, 12, 11), (3, 3, 12, 10)):
        with pytest.raises(InputError, match="this guide is for pictures"):
            given(torch.zeros(shape), 0.1)


def test_a_restoration_looks_twice_and_proves_the_second(network: GuidedEuler) -> None:
    numbers: list[int] = []

    def note(step: Step) -> None:
        numbers.append(step.number)

    found = pnpkit.deblur(PICTURE, "box:3", denoiser=network, noise_level=0.05, callback=note)
    assert found.status is Status.CONVERGED and found.residuals[-1] <= 1e-4
    assert numbers == list(range(1, found.steps + 1)) and len(found.residuals) == found.steps
    assert found.certificate.averaged and found.guide_steps > 0
    assert found.guarantee.existence is Existence.BOUNDED and found.guarantee.start == found.guide_steps + 1
    first = pnpkit.deblur(PICTURE, "box:3", denoiser=network.looks()[0], noise_level=0.05)
    assert found.residuals[: found.guide_steps] == first.residuals[: found.guide_steps] and first.guide_steps == 0
    assert np.abs(found.image - first.image).max() > 1e-3, "the second pass must change something"


@pytest.mark.parametrize(
    ("spec", "confidence", "passes"), [("free-form", 1.0, 1), ("disk:2", 0.3, 1), ("disk:2", 0.8, 2), ("sharp", 0.9, 1)]
)
def test_a_doubtful_kernel_makes_no_guide(
    network: GuidedEuler, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, spec: str, confidence: float, passes: int
) -> None:
    kernel = np.ones((1, 1)) if spec == "sharp" else np.full((3, 3), 1 / 9)
    estimate = KernelEstimate(kernel, spec, confidence, ((spec, 0.0), ("other", -1.0)))
    monkeypatch.setattr(choose, "likeliest_kernel", lambda *given: estimate)
    run = deblur.deblur(PICTURE, denoiser=network, max_steps=60, tol=1e-3)
    assert run.certificate.averaged and (run.guide_steps > 0) == (passes == 2)
    kernels.save(tmp_path / "kernel.png", kernel, (spec, confidence))
    later = deblur.deblur(PICTURE, str(tmp_path / "kernel.png"), denoiser=network, max_steps=60, tol=1e-3)
    np.testing.assert_array_equal(later.image, run.image)  # an estimate that was saved is used as it would have been


def test_a_first_pass_that_never_ends_is_the_result(network: GuidedEuler) -> None:
    found = pnpkit.deblur(PICTURE, "box:3", denoiser=network, noise_level=0.05, max_steps=1)
    assert found.status is Status.STEP_LIMIT and found.steps == 1
    assert found.guide_steps == 0 and found.certificate.averaged


def test_no_step_is_left_for_a_second_pass(network: GuidedEuler) -> None:
    full = pnpkit.deblur(PICTURE, "box:3", denoiser=network, noise_level=0.05)
    numbers = [number for number, r in enumerate(full.residuals, start=1) if r <= 1e-3]
    found = pnpkit.deblur(PICTURE, "box:3", denoiser=network, noise_level=0.05, max_steps=numbers[0])
    assert found.status is Status.STEP_LIMIT and found.steps == numbers[0]


def test_too_little_memory_is_said_before_the_first_pass(network: GuidedEuler) -> None:
    steps: list[Step] = []
    with pytest.raises(InputError, match="memory"):
        pnpkit.deblur(PICTURE, "box:3", denoiser=network, method="picard", max_memory=2e-4, callback=steps.append)
    assert not steps


@pytest.mark.parametrize("change", ["eval", "double", "copy", "in place"])
def test_a_certificate_is_derived_again_where_it_must_be(network: GuidedEuler, change: str) -> None:
    given = network.given(catalogue.image(1, 3, 12, 10).float())
    before = given.certificate
    if change == "in place":
        with torch.no_grad():
            network.second.steps()[0].kernel.mul_(3.0)
        assert before.averaged and not given.certificate.averaged
        return
    after = {"eval": given.eval, "double": given.double, "copy": lambda: copy.deepcopy(given)}[change]()
    assert after.certificate.averagedness == pytest.approx(before.averagedness, rel=1e-6)


@torch.no_grad()
def test_what_is_kept_of_a_guide_follows_the_weights(network: GuidedEuler) -> None:
    x = catalogue.image(1, 3, 12, 10).float()
    given = network.given(x)
    before = given(x, 0.1)
    network.guidance.first.weight.mul_(-2.0)
    torch.testing.assert_close(given(x, 0.1), network.given(x)(x, 0.1))
    assert float((given(x, 0.1) - before).abs().max()) > 1e-4


def test_denoising_alone_promises_nothing(network: GuidedEuler) -> None:
    found = denoise.denoise(PICTURE, 0.1, denoiser=network)
    assert not found.guarantee and found.guarantee.lack is Lack.CLAIM


def test_both_passes_begin_as_the_network_they_come_from() -> None:
    source = catalogue.euler(unshuffle=2, channels=16)
    network = catalogue.build("guided", catalogue.GUIDED)
    growth.warm_start(network, source)
    x = catalogue.image(1, 3, 12, 10).float()
    torch.testing.assert_close(network(x, 0.1), source(x, 0.1))


@torch.no_grad()
def test_looking_farther_begins_with_what_was_learnt(network: GuidedEuler) -> None:
    near = catalogue.build("guided", catalogue.GUIDED | {"coarse": 0})
    assert isinstance(near, GuidedEuler)
    near.load_state_dict({key: value for key, value in network.state_dict().items() if ".coarse." not in key})
    farther = catalogue.build("guided", catalogue.GUIDED)
    growth.warm_start(farther, near)
    x = catalogue.image(1, 3, 12, 8).float()  # sides that need no padding: only near it do the two differ
    torch.testing.assert_close(farther(x, 0.1), near(x, 0.1))
    assert float((network(x, 0.1) - near(x, 0.1)).abs().max()) > 1e-3, "what is far must matter"
    for other in ({"blocks": 3}, {"depth": 3}):
        with pytest.raises(InputError, match="another shape"):
            growth.warm_start(catalogue.build("guided", catalogue.GUIDED | other), near)


@pytest.mark.parametrize("part", ["centres", "masks"])
@torch.no_grad()
def test_a_part_that_the_source_lacks_begins_with_next_to_no_effect(part: str) -> None:
    source = catalogue.build("guided", catalogue.GUIDED | {"coarse": 0, "centres": False, "masks": False})
    network = catalogue.build("guided", catalogue.GUIDED | {"coarse": 0, "centres": False, "masks": False, part: True})
    growth.warm_start(network, source)
    x = catalogue.image(1, 3, 12, 8).float()
    torch.testing.assert_close(network(x, 0.1), source(x, 0.1), rtol=0, atol=2e-3)
    assert float((source(x, 0.1) - x).abs().max()) > 1e-2, "the network must do something"


def test_nothing_looks_from_afar_unheard() -> None:
    with pytest.raises(ValueError, match="depth must be positive"):
        catalogue.build("guided", catalogue.GUIDED | {"depth": 0})


def test_a_hint_of_another_shape_is_refused(network: GuidedEuler) -> None:
    guide = catalogue.image(2, 3, 12, 10)
    for hint in (guide[:1], guide[..., 1:], guide[:, :1]):
        with pytest.raises(InputError, match="shape of its guide"):
            network.given(guide, hint)


@pytest.mark.parametrize("choice", [{}, {"splitting": "forward-backward"}, {"tau": 3.0}, {"boundary": "circular"}])
def test_the_hint_of_a_restoration_is_what_the_data_make_of_its_guide(
    network: GuidedEuler, monkeypatch: pytest.MonkeyPatch, choice: dict[str, Any]
) -> None:
    made: list[tuple[torch.Tensor, torch.Tensor]] = []

    def given(second: Network, guide: torch.Tensor, hint: torch.Tensor) -> Given:
        made.append((guide, hint))
        return Given(second, guide, hint)

    monkeypatch.setattr(SecondPass, "given", given)
    boundary = choice.get("boundary", "unknown")
    x = torch.rand(1, 3, 17, 22, generator=catalogue.generator(), requires_grad=True)
    pnpkit.deblur(x, "box:3", denoiser=network, noise_level=0.05, **choice)
    ((guide, hint),) = made
    own = scale_of(x.detach(), 0.05, None, integers=False)
    data = LeastSquares(operators.blur(kernels.box(3), boundary, (17, 22)), own.inward(x.detach()).float())
    tau = plan.step_for(CONTINUATION, 0.05 / own.span, network.looks()[0], data)
    torch.testing.assert_close(hint, data.prox(tau)(guide), atol=1e-4, rtol=0)
    assert not hint.requires_grad and float((hint - guide).abs().max()) > 1e-3


@pytest.mark.parametrize("seed", range(6))
def test_a_mistaken_kernel_keeps_its_centre(seed: int) -> None:
    kernel = random_kernels.random_kernel(catalogue.generator(seed))
    kept, wrong = (random_kernels.mistaken(kernel, error, catalogue.generator(seed)) for error in (0.0, 1.0))
    padded = np.pad(kernel, 2)
    np.testing.assert_allclose(kept, padded, atol=1e-12)
    assert wrong.min() >= 0 and wrong.sum() == pytest.approx(1)
    assert ndimage.center_of_mass(wrong) == pytest.approx(ndimage.center_of_mass(padded), abs=0.1)
    assert 0.02 < np.linalg.norm(wrong - padded) / np.linalg.norm(padded) < 1


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("estimated", [0.0, 1.0])
def test_training_through_deblurring_reaches_the_second_pass_only(
    network: GuidedEuler, seed: int, estimated: float
) -> None:
    steering.steer_norms(network)
    clean = torch.rand(2, 3, 34, 34, generator=catalogue.generator(seed))
    objective = objectives.ThroughDeblurring(estimated=estimated, denoised=16, first=2, second=1, half=False)
    batch = [clean, clean + 0.1 * torch.randn(clean.shape, generator=catalogue.generator(seed)), torch.full((2,), 0.1)]
    objective(network, batch, catalogue.generator(seed)).backward()
    reached = {name.split(".")[0] for name, p in network.named_parameters() if p.grad is not None and p.grad.any()}
    assert reached == {"second", "guidance"}
