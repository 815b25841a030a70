"""Holes are filled and pictures enlarged, with the proof attached; bad input is refused in one sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import skimage.data
import tifffile
import torch
import torch.nn.functional as F
from deepinv.physics import Downsampling

import pnpkit
from pnpkit.command.cli import program
from pnpkit.errors import InputError, PnpError
from pnpkit.images import files, picture, pixels
from pnpkit.images.metrics import psnr
from pnpkit.operators.norms import norm_bound
from pnpkit.restoration import picture as restoration_picture
from pnpkit.solvers.guarantee import Existence


def photograph(size: int = 48) -> np.ndarray:
    return skimage.data.chelsea()[100 : 100 + size, 130 : 130 + size] / 255


def scratches() -> np.ndarray:
    mask = np.zeros((48, 48), bool)
    mask[10:13], mask[30:40, 20:24] = True, True
    return mask


@pytest.fixture(scope="module")
def network() -> object:
    return pnpkit.load_denoiser("euler")


def test_holes_are_filled_better_than_by_their_neighbours(network: object) -> None:
    sharp, mask = photograph(), scratches()
    holed = np.where(mask[..., None], 1.0, sharp)
    run = pnpkit.inpaint(holed, mask, denoiser=network, noise_level=0.0, max_steps=12, tol=1e-3)
    near = restoration_picture.nearest_known(pixels.to_tensor(holed), torch.from_numpy(mask))
    assert psnr(run.image, sharp) > psnr(pixels.from_tensor(near), sharp) + 1
    np.testing.assert_allclose(run.image[~mask], holed[~mask], atol=1e-7)  # rounded to float32
    assert run.certificate.averaged and run.guarantee.existence is Existence.BOUNDED and run.L == 1
    assert "pixels were missing" in run.kernel_note and run.kernel is None


def test_what_is_in_a_hole_is_not_looked_at(network: object) -> None:
    sharp, mask = photograph()[:24, :24], scratches()[5:29, :24]
    runs = [
        pnpkit.inpaint(np.where(mask[..., None], value, sharp), mask, denoiser=network, max_steps=2)
        for value in (0.0, 0.9)
    ]
    np.testing.assert_array_equal(runs[0].image, runs[1].image)


def test_no_hole_means_no_change(network: object) -> None:
    image = np.round(255 * photograph(16)).astype(np.uint8)
    run = pnpkit.inpaint(image, np.zeros((16, 16)), denoiser=network, max_steps=1)
    np.testing.assert_array_equal(run.image, image)


@pytest.mark.parametrize("factor", [2, 3])
def test_enlarging_beats_cubic_interpolation_and_agrees_with_the_data(network: object, factor: int) -> None:
    sharp = photograph()
    small = F.avg_pool2d(pixels.to_tensor(sharp), factor)
    run = pnpkit.upscale(pixels.from_tensor(small), factor, denoiser=network, noise_level=0.0, max_steps=12, tol=1e-3)
    cubic = F.interpolate(small, scale_factor=factor, mode="bicubic")
    assert run.image.shape == sharp.shape
    assert psnr(run.image, sharp) > psnr(pixels.from_tensor(cubic), sharp)
    means = F.avg_pool2d(pixels.to_tensor(run.image), factor)
    assert float((means - small).abs().mean()) < float((F.avg_pool2d(cubic, factor) - small).abs().mean())
    assert run.L == pytest.approx(1 / factor**2) and run.guarantee.existence is Existence.BOUNDED


@pytest.mark.parametrize("side", [2, 3, 5])
def test_the_norm_of_decimated_blurs_is_an_upper_bound_and_tight_for_squares(side: int) -> None:
    filters = torch.rand(1, 1, side, side, generator=torch.Generator().manual_seed(side), dtype=torch.float64)
    operator = Downsampling(img_size=(1, 16, 16), filter=filters - 0.3, factor=2, padding="valid")
    columns = [operator.A(e.view(1, 1, 16, 16)).flatten() for e in torch.eye(256, dtype=torch.float64)]
    exact = float(torch.linalg.matrix_norm(torch.stack(columns, 1), 2))
    bound = norm_bound(operator)
    assert exact <= bound.value <= (1 + 1e-9 if side == 2 else 2) * exact


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_type_comes_back(dtype: type, network: object) -> None:
    image = photograph(12).mean(-1)
    image = (image * (np.iinfo(dtype).max if np.issubdtype(dtype, np.integer) else 1)).astype(dtype)
    large = pnpkit.upscale(image, 2, denoiser=network, max_steps=1).image
    assert large.dtype == dtype and large.shape == (24, 24)
    assert pnpkit.inpaint(image, image > image.mean(), denoiser=network, max_steps=1).image.dtype == dtype


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: pnpkit.inpaint(x, np.zeros((3, 4))), "the mask is 4 x 3 pixels .*, the image 12 x 12"),
        (lambda x: pnpkit.inpaint(x, np.ones((12, 12))), "nothing is known"),
        (lambda x: pnpkit.inpaint(x, np.zeros((12, 12)), method="newton"), "unknown method"),
        (lambda x: pnpkit.upscale(x, 1), "from 2 to 8"),
        (lambda x: pnpkit.upscale(x, 2.5), "whole number"),
        (lambda x: pnpkit.upscale(x, 2, strength=2), "strength"),
    ],
)
def test_bad_arguments_are_refused(call, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(PnpError, match=message):
        call(photograph(12))


def test_the_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def run(*words: object) -> str:
        assert program.main([*map(str, words)], standalone_mode=False) == 0
        return capsys.readouterr().out

    files.write(tmp_path / "sharp.png", picture.Picture(photograph(24)))
    files.write(tmp_path / "mask.png", picture.Picture(scratches()[5:29, :24].astype(float)))
    files.write(tmp_path / "in.png", picture.Picture(photograph(24)[::2, ::2]))
    few = ("--max-steps", 2)
    text = run("inpaint", tmp_path / "sharp.png", "--mask", tmp_path / "mask.png", "-o", tmp_path / "a.png", *few)
    assert "of 576 pixels were missing" in text and "convergence proven" in text
    text = run("upscale", tmp_path / "in.png", "--reference", tmp_path / "sharp.png", "-o", tmp_path / "b.png", *few)
    assert "12 x 12 pixels and has 24 x 24 now" in text and "PSNR" in text
    assert files.read(tmp_path / "b.png").pixels.shape == (24, 24, 3)
    with pytest.raises(InputError, match="not the same"):
        run("inpaint", tmp_path / "in.png", "--mask", tmp_path / "mask.png", "-o", tmp_path / "c.png")


@pytest.mark.parametrize("bad", [np.nan, 1e30, -np.inf])
def test_what_is_in_a_hole_is_never_looked_at(cli, tmp_path: Path, bad: float) -> None:  # type: ignore[no-untyped-def]
    random = np.random.default_rng(0)
    scene = 1000 + 500 * np.sin(np.mgrid[:24, :30][0] / 4).astype(np.float32) + random.random((24, 30), np.float32)
    holes = np.zeros((24, 30), bool)
    holes[5:8, 10:20] = True
    ruined = np.where(holes, np.float32(bad), scene)
    tifffile.imwrite(tmp_path / "a.tif", ruined)
    files.write(tmp_path / "mask.png", picture.Picture(holes.astype(float)))
    out = tmp_path / "out.tif"
    code, _, error = cli(
        "inpaint", tmp_path / "a.tif", "--mask", tmp_path / "mask.png", "-o", out, "--denoiser", "wavelet"
    )
    assert code == 0 and error == ""
    filled = tifffile.imread(out)
    np.testing.assert_allclose(filled[~holes], scene[~holes], rtol=1e-6)
    assert np.abs(filled - scene)[holes].max() < 200
    code, _, error = cli("denoise", tmp_path / "a.tif", "-o", tmp_path / "b.tif", "--denoiser", "wavelet")
    assert code == (2 if np.isinf(bad) else 0), "NaN is an unknown pixel, infinity is no number"
    scaled = np.where(holes, bad, scene / 2000)
    for image in (scaled, torch.from_numpy(scaled)[None, None]):
        found = torch.as_tensor(pnpkit.inpaint(image, holes, denoiser="wavelet").image).squeeze().numpy()
        assert np.isfinite(found).all() and np.array_equal(found[~holes], scaled[~holes])


def test_what_is_nan_outside_of_the_mask_is_filled_in_too_and_infinity_is_counted(cli, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    values = np.random.default_rng(0).random((16, 16)).astype(np.float32)
    values[3, 3:8] = np.nan
    holes = np.zeros((16, 16))
    holes[3, 3:5] = 1
    files.write(tmp_path / "mask.png", picture.Picture(holes))
    flags = ("--mask", tmp_path / "mask.png", "--denoiser", "wavelet")
    tifffile.imwrite(tmp_path / "a.tif", values)
    code, text, _ = cli("inpaint", tmp_path / "a.tif", *flags, "-o", tmp_path / "b.tif")
    assert code == 0 and "3 pixels are NaN" in text and "5 of 256 pixels were missing" in text
    assert np.isfinite(tifffile.imread(tmp_path / "b.tif")).all()
    tifffile.imwrite(tmp_path / "a.tif", np.where(np.isnan(values), np.float32(np.inf), values))
    code, _, error = cli("inpaint", tmp_path / "a.tif", *flags)
    assert code == 2 and "got 3 NaN or inf among 256" in error


@pytest.mark.parametrize("shape", [(2, 5, 5, 3), (2, 5, 4)])
def test_the_image_is_looked_at_before_its_holes_are_filled(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="expected a grey"):
        pnpkit.inpaint(np.zeros(shape, np.float32), np.eye(2, 5))
