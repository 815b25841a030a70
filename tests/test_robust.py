"""Certified classifiers: the proof holds for the whole net, the radii are sound, and the attack cannot break them."""

from __future__ import annotations

import math

import catalogue
import classifiers
import numpy as np
import pytest
import torch
from classifiers import CONFIGS
from torch.autograd.functional import jacobian

from pnpkit.certificates import Side
from pnpkit.errors import InputError, LawBroken, UnknownName
from pnpkit.robust import losses
from pnpkit.robust.classifier import Classifier, ClassifierConfig, release, steer
from pnpkit.robust.evaluation import evaluate
from pnpkit.robust.pgd import Attack
from pnpkit.robust.radii import certify_samples, margin_radii, radii
from pnpkit.robust.training import ClassifierTraining, augment, train_classifier


def pictures(count: int = 12, seed: int = 0) -> torch.Tensor:
    return catalogue.image(count, *classifiers.SHAPE, seed=seed)


@pytest.mark.parametrize("name", CONFIGS)
def test_the_whole_net_is_proven_nonexpansive_and_its_jacobians_agree(name: str) -> None:
    classifier = classifiers.lively(name)
    certificate = classifier.certify()
    assert certificate.nonexpansive and certificate.side is Side.PROVEN and "rounding" in str(certificate)
    for x in pictures(6):
        matrix = jacobian(classifier, x[None]).reshape(classifiers.CLASSES, -1)
        assert float(torch.linalg.matrix_norm(matrix, 2)) <= certificate.lipschitz
        differences = torch.linalg.vector_norm(matrix[:, None] - matrix[None], dim=2)
        assert bool((differences <= classifier.gaps()).all())


def test_the_proof_of_a_linear_net_is_tight() -> None:
    classifier = classifiers.lively("linear")
    matrix = jacobian(classifier, pictures(1)).reshape(classifiers.CLASSES, -1)
    assert float(torch.linalg.matrix_norm(matrix, 2)) == pytest.approx(classifier.certify().lipschitz)


def test_the_input_normalisation_is_counted() -> None:
    classifier = classifiers.lively("normalised")
    assert classifier.certify_features().lipschitz == pytest.approx(4, rel=1e-9)
    assert classifier.gaps()[0, 1] == pytest.approx(
        4 * float((classifier.head.weight[0] - classifier.head.weight[1]).norm())
    )
    assert classifier.certify().nonexpansive


def test_one_expanding_layer_is_seen_by_the_certificate() -> None:
    classifier = classifiers.lively("dense")
    before = classifier.certify().lipschitz
    classifier.layers[0].step.weight.mul_(1.2)
    assert classifier.certify().lipschitz > 1.4 * before


def test_a_plain_resnet_gets_no_certificate_and_no_radius() -> None:
    classifier = classifiers.plain()
    assert classifier.certify().side is Side.MEASURED and math.isinf(classifier.certify().lipschitz)
    test = classifiers.synthetic()[1]
    certified = certify_samples(classifier, test.pixels(), test.labels)
    assert certified.clean() > 0.95 and certified.certified(0.0) == 0 and float(certified.radius.max()) == 0


def test_radii_of_a_linear_classifier_are_distances_to_its_boundary() -> None:
    classifier = classifiers.lively("linear")
    x = pictures()
    logits = classifier(x)
    labels = logits.argmax(1)
    found = radii(logits, labels, classifier.gaps())
    weight = classifier.head.weight
    for index, radius in enumerate(found):
        distances = {
            j: float((logits[index, labels[index]] - logits[index, j]) / (weight[labels[index]] - weight[j]).norm())
            for j in range(classifiers.CLASSES)
            if j != labels[index]
        }
        assert float(radius) == pytest.approx(min(distances.values()), rel=1e-9)
        nearest = min(distances, key=lambda j: distances[j])
        direction = (weight[nearest] - weight[labels[index]]).view(1, *classifiers.SHAPE)
        step = direction / direction.norm()
        assert classifier(x[index : index + 1] + 0.999 * radius * step).argmax() == labels[index]
        assert classifier(x[index : index + 1] + 1.001 * radius * step).argmax() == nearest


def test_the_nearest_class_need_not_be_the_runner_up() -> None:
    logits, labels = torch.tensor([[3.0, 2.0, 1.5]]), torch.tensor([0])
    gaps = torch.tensor([[1.0, 0.5, 2.0], [0.5, 1.0, 1.0], [2.0, 1.0, 1.0]])
    assert float(radii(logits, labels, gaps)) == pytest.approx(0.75)  # the runner-up alone would say 2


@pytest.mark.parametrize("name", CONFIGS)
def test_the_lectures_radius_is_never_above_the_pairwise_one(name: str) -> None:
    classifier = classifiers.lively(name)
    logits = classifier(pictures(40))
    labels = logits.argmax(1)
    coarse = margin_radii(logits, labels, classifier.certify().lipschitz)
    fine = radii(logits, labels, classifier.gaps())
    assert bool((coarse <= fine + 1e-12).all()) and bool((coarse < fine - 1e-6).any())


def test_radii_belong_to_predictions_and_labels() -> None:
    classifier, test = classifiers.trained(), classifiers.synthetic()[1]
    labels = (test.labels + (torch.arange(len(test)) % 5 == 0)) % classifiers.CLASSES  # some are wrong on purpose
    found = certify_samples(classifier, test.pixels(), labels, batch=64)
    assert bool((found.radius >= 0).all())
    torch.testing.assert_close(found.radius[found.correct], found.label_radius[found.correct])
    assert bool((found.label_radius[~found.correct] < 0).all()) and not bool(found.correct.all())
    assert found.clean() == pytest.approx(found.certified(0.0))
    assert found.certified(0.0) >= found.certified(0.5) >= found.certified(1.0)


def test_certificates_do_not_change_the_classifier() -> None:
    classifier = classifiers.trained()
    before = {name: tensor.clone() for name, tensor in classifier.state_dict().items()}
    certify_samples(classifier, pictures().float(), torch.zeros(12, dtype=torch.long))
    after = classifier.state_dict()
    assert all(after[name].dtype == before[name].dtype and torch.equal(after[name], before[name]) for name in before)


@pytest.mark.parametrize("make", [classifiers.trained, classifiers.plain], ids=["certified", "plain"])
@pytest.mark.parametrize("loss", ["cross-entropy", "margin"])
def test_certified_and_broken_is_empty_and_the_accuracies_are_ordered(make: object, loss: str) -> None:
    assert callable(make)
    test = classifiers.synthetic()[1]
    report = evaluate(make(), test.pixels(), test.labels, (0.0, 0.6, 1.2), Attack(15, 0.1, 2, loss))
    assert [point.certified_and_broken for point in report.points] == [0, 0, 0]
    assert report.points[0].attacked == report.clean
    for point in report.points:
        assert point.margin <= point.certified <= point.attacked <= report.clean
        indices, found = report.examples[point.eps]
        assert bool(((found - test.pixels()[indices]).flatten(1).norm(dim=1) <= point.eps + 1e-6).all())
    assert report.points[-1].attacked < report.clean  # the attack does something
    if make is classifiers.trained:
        assert report.points[1].certified > 0.5  # and so does the proof: the comparison is not empty


def test_sparing_certified_samples_changes_no_accuracy() -> None:
    test, net = classifiers.synthetic()[1], classifiers.trained()
    whole, spared = (
        evaluate(net, test.pixels(), test.labels, (0.8, 1.2), Attack(15, 0.1), spare_after=after)
        for after in (None, 50)
    )
    for a, b in zip(whole.points, spared.points, strict=True):
        assert (a.attacked, a.certified, a.margin) == (b.attacked, b.certified, b.margin)
        assert 0 < b.certified_attacked < a.certified_attacked == round(a.certified * len(test))


def test_a_false_certificate_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    test, honest = classifiers.synthetic()[1], Classifier.gaps
    monkeypatch.setattr(Classifier, "gaps", lambda self: honest(self) / 4)
    with pytest.raises(LawBroken, match="within their certified radius"):
        evaluate(classifiers.trained(), test.pixels(), test.labels, (1.0, 1.5, 2.0), Attack(15, 0.1))


def test_training_raises_radii_and_ends_with_a_proof() -> None:
    train, test = classifiers.synthetic()
    torch.manual_seed(0)
    fresh = Classifier(CONFIGS["dense"])
    before = certify_samples(fresh, test.pixels(), test.labels)
    after = certify_samples(classifiers.trained(), test.pixels(), test.labels)
    assert before.certified(0.5) < 0.3 < 0.9 < after.certified(0.5)
    assert classifiers.trained().certify().nonexpansive


@pytest.mark.parametrize("name", ["patches", "convolutions", "normalised"])
@pytest.mark.parametrize("loss", ["multi-margin", "hkr", "cross-entropy"])
def test_every_kind_learns_with_every_loss_and_stays_proven(name: str, loss: str) -> None:
    train, test = classifiers.synthetic()
    torch.manual_seed(0)
    classifier = Classifier(CONFIGS[name])
    train_classifier(ClassifierTraining(loss, epochs=12, batch=50, learning_rate=1e-2, warmup=5), classifier, train)
    found = certify_samples(classifier, test.pixels(), test.labels)
    assert classifier.certify().nonexpansive and found.clean() > 0.8


def test_training_is_reproducible_and_reports_its_steps() -> None:
    seen: list[int] = []

    def run() -> torch.Tensor:
        torch.manual_seed(3)
        classifier = Classifier(CONFIGS["dense"])
        config = ClassifierTraining(epochs=1, batch=50, shift=1, flip=True)
        train = classifiers.synthetic()[0]
        train_classifier(config, classifier, train, on_step=lambda step, steps, loss: seen.append(step))
        return classifier.head.weight

    assert torch.equal(run(), run()) and seen == [1, 2, 3, 4] * 2


def test_augmentation_moves_each_image_by_itself_and_brings_in_zeros() -> None:
    image = torch.zeros(64, 1, 5, 5, dtype=torch.uint8)
    image[:, 0, 2, 2] = 9
    moved = augment(image, ClassifierTraining(shift=1), catalogue.generator())
    assert moved.dtype == torch.uint8 and moved.flatten(1).sum(1).tolist() == [9] * 64
    places = moved.flatten(1).argmax(1).unique().tolist()
    assert places == [6, 7, 8, 11, 12, 13, 16, 17, 18]
    edge = torch.full((8, 1, 3, 3), 7, dtype=torch.uint8)
    assert int(augment(edge, ClassifierTraining(shift=1), catalogue.generator()).min()) == 0
    left = torch.zeros(32, 1, 1, 2, dtype=torch.uint8)
    left[..., 0] = 1
    assert augment(left, ClassifierTraining(flip=True), catalogue.generator())[:, 0, 0, 0].unique().tolist() == [0, 1]


def test_training_that_cannot_work_says_why() -> None:
    train = classifiers.synthetic()[0]
    with pytest.raises(UnknownName, match="hkr"):
        train_classifier(ClassifierTraining("hrk", batch=50), Classifier(CONFIGS["dense"]), train)
    with pytest.raises(UnknownName, match="did you mean 'spectral'"):
        train_classifier(ClassifierTraining(steering="spektral", batch=50), Classifier(CONFIGS["dense"]), train)
    with pytest.raises(InputError, match="a batch of 500"):
        train_classifier(ClassifierTraining(batch=500), Classifier(CONFIGS["dense"]), train)
    broken = Classifier(CONFIGS["dense"])
    broken.head.bias.data.fill_(torch.nan)
    with pytest.raises(InputError, match="diverged"):
        train_classifier(ClassifierTraining(batch=50), broken, train)


def test_steering_and_release_leave_a_plain_state_dict() -> None:
    classifier = Classifier(CONFIGS["convolutions"])
    names = set(classifier.state_dict())
    steer(classifier)
    assert set(classifier.state_dict()) != names
    release(classifier)
    assert set(classifier.state_dict()) == names


def test_inputs_and_configs_that_make_no_sense_are_refused() -> None:
    classifier = classifiers.lively("dense")
    with pytest.raises(InputError, match="expected floats of shape"):
        classifier(torch.zeros(1, 1, 8, 9))
    with pytest.raises(InputError, match="expected floats"):
        classifier(torch.zeros(1, 1, 8, 8, dtype=torch.uint8))
    with pytest.raises(UnknownName, match="did you mean 'dense'"):
        Classifier(ClassifierConfig(blocks=(("dens", 3),)))
    with pytest.raises(InputError, match="do not tile"):
        Classifier(ClassifierConfig((1, 9, 9), blocks=(("unshuffle", 2),)))
    with pytest.raises(InputError, match="at least the image's 3 channels"):
        ClassifierConfig((3, 8, 8), channels=2)
    with pytest.raises(InputError, match="deviation"):
        ClassifierConfig(deviation=0.0)


# Losses against their formulas, written out.


def sample() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    logits = torch.randn(6, 3, generator=catalogue.generator(), dtype=torch.float64)
    gaps = torch.tensor([[1.0, 2.0, 0.5], [2.0, 1.0, 1.5], [0.5, 1.5, 1.0]], dtype=torch.float64)
    return logits, torch.tensor([0, 1, 2, 2, 1, 0]), gaps


def test_multi_margin_is_its_formula() -> None:
    f, y, gaps = sample()
    terms = [max(0.0, 0.7 - float(f[i, y[i]]) + float(f[i, j])) for i in range(6) for j in range(3) if j != y[i]]
    assert float(losses.MultiMargin(0.7)(f, y, gaps)) == pytest.approx(sum(terms) / 18)


def test_cross_entropy_is_its_formula() -> None:
    f, y, gaps = sample()
    total = 0.0
    for i in range(6):
        z = [(float(f[i, j]) - (1.3 if j == y[i] else 0)) / 0.2 for j in range(3)]
        total += 0.2 * (math.log(sum(math.exp(v) for v in z)) - z[int(y[i])])
    assert float(losses.CrossEntropy(0.2, 1.3)(f, y, gaps)) == pytest.approx(total / 6)


def test_hkr_is_its_formula() -> None:
    f, y, gaps = sample()
    spread = [float(f[y == k, k].mean() - f[y != k, k].mean()) for k in range(3)]
    hinge = [max(0.0, 0.4 - (1 if y[i] == k else -1) * float(f[i, k])) for i in range(6) for k in range(3)]
    assert float(losses.HKR(0.8, 5.0)(f, y, gaps)) == pytest.approx(-sum(spread) / 3 + 5 * sum(hinge) / 18)


def test_radius_loss_smooths_the_lacking_radius_from_above() -> None:
    f, y, gaps = sample()
    lack = (1.2 - radii(f, y, gaps)).clamp_min(0).mean()
    assert float(losses.CertifiedRadius(1.2, 1e-3)(f, y, gaps)) == pytest.approx(float(lack), abs=5e-3)
    assert float(losses.CertifiedRadius(1.2, 0.3)(f, y, gaps)) > float(lack)


@pytest.mark.parametrize("name", losses.LOSSES)
def test_losses_fall_when_the_true_logit_rises(name: str) -> None:
    f, y, gaps = sample()
    f.requires_grad_()
    (gradient,) = torch.autograd.grad(losses.LOSSES[name]()(f, y, gaps), f)
    true = gradient.gather(1, y[:, None])
    assert bool(torch.isfinite(gradient).all()) and bool((true <= 0).all()) and float(true.min()) < 0


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (torch.rand(2, 1, 8, 8) * 255, [0, 1], "divide bytes by 255"),
        (torch.rand(2, 1, 8, 8) - 1, [0, 1], "lie in 0..1"),
        (torch.rand(2, 1, 8, 8) * math.nan, [0, 1], "lie in 0..1"),
        (torch.zeros(2, 1, 8, 8, dtype=torch.uint8), [0, 1], "floats"),
        (torch.rand(1, 8, 8), [0], "floats"),
        (torch.rand(2, 1, 8, 8), [0], "2 integers"),
        (torch.rand(2, 1, 8, 8), [0.0, 1.0], "2 integers"),
        (torch.rand(2, 1, 8, 8), [0, 99], "labels from 0 to"),
        (torch.rand(2, 1, 8, 8), [-1, 0], "labels from 0 to"),
    ],
)
def test_no_radius_is_given_where_it_would_mean_nothing(images: torch.Tensor, labels: list, message: str) -> None:
    with pytest.raises(InputError, match=message):
        certify_samples(classifiers.lively("dense"), images, labels)


def test_arrays_are_certified_like_tensors() -> None:
    images, net = torch.rand(3, 1, 8, 8), classifiers.lively("dense")
    one = certify_samples(net, images, torch.tensor([0, 1, 0]))
    two = certify_samples(net, images.numpy(), np.array([0, 1, 0]))
    assert torch.equal(one.radius, two.radius) and torch.equal(one.label_radius, two.label_radius)
