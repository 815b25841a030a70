"""Run maps that violate their certificate, and record the step at which a run notices.

    python scripts/plants.py [--steps 400]

Every such map ("plant") is certified as 2/3-averaged with values in the box [0, 1]. Each is run by every iteration from
one start with two pictures of 3 x 12 x 16 values. The table shows the step at which the run was stopped as FALSIFIED,
or "-" if it was not within --steps. Writes docs/results/plants.{json,md}.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
from results import stamp, write_results
from torch import Tensor

from pnpkit.certificates import Certificate, Side
from pnpkit.maps import Map
from pnpkit.solvers.iterations import Anderson, Fista, Halpern, Iteration, KrasnoselskiiMann, Picard
from pnpkit.solvers.loop import solve
from pnpkit.solvers.result import Status

SHAPE = (2, 3, 12, 16)


CLAIM = Certificate("plant", 1.0, 2 / 3, Side.PROVEN, "planted", bounded=True)


RUNS: dict[str, Iteration] = {
    "Picard": Picard(),
    "Krasnosel'skii-Mann": KrasnoselskiiMann(0.7),
    "Halpern": Halpern(),
    "Anderson": Anderson(),
    "FISTA": Fista(),
}


def drawn(seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(SHAPE, generator=generator, dtype=torch.float64)


def honest(x: Tensor) -> Tensor:
    """Move halfway to the mean of the neighbours and to 1/2, then into the box: 2/3-averaged."""
    near = (x.roll(1, -1) + x.roll(-1, -1) + x.roll(1, -2) + x.roll(-1, -2)) / 4
    return (0.45 * x + 0.45 * near + 0.05).clamp(0, 1)


def along(factor: float) -> Callable[[Tensor], Tensor]:
    """Multiply by ``factor`` in one direction around 1/2, and by 0.95 in all others."""
    direction = drawn(7)[:1] - 0.5
    direction = direction / direction.norm()

    def step(x: Tensor) -> Tensor:
        moved = x - 0.5
        part = (moved * direction).flatten(1).sum(1).view(-1, 1, 1, 1) * direction
        return 0.5 + 0.95 * (moved - part) + factor * part

    return step


def changing(bias: Callable[[int], float]) -> Callable[[], Callable[[Tensor], Tensor]]:
    """Return the honest map with another bias in each call."""

    def plant() -> Callable[[Tensor], Tensor]:
        calls = iter(range(1_000_000))
        return lambda x: (honest(x) + bias(next(calls))).clamp(0, 1)

    return plant


def leaking(x: Tensor) -> Tensor:
    """Return a map in which each picture gets a bias from the other pictures of the batch."""
    return (honest(x) + 0.6 * (x.roll(1, 0) - 0.5)).clamp(0, 1)


PLANTS: dict[str, Callable[[], Callable[[Tensor], Tensor]]] = {
    "honest": lambda: honest,
    "slope 1.01": lambda: lambda x: (0.5 + 1.01 * (x - 0.5)).clamp(0, 1),
    "slope 1.5": lambda: lambda x: (0.5 + 1.5 * (x - 0.5)).clamp(0, 1),
    "slope -0.5": lambda: lambda x: 0.5 - 0.5 * (x - 0.5),
    "1 - x": lambda: lambda x: 1 - x,
    "-0.9 in one direction": lambda: along(-0.9),
    "1.05 in one direction": lambda: along(1.05),
    "roll": lambda: lambda x: x.roll(1, -1),
    "roll of the honest map": lambda: lambda x: honest(x).roll(2, -1),
    "bias from the batch": lambda: leaking,
    "out of the box": lambda: lambda x: honest(x) + 0.6,
    "x + 1": lambda: lambda x: x + 1,
    "changes between calls": changing(lambda call: 0.05 * (-1) ** call),
    "drifts between calls": changing(lambda call: 0.02 * call % 0.4),
    "changes once, at call 9": changing(lambda call: 0.2 if call >= 9 else 0.0),
}


def caught(name: str, iteration: Iteration, steps: int = 400) -> tuple[int | None, str]:
    """Return the step at which the run was stopped as FALSIFIED, or None if it was not; and its guarantee."""
    map = Map(PLANTS[name](), CLAIM, box=(0.0, 1.0))
    run = solve(map, drawn(0), iteration=iteration, tol=1e-9, max_steps=steps)
    return (run.steps if run.status is Status.FALSIFIED else None), str(run.guarantee)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=400)
    steps = parser.parse_args().steps
    found = {name: {label: caught(name, run, steps) for label, run in RUNS.items()} for name in PLANTS}
    lines = [
        f"Maps that violate their certificate, and the step, of at most {steps}, at which a run noticed it. A dash "
        "means that the run did not notice it.",
        "",
        "| plant | " + " | ".join(RUNS) + " |",
        "| --- |" + " --- |" * len(RUNS),
        *(
            f"| {name} | " + " | ".join(str(step or "-") for step, _ in row.values()) + " |"
            for name, row in found.items()
        ),
    ]
    record = stamp(f"python scripts/plants.py --steps {steps}") | {
        "plants": {
            name: {label: {"step": step, "guarantee": words} for label, (step, words) in row.items()}
            for name, row in found.items()
        }
    }
    write_results("plants", record, lines)
    print("\n".join(lines))


if __name__ == "__main__":
    main()
