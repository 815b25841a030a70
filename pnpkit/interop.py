r"""deepinv's denoisers, priors and data fidelities as maps with certificates; where nothing is proven, they say so.

No adapter is needed in the other direction: pnpkit's denoisers are ``deepinv.models.Denoiser``, its operators
``LinearPhysics``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from deepinv.optim import L1Prior, L12Prior, PnP, Prior, Tikhonov, TVPrior, ZeroPrior
from deepinv.optim.data_fidelity import L2, DataFidelity, PoissonLikelihood
from deepinv.physics import GaussianNoise, LinearPhysics, PoissonGaussianNoise, PoissonNoise, ZeroNoise
from torch import Tensor

from pnpkit.certificates import EXACT, Certificate, Kind, Side, nothing
from pnpkit.errors import InputError
from pnpkit.fidelities.base import Fidelity, Smooth
from pnpkit.fidelities.data import DataTerm
from pnpkit.fidelities.kullback_leibler import KullbackLeibler
from pnpkit.fidelities.least_squares import LeastSquares
from pnpkit.fidelities.weighted import WeightedLeastSquares
from pnpkit.maps import Map
from pnpkit.networks.base import Network

CLOSED = (L1Prior, L12Prior, Tikhonov, ZeroPrior)  # convex, with a proximal map in closed form


def as_map(denoiser: Network | Callable[[Tensor, float], Tensor] | Map, strength: float) -> Map:
    """x -> D(x, strength) as a map.

    Args:
        denoiser: a pnpkit network; a Map, then scaled to D(s x) / s; or any callable D(x, sigma), of which nothing is
            proven.
        strength: sigma, or s.
    """
    if isinstance(denoiser, Network):
        return denoiser.at(strength)
    if isinstance(denoiser, Map):
        return denoiser.scale(strength)
    if not callable(denoiser):
        raise InputError(f"a denoiser is a network, a Map or a callable D(x, sigma), got {type(denoiser).__name__}")
    name = type(denoiser).__name__
    return Map(lambda x: denoiser(x, strength), nothing(name, "a foreign denoiser: no bound is known"))


def from_prior(prior: Prior, weight: float = 1.0, *, strength: float | None = None) -> Callable[[float], Map]:
    """tau -> the proximal map of tau * weight * g for a deepinv prior g, as ``proximal_gradient`` takes it.

    The l1, l12, Tikhonov and zero priors are proven. Total variation is proven under the premise that its inner solver
    is exact. A ``PnP`` prior is its denoiser at ``strength``. Of any other prior nothing is proven.
    """
    if isinstance(prior, PnP):
        if strength is None:
            raise InputError("a PnP prior needs strength, the sigma of its denoiser")
        return lambda tau: as_map(prior.denoiser, strength)
    if not weight >= 0:
        raise InputError(f"a prior needs a weight >= 0, got {weight}")

    def at(tau: float) -> Map:
        def prox(z: Tensor) -> Tensor:
            out: Tensor = prior.prox(z, gamma=tau * weight)
            return out

        certificate = _certify_prior(prior, tau * weight)
        known = certificate.side is Side.PROVEN
        return Map(
            prox, certificate, objective=(lambda x: tau * weight * _per_image(prior.fn(x), x)) if known else None
        )

    return at


def _certify_prior(prior: Prior, weight: float) -> Certificate:
    name = f"prox {weight:.6g} {type(prior).__name__}"
    method = "proximal map of a convex function: firmly nonexpansive (Moreau 1965)"
    if type(prior) in CLOSED:
        return Certificate(name, 1.0, 0.5, Side.PROVEN, method, (EXACT,), kind=Kind.PROX)
    if type(prior) is TVPrior:
        premise = f"deepinv's inner solver for total variation is exact (its tolerance: {prior.TVModel.crit:g})"
        return Certificate(name, 1.0, 0.5, Side.PROVEN, method, (premise, EXACT), kind=Kind.PROX)
    return nothing(name, "a foreign prior: it is not known to be convex")


def from_data_fidelity(fidelity: DataFidelity, y: Tensor, physics: LinearPhysics, L: float | None = None) -> Fidelity:
    """A deepinv data fidelity x -> f(A x, y).

    Args:
        fidelity: ``L2(sigma)`` is 1/(2 sigma^2) ||A x - y||^2, with L = ||A||^2 / sigma^2 from the operator;
            ``PoissonLikelihood`` is ``KullbackLeibler``. Any other needs ``L``, and its convexity and L are premises.
        y, physics: measurement and forward model.
        L: smoothness constant that the user vouches for.
    """

    def value(x: Tensor) -> Tensor:
        return _per_image(fidelity(x, y, physics), x)

    def gradient(x: Tensor) -> Tensor:
        out: Tensor = fidelity.grad(x, y, physics)
        return out

    if L is not None:
        return Smooth(value, gradient, L)
    if type(fidelity) is L2:
        weight = float(fidelity.norm)
        return LeastSquares(physics, y) if weight == 1 else WeightedLeastSquares(physics, y, weight)
    if type(fidelity) is PoissonLikelihood:
        counts = y if fidelity.normalize else y * fidelity.gain
        return KullbackLeibler(physics, counts, fidelity.bkg * fidelity.gain, fidelity.gain)
    raise InputError(f"no smoothness constant is known for {type(fidelity).__name__}: give L")


def fidelity_of(physics: LinearPhysics, y: Tensor) -> DataTerm:
    """The data term of the noise model that a deepinv physics carries: a negative log-likelihood, or a multiple of it.

    - ``ZeroNoise`` and ``GaussianNoise`` with one sigma: least squares, the log-likelihood times sigma^2. With a sigma
      for each image: weights sigma^-2, over their mean.
    - ``PoissonNoise``: Kullback-Leibler with its gain; y are its readings, in counts where it does not normalise.
    - ``PoissonGaussianNoise``: least squares weighted by 1 / variance, over its mean in an image; the variance is
      gain max(v, gain/2) + sigma^2, v a mean of 5 x 5 readings.

    Raises:
        InputError: another noise model, a gain that is not > 0 or differs in a batch, readings < 0 with Poisson noise.
    """
    noise = getattr(physics, "noise_model", None)
    kind = type(noise)
    if noise is None or kind is ZeroNoise:
        return LeastSquares(physics, y)
    if kind is GaussianNoise:
        if noise.sigma.numel() == 1:
            return LeastSquares(physics, y)
        return WeightedLeastSquares(physics, y, _over_mean(_per_reading(noise.sigma, y).square()))
    if kind is PoissonNoise:
        one = _one(noise.gain)
        return KullbackLeibler(physics, y if bool(noise.normalize) else y * one, gain=one)
    if kind is PoissonGaussianNoise:
        gain, sigma = _per_reading(noise.gain, y), _per_reading(noise.sigma, y)
        if not bool((gain > 0).all()):
            raise InputError(f"gain must be a finite number > 0, got {noise.gain.min():g}")
        return WeightedLeastSquares(physics, y, _over_mean(gain * torch.maximum(_mean(y), gain / 2) + sigma.square()))
    raise InputError(
        f"no data term is known for {kind.__name__}: known are ZeroNoise, GaussianNoise, PoissonNoise and "
        "PoissonGaussianNoise; Huber, for instance, is made by hand"
    )


def _one(values: Tensor) -> float:
    """The one value that there is, or that all are."""
    if bool((values != values.flatten()[0]).any()):
        raise InputError("the gain of Poisson noise must be one number, the batch has several: take image by image")
    return float(values.flatten()[0])


def _per_reading(values: Tensor, y: Tensor) -> Tensor:
    """A number, or one for each image (B,), in a shape that broadcasts to y."""
    return values.to(y).reshape(-1, *(1,) * (y.ndim - 1))


def _over_mean(variance: Tensor) -> Tensor:
    """1 / variance, over its mean in an image; over images where there is one number for each."""
    weights = 1 / variance
    alike = weights[0].numel() == 1
    return weights / (weights.mean() if alike else weights.flatten(1).mean(1).view(-1, *(1,) * (weights.ndim - 1)))


def _mean(y: Tensor) -> Tensor:
    """Means over 5 x 5 readings, fewer at the border; what has no rows and columns as it is."""
    if y.ndim != 4:
        return y
    return torch.nn.functional.avg_pool2d(y, 5, stride=1, padding=2, count_include_pad=False)


def _per_image(value: Any, x: Tensor) -> Tensor:
    """The values per image (B,). deepinv sums some functions over the batch: a single number needs a batch of one."""
    number = torch.as_tensor(value).to(x)
    if number.numel() != len(x):
        raise InputError(f"expected a value per image of a batch of {len(x)}, got {number.numel()}")
    return number.flatten()
