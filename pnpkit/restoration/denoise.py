"""Denoise: one application of a denoiser."""

from __future__ import annotations

import time

import numpy as np
import torch
from torch import Tensor

from pnpkit.errors import InputError
from pnpkit.machine.memory import allowed
from pnpkit.networks.base import Network
from pnpkit.networks.tiles import within_memory
from pnpkit.restoration.picture import convert, noise_level_of, open_image
from pnpkit.restoration.result import Restoration
from pnpkit.restoration.settings import Settings
from pnpkit.solvers.result import Status


def denoise(
    image: np.ndarray | Tensor,
    noise_level: float | None = None,
    *,
    denoiser: str | Network = "euler",
    strength: float | str | None = None,
    device: str | None = None,
    max_memory: float | None = None,
    precision: str = "auto",
    limits: tuple[float, float] = (0.0, 1.0),
    linear: bool = False,
    compression: float = 0.0,
) -> Restoration:
    """Remove noise: one application of D(., strength).

    Args:
        image, noise_level, denoiser, device, max_memory, linear, compression: as those of ``deblur``.
        strength: sigma of the denoiser, 0..1 scale; None or "auto" is the noise level.
        precision: auto, float32 or float64; not bfloat16, for no later step would make good what it rounds.
        limits: what the picture may hold; values beyond 10 are refused unless they admit them. Nothing is cut.

    Raises:
        InputError: anything that cannot be used, in one sentence.
    """
    started = time.perf_counter()
    check_denoising(precision, strength)
    _, network = Settings.among(locals()).tools()
    y, back = open_image(image, device, linear, precision, limits)
    y = convert(y, precision)
    noise = noise_level_of(y, noise_level, compression, linear)
    given = strength is not None and not isinstance(strength, str)
    sigma = float(strength or 0) if given else min(noise, network.top)
    note = "given" if given else "the noise level"
    if not given and noise > network.top:
        note = f"the most that {network.name} has: noise will be left"
    network = within_memory(network, y.shape, allowed(max_memory), 0, y.element_size())
    with torch.no_grad():
        out = network(y, sigma)
    finite = bool(torch.isfinite(out).all())
    certificate = network.certificate
    where = "distances in linear light" if linear else "distances"
    held = f"{where} never grow (Lipschitz constant <= {certificate.lipschitz:.6g})"
    if not given and noise_level is None:  # the way from the picture to its noise level is not nonexpansive
        held = f"at this strength, which was chosen by the picture, {held}"
    return Restoration(
        image=back(out if finite else y),
        status=Status.APPLIED if finite else Status.NOT_FINITE,
        steps=1,
        residuals=(),
        certificate=certificate,
        guarantee=held if certificate.nonexpansive else f"nothing is guaranteed: {certificate.method}",
        noise_level=noise,
        strength=sigma,
        kernel=None,
        kernel_note="",
        tau=None,
        L=None,
        seconds=time.perf_counter() - started,
        linear=linear,
        strength_note=note,
    )


def check_denoising(precision: str, strength: float | str | None) -> None:
    """What one application of a denoiser has no use for."""
    if precision == "bfloat16":
        raise InputError("denoising is one step, and no later one makes good what bfloat16 rounds: use float32")
    if isinstance(strength, str) and strength != "auto":
        raise InputError(f"strength must be a number here, got '{strength}': only auto may stand for one")
