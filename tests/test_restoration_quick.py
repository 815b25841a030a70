"""A quick run is one step, says so, and claims no more than that."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import skimage.data

import pnpkit as pk
from pnpkit.command import forecast, summary, tasks, verdict
from pnpkit.command.curve import curve
from pnpkit.command.options import settings_from
from pnpkit.errors import InputError
from pnpkit.images import files
from pnpkit.images.metrics import psnr
from pnpkit.images.picture import Picture
from pnpkit.restoration.defaults import QUICK_STEPS, ROUGH, SMALL, tolerance
from pnpkit.restoration.settings import hurried
from pnpkit.solvers.result import Status

SHARP = skimage.data.chelsea()[100:164, 130:194] / 255
BLURRED = pk.simulate(SHARP, "gaussian:0.9", 0.006, boundary="circular")


@pytest.fixture(scope="module")
def run() -> pk.Restoration:
    return pk.deblur(BLURRED, "gaussian:0.9", noise_level=0.006, quick=True)


def test_it_is_one_step_that_gains(run: pk.Restoration) -> None:
    assert run.steps == QUICK_STEPS and run.status is Status.STEP_LIMIT
    inner = (slice(4, -4), slice(4, -4))
    assert psnr(np.asarray(run.image)[inner], SHARP[inner]) > psnr(BLURRED[inner], SHARP[inner]) + 1


def test_it_claims_no_convergence(run: pk.Restoration) -> None:
    assert run.guarantee and run.guarantee.existence is None and run.certificate.averaged
    assert run.guarantee.theorem is not None and not run.guarantee.theorem.claim and not run.bounds
    assert summary.assurance(run) == "stability proven (--proof, --explain)"
    task, settings = tasks.Deblur("gaussian:0.9", "unknown"), hurried(settings_from("deblur", {"quick": True}))
    found = verdict.verdict(task, settings, Picture(BLURRED), run)
    assert "it has not settled" in found.done and "--quick" in found.advice and settings.denoiser == "wavelet"


def test_what_is_named_stays(run: pk.Restoration) -> None:
    named = pk.deblur(BLURRED, "gaussian:0.9", noise_level=0.006, quick=True, denoiser="identity", boundary="circular")
    assert "identity" in named.certificate.name and named.steps == 1 and "quick" in run.kernel_note
    with pytest.raises(TypeError, match="quick"):
        pk.upscale(SHARP, 2, quick=True)  # type: ignore[call-arg,unused-ignore]


def test_the_tolerance_follows_the_size() -> None:
    assert tolerance(SMALL) < tolerance(SMALL + 1) == ROUGH
    plan = pk.deblur(BLURRED, "gaussian:0.9", denoiser="identity", max_steps=1).plan
    assert plan is not None and plan.tol == tolerance(64 * 64)
    given = pk.deblur(BLURRED, "gaussian:0.9", denoiser="identity", max_steps=1, tol=0.02).plan
    assert given is not None and given.tol == 0.02


def test_unequal_readings_are_refused_or_told() -> None:
    for unequal, came in (({"weights": np.ones((64, 64))}, "weights"), ({"mask": np.eye(64)}, "mask")):
        with pytest.raises(InputError, match=f"`quick`.*{came}"):
            pk.deblur(BLURRED, "gaussian:0.9", quick=True, **unequal)
    clipped = pk.deblur(BLURRED, "gaussian:0.9", noise_level=0.006, quick=True, saturation=0.6)
    assert clipped.steps == QUICK_STEPS and "which takes longer" in clipped.kernel_note


def test_the_page_tells_the_residual_of_one_step(run: pk.Restoration) -> None:
    assert f"its residual is {run.residuals[0]:.2g}" in curve(run) and "<svg" not in curve(run)


def test_a_quick_run_of_a_large_picture_needs_no_forecast(cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(forecast, "LARGE", 100)
    files.write(tmp_path / "a.png", Picture(BLURRED))
    code, text, error = cli("deblur", tmp_path / "a.png", "--kernel", "gaussian:0.9", "--quick", "--report", tmp_path)
    assert code == 0 and "quickly, in 1 step" in text, error
    assert "its residual is" in (tmp_path / "a.html").read_text()
