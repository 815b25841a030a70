"""Give sharp pictures to ``pnpkit deblur`` without a kernel: PSNR before and after.

    python scripts/sharp.py --data PATH/bsds500 [--pictures 8] [--noises 0 1 2.55 7.65]

Every twelfth picture of BSDS500 val from the sixth on, noise by numpy.random.default_rng(number of the picture),
rounded to 8 bits; kernel, noise level and strength are estimated. At noise 0 the picture itself is the reference.
Writes docs/results/sharp.{json,md}.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
from results import stamp, write_results

from pnpkit.images.metrics import psnr
from pnpkit.restoration import deblur

ALIKE = 99.0  # dB: what is written for pictures that are the same


def one(sharp: np.ndarray, noise: float, number: int) -> dict[str, float | str]:
    """Return the PSNR (dB) given and restored, and the report on the blur."""
    noisy = sharp + noise * np.random.default_rng(number).standard_normal(sharp.shape)
    given = np.clip(np.round(noisy), 0, 255).astype(np.uint8)
    run = deblur.deblur(given)
    scores = {
        key: min(ALIKE, psnr(image / 255, sharp / 255))
        for key, image in (("given", given), ("restored", np.asarray(run.image)))
    }
    return {key: round(value, 2) for key, value in scores.items()} | {"kernel": run.kernel_note}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--pictures", type=int, default=8)
    parser.add_argument("--noises", type=float, nargs="+", default=[0, 1, 2.55, 7.65], help="of 255")
    args = parser.parse_args()
    paths = sorted(Path(args.data, "val").glob("*.jpg"))[5::12][: args.pictures]
    rows: dict[str, dict[str, dict[str, float | str]]] = {}
    for number, path in enumerate(paths):
        rows[path.stem] = {f"{n:g}": one(imageio.imread(path), n, number) for n in args.noises}
        print(path.stem, rows[path.stem], flush=True)
    noises = " ".join(f"{n:g}" for n in args.noises)
    command = f"python scripts/sharp.py --data PATH/bsds500 --pictures {args.pictures} --noises {noises}"
    lines = [
        "Sharp pictures restored by `pnpkit deblur`: PSNR (dB) of the given picture / of the restored one. 99 means "
        f"that nothing differs. `{command}`",
        "",
        "| picture | " + " | ".join(f"noise {n:g}" for n in args.noises) + " |",
        "| --- |" + " --- |" * len(args.noises),
    ]
    for name, row in rows.items():
        lines.append(
            f"| {name} | " + " | ".join(f"{r['given']:.2f} / {r['restored']:.2f}" for r in row.values()) + " |"
        )
    record = {
        **stamp(command, "the picture's number"),
        "pictures": rows,
    }
    write_results("sharp", record, lines)


if __name__ == "__main__":
    main()
