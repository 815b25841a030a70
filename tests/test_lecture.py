"""Every study of the lecture runs in its fast mode and leaves figures, tables and a page; stored results are whole."""

from __future__ import annotations

import csv
import importlib
import json
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parent.parent
STORED = sorted(p for p in (ROOT / "docs" / "lecture").glob("*.json") if not p.name.startswith("robust-"))


@pytest.fixture(scope="module")
def lecture() -> ModuleType:
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        return importlib.import_module("lecture")
    finally:
        sys.path.remove(str(ROOT / "scripts"))


def names() -> list[str]:
    text = (ROOT / "scripts" / "lecture.py").read_text()
    found = re.findall(r'^    "([a-z-]+)": ', text, re.M)
    return [*found, "sympnet-oscillator", "sympnet-kepler", "gradients-12"]


@pytest.mark.parametrize("name", names())
def test_fast_mode_leaves_pictures_numbers_and_a_page(name: str, lecture: ModuleType, tmp_path: Path) -> None:
    lecture.main([name, "--fast", "--out", str(tmp_path)])
    record = json.loads((tmp_path / f"{name}.json").read_text())
    assert record["pictures"] and record["table"] and record["rows"]
    for picture in record["pictures"]:
        assert (tmp_path / picture).read_bytes()[:4] in (b"\x89PNG", b"GIF8")
    for table in record["tables"]:
        rows = list(csv.DictReader((tmp_path / table).read_text().splitlines()))
        assert rows and all(None not in row.values() for row in rows)
    page = (tmp_path / "RESULTS.md").read_text()
    assert record["title"] in page and record["command"] in page


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


def test_the_page_says_what_was_missed(lecture: ModuleType) -> None:
    record = json.loads(STORED[0].read_text())
    verdict = {"what": "a", "authors": "1", "ours": "2", "met": False}
    assert "**missed**" in lecture.section(STORED[0].stem, record | {"verdicts": [verdict]})


def test_no_jobs_are_refused(lecture: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        lecture.main(["all", "--jobs", "0"])
    assert "at least 1" in capsys.readouterr().err


def test_unknown_studies_are_refused(lecture: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        lecture.main(["sympnet-keppler"])
    assert "invalid choice" in capsys.readouterr().err
