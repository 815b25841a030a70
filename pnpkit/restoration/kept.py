"""What is kept between runs, where a folder for it is given: guides, ends of runs, estimated kernels.

A run of the same picture begins where the one before it ended. Nothing of that is taken on trust: the proof holds from
any start and for any guide that stays, and the residual is measured anew. A file's name is the SHA-256 of all that its
content follows from. The files are safetensors, which hold numbers and words and no code; one that does not fit, or
cannot be read, counts as none.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from pnpkit import __version__
from pnpkit.errors import InputError
from pnpkit.kernels import Kernel
from pnpkit.machine.files import write_whole
from pnpkit.solvers.result import Result

# The note on a run that began where an earlier one had ended; {} is the file.
BEGAN_WITH = "what an earlier run kept was the start: {}"


@dataclass(frozen=True, eq=False)
class Kept:
    """What a run leaves for the next: the guide of its second pass, None where there was one pass, and its end."""

    guide: Tensor | None
    end: Tensor


@dataclass(frozen=True, eq=False)
class End:
    """The picture that a stage of an earlier run ended at."""

    x: Tensor


Ended = Result | End  # where a stage ended, in this run or in an earlier one


def key_of(*parts: object) -> str:
    """The SHA-256 of tensors, and of the texts of anything else, in their order."""
    digest = hashlib.sha256(__version__.encode())
    for part in parts:
        if isinstance(part, Tensor):
            values = part.detach().cpu().contiguous()
            digest.update(f"{values.dtype} {tuple(values.shape)}".encode())
            digest.update(values.numpy().tobytes())
        else:
            digest.update(f"|{part}|".encode())
    return digest.hexdigest()


def weights_key(tensors: Mapping[str, Tensor]) -> str:
    """The SHA-256 of the weights of a network, in the order of their names."""
    flat: Iterable[object] = (part for name in sorted(tensors) for part in (name, tensors[name]))
    return key_of(*flat)


def check_folder(folder: object) -> None:
    """Raise unless ``folder`` is None or names a folder, existing or to be made, in which files may be written."""
    if folder is None:
        return
    if not isinstance(folder, (str, os.PathLike)) or not os.fspath(folder):
        raise InputError(f"`cache` is the name of a folder, got {folder!r}")
    if Path(folder).exists() and not Path(folder).is_dir():
        raise InputError(f"`cache` is the name of a folder, and {folder} is a file")
    above = Path(os.path.abspath(folder))
    there = next(path for path in (above, *above.parents) if path.exists())
    if not os.access(there, os.W_OK | os.X_OK):
        raise InputError(f"`cache` {folder}: expected a folder that may be written to, {there} may not: choose another")


def place(folder: str | os.PathLike[str], key: str, what: str) -> Path:
    """The path of the file with that key, for a guide and an end ("run") or a kernel."""
    return Path(folder) / f"{key[:40]}-{what}.safetensors"


def store(path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, str] | None = None) -> None:
    """Write the tensors, whole or not at all; the folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    ready = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    write_whole(path, save(ready, dict(about) if about else None), True)


def load(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a file and the words beside them; nothing where there is no such file, or it is damaged."""
    if not path.exists():
        return {}, {}
    try:
        with safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (SafetensorError, OSError):
        return {}, {}


def kept_run(path: Path, like: Tensor, guided: bool) -> Kept | None:
    """What an earlier run kept, with the shape, type and device of ``like``; None where that is nothing of use."""
    found, _ = load(path)
    names = ("guide", "end") if guided else ("end",)
    for name in names:
        x = found.get(name)
        if x is None or x.shape != like.shape or x.dtype != like.dtype or not bool(torch.isfinite(x).all()):
            return None
    return Kept(found["guide"].to(like) if guided else None, found["end"].to(like))


def keep_run(path: Path, kept: Kept) -> None:
    """Write guide and end for the next run."""
    store(path, {"end": kept.end} if kept.guide is None else {"guide": kept.guide, "end": kept.end})


def kept_kernel(path: Path) -> Kernel | None:
    """The estimated kernel of an earlier run, with its candidate; None where that is nothing of use."""
    found, about = load(path)
    if any(weights.ndim != 2 or not bool(torch.isfinite(weights).all()) for weights in found.values()):
        return None
    kernel: Kernel | None = None
    try:
        for name, told in reversed(json.loads(about["about"]).items()):  # the candidate first
            weights = found[name].numpy()
            kernel = Kernel(weights, told["origin"], told["confidence"], told["form"], tuple(told["doubts"]), kernel)
    except (AttributeError, KeyError, TypeError, ValueError):  # the words are not those of ``keep_kernel``
        return None
    return kernel


def keep_kernel(path: Path, kernel: Kernel) -> None:
    """Write an estimated kernel, and its candidate, for the next run."""
    names = ("origin", "confidence", "form", "doubts")
    all_of = {"weights": kernel} | ({} if kernel.candidate is None else {"candidate": kernel.candidate})
    told = {key: {name: getattr(one, name) for name in names} for key, one in all_of.items()}
    tensors = {key: torch.from_numpy(one.weights.copy()) for key, one in all_of.items()}
    store(path, tensors, {"about": json.dumps(told)})
