r"""A blur of any form, estimated from the edges of one picture.

Picture and kernel are estimated in turns, from coarse to fine resolution:

    u = argmin_u 1/2 ||k * u - y||^2 + w/2 ||grad u||_0                        the few strongest edges, sharp
    k = argmin_k 1/2 sum_d ||k * d u - d y||^2 + gamma/2 ||k||^2               over the simplex: k >= 0, sum k = 1

d is the row and column differences at edges above a threshold, which falls from turn to turn. After each turn, parts of
k with little mass are removed; after each level k is centred. Different supports lead to different results, so several
are tried. The kernel with the least log s + LARGER n + WHITER m wins: s is the sparsity of its picture, few and strong
gradients; n its place among the supports, because a larger support makes any kernel look better; m its misfit, where
that is known (``blind.parametric.misfit``).

Sources: Cho & Lee 2009 (thresholded gradients), Xu, Zheng & Jia 2013 (L0 prior), Pan et al. 2014 (alternation and
clean-up), Krishnan, Tay & Fergus 2011 (sparsity relative to strength).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy import fft, ndimage

from pnpkit.blind import latent
from pnpkit.blind.crops import telling
from pnpkit.errors import InputError
from pnpkit.machine.phases import Listener, Phase, nobody
from pnpkit.numerics import simplex

LARGEST = 512  # pixels: of a larger picture the most telling part is used


SMALLEST = 32  # pixels: below there are too few edges


SIZES = (15, 21, 27, 35)  # the supports that are tried, pixels


EQUATIONS = 8  # for each pixel of the kernel, in the first turn of a search


JUDGED = 2e-3  # weight of the sparse gradients in the picture that judges a kernel


LARGER, WHITER = 0.04, 0.01  # of a step to a larger support, and of a unit of misfit, in logarithms of the sparsity


@dataclass(frozen=True)
class Search:
    """Settings of one descent through the pyramid.

    Attributes:
        size: side of the kernel at full resolution, odd.
        weight, decay, least: w at the start, in squared intensities; each turn divides it by ``decay``, down to
            ``least``.
        gamma: weight of the penalty that spreads the kernel, for gradients of a picture on the 0..1 scale.
        turns: number of turns at each level.
        ratio: of the resolutions of neighbouring levels.
        island: connected parts with less than this share of the mass are removed.
        floor: at full resolution, values below this share of the maximum are removed.
    """

    size: int = 27
    weight: float = 8e-3
    least: float = 1e-4
    decay: float = 1.1
    gamma: float = 8.0
    turns: int = 5
    ratio: float = math.sqrt(0.5)
    island: float = 0.03
    floor: float = 0.01


@dataclass(frozen=True, eq=False)
class FreeForm:
    """A kernel, (h, h) float64, and how far to trust it.

    Attributes:
        agreement: how well the searches agree on it, 0..1.
        sparser: the logarithm of the sparsity of the picture as it is over that of the picture behind the kernel.
    """

    kernel: np.ndarray
    agreement: float
    sparser: float = 0.0


def estimate_general(
    image: np.ndarray,
    sizes: tuple[int, ...] = SIZES,
    told: Listener = nobody,
    misfit: Callable[[np.ndarray], float] = lambda kernel: 0.0,
    trust: np.ndarray | None = None,
) -> FreeForm:
    """The best kernel of searches with these supports. Deterministic; about 1 s a support at 255 x 255.

    The agreement is the largest likeness of the winner to the result of another support. Searches with different
    supports rarely agree on a wrong kernel.

    Args:
        image: (H, W) finite floats on the 0..1 scale; of a larger one the most telling 512 x 512 are used.
        sizes: odd sides of the supports; those larger than a third of the picture are left out.
        told: hears of each size before it is tried.
        misfit: of a kernel to the spectrum of the picture, in units of log likelihood.
        trust: (H, W), 0 where a pixel says nothing and the picture is smooth; see ``blind.trust``.

    Raises:
        InputError: a picture with a side below 32 pixels.
    """
    if image.ndim != 2 or min(image.shape) < SMALLEST:
        raise InputError(f"a free-form kernel needs a picture of at least {SMALLEST}x{SMALLEST}, got {image.shape}")
    part = telling(image, LARGEST)
    y, trust = image[part], None if trust is None else trust[part]
    usable = [size for size in sizes if size <= min(y.shape) / 3] or [min(sizes)]
    found = []
    for number, size in enumerate(sorted(usable)):
        told(Phase("blur", number + 1, len(usable)))
        found.append(descend(y, Search(size), trust))
    judged = [sparsity(y, kernel, trust) for kernel in found]
    costs = [math.log(max(s, 1e-12)) + LARGER * n + WHITER * misfit(found[n]) for n, s in enumerate(judged)]
    winner = costs.index(min(costs))
    others = found[:winner] + found[winner + 1 :]
    agreement = max((likeness(found[winner], other) for other in others), default=0.0)
    sparser = math.log(sparsity(y, np.ones((1, 1)), trust) / max(judged[winner], 1e-12))
    return FreeForm(trimmed(found[winner]), agreement, sparser)


def sparsity(y: np.ndarray, kernel: np.ndarray, trust: np.ndarray | None = None) -> float:
    """||t grad u||_1 / ||t grad u||_2 of the picture u that the kernel gives, t the trust: the lower, the more like a
    photograph.

    A wrong kernel leaves ripples, which are many weak gradients. The trivial kernel, a delta, leaves the slopes of the
    blur.
    """
    u = latent.sparse_gradients(latent.periodic(y.astype(np.float32), kernel.shape[0] + 3), kernel, JUDGED)
    inside = (slice(10, y.shape[0] - 10), slice(10, y.shape[1] - 10))
    seen = 1.0 if trust is None else trust[inside]
    g = np.concatenate([(seen * part[inside]).ravel() for part in latent.gradient(u)])
    return float(np.abs(g).sum() / max(float(np.linalg.norm(g)), 1e-12))


def descend(y: np.ndarray, search: Search, trust: np.ndarray | None = None) -> np.ndarray:
    """The kernel of one search, (size, size), non-negative, sum 1, centred.

    Args:
        y: (H, W) floats on the 0..1 scale, both sides larger than the kernel.
        trust: (H, W), as that of ``estimate_general``.
    """
    if min(y.shape) <= search.size:
        raise InputError(f"a kernel of {search.size} pixels needs a larger picture than {y.shape[0]}x{y.shape[1]}")
    sizes = _kernel_sizes(search)
    kernel = np.zeros((sizes[-1], sizes[-1]))
    kernel[sizes[-1] // 2, sizes[-1] // 2 - 1 : sizes[-1] // 2 + 1] = 0.5  # away from the trivial solution, a delta
    weight, threshold = search.weight, math.inf
    for level in range(len(sizes) - 1, -1, -1):
        size, smaller = sizes[level], _coarser(y, search.ratio**level)
        kernel = _enlarged(kernel, size)
        whole = latent.periodic(smaller.astype(np.float32), size + 3)
        seen = None if trust is None else _trust_in_gradients(whole, _coarser(trust, search.ratio**level))
        threshold = min(threshold, _starting_threshold(smaller, sizes[-1]))
        for _ in range(search.turns):
            edges = latent.few_edges(whole, kernel, weight)
            kernel = kernel_of_edges(edges, whole, kernel, threshold, search.gamma, trust=seen)
            kernel = clean(kernel, search.island, 0.0 if level else search.floor)
            weight, threshold = max(weight / search.decay, search.least), threshold / search.decay
        kernel = centred(kernel)
    return clean(kernel, search.island, search.floor)


def _kernel_sizes(search: Search) -> list[int]:
    """Kernel sizes from full resolution down to 3."""
    sizes = [search.size]
    while sizes[-1] > 3:
        size = round(search.size * search.ratio ** len(sizes))
        size += 1 - size % 2
        sizes.append(max(3, min(size, sizes[-1] - 2)))
    return sizes


def _coarser(y: np.ndarray, factor: float) -> np.ndarray:
    """y at a lower resolution, smoothed first."""
    if factor == 1:
        return y
    smooth = ndimage.gaussian_filter(y, 0.5 * math.sqrt(1 / factor**2 - 1), mode="nearest")
    out: np.ndarray = ndimage.zoom(smooth, factor, order=1, grid_mode=True, mode="nearest")
    return out


def _trust_in_gradients(whole: np.ndarray, trust: np.ndarray) -> np.ndarray:
    """The trust in each gradient of a picture that was made periodic; 1 in what was added, which is smooth."""
    out = np.ones(whole.shape)
    out[: trust.shape[0], : trust.shape[1]] = trust
    return np.minimum(out, np.minimum(np.roll(out, -1, 0), np.roll(out, -1, 1)))  # a gradient takes two pixels


def _enlarged(kernel: np.ndarray, size: int) -> np.ndarray:
    """The kernel interpolated to ``size`` x ``size`` pixels, of sum 1."""
    if kernel.shape[0] == size:
        return kernel
    out = np.maximum(ndimage.zoom(kernel, size / kernel.shape[0], order=1), 0)
    return out / out.sum()


def _starting_threshold(y: np.ndarray, size: int) -> float:
    """The threshold of the first turn: ``EQUATIONS`` times as many gradients as the kernel has pixels exceed it."""
    lengths = np.hypot(*latent.gradient(y)).ravel()
    count = min(EQUATIONS * size**2, len(lengths) - 1)
    return float(np.partition(lengths, len(lengths) - 1 - count)[len(lengths) - 1 - count])


def kernel_of_edges(
    edges: np.ndarray,
    y: np.ndarray,
    start: np.ndarray,
    threshold: float,
    gamma: float,
    steps: int = 60,
    trust: np.ndarray | None = None,
) -> np.ndarray:
    r"""argmin_k 1/2 sum_d ||k * d edges - d y||^2 + gamma/2 ||k||^2 over the simplex, by projected gradient (FISTA).

    The quadratic form is a section of a circulant matrix: its entries are autocorrelations of the edges, and its norm
    is at most the largest value of the symbol.

    With a trust t of the shape of y both d edges and d y are multiplied by t: where t varies slowly beside the kernel,
    t (k * d edges) is about k * (t d edges), so that this weighs the equations by t^2 and leaves out those with t = 0.
    """
    size, shape = start.shape[0], y.shape
    symbol, right = np.zeros(()), np.zeros(())
    parts = latent.gradient(edges)
    weak, seen = np.hypot(*parts) < threshold, 1.0 if trust is None else trust
    for part, target in zip(parts, latent.gradient(y), strict=True):
        transform = fft.rfft2((seen * np.where(weak, 0, part)).astype(np.float64))
        symbol = symbol + np.abs(transform) ** 2
        right = right + np.conj(transform) * fft.rfft2((seen * target).astype(np.float64))
    reach, lags = np.arange(size) - size // 2, np.arange(1 - size, size)
    correlation = fft.irfft2(symbol, s=shape)
    vector = fft.irfft2(right, s=shape)[np.ix_(reach, reach)].ravel()
    near = correlation[np.ix_(-lags, -lags)].astype(np.float32)
    form = sliding_window_view(near, (size, size))[::-1, ::-1].reshape(size**2, size**2)  # C[i - i', j - j']
    form[np.diag_indices_from(form)] += gamma
    largest = float(symbol.max()) + gamma
    return simplex.minimise(form, vector, largest, start.ravel(), steps).reshape(size, size)


def clean(kernel: np.ndarray, island: float, floor: float) -> np.ndarray:
    """The kernel without values below ``floor`` of its maximum, and then parts below ``island`` of its mass; sum 1."""
    kernel = np.where(kernel < floor * kernel.max(), 0, kernel)
    parts, count = ndimage.label(kernel, np.ones((3, 3)))
    masses = ndimage.sum(kernel, parts, np.arange(count + 1))
    heavy = masses >= min(island * kernel.sum(), masses.max())
    kernel = np.where(heavy[parts], kernel, 0)
    return kernel / kernel.sum()


def centred(kernel: np.ndarray) -> np.ndarray:
    """The kernel shifted by whole pixels, so that its centre of mass is in the middle pixel; the sum stays 1."""
    shift = [size // 2 - round(c) for size, c in zip(kernel.shape, ndimage.center_of_mass(kernel), strict=True)]
    out = ndimage.shift(kernel, shift, order=0)
    return out / out.sum()


def trimmed(kernel: np.ndarray) -> np.ndarray:
    """The least square of odd side around the middle that holds all of the kernel."""
    rows, columns = np.nonzero(kernel)
    middle = kernel.shape[0] // 2
    reach = int(max(abs(rows - middle).max(), abs(columns - middle).max()))
    return kernel[middle - reach : middle + reach + 1, middle - reach : middle + reach + 1]


def likeness(one: np.ndarray, other: np.ndarray) -> float:
    """Largest cross-correlation over all shifts of the kernels, each divided by its norm: 1 for the same blur."""
    size = [fft.next_fast_len(a + b) for a, b in zip(one.shape, other.shape, strict=True)]
    product = fft.rfft2(one, size) * np.conj(fft.rfft2(other, size))
    return float(fft.irfft2(product, s=size).max() / np.linalg.norm(one) / np.linalg.norm(other))
