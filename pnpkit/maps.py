"""Maps: callables on images that carry a certificate, composed together with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from torch import Tensor

from pnpkit import certificates
from pnpkit.certificates import Certificate
from pnpkit.errors import InputError


def _same(x: Tensor) -> Tensor:
    return x


@dataclass(frozen=True)
class Map:
    """T: images -> images of the same shape, and what is proven about it.

    ``outer @ inner`` is outer after inner, ``relax(lam)`` is (1 - lam) id + lam T, ``scale(s)`` is T(s x) / s.
    ``readout`` turns a fixed point into the image where the iterate is not the image itself (Douglas-Rachford).
    ``objective`` is, per image, the function that T serves, where there is one: g of a proximal map prox_g, or the sum
    that a splitting minimises.
    ``box`` is an interval that every value of every T(x) lies in, where one is known: it bounds how far any start is
    from a fixed point.
    ``pace``, in (0, 1], is how long a step of T is beside one of full length: min(1, tau L) for id - tau grad f.
    Residuals are divided by it, so that a tiny step does not look like convergence.
    ``is_projection``: T is the projection onto a set, and its objective the set's indicator.
    ``error`` is how far, root mean square, what is computed may be from T(x), where T is solved for.
    """

    function: Callable[[Tensor], Tensor]
    certificate: Certificate
    readout: Callable[[Tensor], Tensor] = _same
    objective: Callable[[Tensor], Tensor] | None = None
    box: tuple[float, float] | None = None
    pace: float = 1.0
    error: float = 0.0
    is_projection: bool = False

    def __call__(self, x: Tensor) -> Tensor:
        return self.function(x)

    def __matmul__(self, inner: Map) -> Map:
        inner, outer = checked(inner), self
        if inner.readout not in (_same, self.readout):
            raise InputError(f"{inner.certificate.name} reads its image out of an auxiliary variable: it comes last")
        name = f"{self.certificate.name} ∘ {inner.certificate.name}"
        certificate = certificates.compose((self.certificate, inner.certificate), name)
        return Map(
            lambda x: outer.function(inner.function(x)),
            certificate,
            readout=self.readout,
            box=self.box,
            pace=min(self.pace, inner.pace),
            error=self.error + inner.error,
        )

    def __rmatmul__(self, outer: object) -> Map:
        return checked(outer) @ self

    def relax(self, relaxation: float) -> Map:
        """(1 - lam) id + lam T: (lam alpha)-averaged for lam in (0, 1/alpha)."""
        name = f"relaxed({self.certificate.name}, {relaxation:.6g})"
        certificate = certificates.relax(self.certificate, relaxation, name)
        return replace(
            self,
            function=lambda x: x + relaxation * (self.function(x) - x),
            certificate=certificate,
            box=None,
            pace=self.pace * min(relaxation, 1.0),
            error=self.error * relaxation,
        )

    def scale(self, factor: float) -> Map:
        """T(s x) / s: the same averagedness, another strength (Xu et al. 2020)."""
        name = f"scaled({self.certificate.name}, {factor:.6g})"
        certificate = certificates.scale(self.certificate, factor, name)
        return Map(
            lambda x: self.function(x * factor) / factor,
            certificate,
            readout=_same if self.readout is _same else lambda x: self.readout(x * factor) / factor,
            pace=self.pace,
            error=self.error / factor,
        )


def checked(map: object) -> Map:
    """What is a Map, or a sentence on how it becomes one."""
    if isinstance(map, Map):
        return map
    raise InputError(f"expected a Map, got {type(map).__name__}: a denoiser becomes one by D.at(sigma)")


def identity() -> Map:
    """x -> x."""
    return Map(lambda x: x, certificates.identity())
