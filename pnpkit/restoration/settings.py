"""How to restore: the arguments that deblurring, inpainting and enlarging share, and what can be refused in them before
there is a picture."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from numbers import Real
from typing import Any, SupportsFloat

import torch

from pnpkit.errors import InputError, UnknownName
from pnpkit.machine.memory import allowed, choose_device
from pnpkit.networks.base import Network
from pnpkit.registry import load_denoiser
from pnpkit.solvers.iterations import ITERATIONS, Iteration
from pnpkit.solvers.result import Step
from pnpkit.solvers.splittings import FORWARD_BACKWARD, SPLITTINGS


@dataclass(frozen=True)
class Settings:
    """How to run: the arguments that ``deblur``, ``inpaint`` and ``upscale`` share. ``deblur`` says what each is."""

    denoiser: str | Network
    noise_level: float | None = None
    strength: float | str | None = None
    splitting: str = "auto"
    tau: float | None = None
    method: str = "anderson"
    tol: float = 1e-4
    max_steps: int = 500
    device: str | None = None
    max_memory: float | None = None
    precision: str = "auto"
    limits: tuple[float, float] = (0.0, 1.0)
    callback: Callable[[Step], None] | None = None
    linear: bool = False
    compression: float = 0.0

    @classmethod
    def among(cls, arguments: dict[str, Any]) -> Settings:
        """Those of a function's arguments, ``locals()`` at its beginning, that are settings."""
        return cls(**{field.name: arguments[field.name] for field in fields(cls) if field.name in arguments})

    def tools(self) -> tuple[Iteration, Network]:
        """The iteration and the denoiser, on the device.

        Raises:
            InputError: whatever no picture could be restored with.
        """
        if not isinstance(self.method, str) or self.method not in ITERATIONS:
            raise UnknownName("method", self.method, ITERATIONS)
        iteration: Iteration = ITERATIONS[self.method]()
        network = open_denoiser(self.denoiser, choose_device(self.device))
        check_splitting(self)
        if self.precision not in PRECISIONS:
            raise UnknownName("precision", self.precision, PRECISIONS)
        if self.precision == "bfloat16" and not network.convolutional:
            raise InputError(f"bfloat16 makes convolutions cheaper, and {network.name} has none: use float32")
        if self.method == "fista" and self.precision == "bfloat16":
            raise InputError(
                "fista has no proof from any start, so no rough first steps: float32 or float64, not bfloat16"
            )
        if isinstance(self.strength, str) and self.strength not in RULES:
            raise UnknownName("rule for the strength", self.strength, RULES)
        if self.strength is not None and not isinstance(self.strength, str):
            check_level("strength", self.strength, network.top)
        if self.noise_level is not None:
            check_level("noise level", self.noise_level)
        allowed(self.max_memory)
        check_run(self)
        return iteration, network


def check_splitting(settings: Settings) -> None:
    """A splitting that there is and that goes with the method, and a tau that could be one."""
    known = ("auto", *SPLITTINGS)
    if settings.splitting not in known:
        raise UnknownName("splitting", settings.splitting, known)
    if settings.method == "fista" and settings.splitting not in ("auto", FORWARD_BACKWARD):
        raise InputError("fista accelerates forward-backward splitting: choose that one, or another method")
    if settings.tau is not None and not (isinstance(settings.tau, Real) and 0 < settings.tau < math.inf):
        raise InputError(f"tau must be a positive number, got {settings.tau!r}")


def check_run(settings: Settings) -> None:
    """A tolerance, a number of steps and a box that are some."""
    limits: tuple[Any, ...] = tuple(settings.limits) if isinstance(settings.limits, Iterable) else ()
    limits = limits if len(limits) == 2 else ("", "")
    for number in (settings.tol, settings.max_steps, *limits):
        if isinstance(number, (str, bool)) or not isinstance(number, SupportsFloat):
            came = f"{settings.tol!r}, {settings.max_steps!r}, {settings.limits!r}"
            raise InputError(f"tol, max_steps and two limits must be numbers, got {came}")
    if settings.callback is not None and not callable(settings.callback):
        raise InputError(f"a callback is a function of a Step, got {settings.callback!r}")


def open_denoiser(denoiser: str | Network, device: torch.device) -> Network:
    if isinstance(denoiser, str):
        return load_denoiser(denoiser, device=str(device))
    if isinstance(denoiser, Network):
        return denoiser.to(device)
    raise InputError(f"a denoiser is a name or a pnpkit network, got {type(denoiser).__name__}: see plug_and_play")


def check_level(what: str, value: float | str, top: float = 1.0) -> float:
    """A level on the 0..1 scale: a number in [0, top]."""
    if isinstance(value, str):
        raise InputError(f"{what} must be a number here, got '{value}'")
    try:
        level = float(value)
    except (TypeError, ValueError):
        raise InputError(f"{what} must be a number, got {value!r}") from None
    if not 0 <= level <= top:
        raise InputError(f"{what} must be in [0, {top:.4g}] on the 0..1 scale, got {value}")
    return level


PRECISIONS = ("auto", "float32", "bfloat16", "float64")


RULES = ("auto", "sure")
