"""What repeats a run: the fields of --json beside its results."""

from __future__ import annotations

import hashlib
import os
import platform
import shlex
import sys
from collections.abc import Iterable
from importlib.metadata import version
from typing import Any

from pnpkit import __version__
from pnpkit.images import address
from pnpkit.machine.files import sha256_of
from pnpkit.restoration.settings import Settings

PACKAGES = ("torch", "deepinv", "numpy", "scipy", "pillow", "tifffile")  # whose versions may change a result


def command_line() -> str:
    """The line of the shell that repeats the command."""
    return shlex.join(["pnpkit", *sys.argv[1:]])


def existing(names: Iterable[str | None]) -> tuple[str, ...]:
    """Those of the names that are files, parts of files or stores of zarr: gaussian:2 and None are none."""
    found = ((name, address.file_of(name)) for name in names if name)
    return tuple(name for name, file in found if os.path.isfile(file) or address.is_zarr(file))


def repeat(seed: int, settings: Settings, files: Iterable[str]) -> dict[str, Any]:
    """The command, and what its result depends on beside it.

    Args:
        seed: of torch's generator. files: all that are read; each is stored with its sha256.
    """
    import torch

    from pnpkit.machine.memory import choose_device

    device = choose_device(settings.device)
    return {
        "command": command_line(),
        "seed": seed,
        "files": {name: sha256_of(address.file_of(name)) for name in files},
        "denoiser": {"name": str(settings.denoiser), "sha256": weights_sha256(str(settings.denoiser))},
        "device": device.type if device.type == "cpu" else torch.cuda.get_device_name(device),
        "threads": torch.get_num_threads(),
        "platform": platform.platform(),
        "versions": {
            "pnpkit": __version__,
            "python": platform.python_version(),
            **{name: version(name) for name in PACKAGES},
        },
    }


def weights_sha256(name: str) -> str:
    """The sha256 on the card of a denoiser, which its weights were checked against; of one without a card, that of its
    tensors as safetensors writes them."""
    from pnpkit import registry

    cards = registry.denoisers()
    if name in cards:
        return cards[name].sha256
    from safetensors.torch import save

    tensors = registry.load_denoiser(name).state_dict()
    return hashlib.sha256(save({key: value.contiguous().clone() for key, value in tensors.items()})).hexdigest()
