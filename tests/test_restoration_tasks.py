"""Image in, image out: types kept, blurs removed, bad input refused."""

from __future__ import annotations

import catalogue
import numpy as np
import pytest
import skimage.data
import torch

import pnpkit
from pnpkit import kernels
from pnpkit.errors import InputError, PnpError
from pnpkit.images.metrics import psnr
from pnpkit.restoration import denoise, simulate
from pnpkit.restoration.defaults import KERNEL_ERROR
from pnpkit.solvers.result import Status

KERNEL = kernels.motion(5, 30)


def photograph() -> np.ndarray:
    return skimage.data.chelsea()[100:156, 130:194] / 255


@pytest.fixture(scope="module")
def network() -> pnpkit.registry.Network:  # type: ignore[name-defined]
    return pnpkit.load_denoiser("euler")


@pytest.mark.parametrize("boundary", ["unknown", "circular", "zero"])
def test_deblurring_gains_and_is_proven(boundary: str, network: object) -> None:
    sharp = photograph()
    blurred = simulate.simulate(sharp, KERNEL, 0.01, boundary=boundary)
    reference = sharp if boundary != "unknown" else sharp[1:-1, 2:-2]
    run = pnpkit.deblur(blurred, KERNEL, denoiser=network, noise_level=0.01, boundary=boundary, max_steps=40)
    assert psnr(run.image, reference) > psnr(blurred, reference) + 2.5
    assert run.certificate.averaged and run.guarantee
    assert run.L == pytest.approx(1) and run.splitting == "continuation" and "any tau > 0" in run.step_note
    assert run.image.shape == blurred.shape and run.image.dtype == blurred.dtype
    assert all(b <= a * (1 + 1e-3) for a, b in zip(run.residuals, run.residuals[1:], strict=False))


def test_dncnn_restores_and_claims_nothing() -> None:
    blurred = simulate.simulate(photograph(), KERNEL, 0.01)
    run = pnpkit.deblur(blurred, KERNEL, denoiser="dncnn", max_steps=3)
    assert not run.guarantee and run.certificate.averagedness is None


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64])
@pytest.mark.parametrize("grey", [True, False])
def test_type_and_shape_come_back(dtype: type, grey: bool, network: object) -> None:
    sharp = photograph()[:24, :20]
    sharp = sharp.mean(-1) if grey else sharp
    image = (sharp * (np.iinfo(dtype).max if np.issubdtype(dtype, np.integer) else 1)).astype(dtype)
    for run in (
        pnpkit.deblur(image, "gaussian:1", denoiser=network, max_steps=2),
        pnpkit.denoise(image, 0.05, denoiser=network),
    ):
        assert run.image.dtype == dtype and run.image.shape == image.shape


def test_tensors_come_back_as_tensors(network: object) -> None:
    x = torch.rand(2, 3, 16, 18, dtype=torch.float64)
    run = pnpkit.deblur(x, KERNEL, denoiser=network, noise_level=0.02, max_steps=2)
    assert isinstance(run.image, torch.Tensor) and run.image.dtype == x.dtype and run.image.shape == x.shape


def test_denoising_gains_and_estimates_the_level(network: object) -> None:
    sharp = skimage.data.chelsea()[60:188, 100:228] / 255
    noisy = sharp + 0.06 * np.random.default_rng(0).standard_normal(sharp.shape)
    run = pnpkit.denoise(noisy, denoiser=network)
    assert run.noise_level == pytest.approx(0.06, rel=0.15) and run.strength == run.noise_level
    assert psnr(run.image, sharp) > psnr(noisy, sharp) + 5
    assert run.guarantee.theorem is not None and run.guarantee.theorem.name == denoise.CHOSEN + denoise.STORED
    for given in ({"strength": 0.06}, {"noise_level": 0.06}):
        theorem = pnpkit.denoise(noisy, denoiser=network, **given).guarantee.theorem
        assert theorem is not None and theorem.name == denoise.STORED


def test_strength_and_tau_follow_the_rules(network: object) -> None:
    def settings(**options: object) -> tuple[float, float]:
        run = pnpkit.deblur(photograph(), KERNEL, max_steps=1, **{"denoiser": network, "noise_level": 0.02, **options})  # type: ignore[arg-type]
        assert run.tau is not None
        return run.tau, run.strength

    low, high = np.quantile(photograph(), (0.001, 0.999))
    span = high - low  # the rules speak of the picture's own scale
    tau, strength = settings()
    assert strength == pytest.approx(7 / 255 * span)
    assert tau == pytest.approx((7 / 255 / (0.5 * 0.02 / span)) ** 2)
    assert settings(noise_level=0.0) == pytest.approx(settings(noise_level=KERNEL_ERROR * span)), "no kernel is exact"
    assert settings(tau=4.0) == (4.0, pytest.approx(0.5 * 2 * 0.02))
    assert settings(strength=0.03) == (tau, pytest.approx(0.03))
    assert settings(noise_level=0.1) == (1.0, pytest.approx(0.05)), "where noise is strong the strength grows"
    forward = {"splitting": "forward-backward"}
    assert settings(**forward) == (pytest.approx(1.9), pytest.approx(6.5 * (0.02 / span) ** (5 / 3) * span))
    assert settings(denoiser="dncnn", **forward) == (pytest.approx(1.9), pytest.approx(0.02 * 1.9**0.5))
    assert settings(tau=1.0, **forward)[0] == 1.0
    assert settings(method="fista")[0] == pytest.approx(1.9), "fista accelerates forward-backward splitting"


def test_the_rule_says_what_it_followed(network: object) -> None:
    for noise, words in ((0.001, "taken for noise of 0.0078"), (0.02, "follows the noise")):
        run = pnpkit.deblur(photograph(), KERNEL, denoiser=network, noise_level=noise, max_steps=1)
        assert words in run.strength_note


def test_each_splitting_restores_better_than_the_next(network: object) -> None:
    sharp = skimage.data.chelsea()[80:144, 110:190] / 255
    kernel = kernels.motion(9, 30)
    blurred = simulate.simulate(sharp, kernel, 0.01, boundary="circular")
    scores = {}
    for splitting in ("continuation", "half-quadratic", "forward-backward"):
        run = pnpkit.deblur(
            blurred, kernel, denoiser=network, noise_level=0.01, boundary="circular", splitting=splitting, tol=1e-3
        )
        assert run.status is Status.CONVERGED and run.certificate.averaged and run.splitting == splitting
        scores[splitting] = psnr(run.image, sharp)
    assert scores["continuation"] > scores["half-quadratic"] + 0.05 > scores["forward-backward"] + 0.6


def test_without_a_blur_the_denoiser_is_not_asked_for_more_than_the_noise(network: object) -> None:
    sharp = photograph()
    run = pnpkit.deblur(sharp, np.ones((1, 1)), denoiser=network, noise_level=0.002)
    assert run.splitting == "forward-backward" and psnr(run.image, sharp) > 45


def test_an_estimated_kernel_is_called_an_estimate(network: object) -> None:
    blurred = simulate.simulate(skimage.data.chelsea()[40:240, 60:300] / 255, "gaussian:2", 0.004)
    run = pnpkit.deblur(blurred, denoiser=network, max_steps=1)
    assert "ESTIMATED" in run.kernel_note and "gaussian" in run.kernel_note


def test_seeded_simulation_is_exact() -> None:
    one, two = (simulate.simulate(photograph(), KERNEL, 0.02, seed=3) for _ in range(2))
    np.testing.assert_array_equal(one, two)
    assert one.shape == (56 - 2, 64 - 4, 3)
    clean = simulate.simulate(photograph(), KERNEL, 0.0, boundary="circular")
    noise = simulate.simulate(photograph(), KERNEL, 0.02, boundary="circular", seed=3) - clean
    assert noise.std() == pytest.approx(0.02, rel=0.05)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kernel": "gausian:2"}, "gaussian"),
        ({"kernel": np.ones((99, 99))}, "larger than the image"),
        ({"kernel": np.zeros((3, 3))}, "zero"),
        ({"boundary": "reflect"}, "unknown boundary 'reflect'"),
        ({"method": "newton"}, "unknown method"),
        ({"denoiser": "eulr"}, "did you mean 'euler'"),
        ({"device": "gpu"}, "unknown device"),
        ({"noise_level": -0.1}, "noise level"),
        ({"noise_level": float("nan")}, "noise level"),
        ({"strength": 0.5}, "strength"),
        ({"tol": -1}, "tol"),
        ({"max_steps": 0}, "max_steps"),
        ({"denoiser": 3}, "denoiser is a name"),
        ({"limits": (1.0, 0.0)}, "low <= high"),
        ({"splitting": "half"}, "unknown splitting 'half'"),
        ({"splitting": "half-quadratic", "method": "fista"}, "fista accelerates forward-backward"),
        ({"splitting": "forward-backward", "tau": 2.1}, "choose tau below 2"),
        ({"tau": 0.0}, "tau must be a positive number"),
        ({"tau": float("inf")}, "tau must be a positive number"),
    ],
)
def test_bad_arguments_are_refused_in_one_sentence(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(PnpError, match=message) as caught:
        pnpkit.deblur(photograph(), **{"kernel": "box:3", **arguments})  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("image", [np.zeros((0, 3)), np.full((8, 8), np.nan), np.zeros((8, 8, 2)), torch.zeros(8, 8)])
def test_bad_images_are_refused(image: object) -> None:
    with pytest.raises(InputError):
        pnpkit.deblur(image, "box:3")  # type: ignore[arg-type]


def test_unknown_keyword_is_a_type_error() -> None:
    with pytest.raises(TypeError):
        pnpkit.deblur(photograph(), "box:3", sigma=0.1)  # type: ignore[call-arg]


def test_a_broken_network_is_stopped_and_nothing_bad_comes_out(network: object) -> None:
    class Broken(type(network)):  # type: ignore[misc]
        def denoise(self, x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
            return x * float("nan")

    broken = Broken(network.config)  # type: ignore[attr-defined]
    run = pnpkit.deblur(photograph(), KERNEL, denoiser=broken, noise_level=0.01)
    assert run.status is Status.NOT_FINITE and run.steps == 1 and bool(np.isfinite(run.image).all())
    assert pnpkit.denoise(photograph(), 0.1, denoiser=broken).status is Status.NOT_FINITE


def test_catalogue_networks_are_accepted() -> None:
    run = pnpkit.deblur(photograph(), KERNEL, denoiser=catalogue.euler(), noise_level=0.01, max_steps=1)
    assert run.status is Status.STEP_LIMIT


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_steps": 1.5}, "max_steps a number"),
        ({"max_steps": "3"}, "must be numbers"),
        ({"max_steps": np.inf}, "max_steps a number"),
        ({"limits": 3}, "two limits must be numbers"),
        ({"boundary": None}, "unknown boundary"),
        ({"noise_level": [0.1]}, "noise level must be a number"),
        ({"tau": np.inf}, "tau must be a positive number"),
        ({"tau": "auto"}, "tau must be a positive number, got 'auto'"),
        ({"method": pnpkit.Anderson()}, "unknown method"),
        ({"max_memory": "1"}, "`max_memory` is a positive number of GiB"),
        ({"callback": 3}, "a callback is a function"),
        ({"denoiser": None}, "a denoiser is a name"),
        ({"denoiser": lambda x, sigma: x[..., :5]}, r"expected a tensor of \(1, 3, \d+, \d+\) from it, got one of"),
        ({"denoiser": lambda x, sigma: x.numpy()}, "expected a tensor from it, got ndarray"),
        ({"image": "photo.png"}, "expected an image in memory, got the name 'photo.png'"),
        ({"kernel": [[1, 2], [2, 1]]}, "one kernel for each channel of a stack, got numbers"),
    ],
)
def test_bad_arguments_are_refused_in_a_sentence(arguments: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        given = {"image": photograph(), "kernel": KERNEL, "denoiser": "wavelet", "max_steps": 2}
        pnpkit.deblur(**{**given, **arguments})


def test_kernels_may_be_paths_and_of_bfloat16(tmp_path) -> None:  # type: ignore[no-untyped-def]
    np.save(tmp_path / "k.npy", np.full((3, 3), 1 / 9))
    how = {"denoiser": "identity", "max_steps": 2, "noise_level": 0.01}
    one, two = (
        pnpkit.deblur(photograph(), kernel, **how) for kernel in (tmp_path / "k.npy", torch.ones(3, 3).bfloat16())
    )
    np.testing.assert_allclose(one.image, two.image, atol=1e-5)


def test_a_masked_array_is_not_taken_for_an_image() -> None:
    masked = np.ma.masked_less(photograph(), 0.2)
    with pytest.raises(InputError, match="mask as `mask`"):
        pnpkit.denoise(masked, 0.1, denoiser="wavelet")


def test_where_the_strength_comes_from_is_said() -> None:
    how = {"denoiser": "wavelet", "max_steps": 2}
    assert pnpkit.denoise(photograph(), 0.1, denoiser="wavelet").strength_note == "the noise level"
    assert pnpkit.denoise(photograph(), 0.1, denoiser="wavelet", strength=0.05).strength_note == "given"
    most = pnpkit.denoise(photograph(), 0.5, denoiser="wavelet")
    assert most.strength == pytest.approx(0.5), "strong noise stretches the scale: it is inside of what is known"
    mask = np.zeros(photograph().shape[:2], bool)
    mask[4:9] = True
    notes = [pnpkit.inpaint(photograph(), mask, noise_level=level, **how).strength_note for level in (0.001, 0.1)]
    assert "the least that there must be" in notes[0] and "follows the noise" in notes[1]
    assert "follows the noise" in pnpkit.deblur(photograph(), KERNEL, noise_level=0.9, **how).strength_note


def test_arrays_alone_are_blurred_and_looked_at() -> None:
    for function in (pnpkit.estimate_kernel, lambda x: pnpkit.simulate(x, "box:3")):
        with pytest.raises(InputError, match="expected"):
            function("photograph.png")
    values = photograph()[:40, :40, 0]
    np.testing.assert_allclose(pnpkit.simulate(values.tolist(), "box:3"), pnpkit.simulate(values, "box:3"), atol=1e-6)
    for limits in ([0, 1], np.array([0.0, 1.0])):
        pnpkit.deblur(photograph(), KERNEL, denoiser="identity", max_steps=1, limits=limits)


@pytest.mark.parametrize("dtype", [">f4", ">f8", ">u2", "<f2"])
def test_the_byte_order_comes_back(dtype: str) -> None:
    y = np.linspace(0, 1, 48).reshape(4, 4, 3).astype(dtype)
    mask = np.eye(4, dtype=bool)
    assert pnpkit.inpaint(y, mask, denoiser="wavelet", max_steps=2).image.dtype == np.dtype(dtype)
    assert pnpkit.inpaint(y, 0 * mask, denoiser="wavelet", max_steps=2).image.dtype == np.dtype(dtype)
    assert pnpkit.deblur(y, "box:3", denoiser="wavelet", max_steps=2).image.dtype == np.dtype(dtype)
    assert pnpkit.denoise(y, 0.1, denoiser="wavelet").image.dtype == np.dtype(dtype)
