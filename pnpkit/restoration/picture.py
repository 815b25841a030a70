"""A picture that came, opened: the tensor that is worked on, what its readings are worth, and the way back."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from pnpkit.errors import InputError, UnknownName
from pnpkit.images import srgb
from pnpkit.images.noise import estimate_noise
from pnpkit.images.pixels import as_array, as_float, from_tensor, largest_of, nearest, to_tensor
from pnpkit.machine.memory import choose_device
from pnpkit.machine.phases import Listener, Phase, nobody
from pnpkit.networks.base import Network
from pnpkit.noise.models import Gaussian, Noise, Proportional, effective_level
from pnpkit.restoration.checks import open_tools
from pnpkit.restoration.defaults import COMPRESSED, DIM, LAMP, POINT_ERROR
from pnpkit.restoration.problem import Back
from pnpkit.restoration.readings import Readings, masks, model_for, saturated_in, smoothed
from pnpkit.restoration.scale import Scale, all_equal, raised, scale_of
from pnpkit.restoration.settings import GAUSSIAN, PRECISIONS, Settings, check_level
from pnpkit.restoration.weighing import Weights, filled, model_of_map
from pnpkit.solvers.iterations import Iteration
from pnpkit.solvers.result import Step

LIGHT = 2.0  # largest value of a picture whose sRGB curve is undone: noise may leave 0..1 by that much


@dataclass(frozen=True)
class Opened:
    """A picture with the tools that restore it, opened and checked.

    Attributes:
        y: the picture, (B, C, H, W), on the device and on the scale that it is restored on.
        back: makes of such a tensor an image of the type, light and scale that came.
        readings: what its readings are worth: the model of its noise, what is unknown and what saturates, on that
            scale.
        settings: those of the task, levels and limits on that scale.
        scale: from the values that came (integers: fractions of the type's largest) to that scale.
        unit: how many units of the data one of these values is.
        iteration, network: that run on it. started: when the work began (``time.perf_counter``).
        told: hears of the phases.
    """

    y: Tensor
    back: Back
    readings: Readings
    settings: Settings
    scale: Scale
    unit: float
    iteration: Iteration
    network: Network
    started: float
    told: Listener = nobody

    @property
    def noise(self) -> float:
        """The level of the noise, given or estimated, on the scale of y: that of white noise which tells as much."""
        return self.readings.level


def opened(
    image: np.ndarray | Tensor,
    settings: Settings,
    holes: np.ndarray | None = None,
    blurred: bool = False,
    weights: Weights | None = None,
    points: bool = True,
    lamps: float = LAMP,
) -> Opened:
    """The picture in the type that the run computes in and on its own scale, with the tools of the settings.

    Args:
        holes: (H, W), true where a pixel is unknown; it becomes its nearest known one.
        blurred: whether the picture is taken to be blurred: then plateaus saturate.
        weights: what its readings are worth, where that is given.
        points: whether it may be a field of points.
        lamps: how many times the ceiling what saturates may reach. Up to ``DIM`` the edges of what saturates are known:
            the error of a kernel, times the light of a lamp, does not hide them.

    Raises:
        InputError: anything that no picture could be restored with, before the picture is looked at.
    """
    started = time.perf_counter()
    iteration, network = open_tools(settings)
    stored, outward, working = open_image(image, settings.device, settings.linear, settings.precision)
    if holes is not None:
        stored = nearest_known(stored, torch.from_numpy(holes).to(stored.device))
    if weights is not None:
        stored = filled(stored, weights, nearest_known)
    grey = all_equal(stored) and (weights is None or weights.inverse.shape[1] == 1)
    stored = stored[:, :1] if grey else stored
    told = settings.progress or nobody
    if settings.noise_level is None:
        told(Phase("noise"))
    values = Values(stored, unit_of(image), *integers_of(image))
    readings, scale = surveyed(values, settings, holes, blurred, weights, points, lamps)
    cut = None
    if readings.above is not None:
        cut, scale = scale.box, replace(scale, box=raised(scale.box, float(stored.max()), lamps))
    y = scale.inward(stored).to(working)

    def back(z: Tensor) -> np.ndarray | Tensor:
        x = scale.outward(z)
        x = x if cut is None else x.clamp(*cut)
        return outward(x.expand(-1, 3, -1, -1) if grey else x)

    return Opened(
        y=y,
        back=back,
        readings=readings.scaled(scale.offset, scale.span),
        settings=on_scale(settings, scale, network),
        scale=scale,
        unit=values.unit,
        iteration=iteration,
        network=network,
        started=started,
        told=told,
    )


@dataclass(frozen=True)
class Values:
    """The values of a picture as they came.

    Attributes:
        stored: (B, C, H, W), of integers fractions of the largest of their type. unit: how many units of the data 1 is.
        integers: they are of an unsigned type. deep: that has more than 8 bits.
    """

    stored: Tensor
    unit: float
    integers: bool
    deep: bool


def surveyed(
    values: Values,
    settings: Settings,
    holes: np.ndarray | None,
    blurred: bool,
    weights: Weights | None,
    points: bool,
    lamps: float,
) -> tuple[Readings, Scale]:
    """What the readings of a picture are worth, in the units of ``values.stored``, and its scale.

    The noise level tells the scale, that which readings saturate, these which noise level is to be believed: equal
    readings hide the noise. The box of the scale is not raised above the ceiling yet. Arguments as of ``opened``.
    """
    stored, unit, integers, deep = values.stored, values.unit, values.integers, values.deep
    whole = None if holes is None else ~holes

    def white(known: np.ndarray | None) -> float:
        return noise_level_of(stored, settings.noise_level, settings.compression, settings.linear, known)

    level = white(whole)
    span = scale_of(stored, level, settings.limits, integers, deep).span
    above = saturated_in(stored, settings, level, span, unit, holes, blurred)
    known, ceiling = masks(holes, above, stored, edges=lamps <= DIM)
    if weights is not None and not bool(weights.inverse.all()):
        some = (weights.inverse > 0).to(stored.device)
        known = some if known is None else known & some
    fair = None if known is None else from_tensor(known & ~ceiling if ceiling is not None else known)
    if ceiling is not None and fair is not None:
        level = white(np.asarray(np.atleast_3d(fair).all(-1)))
    model: Noise
    if weights is not None:
        model, note = model_of_map(stored, weights, settings, span, unit, known)
    else:
        model, note = model_for(stored, settings, level, span, unit, fair, blurred)
    if not isinstance(model, Gaussian):
        level = effective_level(model.variance(smoothed(stored, known)), known)
    scale = scale_of(stored, level, settings.limits, integers, deep, points)
    # a quick run meets the data by one division, for which all readings count the same
    alike = settings.quick or settings.noise == GAUSSIAN
    if scale.points and blurred and isinstance(model, Gaussian) and level > 0 and not alike:
        model = Proportional(level, scale.box[0], POINT_ERROR)
        note += "; bright places are taken for stars, whose shape is not known better: `noise=gaussian` if not"
        level = effective_level(model.variance(smoothed(stored, known)), known)
    return Readings(model, level, note, known, ceiling), scale


def on_scale(settings: Settings, scale: Scale, network: Network) -> Settings:
    """The settings with levels, limits and the callback's iterates on the scale of the picture.

    Raises:
        InputError: a strength that the denoiser does not have.
    """
    strength, callback = settings.strength, settings.callback
    if not (strength is None or isinstance(strength, str)):
        check_level("strength", strength, network.top * scale.span)
        strength = float(strength) / scale.span

    def told(step: Step) -> None:
        assert callback is not None
        callback(replace(step, x=scale.outward(step.x).to(step.x.dtype)))

    return replace(
        settings,
        noise_level=None if settings.noise_level is None else float(settings.noise_level) / scale.span,
        strength=strength,
        limits=scale.limits(),
        compression=settings.compression / scale.span,
        callback=None if callback is None else told,
    )


def unit_of(image: np.ndarray | Tensor) -> float:
    """How many units of the data 1 is in the tensor of ``open_image``: the type's largest for integers."""
    whole = not isinstance(image, Tensor) and as_array(image).dtype.kind in "iu"
    return largest_of(as_array(image).dtype) if whole else 1.0


def integers_of(image: np.ndarray | Tensor) -> tuple[bool, bool]:
    """Whether an image holds unsigned integers, and whether these have more than 8 bits."""
    unsigned = not isinstance(image, Tensor) and as_array(image).dtype.kind == "u"
    return unsigned, unsigned and as_array(image).dtype.itemsize > 1


def nearest_known(y: Tensor, missing: Tensor) -> Tensor:
    """y with each missing pixel replaced by the nearest known one."""
    if not bool(missing.any()):
        return y
    rows, columns = nearest(missing.cpu().numpy())
    return y[..., torch.from_numpy(rows).to(y.device), torch.from_numpy(columns).to(y.device)]


def open_image(
    image: np.ndarray | Tensor, device: str | None, linear: bool = False, precision: str = "auto"
) -> tuple[Tensor, Back, torch.dtype]:
    """The picture as a tensor (B, C, H, W) on the device, the way back, and the type to compute in.

    The way back leads to the type, and the light, that came.

    Integers become fractions of the largest that their type holds. The run computes in float32, or in float64 where
    that is the precision or the type of a tensor: many libraries make float64 of every array.
    """
    if precision not in PRECISIONS:
        raise UnknownName("precision", precision, PRECISIONS)
    if linear:
        stored, restored, working = open_image(image, device, False, precision)
        check_light(stored)
        return srgb.decode(stored), lambda x: restored(srgb.encode(x)), working
    place = choose_device(device)
    wanted = {"float64": torch.float64, "float32": torch.float32, "bfloat16": torch.float32}.get(precision)
    if isinstance(image, Tensor):
        image = image.detach()
        if image.ndim != 4 or image.shape[1] not in (1, 3) or not image.is_floating_point() or image.numel() == 0:
            raise InputError(f"expected a float tensor (B, 1 or 3, H, W), got {image.dtype} {tuple(image.shape)}")
        if image.dtype not in (torch.float32, torch.float64):
            raise InputError(f"expected a tensor of float32 or float64, got {image.dtype}: convert it")
        if not bool(torch.isfinite(image).all()):
            raise InputError("the image holds NaN or infinity")
        return image.to(place), lambda x: x.to(image), wanted or image.dtype
    pixels, restore = as_float(as_array(image))
    stored = to_tensor(pixels, torch.float64 if pixels.dtype == np.float64 else torch.float32)
    return stored.to(place), lambda x: restore(from_tensor(x.cpu())), wanted or torch.float32


def check_light(y: Tensor) -> None:
    """Raise unless the values are on the 0..1 scale, which the sRGB curve is for; noise may leave it."""
    least, most = float(y.min()), float(y.max())
    if most > LIGHT or least < 1 - LIGHT:
        raise InputError(
            f"linear light undoes the sRGB curve of values on the 0..1 scale, got {least:.6g}..{most:.6g}: leave it out"
        )


def noise_level_of(
    y: Tensor, given: float | None, compression: float, linear: bool, known: np.ndarray | None = None
) -> float:
    """The noise level: as given, or the mean of the estimates over the batch; of linear light where y is that.

    An estimate is at least ``COMPRESSED`` times what compression lost: that error is no white noise, but a restoration
    must not enlarge it either. ``known`` is (H, W), false where a pixel is unknown, or None.
    """
    lost = COMPRESSED * check_level("compression", compression, math.inf)
    if given is not None:
        return check_level("noise level", given, math.inf)
    if linear and lost:
        lost = float((srgb.decode(srgb.encode(y) + lost) - y).square().mean().sqrt())
    estimates = [estimate_noise(from_tensor(x[None].cpu().double()), known) for x in y]
    return max(float(np.mean(estimates)), lost)
