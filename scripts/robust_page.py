"""The page on the lecture's classifiers: curves, a gallery of adversarial images, and the table robust.md."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt

from pnpkit.robust.classifier import Classifier
from pnpkit.robust.datasets import Split
from pnpkit.robust.evaluation import Report
from pnpkit.robust.scores import weakest

# Row 6 of the lecture: attacked accuracy (%) of its nets on 1,000 Fashion-MNIST test images, by eps. Not our numbers.
LECTURE = {
    "lecture, non-expansive (1,000 images)": {0.0: 87.6, 0.3: 62.9, 0.5: 44.1, 1.0: 12.7},
    "lecture, ResNet (1,000 images)": {0.0: 89.0, 0.3: 18.7, 0.5: 1.6, 1.0: 0.0},
}
INTRODUCTION = """# Certified and attacked classifiers

A sample is certified at eps if it is classified correctly and proven to stay so under every change of the image of l2
norm at most eps (pixels in 0..1, normalisation counted, minimum over all classes). The column "attacked" counts samples
that are classified correctly and not broken by PGD within eps. The true robust accuracy lies between the two numbers.

The networks consist of gradient-flow steps and isometries. They are proven 1-Lipschitz after training, from float64
norms. The plain ResNet has no proof. The proof does not cover float rounding of the evaluation, which is done in
float64. Each result is that of one trained network, because training takes too long for several seeds.
"""
STYLES = ("-", "--", ":", "-.")
MARKERS = ("o", "s", "^", "d")


def curves(lines: list[dict[str, Any]], record: dict[str, Any], path: Path) -> None:
    """Draw the curves from the stored numbers alone: the lines of the CSV and the JSON record."""
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


def table(folder: Path) -> str:
    """Return a Markdown table of every robust-*.json in the folder, with the lecture's own figures."""
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
