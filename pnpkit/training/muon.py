"""Muon, an optimiser that moves kernels equally along all singular directions.

Jordan et al. 2024, github.com/KellerJordan/Muon.
"""

from __future__ import annotations

import torch
from torch import Tensor


class Muon(torch.optim.Adam):
    """Muon for the groups marked ``orthogonal``, Adam for all others (Jordan et al. 2024).

    A kernel is a matrix with a row for each output channel. It moves by lr times its momentum with all singular values
    brought near 1 (0.7 to 1.2, by five steps of a quintic Newton-Schulz iteration), so directions with small gradients
    learn as fast as those with large ones. (torch.optim.Muon, of torch 2.9 and later, takes matrices only.)
    A group's ``spread`` expands a parameter to the whole kernel; the parameter is every n-th row of it.
    """

    MOMENTUM = 0.95

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]  # no closures here
        for group in self.param_groups:
            spread = group.get("spread", lambda kernel: kernel)
            for parameter in group["params"] if group.get("orthogonal") else ():
                if parameter.grad is None:
                    continue
                momentum = self.state[parameter].setdefault("exp_avg", torch.zeros_like(parameter))
                momentum.lerp_(parameter.grad, 1 - self.MOMENTUM)
                direction = parameter.grad.lerp(momentum, self.MOMENTUM)
                whole = spread(direction)
                moved = orthogonalised(whole.flatten(1)).view_as(whole)[:: len(whole) // len(parameter)]
                parameter.sub_(moved, alpha=group["lr"])
                parameter.grad = None  # nothing is left for Adam
        super().step()


def orthogonalised(matrix: Tensor, steps: int = 5) -> Tensor:
    """Approximate U V^T for a matrix U S V^T: singular values become 0.7 to 1.2, except those near 0.

    Odd polynomials of the matrix act only on its singular values. a x + b x^3 + c x^5 with these coefficients (Jordan
    et al. 2024) quickly drives all of (0, 1] towards 1.
    """
    if matrix.shape[0] > matrix.shape[1]:
        return orthogonalised(matrix.mT, steps).mT
    x = matrix / (matrix.norm() + 1e-12)
    for _ in range(steps):
        gram = x @ x.mT
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x
