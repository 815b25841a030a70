r"""The guided Euler denoiser: the thresholds of its second pass depend on the result of the first pass.

    D_g(x, sigma) = P phi_L(... phi_1(Q x)),   phi(x) = x - tau W^T (s * clip(W x - c; -sigma e^m a, sigma e^m b))

The guide g is the first restoration. The hint h is g made consistent with the data: prox_{tau f}(g) with the tau of
continuation. For denoising, h is the noisy picture itself. The difference h - g, which the first pass removed, may
contain structure.

m comes from a network without any constraint, which sees g, h and sigma (``networks.guidance``). So do c, with
``centres``, and s in [0, 1], with ``masks``. They say, for every step, filter and place, which responses are noise.
Once g and h are given, m, c and s are fixed numbers. The response z at a place becomes s clip(z - c; ...), which has a
slope in [0, 1]: it is the derivative of a convex function of z that is 1-smooth. So phi is an Euler step of the
gradient flow of a convex potential, and everything that is proven about an Euler network is proven about
x -> D_g(x, sigma). Nothing is proven about x -> D_x(x, sigma), where the picture is its own guide.

Other work in which a network adapts the regularisation to a first restoration and then keeps it fixed: Kofler et al.,
SIAM J. Imaging Sci. 16(4), 2023; Neumayer & Altekrueger, Stability of data-dependent ridge-regularization for inverse
problems, arXiv:2406.12289, 2024.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pnpkit import certificates
from pnpkit.certificates import Certificate
from pnpkit.errors import InputError
from pnpkit.networks.base import Network, digest, ranged
from pnpkit.networks.euler import Euler, EulerConfig
from pnpkit.networks.guidance import Choices, Guidance, Plain, UNet
from pnpkit.operators.integrity import version

KEPT = 4  # number of noise levels for which the features of a guide are kept


BESIDE = 6 + 9  # numbers per pixel: a guide and its hint, and the picture stacked with both


@dataclass(frozen=True)
class GuidedConfig:
    """The parameters of a guided Euler network: two Euler networks of the same shape, and a guidance network.

    Without ``unet`` the guidance network is ``guidance.Plain``: ``depth`` convolutions of ``width`` channels at half
    resolution and, between them, ``pairs`` of convolutions of ``coarse`` channels (0: none) at a quarter of the
    resolution. With ``unet``, the channels at 1/2, 1/4, 1/8 ... of the resolution, it is ``guidance.UNet`` with
    ``residuals`` blocks at each stage. With ``overlapping`` both flows use overlapping windows and mirrored steps. With
    ``centres`` and ``masks`` the guide also chooses c and s.
    """

    blocks: int = 9
    channels: int = 64
    hidden: int = 64
    knots: int = 6
    top: float = 50 / 255
    width: int = 64
    depth: int = 6
    coarse: int = 96
    pairs: int = 4
    overlapping: bool = False
    unet: tuple[int, ...] = ()
    residuals: int = 2
    centres: bool = False
    masks: bool = False

    def __post_init__(self) -> None:
        ranged(self, width=(1, 1e5), depth=(0, 1000), coarse=(0, 1e5), pairs=(0, 1000))
        ranged(self, unet=(1, 1e5), residuals=(0, 100))
        if len(self.unet) > 8:
            raise InputError(f"unet has at most 8 stages, got {self.unet}")

    def euler(self) -> EulerConfig:
        """The config of either Euler network."""
        return EulerConfig(
            blocks=self.blocks,
            channels=self.channels,
            hidden=self.hidden,
            knots=self.knots,
            top=self.top,
            unshuffle=2,
            padding="mirror" if self.overlapping else "zero",
            overlapping=self.overlapping,
        )

    def guidance(self) -> Guidance:
        """Build the guidance network."""
        chosen = Choices(self.blocks, self.hidden, self.centres, self.masks)
        if self.unet:
            return UNet(self.top, chosen, tuple(self.unet), self.residuals)
        return Plain(self.top, chosen, self.width, self.depth, self.coarse, self.pairs)


class GuidedEuler(Network):
    """D_g with g = E(x, sigma) and h = x, where E is an Euler network: a strong denoiser without a proof.

    The two networks that ``looks`` returns have a proof.
    """

    paper = (
        "Sherry et al., Physica D 463 (2024) 134159; thresholds chosen by a first restoration, as the weights in "
        "Neumayer, Altekrueger: Stability of data-dependent ridge-regularization for inverse problems, arXiv:2406.12289"
    )

    def __init__(self, config: GuidedConfig):
        super().__init__()
        self.config = config
        self.first, self.second, self.guidance = Euler(config.euler()), Euler(config.euler()), config.guidance()
        self.traits = replace(self.first.traits, width=max(3 * config.channels // 4, self.guidance.largest))
        self.first.requires_grad_(False)

    def denoise(self, x: Tensor, level: Tensor) -> Tensor:
        features = self.guidance.features(self.first.denoise(x, level), x, level)
        return self.second.flow(x, level, self.guidance.places(features))

    def certify(self) -> Certificate:
        """Certify nothing about D_x. The parts are the certificates of E and of D_g."""
        first = replace(self.first.certify(), name=f"{self.name}, first pass(., sigma)")
        second = with_guide(self.second.certify(), self.name)
        reason = "its thresholds follow the picture; with a guide that stays, as in deblur, there is a proof"
        return certificates.nothing(f"{self.name}(., sigma)", reason, (first, second))

    def looks(self, certified: bool = True) -> tuple[Network, SecondPass]:
        """Return E, and D_g as a network of picture, guide and hint; with their certificates if ``certified``."""
        if not certified:
            return self.first, SecondPass(self, certificates.nothing(self.name, "in training"))
        known = self.certificate
        first, second = known.parts or (known, known)
        self.first.name = f"{self.name}, first pass"
        self.first.remember(first)
        return self.first, SecondPass(self, second)

    def secure(self, largest: float = 0.98) -> None:
        """Secure both flows."""
        self.first.secure(largest)
        self.second.secure(largest)

    def receptive_field(self) -> tuple[int, int]:
        """Return the receptive field of E extended by that of D_g."""
        reach, unit = guided_field(self.second, self.guidance)
        return self.first.receptive_field()[0] + reach, unit

    def given(self, guide: Tensor, hint: Tensor | None = None) -> Given:
        """Return x -> D_g(x, sigma), an averaged denoiser for pictures of the size of ``guide`` (B, 1 or 3, H, W).

        Args:
            guide: the guide g.
            hint: the data-consistent guide h, of the same shape; None uses the guide itself. Both are copied.

        Raises:
            InputError: the hint has another shape.
        """
        return Given(self.looks()[1], guide, guide if hint is None else hint)


def guided_field(flow: Euler, guidance: Guidance) -> tuple[int, int]:
    """Return the receptive field of D_g: that of the steps, extended by that of the guidance network."""
    reach, unit = flow.receptive_field()
    return reach + guidance.reach, math.lcm(unit, guidance.unit)


def with_guide(certificate: Certificate, name: str) -> Certificate:
    """Turn the certificate of an Euler network into that of D_g, and add its premise."""
    given = "the guide is given: the thresholds that it chose stay, whatever x is"
    return replace(certificate, name=f"{name} with a guide(., sigma)", premises=(given, *certificate.premises))


class SecondPass(Network):
    """(x, g, h) -> D_g(x, sigma), with the input stacked to 9 channels, so that tiles and bands cut all three alike."""

    def __init__(self, network: GuidedEuler, certificate: Certificate):
        super().__init__()
        self.config, self.name = network.config, network.name
        kept = KEPT * network.guidance.width // 4
        self.traits = replace(network.traits, beside=BESIDE, kept=kept)
        self.flow, self.guidance, self.training = network.second, network.guidance, network.training
        self.remember(certificate)

    def denoise(self, x: Tensor, level: Tensor) -> Tensor:
        return self.by(x[:, :3], self.guidance.features(x[:, 3:6], x[:, 6:], level), level)

    def by(self, x: Tensor, features: Tensor, level: Tensor) -> Tensor:
        """D_g(x, level), given the features of g and h."""
        return self.flow.flow(x, level, self.guidance.places(features))

    def receptive_field(self) -> tuple[int, int]:
        return guided_field(self.flow, self.guidance)

    def given(self, guide: Tensor, hint: Tensor) -> Given:
        return Given(self, guide, hint)

    def certify(self) -> Certificate:
        return with_guide(self.flow.certify(), self.name)


class Given(Network):
    """x -> D_g(x, sigma) for one guide and hint, or one for each picture of a batch.

    ``second`` is a ``SecondPass``, possibly in tiles or bands. The features of the guide are kept for ``KEPT`` noise
    levels.
    """

    def __init__(self, second: Network, guide: Tensor, hint: Tensor):
        super().__init__()
        self.second, self.config, self.name, self.traits = second, second.config, second.name, second.traits
        self.shared = second.shared
        if hint.shape != guide.shape:
            raise InputError(f"a hint has the shape of its guide, got {tuple(hint.shape)} and {tuple(guide.shape)}")
        self.guide = torch.stack([guide, hint], 1)  # (B, 2, 1 or 3, H, W)
        self.training = second.training
        self.seen: dict[tuple, Tensor] = {}
        self.remember(second.certificate)

    def stamp(self) -> tuple[object, ...]:
        of_weights = super().stamp()
        return of_weights and (*of_weights, id(self.guide), version(self.guide))

    def made_of(self) -> str:
        return "the weights, the guide or the mode"

    def denoise(self, x: Tensor, level: Tensor) -> Tensor:
        """
        Raises:
            InputError: the picture and the guide differ in size.
        """
        if x.shape[-2:] != self.guide.shape[-2:] or len(self.guide) not in (1, len(x)):
            raise InputError(f"this guide is for pictures {tuple(self.guide[:, 0].shape)}, got {tuple(x.shape)}")
        guide, hint = self.guide.to(x).expand(len(x), -1, 3, -1, -1).unbind(1)
        if not isinstance(self.second, SecondPass) or torch.is_grad_enabled():
            return self.second.denoise(torch.cat([x, guide, hint], 1), level)
        versions = (id(self.guide), version(self.guide), *(version(p) for p in self.second.guidance.parameters()))
        levels = tuple(level.tolist()) if level.ndim == 1 else (*level.shape, digest(level))
        key = (*levels, x.dtype, x.device, torch.is_autocast_enabled(x.device.type), versions)
        if key not in self.seen:
            if len(self.seen) >= KEPT:
                self.seen.clear()
            self.seen[key] = self.second.guidance.features(guide, hint, level)
        return self.second.by(x, self.seen[key], level)

    def beyond(self, x: Tensor, level: Tensor, times: Tensor) -> Tensor:
        """D_g(x / times, level) * times. The guide is divided in the same way as the picture."""
        guide, hint = (self.guide.to(x) / times[:, None]).unbind(1)
        return Given(self.second, guide, hint).denoise(x / times, level) * times

    def certify(self) -> Certificate:
        return self.second.certify()
