"""Blur and noise that nobody measured: recovered where they are known, and no blur is seen where there is none."""

from __future__ import annotations

import numpy as np
import pytest
import skimage.data
from scipy import fft

from pnpkit import kernels
from pnpkit.blind import choose
from pnpkit.blind.parametric import KernelEstimate, estimate_parametric
from pnpkit.blind.trust import harmonic
from pnpkit.errors import InputError
from pnpkit.images.noise import estimate_noise
from pnpkit.restoration.blur_kernel import estimate_kernel

NOISE = 0.01


def photograph() -> np.ndarray:
    return skimage.data.camera()[120:440, :480] / 255


def texture(seed: int, shape: tuple[int, int] = (256, 256)) -> np.ndarray:
    """Gaussian noise with power |f|^-2.6, mean 0.5, standard deviation 0.2: as photographs, but without edges."""
    f = np.hypot(fft.fftfreq(shape[0])[:, None], fft.fftfreq(shape[1])[None, :])
    f[0, 0] = np.inf
    x = fft.ifft2(fft.fft2(np.random.default_rng(seed).standard_normal(shape)) * f**-1.3).real
    return 0.5 + 0.2 * x / x.std()


def blurred(image: np.ndarray, spec: str, noise: float = NOISE, seed: int = 0) -> np.ndarray:
    """Circularly blurred by a spec, or not at all by ``sharp``; plus white noise."""
    noisy = noise * np.random.default_rng(seed).standard_normal(image.shape)
    if spec == "sharp":
        return image + noisy
    kernel = kernels.parse(spec)
    wide = np.zeros(image.shape)
    wide[: kernel.shape[0], : kernel.shape[1]] = kernel
    wide = np.roll(wide, (-(kernel.shape[0] // 2), -(kernel.shape[1] // 2)), (0, 1))
    return fft.ifft2(fft.fft2(image) * fft.fft2(wide)).real + noisy


def numbers(spec: str, family: str) -> list[float]:
    found, _, parameters = spec.partition(":")
    assert found == family, spec
    return [float(p) for p in parameters.split(",")]


def check_consistent(estimate: KernelEstimate) -> None:
    assert 0 <= estimate.confidence <= 1
    expected = np.ones((1, 1)) if estimate.spec == "sharp" else kernels.parse(estimate.spec)
    np.testing.assert_array_equal(estimate.kernel, expected)
    assert estimate.candidates[0] == (estimate.spec, 0.0)
    scores = [score for _, score in estimate.candidates]
    assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize("image", [photograph(), texture(3)], ids=["photograph", "texture"])
def test_a_gaussian_is_recovered(image: np.ndarray) -> None:
    estimate = estimate_parametric(blurred(image, "gaussian:2"), NOISE)
    check_consistent(estimate)
    assert numbers(estimate.spec, "gaussian") == pytest.approx([2], rel=0.15)
    assert estimate.confidence > 0.8


@pytest.mark.parametrize("image", [photograph(), texture(4)], ids=["photograph", "texture"])
def test_a_motion_is_recovered(image: np.ndarray) -> None:
    estimate = estimate_parametric(blurred(image, "motion:15,30"), NOISE)
    check_consistent(estimate)
    length, angle = numbers(estimate.spec, "motion")
    assert length == pytest.approx(15, rel=0.1)
    assert angle == pytest.approx(30, abs=5)
    assert estimate.confidence > 0.8


def test_the_angle_wraps_around() -> None:
    _, angle = numbers(estimate_parametric(blurred(photograph(), "motion:15,178"), NOISE).spec, "motion")
    assert abs((angle - 178 + 90) % 180 - 90) <= 5


@pytest.mark.parametrize("image", [photograph(), texture(5)], ids=["photograph", "texture"])
def test_sharp_stays_sharp(image: np.ndarray) -> None:
    estimate = estimate_parametric(blurred(image, "sharp"), NOISE)
    check_consistent(estimate)
    assert estimate.spec == "sharp" or numbers(estimate.spec, "gaussian")[0] < 0.6


def test_a_blur_of_neither_family_is_not_trusted() -> None:
    kernel = np.zeros((15, 15))
    kernel[0, :] = kernel[:, 0] = kernel[14, 3] = 1  # a hook
    image = photograph()
    wide = np.pad(kernel / kernel.sum(), [(0, image.shape[0] - 15), (0, image.shape[1] - 15)])
    noisy = NOISE * np.random.default_rng(0).standard_normal(image.shape)
    assert estimate_parametric(fft.ifft2(fft.fft2(image) * fft.fft2(wide)).real + noisy, NOISE).confidence < 0.5


def test_same_answer_twice_and_for_grey_given_as_colour() -> None:
    image = blurred(texture(6, (80, 90)), "gaussian:1.5")
    first, second = estimate_parametric(image, NOISE), estimate_parametric(image, NOISE)
    colour = estimate_parametric(np.repeat(image[..., None], 3, axis=2), NOISE)
    assert (first.spec, first.confidence, first.candidates) == (second.spec, second.confidence, second.candidates)
    assert (first.spec, first.confidence) == (colour.spec, colour.confidence)


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (31, 200), (20, 20, 3)])
def test_too_small_to_tell(shape: tuple[int, ...]) -> None:
    estimate = estimate_parametric(np.random.default_rng(0).random(shape), NOISE)
    check_consistent(estimate)
    assert (estimate.spec, estimate.confidence) == ("sharp", 0.0)


def test_a_constant_says_nothing() -> None:
    assert estimate_parametric(np.full((64, 64), 0.3), 0.0).confidence == 0


@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_the_smallest_size_and_no_noise_are_legal(noise: float) -> None:
    check_consistent(estimate_parametric(blurred(texture(7, (32, 45)), "sharp", noise), noise))


@pytest.mark.parametrize("noise", [-0.1, np.nan, np.inf])
def test_bad_noise_levels_are_refused(noise: float) -> None:
    with pytest.raises(InputError, match="noise level"):
        estimate_parametric(texture(0, (64, 64)), noise)


def test_bad_images_are_refused() -> None:
    with pytest.raises(InputError, match="shape"):
        estimate_parametric(np.zeros(5), NOISE)
    with pytest.raises(InputError, match="NaN"):
        estimate_parametric(np.full((64, 64), np.nan), NOISE)


@pytest.mark.parametrize("noise", [0.01, 0.03, 0.1])
@pytest.mark.parametrize("spec", ["gaussian:2", "motion:15,30"])
def test_noise_of_a_blurred_photograph(noise: float, spec: str) -> None:
    assert estimate_noise(blurred(photograph(), spec, noise)) == pytest.approx(noise, rel=0.05)


def test_noise_of_colour_is_the_mean_over_channels() -> None:
    rng = np.random.default_rng(0)
    image = 0.5 + np.array([0.01, 0.02, 0.06]) * rng.standard_normal((200, 200, 3))
    assert estimate_noise(image) == pytest.approx(0.03, rel=0.05)
    assert estimate_noise(image) == pytest.approx(np.mean([estimate_noise(image[..., c]) for c in range(3)]))


def test_noise_scales_with_the_image_and_ignores_gradients() -> None:
    y, x = np.mgrid[:100, :120] / 100
    noise = 0.02 * np.random.default_rng(1).standard_normal(x.shape)
    sloped = estimate_noise(0.2 + 0.3 * x + 0.4 * x * y - y**2 + noise)
    assert sloped == pytest.approx(estimate_noise(noise), rel=1e-9)
    assert estimate_noise(3 * noise) == pytest.approx(3 * estimate_noise(noise))


def test_noise_is_read_where_there_is_some() -> None:
    noisy = 0.5 + 0.05 * np.random.default_rng(0).standard_normal((64, 64))
    bordered = noisy.copy()
    bordered[:40] = 0
    assert estimate_noise(bordered) == pytest.approx(0.05, rel=0.2)
    known = np.ones((64, 64), bool)
    known[20:60, :50] = False
    filled = np.where(known, noisy, 0.4 + 0.01 * np.mgrid[:64, :64][0])
    assert estimate_noise(filled) < 0.03 and estimate_noise(filled, known) == pytest.approx(0.05, rel=0.2)
    page = np.ones((96, 96))
    page[10:90:40, 5:70] = np.random.default_rng(1).random((2, 65))
    assert estimate_noise(page) < 1e-3, "lines on white are no noise"
    nothing_left = np.arange(64 * 64).reshape(64, 64) % 5 > 0
    assert estimate_noise(noisy, nothing_left) == estimate_noise(noisy)


@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (3, 3), (1, 500), (500, 1), (2, 400), (9, 9), (7, 300, 3)])
def test_noise_of_odd_shapes_is_finite(shape: tuple[int, ...]) -> None:
    image = 0.5 + 0.05 * np.random.default_rng(0).standard_normal(shape)
    assert 0 <= estimate_noise(image) < 0.075
    assert estimate_noise(np.full(shape, 0.3)) == 0


@pytest.mark.parametrize("spec, tolerance", [("gaussian:1.8", 0.1), ("motion:13,40", 0.1), ("disk:3", 0.1)])
def test_a_family_that_is_named_is_found(spec: str, tolerance: float) -> None:
    family = spec.partition(":")[0]
    found = choose.estimate(blurred(photograph(), spec, 0.004), 0.004, family)
    check_consistent(found)
    assert numbers(found.spec, family)[0] == pytest.approx(numbers(spec, family)[0], rel=tolerance)
    assert numbers(found.spec, family)[1:] == pytest.approx(numbers(spec, family)[1:], abs=5)
    assert found.confidence > 0.8 and [name for name, _ in found.candidates] == [found.spec]


def test_a_family_is_taken_at_its_word() -> None:
    """Of a sharp picture the narrowest of the family, of a motion a disk: no other family, and not none."""
    assert choose.estimate(photograph(), NOISE, "disk").spec.startswith("disk:")
    motion = blurred(photograph(), "motion:13,40")
    assert choose.estimate(motion, NOISE, "gaussian").spec.startswith("gaussian:")
    flat = choose.estimate(np.full((64, 64), 0.5), 0.01, "motion")
    assert (flat.spec, flat.confidence) == ("sharp", 0.0)
    with pytest.raises(InputError, match="form of blur"):
        choose.estimate(photograph(), NOISE, "box")


def with_lamps() -> np.ndarray:
    """The photograph with six lamps, eight times as bright as white."""
    x, random = photograph(), np.random.default_rng(1)
    for row, column in random.integers(20, (x.shape[0] - 20, x.shape[1] - 20), (6, 2)):
        x[row - 3 : row + 4, column - 4 : column + 5] = 8.0
    return x


def sigma(spec: str) -> float:
    return numbers(spec, "gaussian")[0]


def test_saturated_pixels_are_left_out() -> None:
    """Taken as they are, the edges of the ceiling look sharp."""
    y = np.minimum(blurred(with_lamps(), "gaussian:2"), 1.0)
    assert sigma(estimate_kernel(y, NOISE).spec) == pytest.approx(2, abs=0.12)
    assert sigma(estimate_parametric(y, NOISE).spec) < 1.5


def test_masked_pixels_are_left_out() -> None:
    y, holes = blurred(photograph(), "gaussian:2"), np.zeros((320, 480), bool)
    holes[:, 100:130] = holes[40:90, 250:330] = holes[200] = True
    ruined = np.where(holes, np.random.default_rng(0).random(y.shape), y)
    whole, masked = estimate_parametric(y, NOISE), estimate_kernel(np.where(holes, np.nan, ruined), NOISE)
    assert sigma(masked.spec) == pytest.approx(sigma(whole.spec), abs=0.05)
    filled = estimate_parametric(ruined, NOISE, trust=1.0 - holes)
    assert sigma(filled.spec) == pytest.approx(sigma(whole.spec), abs=0.05)
    assert estimate_parametric(ruined, NOISE).spec == "sharp"


def test_noise_of_counts_has_its_mean_power() -> None:
    """Peak 30: told the variance of the dark parts, the estimator would take the noise of bright ones for detail."""
    clean = blurred(photograph(), "gaussian:2", 0.0).clip(0)
    y = np.random.default_rng(0).poisson(30 * clean) / 30
    assert sigma(estimate_kernel(y, gain=1 / 30).spec) == pytest.approx(2, abs=0.1)


def test_where_all_is_unknown_nothing_is_told() -> None:
    y = blurred(photograph()[:100, :100], "gaussian:2")
    estimate = estimate_parametric(y, NOISE, trust=np.zeros(y.shape))
    assert estimate.spec == "sharp" and estimate.confidence == 0


def test_holes_are_filled_by_the_mean_of_their_neighbours() -> None:
    rows, columns = np.mgrid[:12, :15]
    plane, free = 0.1 * rows + 0.03 * columns, np.zeros((12, 15), bool)
    free[3:6, 4:9] = free[8, 11] = True
    np.testing.assert_allclose(harmonic(np.where(free, 7.0, plane), free), plane, atol=1e-12)
