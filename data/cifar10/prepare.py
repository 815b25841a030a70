"""Check a copy of CIFAR-10, or make it from the binary version: python data/cifar10/prepare.py PATH.

PATH is cifar10.npz, a folder that holds it, or a folder with data_batch_{1..5}.bin and test_batch.bin. Nothing is
fetched.
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path

import numpy as np
from PIL import Image

from pnpkit.errors import PnpError
from pnpkit.robust import datasets

RECORD = 1 + 3 * 32 * 32  # label, then red, green, blue


def mosaics(pictures: np.ndarray, rows: int = 100) -> list[bytes]:
    """Pictures (N, 32, 32, 3) as lossless WebP of at most ``rows`` x 100 tiles each."""
    found = []
    for start in range(0, len(pictures), 100 * rows):
        tiles = pictures[start : start + 100 * rows]
        high = -(-len(tiles) // 100)
        tiles = np.concatenate([tiles, np.zeros((100 * high - len(tiles), 32, 32, 3), np.uint8)])
        mosaic = tiles.reshape(high, 100, 32, 32, 3).transpose(0, 2, 1, 3, 4).reshape(32 * high, 3200, 3)
        file = io.BytesIO()
        Image.fromarray(mosaic).save(file, "webp", lossless=True)
        found.append(file.getvalue())
    return found


def from_binary(folder: Path) -> None:
    """The authors' six files as one cifar10.npz beside them."""
    arrays = {}
    for part, names in (("train", [f"data_batch_{n}.bin" for n in range(1, 6)]), ("test", ["test_batch.bin"])):
        data = np.concatenate([np.fromfile(folder / name, np.uint8) for name in names]).reshape(-1, RECORD)
        parts = mosaics(data[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
        arrays[f"webp_{part}"] = np.frombuffer(b"".join(parts), np.uint8)
        arrays[f"len_{part}"] = np.array([len(item) for item in parts])
        arrays[f"y_{part}"] = data[:, 0]
    np.savez(folder / "cifar10.npz", **arrays)


def problems(place: Path) -> list[str]:
    """What is wrong with the set; empty when it is whole."""
    try:
        train, test = datasets.load("cifar10", place)
    except PnpError as error:
        return [str(error)]
    found = []
    for name, split, each in (("train", train, 5000), ("test", test, 1000)):
        counts = np.bincount(split.labels.numpy(), minlength=10).tolist()
        if tuple(split.images.shape) != (10 * each, 3, 32, 32) or counts != [each] * 10:
            found.append(f"{name}: expected {each} of each class, 32 x 32, got {counts}, {tuple(split.images.shape)}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=Path)
    place = parser.parse_args().path
    if (place / "test_batch.bin").exists() and not (place / "cifar10.npz").exists():
        from_binary(place)
    found = problems(place)
    print("\n".join(found) or "CIFAR-10 is complete")
    raise SystemExit(2 if found else 0)


if __name__ == "__main__":
    main()
