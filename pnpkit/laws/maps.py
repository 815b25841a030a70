"""Measured lower bounds on the constants of a map. They can contradict a claim, but never prove one."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pnpkit.certificates import Certificate
from pnpkit.numerics.conjugate_gradients import length

Function = Callable[[Tensor], Tensor]


LEAST = 1e-3  # for a smaller claimed averagedness, (T - (1 - alpha) id) / alpha would be mostly rounding


@dataclass(frozen=True)
class Audit:
    """The largest constants that a search found, with the claim under test.

    Attributes:
        lipschitz: the largest ||Tx - Ty|| / ||x - y|| that was found. The Lipschitz constant is at least this.
        averagedness: T is not alpha-averaged for any alpha below this; if it is above 1, for no alpha at all.
        claim: the certificate that is tested.
        tolerance: the relative excess that the rounding of the evaluation explains.
    """

    lipschitz: float
    averagedness: float
    claim: Certificate
    tolerance: float

    @property
    def falsified(self) -> bool:
        """Whether a pair was found that the claim excludes."""
        if self.claim.averaged and self.claim.averagedness is not None:
            if self.averagedness > self.claim.averagedness + self.tolerance:
                return True
        return self.lipschitz > self.claim.lipschitz * (1 + self.tolerance)

    def __str__(self) -> str:
        claim = self.claim.describe(0).splitlines()[0]
        verdict = "FALSIFIED: the search found a pair that the claim excludes" if self.falsified else "not falsified"
        alpha = f", averagedness >= {self.averagedness:.6g}" if self.averagedness <= 1 else ", not averaged"
        return f"found: Lipschitz constant >= {self.lipschitz:.6g}{alpha}\nclaim: {claim}\n{verdict}"


def audit(
    function: Function,
    claim: Certificate,
    points: Tensor,
    *,
    rounds: int = 20,
    seed: int = 0,
    tolerance: float | None = None,
) -> Audit:
    """Search for pairs around ``points`` (B, C, H, W) that the claim excludes.

    T is alpha-averaged if and only if F = (T - (1 - alpha) id) / alpha is nonexpansive. So the search looks for
    expansion of T and, if an averagedness is claimed, of F. For example, a T that is -0.9 in one direction and 0.95 in
    all others expands nothing, but its F for alpha = 1/2 is -2.8 in that direction.

    Args:
        function: T.
        claim: the certificate to test.
        points: where the search starts, (B, C, H, W).
        rounds: number of rounds of each search; see ``search``.
        seed: seed of the random directions.
        tolerance: relative excess that counts as rounding; None is 1e4 units of rounding.

    Example:
        >>> import torch
        >>> from pnpkit.certificates import nothing
        >>> found = audit(lambda x: 2 * x, nothing("2 id", "not proven"), torch.rand(1, 1, 4, 4).double(), rounds=2)
        >>> round(found.lipschitz, 6)
        2.0
    """
    tolerance = 1e4 * torch.finfo(points.dtype).eps if tolerance is None else tolerance
    found = search(function, function, points, rounds, seed, tolerance)
    claimed = claim.averagedness if claim.averaged else None
    if claimed is not None and claimed >= LEAST:

        def reflected(x: Tensor) -> Tensor:
            return (function(x) - (1 - claimed) * x) / claimed

        other = search(reflected, function, points, rounds, seed, tolerance)
        found = max(found[0], other[0]), max(found[1], other[1])
    return Audit(*found, claim, tolerance)


def search(
    followed: Function, function: Function, points: Tensor, rounds: int, seed: int, tolerance: float
) -> tuple[float, float]:
    """Return the largest ||Tx - Ty|| / ||x - y|| and the least possible averagedness of T = ``function`` over pairs.

    The pairs come from a power iteration on the Jacobian J of ``followed``. Each round makes one power step on J^T J at
    the current point, tests a pair at 1e-3 to 1 of the image's size along the direction of largest expansion, and moves
    the point along this direction.
    """
    generator = torch.Generator().manual_seed(seed)
    x = points.clone()
    v = torch.randn(x.shape, generator=generator).to(x)
    size = math.sqrt(x[0].numel())
    lipschitz = alpha = 0.0
    for round in range(rounds):
        v = v / length(v).clamp_min(1e-30)
        Tx, pushed, pulled = jacobian_steps(followed, x, v)
        if followed is function:
            lipschitz = max(lipschitz, float(length(pushed).max()))
        reach = size * 10.0 ** -(round % 4)
        y = x + reach * v
        with torch.no_grad():
            start = Tx if followed is function else function(x)
            found = pair_constants(x, y, start, function(y), tolerance)
        lipschitz, alpha = max(lipschitz, found[0]), max(alpha, found[1])
        x, v = (x + 0.1 * reach * v).clamp(-0.5, 1.5), pulled
    return lipschitz, alpha


def jacobian_steps(function: Function, x: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return T x, J v and J^T J v at x, by reverse passes only (double backward, so no forward mode is needed)."""
    x = x.detach().requires_grad_()
    Tx = function(x)
    dual = torch.zeros_like(Tx).requires_grad_()
    (pulled,) = torch.autograd.grad(Tx, x, dual, create_graph=True)
    (pushed,) = torch.autograd.grad(pulled, dual, v, retain_graph=True)
    (back,) = torch.autograd.grad(Tx, x, pushed.detach())
    return Tx.detach(), pushed.detach(), back.detach()


def pair_constants(x: Tensor, y: Tensor, tx: Tensor, ty: Tensor, tolerance: float) -> tuple[float, float]:
    """Return the largest ||Tx-Ty|| / ||x-y|| and the largest lower bound on the averagedness over a batch of pairs.

    The bound is ||Tx-Ty||^2 <= ||x-y||^2 - (1-alpha)/alpha ||(x-Tx)-(y-Ty)||^2, solved for alpha.
    """
    square = length(x - y).square()
    ratio = length(tx - ty).square() / square
    gap = length(x - tx - y + ty).square() / square
    demanded = torch.where(gap + 1 - ratio > 0, gap / (gap + 1 - ratio), torch.inf)
    demanded = torch.where(gap > tolerance, demanded, 0.0)
    return float(ratio.max().sqrt()), float(demanded.max())
