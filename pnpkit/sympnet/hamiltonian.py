r"""A Hamiltonian network with a symplectic integrator, for comparison with SympNets.

    H(z) = sum_i u_i log cosh(k_i . z + a_i),    (z+ - z) / h = J grad H((z + z+) / 2),    J = [0 I; -I 0]

The implicit midpoint rule is symplectic for every H, separable or not (Hairer, Lubich, Wanner 2006, VI.4). The network
is trained on the residual of the rule at pairs (z, z+), so no equation has to be solved. It learns the modified
Hamiltonian, whose midpoint map is the flow, and not H itself. Hamiltonian networks: Greydanus et al. 2019; this
training: Zhu et al. 2020.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import jacrev, vmap

from pnpkit.dynamics.potentials import LogCosh
from pnpkit.errors import InputError


class HamiltonianNetwork(nn.Module):
    """``forward(z, h)`` is the implicit midpoint map of the learned Hamiltonian."""

    def __init__(self, dimension: int, width: int):
        super().__init__()
        self.slope = LogCosh(2 * dimension, width)

    def energy(self, z: Tensor) -> Tensor:
        """H, (..., 2d) -> (...)."""
        return self.slope.potential(z)

    def velocity(self, z: Tensor) -> Tensor:
        """J grad H."""
        q, p = self.slope(z).chunk(2, dim=-1)
        return torch.cat([p, -q], dim=-1)

    def forward(self, z: Tensor, step: float | Tensor) -> Tensor:
        return self.solve(z, step)

    def solve(self, z: Tensor, step: float | Tensor, tolerance: float = 1e-14, limit: int = 100) -> Tensor:
        """Compute z+ by fixed-point iteration, which contracts while h ||H''|| < 2.

        Raises InputError if it does not converge to ``tolerance`` relative to the size of z. A smaller step helps.
        """
        after = z + step * self.velocity(z)
        change = float("inf")
        for _ in range(limit):
            new = z + step * self.velocity((z + after) / 2)
            last, change = change, float((new - after).detach().abs().max())
            after = new
            if change <= tolerance * (1 + float(new.detach().abs().max())) or (change >= last and change < 1e-12):
                return after
        raise InputError(f"the midpoint rule did not converge in {limit} iterations (last change {change:.1e})")

    def jacobians(self, z: Tensor, step: float) -> Tensor:
        """F' = (I - h/2 A)^{-1} (I + h/2 A), A = J H''((z + z+) / 2), at every point: (N, 2d) -> (N, 2d, 2d)."""
        with torch.no_grad():
            middle = (z + self.solve(z, step)) / 2
        half = vmap(jacrev(self.velocity))(middle).detach() * (step / 2)
        eye = torch.eye(z.shape[-1], dtype=z.dtype, device=z.device)
        return torch.linalg.solve(eye - half, eye + half)


class MidpointResidual(nn.Module):
    """(z, z+) -> z + h J grad H((z + z+) / 2), which training makes equal to z+."""

    def __init__(self, network: HamiltonianNetwork, step: float):
        super().__init__()
        self.network, self.step = network, step

    def forward(self, z: Tensor, after: Tensor) -> Tensor:
        return z + self.step * self.network.velocity((z + after) / 2)
