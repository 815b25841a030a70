"""Kill a training with SIGKILL at random moments, resume it each time, and compare it with an undisturbed one.

    python scripts/kill_training.py [--kills 10] [--steps 400] [--seed 0]

Both train the same small Euler network on the same synthetic pictures, with one seed and --steps steps. The killed
training writes a checkpoint every 0.06 seconds, the other one only at the end. Afterwards everything in the checkpoints
must be equal, bit by bit: weights, their average, the optimiser's moments, the estimates of the norms and the state of
the random numbers. Writes docs/results/killed.{json,md}, unless --out names another folder. Exit code 1: the
checkpoints differ, or the training ended before it was killed that often.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import torch
from results import RESULTS, stamp, write_results
from safetensors import safe_open

from pnpkit.training.run import CHECKPOINT

TRAIN = Path(__file__).with_name("train_denoiser.py")
NETWORK = {"blocks": 2, "channels": 12, "overlapping": False}
OFTEN, NEVER = 0.001, 1e6  # minutes between two checkpoints
LONGEST = 1.0  # seconds of processor time that a training is given after its first checkpoint, at most
TIMEOUT = 900  # seconds without a checkpoint


def pictures(folder: Path) -> None:
    """Make the folders train, test and val with three smooth colour pictures each."""
    numbers = np.random.default_rng(0)
    for part in ("train", "test", "val"):
        (folder / part).mkdir(parents=True)
        for index in range(3):
            blocks = numbers.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            imageio.imwrite(folder / part / f"{index}.jpg", blocks.repeat(8, 0).repeat(8, 1))


def started(data: Path, folder: Path, steps: int, seed: int, minutes: float) -> subprocess.Popen[bytes]:
    """Start a training in its own process, from its checkpoint if there is one."""
    words = [sys.executable, str(TRAIN), "euler", "--data", str(data), "--folder", str(folder)]
    words += ["--arguments", json.dumps(NETWORK), "--steps", str(steps), "--seed", str(seed), "--warmup", "10"]
    words += ["--batch", "2", "--patch", "16", "--threads", "1", "--device", "cpu", "--precision", "float32"]
    words += ["--checkpoint-minutes", str(minutes), *["--resume"] * (folder / CHECKPOINT).exists()]
    return subprocess.Popen(words, env=os.environ | {"OMP_NUM_THREADS": "1"}, stderr=subprocess.DEVNULL)


def used(process: subprocess.Popen[bytes]) -> float:
    """Return seconds of processor time."""
    words = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def stamp_of(path: Path) -> int:
    """Return when a file was written, in nanoseconds; 0 if there is no file."""
    return path.stat().st_mtime_ns if path.exists() else 0


def killed(process: subprocess.Popen[bytes], checkpoint: Path, moment: float) -> bool:
    """Kill a training this many processor seconds after its first checkpoint; return whether it was running."""
    before, begun = stamp_of(checkpoint), time.monotonic()
    while process.poll() is None and stamp_of(checkpoint) == before and time.monotonic() - begun < TIMEOUT:
        time.sleep(0.005)
    if process.poll() is None:
        end = used(process) + moment
        while process.poll() is None and used(process) < end:
            time.sleep(0.002)
    running = process.poll() is None
    process.kill()
    process.wait()
    return running


def step_of(checkpoint: Path) -> int:
    """Return the step after which a checkpoint was written."""
    with safe_open(checkpoint, "pt") as file:
        return int(json.loads(file.metadata()["run"])["step"])


def differing(one: Path, two: Path) -> list[str]:
    """Return the tensors of two checkpoints that differ in any bit, or that only one of them has."""
    with safe_open(one, "pt") as first, safe_open(two, "pt") as second:
        names, others = set(first.keys()), set(second.keys())
        apart = names ^ others
        apart |= {n for n in names & others if not torch.equal(first.get_tensor(n), second.get_tensor(n))}
    return sorted(apart)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0, help="of the training, and of the moments")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    dice = random.Random(args.seed)
    with tempfile.TemporaryDirectory() as name:
        data, whole, broken = (Path(name) / part for part in ("data", "whole", "broken"))
        pictures(data)
        if code := started(data, whole, args.steps, args.seed, NEVER).wait():
            raise SystemExit(f"the training that nothing disturbs ended with {code}")
        steps: list[int] = []
        for _ in range(args.kills):
            process = started(data, broken, args.steps, args.seed, OFTEN)
            if not killed(process, broken / CHECKPOINT, dice.uniform(0, LONGEST)):
                raise SystemExit(f"the training came to its end after {len(steps)} kills: more --steps are needed")
            steps.append(step_of(broken / CHECKPOINT))
        if code := started(data, broken, args.steps, args.seed, OFTEN).wait():
            raise SystemExit(f"the training that was killed could not go on: it ended with {code}")
        apart = differing(whole / CHECKPOINT, broken / CHECKPOINT)
        with safe_open(whole / CHECKPOINT, "pt") as file:
            count = len(file.keys())
    record = {
        **stamp(f"python scripts/kill_training.py --kills {args.kills} --steps {args.steps}", args.seed),
        "steps": args.steps,
        "went_on_from": steps,
        "tensors": count,
        "differing": apart,
    }
    lines = [
        f"A training of {args.steps} steps was killed {len(steps)} times by SIGKILL at random moments and resumed each "
        f"time. {count - len(apart)} of {count} tensors of its last checkpoint equal those of an undisturbed training, "
        "bit by bit.",
        "",
        f"It was resumed at steps {', '.join(map(str, steps))}.",
        "",
        f"`{record['command']}`, seed {args.seed}, {record['date']}, {record['machine']}.",
    ]
    write_results("killed", record, lines, args.out)
    print("\n".join(lines))
    if apart:
        raise SystemExit(f"they differ in {', '.join(apart)}")


if __name__ == "__main__":
    main()
