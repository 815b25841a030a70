"""The page of --report: the verdict and the picture at 1:1 on top; blur, residuals and, folded away, the proof."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pnpkit import __version__
from pnpkit.command.curve import curve
from pnpkit.command.document import LARGEST, document, folded, listed, uri
from pnpkit.command.messages import in_flags

if TYPE_CHECKING:
    from pnpkit.restoration.result import Restoration


CROP = 1000  # pixels: side of the part that is shown at 1:1 of a picture larger than ``LARGEST``


KERNEL = 160  # pixels: about the side of the drawn kernel


MASS = 0.95  # share of a kernel's weight within its extent


SCRIPT = """
const lenses=[...document.querySelectorAll('.lens')];
for(const lens of lenses)lens.addEventListener('scroll',()=>{for(const other of lenses){
if(Math.abs(other.scrollTop-lens.scrollTop)>1)other.scrollTop=lens.scrollTop;
if(Math.abs(other.scrollLeft-lens.scrollLeft)>1)other.scrollLeft=lens.scrollLeft}});
function zoom(button){const factor=+button.dataset.zoom;
for(const lens of lenses){const image=lens.firstElementChild,old=image.width/image.naturalWidth,
x=(lens.scrollLeft+lens.clientWidth/2)/old,y=(lens.scrollTop+lens.clientHeight/2)/old;
image.style.width=image.naturalWidth*factor+'px';image.style.imageRendering=factor>1?'pixelated':'auto';
lens.scrollLeft=x*factor-lens.clientWidth/2;lens.scrollTop=y*factor-lens.clientHeight/2}
for(const other of button.parentNode.querySelectorAll('button'))other.ariaPressed=other===button}
for(const copy of document.querySelectorAll('[data-from]'))copy.src=document.getElementById(copy.dataset.from).src;
addEventListener('load',()=>{for(const lens of lenses){lens.scrollLeft=(lens.scrollWidth-lens.clientWidth)/2;
lens.scrollTop=(lens.scrollHeight-lens.clientHeight)/2}});
"""


def page(
    name: str,
    before: np.ndarray,
    run: Restoration,
    sentences: Sequence[str],
    settings: dict[str, Any],
    command: str,
    scores: dict[str, float],
) -> str:
    """The page as text: self-contained, no network, for desktop and phone.

    Args:
        name: of the picture; before: its pixels, (H, W) or (H, W, 3) on the 0..1 scale.
        run: what came of it. sentences: the verdict. settings: the options in words.
        command: the line that repeats the run. scores: psnr_input and psnr in dB, where a reference was given.
    """
    after, title = np.asarray(run.image), html.escape(name)
    options = {key.replace("_", " "): value for key, value in settings.items() if value is not None}
    verdict = "".join(f"<p class=verdict>{html.escape(in_flags(sentence))}</p>" for sentence in sentences)
    explained = "".join(f"<p>{html.escape(in_flags(part))}</p>" for part in run.explain().split("\n\n"))
    proof = f"<p>{html.escape(str(run.guarantee))}</p><pre>{html.escape(str(run.certificate))}</pre>"
    body = f"""<h1>{title}</h1>{verdict}
{pictures(before, after, Path(name).stem)}
{blur(run)}
<h2>What happened</h2>{listed(facts(run, scores, bool(settings.get("quick"))))}
<h2>Fixed-point residual</h2>{curve(run, None if run.plan is None else run.plan.tol)}
<h2>More</h2>
{folded("In plain words: what was solved, and why it can be trusted", explained)}
{folded("What is guaranteed, with its derivation", proof)}
{folded("Settings", listed(options))}
{folded("Again", f"<pre>{html.escape(command)}</pre>")}
<p class="soft">pnpkit {__version__}</p><script>{SCRIPT}</script>"""
    return document(title, body)


def facts(run: Restoration, scores: dict[str, float], quick: bool = False) -> dict[str, str]:
    """What there is to know in numbers; a ``quick`` run ends after the steps that it was asked for."""
    from pnpkit.solvers.result import Status

    few = quick and run.status is Status.STEP_LIMIT
    found = {
        "ended": "after the steps of --quick: it has not settled" if few else run.status.value,
        "steps": f"{run.steps} in {run.seconds:.1f} s",
        "PSNR": " → ".join(f"{scores[key]:.2f}" for key in ("psnr_input", "psnr") if key in scores) + " dB",
        "noise level": f"{run.noise_level:.4f} of 1 ({255 * run.noise_level:.2f} of 255)",
        "strength": f"{run.strength:.4f} ({in_flags(run.strength_note)})",
        "light": "linear: noise level and strength are of it" if run.linear else "",
        "splitting": run.step_note,
        "guide": "" if run.guide is None else f"given; {run.guide}",
    }
    if not scores:
        del found["PSNR"]
    return {key: value for key, value in found.items() if value}


def pictures(before: np.ndarray, after: np.ndarray, stem: str) -> str:
    """Side by side at 1:1, then one over the other; a large picture is shown whole and, at 1:1, its richest part."""
    large = max(after.shape[:2]) > LARGEST
    part = richest(after) if large else (slice(None), slice(None))
    same = before.shape == after.shape
    shown = [("input", "came", before[part] if same else before), ("restored", "result", after[part])]
    lenses = buttons = ""
    for words, key, pixels in shown:
        image = f'<img id="{key}" alt="{words}" src="{uri(pixels)}">'
        label = f'role="group" aria-label="{words}, at 1:1; arrow keys move both"'
        lenses += (
            f'<figure><figcaption>{words}</figcaption><div class="lens" tabindex="0" {label}>{image}</div></figure>'
        )
    for factor in (1, 2, 4):
        pressed = str(factor == 1).lower()
        buttons += f'<button data-zoom="{factor}" aria-pressed="{pressed}" onclick="zoom(this)">{factor}:1</button> '
    note = "the part with the most detail" if large else "scroll or drag: both move together"
    save = "".join(
        f'<a download="{html.escape(stem)}-{word}.png" href="#{key}" onclick="this.href={key}.src">{words}</a>'
        for words, key, word in (
            ("save this part of the result" if large else "save the result", "result", "restored"),
            ("save the same part of the input" if large else "save the input", "came", "before"),
        )
    )
    images = [("result", "restored", after), ("came", "input", before)]
    whole = [
        f'<img alt="{words}" src="{uri(pixels)}">' if large else f'<img alt="{words}" data-from="{key}">'
        for key, words, pixels in images
    ]
    return f"""<div class="bar"><span class="soft">{note}</span><span>{buttons}</span>{save}</div>
<div class="side">{lenses}</div>
<h2>One over the other</h2>
<div class="pair" style="width:min(100%,{max(after.shape[1], 320)}px)">{whole[0]}<div class="before">{whole[1]}</div>
<input type="range" min="0" max="100" step=".1" value="50" aria-label="how much of the input is shown"
 oninput="this.parentNode.style.setProperty('--at',this.value+'%')"><i></i>
<b style="left:.6rem">before</b><b style="right:.6rem">after</b></div>"""


def richest(pixels: np.ndarray) -> tuple[slice, slice]:
    """The rows and columns of the square with the largest differences between neighbours."""
    grey = pixels.astype(np.float32).reshape(*pixels.shape[:2], -1).mean(-1)
    strength = np.abs(np.diff(grey, axis=0))[:, :-1] + np.abs(np.diff(grey, axis=1))[:-1]
    sums = np.pad(strength.cumsum(0, dtype=np.float64).cumsum(1), ((1, 0), (1, 0)))
    rows, columns = (min(CROP, size) for size in strength.shape)
    squares = sums[rows:, columns:] - sums[:-rows, columns:] - sums[rows:, :-columns] + sums[:-rows, :-columns]
    row, column = (int(at) for at in np.unravel_index(squares.argmax(), squares.shape))
    return slice(row, row + rows), slice(column, column + columns)


def blur(run: Restoration) -> str:
    """The kernel, drawn with a scale, and in words; nothing where there is none."""
    if not run.kernel_note:
        return ""
    words = f"<p>{html.escape(in_flags(run.kernel_note))}</p>"
    if run.kernel is None or run.kernel.size == 1:
        return f"<h2>Blur</h2>{words}"
    rows, columns = run.kernel.shape
    zoom = max(1, KERNEL // max(rows, columns))
    unit = next(n for n in (50, 20, 10, 5, 2, 1) if n <= max(columns, rows) / 2 or n == 1)
    drawing = (
        f'<div><img alt="the kernel, {columns} x {rows} pixels" style="width:{zoom * columns}px" '
        f'src="{uri(run.kernel / run.kernel.max())}"><div class="scale" style="width:{unit * zoom}px"></div>'
        f'<span class="soft">{unit} pixel{"s" * (unit > 1)}</span></div>'
    )
    across, down = (extent(run.kernel.sum(axis)) for axis in (0, 1))
    size = f"<p>A point becomes a spot of {columns} x {rows} pixels; {MASS:.0%} of its light lies within "
    size += f"{across} x {down}.</p>"
    return f'<h2>Blur</h2><div class="kernel">{drawing}<div>{size}{words}</div></div>'


def extent(weights: np.ndarray) -> int:
    """The fewest neighbouring entries that hold ``MASS`` of the sum."""
    sums = np.concatenate([[0.0], weights.cumsum()])
    goal = MASS * sums[-1] * (1 - 1e-12)
    spans = [int(np.searchsorted(sums, low + goal)) - start for start, low in enumerate(sums) if low + goal <= sums[-1]]
    return min(spans)
