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


KNOWN = ("pnpkit.", "torch.")  # modules whose layers the proofs of this package cover


ROUNDING = 1e-6  # relative; a level above ``top`` by less is ``top``


@dataclass(frozen=True)
class Strengths:
    """The rule for the denoiser's noise level sigma, given data with noise s; measured on training pictures.

    For forward-backward steps tau, sigma = factor * (sqrt(tau / 1.9) s)^exponent. A denoiser for noise sigma stands for
    prox_{sigma^2 R} where a step asks for prox_{tau s^2 R}: this gives exponent 1 and factor sqrt(1.9). A denoiser
    whose thresholds grow linearly with sigma stands for about prox_{sigma R}. Then sigma grows almost like the square
    of s.

    In half-quadratic splitting, sigma = coupling * sqrt(tau) s. It works best where this is about ``working``; see
    ``restoration.plan.penalty_for``.
    """

    factor: float = 1.9**0.5
    exponent: float = 1.0
    working: float = 7 / 255
    coupling: float = 0.5

    def forward(self, noise_level: float, tau: float) -> float:
        """Return sigma for forward-backward steps."""
        return self.factor * ((tau / 1.9) ** 0.5 * noise_level) ** self.exponent


@dataclass(frozen=True)
class Traits:
    """The properties of a network that a run needs besides its map. A wrapper has those of the network it wraps.

    Attributes:
        top: the largest noise level, on the 0..1 scale.
        width: channels of the widest layer, per pixel; the memory of a run is computed from it.
        convolutional: whether most of the time goes into convolutions, which bfloat16 may make cheaper.
        rule: how strong the denoiser should be.
        error: root mean square error of one evaluation, if D is computed by an iterative solver.
        beside: numbers per pixel that the network needs in addition to the picture, such as a guide.
        kept: numbers per pixel that the network keeps from one evaluation to the next; in tiles it keeps none.
        maps: whether the strength may be a map, with one number for each pixel.
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
    """Raise InputError unless each field, or each entry of a tuple field, lies in its closed interval."""
    for name, (low, high) in ranges.items():
        value = getattr(config, name)
        if not all(low <= number <= high for number in (value if isinstance(value, (tuple, list)) else (value,))):
            raise InputError(f"{name} lies in [{low:g}, {high:g}], got {value}")


TOPS = (1e-6, 1.0)  # the range of every ``top``


class Network(Denoiser):
    """A deepinv denoiser D(x, sigma) for colour and grey images of any size, float32 or float64.

    A grey image is passed as three equal channels, and the result is averaged. With the isometric lift
    Q x = (x, x, x) / sqrt(3) this is Q^T D(s Q x) / s, s = sqrt(3), which keeps every constant of D.
    """

    traits: Traits
    name: str = "D"
    config: Any  # the frozen dataclass that the network was built from
    paper: str = "none"  # the source of the architecture
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
        """Whether most of the time goes into convolutions."""
        return self.traits.convolutional

    @property
    def rule(self) -> Strengths:
        """The rule for how strong the denoiser should be."""
        return self.traits.rule

    @property
    def error(self) -> float:
        """Root mean square error of one evaluation."""
        return self.traits.error

    @abstractmethod
    def denoise(self, x: Tensor, level: Tensor) -> Tensor:
        """Denoise x (B, 3, H, W) and return an image of the same shape.

        Levels lie in [0, top]. They have the shape (B,), or (B, 1, H, W) if the network takes maps.
        """

    @abstractmethod
    def certify(self) -> Certificate:
        """Derive from the weights what is proven about x -> D(x, sigma), for every sigma in [0, top]."""

    def looks(self, certified: bool = True) -> tuple[Network, Network | None]:
        """Return the networks of the passes of a restoration: here D itself, and no second one.

        A network that is guided by a first restoration returns the network that makes the guide, and the network that
        takes it, (x, g, h) -> D_g(x) (``networks.guided.Given``). If ``certified`` is False, as in training, nothing is
        claimed about either.
        """
        return self, None

    def per_channel(self) -> Network:
        """Return D applied to each channel by itself, for any number of channels. It has the constants of D."""
        return PerChannel(self)

    def given(self, guide: Tensor, hint: Tensor) -> Network:
        """Return x -> D_g(x, sigma), for a guide and a hint of the shape of x. Only second passes have it.

        Raises:
            InputError: the network takes no guide.
        """
        raise InputError(f"{self.name} takes no guide")

    def secure(self, largest: float = 0.98) -> None:
        """Change the weights, where needed, so that everything is proven that the architecture allows.

        It is called at export. Here it does nothing. ``largest`` < 1 is the averagedness of a single layer.
        """

    def receptive_field(self) -> tuple[int, int]:
        """Return (R, unit): the radius in pixels within which D(x) depends on x, and the alignment of tiles.

        Raises:
            InputError: D depends on the whole picture, or the radius is not known.
        """
        raise InputError(f"the receptive field of {type(self).__name__} is not known: it cannot be tiled")

    def regulariser(self, sigma: float, image_size: tuple[int, int], weight: float = 1.0) -> Smooth | None:
        """Return weight * R if D(., sigma) is the proximal map of a known smooth convex R; here None."""
        return None

    def energy_at(self, sigma: float) -> Callable[[Tensor], tuple[Tensor, Tensor]] | None:
        """Return the function x -> (g(x), grad g(x)) if D(., sigma) = id - grad g; here None.

        g(x) >= 0 is a value per image, in float64, and grad g is locally Lipschitz.
        """
        return None

    def forward(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        """D(x, sigma).

        Args:
            x: (B, C, H, W) with C = 1 or 3, intensities about 0..1.
            sigma: noise level on the same scale, finite and >= 0: one number, one number per image, or a map
                (1 or B, 1, H, W) with one number per pixel. Above ``top`` the result is D(c x, c sigma) / c with
                c = top / sigma, which keeps every constant. For a map, c is computed from its largest value.

        Raises:
            InputError: x or sigma has another shape; a level is negative or not finite; sigma is a map and the network
                takes none; the call comes from ``torch.jit.trace``, or from ``torch.vmap`` if the network must read
                the numbers; or x is on device meta.
        """
        if torch.jit.is_tracing():
            raise InputError(
                "torch.jit.trace would fix what depends on the size of the picture: use torch.compile or torch.export"
            )
        if mapped(sigma) or (mapped(x) and self.error):
            raise InputError(f"{self.name} must read the numbers, which torch.vmap hides: give pictures as one batch")
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
        """D(x, level) for colour pictures, or D(c x, c level) / c if c = top / level is below 1."""
        times = (level.flatten(1).amax(1) if level.ndim > 1 else level).div(self.top).clamp_min(1)
        if not torch.compiler.is_compiling() and not bool((times > 1 + ROUNDING).any()):
            return self.denoise(x, level)
        across = spread(times)
        return self.beyond(x, level / (across if level.ndim > 1 else times), across)

    def beyond(self, x: Tensor, level: Tensor, times: Tensor) -> Tensor:
        """D(x / times, level) * times."""
        return self.denoise(x / times, level) * times

    def levels(self, sigma: float | Tensor, x: Tensor) -> Tensor:
        """Return sigma as a tensor of the type and on the device of x.

        A number, or one number per image, becomes (B,). A map becomes (B, 1, H, W). Levels must be finite and >= 0.
        """
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
        """Expand sigma (1 or B, 1, H, W) to (B, 1, H, W), of the type and on the device of x (B, C, H, W)."""
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
        """The certificate of the network with its present weights."""
        return self.derived("certificate", self.known)

    def known(self) -> Certificate:
        """Return the result of ``certify`` if its proof covers what is computed; otherwise nothing, with the reason."""
        finite = all(bool(torch.isfinite(p).all()) for p in self.parameters())
        reason = self.doubt() or ("" if finite else "weights that are not finite")
        return certificates.nothing(f"{self.name}(., sigma)", reason) if reason else self.certify()

    def doubt(self) -> str:
        """Name in one sentence a change that the proof in ``certify`` does not cover; empty if there is none.

        What is computed may be changed by a subclass that has methods of its own but no ``certify`` of its own, by a
        layer of a class that does not come with the network, by a method or kernel that was replaced on an object, and
        by hooks on forward calls.
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
        """Take over a certificate that was derived earlier from the same weights. The registry checks their hash."""
        self.__dict__.setdefault("_derived", {}).pop("certificate", None)
        self.derived("certificate", lambda: certificate)

    def derived(self, what: str, derive: Callable[[], T]) -> T:
        """Return the result of ``derive``, cached until weights, mode or code change.

        Writing to ``p.data`` does not raise torch's version counter, so the weights are compared by digests.
        """
        state = (self.stamp(), tuple(digest(p) for p in self.parameters()))
        known = self.__dict__.setdefault("_derived", {})
        if what not in known or known[what][0] != state:
            known[what] = (state, derive())
        return known[what][1]

    def stamp(self) -> tuple[object, ...]:
        """Return a value that changes with the mode, the code and the weights. It misses writing to ``p.data``."""
        if torch.compiler.is_compiling():  # versions cannot be read there
            return ()
        return (self.training, self.doubt(), *((id(p), version(p)) for p in self.parameters()))

    def made_of(self) -> str:
        """Name in words what ``stamp`` depends on."""
        return "the weights or the mode"

    def at(self, sigma: float | Tensor) -> Map:
        """Return the map x -> D(x, sigma) with its certificate, for the present weights and mode.

        If sigma is a map of strengths (B, 1, H, W), which is given once, thresholds depend on the place and not on x.
        So the certificate is the same as for a number. The returned map raises an InputError once weights or mode have
        changed, or once a tensor sigma was written to, as far as torch counts writing. (``certificate`` also sees
        changes by ``p.data``.)

        Raises:
            InputError: no picture can be denoised with this sigma, or sigma is a map and the network takes none.
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
    """x -> (D x_1, ..., D x_C) for pictures (B, C, H, W). It is block diagonal, so it has the constants of D."""

    def __init__(self, network: Network):
        super().__init__()
        self.network, self.config, self.name, self.traits = network, network.config, network.name, network.traits
        self.training = network.training

    def forward(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        """D(x, sigma) for a float tensor (B, C, H, W) with any C."""
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
    """Do what ``Network.doubt`` does for the parts of a network. The proof covers classes of the ``known`` modules."""
    if isinstance(module, Network):
        return module.doubt()
    kind = type(module)
    if not f"{kind.__module__}.".startswith(known):
        return f"a layer is a {kind.__name__} of {kind.__module__}, which the proof does not know"
    inside = (doubt_about(child, known) for child in module.children())
    return replaced(module) or next(filter(None, inside), "")


def replaced(module: nn.Module) -> str:
    """Say which hook, method or kernel replaces one of the module's own; empty if there is none."""
    if module._forward_hooks or module._forward_pre_hooks:
        return f"a {type(module).__name__} has hooks on its forward calls, which the proof does not know"
    own = type(module)
    for name, value in vars(module).items():  # few names are also those of the class; only these are checked further
        if hasattr(own, name) and any(isinstance(vars(kind).get(name), METHODS) for kind in own.__mro__):
            return f"the {name} of a {type(module).__name__} was replaced, which the proof does not know"
        if isinstance(value, FunctionType) and not f"{value.__module__}.".startswith(KNOWN):
            return f"the {name} of a {type(module).__name__} is a function of {value.__module__}"
    return ""


def digest(values: Tensor) -> int:
    """Return a hash of the values, the same on every device and in float32 and float64.

    The bits of each value as float64 are mixed and multiplied by an odd number that depends on the place. The hash is
    the sum of these products modulo 2^64.
    """
    bits = values.detach().cpu().double().reshape(-1).view(torch.int64)
    mixed = bits ^ (bits >> 23)  # otherwise a sign, the topmost bit, would count the same in every place
    return int((mixed * (2 * torch.arange(len(bits)) + 1)).sum())
