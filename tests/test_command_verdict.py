"""The verdict is short, plain, and says what happened: also that nothing did, or that it went wrong."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import skimage.data

from pnpkit import kernels
from pnpkit.command import tasks, verdict
from pnpkit.images import files
from pnpkit.images.picture import Picture
from pnpkit.restoration import deblur, denoise, result
from pnpkit.restoration.settings import Settings
from pnpkit.solvers.result import Status

MATHEMATICS = ("prox", "averaged", "tau", "lipschitz", "proj", "residual")
SETTINGS = Settings("wavelet", max_steps=2)
TASK = tasks.Deblur("auto", "unknown")


@pytest.fixture(scope="module")
def picture() -> Picture:
    return Picture(skimage.data.chelsea()[100:148, 130:178] / np.float32(255))


@pytest.fixture(scope="module")
def run(picture: Picture) -> result.Restoration:
    return deblur.deblur(picture.pixels, "disk:1.5", denoiser="wavelet", tol=1e-3)


def told(run: result.Restoration, picture: Picture, task: tasks.Task = TASK) -> verdict.Verdict:
    return verdict.verdict(task, SETTINGS, picture, run)


def estimated(run: result.Restoration, form: str, confidence: float) -> result.Restoration:
    """The run with a blur that was estimated."""
    weights = {"sharp": np.ones((1, 1)), "free-form": np.full((7, 9), 1 / 63)}.get(form)
    weights = kernels.parse(form) if weights is None else weights
    return replace(run, blur=kernels.Kernel(weights, "ESTIMATED", confidence, form))


def ended(run: result.Restoration, status: Status) -> result.Restoration:
    return replace(run, run=replace(run.run, status=status))


def test_what_converged_is_said_in_two_sentences(run: result.Restoration, picture: Picture) -> None:
    found = told(run, picture, tasks.Deblur("disk:1.5", "unknown"))
    assert len(found.sentences) == 2
    assert "the one you gave (disk:1.5)" in found.found and "removed" in found.done and not found.advice


def test_a_kernel_of_a_file_is_named_with_what_may_be_wrong_with_it(run: result.Restoration, picture: Picture) -> None:
    doubtful = replace(run, blur=kernels.Kernel(np.eye(9) / 9, "given: k.npy", doubts=("its centre of mass is off",)))
    found = told(doubtful, picture, tasks.Deblur("k.npy", "unknown"))
    assert "k.npy" in found.found and "centre of mass" in found.advice


def test_nothing_done_is_said_as_that(run: result.Restoration, picture: Picture) -> None:
    same = estimated(replace(run, image=picture.pixels.copy()), "sharp", 0.95)
    found = told(same, picture)
    assert found.done.startswith("Nothing was done") and not found.advice
    assert "onverged" not in " ".join(found.sentences)
    noisy = replace(same, image=picture.pixels + np.float32(0.02) * np.sign(picture.pixels - 0.5))
    assert told(noisy, picture).done == "Only noise was removed."
    assert "Nothing was done" in told(replace(noisy, image=picture.pixels), picture, tasks.Denoise()).done


@pytest.mark.parametrize(
    ("spec", "confidence", "words", "advice"),
    [
        ("motion:7,30", 0.95, "a straight motion (motion:7,30, estimated, sure: 0.95)", ""),
        ("gaussian:1.5", 0.6, "a soft blur (gaussian:1.5, estimated, fairly sure: 0.60)", ""),
        ("disk:2", 0.3, "a lens out of focus (disk:2, estimated, not sure: 0.30)", "Look at the edges"),
        ("free-form", 0.8, "within 9 x 7 pixels (estimated, fairly sure: 0.80)", "Look at the edges"),
        ("sharp", 0.19, "No blur was found (not sure: 0.19)", "name the blur: --kernel"),
    ],
)
def test_how_sure_a_blur_is(
    run: result.Restoration, picture: Picture, spec: str, confidence: float, words: str, advice: str
) -> None:
    found = told(estimated(run, spec, confidence), picture)
    assert words in found.found
    assert advice in found.advice and bool(advice) == bool(found.advice)


def test_a_picture_that_tells_nothing_is_said_to() -> None:
    flat = Picture(np.full((20, 20), np.float32(0.5)))
    run = deblur.deblur(flat.pixels, denoiser="identity", max_steps=1)
    assert "too small or too flat" in told(run, flat).found


@pytest.mark.parametrize(
    ("status", "done", "advice"),
    [
        (Status.STEP_LIMIT, "before it had settled", "--max-steps 4"),
        (Status.FALSIFIED, "contradicts its own guarantee", "--denoiser euler"),
        (Status.DIVERGED, "worse from step to step", "--denoiser euler"),
        (Status.NOT_FINITE, "NaN or infinity", "--denoiser euler"),
    ],
)
def test_what_went_wrong_comes_with_what_to_do(
    run: result.Restoration, picture: Picture, status: Status, done: str, advice: str
) -> None:
    found = told(ended(run, status), picture, tasks.Deblur("disk:1.5", "unknown"))
    assert done in found.done and advice in found.advice


@pytest.mark.parametrize(
    ("level", "words"),
    [(0.0, "hardly any noise (0 of 255)"), (0.01, "a little noise (2.55 of 255)"), (0.2, "strong noise (51 of 255)")],
)
def test_noise_is_in_the_units_of_the_file(run: result.Restoration, picture: Picture, level: float, words: str) -> None:
    run = replace(run, noise_level=level, span=1.0)
    assert words in told(run, picture).found
    deep = replace(picture, dtype=np.dtype(np.uint16), high=65535.0)
    assert f"{level * 65535:.3g} of 65535" in verdict.noise_words(run, deep, False)
    counts = replace(picture, dtype=np.dtype(np.float32), low=-50.0, high=150.0)
    assert f"({level * 200:.3g}, as you said)" in verdict.noise_words(run, counts, True)


def test_noise_beyond_the_denoiser_is_said_to_be_left(picture: Picture) -> None:
    noisy = picture.pixels + np.float32(0.3) * np.random.default_rng(0).standard_normal(picture.pixels.shape)
    run = denoise.denoise(noisy, 0.3, denoiser="wavelet")
    some = replace(run, run=replace(run.run, strength=0.1 / run.span))
    assert "some is left" in told(some, replace(picture, pixels=noisy), tasks.Denoise()).done
    assert told(run, replace(picture, pixels=noisy), tasks.Denoise()).done == "Noise was removed."


@pytest.mark.parametrize("seconds, words", [(0.44, "0.4 s"), (12.3, "12 s"), (59.7, "1 min 0 s"), (3900, "1 h 5 min")])
def test_durations_are_said_as_a_person_does(seconds: float, words: str) -> None:
    assert verdict.duration(seconds) == words


@pytest.mark.parametrize(
    "words",
    [
        ("deblur", "--kernel", "disk:2"),
        ("deblur",),
        ("denoise",),
        ("upscale",),
    ],
)
def test_a_default_run_says_at_most_six_lines_without_mathematics(
    cli, tmp_path: Path, picture: Picture, words: tuple[str, ...]
) -> None:  # type: ignore[no-untyped-def]
    files.write(tmp_path / "in.png", picture)
    more = () if words[0] == "denoise" else ("--max-steps", 2)
    code, text, error = cli(words[0], tmp_path / "in.png", *words[1:], "--denoiser", "wavelet", *more)
    assert code == 0 and error == "" and len(text.splitlines()) <= 6
    assert not [word for word in MATHEMATICS if word in text.replace(str(tmp_path), "").lower()]
    assert max(map(len, text.replace(str(tmp_path), "").splitlines())) < 130


def test_the_derivation_and_the_half_page_come_when_asked_for(cli, tmp_path: Path, picture: Picture) -> None:  # type: ignore[no-untyped-def]
    files.write(tmp_path / "in.png", picture)
    common = ("deblur", tmp_path / "in.png", "--kernel", "disk:2", "--denoiser", "wavelet", "--max-steps", 2)
    _, text, _ = cli(*common, "--proof", "-o", tmp_path / "a.png")
    assert "-averaged" in text and "guarantee: converges to a fixed point from any start" in text
    assert text.count("exact arithmetic") == 1, "each premise once"
    _, text, _ = cli(*common, "--explain", "-o", tmp_path / "b.png")
    for title in ("What was solved.", "Why it can be trusted.", "What was assumed.", "How it ended."):
        assert text.count(title) == 1
    assert "averaged" not in text and cli(*common, "--quiet", "--proof", "-o", tmp_path / "c.png")[1] == ""


def test_the_explanation_follows_what_came_of_the_run(run: result.Restoration) -> None:
    text = run.explain()
    assert "wherever one starts" in text and "the picture has settled" in text and "the kernel of 3 x 3 pixels" in text
    assert not re.search(r"\b(prox|averaged|tau|Lipschitz|proj|A_adjoint)\b", text), text
    bare = deblur.deblur(np.asarray(run.image), "disk:1.5", denoiser=lambda x, sigma: x, max_steps=1).explain()
    assert "nothing is guaranteed" in bare and "limit of steps" in bare
    guessed = estimated(run, "motion:5,0", 0.3).explain()
    assert "confidence 0.30, which is doubtful" in guessed
