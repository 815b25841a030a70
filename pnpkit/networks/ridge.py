r"""The ridge denoiser: the proximal map of a learned convex potential. The potential also serves as a regulariser.

    D(x, sigma) = argmin_z 1/2 ||z - x||^2 + R(z; sigma),    R(z; sigma) = mu(sigma) sum_c sum_pixels psi_c((W z)_c)

W is a few small convolutions, one after another. psi_c is a Huber function whose thresholds depend on sigma, never on
x. R is convex for all weights. Goujon et al. (IEEE TCI 9, 2023) use it for grey pictures, with splines for psi_c.
"""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pnpkit.certificates import EXACT, Certificate, Kind, Side, nothing
from pnpkit.errors import InexactWarning, InputError
from pnpkit.fidelities.base import Smooth
from pnpkit.layers.activations import Clip, LevelTable, clip
from pnpkit.layers.gradient_flow import adjoint_kernel
from pnpkit.layers.layout import interleaved
from pnpkit.networks.base import TOPS, Network, Strengths, Traits, ranged
from pnpkit.numerics.conjugate_gradients import conjugate_gradients, length
from pnpkit.numerics.norms import conv_norm_bound, symbol

GRID = 256  # frequencies per axis for the proven norm


TRAINING_GRID = 32  # frequencies per axis for the norm in training, an estimate that proves nothing


@dataclass(frozen=True)
class RidgeConfig:
    """The parameters of a ridge denoiser.

    Attributes:
        channels: number of channels after each convolution.
        kernel_sizes: size in pixels of each convolution; odd.
        knots: number of knots of the tables over the noise level.
        largest: upper limit of mu(sigma), which keeps the inner solver fast.
        start: the initial thresholds are start * sigma.
        tolerance, coarse: root mean square error of the proximal map, and its value in training; see ``Ridge``.
        max_steps: largest number of steps of the inner solver.
        top: the largest noise level, 0..1 scale.
    """

    channels: tuple[int, ...] = (4, 8, 32)
    kernel_sizes: tuple[int, ...] = (5, 5, 5)
    knots: int = 6
    largest: float = 32.0
    start: float = 0.08
    tolerance: float = 1e-4
    coarse: float = 2e-3
    max_steps: int = 1000
    top: float = 50 / 255

    def __post_init__(self) -> None:
        tolerances = (1e-15, 1.0)
        ranged(self, channels=(1, 1e5), kernel_sizes=(1, 99), knots=(1, 1000), largest=(1e-9, 1e6), start=(1e-9, 1e3))
        ranged(self, tolerance=tolerances, coarse=tolerances, max_steps=(1, 1e7), top=TOPS)
        if not all(size % 2 for size in self.kernel_sizes):
            raise InputError(f"kernel_sizes are odd, got {self.kernel_sizes}")
        if len(self.channels) != len(self.kernel_sizes) or not self.channels:
            raise InputError(f"as many channels as kernel sizes, got {self.channels} and {self.kernel_sizes}")


class Analysis:
    """W: it mirrors the picture at its borders as far as the filters reach and applies every kernel, keeping the size.

    Mirroring repeats a pixel up to m times, so W^T W <= B^2 diag(m), where B is the norm of the convolution on Z^2.
    """

    def __init__(self, kernels: Sequence[Tensor], rows: int, columns: int):
        self.kernels = [interleaved(kernel) for kernel in kernels]
        self.adjoints = [interleaved(adjoint_kernel(k)) for k in kernels[::-1]]
        reach, device = sum(kernel.shape[-1] // 2 for kernel in kernels), kernels[0].device
        self.rows, self.columns = mirrored(rows, reach, device), mirrored(columns, reach, device)
        self.size = rows, columns
        self.multiplicity = torch.bincount(self.rows).outer(torch.bincount(self.columns)).to(kernels[0].dtype)

    def __call__(self, z: Tensor) -> Tensor:
        """W z: (B, 3, H, W) -> (B, C, H, W)."""
        z = interleaved(z[..., self.rows, :][..., self.columns])
        for kernel in self.kernels:
            z = F.conv2d(z, kernel)
        return z

    def adjoint(self, u: Tensor) -> Tensor:
        """W^T u."""
        for kernel in self.adjoints:
            u = F.conv2d(u, kernel, padding=kernel.shape[-1] - 1)
        folded = u.new_zeros(*u.shape[:2], self.size[0], u.shape[3]).index_add(2, self.rows, u)
        return folded.new_zeros(*u.shape[:2], *self.size).index_add(3, self.columns, folded)


def mirrored(size: int, reach: int, device: torch.device) -> Tensor:
    """Return the pixel numbers at positions -reach ... size + reach - 1 of a row mirrored repeatedly at its ends."""
    index = torch.arange(-reach, size + reach, device=device) % (2 * size)
    return torch.where(index < size, index, 2 * size - 1 - index)


def centred(after: int, before: int, size: int, width: float = 0.6) -> Tensor:
    """Return random filters concentrated near the centre tap, as orthonormal as possible.

    Their composition is nearly flat in frequency.
    """
    taps = torch.arange(size) - size // 2
    window = torch.exp(-0.5 * (taps / width) ** 2)
    kernel = torch.randn(after, before, size, size) * window[:, None] * window
    u, _, v = torch.linalg.svd(kernel.flatten(1), full_matrices=False)
    return (u @ v).view_as(kernel)


def composed(kernels: Sequence[Tensor]) -> Tensor:
    """Return the single kernel that equals the given convolutions applied one after another."""
    whole = kernels[0]
    for kernel in kernels[1:]:
        edge = kernel.shape[-1] - 1
        whole = F.conv2d(whole.transpose(0, 1), kernel.flip(2, 3), padding=edge).transpose(0, 1)
    return whole


@dataclass(frozen=True)
class Potential:
    """R(.; sigma) on pictures of one size.

    Each picture of the batch has its own sigma, mu and thresholds. With a map of strengths each pixel has its own:
    R(z) = sum_pixels mu sum_c psi_c((W z)_c), which is a sum of convex functions as well.
    """

    analysis: Analysis
    mu: Tensor  # (B, 1, 1, 1) or (B, 1, H, W)
    low: Tensor  # (B, C, 1, 1) or (B, C, H, W)
    high: Tensor
    smoothness: Tensor  # (B, 1, H, W), s with 0 <= Hess R <= diag(s)

    def value(self, z: Tensor) -> Tensor:
        """R(z) per picture, with psi(u) = p (u - p / 2), p = clip(u)."""
        u = self.analysis(z)
        p = clip(u, self.low, self.high)
        return (self.mu * (p * (u - p / 2)).sum(1, keepdim=True)).flatten(1).sum(1)

    def gradient(self, z: Tensor) -> Tensor:
        """W^T mu clip(W z)."""
        return self.analysis.adjoint(self.mu * clip(self.analysis(z), self.low, self.high))

    def curvature(self, z: Tensor) -> Tensor:
        """psi''(W z). Each value is 0 or 1."""
        u = self.analysis(z)
        return ((u > self.low) & (u < self.high)).to(u.dtype)

    def proximal_point(self, x: Tensor, tolerance: float, max_steps: int) -> Tensor:
        r"""argmin_z 1/2 ||z - x||^2 + R(z) for each picture, solved from z = x. The result depends on x alone.

        The solver is accelerated gradient descent in the metric 1 + s (Nesterov 2004, constant momentum). The objective
        is 1-strongly convex, so ||v - exact|| <= ||gradient at v||. It stops when this gradient norm is at most
        tolerance * sqrt(number of values). A tolerance too small for rounding (below about 1e-6 in float32) is raised
        to the least value that rounding allows.
        """
        unit = math.sqrt(x[0].numel())
        goal = max(tolerance, 10 * torch.finfo(x.dtype).eps) * unit
        metric = 1 + self.smoothness
        root = metric.amax((1, 2, 3), keepdim=True).rsqrt()
        momentum = (1 - root) / (1 + root)
        z = v = x
        for _ in range(max_steps):
            gradient = v - x + self.gradient(v)
            going = length(gradient) > goal
            if not bool(going.any()):
                break
            following = v - gradient / metric
            v = torch.where(going, following + momentum * (following - z), v)
            z = following
        else:
            rounding = 10 * torch.finfo(x.dtype).eps * float(metric.max()) * unit  # of the exact z
            if bool((length(v - x + self.gradient(v)) > max(goal, rounding)).any()):
                InexactWarning.tell("the solver of the ridge", max_steps)
        return v

    def solve(self, z: Tensor, right: Tensor, tolerance: float, max_steps: int) -> Tensor:
        """Solve (I + Hess R(z)) u = right by conjugate gradients, to ||error|| <= tolerance ||right||."""
        mask = self.mu * self.curvature(z)
        goal = max(tolerance, 10 * torch.finfo(right.dtype).eps) * length(right)

        def system(direction: Tensor) -> Tensor:
            return direction + self.analysis.adjoint(mask * self.analysis(direction))

        return conjugate_gradients(system, right, goal, max_steps)


class Point(torch.autograd.Function):
    """The proximal point as a constant: no derivative goes through the steps of the solver."""

    @staticmethod
    def forward(x: Tensor, potential: Potential, tolerance: float, max_steps: int) -> Tensor:
        return potential.proximal_point(x, tolerance, max_steps)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.mark_non_differentiable(output)

    @staticmethod
    def vmap(info: Any, places: tuple[Any, ...], *inputs: Any) -> tuple[Tensor, None]:
        """Support ``jacfwd``, which maps over directions only. ``Network.forward`` rejects mapped pictures."""
        return Point.apply(*inputs), None

    @staticmethod
    def jvp(ctx: Any, *_: Any) -> None:
        return None

    @staticmethod
    def backward(ctx: Any, *_: Any) -> tuple[None, None, None, None]:
        return None, None, None, None


class Implicit(torch.autograd.Function):
    """z as a function of ``moving``, which equals z at the fixed point. Its derivative is (I + Hess R(z))^-1."""

    @staticmethod
    def forward(moving: Tensor, potential: Potential, z: Tensor, tolerance: float, max_steps: int) -> Tensor:
        return z.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.rest = inputs[1:]

    @staticmethod
    def vmap(info: Any, places: tuple[Any, ...], *inputs: Any) -> tuple[Tensor, None]:
        """Do the same as ``Point.vmap``."""
        return Implicit.apply(*inputs), None

    @staticmethod
    def jvp(ctx: Any, moving: Tensor, *_: None) -> Tensor:
        return Resolvent.apply(moving, *ctx.rest)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None, None]:
        return Resolvent.apply(grad, *ctx.rest), None, None, None, None


class Resolvent(torch.autograd.Function):
    """g -> (I + Hess R(z))^-1 g. It is linear and symmetric, so it is its own derivative and its own adjoint."""

    @staticmethod
    def forward(right: Tensor, potential: Potential, z: Tensor, tolerance: float, max_steps: int) -> Tensor:
        return potential.solve(z, right, tolerance, max_steps)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.rest = inputs[1:]

    @staticmethod
    def jvp(ctx: Any, right: Tensor, *_: None) -> Tensor:
        return Resolvent.apply(right, *ctx.rest)

    @staticmethod
    def vmap(info: Any, places: tuple[Any, ...], right: Tensor, *rest: Any) -> tuple[Tensor, int]:
        """Solve for one right side after the other, since conjugate gradients must read the numbers."""
        return torch.stack([Resolvent.apply(one, *rest) for one in right.unbind(places[0])]), 0

    @staticmethod
    def backward(ctx: Any, right: Tensor) -> tuple[Tensor, None, None, None, None]:
        return Resolvent.apply(right, *ctx.rest), None, None, None, None


class Ridge(Network):
    """D(x, sigma) = argmin_z 1/2 ||z - x||^2 + R(z; sigma).

    The exact map is firmly nonexpansive. It is computed to a root mean square error of ``tolerance``. The gradient at
    the last iterate proves this error for every picture. A training loss is differentiated at the fixed point, by
    (I + Hess R)^-1, not through the steps of the solver.
    """

    paper = (
        "Goujon, Neumayer, Bohra, Ducotterd, Unser: A neural-network-based convex regularizer for inverse problems, "
        "IEEE TCI 9 (2023) 781-795"
    )

    def __init__(self, config: RidgeConfig):
        super().__init__()
        rule, width = Strengths(2.65, 1.4), config.channels[-1]
        self.config = config
        self.traits = Traits(config.top, width=width, rule=rule, error=config.tolerance, maps=True)
        widths = zip((3, *config.channels), config.channels, config.kernel_sizes, strict=False)
        self.filters = nn.ParameterList(centred(after, before, size) for before, after, size in widths)
        self.raw_strength = LevelTable(1, 0.0, config.top, config.knots)
        self.activation = Clip(config.channels[-1], config.top, config.knots, start=config.start)

    def kernels(self) -> list[Tensor]:
        """The convolutions of W, with ||W|| <= 1. The first has zero mean, so R does not depend on brightness."""
        first, *others = self.filters
        kernels = [first - first.mean((2, 3), keepdim=True), *others]
        if self.training:  # an estimate that gradients pass through; it proves nothing
            what = symbol(composed(kernels), TRAINING_GRID)
            norm = torch.linalg.eigvalsh(what.mH @ what).max().sqrt()
        else:
            norm = self.norm * (1 + 1e-6)  # includes the rounding of this division in float32
        return [*kernels[:-1], kernels[-1] / norm]

    def norm_bound(self) -> float:
        """Return a proven bound on the norm of the composed convolutions, before they are divided by it."""
        first, *others = (kernel.double() for kernel in self.filters)
        return conv_norm_bound(composed([first - first.mean((2, 3), keepdim=True), *others]), GRID)

    @property
    def norm(self) -> float:
        """The ``norm_bound`` of the present weights, computed once."""
        return self.derived("norm", self.norm_bound)

    def potential(self, level: Tensor, like: Tensor) -> Potential:
        """Return R(.; level) for pictures with the size, type and device of ``like``.

        If mu varies from pixel to pixel, its largest value bounds the Hessian: W^T mu W <= max(mu) W^T W.
        """
        analysis = Analysis([kernel.to(like) for kernel in self.kernels()], *like.shape[-2:])
        mu = self.config.largest * torch.sigmoid(self.raw_strength(level)).to(like)
        low, high = self.activation.thresholds(level)
        smoothness = mu.detach().amax((2, 3), keepdim=True) * analysis.multiplicity
        return Potential(analysis, mu, low.to(like), high.to(like), smoothness)

    def denoise(self, x: Tensor, level: Tensor) -> Tensor:
        if x.dtype in (torch.bfloat16, torch.float16):  # which cannot meet the tolerance
            return self.denoise(x.float(), level.float()).to(x.dtype)
        tolerance = self.config.coarse if self.training else self.config.tolerance
        with torch.autocast(x.device.type, enabled=False):  # half precision cannot meet the tolerance
            potential = self.potential(level, x)
            rest = tolerance, self.config.max_steps
            z = Point.apply(x, potential, *rest)
            # 0 = z - x + grad R(z), so dz is (I + Hess R)^-1 times the change of x - grad R(z) at fixed z.
            following = torch.is_grad_enabled()
            return Implicit.apply(x - potential.gradient(z), potential, z, *rest) if following else z

    def regulariser(self, sigma: float, image_size: tuple[int, int], weight: float = 1.0) -> Smooth:
        """Return weight * R(.; sigma) for pictures of one size: the g of ``algorithms.regularised``, min f + g.

        It is convex and L-smooth with L = weight * mu(sigma) * m. m is how often mirroring repeats a corner pixel: 4
        times, more in tiny pictures. For a grey picture x it is R(x, x, x) / 3. It keeps the present weights.
        """
        if not (weight > 0 and math.isfinite(weight) and 0 <= sigma <= self.top):
            raise InputError(f"needs a weight > 0 and sigma in [0, {self.top:.4g}], got weight {weight}, sigma {sigma}")

        still = copy.deepcopy(self).eval()  # R keeps these weights if they change later

        @functools.cache
        def potential(count: int, dtype: torch.dtype, device: torch.device) -> Potential:
            like = torch.zeros(count, 3, *image_size, dtype=dtype, device=device)
            with torch.no_grad():
                return still.potential(like.new_full((count,), float(sigma)), like)

        def at(z: Tensor) -> Potential:
            if z.shape[2:] != torch.Size(image_size):
                raise InputError(f"this regulariser is for pictures {image_size}, got {tuple(z.shape[2:])}")
            return potential(len(z), z.dtype, z.device)

        def value(z: Tensor) -> Tensor:
            return weight * z.shape[1] / 3 * at(z).value(z.expand(-1, 3, -1, -1))

        def gradient(z: Tensor) -> Tensor:
            slope = weight * at(z).gradient(z.expand(-1, 3, -1, -1))
            return slope if z.shape[1] == 3 else slope.mean(1, keepdim=True)

        L = weight * float(potential(1, torch.float64, self.filters[0].device).smoothness.max())
        method = f"L = {L:.6g} of a ridge potential (||W|| <= 1, slopes in [0, 1], mirrored borders)"
        return Smooth(value, gradient, L, method=method, premises=(EXACT,))

    def certify(self) -> Certificate:
        """Certify a proximal map, which D is for all weights. The norms tell how well it is conditioned."""
        if self.training:
            return nothing(f"{self.name}(., sigma)", "in training its norm is an estimate: call eval()")
        bound = self.norm_bound()
        mu = self.config.largest * float(torch.sigmoid(self.raw_strength.values.detach().double()).max())
        return Certificate(
            f"{self.name}(., sigma)",
            1.0,
            0.5,
            Side.PROVEN,
            f"proximal map of a convex function, firmly nonexpansive (Moreau 1965): R = mu sum psi(W z), psi Huber, "
            f"slopes in [0, 1], mu <= {mu:.6g}; ||W|| <= 1, kernels divided by their proven norm {bound:.6g} (symbol "
            f"on a {GRID} x {GRID} grid); every sigma in [0, {self.top:.4g}], every image size",
            premises=(EXACT, premise(self.config.tolerance, self.config.max_steps)),
            kind=Kind.PROX,
        )


def premise(tolerance: float, max_steps: int) -> str:
    """Return the premise about the inner solver, for a certificate."""
    return (
        f"the inner solver of the ridge is exact: it stops when the gradient proves an error (root mean square) of "
        f"{tolerance:g}, or after {max_steps} steps; so two outputs may be farther apart than proven by twice that"
    )
