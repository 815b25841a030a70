r"""Norms of convolutions and matrices: a bound that is a proof, and a cheap estimate that is not.

For a kernel w of size h x c x k x k the symbol at the frequency (s, t) is the h x c matrix

    What(s, t) = sum_{p,q} w[:, :, p, q] exp(-i (p s + q t)),

and the norm of the stride-1 convolution, with zero or circular padding, at any image size, is at most
B = sup_{s,t} sigma_max(What(s, t)): a circular convolution samples the symbol and a zero-padded one is a
compression of the convolution on Z^2.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def symbol(kernel: Tensor, grid: int) -> Tensor:
    """The symbol on the half grid that a real kernel needs: (grid, grid // 2 + 1, h, c), complex."""
    return torch.fft.rfft2(kernel, s=(grid, grid)).permute(2, 3, 0, 1)


def conv_norm_bound(kernel: Tensor, grid: int = 64) -> float:
    r"""A proven upper bound on the norm of a stride-1 convolution, for every image size.

    B <= max_grid sigma_max(What) / cos(pi d / n)^2 with d = (k - 1) / 2 and n = ``grid`` > 2 d
    (Ehlich & Zeller 1964, once per axis). The maximum over the grid is itself proven: a candidate m
    is accepted only when m^2 I - What^H What has a Cholesky factor at every frequency, in float64.

    Args:
        kernel: (h, c, k, k) with odd k, real.
        grid: frequencies per axis; 64 costs 0.24 % of slack for 3 x 3 kernels, 128 costs 0.06 %.

    Infinite for weights that are not finite. Covers zero and circular padding, and mirrored filters (``mirrored``).
    Not reflect or replicate padding, and not rounding in the evaluation.
    """
    size = kernel.shape[-1]
    if kernel.ndim != 4 or kernel.shape[-2] != size or size % 2 == 0:
        raise ValueError(f"expected a kernel (h, c, k, k) with odd k, got {tuple(kernel.shape)}")
    if grid <= size - 1:
        raise ValueError(f"grid must exceed k - 1 = {size - 1}, got {grid}")
    kernel = kernel.detach().to("cpu", torch.float64)
    if not bool(torch.isfinite(kernel).all()):
        return math.inf
    if kernel.shape[0] < kernel.shape[1]:  # sigma_max of the transpose, from the smaller Gram matrix
        kernel = kernel.transpose(0, 1)
    square = _largest_eigenvalue(kernel, grid)
    return math.sqrt(square) / math.cos(math.pi * (size - 1) / 2 / grid) ** 2


def gram_symbol_rows(kernel: Tensor, grid: int) -> Iterator[Tensor]:
    """What^H What on the half grid, row by row: (grid // 2 + 1, c, c), in no order.

    It is the symbol of W^T W, whose kernel is the autocorrelation of w: no product per frequency is needed.
    """
    reach = kernel.shape[-1] - 1
    lags = F.conv2d(kernel.transpose(0, 1), kernel.transpose(0, 1), padding=reach)  # (c, c, lag, lag)
    wave = torch.arange(-reach, reach + 1, dtype=kernel.dtype) * (2 * torch.pi / grid)
    angles = torch.arange(grid, dtype=kernel.dtype)[:, None] * wave
    waves = torch.polar(torch.ones_like(angles), angles)
    across = torch.einsum("dcpq,tq->tdcp", lags.to(waves.dtype), waves[: grid // 2 + 1])
    for down in torch.cat([waves[start::8] for start in range(8)]):  # far apart first: the maximum is met early
        yield across @ down


def _largest_eigenvalue(kernel: Tensor, grid: int) -> float:
    """Smallest candidate found that provably bounds every eigenvalue of What^H What on the grid."""
    eye = torch.eye(kernel.shape[1], dtype=torch.complex128)
    bound = candidate = 0.0
    for row in gram_symbol_rows(kernel, grid):
        while True:
            candidate = bound * (1 + 1e-7) + 1e-30  # far above the rounding of a Cholesky factorisation
            failed = torch.linalg.cholesky_ex(candidate * eye - row).info != 0
            if not failed.any():
                break
            bound = max(candidate, _eigenvalue_near_the_largest(row[failed]))
    return candidate


def _eigenvalue_near_the_largest(matrices: Tensor) -> float:
    """The largest eigenvalue of the matrix in which a few power steps see most: a fast next candidate."""
    vector = torch.ones_like(matrices[..., :1])
    for _ in range(10):
        vector = matrices @ (vector / torch.linalg.vector_norm(vector, dim=1, keepdim=True))
    most = int(torch.linalg.vector_norm(vector, dim=(1, 2)).argmax())
    return float(torch.linalg.eigvalsh(matrices[most])[-1])


def matrix_norm_bound(matrix: Tensor) -> float:
    """||W||_2 of a dense layer by SVD in float64, raised by the rounding of the SVD itself."""
    matrix = matrix.detach().to("cpu", torch.float64)
    if not bool(torch.isfinite(matrix).all()):
        return math.inf
    norm = float(torch.linalg.matrix_norm(matrix, 2))
    return norm * (1 + max(matrix.shape) * 2.0**-50)


class UnitNorm(nn.Module):
    r"""W = V / n(V): a torch parametrization that steers the norm of a convolution during training.

    n(V) = Re(u^H Vhat(s, t) v) at the frequency and singular vectors where warm-started power iteration finds the
    largest value; differentiable in V. n is a lower bound of the norm: it steers and never certifies.
    ``filters`` makes of V the kernel whose norm is meant, in proportion to V.
    """

    def __init__(self, grid: int = 12, filters: Callable[[Tensor], Tensor] = lambda kernel: kernel):
        super().__init__()
        self.grid, self.filters = grid, filters
        self.right: Tensor | None = None  # one vector per frequency, warm from the step before
        self.peak: tuple[Tensor, Tensor] | None = None  # its row and column, (1,) each, on the device
        self.pair: tuple[Tensor, Tensor] | None = None  # u, v at the peak

    @torch.no_grad()
    def refresh(self, kernel: Tensor, iterations: int = 1) -> None:
        """Power iteration at every frequency of the grid; the best one is kept."""
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
        at = norms.argmax().view(1)  # never read as a number here: a GPU would have to be waited for
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
