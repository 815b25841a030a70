"""Train a certified classifier, or a plain one to compare with.

    python scripts/train_classifier.py mnist-certified --data PATH/mnist.npz
    python scripts/train_classifier.py fashion-certified --data PATH/fashion-mnist --holdout 5000 --folder runs/a
    python scripts/train_classifier.py --fast --folder runs/fast

Writes FOLDER/{weights.safetensors, card.json, training.csv}; without --folder and --holdout, the shipped model of that
name. --holdout N trains without the last N training samples and reports on them, to choose settings by; the test set
is for evaluate_classifiers.py alone. --set changes settings of the recipe: --set epochs=2 learning_rate=1e-3. --fast
takes seconds and needs no data.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from process import put_back
from results import today
from tqdm import tqdm

from pnpkit.machine.files import write_whole
from pnpkit.robust import datasets, registry
from pnpkit.robust.classifier import Classifier, ClassifierConfig, round_to_half, secure
from pnpkit.robust.radii import certify_samples
from pnpkit.robust.training import ClassifierTraining, train_classifier

LEVELS = (0.1, 0.3, 0.5, 1.0, 1.58)
PAPER = (
    "Sherry, Celledoni, Ehrhardt, Murari, Owren, Schoenlieb: Designing stable neural networks using convex analysis "
    "and ODEs, Physica D 463 (2024) 134159"
)
GREY, COLOUR = (1, 28, 28), (3, 32, 32)
DENSE = (("dense", 256),) * 4
PLAIN = ClassifierConfig(GREY, channels=2, blocks=(("unshuffle", 2), *(("residual", 16, 3),) * 4))
PLAIN_TRAINING = ClassifierTraining("cross-entropy", {"temperature": 1.0, "offset": 0.0}, epochs=4, batch=256)

Recipe = tuple[str, ClassifierConfig, ClassifierTraining]  # data set, network, training
RECIPES: dict[str, Recipe] = {
    "mnist-certified": (
        "mnist",
        ClassifierConfig(GREY, mean=0.1307, blocks=DENSE),
        ClassifierTraining("radius", {"target": 1.9, "temperature": 0.25}, epochs=14),
    ),
    "mnist-accurate": (
        "mnist",
        ClassifierConfig(GREY, mean=0.1307, blocks=DENSE),
        ClassifierTraining("radius", {"target": 1.0, "temperature": 0.2}, epochs=16, shift=1),
    ),
    "fashion-certified": (
        "fashion-mnist",
        ClassifierConfig(GREY, mean=0.286, blocks=DENSE),
        ClassifierTraining("radius", {"target": 0.8, "temperature": 0.2}, epochs=18),
    ),
    "cifar10-certified": (  # 80 minutes of one core
        "cifar10",
        ClassifierConfig(
            COLOUR,
            mean=0.473,
            channels=4,
            blocks=(
                ("unshuffle", 2),
                *(("conv", 64, 3),) * 4,  # 16 channels, 16 x 16
                ("unshuffle", 2),
                *(("conv", 96, 3),) * 4,  # 64 channels, 8 x 8
                ("unshuffle", 2),
                ("conv", 96, 3),  # 256 channels, 4 x 4
                ("dense", 128),
            ),
        ),
        ClassifierTraining("radius", {"target": 0.5, "temperature": 0.15}, epochs=24, batch=256, shift=2, flip=True),
    ),
    "mnist-plain": ("mnist", replace(PLAIN, mean=0.1307), replace(PLAIN_TRAINING, epochs=2)),
    "fashion-plain": ("fashion-mnist", replace(PLAIN, mean=0.286), PLAIN_TRAINING),
}
FAST: Recipe = (
    "synthetic",
    ClassifierConfig((1, 8, 8), 4, blocks=(("dense", 16),) * 2),
    ClassifierTraining("radius", {"target": 1.0}, epochs=8, batch=50, learning_rate=1e-2, warmup=5),
)


def settings(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="?", choices=sorted(RECIPES), help="the recipe")
    parser.add_argument(
        "--data", type=Path, default=os.environ.get("PNPKIT_CLASSIFY"), help="file or folder of the set"
    )
    parser.add_argument("--folder", type=Path, help="where weights, card and curve go")
    parser.add_argument("--holdout", type=int, default=0)
    parser.add_argument(
        "--set", nargs="+", default=[], metavar="FIELD=VALUE", help="change settings of the training (JSON)"
    )
    parser.add_argument("--blocks", type=json.loads, help='other blocks, as JSON: [["dense", 512], ["dense", 256]]')
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--fast", action="store_true", help="a tiny net on synthetic data, in seconds")
    args = parser.parse_args(argv)
    if args.fast == (args.name is not None):
        parser.error("give the name of a recipe, or --fast")
    if not args.fast and args.data is None:
        parser.error("--data PATH (or PNPKIT_CLASSIFY) must name the data set")
    if args.folder is None:
        if args.fast or args.holdout or args.set or args.blocks:
            parser.error("--fast, --holdout, --set and --blocks need a --folder: they do not make a shipped model")
        args.folder = registry.FOLDER / args.name
    return args


def value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


@put_back()
def main(argv: Sequence[str] | None = None) -> None:
    args = settings(argv)
    data, config, how = FAST if args.fast else RECIPES[args.name]
    how = replace(how, **{key: value(text) for key, text in (pair.split("=", 1) for pair in args.set)})
    if args.blocks:
        config = replace(config, blocks=args.blocks)
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.set_flush_denormal(True)
    torch.manual_seed(how.seed)
    device = args.device if args.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    train, _ = datasets.synthetic() if args.fast else datasets.load(data, args.data)
    kept, held = train.part(0, len(train) - args.holdout), train.part(len(train) - args.holdout, len(train))

    classifier, curve, started = Classifier(config), [], time.perf_counter()
    with tqdm(desc=args.name or "fast", mininterval=10) as bar:

        def show(step: int, steps: int, loss: float) -> None:
            bar.total = steps
            bar.set_postfix(loss=f"{loss:.4f}", refresh=False)
            bar.update()
            if step % max(1, steps // 50) == 0:
                curve.append((step, round(time.perf_counter() - started, 1), f"{loss:.5f}"))

        seconds = train_classifier(how, classifier, kept, device=device, on_step=show)
    round_to_half(classifier)
    secure(classifier)
    classifier.name = args.folder.name
    certificate = classifier.certify()
    card = registry.ClassifierCard(
        name=args.folder.name,
        data=data,
        arguments=asdict(config),
        sha256="",
        certificate=certificate,
        training={
            "command": "python scripts/train_classifier.py "
            + " ".join(hide(argv if argv is not None else sys.argv[1:])),
            "settings": asdict(how),
            "samples": len(kept),
            "seconds": round(seconds, 1),
            "device": f"{device}, {torch.get_num_threads()} threads, torch {torch.__version__}",
            "date": today(),
        },
        scores={},
        paper=PAPER,
        licence="weights: MIT; " + (datasets.DATASETS[data].paper if data in datasets.DATASETS else "made here"),
    )
    registry.export(classifier, card, args.folder)
    text = io.StringIO()
    csv.writer(text).writerows([("step", "seconds", "loss"), *curve])
    write_whole(args.folder / "training.csv", text.getvalue().encode())
    print(f"{args.folder}: {seconds:.0f} s\n{certificate}")
    if len(held):
        found = certify_samples(classifier, held.pixels(), held.labels)
        shares = "".join(f", certified at {eps}: {100 * found.certified(eps):.2f}" for eps in LEVELS)
        print(f"held out ({len(held)}): clean {100 * found.clean():.2f}{shares}")


def hide(argv: Sequence[str]) -> list[str]:
    """Return the command without this machine's folders; the name of the data set stays."""
    words = list(argv)
    for index, word in enumerate(words[:-1]):
        if word == "--data":
            words[index + 1] = f"PATH/{Path(words[index + 1]).name}"
    return words


if __name__ == "__main__":
    main()
