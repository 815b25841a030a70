r"""The precision of a run: early steps may be cheap, since a convergent map converges from any start.

With ``bfloat16`` the denoiser's convolutions of the early steps run in that type; nothing is claimed of this rough map.
From where its residual meets ``ROUGH``, or stops falling, the map itself is iterated, and its certificate, its
residuals and its theorem are those of a run that begins there.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pnpkit import certificates
from pnpkit.machine import distributed, probes
from pnpkit.maps import Map
from pnpkit.networks.base import Network

LARGE = 100_000  # pixels below which a run is over soon and a probe is not worth its time


WORTH = 0.25


def decide(precision: str, network: Network, y: Tensor) -> str:
    """What ``auto`` means here: bfloat16 first where a probe finds it much faster and the picture is worth the probe.

    Much faster is ``WORTH`` of the float32 time or less: a judgement. At half of it the second stage, starting anew,
    gave back nearly all that the rough steps had saved (docs/lab-book.md).
    """
    if precision != "auto":
        return precision
    if y.dtype == torch.float32 and y.shape[-2] * y.shape[-1] >= LARGE and network.convolutional:
        faster = probes.prefers_bfloat16(y.device, WORTH)
        if network.shared:  # processes that disagreed would wait for each other for ever
            faster = distributed.gather(faster)[0]
        if faster:
            return "bfloat16"
    return str(y.dtype).removeprefix("torch.")


def rough_denoisers(network: Network) -> Callable[[float], Map]:
    """sigma -> D(., sigma), or at the largest sigma that it has, multiplied in bfloat16 and added up in the type of its
    input. Nothing is known about it."""
    nothing = certificates.nothing(f"{network.name}(., sigma)", "rounded to bfloat16: no bound is known")

    def at(sigma: float) -> Map:
        def function(x: Tensor) -> Tensor:
            with torch.autocast(x.device.type, torch.bfloat16):
                return network(x, min(sigma, network.top)).to(x.dtype)

        return Map(function, nothing)

    return at
