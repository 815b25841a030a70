"""Rough early steps: the proof, the last residual and the picture are those of the exact map."""

from __future__ import annotations

import catalogue
import numpy as np
import pytest
import skimage.data
import torch

import pnpkit
from pnpkit import kernels
from pnpkit.errors import InputError, UnknownName
from pnpkit.fidelities.least_squares import LeastSquares
from pnpkit.machine import probes
from pnpkit.maps import Map
from pnpkit.networks import half_precision
from pnpkit.operators.blur import blur
from pnpkit.restoration import pipeline, simulate
from pnpkit.restoration.result import Restoration
from pnpkit.restoration.scale import scale_of
from pnpkit.solvers import stages
from pnpkit.solvers.guarantee import Existence
from pnpkit.solvers.iterations import Anderson, Picard
from pnpkit.solvers.result import Status, Step
from pnpkit.solvers.splittings import forward_backward

KERNEL = kernels.motion(5, 30)


def photograph() -> np.ndarray:
    sharp = skimage.data.chelsea()[104:128, 134:160] / 255
    return simulate.simulate(sharp, KERNEL, 0.02, boundary="circular").astype(np.float32)


@pytest.fixture(scope="module")
def network() -> pnpkit.networks.base.Network:  # type: ignore[name-defined]
    return catalogue.euler(channels=32, hidden=16).requires_grad_(False)


def run(network: object, kind: str, **options: object) -> Restoration:
    settings = {"noise_level": 0.02, "boundary": "circular", "tol": 1e-3, **options}
    return pnpkit.deblur(photograph(), KERNEL, denoiser=network, precision=kind, **settings)  # type: ignore[arg-type]


def test_both_stages_end_at_the_fixed_point_of_the_exact_map(network: object) -> None:
    seen: list[Step] = []
    rough, exact = run(network, "bfloat16", tol=2e-4, callback=seen.append), run(network, "float32", tol=2e-4)
    assert rough.status is exact.status is Status.CONVERGED and rough.residuals[-1] <= 2e-4
    assert [step.number for step in seen] == list(range(1, rough.steps + 1)) and len(rough.residuals) == rough.steps
    assert rough.certificate == exact.certificate and rough.certificate.averaged
    first = 1 + next(n for n, r in enumerate(rough.residuals, 1) if r <= pipeline.ROUGH_TOL)
    assert rough.guarantee.start == first and rough.guarantee.existence is Existence.BOUNDED
    assert [(stage.steps, stage.note) for stage in rough.guarantee.before] == [(first - 1, ", in float32")]
    assert 10 * np.abs(rough.image - exact.image).max() < np.abs(photograph() - exact.image).max()


def test_the_last_residual_is_that_of_the_exact_map(network: pnpkit.networks.base.Network) -> None:  # type: ignore[name-defined]
    y = torch.from_numpy(photograph()).permute(2, 0, 1)[None]
    fidelity = LeastSquares(blur(KERNEL, "circular", y.shape[-2:]), y)  # type: ignore[arg-type]
    points: list[torch.Tensor] = []

    exact = forward_backward(fidelity, network.at(0.02), 1.9, (0.0, 1.0))
    watched = Map(lambda x: (points.append(x), exact(x))[1], exact.certificate, box=exact.box)
    rough = forward_backward(fidelity, half_precision.rough_denoisers(network)(0.02), 1.9, (0.0, 1.0))
    first = stages.Stage(lambda _: rough, pipeline.ROUGH_TOL, Picard(), patience=pipeline.PATIENCE)
    last = stages.Stage(lambda _: watched, 1e-3, Picard())
    found = stages.solve_in_stages([first, last], y.clamp(0, 1), max_steps=60)
    x = points[-1]
    residual = float(torch.linalg.vector_norm(x - exact(x)) / torch.linalg.vector_norm(x))
    assert found.residuals[-1] == pytest.approx(residual, rel=1e-4)
    assert len(found.bounds) == found.steps and np.isinf(found.bounds[0]) and np.isfinite(found.bounds[-1])


def test_rough_steps_that_lead_nowhere_are_given_up() -> None:
    network = catalogue.euler()

    class Noise(type(network)):  # type: ignore[misc]
        def denoise(self, x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
            if torch.is_autocast_enabled("cpu"):
                return x + 0.3 * torch.randn(x.shape, generator=torch.Generator().manual_seed(int(1e6 * x.sum())))
            return super().denoise(x, level)

    noise = Noise(network.config)
    result = run(noise, "bfloat16", max_steps=60)
    assert result.status is Status.CONVERGED
    first = result.guarantee.start
    assert pipeline.PATIENCE + 2 <= first < 30 and result.steps > first


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_the_last_step_is_never_rough(network: object, steps: int) -> None:
    result = run(network, "bfloat16", max_steps=steps, tol=1e-6)
    assert result.steps == steps and result.certificate.averaged
    assert result.guarantee and result.guarantee.start == steps


def test_types_are_honoured_and_come_back(network: object) -> None:
    x = torch.from_numpy(photograph()).permute(2, 0, 1)[None]
    kept: list[torch.dtype] = []
    for kind, dtype in (("float64", torch.float64), ("float32", torch.float32), ("bfloat16", torch.float32)):
        for image in (x, x.double()):
            found = pnpkit.deblur(
                image, KERNEL, denoiser=network, noise_level=0.02, precision=kind, max_steps=2,
                callback=lambda step: kept.append(step.x.dtype),
            )  # fmt: skip
            assert found.image.dtype == image.dtype and set(kept) == {dtype}
            kept.clear()
    denoised = pnpkit.denoise(x, 0.02, denoiser=network, precision="float64")
    own = scale_of(x.double(), 0.02, None, integers=False)
    exact = own.outward(network(own.inward(x), 0.02 / own.span))  # type: ignore[operator]
    torch.testing.assert_close(denoised.image, exact.float())


def test_auto_probes_large_pictures_only(network: object, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float] = []
    monkeypatch.setattr(probes, "prefers_bfloat16", lambda device, worth: asked.append(worth) or True)
    large, small = torch.zeros(1, 3, 400, 300), torch.zeros(1, 3, 40, 30)
    assert half_precision.decide("auto", network, small) == "float32" and not asked  # type: ignore[arg-type]
    assert half_precision.decide("auto", network, large.double()) == "float64" and not asked  # type: ignore[arg-type]
    assert half_precision.decide("auto", pnpkit.load_denoiser("wavelet"), large) == "float32" and not asked
    assert half_precision.decide("auto", network, large) == "bfloat16" and asked == [half_precision.WORTH]  # type: ignore[arg-type]
    assert half_precision.decide("float32", network, large) == "float32"  # type: ignore[arg-type]


def test_what_cannot_be_is_refused(network: object) -> None:
    with pytest.raises(UnknownName, match="unknown precision 'float23': did you mean 'float32'"):
        run(network, "float23")
    with pytest.raises(InputError, match="one step"):
        pnpkit.denoise(photograph(), 0.02, denoiser=network, precision="bfloat16")
    assert Anderson().theorem(run(network, "bfloat16", max_steps=2).certificate)
