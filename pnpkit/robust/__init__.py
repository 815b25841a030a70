r"""Classifiers that are proven to be 1-Lipschitz, their certified radii, and an attack that tests them.

    config = ClassifierConfig(shape=(1, 28, 28), classes=10, blocks=(("dense", 256),) * 4)
    net = Classifier(config)
    train_classifier(ClassifierTraining("radius", {"target": 1.0}), net, train)  # train: a Split of bytes and labels
    proof = str(net.certify())                                     # the derivation, from the weights
    found = certify_samples(net, images, labels)                   # images in 0..1; found.radius needs no labels
    report = evaluate(net, images, labels, (0.5, 1.0), Attack())   # raises LawBroken if a certified sample breaks

``load_classifier("mnist-certified")`` loads a shipped classifier; ``classifiers()`` lists them.
"""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
