r"""Deep networks trained on planar sets, with a record of their gradients, and two examples of exploding gradients.

Each network is trained at several learning rates, and its rate is chosen on a validation set. A failure at the rate of
another network would show nothing. All seeds at all rates are trained at once, with stacked weights.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from pnpkit.dynamics.ensembles import ensemble
from pnpkit.errors import InputError, UnknownName
from pnpkit.gradients.networks import DeepConfig, DeepNetwork, parameter_gradients, sensitivities

RATES = (1e-4, 3e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 1e-1)


@dataclass(frozen=True)
class DepthTraining:
    """The settings of a training.

    There are ``points`` points for training, as many for validation, and as many for the test. Adam runs one cycle up
    to each of ``rates``, with ``seeds`` networks for each. ``penalty`` weighs the roughness (see
    ``DeepNetwork.roughness``). Gradients are recorded ``recordings`` times, at ``probes`` points. All numbers are
    float64, because products over 256 layers leave the range of float32.
    """

    data: str = "swiss-roll"
    points: int = 2000
    steps: int = 600
    batch: int = 125
    rates: tuple[float, ...] = RATES
    seeds: int = 5
    penalty: float = 0.0
    recordings: int = 6
    probes: int = 64
    seed: int = 0


@dataclass(frozen=True)
class Trained:
    """One network at its best rate, with S seeds.

    Attributes:
        rate: the rate with the highest median accuracy on the validation points; among equal ones, with the lowest
            median loss there.
        validation: the median accuracy by rate.
        at: the K steps of the recordings.
        spectra: (S, K, N, 2), medians over the probes of the largest and of the smallest singular value of dx_N / dx_j.
        lowest, highest: (S,), extremes of all largest singular values at all recordings.
        weights: (S, K, N), ||dL / dtheta_j|| on one batch.
        accuracy: (S,), the accuracy on the test points.
    """

    config: DeepConfig
    rate: float
    validation: dict[float, float]
    at: list[int]
    spectra: Tensor
    lowest: Tensor
    highest: Tensor
    weights: Tensor
    accuracy: Tensor


def swiss_roll(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw two interleaved spirals in [-1, 1]^2: points (N, 2) and labels (N,) in {0, 1}."""
    labels = torch.arange(count) % 2
    t = 0.25 + 0.75 * torch.rand(count, generator=generator, dtype=torch.float64)
    angle = 3 * math.pi * t + math.pi * labels
    noise = 0.01 * torch.randn(count, 2, generator=generator, dtype=torch.float64)
    return t[:, None] * torch.stack([angle.cos(), angle.sin()], dim=-1) + noise, labels


def double_moons(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw two half circles, one above the other and shifted sideways."""
    labels = torch.arange(count) % 2
    angle = math.pi * torch.rand(count, generator=generator, dtype=torch.float64)
    upper, side = 1 - 2 * labels, labels.double()
    points = torch.stack([angle.cos() + side - 0.5, upper * angle.sin() + 0.5 * side - 0.25], dim=-1)
    return 0.7 * points + 0.05 * torch.randn(count, 2, generator=generator, dtype=torch.float64), labels


def double_circles(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw a circle of radius 0.4 inside one of radius 0.9."""
    labels = torch.arange(count) % 2
    angle = 2 * math.pi * torch.rand(count, generator=generator, dtype=torch.float64)
    radius = 0.4 + 0.5 * labels + 0.05 * torch.randn(count, generator=generator, dtype=torch.float64)
    return radius[:, None] * torch.stack([angle.cos(), angle.sin()], dim=-1), labels


DATA = {"swiss-roll": swiss_roll, "double-moons": double_moons, "double-circles": double_circles}


def train(network: DeepConfig, config: DepthTraining) -> Trained:
    """Train one network on one set at every rate, then record the gradients of the seeds at the best rate."""
    if config.data not in DATA:
        raise UnknownName("data set", config.data, DATA)
    if config.seeds < 1 or config.recordings < 2 or not config.rates:
        raise InputError("at least one seed, one rate and two recordings are needed")
    generator = torch.Generator().manual_seed(config.seed)
    x, labels = DATA[config.data](3 * config.points, generator)
    y = labels.double()
    (train_x, validation_x, test_x), (train_y, validation_y, test_y) = x.split(config.points), y.split(config.points)
    nets = ensemble(config.seeds, config.seed, lambda: DeepNetwork(network))
    at = sorted({round(k * config.steps / (config.recordings - 1)) for k in range(config.recordings)})
    kept, batch = _train_all(nets, train_x, train_y, config, at, generator)

    middles = []
    for members in kept[-1]:
        found = [_score(_set(nets[k], theta), validation_x, validation_y) for k, theta in enumerate(members)]
        middles.append(torch.tensor(found, dtype=torch.float64).quantile(0.5, dim=0))
    best = max(range(len(config.rates)), key=lambda k: (float(middles[k][0]), -float(middles[k][1])))

    spectra, weights, lowest, highest, accuracy = [], [], [], [], []
    for k, net in enumerate(nets):
        values, slopes = [], []
        for moment in kept:
            _set(net, moment[best][k])
            values.append(sensitivities(net, train_x[: config.probes]))
            loss = F.binary_cross_entropy_with_logits(net(train_x[batch[k]]), train_y[batch[k]])
            slopes.append(parameter_gradients(net, loss))
        every = torch.stack(values)
        spectra.append(torch.stack([every[..., 0].median(2).values, every[..., -1].median(2).values], -1))
        weights.append(torch.stack(slopes))
        lowest.append(every[..., 0].min())
        highest.append(every[..., 0].max())
        accuracy.append(torch.tensor(_score(net, test_x, test_y)[0], dtype=torch.float64))
    parts = (spectra, lowest, highest, weights, accuracy)
    validation = {rate: float(middle[0]) for rate, middle in zip(config.rates, middles, strict=True)}
    return Trained(network, config.rates[best], validation, at, *(torch.stack(part) for part in parts))


def _train_all(
    nets: list[DeepNetwork], x: Tensor, y: Tensor, config: DepthTraining, at: list[int], generator: torch.Generator
) -> tuple[list[list[Tensor]], Tensor]:
    """Train all seeds at all rates at once.

    The seeds of one rate are rows of one tensor, and the rates are groups of one optimiser. The k-th seed has the same
    batches at every rate.

    Returns:
        The parameters at the steps ``at``, by rate (S, P), and the last batch (S, B).
    """
    skeleton = _Objective(copy.deepcopy(nets[0]), config.penalty).to("meta")
    names, shapes = zip(*((name, p.shape) for name, p in skeleton.named_parameters()), strict=True)
    sizes = [shape.numel() for shape in shapes]
    points = [(1,) if name.endswith("bias") else () for name in names]  # a bias is added to every point

    def loss(theta: Tensor, x: Tensor, y: Tensor) -> Tensor:
        parts = theta.split(sizes, dim=1)
        shaped = (part.view(-1, *axis, *shape) for part, shape, axis in zip(parts, shapes, points, strict=True))
        return functional_call(skeleton, dict(zip(names, shaped, strict=True)), (x, y))

    first = torch.stack([nn.utils.parameters_to_vector(net.parameters()).detach() for net in nets])
    groups = [first.clone().requires_grad_() for _ in config.rates]
    optimiser = torch.optim.Adam(
        [{"params": [group], "lr": rate} for group, rate in zip(groups, config.rates, strict=True)]
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, list(config.rates), config.steps)
    kept, batch = [], torch.zeros(0)
    for step in range(config.steps + 1):
        batch = torch.randint(len(x), (config.seeds, config.batch), generator=generator)
        if step in at:
            kept.append([group.detach().clone() for group in groups])
        if step == config.steps:
            break
        draw = batch.repeat(len(groups), 1)
        optimiser.zero_grad(set_to_none=True)
        loss(torch.cat(groups), x[draw], y[draw]).backward()
        optimiser.step()
        schedule.step()
    return kept, batch


class _Objective(nn.Module):
    """Cross-entropy of points and labels plus penalty * roughness, summed over the stacked networks."""

    def __init__(self, net: DeepNetwork, penalty: float):
        super().__init__()
        self.net, self.penalty = net, penalty

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        loss = F.binary_cross_entropy_with_logits(self.net(x), y, reduction="none").mean(-1).sum()
        return loss + self.penalty * self.net.roughness() if self.penalty else loss


def _set(net: DeepNetwork, theta: Tensor) -> DeepNetwork:
    nn.utils.vector_to_parameters(theta.clone(), net.parameters())
    return net


@torch.no_grad()
def _score(net: DeepNetwork, x: Tensor, y: Tensor) -> tuple[float, float]:
    """Return accuracy and cross-entropy."""
    logits = net(x)
    right = (logits > 0) == (y == 1)
    return float(right.double().mean()), float(F.binary_cross_entropy_with_logits(logits, y))


def constant_field(depths: list[int], step: float) -> Tensor:
    r"""Return ||dx_N / dx_0|| of the semi-implicit Euler method for y' = J tanh(y) from (1, 0), for N in ``depths``.

    In this nonlinear oscillator neighbouring orbits turn at different speeds, so the norm grows like N h without bound.
    The weights are the same in all layers, so the smoothness penalty is zero and does not prevent it (Galimberti et al.
    2023).
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
    r"""Return the median ||dx_N / dx_0|| of H2 with random weights that change from layer to layer.

        theta_{j+1} = c theta_j + s xi_j,    c^2 + s^2 = 1

    ``rough`` = s in [0, 1]: 1 draws each layer independently, 0 repeats the first. The size of the weights does not
    depend on s, which a smoothness penalty lowers. A product of independent symplectic matrices grows exponentially
    (Furstenberg 1963).
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
