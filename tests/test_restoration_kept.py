"""A cache: the next run of the same picture begins where this one ended, and nothing is taken on trust."""

from __future__ import annotations

from pathlib import Path

import catalogue
import numpy as np
import pytest
import skimage.data
import torch

import pnpkit as pk
from pnpkit.kernels import Kernel
from pnpkit.restoration import deblur as room
from pnpkit.restoration import kept
from pnpkit.solvers.result import Status

PIXELS = skimage.data.chelsea()[100:132, 130:162]


def run(folder: Path | None, **more: object) -> pk.Restoration:
    settings = {"denoiser": "wavelet", "noise_level": 0.02, "tol": 1e-3, **more}
    return pk.deblur(PIXELS, "disk:1.5", cache=None if folder is None else str(folder), **settings)


def test_the_second_run_is_one_step_and_ends_the_same(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    first, again = run(folder), run(folder)
    assert first.steps > 2 and again.steps == 1 and again.status is Status.CONVERGED and again.guarantee
    assert np.abs(np.asarray(again.image, float) - first.image).max() <= 1
    assert "earlier run" in again.kernel_note and "earlier run" not in first.kernel_note
    assert np.array_equal(first.image, run(None).image)
    half = run(folder, amount=0.5)
    assert half.steps == 1 and half.amount == 0.5


def test_a_guide_is_kept_and_only_the_second_pass_is_made(tmp_path: Path) -> None:
    guided = catalogue.guided().float()
    first, again = (run(tmp_path, denoiser=guided, max_steps=400) for _ in range(2))
    assert first.guide_steps > 0 and again.guide_steps == 0 and again.steps < first.steps
    assert np.abs(np.asarray(again.image, float) - first.image).max() <= 1
    (file,) = tmp_path.glob("*-run.safetensors")
    assert set(kept.load(file)[0]) == {"guide", "end"}


OTHERS: list[dict[str, object]] = [{"noise_level": 0.03}, {"denoiser": "identity"}, {"tau": 3.0}, {"limits": (0, 0.9)}]


@pytest.mark.parametrize("more", OTHERS)
def test_another_problem_has_another_file(tmp_path: Path, more: dict[str, object]) -> None:
    run(tmp_path, max_steps=30)
    assert run(tmp_path, max_steps=30, **more).steps > 1


def test_a_damaged_file_counts_as_none_and_is_written_anew(tmp_path: Path) -> None:
    steps = run(tmp_path).steps
    (file,) = tmp_path.glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:100])
    assert run(tmp_path).steps == steps and run(tmp_path).steps == 1
    kept.store(file, {"end": torch.full((1, 3, 4, 4), torch.nan)})
    assert run(tmp_path).steps == steps


def test_an_estimated_kernel_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found, asked = Kernel(np.full((3, 3), 1 / 9), "ESTIMATED", 0.8, "box:3", ("a doubt",)), list[int]()

    def estimate(*_: object) -> Kernel:
        asked.append(1)
        return found

    monkeypatch.setattr(room, "open_kernel", estimate)
    for _ in range(2):
        blur = pk.deblur(PIXELS, denoiser="wavelet", tol=1e-2, cache=str(tmp_path)).blur
        assert blur is not None and np.array_equal(blur.weights, found.weights)
        assert (blur.origin, blur.confidence, blur.form, blur.doubts) == ("ESTIMATED", 0.8, "box:3", ("a doubt",))
    assert len(asked) == 1


@pytest.mark.parametrize("words", [{}, {"about": "{"}, {"about": "[]"}, {"about": '{"weights": {"origin": ""}}'}])
def test_a_kernel_that_is_none_counts_as_none(tmp_path: Path, words: dict[str, str]) -> None:
    place = kept.place(tmp_path, "key", "kernel")
    kept.store(place, {"weights": torch.ones(3, 3) / 9}, words)
    assert kept.kept_kernel(place) is None
    kept.keep_kernel(place, Kernel(np.full((3, 3), np.nan), "ESTIMATED", 0.8, "box:3"))
    assert kept.kept_kernel(place) is None


def test_a_cache_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for wrong, words in (("", "name of a folder"), (3, "name of a folder"), (tmp_path / "file", "is a file")):
        with pytest.raises(pk.InputError, match=words):
            pk.deblur(PIXELS, "disk:1.5", cache=wrong)
