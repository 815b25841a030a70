r"""Deep networks of constant width, layer by layer, so that every Jacobian is accessible.

    MLP      x+ = tanh(W x + b)
    ResNet   x+ = x + h tanh(W x + b)
    H1       x+ = x + h J K^T tanh(K x + b)                       explicit Euler, J skew
    H2       p+ = p - h K_p^T tanh(K_p q + b_p),  q+ = q + h K_q^T tanh(K_q p+ + b_q)     semi-implicit Euler

H1 and H2 discretise y' = J grad H(y), H(y) = 1^T log cosh(K y + b). Each layer of H2 is a symplectic map S, so
||dx_N / dx_j||_2 >= 1 for all weights, and the gradient cannot vanish (Galimberti, Furieri, Xu, Ferrari-Trecate, IEEE
TAC 68(5), 2023). An explicit Euler step is not symplectic: H1 has the bound only in the limit of small h. There is no
upper bound on the norm.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import jacrev, vmap

from pnpkit.errors import UnknownName

KINDS = ("MLP", "ResNet", "H1", "H2")
STARTS = ("normal", "orthogonal")


@dataclass(frozen=True)
class DeepConfig:
    """The architecture: ``layers`` layers of width ``features`` (even, at least 2 for planar inputs).

    h = ``end`` / layers, or ``step`` if it is given. Inputs are lifted by zeros. According to ``start``, weights are
    drawn from N(0, 1 / features), or are orthogonal matrices, which keep the size of a signal where tanh is near the
    identity.
    """

    kind: str = "H2"
    layers: int = 12
    features: int = 4
    end: float = 1.2
    step: float | None = None
    start: str = "normal"

    @property
    def size(self) -> float:
        """h."""
        return self.end / self.layers if self.step is None else self.step


class PlainLayer(nn.Module):
    """tanh(W x + b)."""

    def __init__(self, features: int, _: float):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(features, features) / math.sqrt(features))
        self.bias = nn.Parameter(torch.zeros(features))

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x @ self.weight.mT + self.bias)


class ResidualLayer(PlainLayer):
    """x + h tanh(W x + b)."""

    def __init__(self, features: int, step: float):
        super().__init__(features, step)
        self.step = step

    def forward(self, x: Tensor) -> Tensor:
        return x + self.step * torch.tanh(x @ self.weight.mT + self.bias)


class ExplicitLayer(nn.Module):
    """H1: x + h J K^T tanh(K x + b) with J = [0 I; -I 0]."""

    def __init__(self, features: int, step: float):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(features, features) / math.sqrt(features))
        self.bias = nn.Parameter(torch.zeros(features))
        self.step = step

    def forward(self, x: Tensor) -> Tensor:
        first, second = (torch.tanh(x @ self.weight.mT + self.bias) @ self.weight).chunk(2, dim=-1)
        return x + self.step * torch.cat([second, -first], dim=-1)


class SymplecticLayer(nn.Module):
    """H2: the semi-implicit Euler step for a separable H, x = (p, q)."""

    def __init__(self, features: int, step: float):
        super().__init__()
        half = features // 2
        self.weight = nn.Parameter(torch.randn(2, half, half) / math.sqrt(half))
        self.bias = nn.Parameter(torch.zeros(2, half))
        self.step = step

    def forward(self, x: Tensor) -> Tensor:
        p, q = x.chunk(2, dim=-1)
        (first, second), (a, b) = self.weight.unbind(-3), self.bias.unbind(-2)
        p = p - self.step * torch.tanh(q @ first.mT + a) @ first
        q = q + self.step * torch.tanh(p @ second.mT + b) @ second
        return torch.cat([p, q], dim=-1)


LAYERS = {"MLP": PlainLayer, "ResNet": ResidualLayer, "H1": ExplicitLayer, "H2": SymplecticLayer}


class DeepNetwork(nn.Module):
    """A deep network that maps points (B, 2) to logits (B,).

    ``states`` returns the inputs of the layers and the last output. Weights may have a leading axis of M networks, and
    biases (M, 1, ...). Then the network maps (M, B, 2) to (M, B).
    """

    def __init__(self, config: DeepConfig):
        super().__init__()
        if config.kind not in LAYERS:
            raise UnknownName("kind of layer", config.kind, LAYERS)
        if config.start not in STARTS:
            raise UnknownName("start", config.start, STARTS)
        self.config = config
        self.layers = nn.ModuleList(LAYERS[config.kind](config.features, config.size) for _ in range(config.layers))
        self.head = nn.Linear(config.features, 1)
        if config.start == "orthogonal":
            for layer in self.layers:
                weight = layer.get_parameter("weight")
                for matrix in weight if weight.ndim == 3 else [weight]:
                    nn.init.orthogonal_(matrix)

    def lift(self, x: Tensor) -> Tensor:
        """Put one coordinate into each half of the state, which H2 uses as momentum and position; the rest is zero."""
        half = self.config.features // 2
        return torch.cat([F.pad(x[..., :1], (0, half - 1)), F.pad(x[..., 1:2], (0, half - 1))], dim=-1)

    def states(self, x: Tensor) -> list[Tensor]:
        found = [self.lift(x)]
        for layer in self.layers:
            found.append(layer(found[-1]))
        return found

    def forward(self, x: Tensor) -> Tensor:
        return (self.states(x)[-1] @ self.head.weight.mT + self.head.bias)[..., 0]

    def roughness(self) -> Tensor:
        """sum_j ||theta_{j+1} - theta_j||^2 / h: the smoothness penalty of Haber and Ruthotto (2017)."""
        total = torch.zeros((), dtype=self.head.weight.dtype, device=self.head.weight.device)
        for before, after in zip(self.layers[:-1], self.layers[1:], strict=True):
            total = total + sum(
                (a - b).square().sum() for a, b in zip(after.parameters(), before.parameters(), strict=True)
            )
        return total / self.config.size


def sensitivities(network: DeepNetwork, x: Tensor) -> Tensor:
    """Return the singular values of dx_N / dx_j, j = 0 .. N - 1, at every point: (N, B, features), largest first."""
    with torch.no_grad():
        states = network.states(x)
    product: Tensor | None = None
    found = []
    for layer, state in zip(reversed(list(network.layers)), reversed(states[:-1]), strict=True):
        slope = vmap(jacrev(layer))(state).detach()
        product = slope if product is None else product @ slope
        found.append(torch.linalg.svdvals(product))
    return torch.stack(found[::-1])


def parameter_gradients(network: DeepNetwork, loss: Tensor) -> Tensor:
    """Return ||dL / dtheta_j|| for j = 0 .. N - 1."""
    groups = [list(layer.parameters()) for layer in network.layers]
    flat = torch.autograd.grad(loss, [p for group in groups for p in group])
    sizes, norms, place = [len(group) for group in groups], [], 0
    for size in sizes:
        norms.append(torch.stack([g.square().sum() for g in flat[place : place + size]]).sum().sqrt())
        place += size
    return torch.stack(norms)
