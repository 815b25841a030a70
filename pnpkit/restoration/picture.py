"""From the picture that came to the tensor that is worked on, and back."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pnpkit.errors import InputError, UnknownName
from pnpkit.images import srgb
from pnpkit.images.noise import estimate_noise
from pnpkit.images.pixels import as_float, check_scale, from_tensor, to_tensor
from pnpkit.machine.memory import choose_device
from pnpkit.networks.base import Network
from pnpkit.restoration.checks import open_tools
from pnpkit.restoration.defaults import COMPRESSED
from pnpkit.restoration.problem import Back
from pnpkit.restoration.settings import PRECISIONS, Settings, check_level
from pnpkit.solvers.iterations import Iteration


@dataclass(frozen=True)
class Opened:
    """A picture, and what restores it, opened and checked.

    Attributes:
        y: the picture, (B, C, H, W) on the device. back: from such a tensor to the type that came.
        iteration, network: that run on it. started: when the work began (``time.perf_counter``).
    """

    y: Tensor
    back: Back
    iteration: Iteration
    network: Network
    started: float


def opened(image: np.ndarray | Tensor, settings: Settings) -> Opened:
    """The picture in the type that the run computes in, with the tools of the settings.

    Raises:
        InputError: anything that no picture could be restored with, before the picture is looked at.
    """
    started = time.perf_counter()
    iteration, network = open_tools(settings)
    y, back = open_image(image, settings.device, settings.linear, settings.precision, settings.limits)
    return Opened(convert(y, settings.precision), back, iteration, network, started)


def convert(y: Tensor, precision: str) -> Tensor:
    """The picture in the type that the run computes in; ``auto`` leaves it in its own."""
    if precision not in PRECISIONS:
        raise UnknownName("precision", precision, PRECISIONS)
    return y if precision == "auto" else y.to(torch.float64 if precision == "float64" else torch.float32)


def open_image(
    image: np.ndarray | Tensor,
    device: str | None,
    linear: bool = False,
    precision: str = "auto",
    limits: tuple[float, float] = (0.0, 1.0),
) -> tuple[Tensor, Back]:
    """The picture as a (B, C, H, W) tensor on the device, and the way back to the type (and light) that came.

    Arrays become float32, and float64 where that is the precision: many libraries make float64 of everything.
    Values far outside of 0..1 are refused, unless ``limits`` admit them.
    """
    if linear:
        stored, restored = open_image(image, device, False, precision, limits)
        return srgb.decode(stored), lambda x: restored(srgb.encode(x))
    place = choose_device(device)
    if isinstance(image, Tensor):
        image = image.detach()
        if image.ndim != 4 or image.shape[1] not in (1, 3) or not image.is_floating_point() or image.numel() == 0:
            raise InputError(f"expected a float tensor (B, 1 or 3, H, W), got {image.dtype} {tuple(image.shape)}")
        if image.dtype not in (torch.float32, torch.float64):
            raise InputError(f"expected a tensor of float32 or float64, got {image.dtype}: convert it")
        if not bool(torch.isfinite(image).all()):
            raise InputError("the image holds NaN or infinity")
        check_scale("a tensor", float(image.min()), float(image.max()), limits)
        return image.to(place), lambda x: x.to(image)
    pixels, restore = as_float(np.asanyarray(image), limits)
    dtype = torch.float64 if precision == "float64" else torch.float32
    return to_tensor(pixels, dtype).to(place), lambda x: restore(from_tensor(x.cpu()))


def noise_level_of(
    y: Tensor, given: float | None, compression: float, linear: bool, known: np.ndarray | None = None
) -> float:
    """As given, or the mean of the estimates over the batch, but at least ``COMPRESSED`` times what compression lost:
    its error is no white noise, yet it is what a restoration must not enlarge. Of linear light, where y is."""
    lost = COMPRESSED * check_level("compression", compression)
    if given is not None:
        return check_level("noise level", given)
    if linear and lost:
        lost = float((srgb.decode(srgb.encode(y) + lost) - y).square().mean().sqrt())
    estimates = [estimate_noise(from_tensor(x[None].cpu().double()), known) for x in y]
    return max(float(np.mean(estimates)), lost)
