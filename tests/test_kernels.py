"""Kernels: non-negative, sum 1, odd, centred; a word or a file that is no kernel is refused with its reason."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pnpkit import kernels
from pnpkit.errors import InputError

SPECS = ["gaussian:0.3", "gaussian:1.6", "gaussian:62.5", "motion:1,0", "motion:4,0", "motion:15,30", "motion:501,45"]
SPECS += ["disk:0.3", "disk:0.5001", "disk:3.5", "disk:250.5", "box:1", "box:4", "box:501"]


def check_kernel(kernel: np.ndarray) -> None:
    assert kernel.dtype == np.float64 and kernel.ndim == 2
    assert kernel.shape[0] % 2 == kernel.shape[1] % 2 == 1
    assert max(kernel.shape) <= kernels.MAX_SIZE
    assert kernel.min() >= 0
    assert kernel.sum() == pytest.approx(1, abs=1e-14)


def moments(kernel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of (row, column) about the centre."""
    y, x = np.indices(kernel.shape)
    p = np.stack([(y - kernel.shape[0] // 2).ravel(), (x - kernel.shape[1] // 2).ravel()])
    mean = p @ kernel.ravel()
    return mean, (p - mean[:, None]) * kernel.ravel() @ (p - mean[:, None]).T


@pytest.mark.parametrize("spec", SPECS)
def test_every_spec_gives_a_kernel(spec: str) -> None:
    check_kernel(kernels.parse(spec))


@pytest.mark.parametrize("spec", [spec for spec in SPECS if spec != "box:4"])
def test_the_centre_is_the_middle(spec: str) -> None:
    kernel = kernels.parse(spec)
    np.testing.assert_allclose(kernel, kernel[::-1, ::-1], atol=1e-15)


@pytest.mark.parametrize("kernel", [kernels.gaussian(1.3), kernels.disk(4.2), kernels.box(5)])
def test_isotropic_kernels_keep_under_the_symmetries_of_the_square(kernel: np.ndarray) -> None:
    np.testing.assert_allclose(kernel, kernel.T, atol=1e-16)
    np.testing.assert_allclose(kernel, kernel[::-1], atol=1e-16)


@pytest.mark.parametrize("sigma", [0.8, 1.6, 5.0])
def test_gaussian_has_its_variance(sigma: float) -> None:
    _, covariance = moments(kernels.gaussian(sigma))
    np.testing.assert_allclose(covariance, sigma**2 * np.eye(2), atol=0.01 * sigma**2)


def test_gaussian_is_the_formula() -> None:
    kernel = kernels.gaussian(2.0)
    assert kernel.shape == (17, 17)
    assert kernel[8, 10] / kernel[8, 8] == pytest.approx(np.exp(-0.5))
    assert kernel[9, 9] / kernel[8, 8] == pytest.approx(np.exp(-0.25))


def test_a_tiny_gaussian_is_the_identity() -> None:
    kernel = kernels.gaussian(1e-300)
    assert kernel[1, 1] == 1 and kernel.sum() == 1


def test_disk_has_the_area_and_the_variance_of_a_disk() -> None:
    kernel = kernels.disk(6.3)
    assert 1 / kernel[6, 6] == pytest.approx(np.pi * 6.3**2, rel=2e-3)
    np.testing.assert_allclose(moments(kernel)[1], (6.3**2 + 1 / 3) / 4 * np.eye(2), rtol=5e-3, atol=1e-9)


def test_disk_in_one_pixel_is_the_identity() -> None:
    np.testing.assert_array_equal(kernels.disk(0.01), [[1.0]])


def test_odd_horizontal_motion_is_a_mean() -> None:
    np.testing.assert_allclose(kernels.motion(9, 0), np.full((1, 9), 1 / 9), atol=1e-15)
    np.testing.assert_allclose(kernels.motion(9, 90), np.full((9, 1), 1 / 9), atol=1e-15)


def test_even_motion_shares_its_ends() -> None:
    np.testing.assert_allclose(kernels.motion(4, 180), [[0.125, 0.25, 0.25, 0.25, 0.125]], atol=1e-12)


def test_unit_motion_is_the_identity() -> None:
    np.testing.assert_array_equal(kernels.motion(1, 33), [[1.0]])


def test_motion_turns_counter_clockwise_on_the_screen() -> None:
    kernel = kernels.motion(15, 30)
    assert kernel[: kernel.shape[0] // 2, kernel.shape[1] // 2 + 3 :].sum() > 0.2  # up and to the right
    assert kernel[kernel.shape[0] // 2 + 2 :, kernel.shape[1] // 2 + 2 :].sum() == 0  # nothing down and to the right


@pytest.mark.parametrize("angle", [0, 17, 30, 45, 60, 90, 111.5, 150, 179])
@pytest.mark.parametrize("length", [7, 20.5])
def test_motion_has_its_angle_and_length(length: float, angle: float) -> None:
    mean, covariance = moments(kernels.motion(length, angle))
    np.testing.assert_allclose(mean, 0, atol=1e-12)
    values, vectors = np.linalg.eigh(covariance)
    rows, columns = vectors[:, 1]
    found = np.degrees(np.arctan2(-rows, columns))
    assert abs((found - angle + 90) % 180 - 90) < 1
    assert np.sqrt(12 * values[1]) == pytest.approx(length, abs=0.75)  # of a uniform density
    assert values[0] < 0.25  # thinner than a pixel or so


@pytest.mark.parametrize("angle", [-150, 30, 210, 390])
def test_motion_does_not_know_which_way(angle: float) -> None:
    np.testing.assert_allclose(kernels.motion(11, angle), kernels.motion(11, 30), atol=1e-9)


def test_an_even_kernel_keeps_its_centre_at_half_its_size() -> None:
    array = np.zeros((4, 6))
    array[2, 3] = 2.0
    kernel = kernels.normalise(array)
    assert kernel.shape == (5, 7)
    assert kernel[5 // 2, 7 // 2] == 1
    np.testing.assert_array_equal(kernels.box(2), np.pad(np.full((2, 2), 0.25), [(0, 1), (0, 1)]))


def test_normalise_drops_a_channel_axis_and_does_not_touch_its_argument() -> None:
    array = np.arange(15, dtype=np.uint8).reshape(3, 5)
    before = array.copy()
    expected = array / array.sum()
    for shape in [(3, 5), (3, 5, 1), (1, 3, 5)]:
        np.testing.assert_allclose(kernels.normalise(array.reshape(shape)), expected, rtol=1e-14)
    np.testing.assert_array_equal(array, before)


@pytest.mark.parametrize("scale", [5e-324, 1e-300, 1e308])
def test_normalise_neither_overflows_nor_loses(scale: float) -> None:
    np.testing.assert_allclose(kernels.normalise(np.full((3, 3), scale)), np.full((3, 3), 1 / 9), rtol=1e-14)


@pytest.mark.parametrize(
    ("array", "word"),
    [
        (np.ones(3), "2-D"),
        (np.ones((3, 3, 3, 3)), "2-D"),
        (np.ones((0, 3)), "1x1"),
        (np.float64(1), "2-D"),
        (np.zeros((3, 3)), "positive sum"),
        (np.array([[1.0, np.nan]]), "finite"),
        (np.array([[1.0, np.inf]]), "finite"),
        (np.array([[2.0, -0.5]]), "non-negative"),
        (np.ones((3, 3), dtype=complex), "real"),
        (np.array([["a"]]), "real"),
        (np.array([[None]]), "real"),
        (np.ones((1, 502)), "at most 501"),
    ],
)
def test_normalise_refuses(array: np.ndarray, word: str) -> None:
    with pytest.raises(InputError, match=word):
        kernels.normalise(array)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("gaussian", ["gaussian:SIGMA"]),
        ("gaussian:", ["gaussian:SIGMA"]),
        ("gaussian:wide", ["gaussian:SIGMA", "gaussian:1.6"]),
        ("gaussian:1,2", ["gaussian:SIGMA"]),
        ("gaussian:0", ["gaussian:SIGMA", "0 < sigma"]),
        ("gaussian:-1", ["gaussian:SIGMA", "-1"]),
        ("gaussian:nan", ["gaussian:SIGMA", "nan"]),
        ("gaussian:inf", ["62.5"]),
        ("gaussian:1e6", ["62.5", "1e+06"]),
        ("motion:15", ["motion:LENGTH,ANGLE"]),
        ("motion:15,", ["motion:LENGTH,ANGLE"]),
        ("motion:15,30,2", ["motion:LENGTH,ANGLE"]),
        ("motion:0.5,30", ["1 <= length <= 501"]),
        ("motion:nan,30", ["1 <= length <= 501"]),
        ("motion:1e9,30", ["1 <= length <= 501"]),
        ("motion:9,nan", ["finite angle"]),
        ("motion:9,inf", ["finite angle"]),
        ("disk:0", ["0 < radius <= 250.5"]),
        ("disk:251", ["0 < radius <= 250.5"]),
        ("disk:nan", ["0 < radius <= 250.5"]),
        ("box:0", ["1 <= size <= 501"]),
        ("box:2.5", ["whole"]),
        ("box:nan", ["whole"]),
        ("box:502", ["1 <= size <= 501"]),
        ("gausian:2", ["did you mean 'gaussian:SIGMA'"]),
        ("gauss:2.5", ["did you mean 'gaussian:SIGMA'"]),
        ("Motion:9,0", ["did you mean 'motion:LENGTH,ANGLE'"]),
        ("zzz:1", ["gaussian:SIGMA, motion:LENGTH,ANGLE, disk:RADIUS, box:SIZE"]),
        ("", ["neither a known blur nor a file"]),
        ("nothing", ["neither a known blur nor a file"]),
        ("x" * 300, ["neither a known blur nor a file"]),
        ("auto", ["estimated from the image by its caller"]),
    ],
)
def test_parse_refuses_in_one_line_with_the_expected_form(spec: str, words: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        kernels.parse(spec)
    message = str(caught.value)
    assert "\n" not in message
    for word in [*words, spec]:
        assert word in message


number = st.floats(1, 60).map(lambda v: round(v, 3))


@settings(max_examples=40, deadline=None)
@given(a=number, angle=st.floats(-720, 720).map(lambda v: round(v, 3)), size=st.integers(1, 60))
def test_parse_is_the_function_of_that_name(a: float, angle: float, size: int) -> None:
    pairs = [
        (f"gaussian:{a!r}", kernels.gaussian(a)),
        (f"motion:{a!r},{angle!r}", kernels.motion(a, angle)),
        (f"disk:{a / 3!r}", kernels.disk(a / 3)),
        (f"box:{size}", kernels.box(size)),
    ]
    for spec, kernel in pairs:
        check_kernel(kernel)
        np.testing.assert_array_equal(kernels.parse(spec), kernel)


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=20))
def test_no_word_escapes_as_another_error(spec: str) -> None:
    for text in [spec, f"gaussian:{spec}", f"motion:{spec}", f"{spec}.png"]:
        try:
            check_kernel(kernels.parse(text))
        except InputError as error:
            assert str(error)


def test_a_kernel_is_its_weights_true_without_doubts_and_says_where_it_comes_from() -> None:
    weights = kernels.disk(2)
    plain = kernels.Kernel(weights, "given: disk:2")
    doubtful = kernels.Kernel(weights, "given: k.png", doubts=("it is off its middle", "it has a background"))
    assert plain and str(plain) == "given: disk:2" and not doubtful
    assert str(doubtful) == "given: k.png; it is off its middle; it has a background"
    assert np.array_equal(np.asarray(plain), weights) and np.asarray(plain, np.float32).dtype == np.float32
    assert np.array_equal(kernels.normalise(np.array(plain)), weights)
