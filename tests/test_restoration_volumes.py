"""Volumes: the three-dimensional operator, denoisers on slices, and stacks with their axes."""

from __future__ import annotations

import errno
from pathlib import Path
from shutil import disk_usage
from typing import Any

import numpy as np
import pytest
import torch
from scipy.ndimage import convolve, gaussian_filter

import pnpkit as pk
from pnpkit import kernels
from pnpkit.errors import InputError
from pnpkit.fidelities.least_squares import LeastSquares
from pnpkit.networks.volumes import Volumetric
from pnpkit.noise.models import PoissonGaussian
from pnpkit.operators.blur import blur
from pnpkit.operators.norms import measured_norm, norm_bound
from pnpkit.operators.volume import VolumeBlur
from pnpkit.registry import load_denoiser
from pnpkit.restoration.blocks import blocks_for, cut
from pnpkit.restoration.kept_blocks import keeping, stopped
from pnpkit.restoration.settings import Settings
from pnpkit.restoration.survey import constant_parts, noise_of, surveyed
from pnpkit.restoration.volumes import telling, within_frame

QUICK: dict[str, Any] = {"denoiser": "euler-fast", "max_steps": 6}
GRID = np.stack(np.meshgrid(*[np.arange(-2, 3)] * 3, indexing="ij"))
PSF = kernels.normalise(np.exp(-(GRID**2).sum(0) / np.array(2.0)) * (1 + 0.3 * GRID[1]) + 0.01)


def scene(shape: tuple[int, ...] = (12, 22, 20)) -> np.ndarray:
    x = np.zeros(shape)
    x[3:8, 4:9, 5:15], x[5, 12:18, 3:6], x[8:10, 10:12, 10:18] = 0.8, 1.0, 0.6
    return x


@pytest.mark.parametrize(("boundary", "mode"), [("circular", "wrap"), ("zero", "constant"), ("unknown", "constant")])
def test_the_operator_is_a_convolution_with_its_adjoint_and_norm(boundary: str, mode: str) -> None:
    x = torch.from_numpy(np.random.default_rng(0).random((1, 2, 9, 14, 12)))
    inner = (9, 14, 12) if boundary != "unknown" else (5, 10, 8)
    A = VolumeBlur(PSF, boundary, inner, dtype=torch.float64)
    expected = np.stack([convolve(channel.numpy(), PSF, mode=mode) for channel in x[0]])
    if boundary == "unknown":
        expected = expected[:, 2:-2, 2:-2, 2:-2]
    np.testing.assert_allclose(A.A(x)[0], expected, atol=1e-12)
    y = torch.randn(A.A(x).shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert float((A.A(x) * y).sum()) == pytest.approx(float((x * A.A_adjoint(y)).sum()), rel=1e-10)
    bound = norm_bound(A, x)
    assert bool(bound) and measured_norm(A, x, 60).value <= bound.value * (1 + 1e-9) <= 1 + 1e-9
    f = LeastSquares(A, y)
    u = f.prox(30.0)(x)
    assert float((u + 30.0 * f.gradient(u) - x).abs().max()) < 1e-3


def test_one_slice_is_the_operator_of_pictures() -> None:
    kernel = PSF.sum(0)
    x = torch.rand(1, 1, 1, 16, 18, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    flat = blur(kernel, "unknown", dtype=torch.float64)
    A = VolumeBlur(kernel[None], "unknown", (1, 12, 14), dtype=torch.float64)
    torch.testing.assert_close(A.A(x)[:, :, 0], flat.A(x[:, :, 0]))


def test_a_kernel_that_does_not_fit_is_refused() -> None:
    for kernel, word in [(np.ones((3, 3)), "3-D"), (np.ones((2, 3, 3)), "odd"), (np.ones((9, 3, 3)), "larger than")]:
        with pytest.raises(InputError, match=word):
            VolumeBlur(kernel, "zero", (5, 8, 8))
    with pytest.raises(InputError, match="boundary"):
        VolumeBlur(PSF, "mirror", (5, 8, 8))
    cut, said = within_frame(kernels.normalise(np.pad(PSF, 1)), (6, 9, 9))
    assert cut.shape == (5, 7, 7) and "cut from 7x7x7 to 5x7x7" in said
    with pytest.raises(InputError, match="larger than the volume"):
        within_frame(kernels.normalise(np.ones((9, 3, 3))), (5, 8, 8))


@pytest.mark.parametrize("name", ["euler-fast", "wavelet", "tv"])
def test_denoisers_of_volumes_act_on_slices_and_keep_their_proof(name: str) -> None:
    D, generator = load_denoiser(name), torch.Generator().manual_seed(0)
    x, y = torch.rand(2, 1, 1, 6, 8, 10, generator=generator)
    planes, three = Volumetric(D, "slices"), Volumetric(D, "three")
    with torch.no_grad():
        expected = torch.stack([D(x[:, :, z], 0.1) for z in range(6)], 2)
        torch.testing.assert_close(planes(x, 0.1), expected, rtol=1e-4, atol=1e-5)
        turned = three(x.transpose(2, 4), 0.1).transpose(2, 4)
        for map in (planes, three):
            assert float((map(x, 0.1) - map(y, 0.1)).norm()) <= float((x - y).norm())
    if name == "tv":  # which has no direction of its own
        torch.testing.assert_close(turned, three(x, 0.1), rtol=1e-2, atol=2e-3)
    for map in (planes, three):
        known = map.at(0.1).certificate
        assert known.averagedness == pytest.approx(D.certificate.averagedness) and known.averaged
    assert "three directions" in three.certificate.name and len(three.certificate.parts) == 3
    with pytest.raises(InputError, match="directions"):
        Volumetric(D, "two")


def test_any_number_of_channels_one_by_one() -> None:
    D = load_denoiser("euler-fast")
    x = torch.rand(2, 5, 12, 10, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        out = D.per_channel()(x, torch.tensor([0.05, 0.1]))
        torch.testing.assert_close(out[1:, 3:4], D(x[1:, 3:4], 0.1), rtol=1e-4, atol=1e-5)
    known = D.per_channel().at(0.1).certificate
    assert known.averagedness == D.certificate.averagedness and "channel by channel" in known.name
    with pytest.raises(InputError, match="B, C, H, W"):
        D.per_channel()(x[0], 0.1)


def test_a_network_without_a_proof_has_none_on_volumes() -> None:
    assert not Volumetric(load_denoiser("dncnn"), "three").certificate.proven


@pytest.mark.parametrize("directions", ["slices", "three"])
def test_a_volume_is_deblurred_by_its_point_spread_function(directions: str) -> None:
    x = gaussian_filter(scene(), 0.6)
    A = VolumeBlur(PSF, "unknown", (8, 18, 16), dtype=torch.float64)
    noise = np.random.default_rng(0).normal(0, 0.005, (8, 18, 16))
    y = A.A(torch.from_numpy(x)[None, None])[0, 0].numpy() + noise
    run = pk.deblur(y, PSF, noise_level=0.005, directions=directions, **{**QUICK, "max_steps": 12})
    truth = x[2:-2, 2:-2, 2:-2]
    before, after = (float(np.mean((v - truth) ** 2)) for v in (y, run.image))
    assert run.image.shape == y.shape and after < 0.4 * before
    assert run.guarantee and run.axes == "ZYX" and ("three directions" in run.kernel_note) == (directions == "three")
    counts, box = np.rint(1000 * y + 100), (7.0, 3 * 65535.0 + 7)
    few = pk.deblur(counts.astype(np.uint16), PSF, noise_level=5 / 65535, directions=directions, **QUICK)
    many = pk.deblur(3.0 * counts + 7, PSF, noise_level=15, directions=directions, limits=box, **QUICK)
    assert few.image.dtype == np.uint16
    np.testing.assert_allclose(3.0 * few.image + 7, many.image, atol=5)


def test_a_guided_denoiser_looks_twice_at_volumes() -> None:
    y = gaussian_filter(scene((6, 16, 16)), 1.0)
    run = pk.deblur(y, PSF, denoiser="euler-guided", noise_level=0.01, max_steps=12, tol=1e-2, boundary="zero")
    assert run.guarantee and run.guide_steps > 0


def test_blocks_cover_the_scene_once_with_all_that_they_depend_on() -> None:
    shape, reach = (20, 50, 70), (2, 3, 3)
    assert blocks_for(shape, reach, None) is None
    sides = blocks_for(shape, reach, 0.005)
    scene = tuple(n + 2 * r for n, r in zip(shape, reach, strict=True))
    assert sides is not None and sides != scene
    count = np.zeros(scene, int)
    for block in cut(shape, reach, (7, 20, 9)):
        wide = np.arange(count.size).reshape(scene)[block.wide]
        np.testing.assert_array_equal(np.arange(count.size).reshape(scene)[block.scene], wide[block.inner])
        count[block.scene] += 1
        for side, r, seen, own, around in zip(shape, reach, block.seen, block.scene, block.wide, strict=True):
            seeing = [i for i in range(side) if i < own.stop and own.start <= i + 2 * r]  # readings of the block
            assert all(i in range(side)[seen] for i in seeing) and seen.stop - seen.start >= 2 * r + 1
            assert (around.start, around.stop) == (seen.start, seen.stop + 2 * r)
    assert (count == 1).all()
    with pytest.raises(InputError, match="smallest block"):
        blocks_for(shape, reach, 0.0003)


SMALL = kernels.normalise(PSF[1:-1, 1:-1, 1:-1])


def in_blocks(volume: np.ndarray, monkeypatch: pytest.MonkeyPatch, **how: Any) -> tuple[Any, Any]:
    """Restored as a whole, and in blocks; the rough deconvolution is shorter."""
    monkeypatch.setattr("pnpkit.restoration.rough.STEPS", 4)
    whole = pk.deblur(volume, SMALL, **how)
    with monkeypatch.context() as patch:
        patch.setattr("pnpkit.restoration.volumes.blocks_for", lambda *_: (6, 14, 9))
        return whole, pk.deblur(volume, SMALL, **how)


@pytest.mark.parametrize("case", ["guided", "three", "counts", "holes", "weights"])
def test_a_volume_in_blocks_is_the_whole_to_rounding(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    y = gaussian_filter(scene((6, 12, 14)), 0.6)[:5] + rng.normal(0, 0.05, (5, 12, 14))
    how: dict[str, Any] = {"denoiser": "identity", "max_steps": 3, "noise_level": 0.05, "precision": "float64"}
    if case in ("guided", "three"):
        how |= {"denoiser": "euler-guided" if case == "guided" else "euler-fast", "directions": "slices"}
        how |= {"tol": 0.05, "max_steps": 6} if case == "guided" else {"directions": "three", "max_steps": 1}
        del how["precision"]  # of the network
    if case == "counts":
        y = rng.poisson(50 * np.maximum(y, 0) + 5).astype(np.float32)
        how |= {"noise": "poisson", "gain": 1.0, "offset": 5.0, "noise_level": None}
    if case == "holes":
        y[2:4, 3:8, 5:9], how = np.nan, how | {"method": "picard", "amount": 0.5}
    if case == "weights":
        how |= {"weights": rng.random(y.shape) + 0.5, "noise_level": None, "axes": "ZYX"}
    whole, parts = in_blocks(y, monkeypatch, **how)
    off, change = (np.sqrt(np.nanmean((a - b) ** 2)) for a, b in ((parts.image, whole.image), (whole.image, y)))
    assert off < (1e-9 if "precision" in how and case != "counts" else 1e-4) * change
    assert "in 4 blocks of 6x14x9" in parts.kernel_note and parts.steps == whole.steps
    np.testing.assert_allclose(parts.residuals, whole.residuals, rtol=1e-2)
    assert parts.guarantee and parts.guarantee == whole.guarantee and parts.guide_steps == whole.guide_steps
    assert (parts.guide_steps > 0) == (case == "guided") and parts.data.unknown == whole.data.unknown
    if case == "counts":
        assert parts.data.flux == pytest.approx(whole.data.flux, rel=1e-5)
    if case == "holes":
        np.testing.assert_allclose(parts.bounds, whole.bounds, rtol=1e-6)


def test_what_a_volume_in_blocks_cannot_have_is_said() -> None:
    y, small = gaussian_filter(scene(), 1.0), 2e5 / 2**30
    refused: list[tuple[str, dict[str, Any]]] = [
        ("blocks, and these have the boundary unknown, got `boundary=zero`", {"boundary": "zero"}),
        ("the method picard or anderson", {"method": "halpern"}),
        ("splitting continuation is for what fits", {"splitting": "continuation"}),
        ("strength sure is for what fits", {"strength": "sure"}),
    ]
    for words, how in refused:
        with pytest.raises(InputError, match=words):
            pk.deblur(y, SMALL, noise_level=0.01, denoiser="euler-fast", max_memory=small, **how)


def test_a_run_in_blocks_that_was_stopped_goes_on_to_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pnpkit.restoration.rough.STEPS", 2)
    monkeypatch.setattr("pnpkit.restoration.volumes.blocks_for", lambda *_: (6, 14, 9))
    y = gaussian_filter(np.random.default_rng(0).random((4, 12, 16)), 1.0)
    quick: dict[str, Any] = {"denoiser": "identity", "max_steps": 4, "noise_level": 0.05}
    exact = pk.deblur(y, SMALL, **quick)
    ends = ["start 2 of 2", "step 2, data 7", "step 3, denoising"]

    def stopping(name: str) -> None:
        if name == ends[0]:
            raise KeyboardInterrupt

    while ends:
        with pytest.raises(KeyboardInterrupt), telling(stopping), keeping(tmp_path):
            pk.deblur(y, SMALL, **quick)
        with (next(tmp_path.iterdir()) / "journal").open("ab") as journal:
            journal.write(b"0x1.8p+1 0x")  # a line that the kill cut
        ends.pop(0)
    (words,) = stopped(tmp_path)
    assert "MiB) is of a run that was stopped on" in words and "remove the folder" in words
    with keeping(tmp_path):
        pk.deblur(y + 1e-9, SMALL, **quick)  # another volume has a folder of its own
        assert len(list(tmp_path.iterdir())) == 2 and len(stopped(tmp_path)) == 1  # and works in it
        assert len(list(tmp_path.glob("*/*.raw"))) > 10
        with pytest.raises(InputError, match="another process restores the same volume"), keeping(tmp_path):
            pk.deblur(y + 1e-9, SMALL, **quick)
    assert len(list(tmp_path.iterdir())) == 1
    with keeping(tmp_path):
        run = pk.deblur(y, SMALL, **quick)
        assert len(list(tmp_path.glob("*/*.raw"))) == 2  # what it takes to do the same again
        again = pk.deblur(y, SMALL, **quick)
    np.testing.assert_array_equal(again.image, exact.image)
    assert list(tmp_path.iterdir()) == [] and stopped(tmp_path) == []
    np.testing.assert_array_equal(run.image, exact.image)
    assert "are of a run that was stopped" in run.kernel_note and "stopped" not in exact.kernel_note
    assert (run.status, run.steps, run.residuals) == (exact.status, exact.steps, exact.residuals)


def test_a_full_disk_is_said_and_leaves_nothing_but_work_that_was_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pnpkit.restoration.volumes.blocks_for", lambda *_: (6, 14, 9))
    y, room = gaussian_filter(np.random.default_rng(0).random((4, 12, 16)), 1.0), disk_usage(tmp_path)
    quick: dict[str, Any] = {"denoiser": "identity", "max_steps": 1, "noise_level": 0.05}
    with monkeypatch.context() as small:
        small.setattr("pnpkit.restoration.streamed.shutil.disk_usage", lambda _: room._replace(free=9000))
        with pytest.raises(InputError, match=r"there are 8.4e-06: choose an output"), keeping(tmp_path):
            pk.deblur(y, SMALL, **quick)
    assert list(tmp_path.iterdir()) == []

    def full(file: int, low: int, size: int) -> None:
        if len(list(tmp_path.glob("*/*.raw"))) > 2:
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as later:
        later.setattr("os.posix_fallocate", full, raising=False)
        with pytest.raises(InputError, match="Make room and give the same command again"), keeping(tmp_path):
            pk.deblur(y, SMALL, **quick)
    assert len(stopped(tmp_path)) == 1
    with keeping(tmp_path):
        assert "are of a run that was stopped" in pk.deblur(y, SMALL, **quick).kernel_note


def test_counts_in_the_byte_order_of_fits_are_restored_as_others_are() -> None:
    counts = np.random.default_rng(0).poisson(np.linspace(20, 200, 12), (6, 12, 12)).astype(np.float32)
    how: dict[str, Any] = {"axes": "ZYX", "denoiser": "identity", "max_steps": 1, "noise": "poisson", "gain": 1.0}
    native, other = (pk.deblur(y, np.full((3, 3, 3), 1 / 27), **how).image for y in (counts, counts.astype(">f4")))
    np.testing.assert_array_equal(other, native)


def test_noise_that_deskewing_has_averaged_is_found_where_it_is_left() -> None:
    white = 5 * np.random.default_rng(0).standard_normal((16, 48, 49)) + 200
    share = np.linspace(0, 1, 16)[:, None, None]
    deskewed = (1 - share) * white[..., :-1] + share * white[..., 1:]  # coarse details keep all of their noise
    deskewed[8:, :, 24:] = 200.0  # outside of what was seen
    empty = constant_parts(deskewed)
    assert empty is not None
    both, axes, coarse = noise_of(deskewed, ~empty)
    assert 4.3 < both < 5.7 and axes == (0,) and 1.2 < coarse < 2
    level, axes, coarse = noise_of(white, None)
    assert level == pytest.approx(5, rel=0.05) and axes == (0, 1) and coarse == 1
    few = np.random.default_rng(0).poisson(0.02, (4, 40, 40))
    assert constant_parts(few) is None and constant_parts(white) is None and constant_parts(white[:, :5]) is None
    few[:, :, 20:] = 0
    few[:, :, :20] += 100  # 0 is far below: nothing was seen there
    nothing = constant_parts(few)
    assert nothing is not None and nothing[:, 5:-5, 25:].all() and not nothing[:, :, :20].any()
    y = np.random.default_rng(1).poisson(np.linspace(20, 200, 48), (8, 48, 48)).astype(float)
    found = surveyed(y, Settings(denoiser="identity"))
    assert isinstance(found.model, PoissonGaussian) and found.model.gain == pytest.approx(1, rel=0.3)


def test_weights_of_a_volume_are_those_of_its_readings() -> None:
    y = gaussian_filter(scene((6, 14, 16)), 1.0) + np.random.default_rng(0).normal(0, 0.02, (6, 14, 16))
    quick: dict[str, Any] = {"denoiser": "identity", "max_steps": 4}
    even = pk.deblur(y, PSF, noise_level=0.02, **quick)
    same = pk.deblur(y, PSF, weights=np.full((14, 16), 0.02**2), weights_are="variance", axes="ZYX", **quick)
    np.testing.assert_allclose(same.image, even.image, atol=1e-4)
    assert same.noise_level == pytest.approx(0.02) and "given" in str(same.data)
    worth = np.ones_like(y)
    worth[2:4, 5:9, 5:9] = 0
    lost = np.where(worth > 0, y, np.nan)
    holes = [pk.deblur(v, PSF, weights=worth, axes="ZYX", **quick).image for v in (y, np.nan_to_num(lost, nan=9.0))]
    assert np.isfinite(holes[1]).all() and float(np.abs(holes[1]).max()) < 3
    with pytest.raises(InputError, match="the weights are 3 x 14 x 16, the stack 6 x 14 x 16"):
        pk.deblur(y, PSF, weights=worth[:3], **quick)
    with pytest.raises(InputError, match="leave out `gain`"):
        pk.deblur(y, PSF, weights=worth, gain=1.0, **quick)


def test_axes_say_what_is_restored_by_itself() -> None:
    y = np.stack([gaussian_filter(scene(), 1.0), 0.5 * gaussian_filter(scene(), 1.3)]).astype(np.float32)
    quick: dict[str, Any] = {"denoiser": "identity", "max_steps": 4}
    both = pk.deblur(y, [PSF, PSF[1:-1]], axes="CZYX", boundary="zero", **quick)
    alone = pk.deblur(y[1], PSF[1:-1], boundary="zero", **quick)
    np.testing.assert_allclose(both.image[1], alone.image, atol=1e-6)
    assert len(both.each) == 2 and both.axes == "CZYX"
    flat = pk.deblur(y[0, 4:6], PSF.sum(0), axes="ZYX", **quick)
    one = pk.deblur(y[0, 5], PSF.sum(0), **quick)
    np.testing.assert_allclose(flat.image[1], one.image, atol=1e-6)
    assert "slice by slice" in flat.kernel_note and len(flat.each) == 2


def test_what_cannot_be_restored_is_one_sentence() -> None:
    y, flat = gaussian_filter(scene(), 1.0), PSF.sum(0)
    refused: list[tuple[str, Any, Any, dict[str, Any]]] = [
        ("letters of TCZYX", y, PSF, {"axes": "QYX"}),
        ("letters of TCZYX", y, PSF, {"axes": "XYZ"}),
        ("which has 3", y, PSF, {"axes": "CZYX"}),
        ("needs an axis Z", y, PSF, {"axes": "TYX"}),
        ("larger than the volume", y[:3], kernels.normalise(np.ones((9, 3, 3))), {}),
        ("one for each of 1 channels", y, [PSF, PSF], {}),
        ("some without", y[None].repeat(2, 0), [PSF, flat], {"axes": "CZYX"}),
        ("is not estimated", y, "auto", {"axes": "ZYX"}),
        ("with numbers in it", y * np.nan, PSF, {}),
        ("directions are for volumes", y[0], flat, {"directions": "three"}),
        ("directions are", y, PSF, {"directions": "two"}),
        ("photographs", y, PSF, {"linear": True}),
    ]
    for words, image, kernel, more in refused:
        with pytest.raises(InputError, match=words) as caught:
            pk.deblur(image, kernel, **{**QUICK, **more})
        assert "\n" not in str(caught.value)


def test_blocks_in_which_nothing_is_known_do_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    volume = np.random.default_rng(0).random((5, 12, 40))
    volume[..., :24] = np.nan  # as in the corners of a stack that was deskewed
    whole, parts = in_blocks(volume, monkeypatch, denoiser="wavelet", max_steps=1)
    np.testing.assert_allclose(parts.image, whole.image, atol=1e-5)
    assert parts.guarantee and np.isfinite(parts.image).all()
