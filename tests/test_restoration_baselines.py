"""Baselines: minimisers that minimise, filters that are scikit-image's, a denoiser under the rules of deblur."""

from __future__ import annotations

import catalogue
import numpy as np
import pytest
import scipy.ndimage
import skimage.restoration
import torch

from pnpkit import kernels
from pnpkit.fidelities.least_squares import LeastSquares
from pnpkit.images import pixels
from pnpkit.operators.blur import blur
from pnpkit.restoration import baselines, plan
from pnpkit.solvers.iterations import Anderson, Picard
from pnpkit.solvers.result import Status
from pnpkit.solvers.splittings import CONTINUATION, HALF_QUADRATIC, half_quadratic
from pnpkit.solvers.stages import solve_in_stages

KERNEL = kernels.motion(5, 30)
CLEAN = pixels.from_tensor(catalogue.image(1, 3, 16, 18))


def blurred() -> np.ndarray:
    noise = 0.01 * np.random.default_rng(0).standard_normal(CLEAN.shape)
    return np.stack([scipy.ndimage.convolve(CLEAN[..., c], KERNEL, mode="wrap") for c in range(3)], -1) + noise


def objective(x: np.ndarray, y: np.ndarray, weight: float) -> float:
    """1/2 ||k * x - y||^2 + weight TV(x), periodic, coupled over the colours."""
    out = np.stack([scipy.ndimage.convolve(x[..., c], KERNEL, mode="wrap") for c in range(3)], -1)
    slopes = np.stack([np.roll(x, -1, axis) - x for axis in (0, 1)])
    return 0.5 * np.sum((out - y) ** 2) + weight * np.sqrt(np.square(slopes).sum((0, 3))).sum()


def test_total_variation_is_at_its_minimum() -> None:
    y, weight, seen = blurred(), 0.01, []
    run = baselines.total_variation(y, KERNEL, weight, tol=1e-7, max_steps=5000, callback=seen.append)
    assert run.change <= 1e-7 and run.steps == len(seen) and seen[-1] is run.x
    least, draw = objective(run.x.astype(np.float64), y, weight), np.random.default_rng(1)
    assert least < objective(y, y, weight)
    for size in (0.1, 0.01, 0.001):
        for _ in range(10):
            assert objective(run.x + size * draw.standard_normal(y.shape), y, weight) > least
    flat = np.full((8, 8, 3), 0.4)
    np.testing.assert_allclose(baselines.total_variation(flat, KERNEL, weight).x, flat, atol=1e-6)


def test_total_variation_ends_at_its_limit() -> None:
    run = baselines.total_variation(blurred(), KERNEL, 0.01, tol=0, max_steps=3)
    assert run.steps == 3 and run.change > 0


def test_the_filters_are_scikit_images_channel_by_channel() -> None:
    y = blurred()
    ours = baselines.wiener_filter(y, KERNEL, 0.05), baselines.unsupervised_wiener_filter(y, KERNEL)
    for c in range(3):
        theirs = skimage.restoration.wiener(y[..., c], KERNEL, 0.05, clip=False)
        np.testing.assert_array_equal(ours[0][..., c], theirs)
        theirs = skimage.restoration.unsupervised_wiener(y[..., c], KERNEL, clip=False, rng=0)[0]
        np.testing.assert_array_equal(ours[1][..., c], theirs)


def problem() -> LeastSquares:
    y = pixels.to_tensor(blurred()).double()
    return LeastSquares(blur(KERNEL, "circular", CLEAN.shape[:2], dtype=torch.float64), y)


def test_a_denoiser_under_its_rules_ends_at_the_fixed_point_of_its_splitting() -> None:
    fidelity, network = problem(), catalogue.euler()
    stages = baselines.stages_by_rule(network, HALF_QUADRATIC, fidelity, 0.02, tol=1e-8)
    assert [stage.iteration for stage in stages] == [Anderson()]
    run = solve_in_stages(stages, fidelity.y, max_steps=2000)
    tau, sigma = plan.by_rule(HALF_QUADRATIC, 0.02, network, fidelity)
    map = half_quadratic(fidelity, network.at(sigma), tau, (0.0, 1.0))
    assert run.status is Status.CONVERGED and run.guarantee
    torch.testing.assert_close(map(run.x), run.x, atol=1e-6, rtol=0)


def test_stages_of_guided_and_unproven_denoisers() -> None:
    fidelity = problem()
    two = baselines.stages_by_rule(catalogue.guided(), CONTINUATION, fidelity, 0.02)
    assert [stage.tol for stage in two] == [baselines.GUIDE, 1e-4]
    (plain,) = baselines.stages_by_rule(catalogue.dncnn(), CONTINUATION, fidelity, 0.02)
    assert plain.iteration == Picard() and plain.patience is None
    rough, exact = baselines.stages_by_rule(catalogue.euler(), CONTINUATION, fidelity, 0.02, rough_first=True)
    assert rough.patience == baselines.PATIENCE and exact.patience is None and rough.tol > exact.tol


def test_chambolles_steps_prove_nothing_and_run() -> None:
    fidelity = LeastSquares(blur(KERNEL, "circular", CLEAN.shape[:2]), pixels.to_tensor(blurred()))
    map = baselines.chambolle_steps(fidelity, 0.01)
    assert not map.certificate.nonexpansive and map(fidelity.y).shape == fidelity.y.shape


@pytest.mark.parametrize("script", ["deblurring_table", "benchmark", "evaluate_classifiers"])
def test_scripts_that_hold_no_algorithm_are_short(script: str) -> None:
    from test_scripts_benchmark import ROOT

    assert len((ROOT / "scripts" / f"{script}.py").read_text().splitlines()) < 200
