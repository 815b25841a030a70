"""Readings whose variance follows what is read: the model, its estimate, the weights, and what a restoration tells."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from catalogue import dense
from scipy.ndimage import gaussian_filter

import pnpkit as pk
from pnpkit import kernels
from pnpkit.command.tasks import in_pixels
from pnpkit.errors import InputError
from pnpkit.images import files
from pnpkit.images.picture import Picture
from pnpkit.noise.estimate import groups_of, is_counted, line_through, model_of
from pnpkit.noise.models import Gaussian, PoissonGaussian, effective_level
from pnpkit.restoration.readings import GIVEN, smoothed
from pnpkit.restoration.settings import Settings

FEW: dict[str, Any] = {"denoiser": "wavelet", "max_steps": 3, "precision": "float64"}


def scene(side: int = 96, seed: int = 0) -> np.ndarray:
    """Smooth, between 0.05 and 1."""
    x = gaussian_filter(np.random.default_rng(seed).standard_normal((side, side)), 4)
    return 0.05 + 0.95 * (x - x.min()) / np.ptp(x)


def counts(x: np.ndarray, gain: float, offset: float = 0.0, read: float = 0.0, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return gain * rng.poisson(x / gain) + offset + read * rng.standard_normal(x.shape)


def test_the_variance_is_that_of_the_readings() -> None:
    model, mean = PoissonGaussian(2.0, 100.0, 3.0), 250.0
    y = counts(np.full((400, 400), mean - 100), 2.0, 100.0, 3.0)
    assert y.var() == pytest.approx(float(model.variance(torch.tensor(mean))), rel=0.02)
    assert float(model.variance(torch.tensor(90.0))) == 2.0 * 1.0 + 9.0, "half a count is the least"
    same = model.scaled(100.0, 50.0)
    moved = (torch.tensor(mean) - 100) / 50
    assert float(same.variance(moved)) == pytest.approx(float(model.variance(torch.tensor(mean))) / 50**2)


@pytest.mark.parametrize("bad", [{"gain": 0.0}, {"gain": np.inf}, {"offset": np.nan}, {"read_noise": -1.0}])
def test_a_model_that_is_none_is_refused(bad: dict[str, float]) -> None:
    with pytest.raises(InputError, match="finite number"):
        PoissonGaussian(**{"gain": 1.0, **bad})


def test_white_noise_of_the_effective_level_tells_as_much() -> None:
    variance = torch.tensor([[1.0, 4.0, 0.25]])
    assert effective_level(variance) == pytest.approx((3 / (1 + 0.25 + 4)) ** 0.5)
    assert effective_level(variance, torch.tensor([[True, True, False]])) == pytest.approx((2 / 1.25) ** 0.5)


@pytest.mark.parametrize("gain, offset, read", [(0.01, 0.0, 0.0), (0.05, 0.0, 0.08), (0.02, 0.5, 0.0)])
def test_gain_and_what_one_picture_tells_of_the_rest_are_found(gain: float, offset: float, read: float) -> None:
    line = line_through(*groups_of(counts(scene(288), gain, offset, read)))
    assert line is not None and (read or is_counted(line, 1.0, blurred=True))
    assert abs(line.gain - gain) < 4 * line.error and line.error < 0.2 * gain
    model, v = model_of(line), torch.linspace(0.2, 0.9, 5) + offset
    true = PoissonGaussian(gain, offset, read).variance(v)
    torch.testing.assert_close(model.variance(v), true, rtol=0.25, atol=0.0)
    known = model_of(line, offset, read)
    assert (known.offset, known.read_noise) == (offset, read) and known.gain == pytest.approx(gain, rel=0.15)


@pytest.mark.parametrize("seed", range(3))
def test_white_noise_is_no_noise_of_counts(seed: int) -> None:
    x = scene(160, seed)
    for level in (0.01, 0.1):
        y = x + level * np.random.default_rng(seed).standard_normal(x.shape)
        assert not is_counted(line_through(*groups_of(y)), 1.0, blurred=True)
        clipped = np.clip(y, 0.1, 1)  # dark windows have less noise there, by the cut
        assert not is_counted(line_through(*groups_of(clipped)), 1.0, blurred=True)
    assert line_through(*groups_of(np.ones((64, 64)))) is None and line_through(*groups_of(x[:9, :9])) is None


def test_auto_is_gaussian_for_white_noise_bit_for_bit_and_counts_for_counts() -> None:
    x = gaussian_filter(scene(), 1)
    white = x + 0.05 * np.random.default_rng(1).standard_normal(x.shape)
    one, other = (pk.deblur(white, "gaussian:1", noise=kind, **FEW) for kind in ("auto", "gaussian"))
    assert np.array_equal(one.image, other.image) and one.data is not None and one.data.plain
    assert isinstance(one.data.noise, Gaussian) and GIVEN not in str(one.certificate)
    run = pk.deblur(counts(gaussian_filter(scene(256), 1), 0.02), "gaussian:1", **FEW)
    assert run.data is not None and run.data.kind == "poisson" and run.data.noise.gain == pytest.approx(0.02, rel=0.2)
    assert run.guarantee and GIVEN in str(run.certificate) and "one standard deviation" in run.data.note


def test_a_run_ends_at_the_fixed_point_of_the_weighted_map() -> None:
    """Against a dense solve: x = proj D(u), u = argmin 1/2 sum w (A u - y)^2 + 1/(2 tau) ||u - x||^2."""
    x, gain = scene(16), 0.05
    y = counts(x, gain)
    how: dict[str, Any] = {"splitting": "half-quadratic", "tau": 2.0, "strength": 0.05, "precision": "float64"}
    run = pk.deblur(y, "gaussian:1", boundary="circular", denoiser="wavelet", gain=gain, tol=1e-7, limits=(0, 1), **how)
    data = run.data
    assert data is not None and run.guarantee
    A = dense(
        pk.blur(kernels.parse("gaussian:1"), "circular", (16, 16), dtype=torch.float64),
        torch.zeros(1, 1, 16, 16, dtype=torch.float64),
    )
    z = torch.from_numpy((y - data.offset) / data.span)
    variance = PoissonGaussian(gain).scaled(data.offset, data.span).variance(smoothed(z[None, None])[0, 0])
    w = (effective_level(variance) ** 2 / variance).reshape(-1)
    end = torch.from_numpy((np.asarray(run.image) - data.offset) / data.span)
    system = torch.eye(256, dtype=torch.float64) + 2 * A.T @ (w[:, None] * A)
    u = torch.linalg.solve(system, end.reshape(-1) + 2 * A.T @ (w * z.reshape(-1)))
    again = pk.load_denoiser("wavelet")(u.view(1, 1, 16, 16), 0.05 / data.span)[0, 0]
    again = again.clamp(*((v - data.offset) / data.span for v in (0.0, 1.0)))
    assert float((again - end).square().mean().sqrt()) < 1e-4


@pytest.mark.parametrize("task", ["deblur", "denoise", "upscale"])
def test_counts_commute_with_gain_and_offset(task: str) -> None:
    y = counts(scene(40), 0.02)
    more: dict[str, Any] = FEW if task != "denoise" else {k: v for k, v in FEW.items() if k != "max_steps"}
    run = {"deblur": lambda *a, **k: pk.deblur(a[0], "gaussian:1", **k), "denoise": pk.denoise, "upscale": pk.upscale}
    plain = run[task](y, gain=0.02, read_noise=0.01, limits=(0, 2), **more)
    for a, b in ((1e-4, 0.0), (1e4, 0.0), (50.0, 300.0)):
        given: dict[str, Any] = {"gain": 0.02 * a, "offset": b, "read_noise": 0.01 * a, "limits": (b, b + 2 * a)}
        moved = run[task](a * y + b, **given, **more)
        np.testing.assert_allclose((np.asarray(moved.image) - b) / a, np.asarray(plain.image), atol=2e-5)
    assert plain.data is not None and plain.data.to_json()["noise"]["gain"] == pytest.approx(0.02)


def test_integers_and_floats_of_the_same_counts_give_the_same() -> None:
    y = np.rint(100 + counts(500 * scene(48), 5.0)).astype(np.uint16)
    how_much = {"gain": 5.0, "offset": 100.0}
    how: dict[str, Any] = {**how_much, "read_noise": 2.0, **FEW}
    whole = pk.deblur(y, "gaussian:1", **how)
    floats = pk.deblur(y.astype(float), "gaussian:1", limits=(0, 65535), **how)
    assert np.abs(np.asarray(whole.image, float) - floats.image).max() <= 0.51
    assert whole.data is not None and floats.data is not None
    assert vars(whole.data.noise) == pytest.approx(vars(floats.data.noise)) == {**how_much, "read_noise": 2.0}
    assert whole.data.flux == pytest.approx(floats.data.flux, rel=1e-3)
    before, after = floats.data.flux or (0.0, 0.0)
    assert before == pytest.approx((y.astype(float) - 100).sum()) and after == pytest.approx(before, rel=0.02)


@pytest.mark.parametrize(
    "given, words",
    [
        ({"noise": "laplace"}, "noise model"),
        ({"gain": 0.0}, "gain"),
        ({"gain": -1}, "gain"),
        ({"gain": "2"}, "`gain` must be a finite number"),
        ({"gain": 1.0, "read_noise": -1}, "read_noise"),
        ({"offset": np.inf}, "offset"),
        ({"noise": "gaussian", "gain": 1.0}, "gaussian noise has no `gain`"),
        ({"noise": "poisson", "gain": 1.0, "read_noise": 1.0}, "poisson-gaussian"),
        ({"gain": 1.0, "noise_level": 0.1}, "noise_level"),
        ({"gain": 1.0, "linear": True}, "linear"),
        ({"gain": 1.0, "strength": "sure"}, "sure"),
        ({"saturation": "some"}, "saturation"),
        ({"saturation": np.nan}, "saturation"),
    ],
)
def test_what_contradicts_itself_is_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        pk.deblur(scene(24), "gaussian:1", **{**FEW, **given})


def test_counts_without_a_gain_that_shows_are_refused() -> None:
    with pytest.raises(InputError, match="give `gain`"):
        pk.deblur(np.zeros((24, 24)), "gaussian:1", noise="poisson", **FEW)
    falling = scene(128) + (0.1 - 0.09 * scene(128)) * np.random.default_rng(0).standard_normal((128, 128))
    with pytest.raises(InputError, match="does not grow"):
        pk.deblur(falling, "gaussian:1", noise="poisson-gaussian", **FEW)


def test_the_command_line_takes_the_units_of_the_file(cli, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    import tifffile

    y = np.rint(100 + counts(800 * scene(48), 4.0)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "c.tif", y)
    flags = ("--gain", 4, "--offset", 100, "--read-noise", 0, "--denoiser", "wavelet", "--max-steps", 2)
    code, text, _ = cli("deblur", tmp_path / "c.tif", "--kernel", "gaussian:1", *flags, "--json", tmp_path / "c.json")
    assert code == 0 and "poisson, gain 4, offset 100" in text and "flux above the offset" in text
    data = json.loads((tmp_path / "c.json").read_text())["data"]
    assert data["noise"]["gain"] == pytest.approx(4) and data["noise"]["offset"] == pytest.approx(100)
    assert data["flux"][0] == pytest.approx((y.astype(float) - 100).sum(), rel=1e-4)
    code, _, error = cli("deblur", tmp_path / "c.tif", "--gain", "0", "--overwrite")
    assert code == 2 and "gain" in error and len(error.strip().splitlines()) == 1


def test_a_scale_by_white_and_black_leaves_the_file_its_units(cli, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    import tifffile

    y = np.rint(300 + 500 * scene(32)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "w.tif", y)
    flags = ("--black", 300, "--white", 800, "--denoiser", "wavelet")
    assert cli("denoise", tmp_path / "w.tif", *flags, "-o", tmp_path / "o.tif")[0] == 0
    assert np.abs(tifffile.imread(tmp_path / "o.tif").astype(float) - y).mean() < 20
    assert files.read(tmp_path / "w.tif", white=800, black=300).pixels.min() == pytest.approx((y.min() - 300) / 500)
    code, _, error = cli("denoise", tmp_path / "w.tif", "--black", 900, "--white", 800)
    assert code == 2 and "black below 800" in error


def test_pictures_in_memory_and_files_of_them_are_one(cli, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """A float picture in 0..1, saved and restored by the command."""
    y = counts(scene(48), 0.02).clip(0, 1)
    files.write(tmp_path / "f.tif", Picture(y, dtype=np.dtype(np.float64), high=1.0))
    flags = ("--gain", 0.02, "--denoiser", "wavelet", "--max-steps", 3, "--saturation", "off")
    assert cli("deblur", tmp_path / "f.tif", "--kernel", "gaussian:1", *flags, "-o", tmp_path / "g.tif")[0] == 0
    found = files.read(tmp_path / "g.tif").pixels
    assert abs(found.mean() - y.mean()) < 0.02


def test_beside_a_given_gain_the_offset_is_the_0_of_the_file() -> None:
    picture = Picture(scene(24), dtype=np.dtype(np.float32), low=6500.0, high=7500.0)
    found = in_pixels(picture, Settings("euler", gain=2.0))
    assert found["offset"] == -6.5 and found["gain"] == 0.002
    assert in_pixels(picture, Settings("euler"))["offset"] is None


def test_an_offset_above_the_readings_is_asked_about() -> None:
    y = np.random.default_rng(0).poisson(20.0, (16, 16)).astype(np.float64)
    how: dict[str, Any] = {"noise": "poisson", "gain": 1.0, "denoiser": "identity"}
    right, wrong = (pk.denoise(y, offset=offset, **how).data for offset in (0.0, 500.0))
    asked = "is this `offset` the right one?"
    assert asked not in "; ".join(right.sentences()) and "%" in right.sentences()[-1]
    assert asked in wrong.sentences()[-1] and "%" not in wrong.sentences()[-2]
