"""A parametrization that keeps the norm of a convolution near one in training. The proof is in ``numerics.norms``."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from pnpkit.numerics.norms import symbol


class UnitNorm(nn.Module):
    r"""W = V / n(V): a torch parametrization that steers the norm of a convolution during training.

    n(V) = Re(u^H Vhat(s, t) v) at the frequency and singular vectors where warm-started power iteration finds the
    largest value. It is differentiable in V. n is a lower bound of the norm: it steers and never certifies.
    ``filters`` maps V to the kernel whose norm is controlled, in proportion to V.
    """

    def __init__(self, grid: int = 12, filters: Callable[[Tensor], Tensor] = lambda kernel: kernel):
        super().__init__()
        self.grid, self.filters = grid, filters
        self.right: Tensor | None = None  # one vector per frequency, kept from the step before
        self.peak: tuple[Tensor, Tensor] | None = None  # row and column of the best frequency, (1,) each, on the device
        self.pair: tuple[Tensor, Tensor] | None = None  # u, v at the peak

    @torch.no_grad()
    def refresh(self, kernel: Tensor, iterations: int = 1) -> None:
        """Run power iteration at every frequency of the grid and keep the best frequency."""
        what = symbol(self.filters(kernel.detach()).float(), self.grid)
        if self.right is None:
            generator = torch.Generator().manual_seed(0)
            start = torch.randn(*what.shape[:2], what.shape[3], 1, generator=generator)
            self.right, iterations = start.to(what), max(iterations, 30)
        norms = self.right.real
        for _ in range(iterations):
            unit = self.right / torch.linalg.vector_norm(self.right, dim=-2, keepdim=True)
            image = what @ unit
            norms = torch.linalg.vector_norm(image, dim=(-2, -1))
            self.right = what.mH @ image + 1e-12
        at = norms.argmax().view(1)  # not read as a number here: that would wait for a GPU
        self.peak = (at // norms.shape[1], at % norms.shape[1])
        size, left, right = (t.flatten(0, 1).index_select(0, at)[0, ..., 0] for t in (norms[..., None], image, unit))
        self.pair = (left / size, right)

    def forward(self, kernel: Tensor) -> Tensor:
        if self.training or self.pair is None:
            self.refresh(kernel)
        assert self.pair is not None and self.peak is not None
        u, v = self.pair
        taps = torch.arange(kernel.shape[-1], device=kernel.device)
        phase = -2 * torch.pi * (taps[:, None] * self.peak[0] + taps[None, :] * self.peak[1]) / self.grid
        outer = u.conj()[:, None] * v[None, :]  # Re(u^H What v) = sum over taps of w . Re(u* v e^(i phase))
        real = torch.einsum("hc,pq->hcpq", outer, torch.polar(torch.ones_like(phase), phase)).real
        return kernel / (self.filters(kernel) * real).sum()
