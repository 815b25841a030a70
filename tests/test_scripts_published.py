"""The table beside what is published: it goes on where it was stopped, and its means and kinds are right."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import published_page
import published_table
import pytest

from pnpkit import kernels


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """The script with two pictures of 24 x 24 and two kernels; returns its scores."""
    (tmp_path / "val").mkdir()
    for number in ("1", "2"):
        pixels = (255 * np.random.default_rng(int(number)).random((24, 24, 3))).astype(np.uint8)
        imageio.imwrite(tmp_path / "val" / f"{number}.jpg", pixels)
    for number in range(1, 9):
        np.save(tmp_path / f"levin09_{number}.npy", kernels.motion(3, 20 * number))
    monkeypatch.setattr(published_table, "CBSD10", ("3", "4"))  # which --fast does not touch

    def runner(*more: str) -> list[dict]:
        arguments = ["--data", tmp_path, "--kernels", tmp_path, "--folder", tmp_path, "--fast", "--noises", "7.65"]
        monkeypatch.setattr(sys, "argv", ["published_table.py", *map(str, arguments), *more])
        published_table.main()
        kept = tmp_path / "published-fast" / "scores.jsonl"
        return [json.loads(line) for line in kept.read_text().splitlines()]

    return runner


def test_it_goes_on_where_it_was_stopped(run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    names = ("--names", "wavelet", "ridge:minimum")
    first = run(*names, "--steps", "3")
    assert len(first) == 2 * 2 * 2 and {row["kind"] for row in first} == {
        "fixed point, from any start",
        "global minimum",
    }
    kept = tmp_path / "published-fast" / "scores.jsonl"
    kept.write_text(kept.read_text()[:-40])  # killed while it wrote
    done = []
    whole = published_table.restored
    monkeypatch.setattr(published_table, "restored", lambda case, *how: done.append(case) or whole(case, *how))
    assert [line for line in published_table.scores(kept)] == [
        tuple(r[k] for k in published_table.KEY) for r in first[:-1]
    ]
    with pytest.raises(json.JSONDecodeError):  # the torn line stays where it was, and is passed over
        run(*names, "--steps", "3")
    assert len(done) == 1 and len(published_table.scores(kept)) == len(first)
    assert (tmp_path / "published-fast" / "published.md").read_text().startswith("A CHECK OF THE SCRIPT")
    assert not (tmp_path / "published").exists()


def test_scores_of_other_weights_are_not_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = published_table.Case("1", "box 9", 2.55, "euler-fast")
    published_table.keep(tmp_path / "s.jsonl", dict(zip(published_table.KEY, case.key(), strict=True)))
    assert case.key() in published_table.scores(tmp_path / "s.jsonl")
    monkeypatch.setattr(published_table, "sha256_of", lambda name: "other")
    assert case.key() not in published_table.scores(tmp_path / "s.jsonl")


def test_the_unclipped_score_is_of_values_as_they_are() -> None:
    clean = np.full((4, 4, 3), 0.9)
    assert published_table.plain_psnr(clean + 0.2, clean) == pytest.approx(-20 * np.log10(0.2))


def test_a_mean_says_how_many_runs_are_missing() -> None:
    rows = [{"name": "a", "noise": 2.55, "kernel": "box 9", "psnr": p, "unclipped": p - 1, "seconds": 1.0,
             "kind": "none"} for p in (30.0, 32.0)]  # fmt: skip
    assert published_page.cell(published_page.mean(rows, "psnr", name="a", noise=2.55), 2) == "31.00"
    assert published_page.cell(published_page.mean(rows, "psnr", name="a", noise=2.55), 5) == "31.00 (2 of 5)"
    text = "\n".join(published_page.table(rows, 2))
    assert "| a | none | 31.00 | 30.00 |" in text and "| DPIR (published) | none |  | 32.50 |" in text
    assert "| DPIR (published) | 28.34 |" in "\n".join(published_page.by_kernel(rows, 2, 2.55))


def test_published_means_are_those_of_their_kernels() -> None:
    for name, values in published_page.BY_KERNEL.items():
        assert np.mean(values) == pytest.approx(published_page.PUBLISHED[name][1][0], abs=0.011)
