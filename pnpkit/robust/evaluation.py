"""Clean, certified and attacked accuracy as functions of eps, and the check that no certified sample is broken."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pnpkit.certificates import Side
from pnpkit.errors import LawBroken
from pnpkit.robust.classifier import Classifier
from pnpkit.robust.pgd import Attack, attack
from pnpkit.robust.radii import Certified, certify_samples, logits64


@dataclass(frozen=True)
class Point:
    """The accuracies, as shares, at one eps.

    ``margin`` is the accuracy certified by the lecture's margin / (sqrt(2) Lip). ``certified_attacked`` is the number
    of certified samples that were attacked, and ``certified_and_broken`` the number of these that were broken: none.
    """

    eps: float
    certified: float
    margin: float
    attacked: float
    certified_attacked: int
    certified_and_broken: int


@dataclass(frozen=True)
class Report:
    """The evaluation of one classifier on one test set.

    Attributes:
        samples: number of samples.
        attacked: number of samples, counted from the first, that were attacked.
        clean: accuracy without perturbation.
        points: the accuracies by increasing eps.
        certified: the radii of all samples.
        examples: per eps, indices of broken samples that are classified correctly, and their adversarial images.
    """

    samples: int
    attacked: int
    clean: float
    points: tuple[Point, ...]
    certified: Certified
    examples: dict[float, tuple[Tensor, Tensor]]


def evaluate(
    classifier: Classifier,
    images: Tensor,
    labels: Tensor,
    levels: Sequence[float],
    settings: Attack,
    *,
    attacked: int | None = None,
    spare_after: int | None = None,
    batch: int = 1000,
    on_level: Callable[[Point], None] = lambda point: None,
) -> Report:
    """Certify all samples and attack the first ``attacked`` (None: all), including certified ones.

    ``spare_after`` saves time: after this many samples, those certified at eps are not attacked and count as unbroken,
    as the proof says. The first ones still test the proof.

    Accuracies under attack are shares of the attacked samples, the others are shares of all. A sample broken at one eps
    counts as broken at every larger one. The attack runs in float32; its results are judged in float64.

    Raises:
        LawBroken: a sample was broken within its certified radius, so the certificate or its code is wrong.
    """
    proven = classifier.certify().side is Side.PROVEN
    certified = certify_samples(classifier, images, labels)
    count = len(images) if attacked is None else min(attacked, len(images))
    device = classifier.head.weight.device
    broken = ~certified.correct[:count]
    points, examples = [], {}
    for eps in sorted(levels):
        safe = certified.label_radius[:count] > eps
        spared = safe & (torch.arange(count) >= (count if spare_after is None else spare_after))
        alive = (~broken & ~spared).nonzero()[:, 0]
        found = torch.cat(
            [
                attack(classifier, images[part].to(device), labels[part].to(device), eps, settings)[0].cpu()
                for part in alive.split(batch)
            ]
            or [images[:0]]
        )
        wrong = judged_wrong(classifier, found, images[alive], labels[alive], eps)
        broken[alive] |= wrong
        fooled = int((broken & safe).sum())
        points.append(
            Point(
                eps,
                certified.certified(eps) if proven else 0.0,
                float((certified.margin_radius > eps).double().mean()) if proven else 0.0,
                float((~broken).double().mean()),
                int(safe[alive].sum()),
                fooled,
            )
        )
        examples[eps] = (alive[wrong], found[wrong])
        on_level(points[-1])
        if fooled:
            raise LawBroken(f"{fooled} samples were broken at eps = {eps} within their certified radius")
    return Report(len(images), count, certified.clean(), tuple(points), certified, examples)


def judged_wrong(classifier: Classifier, found: Tensor, clean: Tensor, labels: Tensor, eps: float) -> Tensor:
    """Whether each found image is misclassified in float64, in [0, 1] and within eps of the clean one."""
    if not len(found):
        return torch.zeros(0, dtype=torch.bool)
    change = torch.linalg.vector_norm((found.double() - clean.double()).flatten(1), dim=1)
    allowed = (change <= eps) & (found.flatten(1).amin(1) >= 0) & (found.flatten(1).amax(1) <= 1)
    return (logits64(classifier, found).argmax(1) != labels) & allowed
