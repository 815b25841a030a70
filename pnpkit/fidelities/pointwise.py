r"""Convex functions phi_i of single readings, with slope and curvature."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import ClassVar, TypeVar

from torch import Tensor

P = TypeVar("P", bound="Pointwise")


@dataclass(frozen=True)
class Pointwise(ABC):
    """phi_i(v), one convex function for each reading; what it is made of are tensors of the shape of y, or numbers.

    Attributes:
        y: the readings.
        quadratic: the curvature is the same everywhere.
    """

    y: Tensor
    quadratic: ClassVar[bool] = False

    @abstractmethod
    def value(self, v: Tensor) -> Tensor:
        """phi_i(v_i), each."""

    @abstractmethod
    def slope(self, v: Tensor) -> Tensor:
        """phi_i'(v_i), each."""

    @abstractmethod
    def curvature(self, v: Tensor) -> Tensor:
        """phi_i''(v_i), each, one of its limits where there is a jump; at least 0."""

    @property
    @abstractmethod
    def steepest(self) -> Tensor:
        """The largest curvature of each: its slope is Lipschitz with it; inf where it is not. It broadcasts to y."""

    @property
    def flattest(self) -> float:
        """The least curvature of all."""
        return 0.0

    @property
    def cancelled(self) -> float:
        """A bound on ``rounding`` for v and y in 0..1: root mean square over an image, the largest of a batch."""
        return rms(2 * self.steepest, self.y)

    def eased(self: P, factor: float) -> P:
        """phi, or one that is less curved and the same away from a pole; 0 is phi itself. See ``newton``."""
        return self

    def rounding(self, v: Tensor) -> Tensor:
        """What is added and cancelled in ``slope``, each: its rounding is in units of it."""
        return self.curvature(v) * (v.abs() + self.y.abs())

    def each(self: P, change: Callable[[Tensor], Tensor]) -> P:
        """phi with every tensor it is made of changed in one way: to a shape, or to a part."""
        tensors = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{name: change(value) for name, value in tensors.items() if isinstance(value, Tensor)})

    def tensors(self) -> list[Tensor]:
        """The tensors that phi is made of."""
        values = (getattr(self, field.name) for field in fields(self))
        return [value for value in values if isinstance(value, Tensor)]


def rms(values: Tensor, y: Tensor) -> float:
    """Root mean square of each image of y of values that broadcast to y; the largest of the batch."""
    return float(values.expand(y.shape).flatten(1).square().mean(1).sqrt().max())
