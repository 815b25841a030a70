"""The benchmark runs whole at a tiny size, and its arithmetic is right."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import benchmark
import imageio.v3 as imageio
import numpy as np
import pytest

from pnpkit import kernels
from pnpkit.images import files

ROOT = Path(__file__).parent.parent


@pytest.mark.filterwarnings("default")  # deepinv warns about its own arguments
def test_every_method_runs_and_is_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "val").mkdir()
    pixels = files.read(ROOT / "data" / "images" / "cat.png").pixels
    imageio.imwrite(tmp_path / "val" / "1.jpg", (255 * pixels[60:120, 100:160]).astype(np.uint8))
    np.save(tmp_path / "levin09_1.npy", kernels.motion(5, 30))
    arguments = ["--data", tmp_path, "--kernels", tmp_path, "--threads", 1, "--limit", 2, "--repeat", 2, "--size", 24]
    monkeypatch.setattr(sys, "argv", ["benchmark.py", *map(str, arguments), "--out", str(tmp_path)])
    benchmark.main()
    record = json.loads((tmp_path / "speed.json").read_text())
    assert record["command"].endswith("--threads 1 --limit 2 --repeat 2 --runs 1 --size 24")
    assert len(record["runs"]) == 15
    for name, row in record["runs"].items():
        assert row["seconds"] > 0 and row["psnr"] > 15, name
        assert ("steps" in row and 1 <= row["steps"] <= 2) or "wiener" in name
    assert all(row["ratio"] == row["seconds"] / row["bare"] for row in record["evaluations"].values())
    assert (tmp_path / "speed.md").read_text().count("\n| ") == (2 + 3) + (2 + 15), "heads and rows"


def test_levels_are_counted_from_the_first_step_below() -> None:
    found = benchmark.reached((5e-3, 9e-4, 2e-3, 1e-4, 5e-5), [1.0, 2.0, 3.0, 4.0, 5.0])
    assert found == {"1e-03": (2, 2.0), "1e-04": (4, 4.0)}


def test_the_median_run_is_kept() -> None:
    seconds = iter([3.0, 1.0, 2.0])
    assert benchmark.median_of(lambda: {"seconds": next(seconds)}, 3) == {"seconds": 2.0, "runs": 3}
