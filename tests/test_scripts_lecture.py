"""Every study of the lecture runs in its fast mode and leaves figures, tables and a page; stored results are whole."""

from __future__ import annotations

import csv
import importlib
import json
import re
from pathlib import Path
from types import ModuleType, SimpleNamespace

import process
import pytest
import torch
from lecture_studies import gradients, restoration, structures, sympnets
from lecture_studies.palette import look

from pnpkit.errors import UnknownName
from pnpkit.structure import circle, sphere

ROOT = Path(__file__).parent.parent
STORED = sorted(p for p in (ROOT / "docs" / "lecture").glob("*.json") if not p.name.startswith("robust-"))


@pytest.fixture(scope="module")
def lecture() -> ModuleType:
    return importlib.import_module("lecture")


def names() -> list[str]:
    text = (ROOT / "scripts" / "lecture.py").read_text()
    found = re.findall(r'^    "([a-z-]+)": [a-z]', text, re.M)
    return [*found, "sympnet-oscillator", "sympnet-kepler", "gradients-12"]


@pytest.mark.parametrize("name", names())
def test_fast_mode_leaves_pictures_numbers_and_a_page(name: str, lecture: ModuleType, tmp_path: Path) -> None:
    before, random = process.settings(), torch.get_rng_state()
    lecture.main([name, "--fast", "--out", str(tmp_path)])
    assert process.settings() == before and torch.equal(torch.get_rng_state(), random)
    record = json.loads((tmp_path / f"{name}.json").read_text())
    assert record["pictures"] and record["table"] and record["rows"]
    for picture in record["pictures"]:
        assert (tmp_path / picture).read_bytes()[:4] in (b"\x89PNG", b"GIF8")
    for table in record["tables"]:
        rows = list(csv.DictReader((tmp_path / table).read_text().splitlines()))
        assert rows and all(None not in row.values() for row in rows)
    page = (tmp_path / "RESULTS.md").read_text()
    assert record["title"] in page and record["command"] in page


def test_a_study_leaves_the_process_as_it_found_it(lecture: ModuleType, tmp_path: Path) -> None:
    """That of another number of threads; every study is asked for the rest of it where it runs."""
    torch.set_num_threads(2)
    try:
        before, random = process.settings(), torch.get_rng_state()
        lecture.perform("gradient-flow", True, 0, tmp_path, 1, [])
        assert process.settings() == before and not before.flushes
        assert torch.equal(torch.get_rng_state(), random)
    finally:
        torch.set_num_threads(1)


def test_settings_are_put_back_after_a_failure_too() -> None:
    before = process.settings()
    with pytest.raises(ZeroDivisionError), process.put_back():
        torch.set_flush_denormal(True)
        torch.set_default_dtype(torch.float64)
        assert process.settings() != before and process.flushes_denormals()
        raise ZeroDivisionError
    assert process.settings() == before


def test_a_method_looks_the_same_everywhere_and_like_no_other_beside_it() -> None:
    beside = [sympnets.SHOWN, tuple(gradients.networks(64)), sphere.KINDS, circle.WAYS, restoration.REPEATED]
    for methods in beside:
        assert len({tuple(look(name).values()) for name in methods}) == len(methods)
    assert look("ResNet")["color"] not in {look(name)["color"] for name in sympnets.SHOWN if name != "ResNet"}
    with pytest.raises(UnknownName, match="G-SympNet"):
        look("H-SympNet")


def test_losses_are_said_and_wins_are_not() -> None:
    def made(kind: str, before: float, after: float) -> SimpleNamespace:
        return SimpleNamespace(kind=kind, before=before, energy=SimpleNamespace(largest=after), error=after)

    runs = [made("G-SympNet", 0.5, 19.0), made("HNN, midpoint rule", 0.5, 0.1), made("ResNet", 3.0, 2.0)]
    study = SimpleNamespace(of=lambda kind: [r for r in runs if r.kind == kind], kinds=lambda: [r.kind for r in runs])
    said = " ".join(sympnets.losses(study))  # type: ignore[arg-type]
    assert "The ResNet beats G-SympNet (19): its median energy error is 2." in said
    assert "energy error of G-SympNet from 0.5 to 19" in said and "HNN" not in said
    kept, plain = (SimpleNamespace(kind=k, error=torch.tensor([v])) for k, v in (("structured", 2.0), ("plain", 1.0)))
    measures = {"error": lambda r: r.error}
    assert "plain network beats the structured one" in structures.losses([kept, plain], measures)[0]
    assert structures.losses([plain, kept], measures) == []


def test_item_6_on_tiny_data_leaves_its_page(lecture: ModuleType, tmp_path: Path) -> None:
    before, random = process.settings(), torch.get_rng_state()
    lecture.main(["robust", "--fast", "--out", str(tmp_path)])
    assert process.settings() == before and torch.equal(torch.get_rng_state(), random)
    record = json.loads((tmp_path / "robust-synthetic.json").read_text())
    assert (
        record["command"] == "python scripts/evaluate_classifiers.py --fast --threads " + record["command"].split()[-1]
    )
    assert "## synthetic" in (tmp_path / "robust.md").read_text()
    assert (tmp_path / "robust-synthetic.png").read_bytes()[:4] == b"\x89PNG"


def test_all_makes_item_6_where_its_data_are(lecture: ModuleType, tmp_path: Path) -> None:
    assert lecture.chosen(["all"], False, [tmp_path]) == [*lecture.CLASSIFIERS, *lecture.STUDIES]
    assert lecture.chosen(["all"], False, []) == list(lecture.STUDIES)
    assert lecture.chosen(["all"], True, []) == ["robust-synthetic", *lecture.STUDIES]
    for name, options in lecture.CLASSIFIERS.items():
        stored = json.loads((ROOT / "docs" / "lecture" / f"{name}.json").read_text())["command"]
        assert f"--data PATH {options} --threads" in stored, "the page was made by what `robust` does"


def test_item_6_without_its_data_is_refused_at_once(
    lecture: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PNPKIT_CLASSIFY", raising=False)
    with pytest.raises(SystemExit, match="no fashion-mnist under"):
        lecture.main(["all", "--data", str(tmp_path), "--out", str(tmp_path / "out")])
    with pytest.raises(SystemExit):
        lecture.main(["robust"])
    assert "--data PATH" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("path", STORED, ids=lambda p: p.stem)
def test_stored_results_are_whole_and_on_the_page(path: Path, lecture: ModuleType) -> None:
    record = json.loads(path.read_text())
    assert path.stem in lecture.STUDIES, "made by a study that exists"
    assert "--fast" not in record["command"] and re.fullmatch(r"\d{4}-\d\d-\d\d", record["date"])
    for name in [*record["pictures"], *record["tables"]]:
        assert (path.parent / name).stat().st_size > 0
    assert lecture.section(path.stem, record) in (path.parent / "RESULTS.md").read_text()


def test_every_item_of_the_lecture_has_a_study_and_a_picture(lecture: ModuleType) -> None:
    records = {path.stem: json.loads(path.read_text()) for path in STORED}
    shown = {item for record in records.values() for item in record["rows"]}
    assert shown == set(lecture.ITEMS) - {6}, "item 6 has a page of its own"
    page = (ROOT / "docs" / "lecture" / "RESULTS.md").read_text()
    ordered = {name: records[name] for name in lecture.STUDIES}
    assert lecture.overview(ordered) in page
    for link in re.findall(r"\]\(([^)]+)\)", lecture.overview(ordered)):
        assert (ROOT / "docs" / "lecture" / link).is_file()


@pytest.mark.parametrize("path", STORED, ids=lambda p: p.stem)
def test_whatever_is_trained_is_trained_from_five_seeds(path: Path) -> None:
    trains_nothing = {"gradient-flow", "proximal", "denoising", "repetition", "deblurring"}
    seeds = json.loads(path.read_text())["seeds"]
    assert seeds == 1 if path.stem in trains_nothing else seeds >= 5


def test_the_page_says_what_was_missed(lecture: ModuleType) -> None:
    record = json.loads(STORED[0].read_text())
    verdict = {"what": "a", "authors": "1", "ours": "2", "met": False}
    assert "**missed**" in lecture.section(STORED[0].stem, record | {"verdicts": [verdict]})


def test_two_studies_at_a_time_leave_what_one_after_the_other_would(lecture: ModuleType, tmp_path: Path) -> None:
    words = ["gradient-flow", "proximal", "--fast", "--seed", "3", "--out"]
    lecture.main([*words, str(tmp_path / "1")])
    lecture.main([*words, str(tmp_path / "2"), "--jobs", "2"])
    tables = [sorted((tmp_path / jobs).glob("*.csv")) for jobs in ("1", "2")]
    assert [p.name for p in tables[0]] == [p.name for p in tables[1]] and len(tables[0]) >= 2
    assert [p.read_bytes() for p in tables[0]] == [p.read_bytes() for p in tables[1]]
    assert (tmp_path / "2" / "RESULTS.md").is_file()


def test_no_jobs_are_refused(lecture: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        lecture.main(["all", "--jobs", "0"])
    assert "at least 1" in capsys.readouterr().err


def test_unknown_studies_are_refused(lecture: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        lecture.main(["sympnet-keppler"])
    assert "invalid choice" in capsys.readouterr().err
