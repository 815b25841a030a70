"""Images that come in a container of another library, or with a channel axis of length 1, go back as they came.

Containers are known by what they can do, so none of these libraries is needed: xarray's DataArray has ``dims`` and
``copy``, dask's Array has ``chunks`` and ``compute``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from typing import Any, ParamSpec

import numpy as np

from pnpkit.restoration.result import Restoration

P = ParamSpec("P")

Way = Callable[[np.ndarray], Any]  # the way back, from the result's pixels to the container that came


CHANNELS = ("c", "channel", "channels", "band", "bands", "rgb", "colour", "color")  # names of an axis of colours


def as_it_came(task: Callable[P, Restoration]) -> Callable[P, Restoration]:
    """The task, for containers too: its image is unpacked before, and the image of its result packed as it came."""

    @wraps(task)
    def restored(*args: P.args, **keywords: P.kwargs) -> Restoration:
        image = args[0] if args else keywords.get("image")
        pixels, back = unpacked(image)
        stack = isinstance(image, np.ndarray) and keywords.get("axes") is not None  # whose axes are named
        if pixels is image or stack:
            return task(*args, **keywords)
        call: Any = task
        run: Restoration = call(pixels, *args[1:], **keywords) if args else call(**{**keywords, "image": pixels})
        return replace(run, image=back(np.asarray(run.image)))

    return restored


def unpacked(image: Any) -> tuple[Any, Way]:
    """The array (H, W) or (H, W, 3) in a container, and the way back; anything else as it is."""
    if hasattr(image, "dims") and hasattr(image, "coords") and hasattr(image, "copy"):
        return of_labelled(image)
    if hasattr(image, "chunks") and hasattr(image, "compute"):
        pixels, back = unpacked(np.asarray(image))
        return pixels, lambda found: chunked(back(found), image)
    if isinstance(image, np.ndarray) and image.ndim == 3 and image.shape[2] == 1 and image.shape[1] > 0:
        return image[..., 0], lambda found: found[..., None]
    return image, lambda found: found


def of_labelled(image: Any) -> tuple[np.ndarray, Way]:
    """The values of a labelled array, its axis of colours last, and the way back.

    The result has the labels where it keeps the size, else the names of the axes alone.
    """
    first = image.ndim == 3 and str(image.dims[0]).lower() in CHANNELS
    values = np.asarray(image.values)
    pixels, back = unpacked(np.moveaxis(values, 0, -1) if first else values)
    data = image.data if hasattr(image.data, "chunks") else None

    def labelled(found: np.ndarray) -> Any:
        result = back(found)
        result = np.moveaxis(result, -1, 0) if first else result
        packed = result if data is None else chunked(result, data)
        if result.shape == image.shape:
            return image.copy(data=packed)
        return type(image)(packed, dims=image.dims, attrs=image.attrs, name=image.name)

    return pixels, labelled


def chunked(found: np.ndarray, like: Any) -> Any:
    """The array in chunks like those that came, where the size is the same."""
    library: Any = sys.modules[type(like).__module__.partition(".")[0] + ".array"]
    return library.from_array(found, chunks=like.chunks if found.shape == like.shape else "auto")
