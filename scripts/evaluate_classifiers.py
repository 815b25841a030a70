"""Clean, certified and attacked accuracy of the shipped classifiers against eps, on whole test sets.

    python scripts/evaluate_classifiers.py --data PATH [PATH ...] [--names mnist-certified mnist-plain]
    python scripts/evaluate_classifiers.py --fast --out runs/fast

PATHs hold mnist.npz, fashion-mnist/ or cifar10.npz. For each data set: docs/lecture/robust-DATA.{png, csv, json} and
robust-DATA-examples.png, and the scores on the cards; robust.md gathers all tables. The attack is l2-PGD on all
samples, certified ones included (but see --spare-after); a certified sample that it breaks is an error. It climbs the
margin. Beside it, on the first 1,000 images of Fashion-MNIST, the lecture's protocol: 100 steps of 0.025 eps, with
cross-entropy (the lecture does not state its loss; this is the usual one).
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import platform
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402  (the backend is chosen first)
from process import put_back  # noqa: E402
from results import today, write_results  # noqa: E402

from pnpkit.certificates import Side
from pnpkit.machine.files import write_whole
from pnpkit.robust import datasets, registry
from pnpkit.robust.classifier import Classifier, ClassifierConfig
from pnpkit.robust.datasets import Split
from pnpkit.robust.evaluation import Report, evaluate
from pnpkit.robust.fitting import FitConfig, fit
from pnpkit.robust.pgd import Attack

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
# Row 6 of the lecture: attacked accuracy (%) of its nets on 1,000 Fashion-MNIST test images, by eps. Not our numbers.
LECTURE = {
    "lecture, non-expansive (1,000 images)": {0.0: 87.6, 0.3: 62.9, 0.5: 44.1, 1.0: 12.7},
    "lecture, ResNet (1,000 images)": {0.0: 89.0, 0.3: 18.7, 0.5: 1.6, 1.0: 0.0},
}
INTRODUCTION = """# Certified and attacked classifiers

Certified at eps: predicted right, and proven to stay so under every change of the image of l2 norm at most eps (pixels
in 0..1, normalisation counted, min over all classes). Attacked: right, and not broken by PGD within eps. The truth
lies between the two. Networks of gradient-flow steps and isometries, proven 1-Lipschitz after training from float64
norms; the plain ResNet has no proof. Not covered: float rounding of the evaluation, which is done in float64. Each is
one trained network: training takes too long for several seeds.
"""
STYLES = ("-", "--", ":", "-.")
MARKERS = ("o", "s", "^", "d")


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
    """The command as others can give it: PATH for where the data are, results to their usual place."""
    kept, option = ["python scripts/evaluate_classifiers.py"], ""
    for word in words:
        option = word if word.startswith("--") else option
        if option == "--data":
            kept += ["--data PATH"] if word == option else []
        elif option != "--out":
            kept.append(word)
    return " ".join(kept)


def place_of(data: str, places: Sequence[Path]) -> Path:
    """The one among the places that has the data set, or is it."""
    for place in places:
        if (place / datasets.DATASETS[data].file).exists() or place.name == datasets.DATASETS[data].file:
            return place
    raise SystemExit(f"no {datasets.DATASETS[data].file} under {', '.join(map(str, places))}")


def tiny() -> tuple[dict[str, Classifier], Split]:
    """A certified and a plain net, trained here in seconds."""
    train, test = datasets.synthetic()
    plain = ClassifierConfig((1, 8, 8), 4, channels=4, blocks=(("residual", 4, 3),))
    nets = {
        "certified": (ClassifierConfig((1, 8, 8), 4, blocks=(("dense", 16),) * 2), FitConfig("radius")),
        "plain": (plain, FitConfig("cross-entropy", {"offset": 0.0})),
    }
    made = {}
    for name, (config, how) in nets.items():
        torch.manual_seed(0)
        made[name] = Classifier(config)
        fit(replace(how, epochs=8, batch=50, learning_rate=1e-2, warmup=5), made[name], train)
    return made, test


def rows(reports: dict[str, Report]) -> list[dict[str, Any]]:
    """The certified curve on the fine grid and the attacked points, in per cent."""
    table = []
    for name, report in reports.items():
        attacked = {0.0: report.clean, **{point.eps: point.attacked for point in report.points}}
        margins = {point.eps: point.margin for point in report.points}
        for eps in sorted({*GRID.tolist(), *attacked}):
            table.append(
                {
                    "classifier": name,
                    "eps": f"{eps:.4g}",
                    "certified": f"{100 * report.certified.certified(eps):.2f}",
                    "certified_by_margin": f"{100 * margins[eps]:.2f}" if eps in margins else "",
                    "attacked": f"{100 * attacked[eps]:.2f}" if eps in attacked else "",
                }
            )
    return table


def curves(lines: list[dict[str, Any]], record: dict[str, Any], path: Path) -> None:
    """Drawn from the stored numbers alone: the lines of the CSV and the JSON record."""
    data = record["data"]
    figure, axis = plt.subplots(figsize=(6.6, 4.4))
    scored = record["classifiers"]
    largest = max(point["eps"] for score in scored.values() for point in score["points"]) * 1.15
    for index, (name, score) in enumerate(scored.items()):
        style, marker, shade = STYLES[index % 4], MARKERS[index % 4], f"C{index}"
        mine = [line for line in lines if line["classifier"] == name]
        met = [(float(line["eps"]), float(line["attacked"])) for line in mine if line["attacked"]]
        some = "" if score["attacked_samples"] == score["samples"] else f", {score['attacked_samples']:,} images"
        label = f"{name}: attacked (PGD{some})"
        axis.plot(*zip(*met, strict=True), marker, ls="none", color=shade, label=label, mfc="none")
        if record["proven"][name]:
            known = [(float(line["eps"]), float(line["certified"])) for line in mine]
            axis.plot(*zip(*known, strict=True), style, color=shade, label=f"{name}: certified")
    if data == "fashion-mnist":
        for (name, points), marker in zip(LECTURE.items(), ("x", "+"), strict=True):
            axis.plot(list(points), list(points.values()), marker, ls="none", color="black", label=f"{name}: attacked")
    axis.set(xlabel="eps (l2, pixels in 0..1)", ylabel="accuracy (%)", xlim=(0, largest), ylim=(0, 101))
    axis.set_title(f"{data}, {next(iter(scored.values()))['samples']:,} test images")
    axis.grid(alpha=0.3)
    axis.legend(fontsize=7, loc="best")
    figure.savefig(path, dpi=130, bbox_inches="tight")
    plt.close(figure)


def weakest(report: Report) -> dict[int, tuple[float, torch.Tensor]]:
    """For every broken sample that was right: the smallest eps that broke it, and the image that did."""
    found: dict[int, tuple[float, torch.Tensor]] = {}
    for eps, (indices, images) in sorted(report.examples.items()):
        for index, image in zip(indices.tolist(), images, strict=True):
            found.setdefault(index, (eps, image))
    return found


def gallery(
    nets: dict[str, Classifier], reports: dict[str, Report], test: Split, classes: Sequence[str], path: Path
) -> None:
    """The first test images that every net got right and the attack turned, one of each class; what each then sees."""
    broken = {name: weakest(report) for name, report in reports.items()}
    common = sorted(set.intersection(*(set(found) for found in broken.values())))
    chosen = list({int(test.labels[index]): index for index in reversed(common)}.values())
    chosen = sorted(chosen, key=lambda index: int(test.labels[index]))[:10]
    if not chosen:
        return
    height = 1 + len(nets)
    figure, axes = plt.subplots(height, len(chosen), figsize=(1.15 * len(chosen) + 1.2, 1.8 * height), squeeze=False)
    clean = test.pixels()
    for column, index in enumerate(chosen):
        panels = [(clean[index], classes[int(test.labels[index])])]
        for name, net in nets.items():
            eps, image = broken[name][index]
            said = classes[int(net(image[None].to(net.head.weight.device)).argmax())]
            panels.append((image, f"{said}\neps {eps:.3g}"))
        for row, (image, title) in enumerate(panels):
            axis = axes[row, column]
            axis.imshow(image.permute(1, 2, 0).squeeze(-1).numpy(), cmap="gray", vmin=0, vmax=1)
            axis.set_title(title, fontsize=7)
            axis.set(xticks=[], yticks=[])
    for row, name in enumerate(["test image", *nets]):
        axes[row, 0].set_ylabel(name, fontsize=7)
    figure.suptitle("smallest eps tried at which the attack turned the prediction, and into what", fontsize=9)
    figure.tight_layout()
    figure.savefig(path, dpi=130, bbox_inches="tight")
    plt.close(figure)


def scores(report: Report, attack: Attack, command: str) -> dict[str, Any]:
    """What goes onto the card and into the JSON, in per cent."""
    return {
        "samples": report.samples,
        "attacked_samples": report.attacked,
        "clean": round(100 * report.clean, 2),
        "points": [
            {
                "eps": round(point.eps, 6),
                "certified": round(100 * point.certified, 2),
                "certified_by_margin": round(100 * point.margin, 2),
                "attacked": round(100 * point.attacked, 2),
                "certified_attacked": point.certified_attacked,
                "certified_and_broken": point.certified_and_broken,
            }
            for point in report.points
        ],
        "attack": asdict(attack),
        "command": command,
        "date": today(),
    }


def lecture_protocol(net: Classifier, test: Split, levels: Sequence[float]) -> dict[str, float]:
    """Attacked accuracy (%) under the lecture's attack, on the first images."""
    some = test.part(0, PROTOCOL_SAMPLES)
    report = evaluate(net, some.pixels(), some.labels, levels, PROTOCOL)
    points = [(0.0, report.clean), *((point.eps, point.attacked) for point in report.points)]
    return {f"{eps:.6g}": round(100 * share, 2) for eps, share in points}


def table(folder: Path) -> str:
    """Markdown of every robust-*.json in the folder, beside the lecture's own figures."""
    text = []
    for path in sorted(folder.glob("robust-*.json")):
        record = json.loads(path.read_text())
        levels = [point["eps"] for point in next(iter(record["classifiers"].values()))["points"]]
        text += [
            f"## {record['data']}",
            "",
            f"`{record['command']}`, {record['date']}. Accuracy in %: certified / attacked.",
            "",
        ]
        text += [
            "| classifier | clean | " + " | ".join(f"eps {eps:.3g}" for eps in levels) + " | certified and broken |"
        ]
        text += ["| --- " * (len(levels) + 3) + "|"]
        for name, score in record["classifiers"].items():
            cells = [f"{p['certified']:.1f} / {p['attacked']:.1f}" for p in score["points"]]
            if not record["proven"][name]:
                cells = [f"- / {p['attacked']:.1f}" for p in score["points"]]
            fooled = sum(p["certified_and_broken"] for p in score["points"])
            met = sum(p["certified_attacked"] for p in score["points"])
            some = (
                ""
                if score["attacked_samples"] == score["samples"]
                else f" (attack: {score['attacked_samples']:,} images)"
            )
            text.append(f"| {name}{some} | {score['clean']:.2f} | " + " | ".join(cells) + f" | {fooled} of {met:,} |")
        for name, shares in record["lecture_protocol"].items():
            cells = [f"- / {shares[f'{eps:.6g}']:.1f}" for eps in levels]
            label = f"{name}, lecture's steps, cross-entropy (1,000 images)"
            text.append(f"| {label} | {shares['0']:.1f} | " + " | ".join(cells) + " | |")
        if record["data"] == "fashion-mnist":
            for name, points in LECTURE.items():
                cells = [f"- / {points[eps]}" if eps in points else "" for eps in levels]
                text.append(f"| {name} | {points[0.0]} | " + " | ".join(cells) + " | |")
        name = f"robust-{record['data']}"
        text += ["", f"![accuracy against eps]({name}.png)", "", f"![adversarial examples]({name}-examples.png)", ""]
    for path in sorted(folder.glob("robust-tradeoff-*.csv")):
        head, *lines = list(csv.reader(path.read_text().splitlines()))
        text += [
            f"## Trade-off, {path.stem.removeprefix('robust-tradeoff-')}",
            "",
            "By `scripts/classifier_tradeoff.py`.",
            "",
        ]
        text += [f"| {' | '.join(head)} |", "| --- " * len(head) + "|", *(f"| {' | '.join(line)} |" for line in lines)]
        text += ["", f"![clean against certified]({path.stem}.png)", ""]
    return INTRODUCTION + "\n" + "\n".join(text)


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
                protocol[name] = lecture_protocol(net, test, LEVELS[data])
            seconds[name] = round(time.perf_counter() - started, 1)
        measured = {name: scores(report, attack, command) for name, report in reports.items()}
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
        lines, text = rows(reports), io.StringIO()
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
