"""What depends on the weights: fresh, stale and unknown are told apart, and a run makes what is stale again."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import refresh

from pnpkit import registry

NOW = "a" * 64
CARDS: Any = {"euler": SimpleNamespace(sha256=NOW, training={"date": "2026-11-29"})}
ROOT = Path(__file__).parent.parent


def artefact(**more: Any) -> refresh.Artefact:
    return refresh.Artefact(**{"name": "it", "record": "it.json", "weights": ("euler",)} | more)


@pytest.mark.parametrize(
    ("record", "state"),
    [
        ({"weights": {"euler": NOW}}, refresh.FRESH),
        ({"sha256": {"euler:half-quadratic": NOW}}, refresh.FRESH),
        ({"weights": {"euler": "b" * 64}}, refresh.STALE),
        ({"date": "2026-11-28"}, refresh.STALE),
        ({"date": "2026-11-29"}, refresh.UNKNOWN),
        (None, refresh.MISSING),
    ],
)
def test_a_record_is_as_fresh_as_its_weights(record: Any, state: str, tmp_path: Path) -> None:
    if record is not None:
        (tmp_path / "it.json").write_text(json.dumps(record))
    assert refresh.look(artefact(), tmp_path, CARDS).state == state


@pytest.mark.parametrize(
    ("part", "record", "state"),
    [
        ("scores", {"scores": {"date": "2026-11-29", "sha256": NOW}}, refresh.FRESH),
        ("audit", {"audit": {"date": "2026-11-30", "sha256": "b" * 64}}, refresh.STALE),
        ("audit", {"audit": {}}, refresh.MISSING),
        ("euler", {"added": {"euler": {"2.55": {"sha256": NOW}, "7.65": {"sha256": NOW}}}}, refresh.FRESH),
        ("euler", {"added": {"euler": {"2.55": {"sha256": NOW}, "7.65": {"sha256": "b" * 64}}}}, refresh.STALE),
        ("euler", {"sha256": {"euler": NOW}, "date": "2026-11-28"}, refresh.FRESH),
        ("euler", {"date": "2026-11-28"}, refresh.STALE),
    ],
)
def test_a_part_of_a_record_has_a_state_of_its_own(part: str, record: Any, state: str, tmp_path: Path) -> None:
    (tmp_path / "it.json").write_text(json.dumps(record))
    assert refresh.look(artefact(part=part), tmp_path, CARDS).state == state


def test_weights_that_are_no_longer_shipped_make_it_stale(tmp_path: Path) -> None:
    (tmp_path / "it.json").write_text(json.dumps({"weights": {"gone": NOW}}))
    found = refresh.look(artefact(weights=("gone",)), tmp_path, CARDS)
    assert found.state == refresh.STALE and "no longer" in found.why


def test_a_command_gets_this_python_and_the_data() -> None:
    words = refresh.arguments("python scripts/x.py --data PATH/bsds500 --only 'a b' --other PATHS", Path("/data"))
    assert words == [sys.executable, "scripts/x.py", "--data", "/data/bsds500", "--only", "a b", "--other", "PATHS"]


def test_a_run_makes_what_is_stale_in_order_and_writes_the_hashes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    maker = tmp_path / "make.py"
    maker.write_text(
        "import json, sys\nname = sys.argv[1]\nopen('log', 'a').write(name)\n"
        "json.dump({'command': f'python make.py {name}', 'date': '2026-12-01'}, open(f'{name}.json', 'w'))\n"
    )
    many = [artefact(name=name, record=f"{name}.json") for name in "abc"]
    for name, date in (("a", "2026-11-28"), ("b", "2026-11-30"), ("c", "2026-11-01")):
        record = {"command": f"python make.py {name}", "date": date}
        (tmp_path / f"{name}.json").write_text(json.dumps(record))
    (tmp_path / "docs" / "results").mkdir(parents=True)
    (tmp_path / "docs" / "results" / "speed.md").write_text("words\n\n| m | s |\n| --- | --- |\n| new | 1 |\n")
    (tmp_path / "README.md").write_text("before\n\n| m | s |\n| --- | --- |\n| old | 2 |\n| gone | 3 |\n\nafter\n")
    monkeypatch.setattr(refresh, "artefacts", lambda: many)
    monkeypatch.setattr(registry, "denoisers", lambda: CARDS)
    monkeypatch.setattr(sys, "argv", ["refresh.py", "--run", "--root", str(tmp_path), "--data", str(tmp_path)])
    with pytest.raises(SystemExit) as stop:
        refresh.main()
    assert stop.value.code == 0 and (tmp_path / "log").read_text() == "ac", "b is newer than the weights"
    assert json.loads((tmp_path / "c.json").read_text())["weights"] == {"euler": NOW}
    assert (tmp_path / "README.md").read_text() == "before\n\n| m | s |\n| --- | --- |\n| new | 1 |\n\nafter\n"
    assert "2 of 2 made again" in capsys.readouterr().out
    assert [refresh.look(a, tmp_path, CARDS).state for a in many] == [refresh.FRESH, refresh.UNKNOWN, refresh.FRESH]


def test_a_command_that_fails_ends_the_run_and_leaves_the_record(tmp_path: Path) -> None:
    (tmp_path / "it.json").write_text(json.dumps({"command": "python nothing.py", "date": "2026-11-01"}))
    found = refresh.look(artefact(), tmp_path, CARDS)
    with pytest.raises(SystemExit, match="it: exit"):
        refresh.run(found, tmp_path, tmp_path, CARDS, keep_going=False)
    assert not refresh.run(found, tmp_path, tmp_path, CARDS, keep_going=True)
    assert "weights" not in json.loads((tmp_path / "it.json").read_text())


def test_the_list_takes_seconds_and_knows_every_denoiser(capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    monkeypatch.setattr(sys, "argv", ["refresh.py", "--list"])
    started = time.process_time()
    refresh.main()
    assert time.process_time() - started < 3
    said = capsys.readouterr().out
    assert all(f"audit of {name}" in said and f"scores of {name}" in said for name in registry.denoisers())


def test_every_record_that_is_named_exists_or_was_never_made() -> None:
    """A record that was renamed would be "missing" for ever."""
    made_later = {"docs/results/guide.json", "docs/results/published.json"}
    absent = {a.record for a in refresh.artefacts() if not (ROOT / a.record).exists()}
    assert absent <= made_later
