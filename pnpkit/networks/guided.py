r"""The guided Euler denoiser: a second look, with thresholds that follow a picture which is restored already.

    D_g(x, sigma) = P phi_L(... phi_1(Q x)),   phi(x) = x - tau W^T clip(W x; sigma exp(m_g)),   m_g = m(g, h, sigma)

g is the first restoration, h what the data make of it: prox_{tau f}(g) with the tau of continuation, for denoising the
noisy picture itself. What the first look took away, h - g, may be structure after all. m is a network without any
constraint: it says for every step, filter and place whether a response is noise or structure. Once g and h are given
the thresholds are numbers: clip has slopes in [0, 1] whatever they are, phi is an Euler step of the gradient flow of a
convex potential, and all that is proven of an Euler network is proven of x -> D_g(x, sigma). Of x -> D_x(x, sigma),
where the picture is its own guide, nothing is.

Regularisation that a network adapts to a first restoration, and that then stays: Kofler et al., SIAM J. Imaging Sci.
16(4), 2023; Neumayer & Altekrueger, Stability of data-dependent ridge-regularization for inverse problems,
arXiv:2406.12289, 2024.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pnpkit import certificates
from pnpkit.certificates import Certificate
from pnpkit.errors import InputError
from pnpkit.networks.base import Network
from pnpkit.networks.dncnn import convolve
from pnpkit.networks.euler import Euler, EulerConfig

REACH = 4.0  # thresholds are between exp(-4) and exp(4) times what they would be without a guide


QUIET = 2 / 255  # added to the level that a hint is measured by


FAR = 4.0  # times that, at which it is cut


KEPT = 4  # levels for which what was seen of a guide is kept


@dataclass(frozen=True)
class GuidedConfig:
    """What a guided Euler network is made of: two Euler networks of the same shape, ``depth`` convolutions of ``width``
    channels that look at the guide at half resolution and, between them, ``pairs`` of convolutions of ``coarse``
    channels (0: none) at a quarter of it."""

    blocks: int = 9
    channels: int = 64
    hidden: int = 64
    knots: int = 6
    top: float = 50 / 255
    width: int = 64
    depth: int = 6
    coarse: int = 96
    pairs: int = 4

    def euler(self) -> EulerConfig:
        """Either of the two."""
        return EulerConfig(
            blocks=self.blocks,
            channels=self.channels,
            hidden=self.hidden,
            knots=self.knots,
            top=self.top,
            unshuffle=2,
        )


class Guidance(nn.Module):
    """m: a guide, a hint and a level in, features out; from these, for each step, the factors exp(m) of thresholds."""

    def __init__(self, config: GuidedConfig):
        super().__init__()
        if config.coarse and not config.depth:
            raise ValueError("what looks from afar stands between convolutions: depth must be positive")
        self.top = config.top
        self.first = nn.Conv2d(25, config.width, 3, padding=1)
        self.middle = nn.ModuleList(nn.Conv2d(config.width, config.width, 3, padding=1) for _ in range(config.depth))
        self.heads = nn.ModuleList(nn.Conv2d(config.width, config.hidden, 1) for _ in range(config.blocks))
        self.coarse = Coarse(config) if config.coarse else None
        for layer in self.middle:
            begin(layer, 0.7)
        for head in self.heads:
            begin(head, 0.0)

    def features(self, guide: Tensor, hint: Tensor, level: Tensor) -> Tensor:
        """g and h (B, 3, H, W), levels (B,) -> (B, width, H/2, W/2), sides rounded up."""
        rows, columns = guide.shape[-2:]
        far = (level.to(guide.dtype) + QUIET)[:, None, None, None]
        seen = torch.cat([guide.clamp(0, 1), ((hint - guide) / far).clamp(-FAR, FAR)], 1)
        unit = 2 if self.coarse is None else 4
        seen = F.pad(seen, (0, -columns % unit, 0, -rows % unit), mode="replicate")
        seen = F.pixel_unshuffle(seen, 2)
        plane = (level.to(seen.dtype) / self.top)[:, None, None, None].expand(-1, 1, *seen.shape[2:])
        hidden = torch.cat([seen, plane], 1).contiguous(memory_format=torch.channels_last)
        hidden = torch.relu(convolve(self.first, hidden))
        for number, layer in enumerate(self.middle):
            if self.coarse is not None and number == len(self.middle) // 2:
                hidden = hidden + self.coarse(hidden)
            hidden = hidden + torch.relu(convolve(layer, hidden))
        return hidden[..., : (rows + 1) // 2, : (columns + 1) // 2]

    def factors(self, features: Tensor) -> Iterator[Tensor]:
        """For each step (B, hidden, H/2, W/2), one at a time: all of them would be large."""
        for head in self.heads:
            yield (REACH * torch.tanh(convolve(head, features) / REACH)).exp()


class Coarse(nn.Module):
    """What is around: (B, width, H, W), sides even -> the same shape, by way of a half of its resolution."""

    def __init__(self, config: GuidedConfig):
        super().__init__()
        self.down = nn.Conv2d(4 * config.width, config.coarse, 1)
        self.layers = nn.ModuleList(
            nn.Conv2d(config.coarse, config.coarse, 3, padding=1) for _ in range(2 * config.pairs)
        )
        self.up = nn.Conv2d(config.coarse, 4 * config.width, 1)
        begin(self.down, 1.0)
        begin(self.up, 0.0)
        for number, layer in enumerate(self.layers):
            begin(layer, 0.5 if number % 2 else 1.0)

    def forward(self, x: Tensor) -> Tensor:
        hidden = convolve(self.down, F.pixel_unshuffle(x, 2).contiguous(memory_format=torch.channels_last))
        for first, second in zip(self.layers[::2], self.layers[1::2], strict=True):
            hidden = hidden + convolve(second, torch.relu(convolve(first, hidden)))
        out = F.pixel_shuffle(convolve(self.up, hidden), 2)
        return out.contiguous(memory_format=torch.channels_last)


def begin(layer: nn.Module, gain: float) -> None:
    """Orthogonal filters times ``gain``, no bias."""
    assert isinstance(layer, nn.Conv2d) and layer.bias is not None
    nn.init.orthogonal_(layer.weight, gain)
    nn.init.zeros_(layer.bias)


class GuidedEuler(Network):
    """D_g with g = E(x, sigma), E an Euler network, and h = x: a strong denoiser without a proof. ``looks`` has those
    with one."""

    rule = Euler.rule
    convolutional = True

    def __init__(self, config: GuidedConfig):
        super().__init__()
        self.config, self.top = config, config.top
        self.width = 3 * config.euler().channels // 4
        self.first, self.second, self.guidance = Euler(config.euler()), Euler(config.euler()), Guidance(config)
        self.first.requires_grad_(False)

    def denoise(self, x: Tensor, level: Tensor) -> Tensor:
        features = self.guidance.features(self.first.denoise(x, level), x, level)
        return self.second.flow(x, level, self.guidance.factors(features))

    def certify(self) -> Certificate:
        """Nothing of D_x; its parts are the certificates of E and of D_g."""
        first = replace(self.first.certify(), name=f"{self.name}, first look(., sigma)")
        second = with_guide(self.second.certify(), self.name)
        reason = "its thresholds follow the picture; with a guide that stays, as in deblur, there is a proof"
        return certificates.nothing(f"{self.name}(., sigma)", reason, (first, second))

    def looks(self) -> tuple[Network, SecondLook]:
        """E, and what takes a picture and its guide: both with their proofs."""
        first, second = self.certificate.parts
        self.first.name = f"{self.name}, first look"
        self.first.remember(first)
        return self.first, SecondLook(self, second)

    def given(self, guide: Tensor, hint: Tensor | None = None) -> Given:
        """x -> D_g(x, sigma), averaged: a denoiser for pictures of the size of ``guide`` (B, 1 or 3, H, W).

        Args:
            hint: what the data make of the guide, of its shape; without one, the guide itself. Both are copied.

        Raises:
            InputError: a hint of another shape.
        """
        return Given(self.looks()[1], guide, guide if hint is None else hint)


def with_guide(certificate: Certificate, name: str) -> Certificate:
    """That of an Euler network, said of D_g."""
    given = "the guide is given: the thresholds that it chose stay, whatever x is"
    return replace(certificate, name=f"{name} with a guide(., sigma)", premises=(given, *certificate.premises))


class SecondLook(Network):
    """(x, g, h), one upon the other, -> D_g(x, sigma): so that tiles and bands cut all alike."""

    convolutional = True

    def __init__(self, network: GuidedEuler, certificate: Certificate):
        super().__init__()
        self.config, self.top, self.name = network.config, network.top, network.name
        self.width, self.rule = network.width, network.rule
        self.flow, self.guidance, self.training = network.second, network.guidance, network.training
        self.remember(certificate)

    def denoise(self, x: Tensor, level: Tensor) -> Tensor:
        return self.by(x[:, :3], self.guidance.features(x[:, 3:6], x[:, 6:], level), level)

    def by(self, x: Tensor, features: Tensor, level: Tensor) -> Tensor:
        """D_g(x, level) by what was seen of g."""
        return self.flow.flow(x, level, self.guidance.factors(features))

    def certify(self) -> Certificate:
        return with_guide(self.flow.certify(), self.name)


class Given(Network):
    """x -> D_g(x, sigma) for one guide and hint, or those of each picture of a batch; ``look`` is a ``SecondLook``, or
    one in tiles or bands."""

    convolutional = True

    def __init__(self, look: Network, guide: Tensor, hint: Tensor):
        super().__init__()
        self.look, self.config, self.top, self.name = look, look.config, look.top, look.name
        self.width, self.rule = look.width, look.rule
        if hint.shape != guide.shape:
            raise InputError(f"a hint has the shape of its guide, got {tuple(hint.shape)} and {tuple(guide.shape)}")
        self.guide = torch.stack([guide, hint], 1)  # (B, 2, 1 or 3, H, W)
        self.training = look.training
        self.seen: dict[tuple, Tensor] = {}
        self.remember(look.certificate)

    def denoise(self, x: Tensor, level: Tensor) -> Tensor:
        """
        Raises:
            InputError: a picture of another size than the guide.
        """
        if x.shape[-2:] != self.guide.shape[-2:] or len(self.guide) not in (1, len(x)):
            raise InputError(f"this guide is for pictures {tuple(self.guide[:, 0].shape)}, got {tuple(x.shape)}")
        guide, hint = self.guide.to(x).expand(len(x), -1, 3, -1, -1).unbind(1)
        if not isinstance(self.look, SecondLook) or torch.is_grad_enabled():
            return self.look.denoise(torch.cat([x, guide, hint], 1), level)
        versions = (self.guide._version, *(p._version for p in self.look.guidance.parameters()))
        key = (*level.tolist(), x.dtype, x.device, torch.is_autocast_enabled(x.device.type), versions)
        if key not in self.seen:
            if len(self.seen) >= KEPT:
                self.seen.clear()
            self.seen[key] = self.look.guidance.features(guide, hint, level)
        return self.look.by(x, self.seen[key], level)

    def certify(self) -> Certificate:
        return self.look.certify()
