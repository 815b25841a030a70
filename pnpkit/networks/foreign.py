"""deepinv's own denoisers by name, under the same roof: nothing is known about them, and that is said."""

from __future__ import annotations

import torch
from deepinv.models import Denoiser
from torch import Tensor

from pnpkit import certificates
from pnpkit.certificates import Certificate
from pnpkit.errors import InputError, one_line
from pnpkit.networks.base import Network, Traits


class Foreign(Network):
    """D(x, sigma) of a deepinv denoiser for colour pictures."""

    def __init__(self, model: Denoiser, name: str):
        super().__init__()
        self.model, self.name, self.config = model, name, None
        self.traits = Traits(1.0, convolutional=True)  # as most are

    def denoise(self, x: Tensor, level: Tensor) -> Tensor:
        try:
            out: Tensor = self.model(x, level)
        except (ImportError, NotImplementedError, RuntimeError, TypeError, ValueError) as error:
            reason = one_line(error)[:200] or type(error).__name__
            raise InputError(f"{self.name} cannot work here: {reason}") from error
        return out

    def certify(self) -> Certificate:
        return certificates.nothing(f"{self.name}(., sigma)", "a foreign denoiser: no bound is known")


def from_deepinv(name: str) -> Foreign:
    """``deepinv.models.NAME()`` with its default arguments; its weights come by deepinv's own rules.

    Raises:
        KeyError: deepinv has no denoiser of that name.
    """
    import deepinv.models

    known = {n: m for n, m in vars(deepinv.models).items() if isinstance(m, type) and issubclass(m, Denoiser)}
    with torch.no_grad():
        return Foreign(known[name]().eval().requires_grad_(False), f"deepinv:{name}")
