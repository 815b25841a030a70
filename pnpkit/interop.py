r"""deepinv's denoisers, priors and data fidelities as maps with certificates; where nothing is proven, they say so.

No adapter is needed in the other direction: pnpkit's denoisers are ``deepinv.models.Denoiser``, its operators
``LinearPhysics``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from deepinv.optim import L1Prior, L12Prior, PnP, Prior, Tikhonov, TVPrior, ZeroPrior
from deepinv.optim.data_fidelity import L2, DataFidelity
from deepinv.physics import LinearPhysics
from torch import Tensor

from pnpkit.certificates import EXACT, Certificate, Kind, Side, nothing
from pnpkit.errors import InputError
from pnpkit.fidelities.base import Fidelity, Smooth
from pnpkit.fidelities.least_squares import LeastSquares
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
        fidelity: ``L2(sigma)`` is 1/(2 sigma^2) ||A x - y||^2, with L = ||A||^2 / sigma^2 from the operator. Any other
            needs ``L``, and its convexity and L are premises.
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
        least, scale = LeastSquares(physics, y), float(fidelity.norm)
        sign = "<=" if least.side is Side.PROVEN else ">="
        method = f"L = ||A||^2 / sigma^2 {sign} {least.L * scale:.6g} ({least.norm.method})"
        return Smooth(
            lambda x: scale * least.value(x),
            lambda x: scale * least.gradient(x),
            least.L * scale,
            side=least.side,
            method=method,
            premises=(),
        )
    raise InputError(f"no smoothness constant is known for {type(fidelity).__name__}: give L")


def _per_image(value: Any, x: Tensor) -> Tensor:
    """The values per image (B,). deepinv sums some functions over the batch: a single number needs a batch of one."""
    number = torch.as_tensor(value).to(x)
    if number.numel() != len(x):
        raise InputError(f"expected a value per image of a batch of {len(x)}, got {number.numel()}")
    return number.flatten()
