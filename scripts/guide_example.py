"""Use a given guide, the result of `dncnn` run too long, in the certified second pass.

    python scripts/guide_example.py [--steps 300]

The picture is a part of data/images/coffee.png, 96 x 96 pixels, blurred by motion:9,30 (boundary unknown), noise 0.01.
`dncnn` makes plain forward-backward steps, about which nothing is proven. Its iterates guide
`pk.deblur(..., guide=array)`. Writes
docs/results/guide.{json,md} and docs/figures/guide.png.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402  (the backend is chosen first)
from results import stamp, write_results  # noqa: E402

import pnpkit  # noqa: E402
from pnpkit.images import files, pixels
from pnpkit.images.metrics import psnr
from pnpkit.registry import card_of
from pnpkit.restoration.result import Restoration
from pnpkit.solvers.result import Step

ROOT = Path(__file__).parent.parent
KERNEL, NOISE, SIDE = "motion:9,30", 0.01, 96


def middle(picture: np.ndarray, like: np.ndarray) -> np.ndarray:
    """Return the middle part of ``picture`` with the size of ``like``."""
    top, left = ((a - b) // 2 for a, b in zip(picture.shape[:2], like.shape[:2], strict=True))
    return picture[top : top + like.shape[0], left : left + like.shape[1]]


def drift(blurred: np.ndarray, steps: int, at: tuple[int, ...]) -> dict[int, np.ndarray]:
    """Return the iterates of `dncnn` after the given numbers of plain steps."""
    found: dict[int, np.ndarray] = {}

    def keep(step: Step) -> None:
        if step.number in at:
            found[step.number] = middle(pixels.from_tensor(step.x), blurred)

    how: dict[str, Any] = {"splitting": "forward-backward", "method": "picard", "tol": 0.0}
    pnpkit.deblur(blurred, KERNEL, denoiser="dncnn", max_steps=steps, callback=keep, **how)
    return found


def row(name: str, guide: np.ndarray | None, run: Restoration, sharp: np.ndarray) -> dict[str, Any]:
    """Return the row of the table for a guide and its result."""
    about = run.guide
    return {
        "guide": name,
        "psnr_guide": None if guide is None or guide is sharp else round(psnr(guide, sharp), 2),
        "psnr": round(psnr(np.asarray(run.image), sharp), 2),
        "steps": run.steps,
        "left": None if about is None else round(about.left, 4),
        "residual_before": None if about is None else round(about.residual_before, 4),
        "residual_after": None if about is None else round(about.residual_after, 4),
        "proven": bool(run.guarantee),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=300)
    args = parser.parse_args()
    scene = files.read(ROOT / "data" / "images" / "coffee.png").pixels[100 : 100 + SIDE, 100 : 100 + SIDE]
    blurred = pnpkit.simulate(scene, KERNEL, NOISE, boundary="unknown", seed=0)
    sharp = middle(scene, blurred)
    at = (min(30, args.steps), args.steps)
    guides = {f"dncnn, {number} steps": picture for number, picture in drift(blurred, args.steps, at).items()}
    guides["the blurred picture"] = blurred
    guides["the truth"] = sharp
    own = pnpkit.deblur(blurred, KERNEL)
    runs = {name: pnpkit.deblur(blurred, KERNEL, guide=guide) for name, guide in guides.items()}
    rows = [row("its own first pass", None, own, sharp)]
    rows += [row(name, guides[name], run, sharp) for name, run in runs.items()]

    lines = [
        f"Picture `coffee`, {SIDE} x {SIDE} pixels, {KERNEL}, noise {NOISE}. The table shows the PSNR (dB) of a guide,",
        "and that of the restoration by `euler-guided` with this guide. It also shows the distance of the restoration",
        "from the guide, and the residual of the data before and after (all root mean squares).",
        "",
        "| guide | PSNR of the guide | PSNR | steps | from the guide | residual before | after | proven |",
        "| --- |" + " --- |" * 7,
    ]
    for found in rows:
        cells = ["" if value is None else str(value) for value in found.values()]
        lines.append(f"| {' | '.join(cells[:-1])} | {'yes, given the guide' if found['proven'] else 'no'} |")
    weights = {name: card_of(name).sha256 for name in ("dncnn", "euler-guided")}
    write_results("guide", {**stamp(f"python scripts/guide_example.py --steps {args.steps}"), "sha256": weights,
                            "rows": rows}, lines)  # fmt: skip
    print("\n".join(lines))

    last = f"dncnn, {at[1]} steps"
    panels = {
        "blurred + noise": blurred,
        last: guides[last],
        "guided by it": np.asarray(runs[last].image),
        "truth": sharp,
    }
    figure, axes = plt.subplots(1, 4, figsize=(13, 3.6))
    for axis, (title, picture) in zip(axes, panels.items(), strict=True):
        axis.imshow(picture.clip(0, 1))
        axis.set_title(title if picture is sharp else f"{title}\n{psnr(picture, sharp):.2f} dB")
        axis.axis("off")
    figure.savefig(ROOT / "docs" / "figures" / "guide.png", dpi=90, bbox_inches="tight")


if __name__ == "__main__":
    main()
