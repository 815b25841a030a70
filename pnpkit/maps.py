"""Maps: callables on images that carry a certificate. Composing maps composes their certificates."""

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
    """A map T from images to images of the same shape, with what is proven about it.

    ``outer @ inner`` is outer after inner, ``relax(lam)`` is (1 - lam) id + lam T, ``scale(s)`` is T(s x) / s, and
    ``mixed(a, b)`` has the fixed points a x* + (1 - a) b.

    Attributes:
        function: x -> T x, both (B, ...).
        certificate: what is proven about T.
        readout: the map from a fixed point to the image. It is the identity, unless the iterate is an auxiliary
            variable (Douglas-Rachford).
        objective: the function that T minimises, one value per image: g for a proximal map prox_g, the sum for a
            splitting. None if there is no such function.
        box: an interval that contains every value of every T x. It bounds the distance from any start to a fixed
            point. None if no interval is known.
        pace: relative step length in (0, 1]: min(1, tau L) for id - tau grad f. Residuals are divided by it, so that a
            tiny step does not count as convergence.
        error: a bound on the root mean square error of T x where an inner solver computes it. For a composition it is
            the sum of the errors, which is a bound if the outer maps are nonexpansive.
        is_projection: whether T is the projection onto a set and ``objective`` is the indicator of the set.
        magnitude: the norm of the largest image, other than x, that is added and cancelled inside T. For
            id - tau grad f this is tau A^T y. Rounding errors are measured in units of it.

    Example:
        >>> from pnpkit import proximal
        >>> T = proximal.box(0, 1) @ proximal.soft_threshold(0.1)
        >>> round(T.certificate.averagedness, 6)
        0.666667
    """

    function: Callable[[Tensor], Tensor]
    certificate: Certificate
    readout: Callable[[Tensor], Tensor] = _same
    objective: Callable[[Tensor], Tensor] | None = None
    box: tuple[float, float] | None = None
    pace: float = 1.0
    error: float = 0.0
    is_projection: bool = False
    magnitude: float = 0.0

    def __call__(self, x: Tensor) -> Tensor:
        return self.function(x)

    def __matmul__(self, inner: Map) -> Map:
        inner, outer = checked(inner), self
        if inner.readout not in (_same, self.readout):
            raise InputError(f"{inner.certificate.name} iterates an auxiliary variable: no other map can follow it")
        name = f"{self.certificate.name} ∘ {inner.certificate.name}"
        certificate = certificates.compose((self.certificate, inner.certificate), name)
        return Map(
            lambda x: outer.function(inner.function(x)),
            certificate,
            readout=self.readout,
            box=self.box,
            pace=min(self.pace, inner.pace),
            error=self.error + inner.error,
            magnitude=max(self.magnitude, inner.magnitude),
        )

    def __rmatmul__(self, outer: object) -> Map:
        return checked(outer) @ self

    def relax(self, relaxation: float) -> Map:
        """Return (1 - lam) id + lam T, which is (lam alpha)-averaged for lam in (0, 1/alpha).

        Example:
            >>> from pnpkit import proximal
            >>> proximal.nonnegative().relax(0.5).certificate.averagedness
            0.25
        """
        relaxation = float(relaxation)  # copy the number: a tensor may change later
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

    def mixed(self, amount: float, b: Tensor) -> Map:
        r"""Return S T S^-1 with S x = a x + (1 - a) b. Its fixed points are a x* + (1 - a) b, where x* is one of T.

        S multiplies every distance by a, so T and this map have the same constants, and for each a in [0, 1] this one
        is averaged if T is. For a = 0 it is the map to b.

        Example:
            >>> import torch
            >>> from pnpkit import proximal
            >>> T = proximal.tikhonov(1.0).mixed(0.25, torch.ones(1, 1))
            >>> T(torch.tensor([[0.75]])).tolist()  # T has the fixed point 0
            [[0.75]]
        """
        name = f"mixed({self.certificate.name}, {amount:.6g})"
        certificate = certificates.mix(self.certificate, amount, name)
        if amount == 0:
            return Map(lambda x: b.to(x).expand_as(x), certificate)

        def function(x: Tensor) -> Tensor:
            rest = (1 - amount) * b
            return amount * self.function((x - rest) / amount) + rest

        return Map(
            function,
            certificate,
            readout=_same if self.readout is _same else lambda x: self.readout((x - (1 - amount) * b) / amount),
            pace=self.pace,
            error=amount * self.error,
            magnitude=amount * self.magnitude,
        )

    def scale(self, factor: float) -> Map:
        """Return T(s x) / s, which has the same averagedness and another strength (Xu et al. 2020).

        Example:
            >>> import torch
            >>> from pnpkit import proximal
            >>> proximal.box(0, 1).scale(0.5)(torch.tensor([[3.0]])).tolist()
            [[2.0]]
        """
        factor = float(factor)  # copy the number: a tensor may change later
        name = f"scaled({self.certificate.name}, {factor:.6g})"
        certificate = certificates.scale(self.certificate, factor, name)
        return Map(
            lambda x: self.function(x * factor) / factor,
            certificate,
            readout=_same if self.readout is _same else lambda x: self.readout(x * factor) / factor,
            pace=self.pace,
            error=self.error / factor,
            magnitude=self.magnitude / factor,
        )


def checked(map: object) -> Map:
    """Return the argument if it is a Map.

    Raises:
        InputError: the argument is not a Map. The message says how a denoiser becomes one.
    """
    if isinstance(map, Map):
        return map
    raise InputError(f"expected a Map, got {type(map).__name__}: a denoiser becomes one by D.at(sigma)")


def identity() -> Map:
    """The identity map, x -> x.

    Example:
        >>> import torch
        >>> identity()(torch.tensor([[1.0, 2.0]])).tolist()
        [[1.0, 2.0]]
    """
    return Map(lambda x: x, certificates.identity())
