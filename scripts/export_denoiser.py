"""Turn a training checkpoint into a denoiser: averaged weights, proven, with card and curve.

    python scripts/export_denoiser.py euler --folder runs/euler --command "the training command" --device "2 CPU cores"

Writes denoisers/NAME/{weights.safetensors, card.json, training.csv}. A shipped name keeps its meaning: a new
network under an old name needs a new sha256 on its card and an entry in CHANGELOG.md.
"""

from __future__ import annotations

import argparse
import datetime
import json
import shutil
from dataclasses import asdict
from pathlib import Path

from safetensors import safe_open

from pnpkit import registry, training
from pnpkit.networks import NETWORKS, build

PAPERS = {
    "euler": "Sherry, Celledoni, Ehrhardt, Murari, Owren, Schoenlieb: Designing stable neural networks using convex "
    "analysis and ODEs, Physica D 463 (2024) 134159",
    "dncnn": "Zhang, Zuo, Chen, Meng, Zhang: Beyond a Gaussian denoiser, IEEE TIP 26(7) (2017) 3142-3155",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="the name in the registry")
    parser.add_argument("--architecture", choices=sorted(NETWORKS), help="default: NAME")
    parser.add_argument("--folder", type=Path, required=True, help="of the training run")
    parser.add_argument("--command", required=True, help="the training command, for the card")
    parser.add_argument("--device", required=True, help="what it was trained on, for the card")
    args = parser.parse_args()
    architecture = args.architecture or args.name

    checkpoint = args.folder / "checkpoint.safetensors"
    with safe_open(checkpoint, "pt") as file:
        meta = json.loads(file.metadata()["run"])
    config = training.TrainingConfig(**meta["config"])
    network = build(architecture, meta["arguments"])
    run = training.Run(network, config)
    run.load(checkpoint)
    place = registry.folder() / args.name
    training.finish(run)
    network.name = args.name
    card = registry.Card(
        name=args.name,
        architecture=architecture,
        arguments=asdict(network.config),
        sha256="",
        sigma_range=(0.0, config.top),
        certificate=network.certify(),
        training={
            "data": "BSDS500 train + test (400 photographs; Arbelaez et al. 2011), Gaussian noise",
            "command": args.command,
            "config": meta["config"],
            "start": meta["start"],
            "steps": run.step,
            "hours": round(run.seconds / 3600, 3),
            "device": args.device,
            "date": datetime.date.today().isoformat(),
        },
        scores={},
        paper=PAPERS[architecture],
        licence="weights: MIT; trained on BSDS500, which is for research use",
    )
    card = registry.export(network, card, place)
    shutil.copy(args.folder / "training.csv", place / "training.csv")
    print(f"{place}: {run.step} steps, {run.seconds / 3600:.2f} h\n{card.certificate}")


if __name__ == "__main__":
    main()
