r"""Comparison of learned flow maps: one system, several networks, several seeds, one rollout.

Every network learns z(t) -> z(t + h) from the same noise-free pairs with the same optimisers. It is then applied
repeatedly from one start. The study measures energy, drift, the error at the horizon, and the defects of the Jacobian.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pnpkit.dynamics.ensembles import EnsembleTraining, ensemble, levenberg_marquardt, train_ensemble
from pnpkit.dynamics.plain import MLP, ResNet, parameter_count
from pnpkit.errors import UnknownName
from pnpkit.sympnet import diagnostics
from pnpkit.sympnet.diagnostics import EnergySplit
from pnpkit.sympnet.hamiltonian import HamiltonianNetwork, MidpointResidual
from pnpkit.sympnet.modules import SympNet, SympNetConfig
from pnpkit.sympnet.systems import System


@dataclass(frozen=True)
class StudyConfig:
    """Settings of a study.

    Attributes:
        pairs: number of training pairs.
        seeds: number of networks of each kind; seed s draws the weights of the s-th.
        adam: number of steps of Adam.
        polish: number of steps of Levenberg-Marquardt after Adam, the same for all kinds.
        horizon: length of the rollout in time; None uses that of the system.
        probes: number of points at which Jacobians are computed.
    """

    pairs: int = 1000
    seeds: int = 5
    adam: int = 1500
    polish: int = 40
    horizon: float | None = None
    probes: int = 64
    seed: int = 0


@dataclass(frozen=True)
class Run:
    """The results of one trained network. Errors are Euclidean, and times are in the system's unit.

    ``before`` and ``early`` are the largest energy error and the states of the rollout after Adam only. All other
    results are after the polish.
    """

    kind: str
    seed: int
    parameters: int
    train: float
    before: float
    energy: EnergySplit
    error: float
    growth: float
    horizon: float
    symplecticity: float
    volume: float
    reversibility: float
    invariants: Mapping[str, float]
    states: Tensor
    early: Tensor


@dataclass(frozen=True)
class Study:
    """All runs on one system, with the reference rollout."""

    system: System
    times: Tensor
    reference: Tensor
    runs: tuple[Run, ...]

    def of(self, kind: str) -> list[Run]:
        return [run for run in self.runs if run.kind == kind]

    def kinds(self) -> list[str]:
        return list(dict.fromkeys(run.kind for run in self.runs))


class FixedStep(nn.Module):
    """z -> network(z, h) for a fixed h."""

    def __init__(self, network: nn.Module, step: float):
        super().__init__()
        self.network, self.step = network, step

    def forward(self, z: Tensor) -> Tensor:
        return self.network(z, self.step)


class Increment(nn.Module):
    """z -> z + h MLP(z): near the identity, otherwise without structure."""

    def __init__(self, dimension: int, hidden: int):
        super().__init__()
        self.field = MLP(2 * dimension, hidden, hidden, 2 * dimension)

    def forward(self, z: Tensor, step: float | Tensor) -> Tensor:
        return z + step * self.field(z)


def networks(dimension: int) -> dict[str, Callable[[], nn.Module]]:
    """Return makers of the networks by name, with sizes that suit the dimension.

    ``LA-SympNet`` has 14 parameters if d = 1.
    """
    layers, width = (6, 4) if dimension == 1 else (8, 16)
    d = dimension
    return {
        "G-SympNet": lambda: SympNet(SympNetConfig(d, "G", layers, width)),
        "G-SympNet, reversible": lambda: SympNet(SympNetConfig(d, "G", layers // 2, 2 * width, symmetric=True)),
        "LA-SympNet": lambda: SympNet(SympNetConfig(d, "LA", 3, sublayers=2 if d == 1 else 4)),
        "G-SympNet, paper's start": lambda: SympNet(SympNetConfig(d, "G", layers, width, start="paper")),
        "HNN, midpoint rule": lambda: HamiltonianNetwork(d, 24 if d == 1 else 80),
        "ResNet": lambda: ResNet(2 * d, 2 if d == 1 else 16, 5),
        "MLP": lambda: Increment(d, 6 if d == 1 else 20),
    }


KINDS = tuple(networks(1))


def train(kind: str, system: System, data: tuple[Tensor, Tensor], config: StudyConfig) -> list[nn.Module]:
    """Train ``seeds`` networks of one kind by Adam in float64. Each maps (z, h) to z(t + h)."""
    if kind not in KINDS:
        raise UnknownName("network", kind, KINDS)
    made = ensemble(config.seeds, config.seed, networks(system.dimension)[kind])
    tasks, adam = [_task(n, system.step) for n in made], EnsembleTraining(config.adam, seed=config.seed)
    train_ensemble(tasks, _data(made[0], data), adam)
    return made


def run(system: System, kinds: tuple[str, ...], config: StudyConfig) -> Study:
    """Train and measure every kind. The start of the rollout is ``system.start``."""
    data = system.pairs(config.pairs, config.seed)
    probes = data[0][: config.probes]
    start, times = torch.tensor(system.start, dtype=torch.float64), system.times(config.horizon)
    reference = system.flow(start, times)
    runs = []
    for kind in kinds:
        trained = train(kind, system, data, config)
        before = diagnostics.rollout(_together(trained, system.step), start.expand(len(trained), -1), len(times) - 1)
        for network in trained:
            levenberg_marquardt(_task(network, system.step), _data(network, data), config.polish)
        after = diagnostics.rollout(_together(trained, system.step), start.expand(len(trained), -1), len(times) - 1)
        for seed, network in enumerate(trained):
            rollouts = before[:, seed], after[:, seed]
            runs.append(_measure(kind, seed, network, system, data, probes, reference, rollouts, times))
    return Study(system, times, reference, tuple(runs))


def _task(network: nn.Module, step: float) -> nn.Module:
    """Return the module to train: the map itself or, for a Hamiltonian network, the residual of its rule."""
    return MidpointResidual(network, step) if isinstance(network, HamiltonianNetwork) else FixedStep(network, step)


def _data(network: nn.Module, data: tuple[Tensor, Tensor]) -> tuple[Tensor, ...]:
    return (*data, data[1]) if isinstance(network, HamiltonianNetwork) else data


def _together(trained: list[nn.Module], step: float) -> Callable[[Tensor], Tensor]:
    return lambda z: torch.stack([network(row, step) for network, row in zip(trained, z, strict=True)])


def _largest(values: Tensor) -> float:
    """max |x(t) - x(0)|; inf if a value is not finite."""
    return float((values - values[0]).abs().max()) if bool(torch.isfinite(values).all()) else float("inf")


def _measure(
    kind: str,
    seed: int,
    network: nn.Module,
    system: System,
    data: tuple[Tensor, Tensor],
    probes: Tensor,
    reference: Tensor,
    rollouts: tuple[Tensor, Tensor],
    times: Tensor,
) -> Run:
    def step(z: Tensor) -> Tensor:
        return network(z, system.step)

    early, states = rollouts
    error = torch.linalg.vector_norm(states - reference, dim=-1)
    with torch.no_grad():
        train = float((step(data[0]) - data[1]).square().mean())
    if isinstance(network, HamiltonianNetwork):  # has a closed formula; its iterative solver cannot be differentiated
        slopes = network.jacobians(probes, system.step)
    else:
        slopes = diagnostics.jacobians(step, probes)
    symplecticity, volume = diagnostics.defects(slopes)
    return Run(
        kind=kind,
        seed=seed,
        parameters=parameter_count(network),
        train=train,
        before=_largest(system.energy(early)),
        energy=diagnostics.split_energy(times, system.energy(states)),
        error=float(error[-1]),
        growth=diagnostics.growth_exponent(times, error),
        horizon=diagnostics.horizon(times, error, 0.1),
        symplecticity=symplecticity,
        volume=volume,
        reversibility=diagnostics.reversibility_defect(step, probes) if system.even else float("nan"),
        invariants={name: _largest(value(states)) for name, value in system.invariants.items()},
        states=states,
        early=early,
    )
