r"""The precision of a run. Early steps may be cheap, since a convergent iteration converges from any start.

With ``bfloat16`` the denoiser's convolutions of the early steps run in that type. Nothing is claimed about this rough
map. Once its residual is small enough, or stops falling, the exact map is iterated from there. Certificate, residuals
and theorem are those of a run that begins at that point.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pnpkit import certificates
from pnpkit.machine import distributed, probes
from pnpkit.maps import Map
from pnpkit.networks.base import Network

LARGE = 100_000  # pixels; smaller pictures are not worth the time of a probe


WORTH = 0.25


def decide(precision: str, network: Network, y: Tensor) -> str:
    """Resolve ``auto``: use bfloat16 first if the picture is large and a probe finds bfloat16 much faster.

    Much faster means ``WORTH`` of the float32 time or less. This limit is a judgement: at half of the float32 time the
    second stage, which starts anew, cost nearly everything that the rough steps had saved (docs/lab-book).
    """
    if precision != "auto":
        return precision
    if y.dtype == torch.float32 and y.shape[-2] * y.shape[-1] >= LARGE and network.convolutional:
        faster = probes.prefers_bfloat16(y.device, WORTH)
        if network.shared:  # processes with different decisions would wait for each other for ever
            faster = distributed.gather(faster)[0]
        if faster:
            return "bfloat16"
    return str(y.dtype).removeprefix("torch.")


def rough_denoisers(network: Network) -> Callable[[float], Map]:
    """Return sigma -> D(., min(sigma, top)), multiplied in bfloat16 and summed in the type of its input.

    Nothing is known about these maps.
    """
    nothing = certificates.nothing(f"{network.name}(., sigma)", "rounded to bfloat16: no bound is known")

    def at(sigma: float) -> Map:
        def function(x: Tensor) -> Tensor:
            with torch.autocast(x.device.type, torch.bfloat16):
                return network(x, min(sigma, network.top)).to(x.dtype)

        return Map(function, nothing)

    return at
