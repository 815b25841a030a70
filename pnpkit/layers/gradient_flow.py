r"""Explicit Euler steps of the negative gradient flow of V(x) = 1^T Sigma(W x + b).

    phi(x) = x - tau W^T sigma(W x + b),    Sigma' = sigma, slope of sigma in [0, 1]

is 1-Lipschitz for 0 <= tau <= 2 / ||W||^2 and (tau ||W||^2 / 2)-averaged for 0 < tau < 2 / ||W||^2
(Sherry et al., Physica D 463, 2024).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pnpkit.certificates import Certificate, Side, nothing
from pnpkit.layers.activations import Places, coarser
from pnpkit.layers.convolution import convolution
from pnpkit.numerics.norms import conv_norm_bound

PADDINGS = ("zero", "circular")


GRID = 64  # frequencies per axis for the proven norm


START_GRID = 16  # frequencies per axis for the initial norm: accurate to 4 %, in a few milliseconds


LARGEST_STEP = 1.96  # in units of 1 / ||W||^2; at 2 averagedness is lost


def adjoint_kernel(kernel: Tensor) -> Tensor:
    """Return the kernel of the adjoint of a stride-1 'same' convolution: channels swapped, taps rotated by 180°."""
    return kernel.transpose(0, 1).flip(2, 3)


def convolve(x: Tensor, kernel: Tensor, padding: str) -> Tensor:
    """Compute a stride-1 convolution (cross-correlation) that keeps the size, for odd kernels."""
    reach = kernel.shape[-1] // 2
    if padding == "circular" and reach:
        rows = torch.arange(-reach, x.shape[-2] + reach, device=x.device) % x.shape[-2]
        columns = torch.arange(-reach, x.shape[-1] + reach, device=x.device) % x.shape[-1]
        return convolution(x[..., rows, :][..., columns], kernel)
    return convolution(x, kernel, padding=reach)


def zero_mean_orthogonal(hidden: int, channels: int, size: int) -> Tensor:
    """Return filters with zero mean and orthonormal rows, as far as there are enough dimensions."""
    kernel = torch.randn(hidden, channels, size, size)
    if size > 1:
        kernel = kernel - kernel.mean(dim=(2, 3), keepdim=True)
    flat = kernel.reshape(hidden, -1)
    u, _, v = torch.linalg.svd(flat, full_matrices=False)
    return (u @ v).reshape(kernel.shape)


LOADED: ContextVar[bool] = ContextVar("LOADED", default=False)  # whether weights will be loaded over the initial ones


@contextmanager
def to_be_loaded() -> Iterator[None]:
    """Build layers inside the block without the norm of the initial weights, since other weights will be loaded.

    Most of the time of building a network is spent on norms.
    """
    token = LOADED.set(True)
    try:
        yield
    finally:
        LOADED.reset(token)


class GradientFlowConv2d(nn.Module):
    """phi(x) = x - tau W^T sigma(W x; level), where W is a convolution from ``channels`` to ``hidden``.

    With ``scale`` s > 1, W acts after a pixel-unshuffle, which is orthogonal: (C, H, W) becomes (s^2 C, H/s, W/s). So a
    3 x 3 kernel spans 3s x 3s pixels at the cost of 3 x 3. H and W are multiples of s.

    Training keeps ``kernel`` near unit norm (see ``networks.euler``), and tau is a sigmoid below ``LARGEST_STEP``. The
    certificate relies on neither: it is derived from ``step * norm_bound()**2 / 2`` of the present weights.

    The layer computes in the dtype of its input, or in the autocast dtype. ``activation`` is one of
    ``layers.activations``. If no gradient is recorded, intermediate results are overwritten; x never is. ``places``,
    fields (B, hidden, H, W), are passed on to the activation: see ``Clip``.
    """

    def __init__(
        self,
        channels: int,
        hidden: int,
        kernel_size: int,
        activation: nn.Module,
        padding: str = "zero",
        step: float = 1.8,
        scale: int = 1,
    ):
        super().__init__()
        if padding not in PADDINGS:
            raise ValueError(f"padding must be one of {', '.join(PADDINGS)}, got {padding!r}")
        self.padding, self.scale = padding, scale
        kernel = self.begin(zero_mean_orthogonal(hidden, channels * scale**2, kernel_size))
        self.kernel = nn.Parameter(
            kernel if LOADED.get() else kernel / conv_norm_bound(self.spread(kernel), START_GRID)
        )
        self.raw_step = nn.Parameter(torch.logit(torch.tensor(step / LARGEST_STEP)))
        self.activation = activation

    def begin(self, kernel: Tensor) -> Tensor:
        """Make the initial parameter from orthonormal filters."""
        return kernel

    @staticmethod
    def spread(kernel: Tensor) -> Tensor:
        """Make the kernel of W, (hidden, channels, k, k), from the learned parameter. Here it is the parameter."""
        return kernel

    @property
    def filters(self) -> Tensor:
        """The kernel of W, (hidden, channels, k, k)."""
        return self.spread(self.kernel)

    def convolve(self, x: Tensor, kernel: Tensor, odd: tuple[bool, bool]) -> Tensor:
        """W x, or W^T x if the kernel is the adjoint one."""
        return convolve(x, kernel, self.padding)

    def suited(self, places: Places, odd: tuple[bool, bool]) -> Places:
        """Bring ``places`` into the form that the proof needs. Here they stay unchanged."""
        return places

    @property
    def step(self) -> Tensor:
        """tau, a scalar in (0, LARGEST_STEP)."""
        return LARGEST_STEP * torch.sigmoid(self.raw_step)

    def norm_bound(self) -> float:
        """Return a proven bound on ||W|| for every image size; see ``conv_norm_bound``."""
        return conv_norm_bound(self.filters, GRID)

    def certify(self, name: str) -> Certificate:
        """Certify the step, with B the proven norm.

        It is (tau B^2 / 2)-averaged if that is below 1; otherwise it is only (tau B^2 - 1)-Lipschitz.
        """
        bound, tau = self.norm_bound(), float(self.step.detach().double())
        averagedness = tau * bound**2 / 2
        method = f"gradient-flow step, tau = {tau:.6g}, ||W|| <= {bound:.6g} (symbol on a {GRID} x {GRID} grid)"
        if not math.isfinite(averagedness):
            return nothing(name, "weights that are not finite")
        if averagedness < 1:
            return Certificate(name, 1.0, averagedness, Side.PROVEN, method)
        return Certificate(name, max(1.0, tau * bound**2 - 1), None, Side.PROVEN, method)

    @torch.no_grad()
    def secure(self, largest: float = 1.0) -> None:
        """Shrink the kernel, if needed, until tau B^2 / 2 <= ``largest``, with a margin for rounding to float32."""
        averagedness = float(self.step) * self.norm_bound() ** 2 / 2
        if largest < averagedness < math.inf:
            self.kernel.mul_(math.sqrt(largest / averagedness) * (1 - 1e-6))

    def forward(
        self, x: Tensor, level: Tensor, places: Places | None = None, odd: tuple[bool, bool] = (False, False)
    ) -> Tensor:
        """phi(x) at levels (B,), or at a map of levels (B, 1, H, W).

        ``odd`` is used for pictures that are continued by mirror images: see ``layers.mirrored``.
        """
        kernel = self.filters
        back = (-self.step * adjoint_kernel(kernel)).to(x.dtype)
        seen = x if self.scale == 1 else F.pixel_unshuffle(x, self.scale)
        z = self.convolve(seen, kernel.to(x.dtype), odd)
        given = () if places is None else (self.suited(places, odd),)
        z = self.activation(z, coarser(level, self.scale), not torch.is_grad_enabled(), *given)
        change = self.convolve(z, back, odd)
        change = change if self.scale == 1 else F.pixel_shuffle(change, self.scale)
        return change.add_(x) if change.dtype == x.dtype else x + change
