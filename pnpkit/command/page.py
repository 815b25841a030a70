"""A page that shows a restoration: before and after, residuals, kernel, proof, command line. And a GIF."""

from __future__ import annotations

import base64
import html
import math
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from pnpkit import __version__
from pnpkit.command.messages import in_flags
from pnpkit.images import srgb
from pnpkit.machine.files import replacing, write_whole

if TYPE_CHECKING:
    from pnpkit.restoration.result import Restoration
    from pnpkit.solvers.result import Step


WIDTH, HEIGHT = 640, 300  # of the drawing of the curve


LARGEST = 1600  # pixels: largest side of a picture in the page


FRAMES, FRAME = 60, 480  # largest number of frames of a GIF, and their largest side in pixels


STYLE = """
:root{color-scheme:light dark;--ink:#1c1f24;--soft:#667;--paper:#fff;--line:#d9dde3;--mark:#0b6bcb}
@media(prefers-color-scheme:dark){:root{--ink:#e8eaee;--soft:#9aa3b0;--paper:#15181c;--line:#343a43;--mark:#6cb4ff}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:960px;padding:1.2rem;font:16px/1.5 system-ui,sans-serif;color:var(--ink);
background:var(--paper)}
h1{font-size:1.4rem;margin:0 0 .2rem;overflow-wrap:anywhere}h2{font-size:1.05rem;margin:2rem 0 .6rem}
p{margin:.3rem 0}.soft{color:var(--soft)}
.pair{position:relative;line-height:0;border-radius:6px;overflow:hidden;touch-action:pan-y;width:fit-content}
.pair img{display:block;width:100%;height:auto;image-rendering:auto}
.pair .before{position:absolute;inset:0;clip-path:inset(0 calc(100% - var(--at,50%)) 0 0)}
.pair .before img{width:100%;height:100%}
.pair i{position:absolute;top:0;bottom:0;left:var(--at,50%);width:2px;margin-left:-1px;background:#fff;
box-shadow:0 0 3px #000}
.pair b{position:absolute;top:.6rem;line-height:1.2;font-size:.8rem;padding:.15rem .5rem;border-radius:4px;
background:#000a;color:#fff}
.pair input{position:absolute;inset:0;width:100%;height:100%;margin:0;opacity:0;cursor:ew-resize}
.pair input:focus-visible~i{background:var(--mark)}
.one{width:100%}svg{width:100%;height:auto;display:block}svg text{font:12px system-ui,sans-serif;fill:var(--soft)}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.25rem 1.2rem;margin:0}
dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}
pre{margin:0;padding:.8rem;border:1px solid var(--line);border-radius:6px;overflow-x:auto;white-space:pre-wrap;
overflow-wrap:anywhere;font:13px/1.45 ui-monospace,monospace}
.kernel{image-rendering:pixelated;width:132px;border:1px solid var(--line)}
@media(max-width:520px){svg text{font-size:19px}dl{grid-template-columns:1fr;gap:0}dd{margin-bottom:.5rem}}
"""


def page(
    name: str,
    before: np.ndarray,
    run: Restoration,
    settings: dict[str, Any],
    command: str,
    scores: dict[str, float],
) -> str:
    """The page as HTML: self-contained, without network access, for desktop and phone.

    Args:
        name: of the picture; before: its pixels, (H, W) or (H, W, 3) on the 0..1 scale.
        run: its restoration. settings: the options in words. command: the command line that repeats the run.
        scores: psnr_input and psnr in dB, if a reference was given.
    """
    after = np.asarray(run.image)
    facts = {
        "ended": run.status.value,
        "steps": f"{run.steps} in {run.seconds:.1f} s",
        "PSNR": " → ".join(f"{scores[key]:.2f}" for key in ("psnr_input", "psnr") if key in scores) + " dB",
        "noise level": f"{run.noise_level:.4f} of 1 ({255 * run.noise_level:.2f} of 255)",
        "strength": f"{run.strength:.4f} ({in_flags(run.strength_note)})",
        "light": "linear: noise level and strength are of it" if run.linear else "",
        "splitting": run.step_note,
    }
    if not scores:
        del facts["PSNR"]
    facts = {key: value for key, value in facts.items() if value}
    picture = ""
    if run.kernel is not None and run.kernel.size > 1:
        picture = f'<img class="kernel" alt="kernel" src="{_uri(run.kernel / run.kernel.max())}">'
    about = f"<h2>Blur</h2><p>{html.escape(in_flags(run.kernel_note))}</p>{picture}" if run.kernel_note else ""
    options = {key.replace("_", " "): value for key, value in settings.items() if value is not None}
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<title>{html.escape(name)}: pnpkit</title><link rel="icon" href="data:,"><style>{STYLE}</style></head><body>
<h1>{html.escape(name)}</h1><p class="soft">restored by pnpkit {__version__}</p>
<div class="pair" style="width:min(100%,{max(after.shape[1], 320)}px)"><img alt="restored" src="{_uri(after)}">
<div class="before"><img alt="as it came" src="{_uri(before)}"></div>
<input type="range" min="0" max="100" step=".1" value="50" aria-label="how much of the picture is shown as it came"
 oninput="this.parentNode.style.setProperty('--at',this.value+'%')"><i></i>
<b style="left:.6rem">before</b><b style="right:.6rem">after</b></div>
<h2>What happened</h2>{_list(facts)}
<h2>Fixed-point residual</h2>{curve(run)}
{about}
<h2>What is guaranteed</h2><p>{html.escape(str(run.guarantee))}</p><pre>{html.escape(str(run.certificate))}</pre>
<h2>Settings</h2>{_list(options)}<h2>Again</h2><pre>{html.escape(command)}</pre></body></html>
"""


def curve(run: Restoration) -> str:
    """The relative residual against the step, logarithmic, as SVG; with the proven bound where there is one."""
    steps = len(run.residuals)
    if not steps:
        return '<p class="soft">one application of the denoiser: nothing was iterated</p>'
    values = drawable(run.residuals)
    if not values:
        return '<p class="soft">no residual is to be seen on a logarithmic scale: they are 0, or not finite</p>'
    bound = drawable(run.bounds[:steps], max(0, steps - len(run.bounds)))  # of the last steps, that the proof is for
    across = (WIDTH - 60) / max(1, steps - 1)
    heights = [v for _, v in values + bound]
    top = math.ceil(math.log10(max(heights)) + 1e-9)
    low = min(math.floor(math.log10(min(v for _, v in values))), top - 1)

    def line(points: list[tuple[int, float]], style: str) -> str:
        place = [
            f"{50 + i * across:.1f},{15 + (top - math.log10(v)) / (top - low) * (HEIGHT - 50):.1f}" for i, v in points
        ]
        return f'<polyline fill="none" stroke-width="2" {style} points="{" ".join(place)}"/>'

    grid = ""
    for power in range(low, top + 1):
        y = 15 + (top - power) / (top - low) * (HEIGHT - 50)
        grid += f'<path d="M50 {y:.1f}H{WIDTH - 10}" stroke="var(--line)"/><text x="4" y="{y + 4:.1f}">1e{power}</text>'
    words = f'<text x="50" y="{HEIGHT - 12}">1</text><text x="{WIDTH - 10}" y="{HEIGHT - 12}" text-anchor="end">'
    words += f"step {steps}</text>"
    if run.guide_steps:
        x = 50 + (run.guide_steps - 0.5) * across
        grid += f'<path d="M{x:.1f} 15V{HEIGHT - 35}" stroke="var(--soft)" stroke-dasharray="2 4"/>'
        side, anchor = (6, "start") if x < WIDTH / 2 else (-6, "end")
        words += f'<text x="{x + side:.1f}" y="26" text-anchor="{anchor}">second pass, guided by the first</text>'
    note = "dashed: the proven bound" if bound else "no bound on single residuals is proven for this iteration"
    drawing = grid + line(values, 'stroke="var(--mark)"')
    drawing += line(bound, 'stroke="var(--soft)" stroke-dasharray="6 5"') if bound else ""
    box = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="residual against step">{drawing}{words}</svg>'
    return f'{box}<p class="soft">||x − T x|| / ||x||, in units of a full step; {note}</p>'


def drawable(values: Sequence[float], skipped: int = 0) -> list[tuple[int, float]]:
    """The values that have a logarithm, with their indices, counted from ``skipped``."""
    return [(skipped + i, v) for i, v in enumerate(values) if math.isfinite(v) and v > 0]


def write(path: Path, text: str, overwrite: bool = True) -> None:
    """Write the page, completely or not at all."""
    write_whole(path, text.encode(errors="replace"), overwrite)  # a name need not be UTF-8


class Frames:
    """Collects iterates of a run for a GIF: every step at first, later fewer."""

    def __init__(self, size: tuple[int, int], linear: bool = False):
        self.size, self.linear, self.every, self.frames = size, linear, 1, list[Image.Image]()

    def __call__(self, step: Step) -> None:
        if (step.number - 1) % self.every:
            return
        x = (srgb.encode(step.x) if self.linear else step.x)[0].detach().cpu().numpy()
        top, left = (max(0, (x.shape[axis + 1] - self.size[axis]) // 2) for axis in (0, 1))
        x = np.moveaxis(x[:, top : top + self.size[0], left : left + self.size[1]], 0, -1)
        self.frames.append(_image(x[..., 0] if x.shape[-1] == 1 else x, FRAME))
        if len(self.frames) == FRAMES:
            self.frames, self.every = self.frames[::2], 2 * self.every

    def save(self, path: Path, overwrite: bool = True) -> None:
        """Write the GIF; it shows the last frame for two seconds."""
        times = [100] * (len(self.frames) - 1) + [2000]
        with replacing(path, overwrite) as file:
            self.frames[0].save(file, "GIF", save_all=True, append_images=self.frames[1:], duration=times, loop=0)


def _eight(pixels: np.ndarray) -> np.ndarray:
    """Floats on the 0..1 scale, or integers of any depth, as 8 bits."""
    scale = np.iinfo(pixels.dtype).max if pixels.dtype.kind in "ui" else 1.0
    return np.round(255 * np.clip(pixels / scale, 0, 1)).astype(np.uint8)


def _image(pixels: np.ndarray, side: int) -> Image.Image:
    image = Image.fromarray(_eight(pixels))
    image.thumbnail((side, side))
    return image


def _uri(pixels: np.ndarray) -> str:
    buffer = BytesIO()
    _image(pixels, LARGEST).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _list(facts: dict[str, Any]) -> str:
    rows = (f"<dt>{html.escape(str(k))}</dt><dd>{html.escape(str(v))}</dd>" for k, v in facts.items())
    return f"<dl>{''.join(rows)}</dl>"
