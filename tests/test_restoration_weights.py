"""Weights that come with a picture: what they are, known values, proofs given them, and the command line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from astropy.io import fits
from scipy.ndimage import gaussian_filter

import pnpkit as pk
from pnpkit.command.part import pooled
from pnpkit.command.weights import weighted
from pnpkit.errors import InputError
from pnpkit.images import files
from pnpkit.noise.weights import inverse_variances, kind_of
from pnpkit.restoration.readings import MAP

FEW: dict[str, Any] = {"denoiser": "identity", "max_steps": 4}
RNG = np.random.default_rng(0)
DEVIATION = np.where(np.arange(36) < 18, 0.01, 0.08) * np.ones((30, 1))  # half of the picture is noisy


def scene() -> np.ndarray:
    return 0.2 + 0.5 * (gaussian_filter((np.random.default_rng(3).random((30, 36)) > 0.6).astype(float), 1.5) > 0.4)


def noisy(deviation: np.ndarray = DEVIATION) -> np.ndarray:
    clean = np.asarray(pk.simulate(scene(), "gaussian:1.2", 0.0, boundary="circular"))
    return clean + deviation * np.random.default_rng(1).standard_normal(clean.shape)


def deblurred(y: Any, **more: Any) -> pk.Restoration:
    chosen: dict[str, Any] = {"boundary": "circular", "limits": (0, 1), **FEW, **more}
    return pk.deblur(y, "gaussian:1.2", **chosen)


@pytest.mark.parametrize("task", ["deblur", "inpaint"])
def test_the_fixed_point_is_the_one_of_the_formula(task: str) -> None:
    """With D = c id and A = id a step is x = c (x - tau w (x - z)): x = c tau w z / (1 - c + c tau w), pixel by pixel,
    on the scale of the run, w = level^2 / variance."""
    c, y = 0.7, noisy()
    deviation = np.where(RNG.random(y.shape) < 0.5, 0.02, 0.05)
    how: dict[str, Any] = {"weights": deviation**-2, "weights_are": "inverse-variance", "limits": (-99, 99)}
    how |= {"denoiser": lambda x, sigma: c * x, "method": "picard", "tol": 1e-12, "tau": 0.3, "max_steps": 2000}
    how |= {"splitting": "forward-backward", "precision": "float64", "strength": 0.1}
    if task == "deblur":
        run = pk.deblur(y, "box:1", saturation="off", **how)
    else:  # what is known comes back as it was, so the fixed point is read off the iterates
        seen: list[Any] = []
        run = pk.inpaint(y, np.zeros(y.shape), callback=lambda step: seen.append(step.x), **how)
    data = run.data
    assert data is not None and run.noise_level == pytest.approx(np.mean(deviation**-2.0) ** -0.5)
    z, w = (y - data.offset) / data.span, run.noise_level**2 / deviation**2
    exact = c * 0.3 * w * z / (1 - c + c * 0.3 * w)
    found = np.asarray(run.image) if task == "deblur" else seen[-1][0, 0].numpy()
    np.testing.assert_allclose((found - data.offset) / data.span, exact, atol=1e-9)


def test_equal_weights_are_the_noise_level() -> None:
    y = noisy(np.full((30, 36), 0.03))
    plain = deblurred(y, noise_level=0.03)
    for kind, value in (("inverse-variance", 0.03**-2), ("variance", 0.03**2), ("standard-deviation", 0.03)):
        run = deblurred(y, weights=np.full(y.shape, value), weights_are=kind)
        assert run.noise_level == pytest.approx(0.03)
        np.testing.assert_allclose(np.asarray(run.image), np.asarray(plain.image), atol=1e-4)
    relative = deblurred(y, weights=np.full(y.shape, 7.0), noise_level=0.03)
    np.testing.assert_allclose(np.asarray(relative.image), np.asarray(plain.image), atol=1e-4)


def test_relative_weights_find_their_factor_in_the_picture() -> None:
    smooth = 0.5 + 0.2 * np.sin(np.arange(96) / 12)[:, None] * np.cos(np.arange(96) / 15)
    deviation = np.where(np.arange(96) < 48, 0.01, 0.08) * np.ones((96, 1))
    y = smooth + deviation * np.random.default_rng(1).standard_normal(smooth.shape)
    exact, run, scaled = (
        pk.deblur(y, "gaussian:1.2", weights=factor * deviation**-2, weights_are=kind, **FEW)
        for factor, kind in ((1.0, "inverse-variance"), (1.0, "relative"), (1e-5, "auto"))
    )
    assert run.noise_level == pytest.approx(exact.noise_level, rel=0.1)
    np.testing.assert_allclose(np.asarray(run.image), np.asarray(scaled.image), atol=1e-4)
    assert run.data is not None and exact.data is not None and "times the inverse variance" in run.data.note
    assert "as much noise" not in exact.data.note
    odd = pk.deblur(y, "gaussian:1.2", weights=deviation / 9, weights_are="standard-deviation", **FEW)
    told = re.search(r"the picture shows ([\d.]+) times as much noise", odd.data.note if odd.data else "")
    assert told is not None and float(told[1]) == pytest.approx(9, rel=0.1)


def test_weights_are_worth_their_while_and_the_proof_is_given_them() -> None:
    def error(run: pk.Restoration) -> float:
        return float(np.sqrt(np.mean((np.asarray(run.image) - scene()) ** 2)))

    y, how = noisy(), {"denoiser": "wavelet", "max_steps": 4}
    plain, run = deblurred(y, **how), deblurred(y, weights=DEVIATION**-2, weights_are="inverse-variance", **how)
    assert error(run) < 0.9 * error(plain)
    assert run.guarantee and MAP in str(run.certificate) and MAP not in str(plain.certificate)
    assert run.data is not None and run.data.kind == "weights" and run.data.to_json()["noise"]["model"] == "weights"


@pytest.mark.parametrize("task", ["deblur", "denoise", "upscale", "inpaint"])
def test_what_has_no_weight_is_not_looked_at(task: str) -> None:
    y, weights, found = noisy(), np.full((30, 36), 400.0), []
    weights[10:13, 5:30] = 0
    weights[25, 33] = np.nan
    nothing = ~(weights > 0)
    more: dict[str, Any] = {**FEW, "limits": (0, 1)}
    if task == "denoise":
        del more["max_steps"]
    for filler in (0.5, 0.0, 1e30, np.nan):
        ruined = np.where(nothing, filler, y)
        words = [np.zeros(y.shape)] if task == "inpaint" else ["gaussian:1.2"] if task == "deblur" else []
        run = getattr(pk, task)(ruined, *words, weights=weights, weights_are="inverse-variance", **more)
        assert task == "inpaint" or run.data.unknown == nothing.sum()
        found.append(np.asarray(run.image))
    for one in found[1:]:
        np.testing.assert_allclose(one, found[0], atol=1e-5)
    if task == "denoise":
        assert run.strength == pytest.approx(0.05), "one strength, of the median deviation"


def test_colours_batches_and_integers() -> None:
    y = np.stack([noisy(), noisy(), noisy()[::-1]], -1)
    weights = np.full(y.shape, 400.0)
    weights[20:22, 3:33, 1] = 0
    found = []
    for filler in (0.3, 1e6):
        ruined = y.copy()
        ruined[20:22, 3:33, 1] = filler
        run = deblurred(ruined, weights=weights, weights_are="inverse-variance")
        assert run.data is not None and run.data.unknown == 60, "of one channel alone"
        found.append(np.asarray(run.image))
    np.testing.assert_allclose(found[0], found[1], atol=1e-5)
    tensor = torch.from_numpy(y).permute(2, 0, 1)[:, None].float()  # three grey pictures, each with weights of its own
    own = torch.from_numpy(weights).permute(2, 0, 1)[:, None]
    batch = deblurred(tensor, weights=own, weights_are="inverse-variance")
    alone = deblurred(tensor[1:2], weights=own[1:2], weights_are="inverse-variance")
    torch.testing.assert_close(torch.as_tensor(batch.image)[1:2], torch.as_tensor(alone.image))
    assert [run.data.unknown for run in batch.each if run.data] == [0, 60, 0]
    whole = np.rint(40000 * noisy().clip(0, 1)).astype(np.uint16)
    same = {"weights_are": "standard-deviation", "limits": None}
    integers = deblurred(whole, weights=40000 * DEVIATION, **same)
    floats = deblurred(whole.astype(float), weights=40000 * DEVIATION, **same | {"limits": (0, 65535)})
    assert np.abs(np.asarray(integers.image, float) - floats.image).max() <= 2


@pytest.mark.parametrize(
    "weights, more, words",
    [
        (np.zeros((30, 36)), {}, "every weight is 0 or NaN"),
        (np.full((30, 36), np.nan), {}, "every weight is 0 or NaN"),
        (-np.ones((30, 36)), {}, "1080 negative ones, the least -1"),
        (np.full((30, 36), np.inf), {}, "infinite"),
        (np.ones((30, 35)), {}, "30 x 35, the image 30 x 36: not the same"),
        (np.ones((30, 36, 3)), {}, "not the same"),
        (np.ones((30, 36), complex), {}, "real numbers"),
        (np.ones((30, 36)), {"gain": 1.0}, "leave out `gain`"),
        (np.ones((30, 36)), {"noise": "poisson"}, "leave out `noise`"),
        (np.ones((30, 36)), {"noise_level": 0.1, "weights_are": "variance"}, "leave out `noise_level`"),
        (np.ones((30, 36)), {"linear": True}, "linear"),
        (np.ones((30, 36)), {"strength": "sure"}, "sure"),
        (np.ones((30, 36)), {"weights_are": "sigma"}, "kind of weights"),
        (None, {"weights_are": "variance"}, "give weights"),
        (np.ones((3, 36)), {"axes": "YX"}, "3 x 36, the stack 30 x 36"),
    ],
)
def test_weights_that_cannot_be_are_refused(weights: Any, more: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words) as error:
        deblurred(noisy(), weights=weights, **more)
    assert "\n" not in str(error.value)


def test_what_maps_are_called_says_what_they_are() -> None:
    for name, kind in (("WHT", "relative"), ("ivar", "inverse-variance"), ("VAR", "variance"), ("", "relative")):
        assert kind_of("auto", name) == kind
    assert kind_of("auto", "2", "ERR", "x_wht") == "standard-deviation"
    assert kind_of("auto", "", "PRIMARY", "coadd.weight") == "relative" and kind_of("auto", "a_rms") != "relative"
    given = np.array([4.0, 0.0, np.nan, 0.25])
    np.testing.assert_allclose(inverse_variances(given, "variance"), [0.25, 0, 0, 4])
    np.testing.assert_allclose(inverse_variances(given, "standard-deviation"), [1 / 16, 0, 0, 16])
    np.testing.assert_allclose(inverse_variances(np.array([1.0, np.inf]), "variance"), [1, 0])


def test_blocks_of_readings_have_the_variance_of_their_mean() -> None:
    weights = np.array([[1.0, 4.0, 1.0, 1.0], [2.0, 4.0, 0.0, 1.0]])
    np.testing.assert_allclose(pooled(weights, 2), [[16 / (1 + 0.25 + 0.5 + 0.25), 0]])
    assert pooled(weights, 1) is weights


def field(path: Path, values: dict[str, np.ndarray]) -> None:
    units = [fits.ImageHDU(v.astype(np.float32), name=k) for k, v in values.items()]
    fits.HDUList([fits.PrimaryHDU(), *units]).writeto(path, overwrite=True)


def test_the_command_line_reads_them_from_fits_tiff_and_npy(cli: Any, tmp_path: Path) -> None:
    y, deviation = 5000 * noisy(), 5000 * DEVIATION
    deviation[10:12, 20:30] = np.nan
    field(tmp_path / "f.fits", {"SCI": y, "ERR": deviation, "VAR": deviation**2, "IVAR": deviation**-2})
    tifffile.imwrite(tmp_path / "map_rms.tif", deviation.astype(np.float32))
    np.save(tmp_path / "map.npy", deviation)
    flags = ("--kernel", "gaussian:1.2", "--denoiser", "identity", "--max-steps", 3, "--saturation", "off")
    source, found = f"{tmp_path}/f.fits[SCI]", []
    for i, words in enumerate(
        (
            [f"{tmp_path}/f.fits[ERR]"],
            ["[VAR]"],
            ["[IVAR]"],
            [tmp_path / "map_rms.tif"],
            [tmp_path / "map.npy", "--weights-are", "standard-deviation"],
        )
    ):
        code, text, error = cli("deblur", source, *flags, "--weights", *words, "-o", tmp_path / f"{i}.fits")
        assert code == 0 and "20 readings are unknown" in text and "standard deviation 50 to 400" in text, error
        found.append(fits.getdata(tmp_path / f"{i}.fits", "SCI"))
    for one in found[1:]:
        np.testing.assert_allclose(one, found[0], rtol=2e-4)
    kept = fits.getheader(tmp_path / "0.fits", "SCI")
    assert "weights" in str(kept["HISTORY"]) and "ERR" in str(kept["HISTORY"]).replace("\n", "")
    exact = pk.deblur(
        y,
        "gaussian:1.2",
        weights=deviation,
        weights_are="standard-deviation",
        saturation="off",
        denoiser="identity",
        max_steps=3,
    )
    np.testing.assert_allclose(found[0], np.asarray(exact.image), atol=0.02 * np.ptp(y))
    part = weighted(files.read(source, unknown=True), "[ERR]", source, "auto")
    assert part.weights is not None and not part.relative
    span = part.high - part.low
    np.testing.assert_allclose(part.weights[0, 0], (50 / span) ** -2, rtol=1e-5)
    code, text, error = cli("deblur", source, *flags, "--weights", "[WHT]")
    assert code == 2 and "'WHT'" in error
    code, text, error = cli("deblur", source, *flags, "--weights", "[VAR]", "--preview", "-o", tmp_path / "p.png")
    assert code == 0, error
    region = ("--region", "10,5,20,15", "-o", tmp_path / "r.fits")
    code, text, error = cli("deblur", source, *flags, "--weights", "[VAR]", *region)
    assert code == 0 and fits.getdata(tmp_path / "r.fits", "SCI").shape == (15, 20), error


def test_maps_that_cannot_be_are_refused_in_one_line(cli: Any, tmp_path: Path) -> None:
    y = noisy()
    small, none = np.ones((9, 9)), np.zeros((30, 36))
    field(tmp_path / "f.fits", {"SCI": y, "WHT": small, "VAR": none, "RMS": -DEVIATION})
    fits.writeto(tmp_path / "cube.fits", np.stack([y, y]))
    for name, words in (
        ("[WHT]", "the weights are 9 x 9 pixels, the image 36 x 30"),
        ("[VAR]", "every weight is 0"),
        ("[RMS]", "negative"),
        (tmp_path / "none.fits", "nothing there"),
        (tmp_path / "cube.fits", "cube.fits"),
    ):
        code, _, error = cli("denoise", f"{tmp_path}/f.fits[SCI]", "--weights", name, "--denoiser", "identity")
        assert code == 2 and words in error and len(error.strip().splitlines()) == 1, error
    code, _, error = cli("denoise", f"{tmp_path}/f.fits[SCI]", "--weights-are", "variance")
    assert code == 2 and "weights" in error
    np.save(tmp_path / "stack.npy", np.stack([y, y]))
    code, _, error = cli("denoise", tmp_path / "stack.npy", "--weights", tmp_path / "f.fits")
    assert code == 2 and "--weights" in error and "for pictures" in error
