"""At the edges of a real frame: the boundary unknown beats a periodic frame, reflected outwards or not."""

from __future__ import annotations

import numpy as np
import pytest
import skimage.data

import pnpkit
from pnpkit import kernels
from pnpkit.images.metrics import psnr
from pnpkit.restoration import simulate

KERNEL, NOISE, WIDTH = kernels.motion(9, 40), 0.01, 9


def run(y: np.ndarray, boundary: str) -> np.ndarray:
    settings = {"denoiser": "wavelet", "noise_level": NOISE, "max_steps": 10}
    return np.asarray(pnpkit.deblur(y, KERNEL, boundary=boundary, **settings).image)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def errors() -> dict[str, tuple[float, float]]:
    """PSNR near the edges of the frame and inside."""
    scene = skimage.data.astronaut()[100:160, 190:260] / 255
    blurred = simulate.simulate(scene, KERNEL, NOISE)
    margins = [(n // 2, n // 2) for n in KERNEL.shape]
    sharp = scene[margins[0][0] : -margins[0][0], margins[1][0] : -margins[1][0]]
    assert sharp.shape == blurred.shape
    reflected = np.pad(blurred, ((WIDTH, WIDTH), (WIDTH, WIDTH), (0, 0)), mode="reflect")
    pictures = {
        "unknown": run(blurred, "unknown"),
        "circular": run(blurred, "circular"),
        "reflected": run(reflected, "circular")[WIDTH:-WIDTH, WIDTH:-WIDTH],
    }
    inner = np.zeros(sharp.shape[:2], bool)
    inner[WIDTH:-WIDTH, WIDTH:-WIDTH] = True
    return {
        name: (psnr(p[~inner][None], sharp[~inner][None]), psnr(p[inner][None], sharp[inner][None]))
        for name, p in pictures.items()
    }


def test_unknown_beats_circular_by_far(errors: dict[str, tuple[float, float]]) -> None:
    assert errors["unknown"][0] > errors["circular"][0] + 3


def test_unknown_beats_reflection(errors: dict[str, tuple[float, float]]) -> None:
    assert errors["unknown"][0] > errors["reflected"][0] + 1


def test_the_edges_are_nearly_as_good_as_the_inside(errors: dict[str, tuple[float, float]]) -> None:
    edges, inside = errors["unknown"]
    assert edges > inside - 3 and errors["circular"][0] < errors["circular"][1] - 1
