r"""Fast, rough estimates of the sharp picture behind a known blur, for kernel estimation, which alternates the two.

Each takes a few Fourier transforms of a periodic picture; ``periodic`` makes any picture periodic. Arrays are (H, W),
float32 or float64, on the 0..1 scale.
"""

from __future__ import annotations

import numpy as np
from scipy import fft

from pnpkit.blind.trust import harmonic

GROWTH = 2.0  # factor per pass on the weight that couples a picture to its auxiliary gradients


LARGEST_COUPLING = 1e3  # beyond it thresholds are below what 8 bits resolve


EXPONENT = 0.8  # of gradients in photographs (Krishnan & Fergus 2009: between 0.5 and 0.8)


def periodic(y: np.ndarray, margin: int) -> np.ndarray:
    """y with at least ``margin`` further rows and columns, which continue it smoothly from edge to opposite edge.

    For a Fourier transform a picture is one period of an endless pattern. Jumps from one edge to the opposite one would
    be the strongest edges of all. The added pixels solve Laplace's equation: each is the mean of its four neighbours.
    """
    rows, columns = (fft.next_fast_len(size + margin, real=True) for size in y.shape)
    out = np.zeros((rows, columns))
    out[: y.shape[0], : y.shape[1]] = y
    free = np.ones(out.shape, bool)
    free[: y.shape[0], : y.shape[1]] = False
    return harmonic(out, free).astype(y.dtype)


def transfer(kernel: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """``rfft2`` of the kernel, centred at the origin: blurring multiplies the spectrum by it."""
    wide = np.zeros(shape)
    wide[: kernel.shape[0], : kernel.shape[1]] = kernel
    return fft.rfft2(np.roll(wide, (-(kernel.shape[0] // 2), -(kernel.shape[1] // 2)), (0, 1)))


def gradient(u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Differences to the next row and column, periodic."""
    return np.roll(u, -1, 0) - u, np.roll(u, -1, 1) - u


def gradient_adjoint(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """The adjoint of ``gradient``."""
    return np.roll(rows, 1, 0) - rows + np.roll(columns, 1, 1) - columns


class Deconvolution:
    """argmin_u 1/2 ||k * u - y||^2 + beta/2 ||grad u - g||^2 for varying beta and g, at two transforms each."""

    def __init__(self, y: np.ndarray, kernel: np.ndarray):
        gain = transfer(kernel, y.shape).astype(np.result_type(y.dtype, np.complex64))
        self.shape, self.power, self.data = y.shape, np.abs(gain) ** 2, np.conj(gain) * fft.rfft2(y)
        rows, columns = fft.fftfreq(y.shape[0])[:, None], fft.rfftfreq(y.shape[1])[None, :]
        self.laplacian = (4 - 2 * np.cos(2 * np.pi * rows) - 2 * np.cos(2 * np.pi * columns)).astype(y.dtype)

    def __call__(self, beta: float, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        right = self.data + beta * fft.rfft2(gradient_adjoint(rows, columns))
        return fft.irfft2(right / (self.power + beta * self.laplacian), s=self.shape)


def few_edges(y: np.ndarray, kernel: np.ndarray, weight: float) -> np.ndarray:
    """min_u 1/2 ||k * u - y||^2 + weight/2 ||grad u||_0, by half-quadratic splitting (Xu, Lu, Xu & Jia 2011).

    It keeps the few strongest edges and flattens the rest. The picture is poor, but its edges are sharp, and compared
    with y they show the blur. y is periodic; ``weight`` is in squared intensities.
    """
    solve, u, beta = Deconvolution(y, kernel), y, 2 * weight
    while beta < LARGEST_COUPLING:
        rows, columns = gradient(u)
        weak = rows**2 + columns**2 < weight / beta
        rows[weak] = columns[weak] = 0
        u = solve(beta, rows, columns)
        beta *= GROWTH
    return u


def sparse_gradients(y: np.ndarray, kernel: np.ndarray, weight: float) -> np.ndarray:
    """min_u 1/2 ||k * u - y||^2 + weight ||grad u||_p^p, p = 0.8, by half-quadratic splitting (Krishnan & Fergus 2009).

    A usable picture within a fraction of a second, to judge a kernel by or to start a better method from. The shrinkage
    is the first-order approximation of the generalised soft threshold. y is periodic.
    """
    solve, u, beta = Deconvolution(y, kernel), y, 4 * weight
    while beta < LARGEST_COUPLING / 20:
        for _ in range(2):
            u = solve(beta, *(_shrink(part, weight / beta) for part in gradient(u)))
        beta *= GROWTH
    return u


def _shrink(g: np.ndarray, threshold: float) -> np.ndarray:
    """The generalised soft threshold of |g|^p, to first order."""
    size = np.abs(g)
    slope = EXPONENT * np.maximum(size, 1e-3) ** (EXPONENT - 1)
    return np.sign(g) * np.maximum(size - threshold * slope, 0)
