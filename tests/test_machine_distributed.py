"""Two processes do what one does: training, tiles of one picture, a folder of pictures or stacks."""

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
from pnpkit.errors import InputError
from pnpkit.images import files, picture, stacks
from pnpkit.machine import distributed

FOLDER = Path(__file__).parent.parent / "data" / "images"


OPTIONS = ["--kernel", "box:3", "--max-steps", "2", "--device", "cpu"]


def free_ports(count: int) -> list[str]:
    """Ports that nobody listens on."""
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [str(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return ports


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What two processes did that were started as torchrun would; per rank in ``ranks``: codes, output, errors."""
    folder = tmp_path_factory.mktemp("two")
    for name in ("in", "out"):
        (folder / name).mkdir()
    cat = files.read(FOLDER / "cat-blurred.png").pixels
    for number in range(3):
        files.write(folder / "in" / f"{number}.png", picture.Picture(cat[60 : 100 + number, 100:150]))
    (folder / "in" / "9.png").write_bytes(b"no picture")
    (folder / "stacks").mkdir()
    for number in range(3):
        values = np.random.default_rng(number).poisson(50, (3, 12, 14)).astype(np.uint16)
        stacks.write(folder / "stacks" / f"{number}.ome.tif", stacks.Stack(values, "ZYX", {"Z": 0.3}, "µm"))
    (folder / "stacks" / "9.tif").write_bytes(b"no stack")
    np.save(folder / "psf.npy", np.full((3, 3, 3), 1 / 27))
    volumes = ["--kernel", str(folder / "psf.npy"), "--denoiser", "wavelet", "--max-steps", "1", "--device", "cpu"]
    ports = free_ports(5)
    commands = [
        [ports[1], "deblur", str(folder / "in"), "-o", str(folder / "out"), *OPTIONS],
        [ports[2], "deblur", str(folder / "in" / "1.png"), "-o", str(folder / "joint.png"), *OPTIONS],
        [ports[3], "deblur", str(folder / "stacks"), "-o", str(folder / "restored"), *volumes],
        [ports[4], "deblur", str(folder / "stacks" / "1.ome.tif"), "-o", str(folder / "joint.ome.tif"), *volumes],
    ]
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": ports[0], "OMP_NUM_THREADS": "1"}
    path = os.pathsep.join([str(Path(pnpkit.__file__).parent.parent), str(Path(__file__).parent)])
    started = [
        subprocess.Popen(
            [sys.executable, worker.__file__, str(folder), json.dumps(commands)],
            env={**os.environ, **shared, "PYTHONPATH": path, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    ends = [process.communicate(timeout=300) for process in started]
    assert [process.returncode for process in started] == [0, 0], ends
    ranks = [json.loads((folder / f"found-{rank}.json").read_text()) for rank in range(2)]
    said = [{"codes": r["codes"], "out": out, "error": error} for r, (out, error) in zip(ranks, ends, strict=True)]
    return {**ranks[0], "ranks": said, "folder": folder}


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


def test_a_folder_over_two_processes(found: dict[str, Any]) -> None:
    folder, ranks = found["folder"], found["ranks"]
    assert [rank["codes"][0] for rank in ranks] == [1, 1], "one of the files is no picture"
    assert sum(rank["error"].count("1 of 4 failed: " + str(folder / "in" / "9.png")) for rank in ranks) == 1
    assert [rank["out"].count(f"-> {folder / 'out'}") for rank in ranks] == [2, 1]
    assert sorted(path.name for path in (folder / "out").iterdir()) == ["0.png", "1.png", "2.png"]


def test_one_file_over_two_processes(found: dict[str, Any]) -> None:
    folder, ranks = found["folder"], found["ranks"]
    assert [rank["codes"][1] for rank in ranks] == [0, 0]
    assert [rank["out"].count(f"-> {folder / 'joint.png'}") for rank in ranks] == [1, 0]
    joint, alone = (files.read(folder / name).pixels for name in ("joint.png", "out/1.png"))
    np.testing.assert_allclose(joint, alone, atol=1.01 / 255)
    assert np.abs(alone - files.read(folder / "in" / "1.png").pixels).max() > 0.05


def test_a_folder_of_stacks_over_two_processes(found: dict[str, Any]) -> None:
    folder, ranks = found["folder"], found["ranks"]
    assert [rank["codes"][2] for rank in ranks] == [1, 1], "one of the files is no stack"
    assert sum(rank["error"].count("1 of 4 failed: " + str(folder / "stacks" / "9.tif")) for rank in ranks) == 1
    assert [rank["out"].count(f"-> {folder / 'restored'}") for rank in ranks] == [2, 1]
    assert sorted(path.name for path in (folder / "restored").iterdir()) == ["0.ome.tif", "1.ome.tif", "2.ome.tif"]
    read = stacks.read(folder / "restored" / "1.ome.tif")
    assert (read.axes, read.samples.dtype, read.steps["Z"]) == ("ZYX", np.uint16, 0.3)


def test_one_stack_is_restored_by_one_of_two_processes(found: dict[str, Any]) -> None:
    folder, ranks = found["folder"], found["ranks"]
    assert [rank["codes"][3] for rank in ranks] == [0, 0]
    assert [rank["out"].count(f"-> {folder / 'joint.ome.tif'}") for rank in ranks] == [1, 0]
    one, other = (stacks.read(folder / name).samples for name in ("joint.ome.tif", "restored/1.ome.tif"))
    np.testing.assert_array_equal(one, other)


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


def test_a_world_that_nobody_can_meet_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    with (
        pytest.raises(InputError, match="WORLD_SIZE is 2, but the others cannot be reached"),
        distributed.together("cpu"),
    ):
        raise AssertionError("nobody is there")
    assert distributed.neighbours() == 1
