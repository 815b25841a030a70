"""Turn a training checkpoint into a denoiser: averaged weights, proven, with card and curve.

    python scripts/export_denoiser.py euler --folder runs/euler --command "the training command" --device "2 CPU cores"
    python scripts/export_denoiser.py tv --architecture total-variation      # where nothing is learnt

Writes denoisers/NAME/{weights.safetensors, card.json, training.csv}. A shipped name keeps its meaning: a new
network under an old name needs a new sha256 on its card and an entry in CHANGELOG.md.
"""

from __future__ import annotations

import argparse
import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

from results import today
from safetensors import safe_open

from pnpkit import registry
from pnpkit.networks.architectures import NETWORKS, build
from pnpkit.networks.base import Network
from pnpkit.training import growth
from pnpkit.training.config import TrainingConfig
from pnpkit.training.run import CHECKPOINT, Run, finish


def averaged(architecture: str, folder: Path, unfinished: bool) -> tuple[Run, dict[str, Any]]:
    """A run, its network with averaged weights and proven, and what its checkpoint tells of it."""
    checkpoint = folder / CHECKPOINT
    with safe_open(checkpoint, "pt") as file:
        meta = json.loads(file.metadata()["run"])
    config = TrainingConfig(**meta["config"])
    run = Run(build(architecture, meta["arguments"]), config)
    run.load(checkpoint)
    if run.progress < 1 and not unfinished:
        raise SystemExit(f"{checkpoint} is {run.progress:.0%} of its schedule: --resume it to its end, or --unfinished")
    finish(run)
    return run, meta


def trained(architecture: str, args: argparse.Namespace) -> tuple[Network, dict[str, Any]]:
    """The network to ship, and how it was trained."""
    run, meta = averaged(architecture, args.folder, args.unfinished)
    network = run.network
    if args.first:
        first = averaged(architecture, args.first, args.unfinished)[0].network
        network = growth.along(first, network, args.times)
    if args.least_step:
        network = growth.without_small_steps(network, args.least_step)
    return network, {
        "data": "BSDS500 train + test (400 photographs; Arbelaez et al. 2011), Gaussian noise",
        "command": args.command,
        "config": meta["config"],
        "start": meta["start"],
        "steps": run.step,
        **({"first": str(args.first), "times": args.times} if args.first else {}),
        **({"least_step": args.least_step} if args.least_step else {}),
        "hours": round(run.seconds / 3600, 3),
        **({"unfinished": round(run.progress, 3)} if run.progress < 1 else {}),
        "device": args.device,
        "date": today(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="the name in the registry")
    parser.add_argument("--architecture", choices=sorted(NETWORKS), help="default: NAME")
    parser.add_argument("--folder", type=Path, help="of the training run; none where nothing is learnt")
    parser.add_argument("--command", help="the training command, for the card")
    parser.add_argument("--device", help="what it was trained on, for the card")
    parser.add_argument("--unfinished", action="store_true", help="take weights of a run whose schedule has not ended")
    parser.add_argument("--first", type=Path, help="of the run that this one began from: see --times")
    parser.add_argument("--times", type=float, default=1.0,
                        help="with --first, how far to go from its weights to those of --folder")  # fmt: skip
    parser.add_argument("--least-step", type=float, default=0.0, help="leave out Euler steps whose tau is below this")
    args = parser.parse_args()
    if args.folder and not (args.command and args.device):
        parser.error("a training run needs --command and --device for its card")
    architecture = args.architecture or args.name
    network, history = trained(architecture, args) if args.folder else (build(architecture, {}), {})
    network.name = args.name
    card = registry.Card(
        name=args.name,
        architecture=architecture,
        arguments=asdict(network.config),
        sha256="",
        sigma_range=(0.0, network.top),
        certificate=network.certify(),
        training=history,
        scores={},
        paper=network.paper,
        licence="weights: MIT; trained on BSDS500, which is for research use" if args.folder else "MIT",
    )
    place = registry.folder() / args.name
    place.mkdir(parents=True, exist_ok=True)
    if args.folder:
        shutil.copy(args.folder / "training.csv", place / "training.csv")
    card = registry.export(network, card, place)
    print(f"{place}\n{card.certificate}")


if __name__ == "__main__":
    main()
