"""Storage of measured figures: docs/results/NAME.json with command, seed, date and machine, and a table beside it."""

from __future__ import annotations

import datetime
import json
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from pnpkit.machine.files import write_whole

RESULTS = Path(__file__).parent.parent / "docs" / "results"


def today() -> str:
    """Return the date in ISO 8601."""
    return datetime.date.today().isoformat()


def stamp(command: str, seed: int | str = 0) -> dict[str, Any]:
    """Return what is needed to make figures again."""
    machine = f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}"
    return {"command": command, "seed": seed, "date": today(), "machine": machine}


def write_results(name: str, record: Mapping[str, Any], lines: Sequence[str] = (), folder: Path = RESULTS) -> None:
    """Write NAME.json and, if there are lines, NAME.md, each whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / f"{name}.json", (json.dumps(record, indent=1) + "\n").encode())
    if lines:
        write_whole(folder / f"{name}.md", ("\n".join(lines) + "\n").encode())
