"""Turn a training checkpoint into a denoiser with averaged weights, a proof, a card and a training curve.

    python scripts/export_denoiser.py euler --folder runs/euler --command "the training command" --device "2 CPU cores"
    python scripts/export_denoiser.py tv --architecture total-variation      # where nothing is learnt

Writes denoisers/NAME/{weights.safetensors, card.json, training.csv}. A shipped name keeps its meaning: a new
network under an old name needs a new sha256 on its card and an entry in CHANGELOG.md.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from pnpkit import registry
from pnpkit.networks.architectures import NETWORKS, build
from pnpkit.networks.base import Network
from pnpkit.training import export, growth
from pnpkit.training.session import averaged

DATA = "BSDS500 train + test (400 photographs; Arbelaez et al. 2011), Gaussian noise"


def trained(architecture: str, args: argparse.Namespace) -> tuple[Network, dict[str, Any]]:
    """Return the network to ship, and how it was trained."""
    run, meta = averaged(architecture, args.folder, args.unfinished)
    network = run.network
    if args.first:
        first = averaged(architecture, args.first, args.unfinished)[0].network
        network = growth.along(first, network, args.times)
    if args.least_step:
        network = growth.without_small_steps(network, args.least_step)
    training = export.history(run, meta, DATA, args.command, args.device)
    if args.first:
        training |= {"first": str(args.first), "times": args.times}
    return network, training | ({"least_step": args.least_step} if args.least_step else {})


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
    network, training = trained(architecture, args) if args.folder else (build(architecture, {}), {})
    place = registry.folder() / args.name
    licence = "weights: MIT; trained on BSDS500, which is for research use" if args.folder else "MIT"
    curve = args.folder / export.CURVE if args.folder else None
    card = export.write(network, args.name, architecture, training, licence, place, curve)
    print(f"{place}\n{card.certificate}")


if __name__ == "__main__":
    main()
