r"""Blur of a volume, y = k * x in three dimensions, with one of the boundaries of ``operators.blur``.

A = M C E: E puts the scene (B, C, D, H, W) into a period that is wide enough, C is a periodic convolution, and M keeps
the frame. C is diagonal in frequency, so A, its adjoint and A^T A take two transforms each. Without M the inverse of
id + tau A^T A is diagonal as well; it serves as a preconditioner.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.fft
import torch
from deepinv.physics import LinearPhysics
from torch import Tensor

from pnpkit.certificates import Bound
from pnpkit.errors import InputError, UnknownName
from pnpkit.numerics.arrays import real
from pnpkit.operators import norms
from pnpkit.operators.blur import BOUNDARIES

LAST = (-3, -2, -1)


class VolumeBlur(LinearPhysics):
    """A convolution of volumes (B, C, D, H, W) of one size, channel by channel.

    Args:
        kernel: (d, h, w), odd sizes, with its centre in the middle.
        boundary: ``unknown`` (a scene larger than the frame by the kernel), ``circular`` or ``zero``.
        frame: (D, H, W), the size of the measurement; the kernel must fit into it.

    Raises:
        InputError: the kernel is not 3-D with odd sides, not real, not finite, or larger than the frame.
        UnknownName: ``boundary`` is not one of BOUNDARIES.
    """

    def __init__(
        self,
        kernel: np.ndarray | Tensor,
        boundary: str,
        frame: tuple[int, ...],
        *,
        dtype: torch.dtype = torch.float32,
        device: str | torch.device = "cpu",
    ):
        super().__init__()
        weights = real(kernel if isinstance(kernel, Tensor) else np.asarray(kernel), "a blur kernel").to(device, dtype)
        if boundary not in BOUNDARIES:
            raise UnknownName("boundary", str(boundary), BOUNDARIES)
        if weights.ndim != 3 or any(side % 2 == 0 for side in weights.shape):
            raise InputError(f"the blur kernel of a volume is 3-D with odd sizes, got {tuple(weights.shape)}")
        if any(taps > side for taps, side in zip(weights.shape, frame, strict=True)):
            sizes = ["x".join(map(str, shape)) for shape in (weights.shape, frame)]
            raise InputError(f"the point-spread function ({sizes[0]}) is larger than the volume ({sizes[1]}): crop it")
        reach = [taps // 2 for taps in weights.shape]
        margin = reach if boundary == "unknown" else [0, 0, 0]
        self.boundary, self.frame = boundary, tuple(frame)
        self.scene = tuple(side + 2 * m for side, m in zip(frame, margin, strict=True))
        room = [0, 0, 0] if boundary != "zero" else reach
        self.period = (
            self.scene
            if boundary == "circular"
            else tuple(scipy.fft.next_fast_len(s + r, real=True) for s, r in zip(self.scene, room, strict=True))
        )
        self.kept = tuple(slice(m, m + side) for m, side in zip(margin, frame, strict=True))
        self.register_buffer("filter", weights[None, None])
        placed = torch.zeros(self.period, dtype=dtype, device=device)
        placed[tuple(slice(0, taps) for taps in weights.shape)] = weights
        self.register_buffer("gains", torch.fft.rfftn(torch.roll(placed, [-r for r in reach], LAST)))

    def A(self, x: Tensor, **_: Any) -> Tensor:
        """(B, C, *scene) -> (B, C, *frame)."""
        return self.framed(self._periodic(x, self.gains))

    def A_adjoint(self, y: Tensor, **_: Any) -> Tensor:
        """(B, C, *frame) -> (B, C, *scene)."""
        wide = y.new_zeros((*y.shape[:-3], *self.scene))
        self._view(wide, self.kept).copy_(y)
        return self._inner(self._periodic(wide, self.gains.conj())).contiguous()

    def inverse(self, tau: float) -> Callable[[Tensor], Tensor]:
        """Return (id + tau C^T C)^-1 on the scene: near (id + tau A^T A)^-1, and equal if the boundary is circular."""
        damped = 1 / (1 + tau * self.gains.abs().square())
        return lambda u: self._inner(self._periodic(u, damped))

    def framed(self, u: Tensor) -> Tensor:
        """Return the part of the scene u that lies in the frame."""
        return self._view(u, self.kept).contiguous()

    def norm_bound(self) -> Bound:
        """Bound the norm: ||A|| <= ||C|| <= ||k||_1, since M only drops values and E only adds zeros."""
        return norms.convolution_bound(self.filter)

    def _periodic(self, u: Tensor, gains: Tensor) -> Tensor:
        transformed = torch.fft.rfftn(u, s=self.period, dim=LAST)
        return torch.fft.irfftn(gains * transformed, s=self.period, dim=LAST)

    def _inner(self, u: Tensor) -> Tensor:
        return self._view(u, tuple(slice(0, side) for side in self.scene))

    @staticmethod
    def _view(u: Tensor, box: tuple[slice, ...]) -> Tensor:
        return u[..., box[0], box[1], box[2]]
