r"""Certified radii: for each sample, the distance within which the prediction cannot change.

If f_y - f_j is G_yj-Lipschitz and f_y(x) > f_j(x), then f_y > f_j on the ball of radius (f_y(x) - f_j(x)) / G_yj around
x. The radius of x for the label y is the minimum over ALL j other than y. The second largest logit is not enough: a
class with a smaller logit but a larger G may be nearer. The radius is negative if y is not predicted.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pnpkit.errors import InputError
from pnpkit.robust.classifier import Classifier


def pairwise(logits: Tensor, labels: Tensor, gaps: Tensor) -> Tensor:
    """(f_y - f_j) / G_yj for every class j, (B, K), with inf at j = y. It is differentiable."""
    margin = logits.gather(1, labels[:, None]) - logits
    return (margin / gaps[labels].to(logits)).scatter(1, labels[:, None], math.inf)


def radii(logits: Tensor, labels: Tensor, gaps: Tensor) -> Tensor:
    """min over all j != y of (f_y - f_j) / G_yj, (B,), in the units of G."""
    return pairwise(logits, labels, gaps).amin(1)


def margin_radii(logits: Tensor, labels: Tensor, lipschitz: float) -> Tensor:
    """(f_y - max_{j != y} f_j) / (sqrt(2) Lip), (B,): the certificate of the lecture.

    It holds because f_y - f_j is sqrt(2) Lip(N)-Lipschitz. It is never above ``radii`` if Lip is Lip(features) ||W||,
    because ||w_i - w_j|| <= sqrt(2) ||W||.
    """
    others = logits.scatter(1, labels[:, None], -math.inf).amax(1)
    return (logits.gather(1, labels[:, None])[:, 0] - others) / (math.sqrt(2) * lipschitz)


@dataclass(frozen=True)
class Certified:
    """Predictions and their certified radii, l2, in the units of pixels (0..1).

    Attributes:
        predictions: (B,), the class of the largest logit.
        correct: (B,), whether this class is the label.
        radius: (B,), the radius within which the *prediction* is constant; it needs no label.
        label_radius: (B,), the radius for the true label; negative if the prediction is wrong.
        margin_radius: (B,), the radius for the true label by the lecture's margin / (sqrt(2) Lip).
    """

    predictions: Tensor
    correct: Tensor
    radius: Tensor
    label_radius: Tensor
    margin_radius: Tensor

    def clean(self) -> float:
        """The share of correct predictions."""
        return float(self.correct.double().mean())

    def certified(self, eps: float) -> float:
        """The share of samples that are classified correctly under every perturbation of norm <= eps."""
        return float((self.label_radius > eps).double().mean())


@torch.no_grad()
def logits64(classifier: Classifier, images: Tensor, batch: int = 500) -> Tensor:
    """Compute logits in float64, as the certificates need, on the classifier's device. Returns them on the CPU."""
    exact = copy.deepcopy(classifier).double()
    device = exact.head.weight.device
    return torch.cat([exact(chunk.to(device, torch.float64)).cpu() for chunk in images.split(batch)])


def check_samples(classifier: Classifier, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Check that images lie in 0..1 and that each label is the number of a class."""
    if images.ndim != 4 or not images.is_floating_point():
        raise InputError(f"images are floats (B, C, H, W) in 0..1, got {images.dtype} {tuple(images.shape)}")
    if not bool(((images >= 0) & (images <= 1)).all()):
        came = f"{float(images.min()):.4g} to {float(images.max()):.4g}"
        raise InputError(f"images lie in 0..1, the units of the radii, got {came}: divide bytes by 255")
    classes = len(classifier.head.weight)
    if labels.shape != images.shape[:1] or labels.is_floating_point() or labels.dtype == torch.bool:
        raise InputError(f"labels are {len(images)} integers, got {labels.dtype} {tuple(labels.shape)}")
    if len(labels) == 0 or not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        raise InputError(f"expected images with labels from 0 to {classes - 1}, got {sorted(set(labels.tolist()))[:9]}")
    return images, labels.long()


def certify_samples(classifier: Classifier, images: Tensor, labels: Tensor, batch: int = 500) -> Certified:
    """Compute the radii of images (B, C, H, W) in 0..1 with integer labels (B,).

    Logits, gaps and norms are computed in float64.

    Raises:
        InputError: images lie outside 0..1, so that the radii would mean nothing, or labels are not classes.
    """
    images, labels = check_samples(classifier, torch.as_tensor(images), torch.as_tensor(labels).cpu())
    logits = logits64(classifier, images, batch)
    predictions, gaps = logits.argmax(1), classifier.gaps()
    return Certified(
        predictions,
        predictions == labels,
        radii(logits, predictions, gaps),
        radii(logits, labels, gaps),
        margin_radii(logits, labels, classifier.certify().lipschitz),
    )
