"""Compare boundary conditions at the edges: a scene that continues beyond the frame, deblurred under three assumptions.

    python scripts/borders.py [--denoiser wavelet] [--steps 60]

The pictures of data/images are blurred by data/images/kernel.png, with noise 0.01. The frame shows the valid part, as
in a camera. The pictures are deblurred in three ways: with the boundary unknown, as if the frame were periodic
(circular), and as if periodic after reflecting the frame outwards by the kernel's size. The PSNR is computed within the
kernel's size of the edges, and in the rest. Writes docs/results/borders.{json,md} and docs/figures/borders.png.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402  (the backend is chosen first)
from results import stamp, write_results  # noqa: E402

from pnpkit import kernels
from pnpkit.images import files
from pnpkit.images.metrics import psnr
from pnpkit.restoration import deblur, simulate

ROOT = Path(__file__).parent.parent
PICTURES, FIGURES = ROOT / "data" / "images", ROOT / "docs" / "figures"
NAMES, SHOWN, NOISE = ("astronaut", "cat", "coffee"), "astronaut", 0.01
CORNER = 72  # pixels: side of what the picture shows


def restorations(blurred: np.ndarray, kernel: np.ndarray, denoiser: str, steps: int) -> dict[str, np.ndarray]:
    """Restore the same frame under three assumptions about the scene outside of it."""

    def run(y: np.ndarray, boundary: str) -> np.ndarray:
        found = deblur.deblur(
            y, kernel, denoiser=denoiser, noise_level=NOISE, boundary=boundary, max_steps=steps, tol=1e-4
        )
        return np.asarray(found.image)

    margin = max(kernel.shape)
    reflected = np.pad(blurred, ((margin, margin), (margin, margin), (0, 0)), mode="reflect")
    return {
        "circular": run(blurred, "circular"),
        "reflect-padded, circular": run(reflected, "circular")[margin:-margin, margin:-margin],
        "unknown": run(blurred, "unknown"),
    }


def scores(picture: np.ndarray, sharp: np.ndarray, width: int) -> dict[str, float]:
    """Return the PSNR (dB) within ``width`` pixels of the edges, and in the rest."""
    inner = np.zeros(sharp.shape[:2], bool)
    inner[width:-width, width:-width] = True
    return {
        "edges": psnr(picture[~inner][None], sharp[~inner][None]),
        "inside": psnr(picture[inner][None], sharp[inner][None]),
    }


def show(panels: dict[str, np.ndarray], found: dict[str, dict[str, float]]) -> None:
    """Draw the bottom left corner of every panel."""
    figure, axes = plt.subplots(1, len(panels), figsize=(3.2 * len(panels), 3.7))
    for axis, (title, picture) in zip(axes, panels.items(), strict=True):
        axis.imshow(picture[-CORNER:, :CORNER].clip(0, 1), interpolation="nearest")
        score = f"\nedges {found[title]['edges']:.2f} dB" if title in found else "\n"
        axis.set_title(title + score, fontsize=10)
        axis.axis("off")
    FIGURES.mkdir(parents=True, exist_ok=True)
    figure.savefig(FIGURES / "borders.png", dpi=110, bbox_inches="tight")
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--denoiser", default="wavelet")
    parser.add_argument("--steps", type=int, default=60)
    args = parser.parse_args()
    kernel = kernels.load(PICTURES / "kernel.png")
    rows, columns = (n // 2 for n in kernel.shape)
    table: dict[str, dict[str, dict[str, float]]] = {}
    for name in NAMES:
        scene = files.read(PICTURES / f"{name}.png").pixels
        sharp = scene[rows:-rows, columns:-columns]
        blurred = simulate.simulate(scene, kernel, NOISE)
        found = {"blurred": blurred, **restorations(blurred, kernel, args.denoiser, args.steps)}
        table[name] = {way: scores(picture, sharp, max(kernel.shape)) for way, picture in found.items()}
        print(name, table[name], flush=True)
        if name == SHOWN:
            show({"sharp": sharp, **found}, table[name])
    record = {
        **stamp(f"python scripts/borders.py --denoiser {args.denoiser} --steps {args.steps}"),
        "noise_level": NOISE,
        "psnr_dB": table,
    }
    ways = list(table[SHOWN])
    lines = [
        f"PSNR (dB) within {max(kernel.shape)} pixels of the frame's edges / in the rest of the picture. Denoiser "
        f"`{args.denoiser}`, blur of 15 x 15 pixels, noise {NOISE}, at most {args.steps} steps.",
        "",
        "| picture | " + " | ".join(ways) + " |",
        "| --- |" + " --- |" * len(ways),
    ]
    for name, row in table.items():
        lines.append(f"| {name} | " + " | ".join(f"{s['edges']:.2f} / {s['inside']:.2f}" for s in row.values()) + " |")
    write_results("borders", record, lines)


if __name__ == "__main__":
    main()
