"""OME-Zarr (OME-NGFF), folders of blocks that hold stacks, by zarr. Versions 0.1 to 0.5 are read, 0.4 is written.

Source: https://ngff.openmicroscopy.org/0.4.
"""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pnpkit.errors import InputError
from pnpkit.images.address import is_zarr

SUFFIX = ".zarr"
UNITS = {"micrometer": "µm", "nanometer": "nm", "millimeter": "mm", "angstrom": "Å"}
KINDS = {"T": "time", "C": "channel"}  # types of axes; the others are space
SIDE = 512  # most rows and columns of a block, if the original stack has no blocks


@dataclass(frozen=True, eq=False)
class Held:
    """The content of a store.

    ``axes`` are the letters of the axes of ``samples``, "" if they are unknown. ``steps`` are the distances between
    samples by axis, in ``unit``. ``attributes`` are all attributes of the store. ``notes`` name what is ignored.
    """

    samples: np.ndarray
    axes: str
    steps: dict[str, float] = field(default_factory=dict)
    unit: str = ""
    attributes: dict[str, Any] = field(default_factory=dict)
    blocks: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()


def library(path: Path) -> Any:
    """Import the library. Raises InputError if it is not installed."""
    try:
        import zarr
    except ImportError:
        raise InputError(f"{path}: OME-Zarr needs the extra 'zarr' (zarr): pip install 'pnpkit[zarr]'") from None
    return zarr


def attributes_of(path: Path) -> dict[str, Any]:
    """Return the metadata of a group. In version 0.5 they are under ``ome``."""
    found: dict[str, Any] = {}
    if (path / ".zattrs").is_file():
        found = json.loads((path / ".zattrs").read_text())
    elif (path / "zarr.json").is_file():
        found = json.loads((path / "zarr.json").read_text()).get("attributes", {})
    return {**found, **found["ome"]} if isinstance(found.get("ome"), dict) else found


def read(path: Path) -> Held:
    """Read the largest resolution of an image, or a bare array.

    Raises:
        InputError: the library is missing, or the group holds no image.
    """
    zarr = library(path)
    node = zarr.open(str(path), mode="r")
    if isinstance(node, zarr.Array):
        return Held(native(node), "", blocks=tuple(node.chunks))
    attributes = attributes_of(path)
    scales = attributes.get("multiscales")
    if not scales:
        groups = ", ".join(sorted(below.name for below in path.iterdir() if is_zarr(below))) or "none"
        raise InputError(f"{path}: expected an image of OME-Zarr, got a group without one; below it: {groups}")
    first, *smaller = scales[0]["datasets"]
    array = node[first["path"]]
    axes, steps, unit = sampling(scales[0], array.ndim)
    told = f"resolution {first['path']} of {1 + len(smaller)}; the result has this one alone" if smaller else ""
    return Held(native(array), axes, steps, unit, attributes, tuple(array.chunks), (told,) if told else ())


def sampling(image: dict[str, Any], dimensions: int) -> tuple[str, dict[str, float], str]:
    """Return the axes of an image, the steps along the axes with the unit of its columns, and that unit."""
    axes = image.get("axes") or list("tczyx"[-dimensions:])
    letters = "".join(axis_name(axis) for axis in axes).upper()
    sizes = [1.0] * dimensions
    for change in (*image.get("coordinateTransformations", ()), *changes(image)):
        if change.get("type") == "scale":
            sizes = [a * float(b) for a, b in zip(sizes, change["scale"], strict=True)]
    units = {axis_name(axis).upper(): axis.get("unit", "") for axis in axes if isinstance(axis, dict)}
    unit = units.get("X", "")
    steps = {axis: size for axis, size in zip(letters, sizes, strict=True) if axis in "ZYX" and unit == units.get(axis)}
    return letters, steps if unit else {}, UNITS.get(unit, unit)


def changes(image: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the coordinate transformations of the largest resolution."""
    datasets: list[dict[str, Any]] = image.get("datasets") or [{}]
    return list(datasets[0].get("coordinateTransformations", ()))


def channel_names(attributes: dict[str, Any]) -> list[str]:
    """Return the names of the channels, if the metadata for viewers contain them."""
    return [str(channel.get("label", "")) for channel in (attributes.get("omero") or {}).get("channels") or ()]


def axis_name(axis: Any) -> str:
    """Return the name of an axis. Earlier versions store only the name."""
    return str(axis["name"] if isinstance(axis, dict) else axis)


def native(array: Any) -> np.ndarray:
    """Read a whole array in native byte order."""
    samples = np.asarray(array[...])
    return samples.astype(samples.dtype.newbyteorder("="), copy=False)


def write(folder: Path, held: Held, name: str, channels: list[str], history: tuple[str, ...]) -> None:
    """Write an image of version 0.4 with one resolution.

    Args:
        folder: an existing, empty folder.
        held: the content. Its ``attributes`` are kept as far as they are still valid.
        channels: names of the channels, used if the attributes have none.
        history: what was done to the image.
    """
    zarr = library(folder)
    group = zarr.open_group(str(folder), mode="w", zarr_format=2)
    shape = held.samples.shape
    blocks = held.blocks if len(held.blocks) == len(shape) else (1,) * (len(shape) - 2) + (SIDE, SIDE)
    array = group.create_array(
        "0",
        shape=shape,
        dtype=held.samples.dtype,
        chunks=tuple(max(1, min(block, side)) for block, side in zip(blocks, shape, strict=True)),
        chunk_key_encoding={"name": "v2", "separator": "/"},
    )
    array[...] = held.samples
    group.attrs.put(metadata(held, name, channels, history))


def metadata(held: Held, name: str, channels: list[str], history: tuple[str, ...]) -> dict[str, Any]:
    """Return the attributes of the group."""
    found = {key: copy.deepcopy(value) for key, value in held.attributes.items() if key not in ("ome", "version")}
    image = (found.get("multiscales") or [{}])[0]
    known = image.get("axes") and isinstance(image["axes"][0], dict)
    if not known or sampling(image, len(held.axes)) != (held.axes, held.steps, held.unit):
        unit = {short: long for long, short in UNITS.items()}.get(held.unit, held.unit)
        image["axes"] = [axis_of(axis, unit if axis in held.steps else "") for axis in held.axes]
        scale = [held.steps.get(axis, 1.0) for axis in held.axes]
        image["datasets"] = [{"coordinateTransformations": [{"type": "scale", "scale": scale}]}]
        image.pop("coordinateTransformations", None)
    dataset = {"path": "0", "coordinateTransformations": changes(image)}
    image |= {"name": image.get("name") or name, "version": "0.4", "datasets": [dataset]}
    found["multiscales"] = [image]
    if channels and "omero" not in found and "C" in held.axes:
        found["omero"] = {"channels": [{"label": label, **shown(held.samples.dtype)} for label in channels]}
    earlier = found.get("pnpkit", {}).get("history", []) if isinstance(found.get("pnpkit"), dict) else []
    found["pnpkit"] = {"history": [*earlier, *history]}
    return found


def axis_of(axis: str, unit: str) -> dict[str, str]:
    """Return the metadata entry of an axis."""
    return {"name": axis.lower(), "type": KINDS.get(axis, "space"), **({"unit": unit} if unit else {})}


def shown(dtype: np.dtype[Any]) -> dict[str, Any]:
    """Return the initial display of a channel in a viewer: grey, over the range of its type."""
    top = float(np.iinfo(dtype).max) if dtype.kind in "iu" else 1.0
    return {"color": "FFFFFF", "active": True, "window": {"start": 0.0, "end": top, "min": 0.0, "max": top}}
