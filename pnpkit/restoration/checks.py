"""What can be refused in the settings of a restoration before there is a picture."""

from __future__ import annotations

import math
from collections.abc import Iterable
from numbers import Real
from typing import Any, SupportsFloat

from pnpkit.errors import InputError, UnknownName
from pnpkit.machine.memory import allowed, choose_device
from pnpkit.networks.base import Network
from pnpkit.registry import open_denoiser
from pnpkit.restoration.defaults import WIDEST_POINT
from pnpkit.restoration.kept import check_folder
from pnpkit.restoration.settings import GAUSSIAN, NOISES, POISSON, PRECISIONS, RULES, Settings, check_level
from pnpkit.solvers.descent import DESCENT
from pnpkit.solvers.iterations import ITERATIONS, Iteration
from pnpkit.solvers.splittings import FORWARD_BACKWARD, SPLITTINGS


def open_tools(settings: Settings) -> tuple[Iteration, Network]:
    """The iteration and the denoiser of the settings, the latter on the device.

    Raises:
        InputError: settings that no picture could be restored with.
    """
    if not isinstance(settings.method, str) or settings.method not in ITERATIONS:
        raise UnknownName("method", settings.method, ITERATIONS)
    iteration: Iteration = ITERATIONS[settings.method]()
    network = open_denoiser(settings.denoiser, device=str(choose_device(settings.device)))
    check_splitting(settings)
    check_precision(settings, network)
    check_descent(settings, network)
    if isinstance(settings.strength, str) and settings.strength not in RULES:
        raise UnknownName("rule for the strength", settings.strength, RULES)
    if settings.strength is not None and not isinstance(settings.strength, str):
        check_level("strength", settings.strength, math.inf)
    if settings.noise_level is not None:
        check_level("noise level", settings.noise_level, math.inf)
    check_noise(settings)
    allowed(settings.max_memory)
    check_run(settings)
    return iteration, network


def check_precision(settings: Settings, network: Network) -> None:
    """Raise unless ``precision`` is one of PRECISIONS and goes with the method and the network."""
    if settings.precision not in PRECISIONS:
        raise UnknownName("precision", settings.precision, PRECISIONS)
    if settings.precision == "bfloat16" and not network.convolutional:
        raise InputError(f"bfloat16 makes convolutions cheaper, and {network.name} has none: use float32")
    if settings.method == "fista" and settings.precision == "bfloat16":
        raise InputError("fista has no proof from any start, so no rough first steps: float32 or float64, not bfloat16")


def check_splitting(settings: Settings) -> None:
    """Raise unless ``splitting`` is known and goes with the method, and ``tau`` is None or positive and finite."""
    known = ("auto", *SPLITTINGS, DESCENT)
    if settings.splitting not in known:
        raise UnknownName("splitting", settings.splitting, known)
    if settings.method == "fista" and settings.splitting not in ("auto", FORWARD_BACKWARD):
        raise InputError("fista accelerates forward-backward splitting: choose that one, or another method")
    if settings.tau is not None and not (isinstance(settings.tau, Real) and 0 < settings.tau < math.inf):
        raise InputError(f"tau must be a positive number, got {settings.tau!r}")


def check_noise(settings: Settings) -> None:
    """Raise unless ``noise`` is one of NOISES and goes with what is given of it, and ``saturation`` is auto, off or a
    number."""
    if not isinstance(settings.noise, str) or settings.noise not in NOISES:
        raise UnknownName("noise model", settings.noise, NOISES)
    given = {name: getattr(settings, name) for name in ("gain", "offset", "read_noise")}
    named = [name for name, value in given.items() if value is not None]
    for name in named:
        value = given[name]
        if not is_finite(value):
            raise InputError(f"`{name}` must be a finite number, got {value!r}")
    if given["gain"] is not None and not given["gain"] > 0:
        raise InputError(f"gain, the units of the data per count, must be > 0, got {given['gain']!r}")
    if given["read_noise"] is not None and given["read_noise"] < 0:
        raise InputError(f"`read_noise` must be >= 0, got {given['read_noise']!r}")
    if settings.noise == GAUSSIAN and named:
        raise InputError(f"gaussian noise has no `{named[0]}`: leave it out, or take noise 'poisson-gaussian'")
    if settings.noise == POISSON and given["read_noise"]:
        raise InputError("poisson noise has no `read_noise`: leave it out, or take noise 'poisson-gaussian'")
    counted = bool(named) or settings.noise not in ("auto", GAUSSIAN)
    if counted and settings.noise_level is not None:
        raise InputError("`noise_level` is of gaussian noise: of counts give `gain`, `offset` and `read_noise`")
    if counted and settings.linear:
        raise InputError("counts are linear already: noise 'poisson' and linear light do not go together")
    if counted and settings.strength == "sure":
        raise InputError("strength 'sure' needs white noise: take 'auto' or a number with counts")
    value = settings.saturation
    if isinstance(value, str) and value not in ("auto", "off"):
        raise InputError(f"saturation is 'auto', 'off' or the reading at which pixels saturate, got '{value}'")
    if not isinstance(value, str) and not is_finite(value):
        raise InputError(f"saturation is 'auto', 'off' or a finite number, got {value!r}")


def check_descent(settings: Settings, network: Network) -> None:
    """Raise where descent is asked for, or is what suits the network, and the other settings do not go with it."""
    suits = network.energy_at(0.0) is not None
    if settings.splitting == DESCENT and not suits:
        raise InputError(f"splitting descent needs a denoiser with a potential, and {network.name} has none")
    if not (suits and settings.splitting in ("auto", DESCENT)) or settings.method == "fista":
        return
    if settings.method != "anderson":  # the default
        raise InputError(f"descent has an iteration of its own: leave out `method={settings.method}`")
    if settings.precision == "bfloat16":
        raise InputError("descent compares values of f + g / tau at every step: float32 or float64, not bfloat16")
    if settings.strength == "sure":
        raise InputError("strength sure is for splittings that are iterated as one map: give a number with descent")


def check_run(settings: Settings) -> None:
    """Raise unless ``cache`` is a folder or None, ``amount``, ``tol``, ``max_steps`` and ``limits`` are numbers, and
    ``callback`` can be called."""
    box: object = (0.0, 1.0) if settings.limits is None else settings.limits
    limits: tuple[Any, ...] = tuple(box) if isinstance(box, Iterable) else ()
    limits = limits if len(limits) == 2 else ("", "")
    check_folder(settings.cache)
    check_resolution(settings.resolution)
    amount = settings.amount
    if not is_number(amount) or not 0 <= float(amount) <= 1:
        raise InputError(f"amount must be a number from 0 (the picture as it came) to 1, got {amount!r}")
    tol = 0.0 if settings.tol is None else settings.tol
    for number in (tol, settings.max_steps, *limits):
        if not is_number(number):
            came = f"{settings.tol!r}, {settings.max_steps!r}, {settings.limits!r}"
            raise InputError(f"tol, max_steps and two limits must be numbers, got {came}")
    if settings.callback is not None and not callable(settings.callback):
        raise InputError(f"a callback is a function of a Step, got {settings.callback!r}")


def is_number(value: object) -> bool:
    """Whether it can be taken for one number: a number, or an array that holds one; no text, no boolean."""
    return isinstance(value, SupportsFloat) and not isinstance(value, (str, bool))


def is_finite(value: object) -> bool:
    """Whether it is a finite real number; no array, no text, no boolean."""
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def check_resolution(resolution: float | None) -> None:
    """Raise unless it is None or a number from 0 to ``WIDEST_POINT``."""
    if resolution is None:
        return
    if not is_number(resolution):
        raise InputError(f"resolution is the width of a point in pixels, a number, got {resolution!r}")
    if not 0 <= float(resolution) <= WIDEST_POINT:
        raise InputError(f"resolution is from 0 to {WIDEST_POINT:g} pixels, got {float(resolution):g}")
