"""Measure the effect of compression: the blur that is found in PNG and JPEG pictures, and the result for sharp ones.

    python scripts/compressed.py --data PATH [--denoiser euler-fast] [--steps 12]

PATH holds bsds500/val and kernels. Pictures of val are shaken, blurred by a named kernel, or left sharp, with noise
0.005 and 8 bits. JPEGs are written by Pillow with halved chroma. Each picture is read again and its kernel is
estimated, as `pnpkit deblur` does. Sharp pictures are also restored with the estimate; their PSNR against the original
is given before and after. The constants of the choice were found with some of these pictures (docs/lab-book). Writes
docs/results/compressed.{json,md}.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from results import stamp, write_results
from tqdm import tqdm

from pnpkit import kernels
from pnpkit.blind.general import likeness
from pnpkit.images import files
from pnpkit.images.metrics import psnr
from pnpkit.images.picture import Picture
from pnpkit.restoration import blur_kernel, deblur, simulate

NOISE = 0.005
FORMATS: dict[str, dict[str, Any]] = {
    "png": {},
    **{f"jpeg {q}": {"quality": q, "subsampling": 2} for q in (95, 80, 60)},
}
SHAKEN = {"101085": (7, 3), "208001": (5,), "296059": (1,), "42049": (7,)}  # picture: kernels of Levin et al.
NAMED = {"106024": "gaussian:1.6", "42012": "motion:15,30", "143090": "disk:4"}
SHARP = ("302008", "102061", "42012", "143090", "58060", "8023")


def cases(data: Path) -> list[tuple[str, str, np.ndarray | None]]:
    """Return a list of (picture, what was done to it, the kernel or None)."""
    shakes = [(name, f"levin09_{n}") for name, numbers in SHAKEN.items() for n in numbers]
    return [
        *((name, shake, np.load(data / "kernels" / f"{shake}.npy")) for name, shake in shakes),
        *((name, spec, kernels.parse(spec)) for name, spec in NAMED.items()),
        *((name, "sharp", None) for name in SHARP),
    ]


def saved(pixels: np.ndarray, path: Path, options: dict[str, Any]) -> Picture:
    """Write a picture in 8 bits and read it again."""
    Image.fromarray((255 * pixels.clip(0, 1)).round().astype(np.uint8)).save(path, **options)
    return files.read(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--denoiser", default="euler-fast")
    parser.add_argument("--steps", type=int, default=12)
    args = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for name, what, kernel in tqdm(cases(args.data)):
        scene = files.read(args.data / "bsds500" / "val" / f"{name}.jpg").pixels
        blurred = simulate.simulate(scene, np.ones((1, 1)) if kernel is None else kernel, NOISE)
        for form, options in FORMATS.items():
            with tempfile.TemporaryDirectory() as folder:
                picture = saved(blurred, Path(folder) / f"a.{form[:4].strip()}", options)
            found = blur_kernel.estimate_kernel(picture.pixels, compression=picture.compression)
            row: dict[str, Any] = {"picture": name, "made": what, "format": form, "found": found.spec}
            row |= {"confidence": found.confidence, "compression": picture.compression}
            if kernel is not None:
                row["likeness"] = likeness(found.kernel, kernel)
            else:
                run = deblur.deblur(picture.pixels, found.kernel, denoiser=args.denoiser, max_steps=args.steps,
                                     compression=picture.compression)  # fmt: skip
                row |= {"before": psnr(picture.pixels, scene), "after": psnr(run.image, scene)}
            rows.append(row)
    command = f"python scripts/compressed.py --data PATH --denoiser {args.denoiser} --steps {args.steps}"
    write_results("compressed", {"rows": rows} | stamp(command), table(rows).splitlines())
    print(table(rows))


def table(rows: list[dict[str, Any]]) -> str:
    """Return a line for each picture and a column for each format."""
    lines = [
        "The blur that was found. In brackets: its similarity to the true blur, at most 1; for sharp pictures, the "
        "PSNR before -> after in dB.",
        "",
    ]
    lines += ["| picture | made | " + " | ".join(FORMATS) + " |", "| --- " * (2 + len(FORMATS)) + "|"]
    for first in rows[:: len(FORMATS)]:
        same = [row for row in rows if (row["picture"], row["made"]) == (first["picture"], first["made"])]
        cells = []
        for row in same:
            score = f"{row['likeness']:.2f}" if "likeness" in row else f"{row['before']:.2f} -> {row['after']:.2f}"
            cells.append(f"{row['found']} ({score})")
        lines.append(f"| {first['picture']} | {first['made']} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
