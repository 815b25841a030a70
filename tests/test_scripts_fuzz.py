"""A short search for faults: the first inputs of each kind of ``scripts/fuzz.py``. None may crash, hang or be answered
with what is not so."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import pnpkit

SCRIPT = Path(__file__).parent.parent / "scripts" / "fuzz.py"
COUNTS = {  # about twenty seconds of one core
    "images": 200,
    "kernels": 400,
    "cards": 150,
    "weights": 150,
    "commands": 60,
    "arrays": 40,
    "problems": 80,
}


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """All kinds in one process, since it is loading that takes long."""
    out = tmp_path_factory.mktemp("fuzz") / "fuzz.json"
    plan = [f"{kind}={count}" for kind, count in COUNTS.items()]
    words = [sys.executable, str(SCRIPT), "--plan", *plan, "--out", str(out)]
    package = str(Path(pnpkit.__file__).parent.parent)  # the one that is tested here
    subprocess.run(words, env=os.environ | {"PYTHONPATH": package}, capture_output=True, check=False)
    found: dict[str, Any] = json.loads(out.read_text())
    return found


@pytest.mark.parametrize("kind", COUNTS)
def test_no_input_finds_a_fault(kind: str, record: dict[str, Any]) -> None:
    row = record["kinds"][kind]
    assert row["count"] == COUNTS[kind]
    assert row["ok"] >= row["count"] / 20, "most inputs get nowhere"
    faults = [
        f"--one {kind} {found['seed']}: {found['exception']} {found['line']} | {found['message']}"
        for found in record["failures"]
        if found["kind"] == kind
    ]
    assert not faults, "\n".join(faults)
