r"""Iterations: rules that turn x_k and T x_k into x_{k+1}. The loop that runs them is ``pnpkit.solver.solve``.

Each says what it needs from the certificate of T to converge to a fixed point, and whether the residual
||x_k - T x_k|| of a nonexpansive T can never rise under it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from pnpkit.certificates import Certificate


class Iteration(Protocol):
    """x_{k+1} = next(k, x_0, x_k, T x_k)."""

    @property
    def monotone(self) -> bool:
        """The residual of a nonexpansive map never rises."""
        ...

    def next(self, k: int, first: Tensor, x: Tensor, image: Tensor) -> Tensor: ...

    def theorem(self, certificate: Certificate) -> str | None:
        """The convergence theorem whose hypotheses on T the certificate proves, or None."""
        ...


@dataclass(frozen=True)
class Picard:
    """x_{k+1} = T x_k."""

    monotone = True

    def next(self, k: int, first: Tensor, x: Tensor, image: Tensor) -> Tensor:
        return image

    def theorem(self, certificate: Certificate) -> str | None:
        if certificate.contractive:
            return f"Banach: T is a contraction with factor {certificate.lipschitz:.6g}, linear rate"
        if certificate.averaged:
            return f"Krasnosel'skii-Mann: T is {certificate.averagedness:.6g}-averaged"
        return None


@dataclass(frozen=True)
class KrasnoselskiiMann:
    """x_{k+1} = (1 - lam) x_k + lam T x_k, lam in (0, 1) for nonexpansive T, (0, 1/alpha) for an averaged one."""

    relaxation: float = 0.5
    monotone = True

    def next(self, k: int, first: Tensor, x: Tensor, image: Tensor) -> Tensor:
        return x + self.relaxation * (image - x)

    def theorem(self, certificate: Certificate) -> str | None:
        alpha = certificate.averagedness if certificate.averaged else 1.0 if certificate.nonexpansive else None
        if alpha is not None and 0 < self.relaxation < 1 / alpha:
            return f"Krasnosel'skii-Mann: relaxation {self.relaxation:g} in (0, {1 / alpha:.6g})"
        return None


@dataclass(frozen=True)
class Halpern:
    """x_{k+1} = b_k x_0 + (1 - b_k) T x_k, b_k = 1/(k + 2): ||x_k - T x_k|| <= 2 ||x_0 - x*|| / (k + 1)."""

    monotone = False

    def next(self, k: int, first: Tensor, x: Tensor, image: Tensor) -> Tensor:
        weight = 1 / (k + 2)
        return weight * first + (1 - weight) * image

    def theorem(self, certificate: Certificate) -> str | None:
        if certificate.nonexpansive:
            return "Halpern: T is nonexpansive, residual <= 2 ||x_0 - x*|| / (k + 1) (Lieder 2021)"
        return None


ITERATIONS: dict[str, type] = {"picard": Picard, "km": KrasnoselskiiMann, "halpern": Halpern}
