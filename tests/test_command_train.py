"""``pnpkit train``: any folder of pictures in, a denoiser with its certificate out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import pnpkit as pk
from pnpkit.errors import InputError
from pnpkit.images import files, picture
from pnpkit.training import pictures
from pnpkit.training.recipes import RECIPES

Cli = Callable[..., tuple[int, str, str]]
SHORT = ("--patch", 16, "--batch", 2, "--precision", "float32", "--device", "cpu")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Pictures of five types in nested folders, one of them too small and one that is none."""
    folder = tmp_path / "data"
    (folder / "a" / "deep").mkdir(parents=True)
    random = np.random.default_rng(0)
    colour, grey = random.random((24, 30, 3)), random.random((20, 20))
    files.write(folder / "one.png", picture.Picture(colour))
    files.write(folder / "a" / "two.jpg", picture.Picture(colour))
    files.write(folder / "a" / "deep" / "three.tif", picture.Picture(grey, dtype=np.dtype(np.uint16), high=65535.0))
    files.write(folder / "a" / "four.bmp", picture.Picture(grey))
    files.write(folder / "small.png", picture.Picture(grey[:8, :8]))
    (folder / "none.png").write_bytes(b"no picture")
    (folder / ".hidden.png").write_bytes(b"hidden")
    (folder / "notes.txt").write_text("no picture")
    return folder


def test_a_folder_of_any_pictures_becomes_a_denoiser(cli: Cli, data: Path, tmp_path: Path) -> None:
    place = tmp_path / "mine"
    code, out, error = cli("train", "wavelet", "--data", data, "--folder", place, "--steps", 2, *SHORT)
    assert code == 0, error
    for word in ("held out by seed 0", "2 left out", "2 steps", "GiB of pictures", "resume", "written:", "next:"):
        assert word in out, word
    kept = json.loads((place / "pictures.json").read_text())
    assert not set(kept["train"]) & set(kept["held_out"]) and len(kept["train"]) == 3
    D = pk.load_denoiser(place / "denoiser")
    assert D.certificate.averaged and pk.certify(place / "denoiser").averaged
    assert D.at(0.1)(torch.ones(1, 3, 8, 8)).shape == (1, 3, 8, 8)

    code, _, error = cli("train", "wavelet", "--data", data, "--folder", place, "--steps", 2, *SHORT)
    assert code == 2 and "--resume" in error
    code, out, error = cli("train", "wavelet", "--data", data, "--folder", place, "--steps", 3, "--resume", *SHORT)
    assert code == 0 and "3 steps" in out, error


def test_a_run_that_was_stopped_can_be_taken_as_it_is(cli: Cli, data: Path, tmp_path: Path) -> None:
    place = tmp_path / "mine"
    assert cli("train", "wavelet", "--data", data, "--folder", place, "--steps", 1, "--quiet", *SHORT)[:2] == (0, "")
    code, out, _ = cli("train", "wavelet", "--data", data, "--folder", place, "--unfinished")
    assert code == 0 and "written:" in out


def test_a_dry_run_tells_and_writes_nothing(cli: Cli, data: Path, tmp_path: Path) -> None:
    place = tmp_path / "mine"
    code, out, _ = cli("train", "euler-fast", "--data", data, "--folder", place, "--dry-run", *SHORT)
    assert code == 0 and "0.75 hours by the clock" in out and "patches a second" in out
    assert not place.exists()


def test_bad_input_is_one_line(cli: Cli, data: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    for arguments, words in (
        (("eulr", "--data", data), "did you mean 'euler'"),
        (("wavelet", "--data", tmp_path / "nowhere"), "expected a folder"),
        (("wavelet", "--data", empty), "at least two images"),
        (("wavelet", "--data", data, "--held-out", 4, "--patch", 16), "pictures on both sides"),
        (("wavelet", "--data", data, "--patch", 4096), "two pictures that can be trained on, got 0: left out are"),
        (("wavelet", "--data", data, "--hours", -1, "--patch", 16), "--hours must be a number above 0, got -1"),
        (("wavelet", "--data", data, "--hours", 0, "--patch", 16), "--hours must be a number above 0, got 0"),
        (("wavelet", "--data", data, "--steps", 0), "expected a whole number of at least 1"),
        (
            ("wavelet", "--data", data, "--steps", 1, "--learning-rate", "nan"),
            "--learning-rate must be a number above 0",
        ),
        (("wavelet", "--data", data, "--folder", empty, "--resume"), "there is none"),
    ):
        code, _, error = cli("train", *arguments)
        assert code == 2 and words in error and error.count("\n") == 1, error


def test_the_split_is_random_disjoint_and_the_same_for_a_seed() -> None:
    names = [str(n) for n in range(100)]
    one = pictures.split(names)
    assert one == pictures.split(names) != pictures.split(names, seed=1)
    assert sorted(one.train + one.held_out) == sorted(names) and len(one.held_out) == 10
    assert len(pictures.split([str(n) for n in range(5000)]).held_out) == pictures.MOST_HELD_OUT
    with pytest.raises(InputError, match="both sides"):
        pictures.split(names, held_out=100)


def test_the_recipes_are_those_of_the_shipped_denoisers() -> None:
    cards = pk.denoisers()
    for name in ("euler-fast", "euler", "wavelet", "ridge", "dncnn"):
        recipe, card = RECIPES[name], cards[name]
        assert recipe.architecture == card.architecture
        assert all(card.arguments[key] == value for key, value in recipe.arguments.items())
        told = {key: value for key, value in card.training.get("config", {}).items() if key.endswith("_rate")}
        assert all(getattr(recipe.config, key) == value for key, value in told.items()), name
