"""The attack: it stays inside its limits, agrees with two independent ones, and finds what there is to find."""

from __future__ import annotations

import warnings

import catalogue
import classifiers
import numpy as np
import pytest
import torch

from pnpkit.robust import pgd
from pnpkit.robust.pgd import Attack, attack


def test_the_result_stays_in_the_ball_and_in_the_box() -> None:
    test = classifiers.synthetic()[1]
    x = test.pixels()
    for eps in (0.01, 0.7, 3.0):
        found, _ = attack(classifiers.plain(), x, test.labels, eps, Attack(8, 0.3, restarts=3))
        assert float((found.double() - x.double()).flatten(1).norm(dim=1).max()) <= eps
        assert float(found.min()) >= 0 and float(found.max()) <= 1


def test_broken_means_misclassified() -> None:
    test = classifiers.synthetic()[1]
    found, broken = attack(classifiers.plain(), test.pixels(), test.labels, 1.0, Attack(15, 0.1, restarts=2))
    assert torch.equal(classifiers.plain()(found).argmax(1) != test.labels, broken)
    assert 0 < int(broken.sum()) < len(test)


def test_what_is_wrong_from_the_start_is_returned_as_it_is() -> None:
    test = classifiers.synthetic()[1]
    wrong = (classifiers.trained()(test.pixels()).argmax(1) + 1) % classifiers.CLASSES
    found, broken = attack(classifiers.trained(), test.pixels(), wrong, 0.5, Attack(5))
    assert bool(broken.all()) and torch.equal(found, test.pixels())


@pytest.mark.parametrize("loss", ["cross-entropy", "margin"])
def test_a_vanishing_gradient_gives_no_nan(loss: str) -> None:
    weight = torch.zeros(4, 64)
    x, labels = catalogue.image(3, 1, 8, 8).float(), torch.zeros(3, dtype=torch.long)
    found, broken = attack(lambda z: z.flatten(1) @ weight.T, x, labels, 1.0, Attack(4, 0.5, 2, loss))
    assert bool(torch.isfinite(found).all()) and not bool(broken.any())


@pytest.mark.parametrize("loss", ["cross-entropy", "margin"])
def test_a_linear_classifier_falls_exactly_beyond_its_radius(loss: str) -> None:
    classifier = classifiers.lively("linear")
    with torch.no_grad():
        classifier.head.weight[2:] = 0.0
        classifier.head.bias[2:] = -100.0  # two classes are left: the radius is the distance to one plane
    x = 0.45 + 0.1 * catalogue.image(6, *classifiers.SHAPE)  # far from the faces of the box
    with torch.no_grad():
        classifier.head.bias[1] += (classifier(x)[:, 0] - classifier(x)[:, 1]).mean()  # the plane passes between them
    logits = classifier(x)
    labels = logits.argmax(1)
    radius = (logits[:, 0] - logits[:, 1]).abs() / (classifier.head.weight[0] - classifier.head.weight[1]).norm()
    for index in range(len(x)):
        one = slice(index, index + 1)
        for factor, falls in ((0.999, False), (1.001, True)):
            _, broken = attack(classifier, x[one], labels[one], float(factor * radius[index]), Attack(40, 0.1, 1, loss))
            assert bool(broken) is falls


def test_restarts_and_steps_only_help() -> None:
    test = classifiers.synthetic()[1]
    counts = [
        int(attack(classifiers.plain(), test.pixels(), test.labels, 0.8, settings)[1].sum())
        for settings in (Attack(2, 0.2), Attack(2, 0.2, restarts=4), Attack(20, 0.2, restarts=4))
    ]
    assert counts[0] <= counts[1] <= counts[2] and counts[0] < counts[2]


def test_random_starts_fill_the_ball() -> None:
    center = torch.full((4000, 1, 1, 2), 0.5)
    start = pgd.random_start(center, 0.4, catalogue.generator())
    radius = (start - center).flatten(1).norm(dim=1) / 0.4
    assert float(radius.max()) <= 1 + 1e-6
    assert float((radius < 0.5).double().mean()) == pytest.approx(0.25, abs=0.03)  # areas, in the plane


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="cross-entropy, margin"):
        Attack(loss="hinge")
    with pytest.raises(ValueError, match="positive"):
        Attack(restarts=0)
    with pytest.raises(ValueError, match="eps"):
        attack(classifiers.plain(), torch.zeros(1, 1, 8, 8), torch.zeros(1, dtype=torch.long), -1.0, Attack())


def reference(weights: list[np.ndarray], x0: np.ndarray, label: int, eps: float, steps: int, size: float) -> bool:
    """PGD on logits W2 relu(W1 x), one sample, gradients by hand, in numpy: written apart from the one in pnpkit."""
    w1, w2 = weights
    x = x0.copy()
    for _ in range(steps):
        hidden = w1 @ x
        logits = w2 @ np.maximum(hidden, 0)
        if logits.argmax() != label:
            return True
        p = np.exp(logits - logits.max())
        p /= p.sum()
        p[label] -= 1
        gradient = w1.T @ ((w2.T @ p) * (hidden > 0))
        x = x + size * eps * gradient / np.sqrt((gradient**2).sum())
        distance = np.sqrt(((x - x0) ** 2).sum())
        if distance > eps:
            x = x0 + (x - x0) * eps / distance
        x = np.minimum(np.maximum(x, 0), 1)
    return bool((w2 @ np.maximum(w1 @ x, 0)).argmax() != label)


def test_it_agrees_with_a_reference_written_in_numpy_to_the_last_sample() -> None:
    generator = np.random.default_rng(0)
    weights = [generator.standard_normal((20, 16)), generator.standard_normal((3, 20))]
    x = generator.uniform(size=(150, 16))
    first, second = (torch.from_numpy(w) for w in weights)

    def classifier(z: torch.Tensor) -> torch.Tensor:
        return torch.relu(z.flatten(1) @ first.T) @ second.T

    images = torch.from_numpy(x).view(-1, 1, 4, 4)
    labels = classifier(images).argmax(1)
    for eps in (0.1, 0.3, 0.6):
        _, broken = attack(classifier, images, labels, eps, Attack(25, 0.1))
        expected = [reference(weights, x[i], int(labels[i]), eps, 25, 0.1) for i in range(len(x))]
        assert broken.tolist() == expected and 0 < sum(expected) < len(x)


def test_it_agrees_with_foolbox_to_the_last_sample() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # foolbox 3.3 imports names that SciPy deprecates
        foolbox = pytest.importorskip("foolbox")
    test = classifiers.synthetic()[1]
    x, model = test.pixels(), foolbox.PyTorchModel(classifiers.plain(), bounds=(0, 1), device="cpu")
    right = classifiers.plain()(x).argmax(1) == test.labels
    x, labels = x[right], test.labels[right]
    theirs = foolbox.attacks.L2PGD(rel_stepsize=0.1, steps=25, random_start=False)
    _, _, success = theirs(model, x, labels, epsilons=[0.8, 1.2, 1.6])
    for eps, expected in zip((0.8, 1.2, 1.6), success, strict=True):
        _, broken = attack(classifiers.plain(), x, labels, eps, Attack(25, 0.1))
        assert torch.equal(broken, expected)
        assert 0 < int(expected.sum()) < len(x)
