"""Structure studies: what each layer promises holds for any weights, and the references are right."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from pnpkit.errors import InputError
from pnpkit.numerics.norms import matrix_norm_bound
from pnpkit.structure import advection, circle, energy, mass, planar, portrait, sphere, wasserstein


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def wild(module: torch.nn.Module, size: float = 1.0) -> torch.nn.Module:
    """The module in float64 with random weights, so that nothing holds by the luck of the start."""
    module = module.double().requires_grad_(False)
    for parameter in module.parameters():
        parameter.copy_(size * torch.randn(parameter.shape, generator=generator(1), dtype=torch.float64))
    return module


def test_exchange_layers_conserve_mass_and_free_ones_do_not() -> None:
    x = mass.simplex(50, generator())
    assert bool((x >= 0).all()) and torch.allclose(x.sum(-1), torch.ones(50).double())
    kept, lost = (wild(mass.Flow(kind, 3, 8))(x).sum(-1) - 1 for kind in mass.KINDS)
    assert float(kept.abs().max()) < 1e-13 and float(lost.abs().max()) > 1e-2


def test_sir_reference_ends_where_the_final_size_relation_says() -> None:
    config = mass.MassConfig()
    start = torch.tensor([[0.99, 0.01, 0.0]], dtype=torch.float64)
    end = mass.reference(start, torch.tensor([0.0, 200.0], dtype=torch.float64), config)[-1, 0]
    ratio = config.infection / config.recovery
    assert math.log(float(end[0]) / 0.99) == pytest.approx(-ratio * (1 - float(end[0])), abs=1e-8)


def test_advection_layers_conserve_the_norm_and_shifts_are_exact() -> None:
    u = advection.functions(3, 12, generator())
    kept, lost = (wild(advection.Network(kind, 2, 3), 0.3)(u) for kind in advection.KINDS)
    size = torch.linalg.vector_norm(u, dim=(-2, -1))
    torch.testing.assert_close(torch.linalg.vector_norm(kept, dim=(-2, -1)), size, rtol=1e-13, atol=0)
    assert float((torch.linalg.vector_norm(lost, dim=(-2, -1)) / size - 1).abs().min()) > 1e-2
    torch.testing.assert_close(advection.shifted(u, (2.0, -1.0)), torch.roll(u, (2, -1), (-2, -1)))
    torch.testing.assert_close(advection.shifted(u, (0.3, 0.2), 5), advection.shifted(u, (1.5, 1.0)))


def test_the_structured_step_stays_on_the_sphere_and_the_plain_one_leaves_it() -> None:
    z = sphere.sample(40, 1.0, generator())
    assert float(sphere.violation(z).max()) < 1e-14
    for kind in sphere.KINDS:
        gap = float(sphere.violation(wild(sphere.Integrator(kind, 8, 0.1))(z)).max())
        assert gap > 1e-2 if kind == "plain" else gap < 1e-13


def test_rotation_is_the_matrix_exponential() -> None:
    turn, x = torch.randn(2, 20, 3, generator=generator(), dtype=torch.float64)
    turn[:2] *= 1e-6
    zero = torch.zeros(20).double()
    a, b, c = turn.unbind(-1)
    skew = torch.stack([zero, -c, b, c, zero, -a, -b, a, zero], -1).view(20, 3, 3)
    expected = (torch.linalg.matrix_exp(skew) @ x[..., None])[..., 0]
    torch.testing.assert_close(sphere.rotate(turn, x), expected, rtol=0, atol=1e-13)


def test_the_pendulum_on_the_sphere_conserves_energy_and_constraint() -> None:
    z = sphere.sample(3, 1.0, generator())
    states = sphere.reference(z, torch.tensor([0.0, 2.0], dtype=torch.float64))
    torch.testing.assert_close(sphere.energy(states[1]), sphere.energy(z), rtol=0, atol=1e-9)
    assert float(sphere.violation(states[1]).max()) < 1e-9


def test_leapfrog_is_symplectic_for_any_potentials_and_runge_kutta_is_not() -> None:
    z = torch.randn(6, 2, generator=generator(), dtype=torch.float64)
    for made, symplectic in ((energy.Leapfrog, True), (energy.RungeKutta, False)):
        model = wild(made(6, 0.1))
        slopes = torch.func.vmap(torch.func.jacrev(model.advance))(z)
        gap = float((torch.linalg.det(slopes) - 1).abs().max())
        assert gap < 1e-13 if symplectic else gap > 1e-6
    states = energy.reference(z, torch.tensor([0.0, 1.0], dtype=torch.float64))
    torch.testing.assert_close(energy.energy(states[1]), energy.energy(z), rtol=0, atol=1e-9)


def test_the_normalised_curve_is_on_the_circle() -> None:
    t = torch.linspace(0, 6, 50, dtype=torch.float64)
    assert torch.allclose(circle.curve(t).norm(dim=-1), torch.ones(50).double())
    z = wild(circle.Planar(8, True))(t)
    torch.testing.assert_close(z.norm(dim=-1), torch.ones(50).double(), rtol=0, atol=1e-14)
    plain, penalised, normalised = circle.run(circle.CircleConfig(steps=150, seeds=1))
    assert float(normalised.violation.max()) < 1e-14 < 1e-4 < float(plain.violation.max())
    assert float(normalised.error.max()) < 0.5


def test_disc_and_ring_are_apart_and_the_flow_separates_them() -> None:
    x, labels = planar.disc_and_ring(400, generator())
    radius = x.norm(dim=-1)
    assert float(radius[labels == 0].max()) <= 1 < 1.5 <= float(radius[labels == 1].min())
    found = planar.run(planar.PlanarConfig(points=400, train=300, layers=6, steps=250, seeds=1))
    assert float(found.accuracy.min()) >= 0.9
    assert found.states.shape == (7, 100, 3)
    end = found.states[-1] @ found.normal + found.offset > 0
    assert float((end == (found.labels == 1)).double().mean()) == pytest.approx(float(found.accuracy[0]))


def test_the_portrait_is_sharp_at_two() -> None:
    assert portrait.LARGEST_STEP == pytest.approx(2)
    for step in (0.5, 2.0):
        assert portrait.largest_ratio(lambda x, s=step: portrait.euler(x, s), 300) <= 1 + 1e-9
    assert portrait.largest_ratio(lambda x: portrait.euler(x, 2.5), 300) == pytest.approx(1.5, abs=1e-3)
    assert portrait.largest_ratio(lambda x: portrait.flow(x, 3.0), 300) <= 1 + 1e-9
    x = torch.randn(5, 2, generator=generator(), dtype=torch.float64)
    small = x
    for _ in range(1000):
        small = portrait.euler(small, 1e-3)
    torch.testing.assert_close(small, portrait.flow(x, 1.0), rtol=0, atol=1e-3)


def test_exact_wasserstein_distances() -> None:
    p = torch.randn(30, 1, generator=generator(), dtype=torch.float64)
    assert wasserstein.exact(p, p + 2) == pytest.approx(2)
    flat = torch.cat([p, torch.zeros_like(p)], -1)  # the assignment agrees with sorting
    q = torch.randn(30, 1, generator=generator(1), dtype=torch.float64)
    other = torch.cat([q, torch.zeros_like(q)], -1)
    assert wasserstein.exact(flat, other) == pytest.approx(wasserstein.exact(p, q))
    with pytest.raises(InputError, match="one size"):
        wasserstein.exact(p, q[:5])


@pytest.mark.parametrize("name", ["two humps and a Gaussian, d = 1", "circle of radius 2 and unit disc, d = 2"])
def test_the_critic_never_exceeds_the_exact_distance_and_comes_close(name: str) -> None:
    p, q = wasserstein.CASES[name].draw(80, generator())
    config = wasserstein.CriticConfig(layers=4, features=8, steps=120, seeds=1)
    bounds, critics = wasserstein.estimate(p, q, config)
    exact = wasserstein.exact(p, q)
    assert 0.8 * exact <= bounds[0] <= exact * (1 + 1e-12)
    certificate = critics[0].certify()
    assert certificate.nonexpansive
    assert all(float(f.step) * matrix_norm_bound(f.weight) ** 2 <= 2 for f in critics[0].flows())
    with pytest.raises(InputError, match="at least 9"):
        wasserstein.Critic(9, config)


def test_an_untrained_critic_is_nonexpansive_on_pairs() -> None:
    torch.manual_seed(0)
    critic = wasserstein.Critic(3, wasserstein.CriticConfig()).double()
    x, y = torch.randn(2, 200, 3, generator=generator(), dtype=torch.float64)
    with torch.no_grad():
        rise: Tensor = (critic(x) - critic(y)).abs() / (x - y).norm(dim=-1)
    assert float(rise.max()) <= critic.certify().lipschitz * (1 + 1e-6)
