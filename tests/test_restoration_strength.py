"""The strength of the denoiser: SURE is unbiased where the risk is known, and the rule ends near the best strength."""

from __future__ import annotations

import math

import numpy as np
import pytest
import skimage.data
import torch

import pnpkit
from pnpkit.errors import InputError, PnpError
from pnpkit.fidelities.least_squares import LeastSquares
from pnpkit.images import pixels
from pnpkit.images.metrics import psnr
from pnpkit.maps import Map
from pnpkit.operators.blur import blur
from pnpkit.restoration import plan, simulate, sure
from pnpkit.solvers.loop import solve
from pnpkit.solvers.splittings import FORWARD_BACKWARD, HALF_QUADRATIC, SPLITTINGS

NOISE = 0.05


def tikhonov(data: LeastSquares, sigma: float) -> Map:
    """One step to the minimiser of 1/2 ||x - y||^2 + sigma/2 ||x||^2 for A = id: x = y / (1 + sigma)."""
    return Map(lambda x: data.y / (1 + sigma), pnpkit.nothing("tikhonov", "for a test"))


def test_the_risk_is_that_of_a_problem_in_closed_form() -> None:
    """A = id, u = y / (1 + t): risk / (N s^2) = (t^2 mean x^2 / s^2 + 1) / (1 + t)^2, least at t = s^2 / mean x^2."""
    generator = torch.Generator().manual_seed(0)
    x = 0.2 * torch.randn(1, 1, 128, 128, generator=generator, dtype=torch.float64)
    y = x + NOISE * torch.randn(x.shape, generator=generator, dtype=torch.float64)
    fidelity = LeastSquares(blur(np.ones((1, 1)), "circular", (128, 128), dtype=torch.float64), y)
    energy = float(x.square().mean())
    config = sure.Sure(shrink=1.0, reach=(0.01, 100))
    found = sure.by_sure(fidelity, tikhonov, y, NOISE, closed=0.08, top=1.0, config=config)
    assert len(found.tried) == 3
    for t, risk in found.tried:
        assert risk == pytest.approx((t**2 * energy / NOISE**2 + 1) / (1 + t) ** 2, abs=0.03)
    assert found.strength == pytest.approx(NOISE**2 / energy, rel=0.25)


@pytest.mark.parametrize("least", [0.01, 0.3])
def test_least_of_a_parabola(least: float) -> None:
    strengths = [0.05, 0.1, 0.2]
    risks = [(math.log(s) - math.log(least)) ** 2 + 1 for s in strengths]
    assert sure.least_of_parabola(strengths, risks) == pytest.approx(least)
    assert sure.least_of_parabola(strengths, [1.0, 3.0, 2.0]) == 0.05


def blurred_photograph() -> tuple[np.ndarray, np.ndarray]:
    sharp = skimage.data.chelsea()[100:156, 130:194] / 255
    return sharp, simulate.simulate(sharp, "gaussian:1.5", 0.02, boundary="circular")


@pytest.mark.parametrize(("splitting", "nearer"), [(HALF_QUADRATIC, 0.25), (FORWARD_BACKWARD, 0.3)])
def test_sure_mends_a_closed_rule_that_is_far_off(splitting: str, nearer: float) -> None:
    sharp, blurred = blurred_photograph()
    network = pnpkit.load_denoiser("wavelet")
    y = pixels.to_tensor(blurred)
    fidelity = LeastSquares(blur(pnpkit.kernels.gaussian(1.5), "circular", y.shape[-2:]), y)  # type: ignore[attr-defined]

    tau = plan.step_for(splitting, 0.02, network, fidelity)

    def map_at(data: LeastSquares, sigma: float) -> Map:
        return SPLITTINGS[splitting](data, plan.inside(network), tau, sigma, (0.0, 1.0))

    def score(sigma: float) -> float:
        run = solve(map_at(fidelity, sigma), y, iteration=pnpkit.Anderson(), max_steps=12)
        return psnr(pixels.from_tensor(run.x), sharp)

    rule = plan.strength_for(0.02, tau, network, splitting)
    for factor in (0.3, 3.0):
        found = sure.by_sure(fidelity, map_at, y, 0.02, factor * rule, network.top, sure.SURE[splitting])
        assert abs(math.log(found.strength / rule)) < abs(math.log(factor)) - nearer
        assert score(found.strength) > score(factor * rule) + 0.1


def test_the_option_is_honoured_seeded_and_named() -> None:
    _, blurred = blurred_photograph()
    settings = {"denoiser": "wavelet", "noise_level": 0.02, "boundary": "circular", "max_steps": 2}
    one, two = (pnpkit.deblur(blurred, "gaussian:1.5", strength="sure", **settings) for _ in range(2))  # type: ignore[arg-type]
    assert one.strength == two.strength and one.strength_note.startswith("sure: ")
    closed = pnpkit.deblur(blurred, "gaussian:1.5", **settings)  # type: ignore[arg-type]
    assert "auto" in closed.strength_note and 0.4 <= one.strength / closed.strength <= 2.5
    assert one.certificate.averaged and one.guarantee
    settings["noise_level"] = 0.0
    clean, rule = (pnpkit.deblur(blurred, "gaussian:1.5", strength=s, **settings) for s in ("sure", "auto"))  # type: ignore[arg-type]
    assert clean.strength == rule.strength, "without noise there is no risk to estimate"
    assert clean.strength_note.endswith("after 0 evaluations")


def test_holes_and_batches_are_no_exception() -> None:
    _, blurred = blurred_photograph()
    mask = np.zeros(blurred.shape[:2], bool)
    mask[10:13] = True
    run = pnpkit.inpaint(blurred, mask, denoiser="wavelet", noise_level=0.02, strength="sure", max_steps=2)
    assert run.strength >= 10 / 255 and "sure" in run.strength_note
    batch = torch.cat([pixels.to_tensor(blurred)] * 2)
    assert (
        pnpkit.deblur(batch, "box:3", denoiser="wavelet", noise_level=0.02, strength="sure", max_steps=1).image.shape
        == batch.shape
    )


def test_what_cannot_be_honoured_is_refused() -> None:
    _, blurred = blurred_photograph()
    with pytest.raises(PnpError, match="available: auto, sure"):
        pnpkit.deblur(blurred, "box:3", denoiser="wavelet", strength="sur")
    with pytest.raises(InputError, match="strength must be a number here, got 'sure'"):
        pnpkit.denoise(blurred, 0.02, denoiser="wavelet", strength="sure")  # type: ignore[arg-type]


def test_half_quadratic_splitting_keeps_the_strength_where_the_denoiser_is_good() -> None:
    network = pnpkit.load_denoiser("wavelet")
    for level in (1e-3, 0.004, 0.01, 0.02):
        tau = plan.penalty_for(level, network)
        found = plan.strength_for(level, tau, network, HALF_QUADRATIC)
        assert found == pytest.approx(network.rule.coupling * math.sqrt(tau) * level)
        assert found == pytest.approx(network.rule.working) or tau == 1000
    taus = [plan.penalty_for(level, network) for level in (0.0, 1e-3, 0.01, 0.05, 0.5)]
    assert taus == sorted(taus, reverse=True) and taus[0] == 1000 and taus[-1] == 1
    assert plan.strength_for(1.0, 1.0, network, HALF_QUADRATIC) == network.top
