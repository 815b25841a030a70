"""A blur larger than those that are tried at one size is found in the picture at half of its size."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import center_of_mass

from pnpkit import kernels
from pnpkit.blind import choose, coarser
from pnpkit.blind.parametric import KernelEstimate
from pnpkit.machine.phases import nobody


def found(spec: str, size: int = 1, confidence: float = 0.9) -> KernelEstimate:
    kernel = np.ones((size, size)) / size**2 if spec in ("sharp", "free-form") else kernels.parse(spec)
    return KernelEstimate(kernel, spec, confidence, ((spec, 0.0), ("motion:4,30", -2.0)))


def test_a_half_has_the_means_half_the_noise_and_the_least_trust() -> None:
    picture = np.arange(5 * 4 * 3, dtype=float).reshape(5, 4, 3)
    trust = np.ones((5, 4))
    trust[1, 2] = 0
    half, noise, least = coarser.halved(picture, 0.02, trust)
    assert half.shape == (2, 2, 3) and noise == 0.01
    np.testing.assert_allclose(half[0, 1], picture[:2, 2:].mean((0, 1)))
    np.testing.assert_array_equal(least, [[1, 0], [1, 1]])
    assert coarser.halved(picture, 0.02, None)[2] is None


@pytest.mark.parametrize(
    ("spec", "twice"), [("gaussian:1.3", "gaussian:2.6"), ("motion:20,35", "motion:40,35"), ("disk:11", "disk:22")]
)
def test_twice_a_named_blur_has_twice_its_size(spec: str, twice: str) -> None:
    larger = coarser.doubled(found(spec))
    assert larger.spec == twice and larger.candidates == ((twice, 0.0), ("motion:8,30", -2.0))
    np.testing.assert_array_equal(larger.kernel, kernels.parse(twice))


def test_twice_a_free_form_keeps_its_centre_and_doubles_its_width() -> None:
    rng = np.random.default_rng(0)
    kernel = rng.random((9, 7)) * np.outer(np.hanning(9), np.hanning(7))
    kernel /= kernel.sum()
    large = coarser.enlarged(kernel)
    assert large.shape == (19, 15) and (large >= 0).all() and large.sum() == pytest.approx(1)
    middle, wide = (np.array(center_of_mass(k)) - [(n - 1) / 2 for n in k.shape] for k in (kernel, large))
    np.testing.assert_allclose(wide, 2 * middle, atol=0.25)
    assert coarser.doubled(found("sharp")).kernel.shape == (1, 1)


@pytest.mark.parametrize(
    ("full", "half", "more", "answer"),
    [
        (found("sharp"), found("free-form", 31), False, "free-form"),  # larger than all that are tried: taken as it is
        (found("sharp"), found("free-form", 11), True, "sharp"),  # it would have been seen
        (found("sharp"), found("sharp"), True, "sharp"),
        (found("gaussian:2"), found("free-form", 15), True, "free-form"),
        (found("gaussian:2"), found("free-form", 15), False, "gaussian:2"),
        (found("gaussian:2"), found("gaussian:1"), True, "gaussian:2"),
        (found("gaussian:2"), found("motion:24,90", confidence=0.1), True, "gaussian:2"),  # a doubtful one
    ],
)
def test_the_larger_blur_needs_more_evidence(
    monkeypatch: pytest.MonkeyPatch, full: KernelEstimate, half: KernelEstimate, more: bool, answer: str
) -> None:
    sizes = []

    def at_one_size(image: np.ndarray, noise: float, *_: object) -> KernelEstimate:
        sizes.append((image.shape, noise))
        return full if len(sizes) == 1 else half

    monkeypatch.setattr(
        choose, "evidence", lambda luminance, noise, kernel, trust: float(more == (kernel.shape != full.kernel.shape))
    )
    picture = np.random.default_rng(0).random((310, 320))
    assert choose.at_sizes(at_one_size, 1, picture, 0.02, None, nobody).spec == answer
    assert sizes == [((310, 320), 0.02), ((155, 160), 0.01)]
    sizes.clear()
    assert choose.at_sizes(at_one_size, 2, picture[:299], 0.02, None, nobody).spec == full.spec and len(sizes) == 1
