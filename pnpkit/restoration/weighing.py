"""Weights that come with a picture, and the variance of every reading that follows from them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pnpkit.errors import InputError
from pnpkit.images.noise import estimate_noise
from pnpkit.images.pixels import as_array, from_tensor
from pnpkit.noise.models import Mapped
from pnpkit.noise.weights import RELATIVE, inverse_variances, kind_of
from pnpkit.restoration.defaults import COMPRESSED
from pnpkit.restoration.readings import smoothed
from pnpkit.restoration.settings import GAUSSIAN, Settings, check_level

ODD = 2.0  # times more or less noise than given variances say: the note on the noise remarks on that


LEAST = 1e-6  # share of the range of a picture: the noise level of relative weights where no noise shows


@dataclass(frozen=True, eq=False)
class Weights:
    """What every reading is worth.

    Attributes:
        inverse: (1, 1 or C, H, W), float64, >= 0: 1 / variance in the units of the data, 0 where nothing is known.
        relative: whether they are known up to a factor only, which the noise of the picture tells.
    """

    inverse: Tensor
    relative: bool

    @property
    def nowhere(self) -> np.ndarray:
        """True where no channel of a pixel has a weight, (H, W)."""
        return (self.inverse == 0).all(1)[0].numpy()


def open_weights(weights: np.ndarray | Tensor | None, image: np.ndarray | Tensor, settings: Settings) -> Weights | None:
    """The weights of a picture; None where none are given.

    Args:
        weights: (H, W), or of the shape of the picture. What they are is ``settings.weights_are``.

    Raises:
        InputError: another size, what ``noise.weights.inverse_variances`` refuses, and settings that say of the noise
            what the weights say.
    """
    if weights is None:
        if settings.weights_are != "auto":
            raise InputError("weights_are says what `weights` are: give weights, or leave it out")
        return None
    array = weights.detach().cpu().numpy() if isinstance(weights, Tensor) else as_array(weights)
    return weights_of(laid_out(array, image), settings)


def weights_of(values: np.ndarray, settings: Settings) -> Weights:
    """The weights of an array that has the axes of the readings already."""
    kind = kind_of(settings.weights_are)
    check_settings(settings, kind)
    return Weights(torch.from_numpy(inverse_variances(values, kind)), kind == RELATIVE)


def laid_out(weights: np.ndarray, image: np.ndarray | Tensor) -> np.ndarray:
    """The weights as (1, 1 or C, H, W)."""
    if isinstance(image, Tensor):
        size: tuple[int, ...] = tuple(image.shape[-2:])
        wanted = [(1, channels, *size) for channels in {1, *image.shape[1:2]}]
        if weights.shape in wanted:
            return weights
    else:
        size = image.shape[:2]
        if weights.shape == image.shape[:3] and image.ndim == 3:
            return np.ascontiguousarray(np.moveaxis(weights, -1, 0)[None])
    if weights.shape != size:
        came, wanted_size = (" x ".join(map(str, shape)) or "one number" for shape in (weights.shape, image.shape))
        raise InputError(f"the weights are {came}, the image {wanted_size}: not the same")
    return np.ascontiguousarray(weights)[None, None]


def check_settings(settings: Settings, kind: str) -> None:
    """Raise where the settings say of the noise what weights of this kind say, or what does not go with them."""
    given = [name for name in ("gain", "offset", "read_noise") if getattr(settings, name) is not None]
    given += ["noise"] if settings.noise not in ("auto", GAUSSIAN) else []
    given += ["noise_level"] if settings.noise_level is not None and kind != RELATIVE else []
    if given:
        hint = ", or say weights_are 'relative'" if given == ["noise_level"] else ""
        raise InputError(f"weights say how noisy each reading is: leave out `{given[0]}`{hint}")
    if settings.linear:
        raise InputError("weights are of the values as they came: leave out linear light")
    if settings.strength == "sure":
        raise InputError("strength 'sure' needs white noise: take 'auto' or a number with weights")


def model_of_map(
    y: Tensor,
    weights: Weights,
    settings: Settings,
    span: float,
    unit: float,
    known: Tensor | None,
    measured: Callable[[Tensor, Tensor | None], float] | None = None,
) -> tuple[Mapped, str]:
    """The variance of every reading in the units of y, and where it comes from.

    Args:
        y: (1, C, H, W). span: its range. unit: how many units of the data are 1 in y. known: as in ``Readings``.
        measured: the level of the noise of what is like y and as noisy everywhere; None: as that of pictures.
    """
    inverse = (weights.inverse * unit**2).to(y.device)
    every = inverse.expand(y.shape)
    mean = float(every[every > 0 if known is None else known.expand_as(every)].mean())
    flat = (y - smoothed(y, known)).double() * (inverse / mean).sqrt()  # as noisy everywhere
    shown = (measured or noise_of_picture)(flat, known)
    shown = max(shown, COMPRESSED * settings.compression, LEAST * span)
    if not weights.relative:
        ratio = shown * mean**0.5
        odd = f"; the picture shows {ratio:.2g} times as much noise" if not 1 / ODD <= ratio <= ODD else ""
        return Mapped(1 / inverse), f"given{odd}"
    if settings.noise_level is not None:
        level = max(check_level("noise level", settings.noise_level, np.inf), LEAST * span)
        return Mapped(level**2 * mean / inverse), "relative weights, and the noise level given"
    times = shown**2 * mean
    note = f"relative weights; by the noise of the picture {times:.3g} times the inverse variance"
    return Mapped(times / inverse), note


def noise_of_picture(y: Tensor, known: Tensor | None) -> float:
    """The level of the noise of a picture (1, C, H, W)."""
    fair = None if known is None else from_tensor(known.expand_as(y)[:1])
    return estimate_noise(from_tensor(y), None if fair is None else np.asarray(np.atleast_3d(fair).all(-1)))


def filled(y: Tensor, weights: Weights, nearest_known: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """y with each reading without a weight replaced by the nearest of its channel that has one.

    Pixels without a weight in any channel are holes of the picture, and filled already.

    Raises:
        InputError: a channel without any weight.
    """
    nothing = (weights.inverse[0] == 0).to(y.device)
    if len(nothing) == 1 or not bool(nothing.any()):
        return y
    if bool(nothing.flatten(1).all(1).any()):
        raise InputError("every weight of a channel is 0: nothing is known of it; a reading that counts is > 0")
    planes = [nearest_known(y[:, c : c + 1], nothing[c]) for c in range(y.shape[1])]
    return torch.cat(planes, 1)
