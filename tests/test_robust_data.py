"""Data sets are read as they are written; trained classifiers are what their cards say; the scripts run."""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import json
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import classifiers
import numpy as np
import pytest
import torch

from pnpkit.certificates import Certificate, Side
from pnpkit.errors import CardError, InputError, UnknownName
from pnpkit.robust import datasets, registry
from pnpkit.robust.classifier import Classifier, ClassifierConfig, round_to_half, secure
from pnpkit.robust.radii import certify_samples

ROOT = Path(__file__).parent.parent
SHIPPED = sorted(registry.classifiers())
LECTURE = ROOT / "docs" / "lecture"


def bytes_of(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def load_module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"script_{path.parent.name.replace('-', '_')}_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


# Data.


def idx(array: np.ndarray) -> bytes:
    head = b"\0\0\x08" + bytes([array.ndim]) + np.array(array.shape, ">i4").tobytes()
    return gzip.compress(head + array.tobytes())


def write_idx(folder: Path) -> dict[str, np.ndarray]:
    arrays = {}
    folder.mkdir(exist_ok=True)
    for part, count in (("train", 5), ("t10k", 3)):
        arrays[f"{part}-images-idx3"] = bytes_of(count, 28, 28, seed=count)
        arrays[f"{part}-labels-idx1"] = bytes_of(count, seed=count) % 10
    for name, array in arrays.items():
        (folder / f"{name}-ubyte.gz").write_bytes(idx(array))
    return arrays


def test_fashion_mnist_is_read_from_idx_files(tmp_path: Path) -> None:
    arrays = write_idx(tmp_path / "fashion-mnist")
    for place in (tmp_path, tmp_path / "fashion-mnist"):
        train, test = datasets.load("fashion-mnist", place)
        assert np.array_equal(train.images[:, 0].numpy(), arrays["train-images-idx3"])
        assert np.array_equal(test.labels.numpy(), arrays["t10k-labels-idx1"])
        assert train.pixels().dtype == torch.float32 and float(train.pixels().max()) <= 1


def test_mnist_is_made_from_idx_files_and_read_again(tmp_path: Path) -> None:
    arrays = write_idx(tmp_path)
    prepare = load_module(ROOT / "data" / "mnist" / "prepare.py")
    prepare.from_idx(tmp_path)
    train, test = datasets.load("mnist", tmp_path / "mnist.npz")
    assert np.array_equal(test.images[:, 0].numpy(), arrays["t10k-images-idx3"]) and len(train) == 5
    assert len(prepare.problems(tmp_path)) == 2  # far too few digits in both


def test_cifar10_is_made_from_the_binary_version_and_read_again(tmp_path: Path) -> None:
    prepare = load_module(ROOT / "data" / "cifar10" / "prepare.py")
    records = {f"data_batch_{n}": bytes_of(30, prepare.RECORD, seed=n) for n in range(1, 6)}
    records["test_batch"] = bytes_of(7, prepare.RECORD)
    for name, array in records.items():
        array[:, 0] %= 10
        (tmp_path / f"{name}.bin").write_bytes(array.tobytes())
    prepare.from_binary(tmp_path)
    train, test = datasets.load("cifar10", tmp_path)
    assert train.images.shape == (150, 3, 32, 32)  # more than a row of 100 tiles, less than two
    whole = np.concatenate([records[f"data_batch_{n}"] for n in range(1, 6)])
    assert np.array_equal(train.images.numpy(), whole[:, 1:].reshape(-1, 3, 32, 32))
    assert np.array_equal(train.labels.numpy(), whole[:, 0]) and len(test) == 7


@pytest.mark.parametrize("name", datasets.DATASETS)
def test_what_is_not_a_data_set_is_refused(name: str, tmp_path: Path) -> None:
    junk = tmp_path / datasets.DATASETS[name].file
    junk.write_bytes(b"PK\x03\x04 not really")
    for place in (tmp_path / "nowhere", tmp_path, junk):
        with pytest.raises(InputError, match=f"cannot read {name} .*README"):
            datasets.load(name, place)
    with pytest.raises(InputError, match="available: mnist"):
        datasets.load("mnits", tmp_path)
    assert (ROOT / "data" / name / "README.md").exists() and (ROOT / "data" / name / "prepare.py").exists()


def test_a_split_checks_what_it_is_given() -> None:
    with pytest.raises(InputError, match="with N labels"):
        datasets.Split(torch.zeros(3, 1, 2, 2, dtype=torch.uint8), torch.zeros(2))
    with pytest.raises(InputError, match="bytes"):
        datasets.Split(torch.zeros(2, 1, 2, 2), torch.zeros(2))


# Trained classifiers.


def card(classifier: Classifier, name: str = "small") -> registry.ClassifierCard:
    arguments = {**vars(classifier.config)}
    return registry.ClassifierCard(name, "synthetic", arguments, "", classifier.certify(), {}, {}, "", "")


def test_export_and_load_are_inverse_in_half_the_bytes(tmp_path: Path) -> None:
    torch.manual_seed(0)
    classifier = Classifier(ClassifierConfig((1, 8, 8), 4, blocks=(("dense", 32), ("patches", 4, 8, 2))))
    full = registry.export(classifier, card(classifier), tmp_path / "full")
    round_to_half(classifier)
    secure(classifier)
    written = registry.export(classifier, card(classifier), tmp_path / "half")
    again = registry.load_from(tmp_path / "half")
    x = torch.rand(5, 1, 8, 8)
    assert torch.equal(again(x), classifier(x)) and again.name == "small"
    assert all(parameter.dtype == torch.float32 for parameter in again.parameters())
    assert again.certify().nonexpansive and again.certify().lipschitz == written.certificate.lipschitz
    sizes = [(tmp_path / kind / registry.WEIGHTS).stat().st_size for kind in ("half", "full")]
    assert sizes[0] < 0.7 * sizes[1] and written.sha256 != full.sha256
    assert again.config == classifier.config  # tuples come back from JSON's lists


def test_tampered_weights_and_damaged_cards_are_refused(tmp_path: Path) -> None:
    registry.export(classifiers.trained(), card(classifiers.trained()), tmp_path / "a")
    weights = tmp_path / "a" / registry.WEIGHTS
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(bytes(data))
    with pytest.raises(CardError, match="sha256"):
        registry.load_classifier(str(tmp_path / "a"))
    weights.unlink()
    with pytest.raises(CardError, match="cannot read"):
        registry.load_classifier(str(tmp_path / "a"))
    for damage in ("{", "{}", '{"name": "x"}', "[]"):
        (tmp_path / "a" / registry.CARD).write_text(damage)
        with pytest.raises(CardError):
            registry.load_classifier(str(tmp_path / "a"))


def test_an_unknown_classifier_is_named_with_all_there_are() -> None:
    with pytest.raises(UnknownName, match="did you mean 'mnist-certified'.*fashion-certified"):
        registry.load_classifier("mnist-certifed")


def test_the_lectures_classifiers_are_shipped() -> None:
    assert {"mnist-certified", "mnist-accurate", "fashion-certified", "mnist-plain", "fashion-plain"} <= set(SHIPPED)


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_classifier_is_what_its_card_says(name: str) -> None:
    place, said = registry.FOLDER / name, registry.classifiers()[name]
    data = (place / registry.WEIGHTS).read_bytes()
    assert said.name == name and said.data in datasets.DATASETS and said.paper and said.licence
    assert hashlib.sha256(data).hexdigest() == said.sha256 and len(data) < 3_500_000
    assert {"command", "settings", "samples", "seconds", "device", "date"} <= set(said.training)
    assert (place / "training.csv").read_text().startswith("step,seconds,loss")
    classifier = registry.load_classifier(name)
    derived = classifier.certify()
    assert derived.side is said.certificate.side
    if name.endswith("-plain"):
        assert derived.side is Side.MEASURED
    else:
        assert derived.nonexpansive and derived.lipschitz == pytest.approx(said.certificate.lipschitz, rel=1e-6)
    assert Certificate.from_json(json.loads(json.dumps(said.certificate.to_json()))) == said.certificate


@pytest.mark.parametrize("name", [name for name in SHIPPED if not name.endswith("-plain")])
def test_shipped_classifier_survives_a_search_for_its_lipschitz_constant(name: str) -> None:
    """Gradients of differences of logits at points that look like images, in float64: none exceeds its gap."""
    classifier = registry.load_classifier(name).double()
    gaps = classifier.gaps()
    shape = classifier.config.shape
    x = torch.rand(8, *shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_()
    largest = 0.0
    for i in range(3):
        for j in range(3, 6):
            logits = classifier(x)
            (gradient,) = torch.autograd.grad((logits[:, i] - logits[:, j]).sum(), x)
            share = float(gradient.flatten(1).norm(dim=1).max() / gaps[i, j])
            largest = max(largest, share)
    assert largest <= 1 + 1e-12
    assert largest > 0.5  # and the bound is not idle: the layers hardly lose any gradient


@pytest.mark.parametrize("path", sorted(LECTURE.glob("robust-*.json")), ids=lambda p: p.name)
def test_stored_results_are_those_of_the_shipped_weights(path: Path) -> None:
    record = json.loads(path.read_text())
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", record["date"]) and record["command"].startswith("python scripts/")
    text = (LECTURE / "robust.md").read_text()
    for name, scores in record["classifiers"].items():
        assert registry.classifiers()[name].scores == scores and f" | {scores['clean']:.2f} | " in text
        assert scores["samples"] == 10_000
        for point in scores["points"]:
            assert point["certified_and_broken"] == 0
            assert point["certified_by_margin"] <= point["certified"] <= scores["clean"]
            if scores["attacked_samples"] == scores["samples"]:  # else the shares are of different images
                assert point["certified"] <= point["attacked"] <= scores["clean"]


def test_the_classifier_of_the_page_runs(capsys: pytest.CaptureFixture) -> None:
    code = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "howto" / "classify.md").read_text(), re.S)[0]
    exec(code, {"images": torch.rand(3, 1, 28, 28), "labels": torch.tensor([0, 1, 2])})
    assert "mnist-certified: proven, Lipschitz constant <= 0.999999" in capsys.readouterr().out


# Scripts.


def test_training_script_makes_a_classifier_that_loads_and_holds(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    script = load_module(ROOT / "scripts" / "train_classifier.py")
    script.main(["--fast", "--folder", str(tmp_path / "tiny"), "--holdout", "100"])
    said = capsys.readouterr().out
    classifier = registry.load_classifier(str(tmp_path / "tiny"))
    train, _ = datasets.synthetic()
    held = train.part(200, 300)
    found = certify_samples(classifier, held.pixels(), held.labels)
    assert f"clean {100 * found.clean():.2f}" in said and found.certified(0.5) > 0.9
    assert registry.card_of(str(tmp_path / "tiny")).training["samples"] == 200


def test_evaluation_script_draws_writes_and_finds_no_broken_certificate(tmp_path: Path) -> None:
    script = load_module(ROOT / "scripts" / "evaluate_classifiers.py")
    script.main(["--fast", "--out", str(tmp_path)])
    record = json.loads((tmp_path / "robust-synthetic.json").read_text())
    certified, plain = record["classifiers"]["certified"], record["classifiers"]["plain"]
    assert certified["points"][0]["certified"] > 90 and plain["points"][0]["certified"] == 0
    assert all(p["certified_and_broken"] == 0 for p in certified["points"])
    assert record["proven"] == {"certified": True, "plain": False}
    for name in ("robust-synthetic.png", "robust-synthetic-examples.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG") and (tmp_path / name).stat().st_size > 5000
    lines = (tmp_path / "robust-synthetic.csv").read_text().splitlines()
    assert lines[0] == "classifier,eps,certified,certified_by_margin,attacked" and len(lines) > 250
    assert "| certified | " in (tmp_path / "robust.md").read_text()


def test_tradeoff_script_compares_its_variants_on_the_test_set(tmp_path: Path) -> None:
    script = load_module(ROOT / "scripts" / "classifier_tradeoff.py")
    script.main(["--fast", "--epochs", "4", "--out", str(tmp_path)])
    record = json.loads((tmp_path / "robust-tradeoff-synthetic.json").read_text())
    certified = {line["variant"]: line["certified_1.0"] for line in record["variants"]}
    assert set(certified) == set(script.VARIANTS) and record["command"].startswith("python scripts/")
    assert certified["radius 0.25"] < certified["radius 0.75"]  # who asks for a larger radius gets it
    assert certified["spectral"] < certified["radius 1.58"]  # only the steering differs
    assert (tmp_path / "robust-tradeoff-synthetic.png").stat().st_size > 5000


def test_scripts_refuse_to_overwrite_shipped_results_by_accident(capsys: pytest.CaptureFixture) -> None:
    train = load_module(ROOT / "scripts" / "train_classifier.py")
    evaluate = load_module(ROOT / "scripts" / "evaluate_classifiers.py")
    calls: list[tuple[Any, list[str]]] = [
        (train, ["--fast"]),
        (train, ["mnist-certified", "--data", "x", "--set", "epochs=1"]),
        (train, ["mnist-certified", "--fast", "--folder", "x"]),
        (evaluate, ["--fast"]),
    ]
    for script, words in calls:
        with pytest.raises(SystemExit) as caught:
            script.main(words)
        assert caught.value.code == 2
    assert "--fast needs an --out folder" in capsys.readouterr().err
