"""Small classifiers of every kind of block, and some trained on the synthetic set, to test ``pnpkit.robust`` on."""

from __future__ import annotations

import functools

import torch

from pnpkit.robust import datasets
from pnpkit.robust.classifier import Classifier, ClassifierConfig, secure
from pnpkit.robust.datasets import Split
from pnpkit.robust.training import ClassifierTraining, train_classifier

SHAPE, CLASSES = (1, 8, 8), 4
CONFIGS = {
    "linear": ClassifierConfig(SHAPE, CLASSES, blocks=()),
    "dense": ClassifierConfig(SHAPE, CLASSES, blocks=(("dense", 12), ("dense", 12))),
    "normalised": ClassifierConfig(SHAPE, CLASSES, mean=0.4, deviation=0.25, blocks=(("dense", 12),)),
    "patches": ClassifierConfig(
        SHAPE, CLASSES, channels=2, blocks=(("patches", 2, 6), ("patches", 2, 6, 1), ("unshuffle", 2), ("dense", 8))
    ),
    "convolutions": ClassifierConfig(
        SHAPE, CLASSES, channels=3, blocks=(("conv", 4, 3), ("haar",), ("conv", 4, 3), ("maxpool", 2))
    ),
}
FAST = ClassifierTraining("radius", {"target": 1.0}, epochs=8, batch=50, learning_rate=1e-2, warmup=5)


def lively(name: str) -> Classifier:
    """Random weights far from unit norm, biases that matter, then secured; float64."""
    torch.manual_seed(0)
    classifier = Classifier(CONFIGS[name]).double()
    for parameter in classifier.parameters():
        if parameter.ndim > 0:  # not the step sizes
            parameter.data = parameter.data * 1.7 + 0.3 * torch.randn_like(parameter)
    secure(classifier)
    return classifier.requires_grad_(False)


@functools.cache
def synthetic() -> tuple[Split, Split]:
    return datasets.synthetic(400, SHAPE, CLASSES)


@functools.cache
def trained() -> Classifier:
    torch.manual_seed(0)
    classifier = Classifier(CONFIGS["dense"])
    train_classifier(FAST, classifier, synthetic()[0])
    return classifier


@functools.cache
def plain() -> Classifier:
    """An unconstrained ResNet on the same data."""
    torch.manual_seed(0)
    classifier = Classifier(ClassifierConfig(SHAPE, CLASSES, channels=4, blocks=(("residual", 4, 3),)))
    train_classifier(
        ClassifierTraining("cross-entropy", {"offset": 0.0}, epochs=15, batch=50, learning_rate=1e-2, warmup=5),
        classifier,
        synthetic()[0],
    )
    return classifier
