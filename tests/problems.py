"""Problems whose answer is known in closed form."""

from __future__ import annotations

import catalogue
import numpy as np
import torch
from torch import Tensor

from pnpkit import kernels, proximal
from pnpkit.certificates import Certificate, Side
from pnpkit.fidelities.least_squares import LeastSquares
from pnpkit.maps import Map
from pnpkit.operators.blur import blur


def tikhonov(weight: float = 0.1) -> tuple[LeastSquares, Map, float, Tensor]:
    """min 1/2 ||K x - y||^2 + weight/2 ||x||^2 with a circular blur: fidelity, prox map, tau and the solution."""
    kernel = kernels.gaussian(1.0)
    operator = blur(kernel, "circular", catalogue.SIZE, dtype=torch.float64)
    y = catalogue.image(1, 3, *catalogue.SIZE, seed=1)
    fidelity = LeastSquares(operator, y)
    tau = 1.0
    prox = proximal.tikhonov(tau * weight)
    impulse = np.zeros(catalogue.SIZE)
    rows, columns = kernel.shape
    impulse[:rows, :columns] = kernel
    gains = np.fft.fft2(np.roll(impulse, (-(rows // 2), -(columns // 2)), (0, 1)))
    solution = np.fft.ifft2(np.conj(gains) * np.fft.fft2(y.numpy()) / (np.abs(gains) ** 2 + weight)).real
    return fidelity, prox, tau, torch.from_numpy(solution)


def rotation(angle: float = 0.3) -> Map:
    """A rotation of pairs of pixels: nonexpansive, not averaged, with the fixed point 0."""
    c, s = np.cos(angle), np.sin(angle)

    def turn(x: Tensor) -> Tensor:
        a, b = x[..., 0], x[..., 1]
        return torch.stack([c * a - s * b, s * a + c * b], -1)

    return Map(turn, Certificate("rotation", 1.0, None, Side.PROVEN, "orthogonal"))
