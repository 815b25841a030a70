r"""Splittings: functions that turn a problem into a Map whose certificate is composed from its parts.

The problem is min f(x) + g(x), where f is a data fidelity. A ``backward`` map stands for g: its proximal map, or a
denoiser at a fixed strength, ``D.at(sigma)``. ``continuation`` takes the denoiser itself, sigma -> ``D.at(sigma)``.
Forward-backward and half-quadratic splitting, at one penalty or several, take any averaged map. Douglas-Rachford, ADMM
and Davis-Yin need firmly nonexpansive maps. An alpha-averaged denoiser is relaxed until it is firmly nonexpansive (see
``firm``).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import reduce

from torch import Tensor

from pnpkit import certificates, proximal
from pnpkit.certificates import Certificate, Kind, Side
from pnpkit.errors import InputError
from pnpkit.fidelities.base import Fidelity
from pnpkit.fidelities.data import DataTerm
from pnpkit.maps import Map, checked

Penalty = Callable[[Tensor], Tensor]


At = Callable[[float], Map]  # a denoiser at a strength sigma: ``network.at``


def forward_backward(
    fidelity: Fidelity,
    backward: Map,
    tau: float | None = None,
    limits: tuple[float, float] | None = None,
) -> Map:
    r"""T = [proj_box] ∘ backward ∘ (id - tau grad f): proximal gradient, or Plug-and-Play with a denoiser.

    Args:
        fidelity: f. It raises an error for a tau outside (0, 2/L).
        backward: the proximal map of tau g, or a denoiser.
        tau: step size; default 1.9 / L.
        limits: (low, high) of a final box projection. It keeps the averagedness below 1. It also bounds the range, so
            that a fixed point exists and need not be assumed (Browder 1965).

    Example:
        >>> import torch
        >>> import pnpkit as pk
        >>> from pnpkit import kernels, proximal
        >>> f = pk.LeastSquares(pk.blur(kernels.box(3), "circular", (8, 8)), torch.rand(1, 3, 8, 8))
        >>> T = pk.forward_backward(f, proximal.soft_threshold(0.01), tau=1 / f.L)
        >>> round(T.certificate.averagedness, 4)
        0.6667
    """
    tau = fidelity.default_step_size() if tau is None else float(tau)
    step = backward @ fidelity.gradient_step(tau)
    if limits is not None:
        return proximal.box(*limits) @ step
    return replace(step, objective=_total(fidelity.value, tau, backward))


def penalised(fidelity: Fidelity, regulariser: Fidelity, limits: tuple[float, float]) -> Map:
    """T = proj_box ∘ (id - tau grad (f + R)) with tau = 1/L. Its fixed points minimise f + R over the box."""
    both = fidelity + regulariser
    return forward_backward(both, proximal.box(*limits), both.unit_step_size())


def half_quadratic(fidelity: DataTerm, backward: Map, tau: float, limits: tuple[float, float] | None = None) -> Map:
    """T = [proj_box] ∘ backward ∘ prox_{tau f}: half-quadratic splitting with a fixed penalty 1/tau.

    After Geman & Yang, IEEE TIP 4(7), 1995, with a constant penalty, so that T is one map.

    Args:
        fidelity: f. Its proximal map has a closed form or is solved to a proven error, see ``LeastSquares.prox``.
        backward: a denoiser or a proximal map. It must be averaged if T is to be averaged.
        tau: any number > 0. Unlike a gradient step, a proximal map is firmly nonexpansive for every tau.
        limits: as in ``forward_backward``.

    Raises:
        InputError: tau is not a finite number > 0.

    Example:
        >>> import torch
        >>> import pnpkit as pk
        >>> from pnpkit import kernels, proximal
        >>> f = pk.LeastSquares(pk.blur(kernels.box(3), "circular", (8, 8)), torch.rand(1, 3, 8, 8))
        >>> T = pk.half_quadratic(f, proximal.nonnegative(), tau=100.0)
        >>> round(T.certificate.averagedness, 4)
        0.6667
    """
    step = backward @ fidelity.prox(tau)
    return step if limits is None else proximal.box(*limits) @ step


def continuation(
    fidelity: DataTerm,
    denoiser: At,
    tau: float,
    sigma: float,
    limits: tuple[float, float] | None = None,
    factors: tuple[float, ...] | None = None,
) -> Map:
    r"""T = [proj_box] ∘ D(., s_m) ∘ prox_{t_m f} ∘ ... ∘ D(., s_1) ∘ prox_{t_1 f}: several penalties in turn.

    This is half-quadratic splitting with t_j = c_j tau and s_j = sqrt(c_j) sigma. Continuation (Wang, Yang, Yin &
    Zhang, SIAM J. Imaging Sci. 1(3), 2008) increases the penalty 1/tau from step to step and stops after some steps.
    Here a few such steps form one map, which is iterated: a composition of averaged maps is averaged, so there are
    fixed points and a proof of convergence. Strong steps separate structure from noise, weak ones keep texture.

    Args:
        fidelity, limits: as in ``half_quadratic``.
        denoiser: sigma -> the denoiser at that strength, such as ``network.at``.
        tau, sigma: the values for the factor 1; any tau > 0.
        factors: c_1, ..., c_m; c_1 is applied first. None uses ``factors_for``.

    Raises:
        InputError: no factors, or one of them or tau is not a finite number > 0.
    """
    tau = float(tau)
    factors = factors_for(tau) if factors is None else factors
    if not factors or min(factors) <= 0:
        raise InputError(f"continuation needs factors > 0, got {factors}")
    steps = [half_quadratic(fidelity, denoiser(math.sqrt(c) * sigma), c * tau) for c in factors]
    step = reduce(lambda inner, outer: outer @ inner, steps)
    return step if limits is None else proximal.box(*limits) @ step


def factors_for(tau: float) -> tuple[float, float]:
    """Return the factors c and c / 8, where c = 20 / sqrt(tau), limited to 2 ... 8.

    Where noise is weak, tau is large and less strength is enough. Measured by ``scripts/tune_continuation.py`` with the
    rules of ``strength`` for tau and sigma: no other pair is better by 0.01 dB. Three factors gain 0.02 dB at weak
    noise for a third more work.

    Example:
        >>> factors_for(16.0)
        (5.0, 0.625)
    """
    strong = min(max(20 / math.sqrt(tau), 2.0), 8.0) if tau > 0 else 8.0
    return strong, strong / 8


def firm(map: Map) -> Map:
    """Return a firmly nonexpansive map with the same fixed points: (1 - 1/(2 alpha)) id + 1/(2 alpha) T if alpha > 1/2.

    Example:
        >>> from pnpkit import proximal
        >>> T = proximal.box(0, 1) @ proximal.tikhonov(0.0)
        >>> round(firm(T).certificate.averagedness, 6)
        0.5
    """
    alpha = checked(map).certificate.averagedness
    if not map.certificate.averaged or alpha is None or alpha <= 0.5:
        return map
    return map.relax(0.5 / alpha * (1 - 4 * math.ulp(1.0)))


def douglas_rachford(fidelity: DataTerm, backward: Map, tau: float) -> Map:
    """T z = z + B(2 P z - z) - P z, where P = prox_{tau f} and B = firm(backward). The image is P z.

    T is firmly nonexpansive if P and B are (Lions & Mercier 1979). Any tau > 0 is allowed; others raise InputError.

    Example:
        >>> import torch
        >>> import pnpkit as pk
        >>> from pnpkit import kernels, proximal
        >>> f = pk.LeastSquares(pk.blur(kernels.box(3), "circular", (8, 8)), torch.rand(1, 3, 8, 8))
        >>> pk.douglas_rachford(f, proximal.nonnegative(), tau=1.0).certificate.averagedness
        0.5
    """
    tau = float(tau)
    map = _reflected(fidelity.prox(tau), firm(backward), "Douglas-Rachford")
    return replace(map, objective=_total(fidelity.value, tau, backward), pace=fidelity.pace(tau))


def admm(fidelity: DataTerm, backward: Map, tau: float) -> Map:
    """ADMM in the variable z = x + u: Douglas-Rachford with the two maps exchanged. The image is B z (Gabay 1983).

    Any tau > 0 is allowed; others raise InputError.
    """
    tau = float(tau)
    map = _reflected(firm(backward), fidelity.prox(tau), "ADMM")
    return replace(map, objective=_total(fidelity.value, tau, backward), pace=fidelity.pace(tau))


def _reflected(first: Map, second: Map, name: str) -> Map:
    def step(z: Tensor) -> Tensor:
        x = first(z)
        return z + second(2 * x - z) - x

    parts = (first.certificate, second.certificate)
    method = "1/2 id + 1/2 R R' with reflections of firmly nonexpansive maps (Lions & Mercier 1979)"
    certificate = Certificate(name, 1.0, 0.5, Side.PROVEN, method, parts=parts)
    if not _all_firm(parts):
        certificate = certificates.nothing(name, f"{name} needs two firmly nonexpansive maps", parts)
    magnitude = max(first.magnitude, second.magnitude)
    return Map(step, certificate, first, error=3 * first.error + second.error, magnitude=magnitude)


def davis_yin(fidelity: Fidelity, first: Map, second: Map, tau: float | None = None) -> Map:
    """T z = z + S(2 x - z - tau grad f(x)) - x with x = F z: for two proximal maps and a smooth f.

    F = firm(first) and S = firm(second), for example a denoiser and a box. The image is F z. T is
    2/(4 - tau L)-averaged for tau in (0, 2/L) (Davis & Yin 2017, Prop. 2.1).
    """
    tau = fidelity.unit_step_size() if tau is None else float(tau)
    gradient_step = fidelity.gradient_step(tau)  # raises StepSizeError for an illegal tau
    one, two = firm(first), firm(second)

    def step(z: Tensor) -> Tensor:
        x = one(z)
        return z + two(x - z + gradient_step(x)) - x

    parts = (one.certificate, two.certificate, gradient_step.certificate)
    method = f"three-operator splitting, tau L = {tau * fidelity.L:.6g} < 2 (Davis & Yin 2017, Prop. 2.1)"
    alpha = 2 / (4 - tau * fidelity.L)
    certificate = Certificate("Davis-Yin", 1.0, alpha if alpha < 1 else None, Side.PROVEN, method, parts=parts)
    if not (_all_firm(parts[:2]) and parts[2].averaged):
        certificate = certificates.nothing("Davis-Yin", "its maps must be firmly nonexpansive", parts)
    objective = _total(fidelity.value, tau, first, second)
    error, magnitude = 3 * one.error + two.error, max(one.magnitude, two.magnitude, gradient_step.magnitude)
    return Map(step, certificate, one, objective, pace=fidelity.pace(tau), error=error, magnitude=magnitude)


def _total(value: Penalty, tau: float, *maps: Map) -> Penalty | None:
    """Return f + g if each map is a true proximal map that knows its tau g; otherwise None.

    If g contains the indicator of a set, the value is taken at the nearest point of the set. At x itself it would be
    infinite or, without the indicator, below the minimum. If there are two sets, the result is None.
    """
    penalties = [map.objective for map in maps if map.certificate.kind is Kind.PROX]
    sets = [map for map in maps if map.is_projection]
    if len(penalties) < len(maps) or None in penalties or len(sets) > 1:
        return None

    def total(x: Tensor) -> Tensor:
        for map in sets:
            x = map(x)
        return value(x) + sum(penalty(x) for penalty in penalties if penalty is not None) / tau

    return total


def _all_firm(parts: tuple[Certificate, ...]) -> bool:
    return all(p.averaged and p.averagedness is not None and p.averagedness <= 0.5 for p in parts)


CONTINUATION, HALF_QUADRATIC, FORWARD_BACKWARD = "continuation", "half-quadratic", "forward-backward"


# The splittings that a restoration can choose from. Each maps (f, denoiser, tau, sigma, box) to T.
SPLITTINGS: dict[str, Callable[[DataTerm, At, float, float, tuple[float, float]], Map]] = {
    CONTINUATION: continuation,
    HALF_QUADRATIC: lambda f, denoiser, tau, sigma, limits: half_quadratic(f, denoiser(sigma), tau, limits),
    FORWARD_BACKWARD: lambda f, denoiser, tau, sigma, limits: forward_backward(f, denoiser(sigma), tau, limits),
}
