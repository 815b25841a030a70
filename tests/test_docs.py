"""The README says what the scripts measured, and its commands are the ones that CI runs."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from pnpkit import kernels

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_the_table_of_denoisers_is_the_stored_one() -> None:
    assert (ROOT / "docs" / "results" / "denoising.md").read_text().strip() in README


def test_the_table_of_speed_is_the_stored_one_with_its_command() -> None:
    results = ROOT / "docs" / "results"
    table = (results / "speed.md").read_text().split("\n\n")[-1].strip()
    assert table.startswith("| method |") and table in README
    assert json.loads((results / "speed.json").read_text())["command"] in README


@pytest.mark.parametrize("track, column", [("crop128", 2), ("whole", 3)])
def test_the_table_of_deblurring_is_the_stored_one(track: str, column: int) -> None:
    runs = json.loads((ROOT / "docs" / "results" / f"deblurring-{track}.json").read_text())["runs"]
    table = README[README.index("| PSNR (dB) at noise") :].split("\n\n")[0].splitlines()[2:]
    shown = {cells[1].strip(): cells[column].strip() for cells in (line.split("|") for line in table)}
    known = [name for name, cell in shown.items() if cell]
    assert len(known) >= 5
    for name in known:
        means = [np.mean([run["psnr"] for run in runs[name][noise]]) for noise in ("2.55", "7.65", "12.75")]
        assert shown[name] == " / ".join(f"{mean:.2f}" for mean in means), name


@pytest.mark.parametrize("path", sorted((ROOT / "docs" / "results").glob("*.json")), ids=lambda p: p.name)
def test_every_result_carries_command_and_date(path: Path) -> None:
    record = json.loads(path.read_text())
    assert record["command"].startswith("python scripts/") and re.fullmatch(r"\d{4}-\d\d-\d\d", record["date"])
    assert (ROOT / record["command"].split()[1]).exists()


def test_links_and_pictures_exist() -> None:
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
    assert "<!--" not in README


def test_the_python_of_the_readme_runs(capsys: pytest.CaptureFixture[str]) -> None:
    code = "\n".join(re.findall(r"```python\n(.*?)```", README, re.S))
    random = np.random.default_rng(0)
    given = {
        "blurred": torch.from_numpy(random.random((1, 3, 24, 28), np.float32)),
        "kernel": kernels.motion(5, 30),
        "matrix": random.standard_normal((20, 6)),
        "data": random.standard_normal(20),
    }
    exec(code, given)
    assert "converges to" in capsys.readouterr().out
    assert all(given[name].status.value.startswith("converged") for name in ("sparse", "bounded"))
