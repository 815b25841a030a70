"""Kernels: non-negative, sum 1, odd, centred; a word or a file that is no kernel is refused with its reason."""

from __future__ import annotations

import os
import pickle
import runpy
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

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


def test_a_file_wins_over_a_bare_family_name_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    kernels.save("box.npy", kernels.motion(5, 20))
    np.testing.assert_allclose(kernels.parse("box.npy"), kernels.motion(5, 20), rtol=1e-14)
    (tmp_path / "box").write_bytes(b"x")
    with pytest.raises(InputError, match="kernel file 'box'"):
        kernels.parse("box")


@settings(max_examples=20, deadline=None)
@given(shape=st.tuples(st.integers(1, 12), st.integers(1, 12)), seed=st.integers(0, 2**32 - 1))
def test_save_then_load_gives_the_kernel_back(
    tmp_path_factory: pytest.TempPathFactory, shape: tuple[int, int], seed: int
) -> None:
    folder = tmp_path_factory.mktemp("kernels")
    kernel = kernels.normalise(np.random.default_rng(seed).random(shape) + 1e-3)
    kernels.save(folder / "k.npy", kernel)
    np.testing.assert_allclose(kernels.load(folder / "k.npy"), kernel, rtol=1e-14)
    kernels.save(folder / "k.png", kernel)
    np.testing.assert_allclose(kernels.load(folder / "k.png"), kernel, atol=2e-5 * kernel.max())
    assert sorted(p.name for p in folder.iterdir()) == ["k.npy", "k.png"]  # nothing temporary stays


def test_save_refuses_and_leaves_the_old_file_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=".npy or .png"):
        kernels.save(tmp_path / "k.jpg", kernels.box(3))
    with pytest.raises(InputError, match="cannot write the kernel to"):
        kernels.save(tmp_path / "missing" / "k.npy", kernels.box(3))
    with pytest.raises(InputError, match="positive sum"):
        kernels.save(tmp_path / "k.npy", np.zeros((3, 3)))
    kernels.save(tmp_path / "k.npy", kernels.box(3))

    def full_disk(source: object, target: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full_disk)
    with pytest.raises(InputError, match="No space left on device"):
        kernels.save(tmp_path / "k.npy", kernels.box(5))
    np.testing.assert_allclose(kernels.load(tmp_path / "k.npy"), kernels.box(3), rtol=1e-14)
    assert [p.name for p in tmp_path.iterdir()] == ["k.npy"]


@pytest.mark.parametrize("suffix", [".png", ".tif", ".TIFF", ".bmp"])
def test_image_kernels_of_any_scale(tmp_path: Path, suffix: str) -> None:
    array = np.array([[0, 10, 0], [20, 100, 20], [0, 10, 0]], dtype=np.uint8)
    iio.imwrite(tmp_path / f"k{suffix}", array, extension=suffix.lower())
    np.testing.assert_allclose(kernels.load(tmp_path / f"k{suffix}"), array / 160, rtol=1e-14)


def test_colour_and_alpha_pass_only_when_they_say_nothing(tmp_path: Path) -> None:
    grey = np.arange(9, dtype=np.uint8).reshape(3, 3)
    opaque = np.full((3, 3, 1), 255, dtype=np.uint8)
    colour = np.repeat(grey[..., None], 3, axis=2)
    Image.fromarray(grey).convert("P").save(tmp_path / "palette.png")
    iio.imwrite(tmp_path / "rgb.png", colour)
    iio.imwrite(tmp_path / "rgba.png", np.concatenate([colour, opaque], 2))
    iio.imwrite(tmp_path / "la.png", np.concatenate([grey[..., None], opaque], 2))
    for name in ("palette", "rgb", "rgba", "la"):
        np.testing.assert_allclose(kernels.load(tmp_path / f"{name}.png"), grey / 36, rtol=1e-14)
    colour[0, 0, 1] += 1
    iio.imwrite(tmp_path / "coloured.png", colour)
    with pytest.raises(InputError, match="coloured.png.*expected a grey one"):
        kernels.load(tmp_path / "coloured.png")
    iio.imwrite(tmp_path / "clear.png", np.concatenate([np.repeat(grey[..., None], 3, 2), opaque - 1], 2))
    with pytest.raises(InputError, match="clear.png.*transparent"):
        kernels.load(tmp_path / "clear.png")


def test_a_float_tiff_is_checked_like_an_array(tmp_path: Path) -> None:
    iio.imwrite(tmp_path / "k.tif", np.array([[0.5, 1.5]], dtype=np.float32))
    np.testing.assert_allclose(kernels.load(tmp_path / "k.tif"), [[0.25, 0.75, 0]])
    iio.imwrite(tmp_path / "nan.tif", np.array([[0.5, np.nan]], dtype=np.float32))
    with pytest.raises(InputError, match="nan.tif.*NaN"):
        kernels.load(tmp_path / "nan.tif")


class Trap:
    """Unpickling it would raise."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, ("raise SystemExit('unpickled')",)


def vast(folder: Path) -> bytes:
    """An array that claims to be of 10^14 numbers."""
    np.save(folder / "one.npy", np.ones((1, 1)))
    return (folder / "one.npy").read_bytes().replace(b"(1, 1), }" + 14 * b" ", b"(10000000, 10000000), }")


def write_bad_files(folder: Path) -> dict[str, str]:
    """File name -> a word of its error."""
    np.save(folder / "object.npy", np.array([[Trap()]], dtype=object), allow_pickle=True)
    (folder / "pickle.npy").write_bytes(pickle.dumps(Trap()))
    np.save(folder / "nan.npy", np.array([[1.0, np.nan]]))
    np.save(folder / "negative.npy", np.array([[1.0, -1.0]]))
    np.save(folder / "zero.npy", np.zeros((3, 3)))
    np.save(folder / "line.npy", np.ones(3))
    np.save(folder / "huge.npy", np.ones((1, 502)))
    np.save(folder / "complex.npy", np.ones((3, 3), dtype=complex))
    with open(folder / "archive.npy", "wb") as file:
        np.savez(file, a=np.ones((3, 3)))
    (folder / "zip.npy").write_bytes(b"PK\x03\x04 damaged")
    (folder / "vast.npy").write_bytes(vast(folder))
    grey = np.rint(255 * kernels.gaussian(1.0) / kernels.gaussian(1.0).max()).astype(np.uint8)
    tifffile.imwrite(folder / "white.tif", 255 - grey, photometric="miniswhite")
    Image.fromarray(grey).convert("RGB").quantize(64).save(folder / "palette.tif")
    (folder / "cut.npy").write_bytes((folder / "zero.npy").read_bytes()[:-9])
    for name in ("empty.npy", "empty.png", "empty.tif"):
        (folder / name).write_bytes(b"")
    for name in ("text.npy", "text.png", "text.tif", "text.bmp"):
        (folder / name).write_bytes(b"this is not a kernel")
    (folder / "kernel.txt").write_bytes(b"1 2 1")
    (folder / "folder.png").mkdir()
    iio.imwrite(folder / "black.png", np.zeros((5, 5), dtype=np.uint8))
    whole = iio.imwrite("<bytes>", np.random.default_rng(0).integers(0, 255, (40, 40), np.uint8), extension=".png")
    (folder / "cut.png").write_bytes(whole[:200])
    return {
        "missing.npy": "does not exist",
        "missing.png": "does not exist",
        "folder.png": "does not exist",
        "object.npy": "not a .npy file of plain numbers",
        "pickle.npy": "not a .npy file of plain numbers",
        "archive.npy": "archive",
        "cut.npy": "not a .npy file",
        "zip.npy": "not a .npy file",
        "vast.npy": "not a .npy file",
        "white.tif": "MINISWHITE",
        "palette.tif": "PALETTE",
        "nan.npy": "NaN",
        "negative.npy": "non-negative",
        "zero.npy": "positive sum",
        "line.npy": "2-D",
        "huge.npy": "at most 501x501",
        "complex.npy": "real",
        "empty.npy": "empty",
        "empty.png": "empty",
        "empty.tif": "empty",
        "text.npy": "not a .npy file",
        "text.png": "not a readable image",
        "text.tif": "not a readable image",
        "text.bmp": "not a readable image",
        "cut.png": "not a readable image",
        "black.png": "positive sum",
        "kernel.txt": "not one of .npy",
    }


def test_every_bad_file_is_refused_by_name(tmp_path: Path) -> None:
    for name, word in write_bad_files(tmp_path).items():
        with pytest.raises(InputError) as caught:
            kernels.parse(str(tmp_path / name))
        message = str(caught.value)
        assert name in message and word in message and "\n" not in message, message


def test_copies_of_the_measured_kernels_are_checked(tmp_path: Path) -> None:
    prepare = runpy.run_path(str(Path(__file__).parent.parent / "data" / "levin" / "prepare.py"))
    assert len(prepare["problems"](tmp_path, tmp_path)) == 2 + 8 + 16 + 8  # sharp, measured, blurred, floating point
    for number in range(1, 9):
        np.save(tmp_path / f"levin09_{number}.npy", np.full((3, 3), (1 + (number == 8)) / 9))
    found = prepare["problems"](tmp_path, tmp_path)
    assert len(found) == 2 + 8 + 16 + 1 and "levin09_8.npy: expected a sum of 1" in found[-1]


def test_what_may_be_wrong_with_a_measured_kernel_is_said() -> None:
    middle = kernels.gaussian(1.5)
    assert kernels.doubts(middle) == "" and kernels.doubts(np.ones((1, 1))) == ""
    moved = np.roll(np.pad(middle, 4), (-2, 3), axis=(0, 1))
    assert "-2.0 px down, +3.0 px right" in kernels.doubts(moved)
    background = kernels.normalise(np.pad(middle, 4) + 0.02 * middle.max())
    assert "% of it lies on its rim" in kernels.doubts(background)
    assert "px down" not in kernels.doubts(background)


def test_a_kernel_is_its_weights_true_without_doubts_and_says_where_it_comes_from() -> None:
    weights = kernels.disk(2)
    plain = kernels.Kernel(weights, "given: disk:2")
    doubtful = kernels.Kernel(weights, "given: k.png", doubts=("it is off its middle", "it has a background"))
    assert plain and str(plain) == "given: disk:2" and not doubtful
    assert str(doubtful) == "given: k.png; it is off its middle; it has a background"
    assert np.array_equal(np.asarray(plain), weights) and np.asarray(plain, np.float32).dtype == np.float32
    assert np.array_equal(kernels.normalise(np.array(plain)), weights)
