r"""A preserved norm: linear advection u_t + c . grad u = 0 on a periodic square, learned by a convolutional network.

    layer:  v = F(u) - <F(u), u> u / ||u||^2,   u+ = ||u|| (u + h v) / ||u + h v||

The field is projected onto the tangent space of the sphere of radius ||u||, and the step back onto the sphere. F is two
5 x 5 convolutions with tanh between them. The plain layer is u + h F(u). The exact solution is a shift, computed by
Fourier transforms.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pnpkit.dynamics.ensembles import EnsembleTraining, ensemble, train_ensemble

KINDS = ("structured", "plain")


@dataclass(frozen=True)
class AdvectionConfig:
    """The settings: a grid of ``size``^2 on the unit torus, and a shift by ``shift`` pixels in x and y per application.

    The training targets carry noise N(0, ``noise``^2).
    """

    size: int = 24
    shift: tuple[float, float] = (0.6, 0.35)
    noise: float = 0.002
    train: int = 64
    test: int = 16
    channels: int = 4
    layers: int = 2
    steps: int = 600
    seeds: int = 5
    rollout: int = 40
    long: int = 400
    seed: int = 0


@dataclass(frozen=True)
class AdvectionRun:
    """The results of one network.

    Relative error and relative change of the norm are given after each of the applications 0 .. long, as
    (seeds, long + 1), averaged over test functions. ``pictures`` are the first test function after ``rollout``
    applications, per seed.
    """

    kind: str
    error: Tensor
    violation: Tensor
    pictures: Tensor


class Layer(nn.Module):
    """One layer as described in the module, for u of size (..., H, W)."""

    def __init__(self, channels: int, structured: bool):
        super().__init__()
        self.inner = nn.Conv2d(1, channels, 5)
        self.outer = nn.Conv2d(channels, 1, 5, bias=False)
        self.structured = structured

    def field(self, u: Tensor) -> Tensor:
        padded = F.pad(u[..., None, :, :], (2, 2, 2, 2), mode="circular")
        middle = F.pad(torch.tanh(self.inner(padded)), (2, 2, 2, 2), mode="circular")
        return self.outer(middle)[..., 0, :, :]

    def forward(self, u: Tensor, step: float) -> Tensor:
        v = self.field(u)
        if not self.structured:
            return u + step * v
        square = u.square().sum((-2, -1), keepdim=True)
        v = v - (v * u).sum((-2, -1), keepdim=True) / square * u
        moved = u + step * v
        return moved * (square / moved.square().sum((-2, -1), keepdim=True)).sqrt()


class Network(nn.Module):
    """``layers`` layers with h = 1 / layers: (B, H, W) -> (B, H, W)."""

    def __init__(self, kind: str, layers: int, channels: int):
        super().__init__()
        self.layers = nn.ModuleList(Layer(channels, kind == "structured") for _ in range(layers))

    def forward(self, u: Tensor) -> Tensor:
        for layer in self.layers:
            u = layer(u, 1 / len(self.layers))
        return u


def functions(count: int, size: int, generator: torch.Generator) -> Tensor:
    """Draw smooth random functions (N, size, size), with three wave numbers per axis and mean square about 1/2."""
    axis = 2 * math.pi * torch.arange(size, dtype=torch.float64) / size
    waves = torch.cartesian_prod(torch.arange(-2, 3), torch.arange(-2, 3)).double()
    angles = waves[:, 0, None, None] * axis[:, None] + waves[:, 1, None, None] * axis
    weight = torch.randn(count, len(waves), generator=generator, dtype=torch.float64) / len(waves) ** 0.5
    phase = 2 * math.pi * torch.rand(count, len(waves), generator=generator, dtype=torch.float64)
    return (weight[..., None, None] * (angles + phase[..., None, None]).cos()).sum(1)


def shifted(u: Tensor, shift: tuple[float, float], times: int = 1) -> Tensor:
    """Shift u ``times`` times, (..., H, W) -> (..., H, W). This is exact for band-limited u."""
    rows, columns = u.shape[-2:]
    down = torch.fft.fftfreq(rows, dtype=torch.float64)[:, None] * shift[0]
    across = torch.fft.rfftfreq(columns, dtype=torch.float64) * shift[1]
    turn = -2 * math.pi * times * (down + across)
    return torch.fft.irfft2(torch.fft.rfft2(u) * torch.polar(torch.ones_like(turn), turn), s=(rows, columns))


def run(config: AdvectionConfig) -> list[AdvectionRun]:
    """Train both networks on the same noisy pairs and apply them ``long`` times to other functions."""
    generator = torch.Generator().manual_seed(config.seed)
    u = functions(config.train + config.test, config.size, generator)
    target = shifted(u, config.shift)
    target = target + config.noise * torch.randn(target.shape, generator=generator, dtype=torch.float64)
    runs = []
    for kind in KINDS:
        made = ensemble(config.seeds, config.seed, partial(Network, kind, config.layers, config.channels))
        models = [network.float() for network in made]
        data = (u[: config.train].float(), target[: config.train].float())
        train_ensemble(models, data, EnsembleTraining(config.steps, 16, 1e-2, seed=config.seed))
        results = [_follow(m.double(), u[config.train :], config) for m in models]
        runs.append(AdvectionRun(kind, *(torch.stack(parts) for parts in zip(*results, strict=True))))
    return runs


@torch.no_grad()
def _follow(model: nn.Module, u: Tensor, config: AdvectionConfig) -> tuple[Tensor, Tensor, Tensor]:
    size = torch.linalg.vector_norm(u, dim=(-2, -1))
    now, errors, violations, picture = u, [torch.zeros(())], [torch.zeros(())], u[0]
    for k in range(1, config.long + 1):
        now = model(now)
        gap = torch.linalg.vector_norm(now - shifted(u, config.shift, k), dim=(-2, -1)) / size
        errors.append(gap.mean())
        violations.append((torch.linalg.vector_norm(now, dim=(-2, -1)) / size - 1).abs().mean())
        picture = now[0] if k == config.rollout else picture
    return torch.stack(errors), torch.stack(violations), picture
