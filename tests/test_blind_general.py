"""A free-form blur is found, told from named blurs and from none, and its parts obey their equations."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image, PngImagePlugin
from scipy import ndimage, signal

from pnpkit import kernels
from pnpkit.blind import choose, crops, general, latent, parametric
from pnpkit.blind.choose import likeliest_kernel
from pnpkit.blind.parametric import below, hardly_blurred, measure, misfit
from pnpkit.blind.trust import without
from pnpkit.command.cli import program
from pnpkit.errors import InputError
from pnpkit.images import files
from pnpkit.images.picture import Picture
from pnpkit.restoration import blur_kernel, deblur, simulate


def shake() -> np.ndarray:
    """A curved path of 13 x 13 pixels with a stop at its end."""
    kernel = np.zeros((13, 13))
    t = np.linspace(0, 1, 400)
    np.add.at(kernel, (np.round(2 + 8 * t**2).astype(int), np.round(1 + 9 * np.sin(1.8 * t)).astype(int)), 1.0)
    kernel[10, 10] += 60
    return kernels.normalise(ndimage.gaussian_filter(kernel, 0.5))


def photograph() -> np.ndarray:
    return skimage.data.camera()[40:240, 120:330] / 255


def blurred(noise: float = 0.003) -> np.ndarray:
    clean = signal.fftconvolve(photograph(), shake(), "valid")
    return clean + noise * np.random.default_rng(0).standard_normal(clean.shape)


def test_a_shake_is_recovered_from_edges() -> None:
    found = general.descend(blurred(), general.Search(size=19))
    assert found.min() >= 0 and found.sum() == pytest.approx(1)
    assert general.likeness(found, shake()) > 0.85
    delta, gaussian = np.pad([[1.0]], 6), kernels.gaussian(2)
    assert general.likeness(delta, shake()) < 0.7 and general.likeness(gaussian, shake()) < 0.85


def test_a_shake_is_recovered_beside_what_is_left_out() -> None:
    """Lamps that saturate, and a block of nonsense: without trust in them, the kernel is nearly that of the whole."""
    y, trust = blurred(), np.ones(blurred().shape)
    ruined = y.copy()
    for row, column in ((20, 40), (90, 150), (120, 60)):
        ruined[row - 4 : row + 5, column - 9 : column + 10] = 1.0
        trust[row - 6 : row + 7, column - 11 : column + 12] = 0
    ruined[140:180, 90:140] = np.random.default_rng(1).random((40, 50))
    trust[139:181, 89:141] = 0
    search = general.Search(size=19)
    found = general.descend(without(ruined, trust), search, trust)
    assert general.likeness(found, shake()) > 0.85
    assert general.likeness(general.descend(ruined, search), shake()) < 0.8


def test_trust_weighs_the_equations_of_a_kernel() -> None:
    """Where one half of a picture is noisier by far, its equations count for less."""
    random, true = np.random.default_rng(0), kernels.gaussian(0.5)
    u = ndimage.gaussian_filter(random.random((64, 96)), 1)
    y = ndimage.convolve(u, true, mode="wrap")
    noise = np.where(np.arange(96) < 48, 0.001, 0.1)
    noisy, start = y + noise * random.standard_normal(y.shape), np.full((5, 5), 0.04)

    def wrong(trust: np.ndarray | None) -> float:
        found = general.kernel_of_edges(u, noisy, start, 0.0, 1e-3, steps=300, trust=trust)
        return float(np.abs(found - true).sum())

    assert wrong(np.broadcast_to(0.001 / noise, y.shape)) < 0.5 * wrong(None)


def test_the_choice_is_free_form_for_a_shake(monkeypatch: pytest.MonkeyPatch) -> None:
    rest = (general.estimate_general.__defaults__ or ())[1:]
    monkeypatch.setattr(general.estimate_general, "__defaults__", ((15, 19), *rest))
    estimate = likeliest_kernel(blurred(), 0.003)
    assert estimate.spec == "free-form" and estimate.confidence > 0.7
    assert general.likeness(estimate.kernel, shake()) > 0.85
    assert estimate.candidates[0] == ("free-form", 0.0) and all(score < 0 for _, score in estimate.candidates[1:])
    kernel = blur_kernel.kernel_of(estimate)
    assert "free form" in str(kernel) and "ESTIMATED" in str(kernel)


def test_what_is_judged_are_the_frequencies_that_compression_leaves() -> None:
    spectrum = measure(blurred(), 0.003)
    part = below(spectrum, 0.35)
    rows, columns = np.fft.fftfreq(part.block)[:, None], np.fft.rfftfreq(part.block)[None, :]
    assert np.hypot(rows, columns)[part.used].max() <= 0.35 < np.hypot(rows, columns)[spectrum.used].max()
    assert len(part.log_power) == len(part.design) == part.used.sum() < len(spectrum.log_power)
    np.testing.assert_array_equal(below(spectrum, 1.0).log_power, spectrum.log_power)
    high = replace(spectrum, log_power=np.where(part.used[spectrum.used], spectrum.log_power, -30.0))
    assert misfit(below(high, 0.35), shake())[0] == misfit(part, shake())[0] < misfit(high, shake())[0]


def test_named_blurs_keep_their_names_and_cost_no_search(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("a free form was searched")

    monkeypatch.setattr(choose, "estimate_general", never)
    noisy = 0.005 * np.random.default_rng(1).standard_normal(photograph().shape)
    out_of_focus = ndimage.convolve(photograph(), kernels.disk(3.5)) + noisy
    estimate = likeliest_kernel(out_of_focus, 0.005)
    family, _, radius = estimate.spec.partition(":")
    assert family == "disk" and float(radius) == pytest.approx(3.5, rel=0.05)
    sharp = likeliest_kernel(photograph() + noisy, 0.005)
    assert sharp.spec == "sharp" and sharp.kernel.shape == (1, 1)


@pytest.mark.parametrize(
    "over_named, over_none, spec, rival, confidence",
    [
        (7.0, 9.5, "free-form", None, 0.9),
        (4.0, 25.0, "free-form", None, 0.9),
        (0.5, 25.0, "named", None, 0.3),
        (1.0, 1.9, "sharp", "free-form", choose.UNSURE * 0.1 / 6),
        (1.0, -3.9, "sharp", "free-form", choose.UNSURE * 5.9 / 6),
        (1.0, -4.1, "sharp", None, 0.7),
        (-1.0, 0.5, "sharp", "named", choose.UNSURE * 1.5 / 6),
    ],
)
def test_a_named_blur_explains_more_than_none_and_a_free_form_more_than_both(
    over_named: float,
    over_none: float,
    spec: str,
    rival: str | None,
    confidence: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The free form's misfit is smaller by so much than that of the named blur, and than that of none."""
    gaussian = kernels.gaussian(0.7)
    named = parametric.KernelEstimate(gaussian, "named", 0.3, (("named", 0.0),))
    misfits = {1: 50.0, len(gaussian): 50.0 - over_none + over_named, len(shake()): 50.0 - over_none}
    monkeypatch.setattr(choose, "hardly_blurred", lambda spec: False)
    monkeypatch.setattr(choose, "estimate_parametric", lambda *_, **__: named)
    monkeypatch.setattr(choose, "estimate_general", lambda *_, **__: general.FreeForm(shake(), 0.9, choose.USUAL))
    monkeypatch.setattr(choose, "misfit", lambda _, kernel: (misfits[len(kernel)], 0.4))
    estimate = likeliest_kernel(photograph(), 0.01)
    assert estimate.spec == spec and estimate.confidence == pytest.approx(confidence)
    assert (None if estimate.rival is None else estimate.rival.spec) == rival
    assert max(score for _, score in estimate.candidates) == 0.0
    if over_none < -4:  # the named blur at 0.8 leaves 0.2 for none
        monkeypatch.setattr(choose, "estimate_parametric", lambda *_, **__: replace(named, confidence=0.8))
        doubtful = likeliest_kernel(photograph(), 0.01)
        assert doubtful.confidence == pytest.approx(0.2) and doubtful.rival is not None
    sparser = general.FreeForm(shake(), 0.9, choose.USUAL + 1)
    monkeypatch.setattr(choose, "estimate_general", lambda *_, **__: sparser)
    assert likeliest_kernel(photograph(), 0.01).spec == ("named" if spec == "named" else "free-form")


def test_a_blur_that_only_what_compression_emptied_tells_of_is_none() -> None:
    """Frequencies above 0.35 cycles per pixel at the noise level: as a JPEG leaves them, and as a Gaussian would."""
    sharp = photograph()
    f = np.hypot(np.fft.fftfreq(sharp.shape[0])[:, None], np.fft.rfftfreq(sharp.shape[1]))
    emptied = np.fft.irfft2(np.fft.rfft2(sharp) * np.exp(-((f.clip(0.35) - 0.35) ** 2) / 0.003), sharp.shape)
    noisy = emptied + 0.005 * np.random.default_rng(0).standard_normal(sharp.shape)
    assert not hardly_blurred(parametric.estimate_parametric(noisy, 0.005).spec)
    assert likeliest_kernel(noisy, 0.005).spec == "sharp"


def test_blurs_that_sharp_texture_looks_like_count_as_none() -> None:
    assert hardly_blurred("sharp") and hardly_blurred("gaussian:0.63")
    assert not hardly_blurred("gaussian:0.7") and not hardly_blurred("disk:1.3")


def test_a_sharp_picture_loses_less_than_half_a_decibel() -> None:
    from pnpkit.images.metrics import psnr

    sharp = skimage.data.chelsea()[40:136, 60:156] / 255
    noisy = sharp + 0.01 * np.random.default_rng(0).standard_normal(sharp.shape)
    run = deblur.deblur(noisy, max_steps=8)
    assert "sharp" in run.kernel_note and "no blur" in run.kernel_note
    assert psnr(np.asarray(run.image), sharp) > psnr(noisy, sharp) - 0.5


def test_the_kernel_step_finds_the_kernel_that_made_the_data() -> None:
    u = np.random.default_rng(0).random((40, 45))
    true = general.clean(np.random.default_rng(1).random((5, 5)), 0.0, 0.2)
    gain = latent.transfer(true, u.shape)
    y = np.fft.irfft2(np.fft.rfft2(u) * gain, s=u.shape)
    found = general.kernel_of_edges(u, y, np.full((5, 5), 0.04), 0.0, 0.0, steps=400)
    np.testing.assert_allclose(found, true, atol=1e-4)


def test_clean_removes_islands_and_centring_centres() -> None:
    kernel = np.zeros((9, 9))
    kernel[1:4, 1:4], kernel[8, 8] = 1.0, 0.5
    cleaned = general.clean(kernel, 0.1, 0.05)
    assert cleaned[8, 8] == 0 and cleaned.sum() == pytest.approx(1)
    middle = general.centred(cleaned)
    assert ndimage.center_of_mass(middle) == pytest.approx((4, 4))
    assert general.trimmed(middle).shape == (3, 3)


def test_the_extension_is_harmonic_and_keeps_the_picture() -> None:
    y = np.random.default_rng(0).random((20, 31))
    whole = latent.periodic(y, 6)
    np.testing.assert_array_equal(whole[:20, :31], y)
    mean = sum(np.roll(whole, shift, axis) for axis in (0, 1) for shift in (-1, 1)) / 4
    outside = np.ones(whole.shape, bool)
    outside[:20, :31] = False
    assert outside.sum() > 20 * 6
    np.testing.assert_allclose(whole[outside], mean[outside], atol=1e-12)


def test_both_deconvolutions_undo_a_known_blur() -> None:
    y = blurred(0.002)
    whole = latent.periodic(y, 16)
    reference = photograph()[6:-6, 6:-6]
    before = np.square(y - reference).mean()
    for method, weight in ((latent.sparse_gradients, 5e-4), (latent.few_edges, 5e-4)):
        after = np.square(method(whole, shake(), weight)[: y.shape[0], : y.shape[1]] - reference)[20:-20, 20:-20].mean()
        assert after < before / 2


@pytest.mark.parametrize("judged, side", [((10.1, 10.0, 12.0), 3), ((11.0, 10.2, 10.1), 5), ((12.0, 11.0, 10.0), 7)])
def test_a_larger_support_must_explain_more(
    judged: tuple[float, ...], side: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = dict(zip((3, 5, 7), judged, strict=True))
    monkeypatch.setattr(general, "descend", lambda y, search, *_: np.full((search.size,) * 2, 1 / search.size**2))
    monkeypatch.setattr(general, "sparsity", lambda y, kernel, *_: values.get(len(kernel), 20.0))
    found = general.estimate_general(np.zeros((40, 50)), sizes=(7, 3, 5))
    assert found.kernel.shape == (side, side) and 0 < found.agreement < 1
    assert found.sparser == pytest.approx(np.log(20.0 / values[side]))
    other = 3 if side > 3 else 7
    found = general.estimate_general(
        np.zeros((40, 50)), (7, 3, 5), misfit=lambda kernel: -30.0 * (len(kernel) == other)
    )
    assert found.kernel.shape == (other, other), "a misfit that is smaller by 30 counts for more"


def test_too_small_a_picture_is_refused() -> None:
    with pytest.raises(InputError, match="at least 32x32"):
        general.estimate_general(np.zeros((20, 50)))
    with pytest.raises(InputError, match="larger picture"):
        general.descend(np.zeros((20, 50)), general.Search(size=27))


def test_the_command_writes_a_kernel(tmp_path, capsys: pytest.CaptureFixture[str]) -> None:  # type: ignore[no-untyped-def]
    picture = np.round(255 * np.clip(simulate.simulate(photograph(), "gaussian:2", 0.004), 0, 1)).astype(np.uint8)
    files.write(tmp_path / "in.png", Picture(picture / 255))
    out = tmp_path / "k.npy"
    assert program.main(["estimate-kernel", str(tmp_path / "in.png"), "-o", str(out)], standalone_mode=False) == 0
    assert "ESTIMATED from the picture as gaussian" in capsys.readouterr().out
    assert kernels.load(out).sum() == pytest.approx(1) and kernels.estimated(str(out)) is None
    with pytest.raises(InputError, match="exists"):
        program.main(["estimate-kernel", str(tmp_path / "in.png"), "-o", str(out)], standalone_mode=False)
    with pytest.raises(InputError, match="written as"):
        program.main(["estimate-kernel", str(tmp_path / "in.png"), "-o", "k.jpg"], standalone_mode=False)


def test_a_saved_estimate_is_still_an_estimate(tmp_path) -> None:  # type: ignore[no-untyped-def]
    """It is not called given; any other text under its key is no estimate."""
    weights, y = kernels.gaussian(1.2), torch.zeros(1, 1, 9, 9)
    place = str(tmp_path / "kernel.png")
    for form, confidence in (("free-form", 0.42), ("motion:15,30", 0.9), ("gaussian:1.2", 0.3)):
        kernels.save(place, weights, (form, confidence))
        kernel = blur_kernel.open_kernel(place, y, 0.01)
        assert (kernel.form, kernel.confidence) == (form, confidence) and bool(kernel) == (confidence >= 0.5)
        assert str(kernel).startswith(f"{place}: ESTIMATED") and f"{confidence:.2f}" in str(kernel)
        assert np.array_equal(kernel, kernels.load(place))
        stack = blur_kernel.given_kernel(place)  # that of a stack, which is not estimated from its slices
        assert (stack.form, stack.confidence, str(stack)) == (form, confidence, str(kernel))
    for text in ("", "free-form", "free-form high", "\x00"):
        kernels.save(place, weights)
        with Image.open(place) as image:
            about = PngImagePlugin.PngInfo()
            about.add_text(kernels.ESTIMATE, text)
            image.save(place, pnginfo=about)
        kernel = blur_kernel.open_kernel(place, y, 0.01)
        assert str(kernel) == f"given: {place}" and kernel.confidence is None and kernel
    assert kernels.estimated("gaussian:2") is None


def test_a_free_form_is_found_where_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    searched: list[np.ndarray] = []

    def search(image: np.ndarray, **_: object) -> general.FreeForm:
        searched.append(image)
        return general.FreeForm(shake(), 0.6)

    monkeypatch.setattr(choose, "estimate_general", search)
    found = choose.estimate(blurred(), 0.003, "free")
    assert (found.spec, found.confidence, len(searched)) == ("free-form", 0.6, 1)
    assert np.array_equal(found.kernel, shake())
    assert choose.estimate(np.zeros((64, 64)), 0.003, "free").spec == "sharp" and len(searched) == 1


def test_the_most_telling_part_has_edges_in_all_directions() -> None:
    rng = np.random.default_rng(0)
    picture = np.full((640, 900), 0.5) + 0.001 * rng.standard_normal((640, 900))
    picture[:200, :400] += 0.3 * (np.arange(200)[:, None] // 20 % 2)  # edges of one direction
    picture[400:600, 600:860] = np.kron(rng.random((10, 13)), np.ones((20, 20)))
    picture[20:180, 500:880] = np.kron(rng.random((8, 19)) > 0.5, np.ones((20, 20)))  # black and white: cut off
    rows, columns = crops.telling(picture, 256)
    assert rows.start <= 400 and rows.stop >= 600 and columns.start <= 620 and columns.stop >= 840
    assert rows.stop - rows.start == columns.stop - columns.start == 256
    assert crops.telling(picture, 900) == (slice(0, 640), slice(0, 900))
    rows, columns = crops.telling(np.full((600, 500), 0.2), 256)
    assert abs(rows.start + 128 - 300) <= 24 and abs(columns.start + 128 - 250) <= 24


@pytest.mark.parametrize("confidence", [0.01, 0.3])
def test_a_named_blur_without_confidence_is_a_candidate_only(
    confidence: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    clean = signal.fftconvolve(photograph(), kernels.motion(9, 30), "valid")
    picture = clean + 0.005 * np.random.default_rng(0).standard_normal(clean.shape)
    named = replace(parametric.estimate_parametric(picture, 0.005), confidence=confidence)
    free = SimpleNamespace(kernel=np.ones((1, 1)), agreement=0.5, sparser=0.0)
    monkeypatch.setattr(choose, "estimate_parametric", lambda *_, **__: named)
    monkeypatch.setattr(choose, "estimate_general", lambda *_, **__: free)
    found = likeliest_kernel(picture, 0.005)
    if confidence < choose.DOUBTED:
        assert found.spec == "sharp" and found.rival is not None and found.rival.spec == named.spec
        assert 0 <= found.confidence <= choose.UNSURE
    else:
        assert found.spec == named.spec
