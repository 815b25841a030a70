"""Pictures to train on: all pictures of a folder, with a held-out share chosen by a fixed seed."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pnpkit.errors import InputError, PnpError
from pnpkit.images import files
from pnpkit.machine.files import write_whole

SPLIT = "pictures.json"  # file in the folder of a run that says which pictures were held out


MOST_HELD_OUT, WATCHED = 100, 8  # most pictures of the share of a tenth, and number of pictures for the curve


@dataclass(frozen=True)
class Split:
    """The pictures of a folder, as relative paths, in two disjoint parts.

    Attributes:
        train: pictures to train on.
        held_out: pictures on which the curve, and any score, may be measured.
        seed: seed of the permutation that chose them.
    """

    train: tuple[str, ...]
    held_out: tuple[str, ...]
    seed: int

    def save(self, path: Path) -> None:
        """Write the split to a file, for resumed runs and for measurements."""
        said = {"seed": self.seed, "held_out": list(self.held_out), "train": list(self.train)}
        write_whole(path, (json.dumps(said, indent=1) + "\n").encode())

    @classmethod
    def load(cls, path: Path) -> Split:
        """Read a split that ``save`` wrote."""
        said = json.loads(path.read_text())
        return cls(tuple(said["train"]), tuple(said["held_out"]), said["seed"])


def found_in(folder: Path) -> list[str]:
    """Return the image files in a folder and its subfolders, as sorted relative paths, without hidden ones.

    Raises:
        InputError: there is no such folder, or it holds fewer than two images.
    """
    if not folder.is_dir():
        raise InputError(f"`data` {folder}: expected a folder of pictures, there is none")
    endings = files.extensions()
    paths = (path.relative_to(folder) for path in folder.rglob("*") if path.suffix.lower() in endings)
    names = sorted(str(p) for p in paths if not any(part.startswith(".") for part in p.parts))
    names = [name for name in names if (folder / name).is_file()]
    if len(names) < 2:
        raise InputError(f"`data` {folder}: expected at least two images ({' '.join(endings)}), got {len(names)}")
    return names


def split(names: Sequence[str], seed: int = 0, held_out: int | None = None) -> Split:
    """Choose pictures for training and pictures to hold out at random, by ``numpy.random.default_rng(seed)``.

    Args:
        names: at least two.
        seed: seed of the choice.
        held_out: number of pictures to hold out; None holds out a tenth, from 1 to MOST_HELD_OUT.

    Raises:
        InputError: no picture would be left for training, or none would be held out.
    """
    check_enough(names, ())
    count = min(max(1, len(names) // 10), MOST_HELD_OUT) if held_out is None else held_out
    if not 0 < count < len(names):
        raise InputError(f"`held_out` must leave pictures on both sides: 1 to {len(names) - 1} of them, got {count}")
    order = np.random.default_rng(seed).permutation(len(names))
    out, kept = sorted(names[i] for i in order[:count]), sorted(names[i] for i in order[count:])
    return Split(tuple(kept), tuple(out), seed)


def check_enough(found: Collection[str], left_out: Sequence[str]) -> None:
    """Raise InputError if there are fewer than two pictures; it names the first that was left out, and why."""
    if len(found) < 2:
        more = f", {len(left_out) - 1} more" if len(left_out) > 1 else ""
        why = f": left out are {left_out[0]}{more}" if left_out else ""
        raise InputError(f"expected at least two pictures that can be trained on, got {len(found)}{why}")


def colour_bytes(path: Path) -> np.ndarray:
    """Read a picture as bytes (H, W, 3).

    A grey picture fills all three channels. 16 bits and floats are converted on the picture's own scale. Alpha is
    dropped.
    """
    pixels = files.read(path).pixels
    colour = pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=2)
    return np.round(255 * np.clip(colour, 0, 1)).astype(np.uint8)


def load(folder: Path, names: Iterable[str], least: int) -> tuple[dict[str, np.ndarray], list[str]]:
    """Load the pictures of at least ``least`` pixels a side, by name, with a sentence on each that was left out."""
    kept, left_out = {}, []
    for name in names:
        try:
            picture = colour_bytes(folder / name)
        except PnpError as error:
            left_out.append(str(error))
            continue
        if min(picture.shape[:2]) < least:
            size = "x".join(map(str, picture.shape[1::-1]))
            left_out.append(f"{folder / name}: {size} is smaller than a patch of {least}")
        else:
            kept[name] = picture
    return kept, left_out
