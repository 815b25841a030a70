"""The page holds all that it should, loads nothing, and never breaks on odd names; the GIF has the iterates."""

from __future__ import annotations

import base64
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pnpkit.command import document
from pnpkit.command import frames as command_frames
from pnpkit.command import page as command_page
from pnpkit.command.cli import program
from pnpkit.errors import InputError
from pnpkit.images import files, picture
from pnpkit.restoration import deblur, denoise, result
from pnpkit.restoration.plan import GUIDING
from pnpkit.solvers.guarantee import Before
from pnpkit.solvers.result import Step

VOID = {"meta", "link", "img", "input"}


class Balanced(HTMLParser):
    """Fails on tags that are closed in another order than they were opened."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.sources += [value or "" for key, value in attrs if key in ("src", "href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass  # closed by itself

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def run() -> result.Restoration:
    image = np.random.default_rng(0).random((24, 30, 3))
    return deblur.deblur(image, "motion:5,20", noise_level=0.02, method="picard", max_steps=5)


def ended(run: result.Restoration, **otherwise: object) -> result.Restoration:
    """The restoration with a run that ended otherwise."""
    return replace(run, run=replace(run.run, **otherwise))


@pytest.mark.parametrize("name", ["cat.png", '<script>alert(1)</script> & "quotes".png'])
def test_the_page_is_whole_and_self_contained(run: result.Restoration, name: str) -> None:
    settings = {"method": "picard", "kernel": "motion:5,20", "reference": None}
    text = command_page.page(name, np.zeros((24, 30, 3)), run, ["It was <removed>."], settings, "again", {"psnr": 30.0})
    page = Balanced()
    page.feed(text)
    assert page.open == [] and text.count("<script") == 1 and "It was &lt;removed&gt;." in text
    assert all(source.startswith(("data:", "#")) for source in page.sources)
    assert not re.search(r"https?://|url\(", text) and "default-src 'none'" in text
    for expected in ("30.00 dB", "Krasnosel", "averaged", "motion:5,20", "dashed: the proven bound", "0.0200 of 1"):
        assert expected in text
    pictures = [source for source in page.sources if source.startswith("data:image")]
    after = Image.open(BytesIO(base64.b64decode(pictures[1].split(",")[1])))
    np.testing.assert_array_equal(np.asarray(after), np.round(255 * run.image).astype(np.uint8))


def test_the_bound_lies_above_the_residuals_and_only_where_it_is_proven(run: result.Restoration) -> None:
    drawn = re.findall(r'points="([^"]+)"', command_page.curve(run))
    residual, bound = ([float(place.split(",")[1]) for place in line.split()] for line in drawn)
    assert len(residual) == len(bound) == 5
    assert all(b < r for r, b in zip(residual, bound, strict=True)), "up is smaller in SVG"
    late = re.findall(r'points="([^"]+)"', command_page.curve(ended(run, bounds=(math.inf, math.inf, *run.bounds[:3]))))
    assert late[1].split()[0].split(",")[0] == late[0].split()[2].split(",")[0], "the bound begins where the proof does"
    assert "stroke-dasharray" not in command_page.curve(ended(run, bounds=()))
    told = [command_page.curve(ended(run, cropped=cropped)) for cropped in (False, True)]
    assert ["of the pixels in the frame" in text for text in told] == [False, True]
    assert "second pass" not in command_page.curve(run)
    for steps, anchor in ((1, "start"), (4, "end")):
        marked = command_page.curve(ended(run, guarantee=replace(run.guarantee, before=(Before(steps, GUIDING),))))
        assert f'text-anchor="{anchor}">second pass' in marked, "the words must stay inside of the drawing"
    assert "nothing was iterated" in command_page.curve(denoise.denoise(np.zeros((8, 8)), 0.05))
    assert "they are 0" in command_page.curve(ended(run, residuals=(0.0,)))
    gap = re.findall(r'points="([^"]+)"', command_page.curve(ended(run, residuals=(0.1, math.nan, 0.0, 0.02, 0.01))))[0]
    assert gap.split()[1].split(",")[0] == late[0].split()[3].split(",")[0], "what is left out leaves its place empty"


def test_frames_are_thinned_cropped_and_saved(tmp_path: Path) -> None:
    frames = command_frames.Frames((20, 31))
    for number in range(1, 201):
        frames(Step(number, torch.full((1, 3, 24, 35), number / 200), (0.1,)))
    frames.save(tmp_path / "a.gif")
    with Image.open(tmp_path / "a.gif") as gif:
        assert gif.size == (31, 20) and command_frames.FRAMES / 2 <= gif.n_frames <= command_frames.FRAMES  # type: ignore[attr-defined]


def test_the_command_writes_page_and_gif(tmp_path: Path) -> None:
    files.write(tmp_path / "in.png", picture.Picture(np.random.default_rng(0).random((20, 22, 3))))
    words = ["deblur", "in.png", "--kernel", "box:3", "--max-steps", "2", "--quiet"]
    words[1] = str(tmp_path / "in.png")
    more = ["--report", str(tmp_path / "pages"), "--gif", str(tmp_path / "a.gif"), "-o", str(tmp_path / "o.png")]
    assert program.main(words + more, standalone_mode=False) == 0
    assert "What is guaranteed" in (tmp_path / "pages" / "in.html").read_text()
    assert (tmp_path / "a.gif").read_bytes().startswith(b"GIF8")
    named = ["--report", str(tmp_path / "r.html"), "-o", str(tmp_path / "n.png")]
    assert program.main(words + named, standalone_mode=False) == 0
    assert "What is guaranteed" in (tmp_path / "r.html").read_text()
    for bad, message in (
        (["--report", str(tmp_path / "pages")], "exists"),
        (["--report", str(tmp_path / "no" / "pages")], "folder"),
        (["--report", str(tmp_path / "in.png")], "in.png"),
        (["--report", str(tmp_path / "r.html")], "exists"),
        (["--report", str(tmp_path / "no" / "r.html")], "folder"),
        ([str(tmp_path / "o.png"), "--report", str(tmp_path / "s.html")], "for several images expected a folder"),
        (["--gif", str(tmp_path / "a.png")], ".gif"),
    ):
        with pytest.raises(InputError, match=message):
            program.main([*words, *bad, "-o", str(tmp_path / "p.png")], standalone_mode=False)


def luminance(colour: str) -> float:
    """Relative luminance of #rgb or #rrggbb (WCAG 2.1)."""
    digits = colour if len(colour) == 7 else "#" + "".join(2 * digit for digit in colour[1:])
    parts = [int(digits[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    light = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return float(np.dot((0.2126, 0.7152, 0.0722), light))


def test_words_of_the_page_stand_out_from_what_is_behind_them() -> None:
    light, dark = (dict(re.findall(r"--(\w+):(#\w+)", part)) for part in document.STYLE.split("@media(prefers", 1))
    for colours in (light, {**light, **dark}):
        for ink in ("ink", "soft", "mark", "good"):
            for paper in ("paper", "card"):
                low, high = sorted(luminance(colours[name]) for name in (ink, paper))
                assert (high + 0.05) / (low + 0.05) >= 4.5, (ink, paper)


def test_the_page_can_be_read_aloud(run: result.Restoration) -> None:
    text = command_page.page("a.png", np.zeros((24, 30, 3)), run, ["Done."], {"quick": True}, "again", {})
    assert '<html lang="en">' in text and text.count("<h1>") == 1 and "<h3" not in text
    assert all(re.search(r'alt="[^"]+"', image) for image in re.findall(r"<img[^>]*>", text))
    assert re.search(r'<svg[^>]*aria-label="residual', text) and re.search(r"<input[^>]*aria-label=", text)
    assert "after the steps of --quick" in text
