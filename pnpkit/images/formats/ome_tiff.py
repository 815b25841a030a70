"""Writing of OME-TIFF files. The XML model of a microscope's file is kept, or made anew."""

from __future__ import annotations

import html
import re
from typing import Any, BinaryIO

import numpy as np


def write(file: BinaryIO, samples: np.ndarray, axes: str, xml: str) -> None:
    """Write with the model of the original file, except for the type and the places of its planes."""
    import tifffile

    xml = re.sub(r"<(\w+:)?TiffData\b[^>]*?(/>|>.*?</(\w+:)?TiffData>)", "", xml, flags=re.S)
    xml = re.sub(r"(<(?:\w+:)?Pixels\b[^>]*?\bType=)\"[^\"]*\"", rf'\g<1>"{_OME[samples.dtype.name]}"', xml, count=1)
    order = re.search(r"DimensionOrder=\"XY([ZCT]{3})\"", xml)
    planes = "".join(reversed(order[1])) if order else "TCZ"
    wanted = "".join(axis for axis in planes if axis in axes) + "YX"
    samples = samples.transpose([axes.index(axis) for axis in wanted])
    count = int(np.prod(samples.shape[:-2]))
    xml = re.sub(r"(<(?:\w+:)?Pixels\b[^>]*?)/>", r"\1></Pixels>", xml, count=1)
    at = _before_plane(xml)
    prefix = re.search(r"<(\w+:)?Pixels\b", xml)
    tag = f"{prefix[1] or ''}TiffData" if prefix else "TiffData"
    xml = f'{xml[:at]}<{tag} IFD="0" PlaneCount="{count}"/>{xml[at:]}'
    tifffile.imwrite(
        file,
        samples,
        photometric="minisblack",
        description=xml.encode(),
        metadata=None,
        bigtiff=samples.nbytes > 2**32 - 2**25,
    )


def write_new(
    file: BinaryIO, samples: np.ndarray, axes: str, steps: dict[str, float], unit: str, names: list[str]
) -> None:
    """Write with a new model. ``names`` are those of the channels."""
    import tifffile

    told: dict[str, Any] = {f"PhysicalSize{axis}": step for axis, step in steps.items()}
    told |= {f"PhysicalSize{axis}Unit": unit for axis in steps}
    if "C" in axes and len(names) == samples.shape[axes.index("C")]:
        told["Channel"] = {"Name": names}
    tifffile.imwrite(
        file,
        samples,
        ome=True,
        bigtiff=samples.nbytes > 2**32 - 2**25,
        photometric="minisblack",
        metadata={**told, "axes": axes},
    )


def channel_names(xml: str) -> list[str]:
    """Return the names of the channels in a model."""
    return [html.unescape(name) for name in re.findall(r"<(?:\w+:)?Channel\b[^>]*?\bName=\"([^\"]*)\"", xml)]


def _before_plane(xml: str) -> int:
    """Return the position of TiffData in Pixels: after the channels, before the planes."""
    channels = [found.end() for found in re.finditer(r"</(?:\w+:)?Channel>|<(?:\w+:)?Channel\b[^>]*/>", xml)]
    if channels:
        return channels[-1]
    found = re.search(r"<(?:\w+:)?Pixels\b[^>]*>", xml)
    return found.end() if found else len(xml)


_OME = {
    "uint8": "uint8", "uint16": "uint16", "uint32": "uint32", "int16": "int16", "int32": "int32",
    "float32": "float", "float64": "double",
}  # fmt: skip
