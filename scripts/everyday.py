"""Fill in, enlarge and denoise a picture with the default denoisers of the commands: figure, PSNR and guarantee.

    python scripts/everyday.py

The pictures of data/images. Filled in: 40 random scratches, 3 pixels wide, and noise 0.01. Enlarged: means of 2 x 2
squares, beside bicubic interpolation. Denoised: noise 0.08. Noise levels are estimated. Writes
docs/results/everyday.json and docs/figures/everyday.png, which shows a part of each.
"""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib
import numpy as np
from skimage.draw import line
from skimage.morphology import dilation
from skimage.transform import resize

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402  (the backend is chosen first)
from results import stamp, write_results  # noqa: E402

import pnpkit  # noqa: E402
from pnpkit.images import files
from pnpkit.images.metrics import psnr
from pnpkit.restoration.result import Restoration

ROOT = Path(__file__).parent.parent
PICTURES, FIGURES = ROOT / "data" / "images", ROOT / "docs" / "figures"
SHOWN = 128  # pixels: side of what the picture shows, from the middle


def scratches(size: tuple[int, int], count: int, rng: np.random.Generator) -> np.ndarray:
    """Draw lines of 3 pixels' width between random points: (H, W) booleans."""
    mask = np.zeros(size, np.uint8)
    for _ in range(count):
        (top, bottom), (left, right) = (rng.integers(n, size=2) for n in size)
        mask[line(top, left, bottom, right)] = 1
    return dilation(mask, np.ones((3, 3))) > 0


Task = tuple[np.ndarray, np.ndarray, Restoration, dict[str, float]]


def tasks() -> dict[str, Task]:
    """Per task: the sharp picture, what was given at its size, the restoration, and PSNR (dB) of what else there is."""
    rng = np.random.default_rng(0)
    coffee, astronaut, cat = (files.read(PICTURES / f"{n}.png").pixels for n in ("coffee", "astronaut", "cat"))
    found: dict[str, Task] = {}

    mask = scratches(coffee.shape[:2], 40, rng)
    noisy = coffee + 0.01 * rng.standard_normal(coffee.shape)
    run = pnpkit.inpaint(noisy, mask)
    found["inpaint"] = (coffee, np.where(mask[..., None], 0, noisy), run, {})

    rows, columns = (n // 2 * 2 for n in astronaut.shape[:2])
    sharp = astronaut[:rows, :columns]
    small = sharp.reshape(rows // 2, 2, columns // 2, 2, 3).mean((1, 3))
    run = pnpkit.upscale(small, 2)
    bicubic = resize(small, sharp.shape[:2], order=3, mode="edge")
    found["upscale"] = (sharp, small.repeat(2, 0).repeat(2, 1), run, {"bicubic": psnr(bicubic, sharp)})

    noisy = cat + 0.08 * rng.standard_normal(cat.shape)
    found["denoise"] = (cat, noisy, pnpkit.denoise(noisy), {})
    return found


def main() -> None:
    found = tasks()
    figure, axes = plt.subplots(3, 3, figsize=(8.4, 9))
    record = {}
    for row, (task, (sharp, given, run, beside)) in zip(axes, found.items(), strict=True):
        restored = np.asarray(run.image)
        scores = {"given": psnr(given, sharp), **beside, "restored": psnr(restored, sharp)}
        record[task] = {
            "psnr_dB": {key: round(value, 2) for key, value in scores.items()},
            "status": run.status.name.lower(),
            "steps": run.steps,
            "residual": run.residuals[-1] if run.residuals else None,
            "noise_level": run.noise_level,
            "guarantee": str(run.guarantee),
            "certificate": str(run.certificate).splitlines()[0],
        }
        panels = {"given": given, f"{task}: {scores['restored']:.2f} dB": restored, "true": sharp}
        top, left = ((n - SHOWN) // 2 for n in sharp.shape[:2])
        for axis, (title, picture) in zip(row, panels.items(), strict=True):
            axis.imshow(picture[top : top + SHOWN, left : left + SHOWN].clip(0, 1), interpolation="nearest")
            axis.set_title(f"given: {scores['given']:.2f} dB" if title == "given" else title, fontsize=10)
            axis.axis("off")
    figure.tight_layout()
    figure.savefig(FIGURES / "everyday.png", dpi=110, bbox_inches="tight")
    plt.close(figure)
    about = {
        **stamp("python scripts/everyday.py"),
    }
    write_results("everyday", about | {"tasks": record})
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
