r"""Classifiers that are proven 1-Lipschitz, their certified radii, and the attack that tries to break them.

    config = ClassifierConfig(shape=(1, 28, 28), classes=10, blocks=(("dense", 256),) * 4)
    net = Classifier(config)
    fit(FitConfig("radius", {"target": 1.0}), net, train)          # train: a Split of bytes and labels
    proof = str(net.certify())                                     # the derivation, from the weights
    found = certify_samples(net, images, labels)                   # images in 0..1; found.radius needs no labels
    report = evaluate(net, images, labels, (0.5, 1.0), Attack())   # raises LawBroken if a certified sample breaks

or ``load_classifier("mnist-certified")``; ``classifiers()`` lists what is shipped.
"""

from pnpkit.robust.classifier import Classifier, ClassifierConfig
from pnpkit.robust.datasets import Split
from pnpkit.robust.evaluation import evaluate
from pnpkit.robust.fitting import FitConfig, fit
from pnpkit.robust.pgd import Attack, attack
from pnpkit.robust.radii import certify_samples
from pnpkit.robust.registry import classifiers, load_classifier

__all__ = [
    "Attack",
    "Classifier",
    "ClassifierConfig",
    "FitConfig",
    "Split",
    "attack",
    "certify_samples",
    "classifiers",
    "evaluate",
    "fit",
    "load_classifier",
]
