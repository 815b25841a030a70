r"""Conversion of deepinv's denoisers, priors and data fidelities to maps with certificates.

If nothing is proven about one of them, its certificate says so. No adapter is needed in the other direction: pnpkit's
denoisers are ``deepinv.models.Denoiser``, and its operators are ``LinearPhysics``.
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
    """Return x -> D(x, strength) as a Map.

    Args:
        denoiser: a pnpkit network; a Map, which is scaled to D(s x) / s; or any callable D(x, sigma), about which
            nothing is proven.
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
    """Return the function tau -> proximal map of tau * weight * g for a deepinv prior g, for ``proximal_gradient``.

    The l1, l12, Tikhonov and zero priors are proven. Total variation is proven under the premise that its inner solver
    is exact. A ``PnP`` prior is its denoiser at ``strength``. Nothing is proven about any other prior.
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
    """Convert a deepinv data fidelity to a data term x -> f(A x, y).

    Args:
        fidelity: ``L2(sigma)`` becomes 1/(2 sigma^2) ||A x - y||^2, with L = ||A||^2 / sigma^2 from the operator.
            ``PoissonLikelihood`` becomes ``KullbackLeibler``. Any other needs ``L``; its convexity and L are premises.
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
    """Return the data term of the noise model of a deepinv physics: a negative log-likelihood, or a multiple of it.

    - ``ZeroNoise`` and ``GaussianNoise`` with one sigma: least squares, the negative log-likelihood times sigma^2. With
      a sigma for each image: weights sigma^-2, divided by their mean.
    - ``PoissonNoise``: Kullback-Leibler with its gain. y are its readings, in counts if it does not normalise.
    - ``PoissonGaussianNoise``: least squares weighted by 1 / variance, divided by its mean in an image. The variance is
      gain max(v, gain/2) + sigma^2, where v is a mean of 5 x 5 readings.

    Raises:
        InputError: the noise model is another one; the gain is not > 0 or differs in a batch; or readings are < 0 with
            Poisson noise.
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
        "PoissonGaussianNoise; make any other data term yourself, for instance Huber(A, y, delta)"
    )


def _one(values: Tensor) -> float:
    """Return the single value of a tensor whose values are all equal."""
    if bool((values != values.flatten()[0]).any()):
        raise InputError("the gain of Poisson noise must be one number, the batch has several: take image by image")
    return float(values.flatten()[0])


def _per_reading(values: Tensor, y: Tensor) -> Tensor:
    """Reshape a number, or one number for each image (B,), so that it broadcasts to y."""
    return values.to(y).reshape(-1, *(1,) * (y.ndim - 1))


def _over_mean(variance: Tensor) -> Tensor:
    """Return 1 / variance divided by its mean in an image, or over images if there is one number for each."""
    weights = 1 / variance
    alike = weights[0].numel() == 1
    return weights / (weights.mean() if alike else weights.flatten(1).mean(1).view(-1, *(1,) * (weights.ndim - 1)))


def _mean(y: Tensor) -> Tensor:
    """Return means over 5 x 5 readings, fewer at the border. Data without rows and columns stay as they are."""
    if y.ndim != 4:
        return y
    return torch.nn.functional.avg_pool2d(y, 5, stride=1, padding=2, count_include_pad=False)


def _per_image(value: Any, x: Tensor) -> Tensor:
    """Return one value per image, (B,).

    deepinv sums some functions over the batch, so a single number needs a batch of one.
    """
    number = torch.as_tensor(value).to(x)
    if number.numel() != len(x):
        raise InputError(f"expected a value per image of a batch of {len(x)}, got {number.numel()}")
    return number.flatten()
