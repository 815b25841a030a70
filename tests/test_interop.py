"""deepinv's priors, denoisers and data fidelities inside pnpkit's solvers, with honest certificates."""

from __future__ import annotations

import catalogue
import deepinv
import numpy as np
import pytest
import torch
from deepinv.optim import L1Prior, L12Prior, PnP, Tikhonov, TVPrior, WaveletPrior, ZeroPrior
from deepinv.optim.data_fidelity import L1, L2, PoissonLikelihood
from deepinv.physics import GaussianNoise, PoissonGaussianNoise, PoissonNoise, UniformNoise

import pnpkit
from pnpkit.certificates import Side
from pnpkit.errors import InputError, StepSizeError
from pnpkit.fidelities.kullback_leibler import KullbackLeibler
from pnpkit.fidelities.weighted import WeightedLeastSquares
from pnpkit.interop import from_data_fidelity, from_prior
from pnpkit.solvers.result import Status
from pnpkit.solvers.splittings import davis_yin, forward_backward

MATRIX = np.random.default_rng(0).standard_normal((30, 12))
Y = MATRIX @ np.random.default_rng(1).standard_normal(12)


def test_a_deepinv_prior_is_a_prox() -> None:
    theirs = pnpkit.proximal_gradient(MATRIX, Y, from_prior(L1Prior(), 5.0), tol=1e-12, max_steps=20_000)
    ours = pnpkit.ista(MATRIX, Y, 5.0, tol=1e-12, max_steps=20_000)
    np.testing.assert_allclose(theirs.x, ours.x, atol=1e-10)
    np.testing.assert_allclose(theirs.objective, ours.objective, rtol=1e-12)
    assert theirs.guarantee == ours.guarantee
    assert pnpkit.proximal_gradient(MATRIX, Y, L1Prior(), tol=1e-3).status is Status.CONVERGED


@pytest.mark.parametrize("prior", [L1Prior(), L12Prior(), Tikhonov(), ZeroPrior(), TVPrior(n_it_max=3000)])
def test_priors_with_a_claim_keep_it(prior: deepinv.optim.Prior) -> None:
    map = from_prior(prior, 0.3)(0.7)
    assert map.certificate.averagedness == 0.5
    assert len(map.certificate.premises) == 1 + isinstance(prior, TVPrior), "exact arithmetic, and an inner solver"
    x, y = catalogue.image(1, 2, 6, 5), catalogue.image(1, 2, 6, 5, seed=1)
    p, q = map(x), map(y)
    assert float((p - q).square().sum()) <= float(((p - q) * (x - y)).sum()) + 1e-5


def test_other_priors_claim_nothing() -> None:
    certificate = from_prior(WaveletPrior(level=2, wv="db2"), 0.1)(1.0).certificate
    assert certificate.side is Side.MEASURED and "not known to be convex" in str(certificate)
    with pytest.raises(InputError, match="strength"):
        from_prior(PnP(denoiser=catalogue.euler()))
    proven = from_prior(PnP(denoiser=catalogue.euler()), strength=0.1)(1.0)
    assert proven.certificate.averaged


def test_deepinvs_l2_is_least_squares_over_sigma_squared() -> None:
    physics, _, y = catalogue.operator("gaussian circular")
    theirs = from_data_fidelity(L2(sigma=0.5), y, physics)
    ours = pnpkit.LeastSquares(physics, y)
    assert theirs.L == pytest.approx(4 * ours.L) and theirs.side is Side.PROVEN
    x = catalogue.image(seed=4)
    torch.testing.assert_close(theirs.gradient(x), 4 * ours.gradient(x))
    torch.testing.assert_close(theirs.value(x), 4 * ours.value(x))
    denoiser = catalogue.euler().at(0.1)
    one = forward_backward(theirs, denoiser, 0.3)
    two = forward_backward(ours, denoiser, 1.2)
    torch.testing.assert_close(one(x), two(x))
    assert one.certificate.averagedness == pytest.approx(two.certificate.averagedness)
    with pytest.raises(StepSizeError, match="below 0.5"):
        theirs.gradient_step(0.6)
    physics.filter *= 1.5
    with pytest.raises(InputError, match="changed after its norm was found"):
        theirs.gradient(x)


def test_other_data_fidelities_need_a_constant_and_say_so() -> None:
    physics, x, _ = catalogue.operator("identity")
    y = x + 0.5
    poisson = PoissonLikelihood(gain=1.0, bkg=0.1, denormalize=False)
    with pytest.raises(InputError, match="give L"):
        from_data_fidelity(L1(), y, physics)
    fidelity = from_data_fidelity(poisson, y, physics, L=200.0)
    run = pnpkit.solve(
        davis_yin(fidelity, pnpkit.proximal.box(0.0, 2.0), pnpkit.proximal.nonnegative()),
        x,
        tol=1e-10,
        max_steps=5000,
    )
    assert run.status is Status.CONVERGED
    torch.testing.assert_close(run.x, y - 0.1, atol=1e-6, rtol=0)
    assert "L given by the user" in run.explain()


def test_deepinvs_poisson_likelihood_is_kullback_leibler() -> None:
    """Its gradient by differences: the one of deepinv 0.5.0 is gain^2 times too large."""
    physics, x, _ = catalogue.operator("gaussian circular")
    for denormalize in (True, False):
        counts = (3 * physics.A(x)).round()
        y = counts * 0.3 if denormalize else counts
        theirs = PoissonLikelihood(gain=0.3, bkg=0.2, denormalize=denormalize)
        ours = from_data_fidelity(theirs, y, physics)
        assert isinstance(ours, KullbackLeibler) and ours.side is Side.PROVEN
        other = x * 0.9 + 0.02
        change = ours.value(x) - ours.value(other)
        torch.testing.assert_close(change, (theirs(x, y, physics) - theirs(other, y, physics)).flatten())


def test_the_noise_model_of_a_physics_chooses_the_data_term() -> None:
    physics, x, y = catalogue.operator("gaussian circular")
    batch = torch.cat([y, y])
    assert type(pnpkit.fidelity_of(physics, y)) is pnpkit.LeastSquares
    physics.noise_model = GaussianNoise(0.1)
    assert type(pnpkit.fidelity_of(physics, y)) is pnpkit.LeastSquares
    physics.noise_model = GaussianNoise(torch.tensor([0.1, 0.2]))
    uneven = pnpkit.fidelity_of(physics, batch)
    assert isinstance(uneven, WeightedLeastSquares)
    assert (uneven.weights[0] / uneven.weights[1]).item() == pytest.approx(4) and uneven.weights.mean().item() == 1
    physics.noise_model = PoissonNoise(0.5)
    one = pnpkit.fidelity_of(physics, y)
    physics.noise_model = PoissonNoise(0.5, normalize=False)
    two = pnpkit.fidelity_of(physics, 2 * y)
    assert isinstance(one, KullbackLeibler) and isinstance(two, KullbackLeibler)
    torch.testing.assert_close(one.value(x), two.value(x))
    physics.noise_model = PoissonGaussianNoise(0.02, 0.01)
    both = pnpkit.fidelity_of(physics, batch)
    assert isinstance(both, WeightedLeastSquares) and both.weights.shape == batch.shape
    torch.testing.assert_close(both.weights.mean((1, 2, 3)), torch.ones(2).double())
    mean = torch.nn.functional.avg_pool2d(y, 5, stride=1)  # of whole windows
    variance = (0.02 * mean + 1e-4).flatten()
    inner = both.weights[:1, :, 2:-2, 2:-2].flatten()
    torch.testing.assert_close(inner * variance, (inner * variance)[:1].expand_as(inner))


def test_noise_without_a_data_term_is_refused() -> None:
    physics, _, y = catalogue.operator("identity")
    for noise, message in (
        (UniformNoise(0.1), "no data term is known for UniformNoise"),
        (PoissonNoise(torch.tensor([0.1, 0.2])), "must be one number"),
        (PoissonNoise(0.0), "gain must be a finite number > 0"),
        (PoissonGaussianNoise(-1.0, 0.1), "gain must be a finite number > 0"),
    ):
        physics.noise_model = noise
        with pytest.raises(InputError, match=message):
            pnpkit.fidelity_of(physics, y)
    physics.noise_model = PoissonNoise(1.0)
    with pytest.raises(InputError, match="y >= 0"):
        pnpkit.fidelity_of(physics, y - 1)
