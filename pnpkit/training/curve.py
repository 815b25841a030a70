"""The training curve: PSNR on validation crops, one line per checkpoint."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import torch
from torch import nn

from pnpkit.images.metrics import psnr
from pnpkit.images.pixels import from_tensor
from pnpkit.machine import distributed
from pnpkit.training.run import Run, averaged

VALIDATION_LEVELS = (5, 15, 25, 50)  # out of 255


def psnr_on(network: nn.Module, pictures: list[np.ndarray], level: float, size: int = 192) -> float:
    """Return the mean PSNR (dB) on centre crops with seeded noise, clipped to 0..1.

    It is meant for the curve, not for the final table.
    """
    scores = []
    for index, picture in enumerate(pictures):
        rows, columns = ((n - min(n, size)) // 2 for n in picture.shape[:2])
        crop = picture[rows : rows + size, columns : columns + size].astype(np.float32) / 255
        noise = np.random.default_rng(index).standard_normal(crop.shape).astype(np.float32)
        noisy = torch.from_numpy(crop + level * noise).permute(2, 0, 1)[None]
        device = next(network.parameters()).device
        with torch.no_grad():
            out = network(noisy.to(device), torch.full((1,), level, device=device))
        scores.append(psnr(from_tensor(out), crop))
    return float(np.mean(scores))


def record(
    run: Run, losses: list[float], validation: list[np.ndarray], folder: Path, since: float, limit: float = 0.0
) -> None:
    """Append one line to the curve. Rank 0 measures the averaged weights in float32."""
    if distributed.rank() > 0:
        return
    with averaged(run):  # leaves the run as it was, bit by bit
        scores = {f"psnr_{s}": round(psnr_on(run.network, validation, s / 255), 3) for s in VALIDATION_LEVELS}
    row = {
        "step": run.step,
        "seconds": round(run.seconds, 1),
        "learning_rate": f"{run.learning_rate():.3e}",
        "loss": f"{float(np.mean(losses)):.6f}",
        "patches_per_second": round(len(losses) * run.config.batch / (run.seconds - since), 1),
        "convolutions_alone": round(limit, 1),
        **scores,
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "training.csv"
    columns = list(row)
    if path.exists():  # an existing curve keeps its columns
        with path.open(newline="") as file:
            columns = next(csv.reader(file))
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        if file.tell() == 0:
            writer.writeheader()
        writer.writerow(row)
