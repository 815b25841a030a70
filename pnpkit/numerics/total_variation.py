r"""Total variation, isotropic and coupled over the colours: TV(u) = sum over pixels of |D u|.

|.| is the Euclidean norm over both differences and all channels together. So the edges of all colours coincide.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from pnpkit.errors import InexactWarning


def differences(u: Tensor) -> Tensor:
    """D u: forward differences to the right and down, zero at the end, (B, C, H, W) -> (B, 2C, H, W). ||D||^2 <= 8."""
    across = F.pad(u[..., 1:] - u[..., :-1], (0, 1))
    down = F.pad(u[..., 1:, :] - u[..., :-1, :], (0, 0, 0, 1))
    return torch.cat([across, down], 1)


def divergence(p: Tensor) -> Tensor:
    """D^T p."""
    across, down = p.chunk(2, 1)
    across, down = across[..., :-1], down[..., :-1, :]
    return (F.pad(across, (1, 0)) - F.pad(across, (0, 1))) + (F.pad(down, (0, 0, 1, 0)) - F.pad(down, (0, 0, 0, 1)))


def variation(u: Tensor) -> Tensor:
    """TV(u) per image, shape (B,)."""
    return torch.linalg.vector_norm(differences(u), dim=1).flatten(1).sum(1)


def proximal_map(z: Tensor, weight: Tensor | float, tolerance: float = 1e-4, max_steps: int = 5000) -> Tensor:
    r"""argmin_u 1/2 ||u - z||^2 + weight TV(u), image by image.

    With a weight for each pixel the penalty is sum_i weight_i |D u|_i. u = z - D^T p with |p| <= weight at every pixel,
    where p is found by accelerated projected gradient steps (Beck & Teboulle, IEEE TIP 18, 2009). They start at p = 0,
    so u is a function of z. They stop when the duality gap g proves
    ||u - exact|| <= sqrt(2 g) <= tolerance * sqrt(number of values). After ``max_steps`` there is a warning
    (``InexactWarning``).

    Args:
        z: (B, C, H, W).
        weight: >= 0: one number, one per image, or one per pixel, (B, 1, H, W).
        tolerance: largest error, root mean square, in the units of z.
    """
    weights = torch.as_tensor(weight, dtype=z.dtype, device=z.device)
    weights = weights.expand(len(z)) if weights.ndim < 2 else weights
    return torch.cat([_solve(z[i : i + 1], weights[i], tolerance, max_steps) for i in range(len(z))])


def _solve(z: Tensor, weight: Tensor, tolerance: float, max_steps: int) -> Tensor:
    goal = 0.5 * tolerance**2 * z.numel()
    dual = momentum = torch.zeros_like(torch.cat([z, z], 1))
    u, t = z, 1.0
    largest, divisor = float(weight.max()), weight.clamp_min(torch.finfo(z.dtype).tiny)
    for step in range(max_steps if largest > 0 else 0):
        ahead = momentum + differences(z - divergence(momentum)) / 8
        following = ahead / (torch.linalg.vector_norm(ahead, dim=1, keepdim=True) / divisor).clamp_min(1)
        faster = (1 + math.sqrt(1 + 4 * t**2)) / 2
        momentum, dual, t = following + (t - 1) / faster * (following - dual), following, faster
        if step % 10 == 9 or step + 1 == max_steps:
            u = z - divergence(dual)
            slope = differences(u)
            gap = (weight * torch.linalg.vector_norm(slope, dim=1)).sum() - (slope * dual).sum()
            if float(gap.detach()) <= goal:
                break
    else:
        if largest > 0:
            InexactWarning.tell("the solver for total variation", max_steps)
    return u


def premise(tolerance: float, max_steps: int) -> str:
    """Return the premise of a certificate that the inner solver is exact."""
    return (
        f"the inner solver for total variation is exact: it stops when the duality gap proves an error (root mean "
        f"square) of {tolerance:g}, or after {max_steps} steps"
    )
