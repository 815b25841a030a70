"""Check copies of Levin et al. 2009: python data/levin/prepare.py PATH/levin PATH/kernels. Nothing is fetched."""

from __future__ import annotations

import argparse
from pathlib import Path

import imageio.v3 as imageio
import numpy as np

NAMES, NUMBERS, SIZE = ("im1", "im2"), range(1, 9), (255, 255)


def problems(pictures: Path, kernels: Path) -> list[str]:
    """What is wrong with the folders; empty when they are whole."""
    blurred = [f"blurred/{name}_kernel{number}_img.png" for name in NAMES for number in NUMBERS]
    measured = [f"kernels/kernel{number}.png" for number in NUMBERS]
    paths = [pictures / name for name in (*(f"sharp/{n}.png" for n in NAMES), *measured, *blurred)]
    found = [f"{path} is missing" for path in paths if not path.is_file()]
    for path in paths:
        if path.is_file() and path.parent.name != "kernels" and imageio.imread(path).shape[:2] != SIZE:
            found.append(f"{path}: expected 255 x 255")
    for number in NUMBERS:
        path = kernels / f"levin09_{number}.npy"
        if not path.is_file():
            found.append(f"{path} is missing")
        elif abs(float(np.load(path, allow_pickle=False).sum()) - 1) > 1e-3:
            found.append(f"{path}: expected a sum of 1")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("kernels", type=Path)
    args = parser.parse_args()
    found = problems(args.pictures, args.kernels)
    print("\n".join(found) or "both are complete")
    raise SystemExit(2 if found else 0)


if __name__ == "__main__":
    main()
