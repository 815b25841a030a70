r"""Losses with a margin. Each is a dataclass of settings and a function of (logits, labels, gaps).

``gaps`` G are the Lipschitz constants of f_i - f_j (``Classifier.gaps``), in training those of the steered head. So
(f_y - f_j) / G_yj is the certified radius, up to the error of steering.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from pnpkit.robust.radii import pairwise


@dataclass(frozen=True)
class MultiMargin:
    """mean over j != y of max(0, margin - f_y + f_j), divided by the number of classes: the lecture's loss."""

    margin: float = 1.0

    def __call__(self, logits: Tensor, labels: Tensor, gaps: Tensor) -> Tensor:
        return F.multi_margin_loss(logits, labels, margin=self.margin)


@dataclass(frozen=True)
class CrossEntropy:
    """T CE((f - offset e_y) / T): the logit of the true class is lowered, so that it needs a margin.

    A small T weighs samples near the margin, a large T all samples. The offset trades clean accuracy for certified
    accuracy (Prach & Lampert, ECCV 2022).
    """

    temperature: float = 0.25
    offset: float = 1.0

    def __call__(self, logits: Tensor, labels: Tensor, gaps: Tensor) -> Tensor:
        handicap = self.offset * F.one_hot(labels, logits.shape[1]).to(logits)
        return self.temperature * F.cross_entropy((logits - handicap) / self.temperature, labels)


@dataclass(frozen=True)
class HKR:
    """-mean_k (E[f_k | y = k] - E[f_k | y != k]) + weight * mean_k max(0, margin / 2 - s_k f_k).

    s_k is 1 for the true class and -1 for the others. Hinge Kantorovich-Rubinstein (Serrurier et al., CVPR 2021), one
    class against the others: the first term is the dual of the Wasserstein distance between a class and the rest and
    spreads the logits; the second term classifies.
    """

    margin: float = 1.0
    weight: float = 10.0

    def __call__(self, logits: Tensor, labels: Tensor, gaps: Tensor) -> Tensor:
        mine = F.one_hot(labels, logits.shape[1]).to(logits)
        others = 1 - mine
        inside = (logits * mine).sum(0) / mine.sum(0).clamp_min(1)
        outside = (logits * others).sum(0) / others.sum(0).clamp_min(1)
        hinge = (self.margin / 2 - (2 * mine - 1) * logits).clamp_min(0)
        return -(inside - outside).mean() + self.weight * hinge.mean()


@dataclass(frozen=True)
class CertifiedRadius:
    """T log(1 + sum_{j != y} exp((target - r_j) / T)), r_j = (f_y - f_j) / G_yj: the certified radius itself.

    A smooth max(0, target - min_j r_j). With equal G it is ``CrossEntropy``. With the true G, classes with similar rows
    of the head need no margin that their difference cannot have.
    """

    target: float = 1.0
    temperature: float = 0.25

    def __call__(self, logits: Tensor, labels: Tensor, gaps: Tensor) -> Tensor:
        lack = (self.target - pairwise(logits, labels, gaps)) / self.temperature
        return self.temperature * F.softplus(torch.logsumexp(lack, 1)).mean()


Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


LOSSES: dict[str, Callable[..., Loss]] = {
    "multi-margin": MultiMargin,
    "cross-entropy": CrossEntropy,
    "hkr": HKR,
    "radius": CertifiedRadius,
}
