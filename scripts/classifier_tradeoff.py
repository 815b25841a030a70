"""Compare clean and certified accuracy for several target radii, losses, and ways to control norms in training.

    python scripts/classifier_tradeoff.py mnist --data PATH/mnist.npz [--epochs 2]
    python scripts/classifier_tradeoff.py --fast --out runs/fast

Each variant has the same dense network and schedule, and is evaluated on the whole test set. Writes docs/lecture/
robust-tradeoff-DATA.{png, csv} and docs/results/robust-tradeoff-DATA.json.
"""

from __future__ import annotations

import argparse
import csv
import io
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import matplotlib
import torch

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402  (the backend is chosen first)
from process import put_back
from results import today, write_results  # noqa: E402

from pnpkit.machine.files import write_whole
from pnpkit.robust import datasets
from pnpkit.robust.classifier import Classifier, ClassifierConfig
from pnpkit.robust.radii import certify_samples
from pnpkit.robust.training import ClassifierTraining, train_classifier

ROOT = Path(__file__).parent.parent
LEVELS = {"mnist": (0.5, 1.0, 1.58), "fashion-mnist": (0.3, 0.5, 1.0), "synthetic": (0.5, 1.0)}
BASE = ClassifierTraining("radius", {"target": 1.58, "temperature": 0.25})
VARIANTS = {
    **{f"radius {t}": replace(BASE, arguments={"target": t, "temperature": 0.25}) for t in (0.25, 0.75, 1.58, 2.5)},
    "spectral": replace(BASE, steering="spectral"),
    "multi-margin 1": replace(BASE, loss="multi-margin", arguments={"margin": 1.0}),
    "cross-entropy": replace(BASE, loss="cross-entropy", arguments={"temperature": 0.25, "offset": 1.58 * 2**0.5}),
    "HKR": replace(BASE, loss="hkr", arguments={"margin": 1.0, "weight": 50.0}),
}


def draw(lines: list[dict], levels: Sequence[float], epochs: int, data: str, path: Path) -> None:
    figure, axis = plt.subplots(figsize=(6.6, 4.4))
    trade = [line for line in lines if line["variant"].startswith("radius")]
    for level, style, marker in zip(levels, ("-", "--", ":"), ("o", "s", "^"), strict=False):
        key = f"certified_{level}"
        axis.plot(
            [t["clean"] for t in trade], [t[key] for t in trade], style, marker=marker, label=f"certified at {level}"
        )
        for line in lines:
            if line not in trade:
                axis.plot(line["clean"], line[key], marker, mfc="none", color="black")
                if level == levels[-1]:
                    axis.annotate(
                        line["variant"],
                        (line["clean"], line[key]),
                        fontsize=7,
                        xytext=(4, 3),
                        textcoords="offset points",
                    )
    for line in trade:
        axis.annotate(
            line["variant"].split()[1],
            (line["clean"], line[f"certified_{levels[-1]}"]),
            fontsize=7,
            xytext=(4, -9),
            textcoords="offset points",
        )
    axis.set(
        xlabel="clean accuracy (%)",
        ylabel="certified accuracy (%)",
        title=f"{data} after {epochs} epoch{'s' * (epochs > 1)}: radii asked for, other losses",
    )
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)
    figure.savefig(path, dpi=130, bbox_inches="tight")
    plt.close(figure)


@put_back()
def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="?", choices=("mnist", "fashion-mnist"))
    parser.add_argument("--data", type=Path, default=os.environ.get("PNPKIT_CLASSIFY"))
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="one folder for all that is written")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--fast", action="store_true", help="tiny nets on synthetic data, in seconds")
    args = parser.parse_args(argv)
    if args.fast == (args.name is not None) or (args.fast and args.out is None) or not (args.fast or args.data):
        parser.error("give a data set with --data PATH, or --fast with --out FOLDER")
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.set_flush_denormal(True)
    data = args.name or "synthetic"
    train, test = datasets.synthetic() if args.fast else datasets.load(data, args.data)
    shape, classes = tuple(train.images.shape[1:]), int(train.labels.max()) + 1
    config = ClassifierConfig(shape, classes, blocks=(("dense", 16 if args.fast else 256),) * (2 if args.fast else 4))  # type: ignore[arg-type]
    levels, lines = LEVELS[data], []
    for name, how in VARIANTS.items():
        how = replace(how, epochs=args.epochs, seed=args.seed)
        if args.fast:
            how = replace(how, batch=50, learning_rate=1e-2, warmup=5)
        torch.manual_seed(args.seed)
        classifier = Classifier(config)
        seconds = train_classifier(how, classifier, train)
        found = certify_samples(classifier, test.pixels(), test.labels)
        line: dict = {"variant": name, "clean": round(100 * found.clean(), 2)}
        line |= {f"certified_{level}": round(100 * found.certified(level), 2) for level in levels}
        lines.append(line | {"seconds": round(seconds, 1)})
        print(lines[-1], flush=True)
    pictures = args.out or ROOT / "docs" / "lecture"
    results = args.out or ROOT / "docs" / "results"
    for folder in (pictures, results):
        folder.mkdir(parents=True, exist_ok=True)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(lines[0]))
    writer.writeheader()
    writer.writerows(lines)
    write_whole(pictures / f"robust-tradeoff-{data}.csv", text.getvalue().encode())
    words = list(argv) if argv is not None else sys.argv[1:]
    record = {
        "command": "python scripts/classifier_tradeoff.py "
        + " ".join(f"PATH/{Path(w).name}" if Path(w).is_absolute() else w for w in words),
        "seed": args.seed,
        "date": today(),
        "samples": len(test),
        "network": asdict(config),
        "variants": lines,
    }
    write_results(f"robust-tradeoff-{data}", record, folder=results)
    with plt.style.context(Path(__file__).parent / "lecture.mplstyle"):
        draw(lines, levels, args.epochs, data, pictures / f"robust-tradeoff-{data}.png")


if __name__ == "__main__":
    main()
