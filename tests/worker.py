"""One of two processes; ``test_machine_distributed.py`` starts them as torchrun would and reads what rank 0 writes."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import catalogue
import torch
from test_networks_tiles import make
from test_training import CONFIG, pictures, small

from pnpkit.command import cli
from pnpkit.machine import distributed
from pnpkit.networks.tiles import SMALLEST, Shared, Tiled
from pnpkit.training.config import TrainingConfig
from pnpkit.training.loop import train
from pnpkit.training.run import Run, finish

STEPS = 6


def configured() -> Run:
    """A new run that stops for a record after every step."""
    run = small()
    run.config = TrainingConfig(**{**CONFIG.__dict__, "steps": STEPS, "checkpoint_minutes": 0.0})
    return run


def whole(folder: Path) -> tuple[list[float], Run]:
    """Losses of an uninterrupted run, and the run."""
    losses: list[float] = []
    run = configured()
    train(run, pictures(), pictures(), folder, half=False, on_step=lambda run, loss: losses.append(loss))
    return losses, run


def resumed(folder: Path) -> tuple[list[float], Run]:
    """The same, interrupted after half of the steps, before the record of that step."""

    class Interrupt(Exception):
        pass

    losses: list[float] = []

    def stop(run: Run, loss: float) -> None:
        losses.append(loss)
        if run.step == STEPS // 2 and len(losses) == run.step:
            raise Interrupt

    try:
        train(configured(), pictures(), pictures(), folder, half=False, on_step=stop)
    except Interrupt:
        losses.pop()
    distributed.gather(None)  # the checkpoint is written
    run = configured()
    run.load(folder / "checkpoint.safetensors")
    train(run, pictures(), pictures(), folder, half=False, on_step=lambda run, loss: losses.append(loss))
    return losses, run


def weights(run: Run) -> list[float]:
    return [float(p.detach().double().sum()) for p in run.network.parameters()]


def by_time() -> float:
    """Seconds of a run whose length is set by the clock: those of rank 0, for everyone."""
    run = small("dncnn")
    run.config = TrainingConfig(**{**CONFIG.__dict__, "steps": 0, "hours": 0.2 / 3600})
    train(run, pictures(), pictures(), Path(sys.argv[1]) / "clock", half=False)
    return run.seconds


def shared(name: str) -> float:
    """Largest difference between the whole network and the one over the processes, also in tiles."""
    network = make(name)
    differences = []
    for rows in (71, 3):
        x = catalogue.image(2, 3, rows, 50)
        with torch.no_grad():
            found = [Shared(network)(x, 0.1), Shared(Tiled(network, SMALLEST))(x, 0.1)]
            differences += [float((network(x, 0.1) - out).abs().max()) for out in found]
    return max(differences)


def command(port: str, *arguments: str) -> int:
    """The exit code of the command line in this process; the others are met at this port."""
    os.environ["MASTER_PORT"], sys.argv = port, ["pnpkit", *arguments]
    try:
        cli.main()
    except SystemExit as end:
        return int(end.code or 0)
    raise AssertionError("the command line ends with an exit code")


def main() -> None:
    torch.set_num_threads(1)
    folder, commands = Path(sys.argv[1]), json.loads(sys.argv[2])
    with distributed.together("cpu"):
        losses, run = whole(folder / "whole")
        again, other = resumed(folder / "resumed")
        found = {
            "losses": losses,
            "resumed": again,
            "weights": weights(run),
            "resumed weights": weights(other),
            "everyone's weights": distributed.gather(weights(run)),
            "everyone's seconds": distributed.gather(by_time()),
            "shared": {name: shared(name) for name in ("euler", "euler, three scales", "dncnn")},
        }
        finish(run)
    found["codes"] = [command(*arguments) for arguments in commands]
    (folder / f"found-{distributed.rank()}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
