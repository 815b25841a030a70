"""Summaries of a report: accuracies in per cent against eps, and the smallest successful perturbations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from torch import Tensor

from pnpkit.robust.classifier import Classifier
from pnpkit.robust.datasets import Split
from pnpkit.robust.evaluation import Report, evaluate
from pnpkit.robust.pgd import Attack


def curve(reports: Mapping[str, Report], grid: Sequence[float]) -> list[dict[str, Any]]:
    """Return the rows of a CSV: certified and attacked accuracy of each classifier at the eps of the grid, in per cent.

    Radii are known for all samples, so the certified curve is as fine as the grid. Attacks give single points.
    """
    table = []
    for name, report in reports.items():
        attacked = {0.0: report.clean, **{point.eps: point.attacked for point in report.points}}
        margins = {point.eps: point.margin for point in report.points}
        for eps in sorted({*grid, *attacked}):
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


def weakest(report: Report) -> dict[int, tuple[float, Tensor]]:
    """Return, for each correctly classified sample that was broken, the smallest such eps and the adversarial image."""
    found: dict[int, tuple[float, Tensor]] = {}
    for eps, (indices, images) in sorted(report.examples.items()):
        for index, image in zip(indices.tolist(), images, strict=True):
            found.setdefault(index, (eps, image))
    return found


def summary(report: Report, attack: Attack) -> dict[str, Any]:
    """Return accuracies in per cent, counts, and the settings of the attack, for cards and JSON."""
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
    }


def attacked_shares(
    classifier: Classifier, test: Split, levels: Sequence[float], attack: Attack, samples: int
) -> dict[str, float]:
    """Return the accuracy under attack (%) by eps, including 0, on the first ``samples`` images."""
    some = test.part(0, samples)
    report = evaluate(classifier, some.pixels(), some.labels, levels, attack)
    points = [(0.0, report.clean), *((point.eps, point.attacked) for point in report.points)]
    return {f"{eps:.6g}": round(100 * share, 2) for eps, share in points}
