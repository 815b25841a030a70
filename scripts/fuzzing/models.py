"""Small linear problems twice: as the package has them, and in numpy, by a dense matrix in float64."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import deepinv
import numpy as np
import torch

import pnpkit as pk
from fuzzing.cases import Case
from fuzzing.doors import from_matrix, proximal

Array = np.ndarray
Function = Callable[[Array], Array]  # of a batch (B, n) in float64


@dataclass
class Backward:
    """A map at a step tau, and the same in numpy.

    Attributes:
        at: tau -> Map.
        exact: (z, tau) -> its value.
        penalty: x -> g(x) per image, with tau g behind the map; None where there is none.
        honest: whether its certificate is true.
        size: how large its values may be whatever z is: its share of the rounding.
    """

    name: str
    at: Callable[[float], pk.Map]
    exact: Callable[[Array, float], Array]
    penalty: Callable[[Array], Array] | None = None
    honest: bool = True
    size: float = 0.0


def simplex(z: Array, total: float) -> Array:
    """Projection onto {x >= 0: sum x = total}, by bisection on the threshold."""
    low, high = z.min(1) - total, z.max(1)
    for _ in range(200):
        middle = (low + high) / 2
        over = np.maximum(z - middle[:, None], 0).sum(1) > total
        low, high = np.where(over, middle, low), np.where(over, high, middle)
    return np.maximum(z - high[:, None], 0)


def l1_ball(z: Array, radius: float) -> Array:
    inside = np.abs(z).sum(1, keepdims=True) <= radius
    return np.where(inside, z, np.sign(z) * simplex(np.abs(z), radius))


def ball(z: Array, radius: float) -> Array:
    size = np.linalg.norm(z, axis=1, keepdims=True)
    return z * np.minimum(1, radius / np.maximum(size, 1e-300))


def zero(x: Array) -> Array:
    return np.zeros(len(x))


@lru_cache
def denoiser(name: str) -> Any:
    return pk.load_denoiser(name)


def denoising(name: str, sigma: float, shape: tuple[int, ...]) -> Backward:
    """A denoiser that ships; its exact values are its own in float64."""
    network = denoiser(name)

    def exact(z: Array, tau: float) -> Array:
        with torch.no_grad():
            out: Array = network(torch.from_numpy(z.reshape(len(z), *shape)), sigma).numpy().reshape(len(z), -1)
        return out

    return Backward(name, lambda tau: network.at(sigma), exact)


def backward(case: Case, shape: tuple[int, ...]) -> Backward:
    """A proximal map, a projection, a denoiser, or a map that lies about itself."""
    w = 10 ** case.random.uniform(-3, 1)
    low, high = sorted(case.random.choice(((0, 1), (-1, 2), (0, 0), (0.3, 5))))
    choices = ["soft", "soft", "tikhonov", "box", "nonnegative", "l2", "l1", "simplex", "half space", "none"]
    choices += ["lie"] if case.chance(0.5) else []
    choices += [case.weighted({"wavelet": 0.15, "identity": 0.85})] if len(shape) == 3 else []
    name = case.random.choice(choices)
    side = math.sqrt(math.prod(shape))
    if name == "soft":
        return Backward(
            name,
            lambda tau: proximal.soft_threshold(w * tau),
            lambda z, tau: np.sign(z) * np.maximum(np.abs(z) - w * tau, 0),
            lambda x: w * np.abs(x).sum(1),
        )
    if name == "tikhonov":
        square = lambda x: w / 2 * (x**2).sum(1)  # noqa: E731
        return Backward(name, lambda tau: proximal.tikhonov(w * tau), lambda z, tau: z / (1 + w * tau), square)
    if name == "box":
        size = max(abs(low), abs(high)) * side
        return Backward(name, lambda tau: proximal.box(low, high), lambda z, tau: z.clip(low, high), zero, size=size)
    if name == "nonnegative":
        return Backward(name, lambda tau: proximal.nonnegative(), lambda z, tau: z.clip(0), zero)
    if name == "l2":
        return Backward(name, lambda tau: proximal.l2_ball(w), lambda z, tau: ball(z, w), zero, size=w)
    if name == "l1":
        return Backward(name, lambda tau: proximal.l1_ball(w), lambda z, tau: l1_ball(z, w), zero, size=w)
    if name == "simplex":
        return Backward(name, lambda tau: proximal.simplex(w), lambda z, tau: simplex(z, w), zero, size=w)
    if name == "half space":
        normal = case.numbers.standard_normal(math.prod(shape))

        def project(z: Array, tau: float) -> Array:
            return np.asarray(z - normal * ((z @ normal)[:, None] - w).clip(0) / (normal @ normal))

        def made(tau: float) -> pk.Map:
            here = torch.from_numpy(normal.reshape(shape))
            return pk.Map(
                lambda z: proximal.half_space(here.to(z.dtype), w)(z), proximal.half_space(here, w).certificate
            )

        return Backward(name, made, project, size=w)
    if name in ("wavelet", "identity"):
        return denoising(name, case.random.choice((0.01, 0.1, 0.196)), shape)
    if name == "none":
        return Backward(name, lambda tau: proximal.box(-math.inf, math.inf), lambda z, tau: z, zero)
    return lie(case, side)


def lie(case: Case, side: float) -> Backward:
    """x -> factor x + shift with a certificate of an averaged map, or with none: then it claims nothing."""
    factor = case.random.choice((1.3, -1.3, -1.0, -0.9, 1.01, 3.0))
    shift = case.random.choice((0.0, 1.0))
    claim = pk.Certificate("lie", 1.0, 0.5, pk.Side.PROVEN, "claimed", bounded=case.chance(0.3))
    open_ = case.chance(0.3)
    certificate = pk.nothing("open", "nothing is known") if open_ else claim
    case.note(f"x -> {factor} x + {shift}, {'open' if open_ else 'claimed'}")
    map = pk.Map(lambda z: factor * z + shift, certificate)
    return Backward(
        "open" if open_ else "lie", lambda tau: map, lambda z, tau: factor * z + shift, honest=open_, size=shift * side
    )


def operator(case: Case, dtype: torch.dtype) -> tuple[str, Any, tuple[int, ...]]:
    """A name, the physics, and the shape of an image of its domain."""
    names = ("matrix", "matrix", "identity", "mask", "circular", "zero", "unknown", "own", "down", "fft")
    name = case.random.choice(names)
    rows, columns = case.random.randint(4, 7), case.random.randint(4, 7)
    kernel = case.numbers.random((3, case.random.choice((1, 3)))) - (0.5 if case.chance(0.3) else 0)
    kernel = kernel / np.abs(kernel).sum() * case.random.choice((1, 1, 1, 3, 1e-3))
    if name == "matrix":
        m, n = case.random.randint(1, 12), case.random.randint(1, 12)
        values = case.numbers.standard_normal((m, n)) * case.random.choice((1, 1, 10, 1e-3))
        if case.chance(0.2):
            values[:, -1] = values[:, 0]  # of no full rank
        return name, from_matrix(torch.from_numpy(values).to(dtype)), (n,)
    if name == "identity":
        return name, deepinv.physics.Denoising(), (case.random.choice((1, 3)), rows, columns)
    if name == "mask":
        channels = case.random.choice((1, 3))
        mask = torch.from_numpy(case.numbers.random((1, rows, columns)) > 0.4).to(dtype).expand(channels, -1, -1)
        return name, deepinv.physics.Inpainting((channels, rows, columns), mask=mask), (channels, rows, columns)
    if name in ("circular", "zero"):
        return name, pk.blur(kernel, name, (rows, columns), dtype=dtype), (1, rows, columns)
    if name == "unknown":
        shape = (1, rows + kernel.shape[0] - 1, columns + kernel.shape[1] - 1)
        return name, pk.blur(kernel, "unknown", (rows, columns), dtype=dtype), shape
    filters = torch.from_numpy(kernel)[None, None].to(dtype)
    if name == "fft":
        return name, deepinv.physics.BlurFFT((1, rows, columns), filter=filters), (1, rows, columns)
    if name == "down":
        shape = (1, 2 * rows, 2 * columns)
        square = torch.full((1, 1, 2, 2), 0.25, dtype=dtype)
        return name, deepinv.physics.Downsampling(img_size=shape, filter=square, factor=2, padding="valid"), shape
    own = torch.from_numpy(case.numbers.standard_normal((8, 9))).to(dtype)
    return name, deepinv.physics.LinearPhysics(A=lambda x: x @ own.mT, A_adjoint=lambda y: y @ own), (9,)


def dense(physics: Any, shape: tuple[int, ...], dtype: torch.dtype) -> Array:
    """The matrix of an operator, (m, n), in float64."""
    basis = torch.eye(math.prod(shape), dtype=dtype).view(-1, *shape)
    with torch.no_grad():
        return physics.A(basis).flatten(1).double().numpy().T.copy()


@dataclass
class Problem:
    """A map of the package, the same in numpy, and what is true of it.

    Attributes:
        map: T.
        exact: T in float64.
        readout: the image of an iterate, in float64.
        honest: whether every certificate in it is true.
        covered: whether a theorem holds for Picard's iteration; None where that is left open.
        pace: min(1, tau L).
        tau: the largest step in it.
        objective: per image, the function that is minimised; None where none is known.
        size: what its parts may add whatever the iterate is.
    """

    map: pk.Map
    exact: Function
    readout: Function
    honest: bool
    covered: bool | None
    pace: float
    tau: float
    objective: Function | None = None
    size: float = 0.0


SPLITTINGS = ("forward-backward", "half-quadratic", "continuation", "douglas-rachford", "admm", "davis-yin")


def build(case: Case, f: pk.LeastSquares, matrix: Array, y: Array, name: str, shape: tuple[int, ...]) -> Problem:
    """A splitting of 1/2 ||A x - y||^2 + g(x)."""
    first = backward(case, shape)
    case.note(name, first.name)
    L, n = f.L, matrix.shape[1]
    proven = f.side is pk.Side.PROVEN

    def forward(x: Array, tau: float) -> Array:
        return np.asarray(x - tau * (x @ matrix.T - y) @ matrix)

    @lru_cache
    def inverse(tau: float) -> Array:
        return np.linalg.inv(np.eye(n) + tau * matrix.T @ matrix)

    def prox(x: Array, tau: float) -> Array:
        return np.asarray((x + tau * y @ matrix) @ inverse(tau))

    def value(x: Array) -> Array:
        return np.asarray(0.5 * ((x @ matrix.T - y) ** 2).sum(1))

    def same(x: Array) -> Array:
        return x

    limits = case.random.choice((None, (0.0, 1.0), (-1.0, 2.0)))
    firmly = first.name not in ("open", "lie")
    total = None if first.penalty is None else lambda x: value(x) + first.penalty(x)  # type: ignore[misc]
    if name == "forward-backward":
        share = case.random.choice((1.9, 1.0, 0.5, 1e-3, 1e-7, 2 - 1e-9, 1 + 1e-13, 2.0, 3.0, 0.0, -1.0))
        tau = share / L if L > 0 else 1.0
        case.note(f"tau L = {share}, limits {limits}")
        map = pk.forward_backward(f, first.at(tau), tau, limits)

        def step(x: Array) -> Array:
            out = first.exact(forward(x, tau), tau)
            return out if limits is None else out.clip(*limits)

        sure = None if share > 1.99 else proven and firmly
        return Problem(map, step, same, first.honest, sure, min(1.0, tau * L) if L > 0 else 1.0, tau,
                       total if limits is None else None, first.size)  # fmt: skip
    tau = 10 ** case.random.uniform(-4, 4)
    case.note(f"tau {tau:.4g}")
    pace = min(1.0, tau * L) if L > 0 else 1.0
    if name == "half-quadratic":
        map = pk.half_quadratic(f, first.at(tau), tau, limits)

        def step(x: Array) -> Array:
            out = first.exact(prox(x, tau), tau)
            return out if limits is None else out.clip(*limits)

        return Problem(map, step, same, first.honest, firmly, pace, tau, size=first.size)
    if name == "continuation":
        sigma, factors = 10 ** case.random.uniform(-3, 0), (2.0, 0.25)
        map = pk.continuation(f, lambda s: first.at(s), tau, sigma, limits, factors)

        def step(x: Array) -> Array:
            for c in factors:
                x = first.exact(prox(x, c * tau), math.sqrt(c) * sigma)
            return x if limits is None else x.clip(*limits)

        pace = min(1.0, min(factors) * tau * L) if L > 0 else 1.0
        return Problem(map, step, same, first.honest, firmly, pace, max(factors) * tau, size=first.size)
    if name == "davis-yin":
        tau = case.random.choice((1.0, 0.5, 1.9, 1e-3)) / L if L > 0 else 1.0
        second = backward(case, shape)
        case.note("and", second.name, f"tau {tau:.4g}")
        map = pk.davis_yin(f, first.at(tau), second.at(tau), tau)

        def step(x: Array) -> Array:
            image = first.exact(x, tau)
            return x + second.exact(image - x + forward(image, tau), tau) - image

        return Problem(map, step, lambda z: first.exact(z, tau), first.honest and second.honest,
                       proven and firmly and second.name not in ("open", "lie"),
                       min(1.0, tau * L) if L > 0 else 1.0, tau, None, first.size + second.size)  # fmt: skip

    def reflected(z: Array) -> Array:
        if name == "admm":
            b = first.exact(z, tau)
            return z + prox(2 * b - z, tau) - b
        p = prox(z, tau)
        return z + first.exact(2 * p - z, tau) - p

    make = pk.admm if name == "admm" else pk.douglas_rachford
    read = (lambda z: first.exact(z, tau)) if name == "admm" else (lambda z: prox(z, tau))
    return Problem(make(f, first.at(tau), tau), reflected, read, first.honest, firmly, pace, tau,
                   total if first.penalty is not zero else None, first.size)  # fmt: skip
