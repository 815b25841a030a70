r"""The data of a volume that is larger than the memory: gradients, proximal maps and a first iterate, block by block.

    u <- u / A^T m  A^T (m y / A u),    prox_{tau f + box}(x) = argmin_{low <= u <= high} tau f(u) + 1/2 ||u - x||^2

Formulas and steps are those of ``rough`` and ``fidelities.constrained``, with all arrays in files. A gradient on a
block is that of the whole, see ``blocks``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from pnpkit.errors import InexactWarning
from pnpkit.fidelities.constrained import CHECKED, MOST, steps_for
from pnpkit.machine.fields import Field, Journal, Place
from pnpkit.operators.volume import VolumeBlur
from pnpkit.restoration.blocks import Block
from pnpkit.restoration.rough import TOP, steps_of

Unit = TypeVar("Unit")


@dataclass
class Store:
    """The folder of the fields, and the journal of the units of work that are finished."""

    folder: Path
    journal: Journal
    dtype: torch.dtype

    def field(self, name: str, shape: tuple[int, ...]) -> Field:
        """The field of that name; it begins as zeros where there is none."""
        return Field.made(self.folder / f"{name}.raw", shape, np.dtype(str(self.dtype).removeprefix("torch.")))

    def each(self, units: Iterable[Unit], work: Callable[[Unit], tuple[float, ...]]) -> list[tuple[float, ...]]:
        """Do the work on each unit in turn; for each number that it returns, those of all units. See ``Journal``."""
        return list(zip(*[self.journal.unit(lambda unit=unit: work(unit)) for unit in units], strict=True))  # type: ignore[misc]


@dataclass
class Measured:
    """y = A x + noise in files.

    Attributes:
        taps: the kernel. frame, scene: sizes. blocks: of the scene. device: that of operators and blocks.
        y: the readings. weights: theirs; None: all are 1. heaviest: the largest of them. size: root mean square of y.
    """

    taps: np.ndarray
    frame: tuple[int, ...]
    blocks: list[Block]
    store: Store
    device: torch.device
    y: Field
    weights: Field | None = None
    heaviest: float = 1.0
    size: float = 1.0
    operators: dict[tuple[int, ...], VolumeBlur] = field(default_factory=dict)

    @property
    def scene(self) -> tuple[int, ...]:
        """The frame and what the kernel reaches around it."""
        return tuple(n + taps - 1 for n, taps in zip(self.frame, self.taps.shape, strict=True))

    def operator(self, block: Block) -> VolumeBlur:
        """A from ``block.wide`` to ``block.seen``."""
        size = tuple(s.stop - s.start for s in block.seen)
        if size not in self.operators:
            made = VolumeBlur(self.taps, "unknown", size, dtype=self.store.dtype, device=self.device)
            self.operators[size] = made
        return self.operators[size]

    def at(self, values: Tensor) -> Tensor:
        """A part of a field as a volume (1, 1, D, H, W) on the device."""
        return values.to(self.device)[None, None]

    def gradient(self, v: Tensor, block: Block) -> Tensor:
        """grad f on the block, from the scene ``block.wide``."""
        operator = self.operator(block)
        misfit = operator.A(v) - self.at(self.y[block.seen])
        if self.weights is not None:
            misfit = self.at(self.weights[block.seen]) * misfit
        return operator.A_adjoint(misfit)[block.within]

    def stiffness(self) -> float:
        """L of f, the largest weight times a bound on ||A||^2."""
        norm = self.operator(self.blocks[0]).norm_bound().value
        return self.heaviest * norm * norm

    def prox(self, x: Field, tau: float, limits: tuple[float, float], told: Callable[[int], None]) -> Field:
        """prox_{tau f + box}(x), in a field that the next call overwrites; ``told`` hears of its steps."""
        store, (low, high) = self.store, limits
        size, pull, goal = steps_for(tau * self.stiffness(), self.size, store.dtype)
        u, v = ([store.field(f"{name}{i}", self.scene) for i in range(2)] for name in "uv")
        slopes = store.field("slopes", self.scene)

        def clamped(place: Place) -> Tensor:
            return self.at(x[place]).clamp(low, high)

        for step in range(MOST):
            told(step)
            here, there, looks = step % 2, (step + 1) % 2, step % CHECKED == CHECKED - 1

            def from_v(place: Place, here: int = here, first: bool = step == 0) -> Tensor:
                return clamped(place) if first else self.at(v[here][place])

            def forward(
                block: Block,
                from_v: Callable[[Place], Tensor] = from_v,
                turn: tuple[int, int, bool, bool] = (here, there, looks, step == 0),
            ) -> tuple[float, ...]:
                here, there, looks, first = turn
                wide = from_v(block.wide)
                near, centre = wide[block.within], self.at(x[block.scene])
                slope = tau * self.gradient(wide, block) + (near - centre)
                p = (near - slope / size).clamp(low, high)
                before = near if first else self.at(u[here][block.scene])
                u[there][block.scene], v[there][block.scene] = p[0, 0], (p + pull * (p - before))[0, 0]
                if looks:
                    slopes[block.scene] = slope[0, 0]
                return (0.0,)

            def error(
                block: Block, from_v: Callable[[Place], Tensor] = from_v, there: int = there
            ) -> tuple[float, ...]:
                wide = self.at(u[there][block.wide])
                p, centre, near = wide[block.within], self.at(x[block.scene]), from_v(block.scene)
                g = tau * self.gradient(wide, block) + (p - centre) - self.at(slopes[block.scene]) + size * (near - p)
                return (square(g),)

            store.each(self.blocks, forward)
            if looks:
                (squares,) = store.each(self.blocks, error)
                if math.sqrt(math.fsum(squares) / math.prod(self.scene)) <= goal:
                    return u[there]
        InexactWarning.tell("the solver of the data term on a box", MOST)
        return u[MOST % 2]

    def rough(self, known: Callable[[Place], Tensor | None], told: Callable[[str], None]) -> tuple[Field, float]:
        """The field of ``rough.richardson_lucy``, and ``rough.brightest`` of its frame.

        Args:
            known: true where a reading of a place is known; None: everywhere. told: hears of the steps.
        """
        store, u = self.store, [self.store.field(f"u{i}", self.scene) for i in range(2)]
        shares = store.field("slopes", self.scene)

        def mask(block: Block) -> Tensor:
            found = known(block.seen)
            data = self.at(self.y[block.seen])
            return torch.ones_like(data) if found is None else found.to(data)

        def share(block: Block) -> tuple[float, ...]:
            shares[block.scene] = self.operator(block).A_adjoint(mask(block))[block.within].clamp_min(1e-3)[0, 0]
            return (0.0,)

        def sums(z: int) -> tuple[float, ...]:
            place = (slice(z, z + 1), *(slice(0, n) for n in self.frame[1:]))
            data, found = self.at(self.y[place]).clamp_min(0), known(place)
            counted = torch.ones_like(data) if found is None else found.to(data)
            return float(data.max()), total(data * counted), total(counted)

        store.each(self.blocks, share)
        tops, light, counts = store.each(range(self.frame[0]), sums)
        floor = 1e-6 * max(tops) + 1e-30
        flat = max(math.fsum(light) / math.fsum(counts), floor)
        steps = steps_of(math.prod(self.frame))
        for step in range(steps):
            told(f"start {step + 1} of {steps}")

            def correct(block: Block, step: int = step) -> tuple[float, ...]:
                operator, data = self.operator(block), self.at(self.y[block.seen]).clamp_min(0)
                wide = self.at(u[step % 2][block.wide]) if step else data.new_full((1, 1, *operator.scene), flat)
                ratio = mask(block) * data / operator.A(wide).clamp_min(floor)
                back = operator.A_adjoint(ratio)[block.within]
                near = wide[block.within]
                u[(step + 1) % 2][block.scene] = (near * back / self.at(shares[block.scene])).clamp_min(0)[0, 0]
                return (0.0,)

            store.each(self.blocks, correct)
        end = u[steps % 2]
        reach = [(n - m) // 2 for n, m in zip(self.scene, self.frame, strict=True)]
        stride = max(1, math.prod(self.frame) // 1_000_000)

        def bright(_: int) -> tuple[float, ...]:
            plane, values = math.prod(self.frame[1:]), []
            for z in range(self.frame[0]):
                place = tuple(slice(r, r + n) for r, n in zip(reach[1:], self.frame[1:], strict=True))
                cut = end[slice(z + reach[0], z + reach[0] + 1), place[0], place[1]].flatten()
                values.append(cut[-(z * plane) % stride :: stride])
            return (float(torch.quantile(torch.cat(values).double(), TOP)),)

        ((times,),) = store.each([0], bright)
        return end, times


def square(x: Tensor) -> float:
    """||x||^2."""
    return float(torch.linalg.vector_norm(x, dtype=torch.float64)) ** 2


def total(x: Tensor) -> float:
    """The sum, in float64."""
    return float(x.sum(dtype=torch.float64))
