"""Check a copy of MNIST, or make it from the idx files: python data/mnist/prepare.py PATH. Nothing is fetched.

PATH is mnist.npz, a folder that holds it, or a folder with {train,t10k}-{images-idx3,labels-idx1}-ubyte.gz.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from pnpkit.errors import PnpError
from pnpkit.robust import datasets

TEST_DIGITS = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
TRAIN_DIGITS = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]


def from_idx(folder: Path) -> None:
    """The four idx files as one mnist.npz beside them."""
    arrays = {}
    for part, prefix in (("train", "train"), ("test", "t10k")):
        arrays[f"x_{part}"] = datasets.read_idx(folder / f"{prefix}-images-idx3-ubyte.gz")
        arrays[f"y_{part}"] = datasets.read_idx(folder / f"{prefix}-labels-idx1-ubyte.gz")
    np.savez_compressed(folder / "mnist.npz", **arrays)


def problems(place: Path) -> list[str]:
    """What is wrong with the set; empty when it is whole."""
    try:
        train, test = datasets.load("mnist", place)
    except PnpError as error:
        return [str(error)]
    found = []
    for name, split, digits in (("train", train, TRAIN_DIGITS), ("test", test, TEST_DIGITS)):
        counts = np.bincount(split.labels.numpy(), minlength=10).tolist()
        if tuple(split.images.shape) != (sum(digits), 1, 28, 28) or counts != digits:
            found.append(f"{name}: expected {digits} digits of 28 x 28, got {counts}, {tuple(split.images.shape)}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=Path)
    place = parser.parse_args().path
    if (place / "train-images-idx3-ubyte.gz").exists() and not (place / "mnist.npz").exists():
        from_idx(place)
    found = problems(place)
    print("\n".join(found) or "MNIST is complete")
    raise SystemExit(2 if found else 0)


if __name__ == "__main__":
    main()
