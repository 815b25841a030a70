"""A guide that is given: only the second pass runs, with its proof, and the result says what the data made of it."""

from __future__ import annotations

import json
from pathlib import Path

import catalogue
import numpy as np
import pytest
import torch
from click.testing import CliRunner

import pnpkit
from pnpkit import kernels
from pnpkit.command.cli import program
from pnpkit.errors import InputError
from pnpkit.images import files
from pnpkit.images.metrics import psnr
from pnpkit.images.picture import Picture
from pnpkit.operators.blur import blur

RNG = np.random.default_rng(3)
SHARP = RNG.random((20, 24, 3)).astype(np.float32)
KERNEL = kernels.gaussian(1.0)
COFFEE = Path(__file__).parent.parent / "data" / "images" / "coffee.png"


def blurred(sharp: np.ndarray, boundary: str = "circular", noise: float = 0.01) -> np.ndarray:
    return pnpkit.simulate(sharp, KERNEL, noise, boundary=boundary, seed=0).astype(np.float32)


@pytest.mark.parametrize("boundary", ["unknown", "circular", "zero"])
def test_the_second_pass_alone_runs_with_its_proof(boundary: str) -> None:
    y = blurred(SHARP)
    guide = RNG.random(y.shape).astype(np.float32)
    run = pnpkit.deblur(y, KERNEL, boundary=boundary, denoiser=catalogue.guided(), guide=guide, max_steps=30)
    assert run.guarantee and run.certificate.averaged and run.guide_steps == 0 and not run.guarantee.before
    assert any("the guide is given" in str(premise) for premise in run.certificate.all_premises())
    assert run.guide is not None and run.image.shape == y.shape
    gap = np.asarray(run.image, np.float64) - guide
    assert run.guide.left == pytest.approx(float(np.sqrt((gap**2).mean())), rel=1e-4)


def test_the_residuals_are_those_of_guide_and_result() -> None:
    y = blurred(SHARP)
    operator = blur(KERNEL, "circular", y.shape[:2], dtype=torch.float64)
    run = pnpkit.deblur(y, KERNEL, boundary="circular", denoiser=catalogue.guided(), guide=SHARP)

    def residual(x: np.ndarray) -> float:
        z = torch.from_numpy(np.asarray(x, np.float64)).permute(2, 0, 1)[None]
        gap = operator.A(z)[0].permute(1, 2, 0).numpy() - y
        return float(np.sqrt((gap**2).mean()))

    assert run.guide is not None
    assert run.guide.residual_before == pytest.approx(residual(SHARP), rel=1e-4)
    assert run.guide.residual_before == pytest.approx(0.01, rel=0.1), "of the truth it is the noise"
    assert run.guide.residual_after == pytest.approx(residual(run.image), rel=1e-3)


def test_the_guide_decides_the_map_and_the_map_the_picture() -> None:
    """The same guide, the same result; another guide, another."""
    y, network = blurred(SHARP), catalogue.guided()
    ends = [
        np.asarray(pnpkit.deblur(y, KERNEL, boundary="circular", denoiser=network, guide=g, max_steps=40))
        for g in (SHARP, SHARP, SHARP[::-1].copy())
    ]
    assert np.array_equal(ends[0], ends[1]) and not np.allclose(ends[0], ends[2], atol=1e-4)


def test_what_dncnn_run_too_long_grew_is_repaired() -> None:
    """Picard's iteration with dncnn, of which nothing is proven, adds a pattern; the data do not support it."""
    sharp = files.read(COFFEE).pixels[150:190, 150:190]
    y = pnpkit.simulate(sharp, "motion:7,30", 0.01, boundary="circular", seed=0)
    long = {"splitting": "forward-backward", "method": "picard", "tol": 0.0, "max_steps": 100}
    drifted = pnpkit.deblur(y, "motion:7,30", boundary="circular", noise_level=0.01, denoiser="dncnn", **long)
    run = pnpkit.deblur(y, "motion:7,30", boundary="circular", noise_level=0.01, guide=np.asarray(drifted.image))
    assert not drifted.guarantee and run.guarantee and run.guide is not None
    assert psnr(np.asarray(run.image), sharp) > psnr(np.asarray(drifted.image), sharp) + 0.5


def test_inpaint_and_upscale_take_guides() -> None:
    network, mask = catalogue.guided(), np.zeros(SHARP.shape[:2], bool)
    mask[4:8, 5:9] = True
    run = pnpkit.inpaint(SHARP, mask, denoiser=network, guide=SHARP)
    assert run.guarantee and run.guide is not None and np.array_equal(np.asarray(run.image)[~mask], SHARP[~mask])
    small = SHARP.reshape(10, 2, 12, 2, 3).mean((1, 3))
    larger = pnpkit.upscale(small, 2, denoiser=network, guide=SHARP)
    assert larger.guarantee and larger.guide is not None and larger.image.shape == SHARP.shape
    assert larger.guide.residual_before < 1e-6, "the guide is the scene that the small picture was made of"


def test_each_picture_of_a_batch_has_its_guide() -> None:
    batch, guides = torch.rand(2, 3, 12, 14), torch.rand(2, 3, 12, 14)
    how = {"boundary": "circular", "denoiser": catalogue.guided(), "max_steps": 50}
    both = pnpkit.deblur(batch, KERNEL, guide=guides, **how)
    for number in range(2):
        alone = pnpkit.deblur(batch[number : number + 1], KERNEL, guide=guides[number : number + 1], **how)
        assert both.each[number].guide == alone.guide


def test_integers_and_grey_guides_are_in_the_units_of_the_picture() -> None:
    y, guide = (np.round(255 * x).clip(0, 255).astype(np.uint8) for x in (blurred(SHARP), SHARP))
    run = pnpkit.deblur(y, KERNEL, boundary="circular", denoiser=catalogue.guided(), guide=guide)
    assert run.guide is not None and run.guide.residual_before == pytest.approx(0.01, rel=0.15)
    grey = pnpkit.deblur(y, KERNEL, boundary="circular", denoiser=catalogue.guided(), guide=guide[..., 0])
    assert grey.guide is not None and grey.guide.left > run.guide.left


def test_a_guide_that_cannot_be_used_is_refused_in_one_line() -> None:
    y = blurred(SHARP)
    for words, more in (
        ("euler-fast takes no guide", {"denoiser": "euler-fast", "guide": SHARP}),
        ("24x20 pixels, got 24x19", {"guide": SHARP[:-1]}),
        ("NaN", {"guide": np.full_like(SHARP, np.nan)}),
        ("a guide is an array", {"guide": "photo.png"}),
    ):
        with pytest.raises(InputError, match=words) as caught:
            pnpkit.deblur(y, KERNEL, boundary="circular", **{"denoiser": catalogue.guided(), **more})
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="48x40 pixels, got 24x20"):
        pnpkit.upscale(y, 2, denoiser=catalogue.guided(), guide=SHARP)
    with pytest.raises(TypeError, match="guide"):
        pnpkit.denoise(y, denoiser=catalogue.guided(), guide=SHARP)


def write(path: Path, pixels: np.ndarray) -> str:
    files.write(path, Picture(pixels, None, np.dtype(np.uint8), 0.0, 255.0))
    return str(path)


def test_the_command_says_what_the_data_made_of_the_guide(tmp_path: Path) -> None:
    given, guide = (write(tmp_path / name, x) for name, x in (("y.png", blurred(SHARP)), ("g.png", SHARP)))
    arguments = ["deblur", given, "--kernel", "gaussian:1", "--guide", guide, "-o", str(tmp_path / "x.png")]
    said = CliRunner().invoke(program, [*arguments, "--json", str(tmp_path / "x.json")], standalone_mode=False)
    assert said.exception is None and "guide: given; the result is 0." in said.output
    record = json.loads((tmp_path / "x.json").read_text())
    assert record["guide"].keys() == {"left", "residual_before", "residual_after"} and record["guide_steps"] == 0
    assert guide in record["files"]


def test_the_command_refuses_in_one_line(tmp_path: Path) -> None:
    given, guide = (write(tmp_path / name, x) for name, x in (("y.png", blurred(SHARP)), ("g.png", SHARP[:-1])))
    for words, more in (
        ("24x20 pixels, got 24x19", ["--guide", guide]),
        ("takes no guide: leave `guide` out", ["--guide", given, "--denoiser", "euler-fast"]),
        ("an empty name", ["--guide", ""]),
        ("take one image", ["--guide", given, guide]),
    ):
        arguments = ["deblur", given, "--kernel", "gaussian:1", "-o", str(tmp_path / "x.png"), *more]
        with pytest.raises(InputError, match=words):
            CliRunner().invoke(program, arguments, standalone_mode=False, catch_exceptions=False)
    said = CliRunner().invoke(program, ["denoise", given, "--guide", guide])
    assert said.exit_code == 2 and "No such option" in said.output
