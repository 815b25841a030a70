"""Check a copy of BSDS500: python data/bsds500/prepare.py PATH. Nothing is fetched.

Get the archive BSR_bsds500.tgz from its authors and unpack BSR/BSDS500/data/images to PATH.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import imageio.v3 as imageio

COUNTS = {"train": 200, "val": 100, "test": 200}


def problems(place: Path) -> list[str]:
    """What is wrong with the folder; empty when it is whole."""
    found = []
    for split, count in COUNTS.items():
        paths = sorted((place / split).glob("*.jpg"))
        if len(paths) != count:
            found.append(f"{place / split}: expected {count} pictures, found {len(paths)}")
        for path in paths:
            shape = imageio.imread(path).shape
            if sorted(shape) != [3, 321, 481]:
                found.append(f"{path}: expected 481 x 321 colour, got {shape}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path)
    found = problems(parser.parse_args().path)
    print("\n".join(found) or "BSDS500 is complete")
    raise SystemExit(2 if found else 0)


if __name__ == "__main__":
    main()
