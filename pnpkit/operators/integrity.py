"""What an operator is: a proof for a class holds while A is computed as there, and while nothing in it changes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

import torch
from deepinv.physics import BlurFFT, DecomposablePhysics, LinearPhysics, StackedLinearPhysics
from torch import Tensor, nn

MODEL = ("A", "A_adjoint", "U", "U_adjoint", "V", "V_adjoint")


ORTHONORMAL = "deepinv.physics"  # where U and V of a decomposition are known to be orthonormal


State: TypeAlias = tuple[tuple[Tensor, int], ...]


def is_kind(operator: LinearPhysics, kind: type) -> bool:
    """Whether the operator is a ``kind`` and computes as one: a subclass with an A of its own is another operator."""
    own = type(operator)
    same = (getattr(own, name, None) is getattr(kind, name, None) for name in MODEL)
    replaced = any(name in vars(operator) for name in MODEL)
    handed = isinstance(operator, DecomposablePhysics) and orthonormal_premises(operator) != ()
    return isinstance(operator, kind) and all(same) and not (replaced or handed)


def is_decomposed(operator: LinearPhysics) -> bool:
    """Whether A is U diag(mask) V^T as in ``DecomposablePhysics``, by U and V of its own or not."""
    computes = type(operator).A in (DecomposablePhysics.A, BlurFFT.A) and "A" not in vars(operator)
    return isinstance(operator, DecomposablePhysics) and computes


def orthonormal_premises(operator: LinearPhysics) -> tuple[str, ...]:
    """What must be believed of a decomposition by methods of a subclass, or functions given to deepinv."""

    def known(name: str) -> bool:
        method = getattr(type(operator), name)
        if method is getattr(DecomposablePhysics, name):  # which calls the function that it was given
            method = getattr(operator, f"_{name}")
        return name not in vars(operator) and str(getattr(method, "__module__", "")).startswith(ORTHONORMAL)

    if all(known(name) for name in MODEL[2:]):
        return ()
    return (f"U and V of this {type(operator).__name__} are orthonormal, as deepinv asks for",)


def parts_of(operator: nn.Module) -> Iterator[nn.Module]:
    """The operator and what it is made of, noise and sensor left out."""
    yield operator
    inside = [child for name, child in operator.named_children() if name not in ("noise_model", "sensor_model")]
    if isinstance(operator, StackedLinearPhysics):
        inside += operator.physics_list  # a plain list
    for child in inside:
        yield from parts_of(child)


def state(operator: LinearPhysics) -> State:
    """The tensors that A is made of, and how often each was written to."""
    found: list[tuple[Tensor, int]] = []
    for part in parts_of(operator):
        for tensor in (*part.parameters(recurse=False), *part.buffers(recurse=False)):
            found.append((tensor, version(tensor)))
    return tuple(found)


def unchanged(before: State, operator: LinearPhysics) -> bool:
    """Whether the operator is made of the same tensors, with the same values, as far as torch counts; or of others that
    hold the same, since some of deepinv's take theirs anew whenever they are called."""
    if torch.compiler.is_compiling():  # what torch counts cannot be asked for there
        return True
    now = state(operator)
    return len(now) == len(before) and all(same(*pair) for pair in zip(before, now, strict=True))


def same(before: tuple[Tensor, int], now: tuple[Tensor, int]) -> bool:
    """Whether a tensor, as it was when its writes were counted, holds what another does."""
    (old, count), (new, writes) = before, now
    if old is new:
        return count == writes
    kept = version(old) == count and old.shape == new.shape and old.dtype == new.dtype and old.device == new.device
    return kept and torch.equal(old, new)


def version(tensor: Tensor) -> int:
    """How often a tensor was written to, where torch counts that."""
    return 0 if tensor.is_inference() else tensor._version
