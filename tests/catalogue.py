"""Everything that the laws are tested on: operators, maps and denoisers, each small and in float64."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from deepinv.physics import Decolorize, Denoising, Inpainting, LinearPhysics
from torch import Tensor

from pnpkit import kernels, proximal
from pnpkit.fidelities.data import DataTerm
from pnpkit.fidelities.huber import Huber
from pnpkit.fidelities.kullback_leibler import KullbackLeibler
from pnpkit.fidelities.least_squares import LeastSquares
from pnpkit.fidelities.one_sided import ClippedLeastSquares
from pnpkit.fidelities.weighted import WeightedLeastSquares
from pnpkit.maps import Map, identity
from pnpkit.networks.architectures import build
from pnpkit.networks.base import Network
from pnpkit.networks.guided import GuidedEuler
from pnpkit.operators.blur import blur
from pnpkit.solvers import splittings
from pnpkit.solvers.iterations import Anderson, Fista, Halpern, Iteration, KrasnoselskiiMann, Picard

SIZE = (11, 14)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def image(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*(shape or (1, 3, *SIZE)), generator=generator(seed), dtype=torch.float64)


def signed_kernel() -> np.ndarray:
    kernel = np.random.default_rng(0).standard_normal((3, 5))
    return kernel / np.abs(kernel).sum()


def _blur(kernel: np.ndarray, boundary: str) -> Callable[[], LinearPhysics]:
    return lambda: blur(kernel, boundary, SIZE, dtype=torch.float64)


def _mask() -> LinearPhysics:
    mask = (image(1, 1, *SIZE) > 0.4).double()
    return Inpainting(img_size=(1, *SIZE), mask=mask)


OPERATORS: dict[str, Callable[[], LinearPhysics]] = {
    **{
        f"{name} {boundary}": _blur(kernel, boundary)
        for name, kernel in {
            "gaussian": kernels.gaussian(1.0),
            "motion": kernels.motion(5, 30),
            "signed": signed_kernel(),
        }.items()
        for boundary in ("circular", "zero", "unknown")
    },
    "mask": _mask,
    "identity": lambda: Denoising(),
}


def operator(name: str) -> tuple[LinearPhysics, Tensor, Tensor]:
    """The operator with a random image of its domain and of its range."""
    physics = OPERATORS[name]()
    y = image(1, 3, *SIZE, seed=1)
    x = torch.rand(physics.A_adjoint(y).shape, generator=generator(2), dtype=torch.float64)
    return physics, x, y


def dense(physics: LinearPhysics, x: Tensor) -> Tensor:
    """The matrix of the operator on one channel."""
    basis = torch.eye(x[0, 0].numel(), dtype=x.dtype).view(-1, 1, *x.shape[2:])
    return physics.A(basis).flatten(1).T


def weights(y: Tensor) -> Tensor:
    """From 1 to 10, like y, and 0 at a few readings."""
    given = 1 + 9 * torch.rand(y.shape, generator=generator(5)).to(y)
    return given * (torch.rand(y.shape, generator=generator(6)) > 0.1).to(y)


# One or more for each class of data terms, on readings in 0..1.
FIDELITIES: dict[str, Callable[[LinearPhysics, Tensor], DataTerm]] = {
    "LeastSquares": LeastSquares,
    "WeightedLeastSquares": lambda A, y: WeightedLeastSquares(A, y, weights(y)),
    "WeightedLeastSquares, a plane of weights": lambda A, y: WeightedLeastSquares(A, y, weights(y)[:1, :1]),
    "ClippedLeastSquares": lambda A, y: ClippedLeastSquares(A, y, above=y > 0.8, below=y < 0.15),
    "ClippedLeastSquares, weighted": lambda A, y: ClippedLeastSquares(A, y, weights(y), above=y > 0.7),
    "KullbackLeibler": lambda A, y: KullbackLeibler(A, y, background=0.1, gain=0.2),
    "KullbackLeibler, no background": lambda A, y: KullbackLeibler(A, y * (y > 0.1), gain=0.5),
    "Huber": lambda A, y: Huber(A, y, 0.1),
    "Huber, weighted": lambda A, y: Huber(A, y, 0.2, weights(y)),
}


def euler(**arguments: object) -> Network:
    """A small untrained Euler network with lively thresholds."""
    torch.manual_seed(0)
    network = build("euler", {"blocks": 2, "channels": 8, "hidden": 8, **arguments}).eval()
    for parameter in network.parameters():
        if parameter.ndim == 2:  # level tables
            parameter.data += 0.5 * torch.randn(parameter.shape, generator=generator(3))
    network.secure()
    return network


def ridge(**arguments: object) -> Network:
    """A small untrained ridge denoiser with lively thresholds, solved to high accuracy."""
    torch.manual_seed(0)
    small = {"channels": (2, 4), "kernel_sizes": (3, 3), "start": 0.3, "tolerance": 1e-11, "max_steps": 5000}
    network = build("ridge", {**small, **arguments}).eval()
    for parameter in network.parameters():
        if parameter.ndim == 2:  # level tables
            parameter.data += 0.5 * torch.randn(parameter.shape, generator=generator(3))
    return network


GUIDED = {"blocks": 2, "channels": 16, "hidden": 8, "width": 8, "depth": 2, "coarse": 8, "pairs": 1}


UNET = {"blocks": 2, "channels": 48, "hidden": 8, "overlapping": True, "unet": (8, 12, 8), "residuals": 1}


def guided(**arguments: object) -> GuidedEuler:
    """A small untrained guided network whose thresholds, centres and masks follow the guide strongly."""
    torch.manual_seed(0)
    network = build("guided", arguments or GUIDED).eval()
    assert isinstance(network, GuidedEuler)
    for name, parameter in network.guidance.named_parameters():
        if name == "coarse.up.weight":
            torch.nn.init.normal_(parameter, std=0.3)
    for parameter in network.parameters():
        if parameter.ndim == 2:  # level tables
            parameter.data += 0.5 * torch.randn(parameter.shape, generator=generator(3))
    for heads, std in ((network.guidance.heads, 0.5), (network.guidance.centres, 0.1), (network.guidance.masks, 0.5)):
        for head in heads:
            torch.nn.init.normal_(head.weight, std=std)
    for euler in (network.first, network.second):
        euler.secure()
    return network


def dncnn() -> Network:
    torch.manual_seed(0)
    return build("dncnn", {"depth": 3, "channels": 8}).eval()


def gradient_step(**arguments: object) -> Network:
    """With random weights; its potential is not convex."""
    torch.manual_seed(0)
    network = build("gradient-step", {"stages": (8, 12), "blocks": 1, **arguments})
    network.name = "gradient-step"
    return network.eval().requires_grad_(False)


SHAPE = (2, 2, 2)
NORMAL = torch.tensor([1.0, -2.0, 0.5, 3.0, 0.0, 1.0, 1.0, -1.0], dtype=torch.float64).view(SHAPE)
MATRIX = torch.from_numpy(np.random.default_rng(0).standard_normal((3, 8)))
RIGHT = torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64)
HADAMARD = torch.tensor([[1.0, 1.0], [1.0, -1.0]], dtype=torch.float64) / 2**0.5


def turn(x: Tensor) -> Tensor:
    return torch.einsum("dc,bchw->bdhw", HADAMARD, x)


def grey() -> Decolorize:
    """Two channels to one: a decomposition whose V is not square."""
    return Decolorize(channels=2, srf=(0.3, 0.7)).double()


# One for each function of ``pnpkit.proximal``, on images (B, 2, 2, 2); the name begins with the function's.
PROXES: dict[str, Callable[[], Map]] = {
    "soft_threshold": lambda: proximal.soft_threshold(0.7),
    "group_soft_threshold": lambda: proximal.group_soft_threshold(0.7),
    "tikhonov": lambda: proximal.tikhonov(0.5),
    "box": lambda: proximal.box(-1, 0.5),
    "nonnegative": proximal.nonnegative,
    "l2_ball": lambda: proximal.l2_ball(1.5, 0.3),
    "l1_ball": lambda: proximal.l1_ball(2.0),
    "simplex": lambda: proximal.simplex(1.0),
    "half_space": lambda: proximal.half_space(NORMAL, 0.7),
    "affine": lambda: proximal.affine(MATRIX, RIGHT),
    "orthonormal": lambda: proximal.orthonormal(turn, turn, proximal.soft_threshold(0.4)),
    "wavelet_soft_threshold": lambda: proximal.wavelet_soft_threshold(0.4, "haar", 1),
    "data_ball": lambda: proximal.data_ball(Denoising(), torch.full((1, *SHAPE), 0.3, dtype=torch.float64), 1.2),
    "data_ball, grey": lambda: proximal.data_ball(grey(), torch.full((1, 1, 2, 2), 0.3, dtype=torch.float64), 0.8),
    "total_variation": lambda: proximal.total_variation(0.2, tolerance=1e-5, max_steps=20_000),
}


NETWORKS: dict[str, Callable[[], Network]] = {
    "euler clip zero": lambda: euler(),
    "euler clip circular": lambda: euler(padding="circular"),
    "euler relu zero": lambda: euler(activation="relu"),
    "euler 5x5": lambda: euler(kernel_size=5),
    "euler two scales": lambda: euler(scales=(1, 2)),
    "euler unshuffled": lambda: euler(unshuffle=2, channels=16),
    "euler through windows": lambda: euler(unshuffle=2, padding="mirror", overlapping=True, channels=48),
    "euler between wavelets": lambda: euler(wavelet_levels=2),
    "guided": lambda: guided(),
    "guided by a U-Net": lambda: guided(**UNET, centres=True, masks=True),
    "dncnn": dncnn,
    "gradient-step": lambda: gradient_step(),
    "wavelet": lambda: build("wavelet", {"levels": 2, "shifts": 2}),
    "tv": lambda: build("total-variation", {"gains": (0.3,) * 6}),
    "ridge": lambda: ridge(),
    "identity": lambda: build("identity", {}),
}


def _gradient_step(name: str) -> Map:
    physics, _, y = operator(name)
    return LeastSquares(physics, y).gradient_step()


def _split(name: str) -> Callable[[Map], Map]:
    """The splitting of that name on a circular blur, a denoiser's map handed in."""

    def split(backward: Map) -> Map:
        physics, _, y = operator("gaussian circular")
        f = LeastSquares(physics, y)
        made: dict[str, Callable[[], Map]] = {
            "forward_backward": lambda: splittings.forward_backward(f, backward, limits=(0.0, 1.0)),
            "penalised": lambda: splittings.penalised(f, LeastSquares(Denoising(), y), (0.0, 1.0)),
            "half_quadratic": lambda: splittings.half_quadratic(f, backward, 0.5),
            "continuation": lambda: splittings.continuation(f, lambda sigma: backward, 0.5, 0.1),
            "firm": lambda: splittings.firm(backward),
            "douglas_rachford": lambda: splittings.douglas_rachford(f, backward, 0.5),
            "admm": lambda: splittings.admm(f, backward, 0.5),
            "davis_yin": lambda: splittings.davis_yin(f, backward, proximal.box(0, 1)),
        }
        return made[name]()

    return split


SPLITTINGS: dict[str, Callable[[Map], Map]] = {
    name: _split(name)
    for name in (
        "forward_backward",
        "penalised",
        "half_quadratic",
        "continuation",
        "firm",
        "douglas_rachford",
        "admm",
        "davis_yin",
    )
}

ITERATIONS: dict[str, Callable[[], Iteration]] = {
    "picard": Picard,
    "km": lambda: KrasnoselskiiMann(0.8),
    "halpern": Halpern,
    "anderson": Anderson,
    "fista": Fista,
}

MAPS: dict[str, Callable[[], Map]] = {
    "identity": identity,
    "box": lambda: proximal.box(0.2, 0.7),
    **{
        f"gradient step, {name}": (lambda name=name: _gradient_step(name))
        for name in ("gaussian circular", "signed circular", "motion zero", "mask")
    },
    **{name: (lambda make=make: make().at(0.1)) for name, make in NETWORKS.items()},
    "with a guide": lambda: guided().given(image(1, 3, *SIZE, seed=4)).at(0.1),
    "with a guide, by a U-Net": lambda: guided(**UNET, centres=True).given(image(1, 3, *SIZE, seed=4)).at(0.1),
    "relaxed": lambda: euler().at(0.1).relax(0.7),
    "mixed": lambda: euler().at(0.1).mixed(0.7, image()),
    "mixed, nothing of it": lambda: euler().at(0.1).mixed(0.0, image()),
    "over-relaxed": lambda: proximal.box(0.2, 0.7).relax(1.9),
    "scaled": lambda: euler().at(0.1).scale(2.5),
    **{
        f"splitting, {name}": (lambda split=split: split(euler().at(0.1).relax(0.9)))
        for name, split in SPLITTINGS.items()
    },
    "plug and play": lambda: proximal.box(0, 1) @ euler().at(0.1) @ _gradient_step("motion circular"),
}
