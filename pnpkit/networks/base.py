"""The base class of denoising networks: noise levels, grey images, precision, and a certificate tied to the weights."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from numbers import Real
from types import FunctionType
from typing import Any, TypeVar

import torch
from deepinv.models import Denoiser
from torch import Tensor, nn

from pnpkit import certificates
from pnpkit.certificates import Certificate
from pnpkit.errors import InputError
from pnpkit.fidelities.base import Smooth
from pnpkit.layers.activations import spread
from pnpkit.layers.layout import mapped
from pnpkit.maps import Map
from pnpkit.operators.integrity import version, watched

T = TypeVar("T")


METHODS = (FunctionType, property, staticmethod, classmethod)


KNOWN = ("pnpkit.", "torch.")  # modules whose layers the proofs of this package speak of


ROUNDING = 1e-6  # relative; a level above ``top`` by less is ``top``


@dataclass(frozen=True)
class Strengths:
    """The denoiser noise level sigma that suits a map, for data with noise s; measured on training pictures.

    sigma = factor * (sqrt(tau / 1.9) s)^exponent for forward-backward steps tau. A denoiser for noise sigma stands for
    prox_{sigma^2 R} where a step asks for prox_{tau s^2 R}: exponent 1, factor sqrt(1.9). One whose thresholds grow
    linearly with sigma stands for about prox_{sigma R}: then sigma grows almost like the square of s.

    sigma = coupling * sqrt(tau) s in half-quadratic splitting, best where that is about ``working``; see
    ``restoration.plan.penalty_for``.
    """

    factor: float = 1.9**0.5
    exponent: float = 1.0
    working: float = 7 / 255
    coupling: float = 0.5

    def forward(self, noise_level: float, tau: float) -> float:
        """The sigma for forward-backward steps."""
        return self.factor * ((tau / 1.9) ** 0.5 * noise_level) ** self.exponent


@dataclass(frozen=True)
class Traits:
    """What a run must know of a network beside its map; a wrapper has those of what it wraps.

    Attributes:
        top: the largest noise level, on the 0..1 scale.
        width: channels of the widest layer, per pixel: what a run's memory is reckoned from.
        convolutional: whether its time goes into convolutions, which bfloat16 may make cheaper.
        rule: how strong it should be.
        error: root mean square error of one evaluation, where D is solved for iteratively.
        beside: numbers per pixel that it needs beside the picture, such as a guide.
        kept: numbers per pixel that it keeps from one evaluation to the next; in tiles it keeps none.
        maps: whether its strength may be a map, one number for each pixel.
    """

    top: float
    width: int = 12
    convolutional: bool = False
    rule: Strengths = Strengths()
    error: float = 0.0
    beside: int = 0
    kept: int = 0
    maps: bool = False


def ranged(config: Any, **ranges: tuple[float, float]) -> None:
    """Raise InputError unless each field, or each entry of one that is a tuple, lies in its closed interval."""
    for name, (low, high) in ranges.items():
        value = getattr(config, name)
        if not all(low <= number <= high for number in (value if isinstance(value, (tuple, list)) else (value,))):
            raise InputError(f"{name} lies in [{low:g}, {high:g}], got {value}")


TOPS = (1e-6, 1.0)  # the range of every ``top``


class Network(Denoiser):
    """A deepinv denoiser D(x, sigma) for colour and grey images of any size, float32 or float64.

    A grey image goes through as three equal channels, averaged after: with the isometric lift
    Q x = (x, x, x) / sqrt(3) this is Q^T D(s Q x) / s, s = sqrt(3), which keeps every constant of D.
    """

    traits: Traits
    name: str = "D"
    config: Any  # the frozen dataclass it was built from
    paper: str = "none"  # its source
    shared: bool = False  # whether several processes evaluate it together

    @property
    def top(self) -> float:
        """The largest noise level, on the 0..1 scale."""
        return self.traits.top

    @property
    def width(self) -> int:
        """Channels of the widest layer, per pixel."""
        return self.traits.width

    @property
    def convolutional(self) -> bool:
        """Whether its time goes into convolutions."""
        return self.traits.convolutional

    @property
    def rule(self) -> Strengths:
        """How strong it should be."""
        return self.traits.rule

    @property
    def error(self) -> float:
        """Root mean square error of one evaluation."""
        return self.traits.error

    @abstractmethod
    def denoise(self, x: Tensor, level: Tensor) -> Tensor:
        """(B, 3, H, W) and levels in [0, top], (B,) or, where the network takes maps, (B, 1, H, W) -> (B, 3, H, W)."""

    @abstractmethod
    def certify(self) -> Certificate:
        """Derive from the weights what is proven about x -> D(x, sigma), for every sigma in [0, top]."""

    def looks(self, certified: bool = True) -> tuple[Network, Network | None]:
        """The passes of a restoration: D itself, and no second one.

        Of a network that is guided by a first restoration: what makes the guide, and what takes it, (x, g, h) -> D_g(x)
        (``networks.guided.Given``). Without ``certified`` nothing is claimed of either: for training.
        """
        return self, None

    def per_channel(self) -> Network:
        """D on each channel by itself, for pictures of any number of channels: the constants of D."""
        return PerChannel(self)

    def given(self, guide: Tensor, hint: Tensor) -> Network:
        """Of a second look: x -> D_g(x, sigma) for a guide and a hint, of the shape of x.

        Raises:
            InputError: a network that takes no guide.
        """
        raise InputError(f"{self.name} takes no guide")

    def secure(self, largest: float = 0.98) -> None:
        """Change the weights, where needed, until all is proven that the architecture can prove: at export. Here
        nothing. ``largest`` < 1 is the averagedness of a single layer."""

    def receptive_field(self) -> tuple[int, int]:
        """(R, unit): how far D looks, in pixels, and what tiles must be aligned to.

        Raises:
            InputError: D depends on the whole picture, or it is not known how far it looks.
        """
        raise InputError(f"the receptive field of {type(self).__name__} is not known: it cannot be tiled")

    def regulariser(self, sigma: float, image_size: tuple[int, int], weight: float = 1.0) -> Smooth | None:
        """weight * R, where D(., sigma) is the proximal map of a known smooth convex R; here None."""
        return None

    def energy_at(self, sigma: float) -> Callable[[Tensor], tuple[Tensor, Tensor]] | None:
        """x -> g(x) >= 0 per image, in float64, and grad g(x), where D(., sigma) = id - grad g and grad g is locally
        Lipschitz; here None."""
        return None

    def forward(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        """D(x, sigma).

        Args:
            x: (B, C, H, W) with C = 1 or 3, intensities about 0..1.
            sigma: noise level on the same scale, finite and >= 0: a number, one per image, or a map (1 or B, 1, H, W),
                one for each pixel. Above ``top`` the result is D(c x, c sigma) / c with c = top / sigma, of a map its
                largest, which keeps every constant.

        Raises:
            InputError: other shapes, a level that is negative or not finite, a map where the network takes none, a
                call by ``torch.jit.trace``, or by ``torch.vmap`` where numbers must be looked at, or on device meta.
        """
        if torch.jit.is_tracing():
            raise InputError(
                "torch.jit.trace would fix what depends on the size of the picture: use torch.compile or torch.export"
            )
        if mapped(sigma) or (mapped(x) and self.error):
            raise InputError(f"{self.name} looks at its numbers, which torch.vmap hides: give it pictures as one batch")
        if isinstance(x, Tensor) and x.is_meta:
            raise InputError("device meta holds no numbers that a denoiser could work on: use cpu or cuda")
        if not isinstance(x, Tensor):
            raise InputError(f"a denoiser takes a float tensor (B, 1 or 3, H, W), got {type(x).__name__}")
        if x.ndim != 4 or x.shape[1] not in (1, 3) or not x.is_floating_point() or 0 in x.shape[2:]:
            raise InputError(f"a denoiser takes a float tensor (B, 1 or 3, H, W), got {x.dtype} {tuple(x.shape)}")
        level = self.levels(sigma, x)
        if len(x) == 0:
            return x.clone()
        if x.shape[1] == 1:
            return self.within(x.expand(-1, 3, -1, -1), level).mean(1, keepdim=True)
        return self.within(x, level)

    def within(self, x: Tensor, level: Tensor) -> Tensor:
        """D(x, level) for colour pictures; D(c x, c level) / c where c = top / level is below 1."""
        times = (level.flatten(1).amax(1) if level.ndim > 1 else level).div(self.top).clamp_min(1)
        if not torch.compiler.is_compiling() and not bool((times > 1 + ROUNDING).any()):
            return self.denoise(x, level)
        across = spread(times)
        return self.beyond(x, level / (across if level.ndim > 1 else times), across)

    def beyond(self, x: Tensor, level: Tensor, times: Tensor) -> Tensor:
        """D(x / times, level) * times."""
        return self.denoise(x / times, level) * times

    def levels(self, sigma: float | Tensor, x: Tensor) -> Tensor:
        """A number, or one per image, finite and >= 0: as (B,), of the type and on the device of x. A map as
        (B, 1, H, W)."""
        if not isinstance(sigma, (Tensor, Real)):
            raise InputError(f"sigma is a number or a tensor, got {type(sigma).__name__} {sigma!r}")
        if isinstance(sigma, Tensor) and sigma.ndim == 4 and sigma.shape[2:] != (1, 1):
            level = self.map_of_levels(sigma, x)
        elif isinstance(sigma, Tensor) and sigma.numel() not in (1, len(x)):
            raise InputError(
                f"sigma is one number, one for each of {len(x)} images, or a map {(len(x), 1, *x.shape[-2:])}, got "
                f"{tuple(sigma.shape)}"
            )
        else:
            given = sigma if isinstance(sigma, Tensor) else float(sigma)
            level = self._handle_sigma(given, batch_size=len(x), device=x.device, dtype=x.dtype)
        recording = torch.compiler.is_compiling()  # a check on values would not be recorded
        if not recording and not bool(((level >= 0) & (level < math.inf)).all()):
            got = level.tolist() if level.ndim == 1 else f"a map from {float(level.min())} to {float(level.max())}"
            raise InputError(f"a noise level outside [0, inf): expected a finite number >= 0, got {got}")
        return level

    def map_of_levels(self, sigma: Tensor, x: Tensor) -> Tensor:
        """sigma (1 or B, 1, H, W) as (B, 1, H, W), of the type and on the device of x (B, C, H, W)."""
        if not self.traits.maps:
            raise InputError(f"{self.name} takes no map of strengths: give one number, or one for each image")
        if x.ndim != 4 or sigma.shape[1:] != (1, *x.shape[2:]) or len(sigma) not in (1, len(x)):
            raise InputError(
                f"a map of strengths for pictures {tuple(x.shape)} is {(len(x), 1, *x.shape[2:])}, got "
                f"{tuple(sigma.shape)}"
            )
        return sigma.to(x).expand(len(x), -1, -1, -1)

    @property
    def certificate(self) -> Certificate:
        """What is proven about the network with its present weights."""
        return self.derived("certificate", self.known)

    def known(self) -> Certificate:
        """``certify``, where what is computed is what its proof speaks of; else nothing, and why."""
        finite = all(bool(torch.isfinite(p).all()) for p in self.parameters())
        reason = self.doubt() or ("" if finite else "weights that are not finite")
        return certificates.nothing(f"{self.name}(., sigma)", reason) if reason else self.certify()

    def doubt(self) -> str:
        """What the proof in ``certify`` does not look at, in one sentence; empty where there is nothing such.

        A subclass with methods of its own but not ``certify``, a layer of a class that does not come with the network,
        a method or kernel that was replaced on an object, and hooks on forward calls all change what is computed.
        """
        lineage = type(self).__mro__
        owner = next(kind for kind in lineage if "certify" in vars(kind))
        for kind in lineage[: lineage.index(owner)]:
            for name, value in vars(kind).items():
                if name != "__init__" and name in dir(owner) and isinstance(value, METHODS):
                    return (
                        f"{kind.__name__} has a {name} of its own, which the proof for {owner.__name__} does not know"
                    )
        known = (*KNOWN, f"{owner.__module__}.")
        return next(filter(None, (doubt_about(module, known) for module in self.children())), replaced(self))

    def remember(self, certificate: Certificate) -> None:
        """Take over a certificate that was derived earlier from the same weights; the registry checks their hash."""
        self.__dict__.setdefault("_derived", {}).pop("certificate", None)
        self.derived("certificate", lambda: certificate)

    def derived(self, what: str, derive: Callable[[], T]) -> T:
        """The result of ``derive``, cached until weights, mode or code change.

        Writing to ``p.data`` does not raise the version that torch counts, so the weights are compared by digests.
        """
        state = (self.stamp(), tuple(digest(p) for p in self.parameters()))
        known = self.__dict__.setdefault("_derived", {})
        if what not in known or known[what][0] != state:
            known[what] = (state, derive())
        return known[what][1]

    def stamp(self) -> tuple[object, ...]:
        """A value that changes with the mode, the code and the weights; writing to ``p.data`` is not seen."""
        if torch.compiler.is_compiling():  # versions cannot be read there
            return ()
        return (self.training, self.doubt(), *((id(p), version(p)) for p in self.parameters()))

    def made_of(self) -> str:
        """What ``stamp`` looks at, in words."""
        return "the weights or the mode"

    def at(self, sigma: float | Tensor) -> Map:
        """The map x -> D(x, sigma) with its certificate, for the present weights and mode.

        Of a map of strengths (B, 1, H, W), given once, thresholds depend on the place and not on x: the certificate is
        that of a number. The map raises an InputError once weights or mode have changed, or a tensor sigma was written
        to, as far as torch counts writing. (``certificate`` also sees changes by ``p.data``.)

        Raises:
            InputError: a sigma that no picture can be denoised with, or a map where the network takes none.
        """
        if not isinstance(sigma, Tensor):
            self.levels(sigma, torch.zeros(1))
        elif sigma.ndim == 4:
            self.levels(sigma, torch.zeros_like(sigma))
        certificate, stamp = self.certificate, self.stamp()
        largest = float(torch.as_tensor(sigma).max())
        if largest > self.top * (1 + ROUNDING):
            scaled = certificates.scale(certificate, self.top / largest, f"{self.name}(., {largest:.4g})")
            certificate = replace(scaled, kind=certificate.kind)  # a proximal map remains one

        def denoised(x: Tensor) -> Tensor:
            if self.stamp() not in (stamp, ()):
                raise InputError(f"{self.made_of()} of {self.name} changed after this map was made: make it anew")
            return self(x, sigma)

        levels = (sigma,) if isinstance(sigma, Tensor) else ()
        return Map(watched(denoised, "sigma", *levels), certificate, error=self.error * max(1.0, largest / self.top))


class PerChannel(Network):
    """x -> (D x_1, ..., D x_C) for pictures (B, C, H, W): block diagonal, so the constants of D."""

    def __init__(self, network: Network):
        super().__init__()
        self.network, self.config, self.name, self.traits = network, network.config, network.name, network.traits
        self.training = network.training

    def forward(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        """D(x, sigma) for a float tensor (B, C, H, W), C any."""
        if x.ndim != 4 or not x.is_floating_point() or 0 in x.shape:
            raise InputError(f"a denoiser of channels takes a float tensor (B, C, H, W), got {tuple(x.shape)}")
        level = self.levels(sigma, x).repeat_interleave(x.shape[1], 0)
        planes: Tensor = self.network(x.flatten(0, 1)[:, None], level)
        return planes.view_as(x)

    def denoise(self, x: Tensor, level: Tensor) -> Tensor:
        return self.forward(x, level)

    def certify(self) -> Certificate:
        known = self.network.certificate
        return certificates.blocks(known, f"{self.name}, channel by channel(., sigma)")

    def receptive_field(self) -> tuple[int, int]:
        return self.network.receptive_field()


def doubt_about(module: nn.Module, known: tuple[str, ...]) -> str:
    """``Network.doubt`` for what a network is made of: classes of these modules are known to its proof."""
    if isinstance(module, Network):
        return module.doubt()
    kind = type(module)
    if not f"{kind.__module__}.".startswith(known):
        return f"a layer is a {kind.__name__} of {kind.__module__}, which the proof does not know"
    inside = (doubt_about(child, known) for child in module.children())
    return replaced(module) or next(filter(None, inside), "")


def replaced(module: nn.Module) -> str:
    """Whether hooks, methods or kernels were put in the place of a module's own."""
    if module._forward_hooks or module._forward_pre_hooks:
        return f"a {type(module).__name__} has hooks on its forward calls, which the proof does not know"
    own = type(module)
    for name, value in vars(module).items():  # few names are those of the class, and only these are looked up in turn
        if hasattr(own, name) and any(isinstance(vars(kind).get(name), METHODS) for kind in own.__mro__):
            return f"the {name} of a {type(module).__name__} was replaced, which the proof does not know"
        if isinstance(value, FunctionType) and not f"{value.__module__}.".startswith(KNOWN):
            return f"the {name} of a {type(module).__name__} is a function of {value.__module__}"
    return ""


def digest(values: Tensor) -> int:
    """A hash: the bits of all values as float64, mixed, each times an odd number for its place, summed modulo 2^64.

    The same on every device, in float32 and float64.
    """
    bits = values.detach().cpu().double().reshape(-1).view(torch.int64)
    mixed = bits ^ (bits >> 23)  # without it a sign, the topmost bit, would count the same in every place
    return int((mixed * (2 * torch.arange(len(bits)) + 1)).sum())
