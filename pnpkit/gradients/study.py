r"""Training deep networks on planar sets while their gradients are watched, and two ways in which gradients explode."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from pnpkit.errors import UnknownName
from pnpkit.gradients.networks import DeepConfig, DeepNetwork, parameter_gradients, sensitivities


@dataclass(frozen=True)
class TrainingConfig:
    """``points`` training and as many test points; full training by Adam with one cycle of rates.

    ``penalty`` weighs the roughness (see ``DeepNetwork.roughness``); gradients are looked at ``looks`` times, at
    ``probes`` points.
    """

    data: str = "swiss-roll"
    points: int = 2000
    steps: int = 600
    batch: int = 125
    rate: float = 2e-2
    penalty: float = 0.0
    looks: int = 6
    probes: int = 64
    seed: int = 0


@dataclass(frozen=True)
class Trained:
    """``at``: the steps of the looks, K of them. ``spectra`` (K, N, 2): over the probes, the median of the largest and
    the median of the smallest singular value of dx_N / dx_j. ``lowest`` and ``highest``: of all largest singular values
    at all looks. ``weights`` (K, N): ||dL / dtheta_j||. ``accuracy`` on the test points."""

    config: DeepConfig
    at: list[int]
    spectra: Tensor
    lowest: float
    highest: float
    weights: Tensor
    accuracy: float


def swiss_roll(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Two interleaved spirals in [-1, 1]^2: (N, 2), (N,) labels in {0, 1}."""
    labels = torch.arange(count) % 2
    t = 0.25 + 0.75 * torch.rand(count, generator=generator, dtype=torch.float64)
    angle = 3 * math.pi * t + math.pi * labels
    noise = 0.01 * torch.randn(count, 2, generator=generator, dtype=torch.float64)
    return t[:, None] * torch.stack([angle.cos(), angle.sin()], dim=-1) + noise, labels


def double_moons(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Two half circles, one above the other and moved to the side."""
    labels = torch.arange(count) % 2
    angle = math.pi * torch.rand(count, generator=generator, dtype=torch.float64)
    upper, side = 1 - 2 * labels, labels.double()
    points = torch.stack([angle.cos() + side - 0.5, upper * angle.sin() + 0.5 * side - 0.25], dim=-1)
    return 0.7 * points + 0.05 * torch.randn(count, 2, generator=generator, dtype=torch.float64), labels


def double_circles(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """A circle of radius 0.4 inside one of radius 0.9."""
    labels = torch.arange(count) % 2
    angle = 2 * math.pi * torch.rand(count, generator=generator, dtype=torch.float64)
    radius = 0.4 + 0.5 * labels + 0.05 * torch.randn(count, generator=generator, dtype=torch.float64)
    return radius[:, None] * torch.stack([angle.cos(), angle.sin()], dim=-1), labels


DATA = {"swiss-roll": swiss_roll, "double-moons": double_moons, "double-circles": double_circles}


def train(network: DeepConfig, config: TrainingConfig) -> Trained:
    """One network on one set, watched."""
    if config.data not in DATA:
        raise UnknownName("data set", config.data, DATA)
    generator = torch.Generator().manual_seed(config.seed)
    x, labels = DATA[config.data](2 * config.points, generator)
    x, y = x.float(), labels.float()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        net = DeepNetwork(network)
    optimiser = torch.optim.Adam(net.parameters(), lr=config.rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, config.rate, config.steps)
    looks = {round(k * config.steps / max(config.looks - 1, 1)) for k in range(config.looks)}
    at, spectra, weights, lowest, highest = [], [], [], math.inf, 0.0
    for step in range(config.steps + 1):
        draw = torch.randint(config.points, (config.batch,), generator=generator)
        loss = F.binary_cross_entropy_with_logits(net(x[draw]), y[draw])
        if step in looks:
            values = sensitivities(net.double(), x[: config.probes].double())
            net.float()
            at.append(step)
            spectra.append(torch.stack([values[..., 0].median(1).values, values[..., -1].median(1).values], -1))
            lowest, highest = min(lowest, float(values[..., 0].min())), max(highest, float(values[..., 0].max()))
            weights.append(parameter_gradients(net, F.binary_cross_entropy_with_logits(net(x[draw]), y[draw])))
        if step < config.steps:
            optimiser.zero_grad(set_to_none=True)
            (loss + config.penalty * net.roughness() if config.penalty else loss).backward()
            optimiser.step()
            schedule.step()
    with torch.no_grad():
        right = (net(x[config.points :]) > 0) == (y[config.points :] == 1)
    return Trained(
        network, at, torch.stack(spectra), lowest, highest, torch.stack(weights), float(right.float().mean())
    )


def constant_field(depths: list[int], step: float) -> Tensor:
    r"""||dx_N / dx_0|| of the semi-implicit Euler method for y' = J tanh(y) from (1, 0), N in ``depths``.

    A nonlinear oscillator: nearby orbits turn at different speeds, so the norm grows like N h without end. The weights
    do not depend on the layer, so the smoothness penalty is zero: it does not see this (Galimberti et al. 2023).
    """
    p, q = torch.tensor(0.0, dtype=torch.float64), torch.tensor(1.0, dtype=torch.float64)
    slope, norms = torch.eye(2, dtype=torch.float64), {}
    for layer in range(1, max(depths) + 1):
        kick = torch.tensor([[1.0, float(-step * (1 - q.tanh().square()))], [0.0, 1.0]], dtype=torch.float64)
        p = p - step * q.tanh()
        drift = torch.tensor([[1.0, 0.0], [float(step * (1 - p.tanh().square())), 1.0]], dtype=torch.float64)
        q = q + step * p.tanh()
        slope = drift @ kick @ slope
        norms[layer] = torch.linalg.matrix_norm(slope, 2)
    return torch.stack([norms[depth] for depth in depths])


def random_weights(depths: list[int], step: float, rough: float, features: int = 4, seed: int = 0) -> Tensor:
    r"""Median ||dx_N / dx_0|| of H2 with random weights that change from layer to layer.

        theta_{j+1} = c theta_j + s xi_j,    c^2 + s^2 = 1

    ``rough`` = s in [0, 1]: 1 draws every layer anew, 0 keeps the first. The size of the weights is the same for all s;
    a smoothness penalty lowers s. A product of independent symplectic matrices grows exponentially (Furstenberg 1963).
    """
    norms = []
    for depth in depths:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            net = DeepNetwork(DeepConfig("H2", depth, features, step=step)).double()
            with torch.no_grad():
                weights = [layer.get_parameter("weight") for layer in net.layers]
                for before, after in zip(weights[:-1], weights[1:], strict=True):
                    after.copy_(math.sqrt(1 - rough**2) * before + rough * after)
            x = torch.randn(32, 2, dtype=torch.float64)
        norms.append(sensitivities(net, x)[0, :, 0].median())
    return torch.stack(norms)
