r"""Projected gradient descent in l2, an attack that tests certificates.

    x+ = clip_[0,1](P_B(x0, eps)(x + a g / ||g||)),  g the gradient of the loss at x,

It starts from x0 itself and then from random points of the ball (Madry et al., ICLR 2018). The clip is the projection
onto a convex set that contains x0, so it never moves a point farther from x0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from pnpkit.numerics.conjugate_gradients import length

TINY = 1e-12  # added in the normalisation, so that a zero gradient gives no step instead of NaN


@dataclass(frozen=True)
class Attack:
    """Settings of the attack.

    Attributes:
        steps: number of steps per start.
        step_size: a / eps. 0.025 with 100 steps is the lecture's.
        restarts: number of starts; the first is the image itself, the others are random points of the ball.
        loss: "cross-entropy" of the label, or "margin" max_{j != y} f_j - f_y, which does not saturate.
        seed: seed of the random starts.
    """

    steps: int = 100
    step_size: float = 0.025
    restarts: int = 1
    loss: str = "cross-entropy"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.loss not in OBJECTIVES:
            raise ValueError(f"loss must be one of {', '.join(OBJECTIVES)}, got {self.loss!r}")
        if self.steps < 1 or self.restarts < 1 or not self.step_size > 0:
            raise ValueError(f"steps, restarts and step_size must be positive, got {self}")


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the sum of the cross-entropies of the samples. With a sum, each sample has its own gradient."""
    return F.cross_entropy(logits, labels, reduction="sum")


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the sum of max_{j != y} f_j - f_y over the samples."""
    others = logits.scatter(1, labels[:, None], -torch.inf).amax(1)
    return (others - logits.gather(1, labels[:, None])[:, 0]).sum()


OBJECTIVES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"cross-entropy": cross_entropy, "margin": margin}


def project(x: Tensor, center: Tensor, eps: float) -> Tensor:
    """Project onto the ball around ``center``, then onto the box [0, 1], which contains the center."""
    change = x - center
    change = change * (eps / length(change).clamp_min(TINY)).clamp_max(1)
    return (center + change).clamp(0, 1)


def within(eps: float, images: Tensor) -> float:
    """Return eps minus the rounding error of pixels in 0..1, so that no image found lies outside the ball."""
    rounding = torch.finfo(images.dtype).eps
    return max(0.0, eps * (1 - 8 * rounding) - rounding * images[0].numel() ** 0.5)


def random_start(center: Tensor, eps: float, generator: torch.Generator) -> Tensor:
    """Draw points uniformly in the ball and clip them to [0, 1]."""
    direction = torch.randn(center.shape, generator=generator).to(center)
    radius = torch.rand(center.shape[0], generator=generator).to(center) ** (1 / center[0].numel())
    return project(center + eps * radius[:, None, None, None] * direction / length(direction), center, eps)


def attack(
    classifier: Callable[[Tensor], Tensor], images: Tensor, labels: Tensor, eps: float, settings: Attack
) -> tuple[Tensor, Tensor]:
    """Search for a misclassified image within eps of each image.

    Args:
        classifier: (B, C, H, W) -> (B, K) logits, differentiable.
        images: intensities in [0, 1].
        eps: l2 radius, in the same units.

    Returns:
        For each sample, the first misclassified image, or the last point if none was found; and whether one was found.
        An image that is itself misclassified counts as found and is returned unchanged.
    """
    if not eps >= 0:
        raise ValueError(f"eps is at least 0, got {eps}")
    generator = torch.Generator().manual_seed(settings.seed)
    result, broken = images.clone(), torch.zeros(len(images), dtype=torch.bool, device=images.device)
    with torch.no_grad():
        broken |= classifier(images).argmax(1) != labels
    inner = within(eps, images) if len(images) else 0.0
    for restart in range(settings.restarts if inner > 0 else 0):
        open_ = (~broken).nonzero()[:, 0]
        if not len(open_):
            break
        center = images[open_]
        start = center if restart == 0 else random_start(center, inner, generator)
        found, wrong = _ascend(classifier, start, center, labels[open_], inner, settings)
        result[open_], broken[open_] = found, wrong
    return result, broken


def _ascend(
    classifier: Callable[[Tensor], Tensor], x: Tensor, center: Tensor, labels: Tensor, eps: float, settings: Attack
) -> tuple[Tensor, Tensor]:
    """Run the attack from one start. Samples leave the batch as soon as they are misclassified."""
    objective = OBJECTIVES[settings.loss]
    result, broken = x.clone(), torch.zeros(len(x), dtype=torch.bool, device=x.device)
    active = torch.arange(len(x), device=x.device)
    for step in range(settings.steps + 1):
        x = x.detach().requires_grad_(step < settings.steps)
        logits = classifier(x)
        wrong = logits.argmax(1) != labels[active]
        result[active], broken[active] = x.detach(), wrong
        if step == settings.steps or bool(wrong.all()):
            break
        (gradient,) = torch.autograd.grad(objective(logits, labels[active]), x)
        keep = ~wrong
        x, gradient, active = x.detach()[keep], gradient[keep], active[keep]
        ascent = gradient / length(gradient).clamp_min(TINY)
        x = project(x + settings.step_size * eps * ascent, center[active], eps)
    return result, broken
