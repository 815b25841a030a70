"""Two processes do what one does: training, tiles of one picture, a folder of pictures."""

from __future__ import annotations

import csv
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import worker

import pnpkit
from pnpkit import distributed, images
from pnpkit.errors import InputError

FOLDER = Path(__file__).parent.parent / "data" / "images"


def in_two(*command: str) -> list[subprocess.CompletedProcess[str]]:
    """The command in two processes with the environment that torchrun gives."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    path = os.pathsep.join([str(Path(pnpkit.__file__).parent.parent), str(Path(__file__).parent)])
    started = [
        subprocess.Popen(
            [sys.executable, *command],
            env={**os.environ, **shared, "PYTHONPATH": path, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    ends = [process.communicate(timeout=300) for process in started]
    return [
        subprocess.CompletedProcess(command, process.returncode, out, error)
        for process, (out, error) in zip(started, ends, strict=True)
    ]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("two")
    for end in in_two(worker.__file__, str(folder)):
        assert end.returncode == 0, end.stderr
    return {**json.loads((folder / "found.json").read_text()), "folder": folder}


def test_two_processes_train_as_one(found: dict[str, Any], tmp_path: Path) -> None:
    losses, run = worker.whole(tmp_path)
    np.testing.assert_allclose(found["losses"], losses, rtol=0, atol=1e-5)
    np.testing.assert_allclose(found["weights"], worker.weights(run), rtol=0, atol=1e-4)
    assert len(set(losses)) == worker.STEPS
    one, two = found["everyone's weights"]
    assert one == two
    with (found["folder"] / "whole" / "training.csv").open() as file:
        assert [int(row["step"]) for row in csv.DictReader(file)] == list(range(1, worker.STEPS + 1))


def test_two_processes_resume_as_if_nothing_had_happened(found: dict[str, Any]) -> None:
    assert found["resumed"] == found["losses"]
    assert found["resumed weights"] == found["weights"]


def test_one_clock_ends_the_run_of_both(found: dict[str, Any]) -> None:
    one, two = found["everyone's seconds"]
    assert one == two >= 0.2


def test_a_picture_over_two_processes_is_the_same_picture(found: dict[str, Any]) -> None:
    assert set(found["shared"]) == {"euler", "euler, three scales", "dncnn"}
    assert all(difference < 1e-12 for difference in found["shared"].values())


def test_a_folder_and_a_picture_over_two_processes(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    cat = images.read(FOLDER / "cat-blurred.png").pixels
    for number in range(3):
        images.write(tmp_path / "in" / f"{number}.png", images.Picture(cat[60 : 100 + number, 100:150]))
    (tmp_path / "in" / "9.png").write_bytes(b"no picture")
    options = ["--kernel", "box:3", "--max-steps", "2", "--device", "cpu"]
    ends = in_two("-m", "pnpkit", "deblur", str(tmp_path / "in"), "-o", str(tmp_path / "out"), *options)
    assert [end.returncode for end in ends] == [1, 1]
    assert sum(end.stderr.count("1 of 4 failed: ") for end in ends) == 1
    assert [end.stdout.count("->") for end in ends] == [2, 1]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["0.png", "1.png", "2.png"]
    alone = pnpkit.deblur(images.read(tmp_path / "in" / "1.png").pixels, "box:3", max_steps=2, device="cpu")
    restored = images.read(tmp_path / "out" / "1.png").pixels
    np.testing.assert_allclose(restored, np.asarray(alone.image).clip(0, 1), atol=0.51 / 255)

    ends = in_two("-m", "pnpkit", "deblur", str(tmp_path / "in" / "1.png"), "-o", str(tmp_path / "joint.png"), *options)
    assert [end.returncode for end in ends] == [0, 0], ends
    assert [end.stdout.count("joint.png") for end in ends] == [1, 0]
    np.testing.assert_allclose(images.read(tmp_path / "joint.png").pixels, restored, atol=1.01 / 255)


def test_alone_there_is_nothing_to_share(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.arange(6)
    assert distributed.share(x) is not None and torch.equal(distributed.share(x), x)
    assert torch.equal(distributed.total(x), x) and distributed.gather("a") == ["a"]
    with distributed.together("cpu") as device:
        assert device == "cpu"
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("RANK", "1")
    assert distributed.share(torch.arange(8)).tolist() == [2, 3]
    with pytest.raises(InputError, match="batch of 6 cannot be split evenly over 4"):
        distributed.share(x)
