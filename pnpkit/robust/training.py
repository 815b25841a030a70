"""Training of a classifier: Adam, a cosine schedule, layers steered to their norms, and the proof at the end."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from pnpkit.errors import InputError, UnknownName
from pnpkit.layers.dense import STEERINGS
from pnpkit.robust.classifier import Classifier, release, secure, steer
from pnpkit.robust.datasets import Split
from pnpkit.robust.losses import LOSSES


@dataclass(frozen=True)
class ClassifierTraining:
    """The settings of a classifier's training.

    Attributes:
        loss, arguments: a name of ``losses.LOSSES`` and its settings.
        epochs, batch, learning_rate, warmup: settings of Adam. The rate rises over ``warmup`` steps, then falls as a
            cosine.
        shift: images are shifted by up to this many pixels, with zeros at the edges.
        flip: whether half of the images are mirrored.
        steering: steering of dense steps, a name of ``layers.dense.STEERINGS``.
        seed: seed of the initial weights, the order and the augmentation.
    """

    loss: str = "radius"
    arguments: dict[str, Any] = field(default_factory=dict)
    epochs: int = 10
    batch: int = 512
    learning_rate: float = 2e-3
    warmup: int = 100
    shift: int = 0
    flip: bool = False
    steering: str = "orthonormal"
    seed: int = 0


def augment(images: Tensor, config: ClassifierTraining, generator: torch.Generator) -> Tensor:
    """Shift and mirror each image by itself. The certificate does not depend on this."""
    if config.shift:
        reach, (count, _, rows, columns) = config.shift, images.shape
        padded = torch.nn.functional.pad(images, (reach,) * 4)
        down, right = torch.randint(0, 2 * reach + 1, (2, count), generator=generator)
        row = (down[:, None] + torch.arange(rows))[:, :, None]
        column = (right[:, None] + torch.arange(columns))[:, None, :]
        images = padded[torch.arange(count)[:, None, None], :, row, column].permute(0, 3, 1, 2)
    if config.flip:
        mirrored = torch.rand(len(images), generator=generator) < 0.5
        images = torch.where(mirrored[:, None, None, None], images.flip(3), images)
    return images


def batches(split: Split, config: ClassifierTraining) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield batches (images as float32 in 0..1, labels) without end, in a new order every epoch, none incomplete."""
    generator = torch.Generator().manual_seed(config.seed)
    while True:
        order = torch.randperm(len(split), generator=generator)
        for chunk in order[: len(split) // config.batch * config.batch].split(config.batch):
            images = augment(split.images[chunk], config, generator)
            yield images.float() / 255, split.labels[chunk]


def training_gaps(classifier: Classifier) -> Tensor:
    """Return ||w_i - w_j||, differentiable: the gaps if all layers before the head are 1-Lipschitz.

    Steering makes the layers 1-Lipschitz.
    """
    rows = classifier.head.weight
    differences = rows[:, None] - rows[None]
    eye = torch.eye(len(rows), device=rows.device)
    return (differences.square().sum(2) + eye).sqrt() / classifier.config.deviation  # 1 on the unused diagonal


def train_classifier(
    config: ClassifierTraining,
    classifier: Classifier,
    train: Split,
    *,
    device: str = "cpu",
    on_step: Callable[[int, int, float], None] = lambda step, steps, loss: None,
) -> float:
    """Train and secure the classifier, and return the seconds that this took.

    Args:
        on_step: called after each step with its number, the total number of steps and the loss.

    Raises:
        InputError: the batch is larger than the set, or the loss becomes NaN or infinite.
    """
    if not 0 < config.batch <= len(train):
        raise InputError(f"a batch of {config.batch} needs as many samples, there are {len(train)}")
    if config.loss not in LOSSES:
        raise UnknownName("loss", config.loss, LOSSES)
    if config.steering not in STEERINGS:
        raise UnknownName("steering", config.steering, STEERINGS)
    loss_of, started = LOSSES[config.loss](**config.arguments), time.perf_counter()
    classifier.to(device).train()
    steer(classifier, config.steering)
    optimizer = torch.optim.Adam(classifier.parameters(), lr=config.learning_rate)
    stream, steps = batches(train, config), config.epochs * (len(train) // config.batch)
    for step in range(steps):
        rate = config.learning_rate * min(1.0, (step + 1) / config.warmup)
        for group in optimizer.param_groups:
            group["lr"] = rate * (0.5 + 0.5 * math.cos(math.pi * step / steps))
        images, labels = next(stream)
        with torch.nn.utils.parametrize.cached():  # compute each steered weight once per step
            logits = classifier(images.to(device))
            loss = loss_of(logits, labels.to(device), training_gaps(classifier))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
        value = float(loss.detach())
        if not math.isfinite(value):
            raise InputError(f"training diverged at step {step}: choose a smaller learning rate")
        optimizer.step()
        on_step(step + 1, steps, value)
    release(classifier)
    secure(classifier)
    classifier.eval().requires_grad_(False)
    return time.perf_counter() - started
