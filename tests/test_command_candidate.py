"""Not sure is an answer: the likeliest blur is restored apart, as NAME-candidate, with how to ask for it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import skimage.data

from pnpkit import kernels
from pnpkit.blind import choose
from pnpkit.blind.parametric import KernelEstimate
from pnpkit.images import files
from pnpkit.images.picture import Picture
from pnpkit.restoration import deblur, kept

FLAGS = ("--denoiser", "wavelet", "--max-steps", 4)


@pytest.fixture
def photograph(tmp_path: Path) -> Path:
    files.write(tmp_path / "photo.png", Picture(skimage.data.camera()[100:164, 180:252] / 255))
    return tmp_path / "photo.png"


def unsure(spec: str, weights: np.ndarray | None = None) -> KernelEstimate:
    """No blur, and the likeliest one beside."""
    rival = KernelEstimate(kernels.parse(spec) if weights is None else weights, spec, 0.4, ((spec, 0.0),))
    return KernelEstimate(np.ones((1, 1)), "sharp", 0.3, (("sharp", 0.0), (spec, -1.0)), rival)


def test_an_estimate_is_shown_without_its_weights() -> None:
    assert repr(unsure("disk:2")) == "<KernelEstimate sharp of 1 x 1: confidence 0.30, perhaps disk:2>"


def test_the_candidate_is_what_asking_for_it_gives(cli, photograph: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(choose, "estimate", lambda *_: unsure("disk:2"))
    code, text, _ = cli("deblur", photograph, "--json", photograph.with_name("r.json"), *FLAGS)
    place = photograph.with_name("photo-candidate.png")
    assert code == 0 and str(place) in text and "--kernel disk:2" in text and "not sure" in text
    assert len(text.strip().splitlines()) <= 6
    assert json.loads(photograph.with_name("r.json").read_text())["blur"]["candidate"]["form"] == "disk:2"
    cli("deblur", photograph, "--kernel", "disk:2", "-o", photograph.with_name("asked.png"), *FLAGS)
    asked, plain = (files.read(photograph.with_name(name)).pixels for name in ("asked.png", "photo-deblurred.png"))
    np.testing.assert_allclose(files.read(place).pixels, asked, atol=1.5 / 255)
    assert np.abs(files.read(place).pixels - plain).max() > 5 / 255


def test_a_candidate_takes_no_place_that_is_taken(cli, photograph: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(choose, "estimate", lambda *_: unsure("free-form", np.full((3, 3), 1 / 9)))
    place = photograph.with_name("sharp-candidate.png")
    place.write_bytes(b"mine")
    code, text, _ = cli("deblur", photograph, "-o", photograph.with_name("sharp.png"), *FLAGS)
    assert code == 0 and place.read_bytes() == b"mine" and "--kernel free" in text and "stays" in text
    code, text, _ = cli("deblur", photograph, "--preview", *FLAGS)
    assert code == 0 and "--kernel free" in text and not photograph.with_name("photo-candidate.png").exists()


def test_candidates_of_an_earlier_run_are_no_inputs(cli, photograph: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(choose, "estimate", lambda *_: unsure("disk:2"))
    for more in ((), ("--overwrite",)):
        assert cli("deblur", photograph.parent, *FLAGS, *more)[0] == 0
    assert sorted(path.name for path in photograph.parent.iterdir()) == [
        "photo-candidate.png",
        "photo-deblurred.png",
        "photo.png",
    ]


def test_the_library_has_the_candidate_as_a_kernel(photograph: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choose, "estimate", lambda *_: unsure("disk:2"))
    picture = files.read(photograph).pixels
    run = deblur.deblur(picture, denoiser="wavelet", max_steps=2)
    assert run.blur is not None and run.blur.form == "sharp" and run.blur.candidate is not None
    again = deblur.deblur(picture, run.blur.candidate, denoiser="wavelet", max_steps=2)
    assert again.blur is not None and again.blur.form == "disk:2" and again.blur.confidence == 0.4
    kept.keep_kernel(photograph.with_name("k.safetensors"), run.blur)
    found = kept.kept_kernel(photograph.with_name("k.safetensors"))
    assert found is not None and found.form == "sharp" and found.weights.shape == (1, 1)
    assert found.candidate is not None and found.candidate.form == "disk:2" and found.candidate.candidate is None
    np.testing.assert_array_equal(found.candidate.weights, run.blur.candidate.weights)


def test_a_form_is_asked_for_by_its_name(cli, photograph: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    code, _, message = cli("estimate-kernel", photograph, "--kernel", "box")
    assert code == 2 and "gaussian, motion, disk, free" in message and len(message.strip().splitlines()) == 1
    asked = []

    def estimate(image: np.ndarray, noise: float, form: str, *_: object, **__: object) -> KernelEstimate:
        asked.append(form)
        return KernelEstimate(kernels.disk(2), "disk:2", 0.9, (("disk:2", 0.0),))

    monkeypatch.setattr(choose, "estimate", estimate)
    code, text, _ = cli("deblur", photograph, "--kernel", "disk", *FLAGS)
    assert code == 0 and "disk:2" in text
    code, text, _ = cli("estimate-kernel", photograph, "--kernel", "motion")
    assert code == 0 and asked == ["disk", "motion"] and photograph.with_name("photo-kernel.png").exists()
