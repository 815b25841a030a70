r"""Iterations: rules that turn x_k and T x_k into x_{k+1}. The loop that runs them is ``solvers.loop.solve``.

An iteration is a value with two pure functions: ``start`` makes its memory from x_0, and ``next`` returns x_{k+1} and
the new memory. Given the certificate of T, an iteration says which theorem covers it, how the theorem bounds the
residual ||x_k - T x_k||, and how far the residual can rise.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from pnpkit.certificates import Certificate, Kind
from pnpkit.errors import InputError
from pnpkit.solvers.guarantee import Theorem

ERRORS = 10.59  # zeta(1.1), rounded up: the sum of (n + 1)^-1.1


ROUNDED = 1e-12  # tau L may exceed 1 by this much: the rounding of tau = 1/L explains it


PART = 1 << 20  # number of values of a picture that Anderson's method handles at a time


# The names of the theorems.
BANACH, KRASNOSELSKII_MANN, HALPERN = "Banach", "Krasnosel'skii-Mann", "Halpern"


SUMMABLE_ERRORS = "Krasnosel'skii-Mann with summable errors (Combettes 2004), held to by the safeguard"


FISTA = "FISTA, Chambolle & Dossal 2015"


class Iteration(ABC):
    """The base class of iterations: x_{k+1}, memory = next(k, x_k, T x_k, memory)."""

    @property
    def copies(self) -> int:
        """The largest number of copies of the picture in the memory."""
        return 1

    @property
    def tau_L(self) -> float:
        """The default tau L of gradient steps: 1.9, near the upper end of the allowed interval."""
        return 1.9

    def start(self, x: Tensor) -> Any:
        """The memory before the first step."""
        return None

    @abstractmethod
    def next(self, k: int, x: Tensor, Tx: Tensor, memory: Any) -> tuple[Tensor, Any]:
        """Return x_{k+1} and the new memory, given x_k, ``Tx`` = T x_k and the old memory."""

    def accepted(self, x: Tensor, Tx: Tensor) -> Tensor:
        """Return the result of a run that ends here: T x, unless the iteration rejects that step."""
        return Tx

    @abstractmethod
    def theorem(self, certificate: Certificate) -> Theorem | None:
        """Return the convergence theorem whose hypotheses on T the certificate proves, or None."""

    def bound(self, certificate: Certificate, distance: float, k: int) -> float:
        """Return a proven bound on ||x_k - T x_k|| if ||x_0 - x*|| <= ``distance``; inf if there is none."""
        return math.inf

    def allowed(self, k: int, first: float, smallest: float) -> float:
        """Return the theorem's bound on ||x_k - T x_k||, given its first and smallest value so far; inf if none."""
        return math.inf

    def resumed(self, ratio: float) -> Iteration:
        """Return the iteration for the next stage, after a stage in which the residual fell by the factor ``ratio``."""
        return self

    def lighter(self) -> Iteration | None:
        """Return the same iteration with a smaller memory, or None if there is no smaller one."""
        return None


def residual_bound(averagedness: float, distance: float, k: int) -> float:
    """sqrt(alpha / (1 - alpha)) ||x_0 - x*|| / sqrt(k + 1) for Picard's iteration of an alpha-averaged map.

    The squares of the residuals sum to at most alpha / (1 - alpha) ||x_0 - x*||^2, and the residuals never rise.
    """
    return math.sqrt(averagedness / (1 - averagedness)) * distance / math.sqrt(k + 1)


@dataclass(frozen=True)
class Picard(Iteration):
    """x_{k+1} = T x_k."""

    def next(self, k: int, x: Tensor, Tx: Tensor, memory: None) -> tuple[Tensor, None]:
        return Tx, None

    def theorem(self, certificate: Certificate) -> Theorem | None:
        if certificate.contractive:
            return Theorem(BANACH, f"T is a contraction with factor 1 - {1 - certificate.lipschitz:.3g}, linear rate")
        if certificate.averaged:
            return Theorem(KRASNOSELSKII_MANN, f"T is {certificate.averagedness:.6g}-averaged")
        return None

    def bound(self, certificate: Certificate, distance: float, k: int) -> float:
        found = [math.inf]
        if certificate.averaged and certificate.averagedness is not None:
            found.append(residual_bound(certificate.averagedness, distance, k))
        if certificate.contractive:
            found.append((1 + certificate.lipschitz) * certificate.lipschitz**k * distance)
        return min(found)

    def allowed(self, k: int, first: float, smallest: float) -> float:
        return smallest  # the residuals of Picard's iteration never rise


@dataclass(frozen=True)
class KrasnoselskiiMann(Iteration):
    """x_{k+1} = (1 - lam) x_k + lam T x_k.

    lam lies in (0, 1) for a nonexpansive T, and in (0, 1/alpha) for an alpha-averaged one.
    """

    relaxation: float = 0.5

    def next(self, k: int, x: Tensor, Tx: Tensor, memory: None) -> tuple[Tensor, None]:
        return x + self.relaxation * (Tx - x), None

    def theorem(self, certificate: Certificate) -> Theorem | None:
        alpha = certificate.averagedness if certificate.averaged else 1.0 if certificate.nonexpansive else None
        if alpha is not None and 0 < self.relaxation < 1 / alpha:
            return Theorem(KRASNOSELSKII_MANN, f"relaxation {self.relaxation:g} in (0, {1 / alpha:.6g})")
        return None

    def bound(self, certificate: Certificate, distance: float, k: int) -> float:
        if self.theorem(certificate) is None:
            return math.inf
        alpha = 1.0 if certificate.averagedness is None else certificate.averagedness
        return residual_bound(self.relaxation * alpha, distance, k) / self.relaxation

    def allowed(self, k: int, first: float, smallest: float) -> float:
        return smallest  # the relaxed map is averaged, so its residuals, ``relaxation`` times these, never rise


@dataclass(frozen=True)
class Halpern(Iteration):
    """x_{k+1} = b_k x_0 + (1 - b_k) T x_k, b_k = 1/(k + 2): ||x_k - T x_k|| <= 2 ||x_0 - x*|| / (k + 1)."""

    def start(self, x: Tensor) -> Tensor:
        return x

    def next(self, k: int, x: Tensor, Tx: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        weight = 1 / (k + 2)
        return weight * memory + (1 - weight) * Tx, memory

    def theorem(self, certificate: Certificate) -> Theorem | None:
        if certificate.nonexpansive:
            return Theorem(HALPERN, "T is nonexpansive, residual <= 2 ||x_0 - x*|| / (k + 1) (Lieder 2021)")
        return None

    def bound(self, certificate: Certificate, distance: float, k: int) -> float:
        return 2 * distance / (k + 1) if certificate.nonexpansive else math.inf

    def allowed(self, k: int, first: float, smallest: float) -> float:
        return (1 + 2 * k) * first  # ||x_k - x_0|| <= k ||x_0 - T x_0||, and id - T is 2-Lipschitz


@dataclass(frozen=True)
class Fista(Iteration):
    """z_{k+1} = T z_k + (k - 1)/(k + a) (T z_k - T z_{k-1}), a > 2 (Chambolle & Dossal, JOTA 166, 2015).

    The iterate of the loop is the extrapolated point z. The theorem bounds the objective, not the residual. It covers
    only a true proximal map after a gradient step with tau <= 1/L. The iteration also runs with a denoiser, but then
    nothing is guaranteed.
    """

    a: float = 3.0

    @property
    def tau_L(self) -> float:
        """1, the largest value that the theorem allows."""
        return 1.0

    def start(self, x: Tensor) -> Tensor:
        return x

    def next(self, k: int, x: Tensor, Tx: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        momentum = k / (k + 1 + self.a)
        return Tx + momentum * (Tx - memory), Tx

    def theorem(self, certificate: Certificate) -> Theorem | None:
        kinds = tuple(part.kind for part in certificate.parts)
        composed = certificate.kind is Kind.COMPOSITION and kinds == (Kind.PROX, Kind.GRADIENT_STEP)
        if not (certificate.averaged and composed and self.a > 2):
            return None
        half = certificate.parts[1].averagedness  # tau L / 2
        if half is None or half > 0.5 + ROUNDED:
            return None
        return Theorem(FISTA, f"proximal map, tau L = {2 * half:.6g} <= 1, a = {self.a:g} > 2")

    def allowed(self, k: int, first: float, smallest: float) -> float:
        r"""(9 + 12 s) first with s = t_1 + ... + t_k. It is far above the smallest value: momentum may raise residuals.

        Let y = T x_0, x_j = T z_j and u_j = x_{j-1} + t_j (x_j - x_{j-1}). tau F has a subgradient at y with norm at
        most first, so the energy of the theorem gives ||u_k - y||^2 <= ||x_0 - y||^2 + 2 s first max_j ||x_j - y||.
        Each x_j lies between x_{j-1} and u_j. So all u_j and x_j are within m = (2 s + 1) first of y, and all z_j
        within 3 m. id - T is 2-Lipschitz.
        """
        return (9 + 12 * (k + k * (k - 1) / (2 * self.a))) * first


@dataclass(frozen=True)
class AndersonMemory:
    """The last points x and values T x, and for each image the number of accelerations and the first residual."""

    points: tuple[Tensor, ...] = ()
    values: tuple[Tensor, ...] = ()
    accelerated: Tensor | None = None
    scale: Tensor | None = None


@dataclass(frozen=True)
class Anderson(Iteration):
    r"""Anderson acceleration (type II) with a safeguard that keeps the convergence proof.

    The candidate c_k extrapolates from the last ``depth`` pairs so that the residual is smallest. It replaces T x_k
    only if

        ||c_k - T x_k|| <= D ||x_0 - T x_0|| (n + 1)^-1.1,   n the number of accelerations so far.

    So x_{k+1} = T x_k + e_k with sum ||e_k|| < inf. Krasnosel'skii-Mann with summable errors converges for an averaged
    T (Combettes, Optimization 53, 2004). The safeguard follows Zhang, O'Donoghue & Boyd, SIAM J. Optim. 30, 2020. Each
    image of the batch is accelerated by itself.
    """

    depth: int = 5
    D: float = 100.0

    def __post_init__(self) -> None:
        if self.depth < 1:
            raise InputError(f"a depth is at least 1, got {self.depth}: for no acceleration use Picard()")

    def start(self, x: Tensor) -> AndersonMemory:
        return AndersonMemory()

    def next(self, k: int, x: Tensor, Tx: Tensor, memory: AndersonMemory) -> tuple[Tensor, AndersonMemory]:
        points = (*memory.points, x)[-self.depth - 1 :]
        values = (*memory.values, Tx)[-self.depth - 1 :]
        if memory.scale is None or memory.accelerated is None:
            scale = torch.linalg.vector_norm((x - Tx).flatten(1), dim=1)
            return Tx, AndersonMemory(points, values, torch.zeros_like(scale), scale)
        candidate = extrapolate(points, values)
        error = torch.linalg.vector_norm((candidate - Tx).flatten(1), dim=1)
        allowed = self.D * memory.scale * (memory.accelerated + 1) ** -1.1
        accept = torch.isfinite(error) & (error <= allowed)
        chosen = torch.where(accept.view(-1, *[1] * (x.ndim - 1)), candidate, Tx)
        return chosen, replace(
            memory, points=points, values=values, accelerated=memory.accelerated + accept.to(memory.scale.dtype)
        )

    def theorem(self, certificate: Certificate) -> Theorem | None:
        if certificate.averaged and 0 <= self.D < math.inf:
            return Theorem(SUMMABLE_ERRORS, f"T is {certificate.averagedness:.6g}-averaged")
        return None

    def allowed(self, k: int, first: float, smallest: float) -> float:
        return (1 + 2 * self.D * ERRORS) * first  # each step adds at most twice its error

    @property
    def copies(self) -> int:
        """The points and values of this step and of the last ``depth`` steps."""
        return 2 * (self.depth + 1)

    def resumed(self, ratio: float) -> Anderson:
        """Multiply D by ``ratio``. Relative to the first residual of the stage before, the safeguard stays the same."""
        return replace(self, D=self.D * ratio)

    def lighter(self) -> Anderson | None:
        return replace(self, depth=self.depth - 1) if self.depth > 1 else None


def extrapolate(points: tuple[Tensor, ...], values: tuple[Tensor, ...]) -> Tensor:
    """T x_k - sum_j g_j (T x_j - T x_{j-1}), where g solves a least-squares problem on the residuals x_j - T x_j.

    Each image has its own g. A large picture is handled part by part, so that its past is not copied.
    """
    flat = [(x.flatten(1), t.flatten(1)) for x, t in zip(points, values, strict=True)]
    parts = [slice(low, low + PART) for low in range(0, flat[0][0].shape[1], PART)]
    grams, rights = [], []
    for part in parts:
        gap = torch.stack([x[:, part] - t[:, part] for x, t in flat], -1)  # (B, N, m + 1)
        changes = gap.diff(dim=-1)
        grams.append((changes.mT @ changes).double())
        rights.append((changes.mT @ gap[..., -1:]).double())
    weights = mixing(torch.stack(grams).sum(0), torch.stack(rights).sum(0))
    out = torch.empty_like(flat[-1][1])
    for part in parts:
        stacked = torch.stack([t[:, part] for _, t in flat], -1)
        out[:, part] = (stacked[..., -1:] - stacked.diff(dim=-1) @ weights.to(stacked.dtype))[..., 0]
    return out.view_as(values[-1])


def mixing(gram: Tensor, right: Tensor) -> Tensor:
    """Compute g of ``extrapolate``, (B, m, 1), in float64.

    ``gram`` (B, m, m) holds the products of the changes of the residual with each other; ``right`` (B, m, 1) holds
    their products with the last residual.
    """
    damping = 1e-10 * gram.diagonal(dim1=-2, dim2=-1).sum(-1)[:, None, None] + 1e-300
    unit = torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
    solved: Tensor = torch.linalg.solve(gram + damping * unit, right)
    return solved


ITERATIONS: dict[str, type[Iteration]] = {
    "picard": Picard,
    "km": KrasnoselskiiMann,
    "halpern": Halpern,
    "anderson": Anderson,
    "fista": Fista,
}
