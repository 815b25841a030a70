"""Images in memory: arrays and tensors, there and back."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pictures import random_picture

from pnpkit.errors import InputError
from pnpkit.images.picture import with_pixels
from pnpkit.images.pixels import as_float, from_tensor, to_tensor


@st.composite
def arrays_of_every_type(draw: st.DrawFn) -> np.ndarray:
    elements: dict[str, st.SearchStrategy[Any]] = {
        "uint8": st.integers(0, 255),
        "uint16": st.integers(0, 65535),
        "float16": st.floats(0, 1, width=16),
        "float32": st.floats(0, 1, width=32),
        "float64": st.floats(0, 1),
    }
    dtype = draw(st.sampled_from(sorted(elements)))
    shape = draw(st.tuples(st.integers(1, 6), st.integers(1, 6))) + draw(st.sampled_from([(), (3,)]))
    return draw(arrays.arrays(dtype, shape, elements=elements[dtype]))


@settings(max_examples=150, deadline=None)
@given(arrays_of_every_type())
def test_as_float_restores_bit_for_bit(image: np.ndarray) -> None:
    pixels, restore = as_float(image)
    assert pixels.dtype == (np.float64 if image.dtype == np.float64 else np.float32)
    assert pixels.min() >= 0 and pixels.max() <= 1
    back = restore(pixels)
    assert back.dtype == image.dtype
    np.testing.assert_array_equal(back, image)
    assert not np.shares_memory(pixels, image)
    if image.dtype != np.float64:  # tensors are float32
        np.testing.assert_array_equal(restore(from_tensor(to_tensor(pixels))), image)


def test_restore_clips_integers_only() -> None:
    values = np.array([[-0.2, 0.5, 1.3]])
    _, restore = as_float(np.zeros((1, 3), np.uint8))
    assert restore(values).tolist() == [[0, 128, 255]]
    _, restore = as_float(np.zeros((1, 3)))
    np.testing.assert_array_equal(restore(values), values)


@pytest.mark.parametrize(
    ("image", "word"),
    [
        (np.zeros(5), "(5,)"),
        (np.zeros((4, 5, 4)), "(4, 5, 4)"),
        (np.zeros((4, 5, 1)), "(4, 5, 1)"),
        (np.zeros((2, 4, 5, 3)), "(2, 4, 5, 3)"),
        (np.zeros((0, 5)), "(0, 5)"),
        (np.array([[0.1, np.nan]]), "1 NaN or inf among 2"),
        (np.array([[0.1, np.inf]], np.float32), "1 NaN or inf among 2"),
        (np.zeros((4, 5), np.int64), "int64"),
        (np.zeros((4, 5), bool), "bool"),
        (np.zeros((4, 5), complex), "complex128"),
    ],
)
def test_as_float_refuses(image: np.ndarray, word: str) -> None:
    with pytest.raises(InputError) as caught:
        as_float(image)
    assert word in str(caught.value) and "\n" not in str(caught.value)


def test_noise_may_leave_the_range() -> None:
    noisy = np.array([[-0.7, 1.9]])
    np.testing.assert_array_equal(as_float(noisy)[0], noisy)


def test_tensor_layout() -> None:
    colour = np.random.default_rng(0).random((4, 5, 3)).astype(np.float32)
    tensor = to_tensor(colour[::-1])
    assert tensor.shape == (1, 3, 4, 5) and tensor.dtype == torch.float32
    assert tensor[0, 2, 0, 1].item() == colour[3, 1, 2]
    np.testing.assert_array_equal(from_tensor(tensor.requires_grad_()), colour[::-1])
    assert from_tensor(to_tensor(colour[..., 0])).shape == (4, 5)
    assert from_tensor(torch.zeros(1, 1, 1, 3, dtype=torch.float64)).dtype == np.float64
    with pytest.raises(InputError, match=r"\(2, 3, 4, 5\)"):
        from_tensor(torch.zeros(2, 3, 4, 5))
    with pytest.raises(InputError, match=r"\(4, 5, 2\)"):
        to_tensor(np.zeros((4, 5, 2)))


def test_with_pixels_takes_alpha_along() -> None:
    picture = random_picture("uint8", 3, True, (3, 4))
    assert picture.alpha is not None
    same = with_pixels(picture, picture.pixels / 2)
    np.testing.assert_array_equal(same.alpha, picture.alpha)
    assert (same.dtype, same.high) == (picture.dtype, picture.high)
    double = with_pixels(picture, np.zeros((6, 8, 3)), 2)
    np.testing.assert_array_equal(double.alpha, picture.alpha.repeat(2, 0).repeat(2, 1))
    np.testing.assert_array_equal(with_pixels(picture, np.zeros((1, 2, 3))).alpha, picture.alpha[1:2, 1:3])
    assert with_pixels(random_picture("uint8", 1, False), np.zeros((2, 2))).alpha is None


def test_importing_needs_no_torch() -> None:
    code = "import sys, pnpkit.images.files, pnpkit.images.metrics; "
    code += "sys.exit('torch' in sys.modules or 'skimage' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
