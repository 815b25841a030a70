"""The README says what the scripts measured, and its commands are the ones that CI runs."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


QUALITY = (ROOT / "docs" / "results" / "quality.md").read_text()


def table_in(text: str, head: str) -> dict[str, list[str]]:
    """The rows of a table by their first cell."""
    lines = text[text.index(head) :].split("\n\n")[0].splitlines()[2:]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[0]: row[1:] for row in rows}


def stored_psnr(track: str, name: str) -> str:
    """Mean PSNR at the three levels of noise, as stored."""
    runs = json.loads((ROOT / "docs" / "results" / f"deblurring-{track}.json").read_text())["runs"]
    means = [np.mean([run["psnr"] for run in runs[name][noise]]) for noise in ("2.55", "7.65", "12.75")]
    return " / ".join(f"{mean:.2f}" for mean in means)


@pytest.mark.parametrize("track, column", [("crop128", 0), ("whole", 1)])
def test_the_table_of_deblurring_is_the_stored_one(track: str, column: int) -> None:
    shown = {name: row[column] for name, row in table_in(QUALITY, "| PSNR (dB) at noise").items()}
    known = [name for name, cell in shown.items() if cell]
    assert len(known) >= 5
    for name in known:
        assert shown[name] == stored_psnr(track, name), name


def test_the_table_of_the_readme_is_the_stored_one() -> None:
    """PSNR in deblurring, and seconds of one application as a denoiser."""
    seconds = table_in((ROOT / "docs" / "results" / "denoising.md").read_text(), "| denoiser | sigma 5")
    shown = table_in(README, "| denoiser | ten crops")
    assert {"euler-guided", "euler-fast", "wavelet", "total variation", "dncnn"} <= set(shown)
    for name, (psnr, _, took) in shown.items():
        assert psnr == stored_psnr("crop128", name), name
        assert took == seconds["tv" if name == "total variation" else name][4], name


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= 130


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
    torch.manual_seed(0)
    exec(code, {})  # pasted as it stands
    assert "converges to" in capsys.readouterr().out
