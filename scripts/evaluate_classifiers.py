"""Measure clean, certified and attacked accuracy of the shipped classifiers as functions of eps, on whole test sets.

    python scripts/evaluate_classifiers.py --data PATH [PATH ...] [--names mnist-certified mnist-plain]
    python scripts/evaluate_classifiers.py --fast --out runs/fast

PATHs hold mnist.npz, fashion-mnist/ or cifar10.npz. For each data set: docs/lecture/robust-DATA.{png, csv, json} and
robust-DATA-examples.png, and the scores on the cards; robust.md collects all tables. The attack is l2-PGD on all
samples, certified ones included (but see --spare-after); a certified sample that it breaks is an error. It increases
the margin loss. In addition, the first 1,000 images of Fashion-MNIST are attacked by the lecture's protocol: 100 steps
of 0.025 eps, with cross-entropy (the lecture does not state its loss; this is the usual one).
"""

from __future__ import annotations

import argparse
import csv
import io
import os
import platform
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import matplotlib
import numpy as np
import torch

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402  (the backend is chosen first)
from process import put_back  # noqa: E402
from results import today, write_results  # noqa: E402
from robust_page import curves, gallery, table  # noqa: E402

from pnpkit.certificates import Side
from pnpkit.machine.files import write_whole
from pnpkit.robust import datasets, registry
from pnpkit.robust.classifier import Classifier, ClassifierConfig
from pnpkit.robust.datasets import Split
from pnpkit.robust.evaluation import evaluate
from pnpkit.robust.pgd import Attack
from pnpkit.robust.scores import attacked_shares, curve, summary
from pnpkit.robust.training import ClassifierTraining, train_classifier

ROOT = Path(__file__).parent.parent
STYLE = Path(__file__).parent / "lecture.mplstyle"
LEVELS = {
    "mnist": (0.5, 1.0, 1.58, 2.0),
    "fashion-mnist": (0.3, 0.5, 1.0, 1.5),
    "cifar10": (36 / 255, 72 / 255, 108 / 255, 0.5, 1.0),
    "synthetic": (0.5, 1.0, 1.5, 2.0),
}
GRID = np.round(np.arange(0, 3.001, 0.02), 2)  # radii are known for every sample, so their curve is as fine as we like
PROTOCOL = Attack(100, 0.025, 1, "cross-entropy")  # the lecture's steps
PROTOCOL_SAMPLES = 1000


def settings(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=Path, nargs="+", default=[Path(p) for p in filter(None, [os.environ.get("PNPKIT_CLASSIFY")])]
    )
    parser.add_argument("--names", nargs="+", help="shipped classifiers or folders (default: all shipped)")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "lecture")
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--step-size", type=float, default=0.1, help="as a share of eps")
    parser.add_argument("--restarts", type=int, default=1, help="the first from the image, others from random points")
    parser.add_argument("--loss", choices=("cross-entropy", "margin"), default="margin")
    parser.add_argument("--attacked", type=int, help="attack only the first N test samples")
    parser.add_argument("--plain", type=int, help="attack nets without a proof only on the first N test samples")
    parser.add_argument("--spare-after", type=int, help="do not attack certified samples beyond the first N")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--fast", action="store_true", help="tiny nets on synthetic data, in seconds")
    args = parser.parse_args(argv)
    if args.fast and args.out == parser.get_default("out"):
        parser.error("--fast needs an --out folder: it does not make the lecture's figures")
    if not args.fast and not args.data:
        parser.error("--data PATH ... (or PNPKIT_CLASSIFY) must name where the data sets are")
    if args.device == "auto":
        args.device = "cuda" if torch.cuda.is_available() else "cpu"
    return args


def repeatable(words: Sequence[str]) -> str:
    """Return the command for others: PATH stands for the place of the data, results go to their usual place."""
    kept, option = ["python scripts/evaluate_classifiers.py"], ""
    for word in words:
        option = word if word.startswith("--") else option
        if option == "--data":
            kept += ["--data PATH"] if word == option else []
        elif option != "--out":
            kept.append(word)
    return " ".join(kept)


def place_of(data: str, places: Sequence[Path]) -> Path:
    """Return the place that contains the data set, or is the data set."""
    for place in places:
        if (place / datasets.DATASETS[data].file).exists() or place.name == datasets.DATASETS[data].file:
            return place
    raise SystemExit(f"no {datasets.DATASETS[data].file} under {', '.join(map(str, places))}")


def tiny() -> tuple[dict[str, Classifier], Split]:
    """Train a certified and a plain net in seconds."""
    train, test = datasets.synthetic()
    plain = ClassifierConfig((1, 8, 8), 4, channels=4, blocks=(("residual", 4, 3),))
    nets = {
        "certified": (ClassifierConfig((1, 8, 8), 4, blocks=(("dense", 16),) * 2), ClassifierTraining("radius")),
        "plain": (plain, ClassifierTraining("cross-entropy", {"offset": 0.0})),
    }
    made = {}
    for name, (config, how) in nets.items():
        torch.manual_seed(0)
        made[name] = Classifier(config)
        train_classifier(replace(how, epochs=8, batch=50, learning_rate=1e-2, warmup=5), made[name], train)
    return made, test


@put_back()
def main(argv: Sequence[str] | None = None) -> None:
    args = settings(argv)
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.set_flush_denormal(True)
    args.out.mkdir(parents=True, exist_ok=True)
    attack = Attack(args.steps, args.step_size, args.restarts, args.loss)
    command = repeatable(sys.argv[1:] if argv is None else argv)
    groups: dict[str, dict[str, Classifier]] = {}
    if args.fast:
        groups["synthetic"], split = tiny()
    else:
        for name in args.names or registry.classifiers():
            net = registry.load_classifier(name, device=args.device)
            groups.setdefault(registry.card_of(name).data, {})[net.name] = net
    for data, nets in groups.items():
        test = split if args.fast else datasets.load(data, place_of(data, args.data))[1]
        images, reports, seconds, protocol = test.pixels(), {}, {}, {}
        for name, net in nets.items():
            started, proven = time.perf_counter(), net.certify().side is Side.PROVEN
            reports[name] = evaluate(
                net,
                images,
                test.labels,
                LEVELS[data],
                attack,
                attacked=args.attacked if proven else args.plain or args.attacked,
                spare_after=args.spare_after,
                on_level=lambda p, name=name: print(  # type: ignore[misc]
                    f"{name} eps {p.eps:.3g}: certified {100 * p.certified:.2f} attacked {100 * p.attacked:.2f}",
                    flush=True,
                ),
            )
            if data in ("fashion-mnist", "synthetic"):  # the lecture's own set
                protocol[name] = attacked_shares(net, test, LEVELS[data], PROTOCOL, PROTOCOL_SAMPLES)
            seconds[name] = round(time.perf_counter() - started, 1)
        measured = {
            name: summary(report, attack) | {"command": command, "date": today()} for name, report in reports.items()
        }
        record = {
            "command": command,
            "data": data,
            "seed": attack.seed,
            "date": today(),
            "machine": f"{platform.machine()}, {args.device}, {torch.get_num_threads()} threads",
            "classifiers": measured,
            "lecture_protocol": protocol,
            "proven": {name: net.certify().side is Side.PROVEN for name, net in nets.items()},
            "seconds": seconds,
        }
        write_results(f"robust-{data}", record, folder=args.out)
        lines, text = curve(reports, GRID.tolist()), io.StringIO()
        writer = csv.DictWriter(text, list(lines[0]))
        writer.writeheader()
        writer.writerows(lines)
        write_whole(args.out / f"robust-{data}.csv", text.getvalue().encode())
        with plt.style.context(STYLE):
            curves(lines, record, args.out / f"robust-{data}.png")
        classes = datasets.DATASETS[data].classes if data in datasets.DATASETS else list("0123456789")
        gallery(nets, reports, test, classes, args.out / f"robust-{data}-examples.png")
        if not args.fast:
            for name in set(nets) & set(registry.classifiers()):
                registry.set_scores(name, measured[name])
    write_whole(args.out / "robust.md", table(args.out).encode())
    print(f"-> {args.out / 'robust.md'}", flush=True)


if __name__ == "__main__":
    main()
