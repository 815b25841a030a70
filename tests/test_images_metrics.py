"""PSNR and SSIM are what they are elsewhere."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from pnpkit.errors import InputError
from pnpkit.images import pixels
from pnpkit.images.metrics import psnr, ssim


def test_psnr() -> None:
    reference = np.full((4, 5, 3), 0.5)
    assert psnr(reference, reference) == math.inf
    assert psnr(reference + 0.1, reference) == pytest.approx(20)
    assert psnr(np.full((2, 2), 1.8), np.ones((2, 2))) == math.inf  # the image is clipped
    assert psnr(pixels.to_tensor(reference + 0.1), reference) == pytest.approx(20, abs=1e-5)
    assert psnr(np.zeros((2, 2)), np.ones((2, 2))) == 0


def test_ssim_is_that_of_scikit_image() -> None:
    from skimage.metrics import structural_similarity

    rng = np.random.default_rng(0)
    a, b = rng.random((20, 24, 3)), rng.random((20, 24, 3))
    expected = structural_similarity(a, b, channel_axis=-1, data_range=1.0)
    assert ssim(a, b) == pytest.approx(expected, abs=1e-12)
    assert ssim(a[..., 0], b[..., 0]) == pytest.approx(structural_similarity(a[..., 0], b[..., 0], data_range=1.0))
    assert ssim(pixels.to_tensor(a), pixels.to_tensor(b)) == pytest.approx(expected, abs=1e-5)
    for side in (3, 4, 5, 6, 7):
        assert ssim(a[:side], a[:side]) == pytest.approx(1)
    with pytest.raises(InputError, match="3 x 3"):
        ssim(a[:2], b[:2])


@pytest.mark.parametrize("metric", [psnr, ssim])
def test_metrics_refuse(metric: Callable[..., float]) -> None:
    with pytest.raises(InputError, match=r"\(8, 9\).*\(9, 8\)"):
        metric(np.zeros((8, 9)), np.zeros((9, 8)))
    with pytest.raises(InputError, match="uint8"):
        metric(np.zeros((8, 9), np.uint8), np.zeros((8, 9)))
    with pytest.raises(InputError, match=r"\(2, 3, 8, 8\)"):
        metric(torch.zeros(2, 3, 8, 8), torch.zeros(2, 3, 8, 8))
