"""Train a denoiser on photographs.

    python scripts/train_denoiser.py euler --data PATH/bsds500 --hours 2 --folder runs/euler [--resume]
    python scripts/train_denoiser.py guided --start euler-guided --objective deblurring --patch 96 --data PATH/bsds500
    torchrun --nproc_per_node 8 -- scripts/train_denoiser.py euler --data PATH/bsds500 --batch 128

Under torchrun the batch is shared out over the processes, one GPU each; the curve is that of one process.
PATH/bsds500 holds train/, test/ and val/ (see data/bsds500/README.md). Trains on train + test and watches val.
On any other folder of pictures: ``pnpkit train``.
"""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import fields
from pathlib import Path

import imageio.v3 as imageio
import torch
from process import put_back
from tqdm import tqdm

from pnpkit.machine import distributed
from pnpkit.networks.architectures import NETWORKS
from pnpkit.training.config import TrainingConfig
from pnpkit.training.run import Run
from pnpkit.training.session import Plan, prepare


def pictures(*folders: Path) -> list:
    paths = sorted(path for folder in folders for path in folder.glob("*.jpg"))
    return [imageio.imread(path) for path in paths]


@put_back()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=sorted(NETWORKS))
    parser.add_argument("--data", type=Path, default=os.environ.get("PNPKIT_BSDS500"), required=False)
    parser.add_argument("--folder", type=Path, help="where checkpoint and curve go (default: runs/NAME)")
    parser.add_argument("--arguments", type=json.loads, default={}, help='fields of the config, {"blocks": 12}')
    parser.add_argument(
        "--start", help="begin from this denoiser, a name or a folder; an Euler network may be deeper or wider"
    )
    parser.add_argument("--objective", default="denoising", choices=("denoising", "deblurring"),
                        help="deblurring: a guided network learns through the map that it deblurs with")  # fmt: skip
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in the folder")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--precision", default="auto", choices=("auto", "bfloat16", "float32"))
    parser.add_argument("--tensorboard", action="store_true", help="also log there (needs the extra 'train')")
    parser.add_argument("--compile", nargs="?", const="activations", choices=("activations", "network"),
                        help="fuse the activations, or the whole network (needs a C++ compiler or Triton)")  # fmt: skip
    for field in fields(TrainingConfig):
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=type(field.default), default=field.default)
    args = parser.parse_args()
    if args.data is None:
        parser.error("--data PATH (or PNPKIT_BSDS500) must name the folder of BSDS500")
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.set_flush_denormal(True)
    torch.manual_seed(args.seed)

    with distributed.together(args.device) as device:
        work(args, device)


def work(args: argparse.Namespace, device: str) -> None:
    """Do the share of one process."""
    config = TrainingConfig(**{f.name: getattr(args, f.name) for f in fields(TrainingConfig)})
    plan = Plan(
        args.name, args.folder or Path("runs") / args.name, config, args.arguments, args.start or "",
        args.objective, args.resume, args.precision, args.compile or "",
    )  # fmt: skip
    session = prepare(plan, device)
    run, limit = session.run, session.limit

    first = distributed.rank() == 0
    log = None
    if args.tensorboard and first:
        from torch.utils.tensorboard import SummaryWriter

        log = SummaryWriter(plan.folder / "tensorboard")
    train_set = pictures(args.data / "train", args.data / "test")
    validation = pictures(args.data / "val")[:8] if first else []
    begun, before = run.step, run.seconds
    with tqdm(desc=args.name, initial=run.step, unit="step", mininterval=10, disable=not first) as bar:

        def show(run: Run, loss: float) -> None:
            rate = f"{config.batch * (run.step - begun) / (run.seconds - before):.1f} of {limit:.1f}"
            bar.set_postfix(loss=f"{loss:.5f}", done=f"{100 * run.progress:.1f}%", patches_s=rate, refresh=False)
            bar.update()
            if log is not None:
                log.add_scalar("loss", loss, run.step)

        session.train(train_set, validation, show)


if __name__ == "__main__":
    main()
