"""What a restoration is made of: the solver's run and the plan, held and not copied; and how it shows itself."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import pnpkit
from pnpkit.errors import InputError
from pnpkit.images import files
from pnpkit.restoration.plan import Plan
from pnpkit.restoration.result import Application
from pnpkit.solvers.result import Result, Status

PICTURE = np.random.default_rng(0).random((12, 14, 3)).astype(np.float32)
EIGHT = np.round(255 * PICTURE).astype(np.uint8)


def deblurred(image: np.ndarray | torch.Tensor) -> pnpkit.Restoration:
    return pnpkit.deblur(image, "box:3", denoiser="wavelet", noise_level=0.02, max_steps=3)


def test_a_restoration_holds_its_run_and_its_plan() -> None:
    found = deblurred(PICTURE)
    assert isinstance(found.run, Result) and isinstance(found.plan, Plan)
    for name in ("status", "steps", "residuals", "certificate", "guarantee", "bounds", "objective"):
        assert getattr(found, name) is getattr(found.run, name)
    for name in ("tau", "L", "splitting"):
        assert getattr(found, name) == getattr(found.plan, name)
    assert found.strength == found.plan.strength * found.span, "in the units of the picture"
    assert found.strength_note == found.plan.note and found.step_note == found.plan.step_note


def test_denoising_holds_one_application_and_no_plan() -> None:
    found = pnpkit.denoise(PICTURE, 0.05, denoiser="wavelet")
    assert isinstance(found.run, Application) and found.plan is None and found.status is Status.APPLIED
    assert (found.strength, found.steps, found.residuals, found.bounds) == (0.05, 1, (), ())
    assert found.tau is None and found.L is None and found.splitting == found.step_note == ""


@pytest.mark.parametrize("image", [PICTURE, EIGHT, PICTURE[..., 0]], ids=["float", "uint8", "grey"])
def test_it_is_an_array_a_png_and_one_line(image: np.ndarray, tmp_path: Path) -> None:
    found = deblurred(image)
    np.testing.assert_array_equal(np.asarray(found), found.image)
    assert np.asarray(found, dtype=np.float64).dtype == np.float64
    eight = found.image if image.dtype == np.uint8 else np.round(255 * np.clip(found.image, 0, 1)).astype(np.uint8)
    png = found._repr_png_()
    assert png is not None
    np.testing.assert_array_equal(np.asarray(Image.open(BytesIO(png))), eight)
    found.save(tmp_path / "out.png")
    np.testing.assert_array_equal(np.round(255 * files.read(tmp_path / "out.png").pixels).astype(np.uint8), eight)
    assert len(repr(found).splitlines()) == 1 and "x".join(map(str, image.shape)) in repr(found)


def test_a_batch_is_an_array_and_no_picture(tmp_path: Path) -> None:
    found = deblurred(torch.from_numpy(PICTURE).permute(2, 0, 1).expand(2, -1, -1, -1))
    assert np.asarray(found).shape == (2, 3, 12, 14) and found._repr_png_() is None
    with pytest.raises(InputError, match="a batch of 2"):
        found.save(tmp_path / "out.png")
