"""SympNets: symplectic to rounding whatever their weights, invertible, and without drift where plain networks drift."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ellipk
from torch import Tensor

from pnpkit.dynamics.ensembles import levenberg_marquardt
from pnpkit.dynamics.plain import ResNet, parameter_count
from pnpkit.dynamics.potentials import LogCosh
from pnpkit.errors import InputError, UnknownName
from pnpkit.sympnet import diagnostics, study
from pnpkit.sympnet.hamiltonian import HamiltonianNetwork, MidpointResidual
from pnpkit.sympnet.modules import SympNet, SympNetConfig
from pnpkit.sympnet.systems import FIGURE_EIGHT, FIGURE_EIGHT_PERIOD, SYSTEMS, System, system


def make(seed: int = 0, **settings: object) -> SympNet:
    torch.manual_seed(seed)
    return SympNet(SympNetConfig(**settings)).double()  # type: ignore[arg-type]


def points(dimension: int, count: int = 8, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 2 * dimension, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("kind", ["G", "LA"])
@pytest.mark.parametrize("symmetric", [False, True])
@given(dimension=st.integers(1, 6), seed=st.integers(0, 99), step=st.floats(-0.5, 0.5))
@settings(max_examples=8, deadline=None)
def test_every_sympnet_is_symplectic_and_inverted_exactly(
    kind: str, symmetric: bool, dimension: int, seed: int, step: float
) -> None:
    net = make(seed, dimension=dimension, kind=kind, symmetric=symmetric)
    z = points(dimension, seed=seed)
    assert diagnostics.symplecticity_defect(lambda x: net(x, step), z) <= 1e-12
    assert diagnostics.volume_defect(lambda x: net(x, step), z) <= 1e-12
    torch.testing.assert_close(net.inverse(net(z, step), step), z, rtol=1e-12, atol=1e-12)
    assert torch.equal(net(z, 0.0), z)


def test_only_the_symmetric_network_is_reversible_and_its_own_adjoint() -> None:
    for kind in ("G", "LA"):
        z = points(2)
        net, plain = make(dimension=2, kind=kind, symmetric=True), make(dimension=2, kind=kind)
        assert diagnostics.reversibility_defect(lambda x, n=net: n(x, 0.3), z) <= 1e-12
        assert diagnostics.reversibility_defect(lambda x, n=plain: n(x, 0.3), z) > 1e-4
        torch.testing.assert_close(net(net(z, 0.3), -0.3), z, rtol=1e-12, atol=1e-12)


def test_a_plain_network_is_told_apart() -> None:
    torch.manual_seed(0)
    net = ResNet(4, 8, 3).double()
    assert diagnostics.symplecticity_defect(lambda x: net(x, 0.1), points(2)) > 1e-3
    assert diagnostics.volume_defect(lambda x: net(x, 0.1), points(2)) > 1e-3


def test_the_small_network_of_the_paper_has_fourteen_parameters() -> None:
    assert parameter_count(make(dimension=1, kind="LA", layers=3, sublayers=2)) == 14


def test_the_papers_start_is_small_and_the_default_is_not() -> None:
    paper, ours = make(dimension=2, start="paper"), make(dimension=2)
    z = points(2)
    moved = [float((net(z, 0.1) - z).detach().abs().max()) for net in (paper, ours)]
    assert moved[0] < 1e-5 < 1e-3 < moved[1]
    assert max(float(p.detach().abs().max()) for p in paper.parameters()) < 0.05


def test_each_sample_may_have_its_own_step() -> None:
    net, z = make(dimension=2), points(2, 3)
    steps = torch.tensor([[0.1], [0.2], [-0.3]], dtype=torch.float64)
    one_by_one = torch.stack([net(row, float(h)) for row, h in zip(z, steps, strict=True)])
    torch.testing.assert_close(net(z, steps), one_by_one)


def test_one_network_learns_a_range_of_steps_and_serves_one_that_it_has_not_seen() -> None:
    one, net = system("oscillator"), make(dimension=1, layers=4, width=4, symmetric=True)
    z = one.sample(90, torch.Generator().manual_seed(0))
    steps = torch.tensor([[0.05], [0.1], [0.2]]).double().repeat(30, 1)
    after = torch.stack([one.flow(p, torch.cat([0 * h, h]))[1] for p, h in zip(z, steps, strict=True)])
    levenberg_marquardt(net, (z, steps, after), 40)
    unseen = torch.stack([one.flow(p, torch.tensor([0.0, 0.15]).double())[1] for p in z])
    with torch.no_grad():
        assert float((net(z, 0.15) - unseen).abs().max()) < 0.02 * float((unseen - z).abs().max())


def test_a_log_cosh_is_the_gradient_of_its_potential() -> None:
    torch.manual_seed(0)
    potential, x = LogCosh(3, 5).double(), points(3)[:, :3].requires_grad_()
    (slope,) = torch.autograd.grad(potential.potential(x).sum(), x)
    torch.testing.assert_close(potential(x), slope)


@pytest.mark.parametrize(("field", "value"), [("kind", "H"), ("start", "zeros"), ("layers", 0)])
def test_bad_settings_are_refused(field: str, value: object) -> None:
    with pytest.raises(InputError):
        make(**{field: value})


@pytest.mark.parametrize("name", SYSTEMS)
def test_references_conserve_what_is_conserved(name: str) -> None:
    one = system(name)
    start, times = torch.tensor(one.start, dtype=torch.float64), one.times(1.0)
    states = one.flow(start, times)
    for value in (one.energy, *one.invariants.values()):
        assert float((value(states) - value(start)).abs().max()) < 1e-10
    turned = torch.cat([states[-1, : one.dimension], -states[-1, one.dimension :]])
    assert one.even and float(one.energy(turned) - one.energy(start)) == pytest.approx(0, abs=1e-10)


@pytest.mark.parametrize("name", SYSTEMS)
def test_reference_steps_are_symplectic(name: str) -> None:
    one = system(name)
    z, eps = torch.tensor(one.start, dtype=torch.float64), 1e-5
    around = torch.cat([z + eps * torch.eye(len(z)).double(), z - eps * torch.eye(len(z)).double()])
    ends = one.integrate(around, torch.tensor([one.step], dtype=torch.float64))[0]
    slope = ((ends[: len(z)] - ends[len(z) :]) / (2 * eps)).mT
    assert diagnostics.defects(slope[None])[0] < 1e-5


@pytest.mark.parametrize("name", ["oscillator", "kepler"])
def test_closed_forms_agree_with_the_integrator(name: str) -> None:
    one = system(name)
    z, times = torch.tensor(one.start, dtype=torch.float64), one.times(5.0)
    torch.testing.assert_close(one.flow(z, times), one.integrate(z, times), rtol=0, atol=1e-9)


def test_known_periods() -> None:
    pendulum, bodies = system("pendulum"), system("three-bodies")
    period = 4 * float(ellipk(math.sin(0.5) ** 2))  # amplitude 1
    start = torch.tensor([1.0, 0.0], dtype=torch.float64)
    torch.testing.assert_close(
        pendulum.flow(start, torch.tensor([0, period], dtype=torch.float64))[1], start, rtol=0, atol=1e-10
    )
    eight = torch.tensor(FIGURE_EIGHT, dtype=torch.float64)
    end = bodies.flow(eight, torch.tensor([0, FIGURE_EIGHT_PERIOD], dtype=torch.float64))[1]
    torch.testing.assert_close(end, eight, rtol=0, atol=1e-6)


def test_samples_stay_where_the_systems_are_bounded() -> None:
    z, _ = system("henon-heiles").pairs(200, 0)
    assert float(system("henon-heiles").energy(z).max()) < 1 / 6
    z, after = system("kepler").pairs(200, 0)
    energy = system("kepler").energy
    assert float(energy(z).max()) < 0
    torch.testing.assert_close(energy(after), energy(z), rtol=0, atol=1e-10)
    with pytest.raises(UnknownName, match="did you mean 'kepler'"):
        system("keppler")
    with pytest.raises(InputError, match="bound orbits"):
        system("kepler").flow(torch.tensor([1.0, 0, 0, 2]).double(), torch.tensor([0.0, 1.0]).double())


def test_midpoint_network_is_symplectic_reversible_in_time_and_solves_its_rule() -> None:
    torch.manual_seed(1)
    net, z = HamiltonianNetwork(2, 12).double().requires_grad_(False), points(2)
    after = net(z, 0.2)
    torch.testing.assert_close(MidpointResidual(net, 0.2)(z, after), after, rtol=0, atol=1e-13)
    torch.testing.assert_close(net(after, -0.2), z, rtol=0, atol=1e-12)
    slopes = net.jacobians(z, 0.2)
    assert diagnostics.defects(slopes)[0] <= 1e-12
    eps, eye = 1e-6, torch.eye(4).double()
    ends = [net(z[0] + sign * eps * eye, 0.2) for sign in (1, -1)]
    torch.testing.assert_close(slopes[0], ((ends[0] - ends[1]) / (2 * eps)).mT, rtol=0, atol=1e-7)
    with pytest.raises(InputError, match="did not converge"):
        net(z, 1e6)


def test_drift_is_told_from_oscillation() -> None:
    times = torch.arange(2001, dtype=torch.float64) * 0.1
    wave = 0.01 * (3 * times).sin()
    bounded, drifting = diagnostics.split_energy(times, wave), diagnostics.split_energy(times, wave + 1e-4 * times)
    assert not bounded.drifts and bounded.oscillation == pytest.approx(0.01, rel=0.05)
    assert drifting.drifts and drifting.drift == pytest.approx(1e-4, rel=0.05)
    assert drifting.oscillation == pytest.approx(0.01, rel=0.1)
    assert diagnostics.split_energy(times, torch.full_like(times, torch.nan)).drifts
    assert diagnostics.horizon(times, wave.abs(), 0.02) == math.inf
    assert diagnostics.horizon(times, times, 0.35) == pytest.approx(0.4)
    assert diagnostics.growth_exponent(times, 3 * times**2) == pytest.approx(2)


def test_a_rollout_that_blows_up_ends_in_nan_without_raising() -> None:
    states = diagnostics.rollout(lambda z: z * 1e4, torch.ones(2, 2).double(), 5)
    assert bool(states[1].isfinite().all()) and bool(states[-1].isnan().all())


def test_study_on_the_oscillator_shows_the_difference() -> None:
    config = study.StudyConfig(pairs=100, seeds=1, adam=60, polish=60, horizon=30.0, probes=8)
    kinds = ("LA-SympNet", "G-SympNet, reversible", "HNN, midpoint rule", "ResNet")
    found = study.run(system("oscillator"), kinds, config)
    assert found.kinds() == list(kinds) and len(found.of("ResNet")) == 1
    for run in found.runs:
        symplectic = run.kind != "ResNet"
        assert (run.symplecticity <= 1e-12) == symplectic
        if symplectic:
            assert abs(run.energy.drift) * 30 < 0.3 * run.energy.oscillation + 1e-12, "no secular drift"
        assert run.error < 2.5
    best = max(run.error for run in found.of("LA-SympNet"))
    assert best < 1e-6, "fourteen parameters hold the flow exactly, and the polish finds them"
    assert all(run.reversibility < 1e-12 for run in found.of("G-SympNet, reversible"))
    with pytest.raises(UnknownName, match="available"):
        study.run(system("oscillator"), ("RNN",), config)


def test_systems_are_values() -> None:
    assert isinstance(system("pendulum"), System)
    with pytest.raises(AttributeError):
        system("pendulum").step = 0.2  # type: ignore[misc]
