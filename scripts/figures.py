"""Make the pictures of the README: blurred, naive inverse, DnCNN and euler-fast side by side, and residual curves.

    python scripts/figures.py [--steps 300]

Writes docs/figures/{deblurring.png, residuals.png} and docs/results/{residuals.csv, deblurring.json}.
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402  (the backend is chosen first)
from results import RESULTS, stamp, write_results  # noqa: E402

from pnpkit import kernels
from pnpkit.images import files, pixels
from pnpkit.images.metrics import psnr
from pnpkit.operators.blur import blur
from pnpkit.restoration import deblur

ROOT = Path(__file__).parent.parent
PICTURES, FIGURES = ROOT / "data" / "images", ROOT / "docs" / "figures"


def naive_inverse(blurred: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Divide by the gains of a circular blur, to show what ill-posedness does to noise."""
    y = pixels.to_tensor(blurred)
    return pixels.from_tensor(blur(kernel, "circular", blurred.shape[:2]).A_dagger(y)).clip(0, 1)


def save(figure: plt.Figure, name: str) -> None:
    FIGURES.mkdir(parents=True, exist_ok=True)
    figure.savefig(FIGURES / name, dpi=110, bbox_inches="tight")
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=300)
    args = parser.parse_args()
    kernel = kernels.load(PICTURES / "kernel.png")
    blurred = files.read(PICTURES / "cat-blurred.png").pixels
    rows, columns = (n // 2 for n in kernel.shape)
    sharp = files.read(PICTURES / "cat.png").pixels[rows:-rows, columns:-columns]

    runs = {
        name: deblur.deblur(blurred, kernel, denoiser=name, method="picard", tol=0, max_steps=args.steps)
        for name in ("dncnn", "euler-fast")
    }
    panels = {
        "blurred + noise": blurred,
        "naive inverse": naive_inverse(blurred, kernel),
        "DnCNN (nothing guaranteed)": np.asarray(runs["dncnn"].image),
        "Euler (proven)": np.asarray(runs["euler-fast"].image),
    }
    figure, axes = plt.subplots(1, 4, figsize=(16, 3.6))
    for axis, (title, picture) in zip(axes, panels.items(), strict=True):
        axis.imshow(picture.clip(0, 1))
        axis.set_title(f"{title}\n{psnr(picture, sharp):.2f} dB")
        axis.axis("off")
    save(figure, "deblurring.png")

    figure, axis = plt.subplots(figsize=(6.4, 4))
    for (name, run), style in zip(runs.items(), ("--", "-"), strict=True):
        axis.semilogy(range(1, run.steps + 1), run.residuals, style, color="black", label=name)
    axis.set_xlabel("iteration")
    axis.set_ylabel("||x - T x|| / ||x||")
    axis.legend()
    axis.grid(alpha=0.3)
    save(figure, "residuals.png")

    RESULTS.mkdir(parents=True, exist_ok=True)
    with (RESULTS / "residuals.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["iteration", *runs])
        columns_of = [run.residuals for run in runs.values()]
        writer.writerows([k + 1, *(f"{c[k]:.6e}" if k < len(c) else "" for c in columns_of)] for k in range(args.steps))
    record = {
        **stamp(f"python scripts/figures.py --steps {args.steps}"),
        "psnr": {title: round(psnr(picture, sharp), 3) for title, picture in panels.items()},
        "runs": {
            name: {
                "status": run.status.name.lower(),
                "steps": run.steps,
                "residual": run.residuals[-1],
                "largest_rise": max(b - a for a, b in zip(run.residuals, run.residuals[1:], strict=False)),
                "strength": run.strength,
                "noise_level": run.noise_level,
                "seconds": round(run.seconds, 1),
                "guarantee": str(run.guarantee),
            }
            for name, run in runs.items()
        },
    }
    write_results("deblurring", record)
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
