"""Checks that an operator is the one that a proof or a closed form was derived for, and that it has not changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol, TypeAlias, runtime_checkable

import torch
from deepinv.physics import BlurFFT, DecomposablePhysics, LinearPhysics, StackedLinearPhysics
from deepinv.utils import TensorList
from torch import Tensor, nn

from pnpkit.certificates import Bound
from pnpkit.errors import InputError
from pnpkit.operators.adjoint import pieces

MODEL = ("A", "A_adjoint", "U", "U_adjoint", "V", "V_adjoint")
ORTHONORMAL = "deepinv.physics"  # the module whose decompositions are known to have orthonormal U and V
NEARLY = 1e-5  # gap of a decomposition that counts as rounding: some of deepinv's are computed in float32 and cast

State: TypeAlias = tuple[tuple[Tensor, int], ...]


@runtime_checkable
class Bounded(Protocol):
    """An operator that carries a bound on its own norm."""

    def norm_bound(self) -> Bound: ...


@runtime_checkable
class Injective(Protocol):
    """An operator that carries a lower bound on its smallest singular value."""

    def smallest_singular_value(self) -> float: ...


@runtime_checkable
class Proximable(Protocol):
    """An operator that carries (y, gamma) -> (z -> argmin_u gamma/2 ||A u - y||^2 + 1/2 ||u - z||^2)."""

    def proximal_point(self, y: Tensor, gamma: Tensor | float) -> Callable[[Tensor], Tensor]: ...


def is_own(operator: LinearPhysics, name: str) -> bool:
    """Whether the method ``name`` was written for the A that the operator computes.

    A class that overrides A or A_adjoint but not the method inherits a method written for another operator. The same
    holds for an instance whose A was replaced.
    """
    if any(method in vars(operator) for method in MODEL):
        return False
    order = type(operator).__mro__
    place = {what: next(i for i, kind in enumerate(order) if what in vars(kind)) for what in (name, *MODEL[:2])}
    return place[name] <= min(place["A"], place["A_adjoint"])


def is_kind(operator: LinearPhysics, kind: type) -> bool:
    """Whether the operator is a ``kind`` and computes as one. A subclass with its own A is another operator."""
    own = type(operator)
    same = (getattr(own, name, None) is getattr(kind, name, None) for name in MODEL)
    replaced = any(name in vars(operator) for name in MODEL)
    handed = isinstance(operator, DecomposablePhysics) and orthonormal_premises(operator) != ()
    return isinstance(operator, kind) and all(same) and not (replaced or handed)


def is_decomposed(operator: LinearPhysics, example: Tensor) -> bool:
    """Whether A = U diag(mask) V^T as in ``DecomposablePhysics``, with U^T U = V^T V = id on an image like ``example``.

    Casts can break this: ``.to(torch.float64)`` removes the imaginary part of the phases of a ``BlurFFT``.
    """
    computes = type(operator).A in (DecomposablePhysics.A, BlurFFT.A) and "A" not in vars(operator)
    return isinstance(operator, DecomposablePhysics) and computes and decomposition_gap(operator, example) <= NEARLY


def decomposition_gap(operator: DecomposablePhysics, example: Tensor) -> float:
    """Return the larger of |V^T V c - c| and |U^T U d - d|, relative to the largest entry of c.

    c = V^T x for a random image x like ``example``; d equals c where the mask is not 0. The entries are those of one
    image.
    """
    x = torch.randn(example[:1].shape, generator=torch.Generator().manual_seed(2)).to(example)
    c = operator.V_adjoint(x)
    d = torch.where(torch.as_tensor(operator.mask, device=c.device) != 0, c, torch.zeros_like(c))
    gaps = (operator.V_adjoint(operator.V(c)) - c, operator.U_adjoint(operator.U(d)) - d)
    return max(float(gap.abs().max()) for gap in gaps) / max(float(c.abs().max()), 1e-30)


def orthonormal_premises(operator: LinearPhysics) -> tuple[str, ...]:
    """Return the premises about a decomposition made by methods of a subclass, or by functions given to deepinv."""

    def known(name: str) -> bool:
        method = getattr(type(operator), name)
        if method is getattr(DecomposablePhysics, name):  # this method calls the function that it was given
            method = getattr(operator, f"_{name}")
        return name not in vars(operator) and str(getattr(method, "__module__", "")).startswith(ORTHONORMAL)

    if all(known(name) for name in MODEL[2:]):
        return ()
    return (f"U and V of this {type(operator).__name__} are orthonormal, as deepinv asks for",)


def parts_of(operator: nn.Module) -> Iterator[nn.Module]:
    """Yield the operator and its parts, without noise and sensor."""
    yield operator
    inside = [child for name, child in operator.named_children() if name not in ("noise_model", "sensor_model")]
    if isinstance(operator, StackedLinearPhysics):
        inside += operator.physics_list  # a plain list
    for child in inside:
        yield from parts_of(child)


def state(operator: LinearPhysics) -> State:
    """Return the tensors that A is made of, and how often each was written to."""
    found: list[tuple[Tensor, int]] = []
    for part in parts_of(operator):
        for tensor in (*part.parameters(recurse=False), *part.buffers(recurse=False)):
            found.append((tensor, version(tensor)))
    return tuple(found)


def written(values: Tensor | TensorList) -> State:
    """Return the tensors of a measurement, and how often each was written to."""
    return tuple((part, version(part)) for part in pieces(values))


def unwritten(before: State, values: Tensor | TensorList) -> bool:
    """Whether a measurement is unchanged, as far as torch counts writing."""
    if torch.compiler.is_compiling():
        return True
    now = written(values)
    return len(now) == len(before) and all(same(*pair) for pair in zip(before, now, strict=True))


def watched(function: Callable[[Tensor], Tensor], what: str, *tensors: Tensor) -> Callable[[Tensor], Tensor]:
    """Wrap a function so that it raises InputError once one of its tensors was written to."""
    before = [written(tensor) for tensor in tensors]

    def checked(x: Tensor) -> Tensor:
        if not all(map(unwritten, before, tensors)):
            raise InputError(f"{what} was written to after this map was made: make it anew")
        return function(x)

    return checked


def unchanged(before: State, operator: LinearPhysics) -> bool:
    """Whether the operator is made of the same tensors with the same values, as far as torch counts writing.

    Other tensors with the same values pass too: some of deepinv's operators make theirs anew at every call.
    """
    if torch.compiler.is_compiling():  # torch's counts are not available there
        return True
    now = state(operator)
    return len(now) == len(before) and all(same(*pair) for pair in zip(before, now, strict=True))


def same(before: tuple[Tensor, int], now: tuple[Tensor, int]) -> bool:
    """Whether a tensor, in the state at which its writes were counted, holds the same values as another."""
    (old, count), (new, writes) = before, now
    if old is new:
        return count == writes
    kept = version(old) == count and old.shape == new.shape and old.dtype == new.dtype and old.device == new.device
    return kept and torch.equal(old, new)


def version(tensor: Tensor) -> int:
    """Return how often a tensor was written to, if torch counts that."""
    return 0 if tensor.is_inference() else tensor._version
