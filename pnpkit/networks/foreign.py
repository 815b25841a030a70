"""Wrappers that make deepinv's own denoisers, and functions, into networks whose certificates claim nothing."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from deepinv.models import Denoiser
from torch import Tensor

from pnpkit import certificates
from pnpkit.certificates import Certificate
from pnpkit.errors import InputError, one_line
from pnpkit.networks.base import Network, Traits


class Foreign(Network):
    """D(x, sigma) of a deepinv denoiser for colour pictures."""

    def __init__(self, model: Callable[[Tensor, Tensor], Tensor], name: str):
        super().__init__()
        self.model, self.name, self.config = model, name, None
        self.traits = Traits(1.0, convolutional=True)  # as most denoisers are

    def denoise(self, x: Tensor, level: Tensor) -> Tensor:
        try:
            out: Tensor = self.model(x, level)
        except (ImportError, NotImplementedError, RuntimeError, TypeError, ValueError) as error:
            reason = one_line(error)[:200] or type(error).__name__
            raise InputError(f"{self.name} cannot work here: {reason}") from error
        if not isinstance(out, Tensor) or out.shape != x.shape:
            came = f"one of {tuple(out.shape)}" if isinstance(out, Tensor) else type(out).__name__
            raise InputError(f"{self.name} cannot work here: expected a tensor of {tuple(x.shape)} from it, got {came}")
        return out

    def doubt(self) -> str:
        return ""  # nothing is claimed

    def certify(self) -> Certificate:
        return certificates.nothing(f"{self.name}(., sigma)", "a foreign denoiser: no bound is known")


def wrapped(denoiser: Denoiser | Callable[[Tensor, float], Tensor]) -> Foreign:
    """Wrap a deepinv denoiser, or a function D(x, sigma) of images (B, 3, H, W) and one number, as a network."""
    if isinstance(denoiser, Denoiser):
        return Foreign(denoiser, type(denoiser).__name__)

    def image_by_image(x: Tensor, level: Tensor) -> Tensor:
        return torch.cat([one(image[None], float(sigma)) for image, sigma in zip(x, level, strict=True)])

    def one(image: Tensor, sigma: float) -> Tensor:
        out = denoiser(image, sigma)
        if not isinstance(out, Tensor):
            raise TypeError(f"expected a tensor from it, got {type(out).__name__}")
        return out

    return Foreign(image_by_image, getattr(denoiser, "__name__", type(denoiser).__name__))


def from_deepinv(name: str) -> Foreign:
    """Build ``deepinv.models.NAME()`` with its default arguments. Its weights are found by deepinv's own rules.

    A weights file is a pickle, which can run any program. Only tensors and plain values are read from it here.

    Raises:
        KeyError: deepinv has no denoiser of that name.
        InputError: its weights file holds more than weights.
    """
    import deepinv.models

    known = {n: m for n, m in vars(deepinv.models).items() if isinstance(m, type) and issubclass(m, Denoiser)}
    with torch.no_grad(), weights_only():
        return Foreign(known[name]().eval().requires_grad_(False), f"deepinv:{name}")


FORCE = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"  # overrides the weights_only=False that some of deepinv's loaders pass


@contextmanager
def weights_only() -> Iterator[None]:
    """Make ``torch.load`` read weights only inside the block, whatever its caller asks for.

    Raises:
        InputError: a file holds more than weights.
    """
    before = os.environ.get(FORCE)
    os.environ[FORCE] = "1"
    try:
        yield
    except pickle.UnpicklingError as error:
        reason = "its weights file holds more than weights and could run a program: not loaded"
        raise InputError(f"{reason} ({one_line(error)[:120]})") from error
    finally:
        if before is None:
            del os.environ[FORCE]
        else:
            os.environ[FORCE] = before
