"""Denoise: one application of a denoiser."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from pnpkit import certificates
from pnpkit.certificates import Certificate
from pnpkit.errors import InputError
from pnpkit.machine.memory import allowed
from pnpkit.machine.phases import Phase
from pnpkit.networks.tiles import within_memory
from pnpkit.restoration.batches import one_by_one
from pnpkit.restoration.containers import as_it_came
from pnpkit.restoration.data import data_of
from pnpkit.restoration.picture import opened
from pnpkit.restoration.result import Application, Restoration
from pnpkit.restoration.settings import DenoisingKeywords, Settings, collect
from pnpkit.restoration.unknown import without_unknown
from pnpkit.restoration.volumes import each_slice
from pnpkit.solvers.guarantee import Guarantee, Lack, Theorem, withdrawn
from pnpkit.solvers.result import Status

if TYPE_CHECKING:
    from typing_extensions import Unpack

# The scale follows the picture, so what is proven holds between pictures that are denoised on one scale.
STORED = "on the scale of this picture distances never grow"
LINEAR = "on the scale of this picture distances in linear light never grow"


CHOSEN = "at this strength, which was chosen by the picture, "


@as_it_came
def denoise(
    image: np.ndarray | Tensor,
    noise_level: float | None = None,
    *,
    mask: np.ndarray | Tensor | None = None,
    weights: np.ndarray | Tensor | None = None,
    axes: str | None = None,
    **settings: Unpack[DenoisingKeywords],
) -> Restoration:
    """Remove noise: one application of D(., strength).

    Args:
        image: as that of ``deblur``.
        noise_level: standard deviation of the noise; None estimates it.
        mask: (H, W), true or not 0 where a pixel is unknown; NaN is unknown, too. An unknown pixel starts as its
            nearest known one.
        weights: how much each reading counts, (H, W) or of the shape of the image: inverse variances, or what
            ``weights_are`` says; 0 and NaN are unknown. Their median gives the noise; the strength is the same
            everywhere.
        axes: of a stack, letters of TCZYX; it is denoised slice by slice.
        settings: see ``Settings``. ``strength`` None is the noise level. ``precision`` is auto, float32 or float64,
            because no later step would correct the rounding of bfloat16.

    Raises:
        InputError: anything that cannot be used, in one sentence.
        TypeError: a keyword that is no setting of denoising.

    Example:
        >>> import numpy as np
        >>> import pnpkit as pk
        >>> result = pk.denoise(np.full((16, 16, 3), 0.5), 0.1, denoiser="wavelet")
        >>> result.image.shape, result.certificate.averaged
        ((16, 16, 3), True)
    """
    chosen = collect(denoise, {"noise_level": noise_level, **settings})
    check_denoising(chosen)
    if axes is None:
        return denoise_picture(image, mask, weights, chosen)
    if mask is not None or weights is not None or isinstance(image, Tensor):
        raise InputError("expected a stack as an array, without mask or weights: make what is unknown NaN")
    return each_slice(np.asarray(image), axes, lambda part: denoise_picture(part, None, None, chosen))


@one_by_one
def denoise_picture(
    image: np.ndarray | Tensor,
    mask: np.ndarray | Tensor | None,
    weights: np.ndarray | Tensor | None,
    chosen: Settings,
) -> Restoration:
    """``denoise`` of pictures."""
    image, holes, worth = without_unknown(image, mask, weights, chosen)
    work = opened(image, chosen, holes, weights=worth)
    y, network, noise = work.y, work.network, work.readings.mean_level(work.y)
    strength, linear, span = work.settings.strength, chosen.linear, work.scale.span
    given = strength is not None and not isinstance(strength, str)
    sigma = float(strength or 0) if given else min(noise, network.top)
    note = "given" if given else "the noise level"
    if not given and noise > network.top:
        note = f"the most that {network.name} has: noise will be left"
    network = within_memory(network, y.shape, allowed(chosen.max_memory), 0, y.element_size())
    work.told(Phase("denoising"))
    with torch.no_grad():
        out = network(y, sigma)
    finite = bool(torch.isfinite(out).all())
    certificate = relaxed(network.certificate, float(chosen.amount))
    status = Status.APPLIED if finite else Status.NOT_FINITE
    held = guarantee(certificate, linear, chosen=not given and chosen.noise_level is None)
    amount = float(chosen.amount)
    if amount < 1:
        out = y + amount * (out - y)
    restored = work.back(out if finite else y)
    return Restoration(
        image=restored,
        run=Application(status, certificate, held, sigma, note),
        plan=None,
        noise_level=noise * span,
        seconds=time.perf_counter() - work.started,
        linear=linear,
        span=span,
        data=data_of(work, restored),
        amount=amount,
    )


def relaxed(certificate: Certificate, amount: float) -> Certificate:
    """The certificate of (1 - amount) id + amount D."""
    if amount in (0, 1):
        return certificate if amount else certificates.identity()
    return certificates.relax(certificate, amount, f"relaxed({certificate.name}, {amount:.6g})")


def guarantee(certificate: Certificate, linear: bool, chosen: bool) -> Guarantee:
    """||D x - D y|| <= ||x - y||, in linear light or as stored, at the scale of this picture and at this strength.

    The way from a picture to its scale, or to its noise level, is not nonexpansive.
    """
    if not certificate.nonexpansive:
        return withdrawn(Lack.CLAIM, certificate.method)
    claim = LINEAR if linear else STORED
    name = CHOSEN + claim if chosen else claim
    return Guarantee(Theorem(name, f"Lipschitz constant <= {certificate.lipschitz:.6g}"))


def check_denoising(settings: Settings) -> None:
    """Raise where the settings need further steps, which one application of a denoiser does not have."""
    if settings.precision == "bfloat16":
        raise InputError("denoising is one step, and no later one makes good what bfloat16 rounds: use float32")
    if not isinstance(settings.saturation, str):
        raise InputError("denoising takes every reading as it is: saturation is 'auto' or 'off' here")
    if isinstance(settings.strength, str) and settings.strength != "auto":
        raise InputError(f"strength must be a number here, got '{settings.strength}': only auto may stand for one")
