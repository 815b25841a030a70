"""Check a copy of Fashion-MNIST: python data/fashion-mnist/prepare.py PATH. Nothing is fetched.

PATH holds {train,t10k}-{images-idx3,labels-idx1}-ubyte.gz; on Debian, apt-get install dataset-fashion-mnist.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from pnpkit.errors import PnpError
from pnpkit.robust import datasets


def problems(place: Path) -> list[str]:
    """What is wrong with the set; empty when it is whole."""
    try:
        train, test = datasets.load("fashion-mnist", place)
    except PnpError as error:
        return [str(error)]
    found = []
    for name, split, each in (("train", train, 6000), ("test", test, 1000)):
        counts = np.bincount(split.labels.numpy(), minlength=10).tolist()
        if tuple(split.images.shape) != (10 * each, 1, 28, 28) or counts != [each] * 10:
            found.append(f"{name}: expected {each} of each class, 28 x 28, got {counts}, {tuple(split.images.shape)}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=Path)
    found = problems(parser.parse_args().path)
    print("\n".join(found) or "Fashion-MNIST is complete")
    raise SystemExit(2 if found else 0)


if __name__ == "__main__":
    main()
