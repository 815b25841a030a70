r"""Explicit Euler steps of gradient flows with a matrix, on whole images or on disjoint patches.

    phi(x) = x - tau W^T relu(W x + b)

is 1-Lipschitz for 0 <= tau <= 2 / ||W||^2 (Sherry et al., Physica D 463, 2024), and averaged below the upper limit.

With orthonormal rows and tau = 2, the upper limit, more holds: if a set S of the units is active, the Jacobian
id - 2 W_S^T W_S is a reflection. The step then preserves distances between points of one linear region, and gradients
do not fade with depth. A classifier with a margin needs this.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

from pnpkit import certificates
from pnpkit.certificates import Certificate, Side
from pnpkit.numerics.norms import matrix_norm_bound


class OrthonormalRows(nn.Module):
    """W = L^-1 V with V V^T = L L^T (Cholesky), so W W^T = id. A torch parametrization, differentiable in V.

    The rows are orthonormal up to rounding. It is for training only: no certificate relies on it.
    """

    def forward(self, matrix: Tensor) -> Tensor:
        lower = torch.linalg.cholesky(matrix @ matrix.T)
        return torch.linalg.solve_triangular(lower, matrix, upper=False)

    def right_inverse(self, matrix: Tensor) -> Tensor:
        return matrix


class UnitSpectralNorm(nn.Module):
    """W = V / n(V), n(V) = u^T V v from warm-started power iteration: the largest singular value becomes about 1.

    n is a lower bound of ||V||. It is for training only: no certificate relies on it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.right: Tensor | None = None

    @torch.no_grad()
    def refresh(self, matrix: Tensor) -> tuple[Tensor, Tensor]:
        right, iterations = self.right, 1
        if right is None:
            right, iterations = torch.randn(matrix.shape[1], generator=torch.Generator().manual_seed(0)).to(matrix), 30
        for _ in range(iterations):
            left = F.normalize(matrix @ right, dim=0)
            right = F.normalize(matrix.T @ left, dim=0)
        self.right = right
        return left, right

    def forward(self, matrix: Tensor) -> Tensor:
        left, right = self.refresh(matrix)
        return matrix / (left @ matrix @ right)

    def right_inverse(self, matrix: Tensor) -> Tensor:
        return matrix


STEERINGS: dict[str, type[nn.Module]] = {"orthonormal": OrthonormalRows, "spectral": UnitSpectralNorm}


class GradientFlowDense(nn.Module):
    """phi(x) = x - tau W^T relu(W x + b) on the last axis, where W is ``hidden`` x ``features``, hidden <= features.

    The initial W has orthonormal rows. ``steer`` keeps them orthonormal during training, ``release`` makes W a plain
    weight again, and ``secure`` lowers tau if the norm requires it. tau is stored with the weights and not learned. The
    certificate relies on none of this: it is derived from the singular values of the present W and from tau.
    """

    step: Tensor  # tau, float64, a scalar

    def __init__(self, features: int, hidden: int, step: float = 2.0):
        super().__init__()
        if not 0 < hidden <= features:
            raise ValueError(f"hidden must lie in 1..{features}, the number of features, got {hidden}")
        if not step > 0:
            raise ValueError(f"a step is a positive number, got {step}")
        self.register_buffer("step", torch.tensor(step, dtype=torch.float64))
        self.weight = nn.Parameter(OrthonormalRows()(torch.randn(hidden, features)))
        self.bias = nn.Parameter(torch.zeros(hidden))

    def norm_bound(self) -> float:
        """Return a proven bound on ||W||, from the SVD in float64."""
        return matrix_norm_bound(self.weight)

    def steer(self, how: str = "orthonormal") -> None:
        """Keep the rows orthonormal in training, or only the largest singular value near 1; see ``STEERINGS``."""
        parametrize.register_parametrization(self, "weight", STEERINGS[how]())

    def release(self) -> None:
        """End the steering: the last W becomes a plain weight."""
        parametrize.remove_parametrizations(self, "weight")

    @torch.no_grad()
    def secure(self) -> None:
        """Lower tau, if needed, until tau ||W||^2 <= 2 is proven, with a margin for rounding tau to float32."""
        bound = self.norm_bound()
        if 0 < bound < math.inf:
            self.step.clamp_(max=2 / bound**2 * (1 - 1e-6))

    def certify(self, name: str) -> Certificate:
        """Certify the step, with B the proven norm.

        It is 1-Lipschitz if tau B^2 <= 2, averaged if tau B^2 < 2, and otherwise (tau B^2 - 1)-Lipschitz.
        """
        bound, tau = self.norm_bound(), float(self.step)
        half = tau * bound**2 / 2
        if not math.isfinite(half):
            return certificates.nothing(name, "weights that are not finite")
        if half == 0:
            return certificates.identity(name)
        method = f"gradient-flow step, tau = {tau:.6g}, ||W|| <= {bound:.9g} (SVD in float64)"
        averagedness = half if half < 1 - 1e-5 else None  # a value closer to 1 is of no use
        return Certificate(name, max(1.0, 2 * half - 1), averagedness, Side.PROVEN, method)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight.to(x.dtype)
        return x - self.step * (torch.relu(F.linear(x, weight, self.bias.to(x.dtype))) @ weight)


def to_patches(x: Tensor, size: int) -> Tensor:
    """Permute (B, C, H, W) to disjoint s x s patches, (B, H/s, W/s, C s^2)."""
    batch, channels, rows, columns = x.shape
    split = x.reshape(batch, channels, rows // size, size, columns // size, size)
    return split.permute(0, 2, 4, 1, 3, 5).reshape(batch, rows // size, columns // size, channels * size**2)


def from_patches(patches: Tensor, size: int) -> Tensor:
    """Undo ``to_patches``. This is its inverse and also its adjoint."""
    batch, rows, columns, features = patches.shape
    split = patches.reshape(batch, rows, columns, features // size**2, size, size)
    return split.permute(0, 3, 1, 4, 2, 5).reshape(batch, features // size**2, rows * size, columns * size)


class GradientFlowPatches(nn.Module):
    """The same dense step on every s x s patch of a tiling that is shifted circularly by ``shift`` pixels.

    It is a convolution of stride s with disjoint windows. Layers with different shifts exchange information between
    patches. Its norm is that of the small matrix, since tilings and shifts are permutations.
    """

    def __init__(self, channels: int, size: int, hidden: int, shift: int = 0, step: float = 2.0):
        super().__init__()
        self.size, self.shift = size, shift
        self.dense = GradientFlowDense(channels * size**2, hidden, step)

    def certify(self, name: str) -> Certificate:
        """Return the certificate of the dense step."""
        return self.dense.certify(name)

    def forward(self, x: Tensor) -> Tensor:
        moved = torch.roll(x, (self.shift, self.shift), (2, 3)) if self.shift else x
        moved = from_patches(self.dense(to_patches(moved, self.size)), self.size)
        return torch.roll(moved, (-self.shift, -self.shift), (2, 3)) if self.shift else moved
