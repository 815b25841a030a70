"""A page in one file: no network, for phone and desktop, light and dark."""

from __future__ import annotations

import base64
import html
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pnpkit.machine.files import write_whole

LARGEST = 1600  # pixels: side of a picture in a page


POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


STYLE = """
:root{color-scheme:light dark;--ink:#1c1f24;--soft:#5b6473;--paper:#fff;--card:#f5f6f8;--line:#d9dde3;--mark:#0b63bd;
--good:#1d7f46}
@media(prefers-color-scheme:dark){:root{--ink:#e8eaee;--soft:#a4adba;--paper:#15181c;--card:#1e2227;--line:#343a43;
--mark:#6cb4ff;--good:#5fce8f}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:1100px;padding:1.2rem;font:16px/1.5 system-ui,sans-serif;color:var(--ink);
background:var(--paper)}
h1{font-size:1.15rem;margin:0;font-weight:600;color:var(--soft);overflow-wrap:anywhere}
h2{font-size:1.05rem;margin:2rem 0 .6rem}
p{margin:.3rem 0}.soft{color:var(--soft)}
.verdict{font-size:1.2rem;margin:.5rem 0 .3rem;line-height:1.4}
a,button{color:var(--mark)}
.bar{display:flex;flex-wrap:wrap;gap:.4rem 1rem;align-items:center;margin:.8rem 0 .4rem}
button{font:inherit;font-size:.9rem;padding:.2rem .7rem;border:1px solid var(--line);border-radius:6px;
background:var(--card);cursor:pointer}
button[aria-pressed=true]{border-color:var(--mark);font-weight:600}
:focus-visible{outline:2px solid var(--mark);outline-offset:2px}
.side{display:grid;grid-template-columns:minmax(0,1fr) minmax(0,1fr);gap:.5rem}
figure{margin:0}figcaption{font-size:.85rem;color:var(--soft);margin-bottom:.2rem}
.lens{overflow:auto;max-height:min(60vh,440px);border:1px solid var(--line);border-radius:6px;background:var(--card)}
.lens img{display:block;max-width:none}
.pair{position:relative;line-height:0;border-radius:6px;overflow:hidden;touch-action:pan-y;max-width:100%}
.pair img{display:block;width:100%;height:auto}
.pair .before{position:absolute;inset:0;clip-path:inset(0 calc(100% - var(--at,50%)) 0 0)}
.pair .before img{height:100%}
.pair i{position:absolute;top:0;bottom:0;left:var(--at,50%);width:2px;margin-left:-1px;background:#fff;
box-shadow:0 0 3px #000}
.pair b{position:absolute;top:.6rem;line-height:1.2;font-size:.8rem;padding:.15rem .5rem;border-radius:4px;
background:#000a;color:#fff}
.pair input{position:absolute;inset:0;width:100%;height:100%;margin:0;opacity:0;cursor:ew-resize}
.pair input:focus-visible~i{background:var(--mark);width:4px}
svg{width:100%;max-width:760px;height:auto;display:block}svg text{font:12px system-ui,sans-serif;fill:var(--soft)}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.25rem 1.2rem;margin:0}
dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}
pre{margin:.4rem 0;padding:.8rem;border:1px solid var(--line);border-radius:6px;white-space:pre-wrap;
overflow-wrap:anywhere;font:13px/1.45 ui-monospace,monospace;background:var(--card)}
details{border-top:1px solid var(--line);padding:.5rem 0}summary{cursor:pointer;font-weight:600}
.kernel{display:flex;flex-wrap:wrap;gap:1rem;align-items:flex-start}
.kernel img{image-rendering:pixelated;border:1px solid var(--line);display:block;background:#000}
.scale{height:.5rem;border:1px solid var(--soft);border-top:0;margin-top:.3rem}
.wide{overflow-x:auto}table{border-collapse:collapse}th,td{text-align:left;padding:.3rem .8rem .3rem 0;
border-bottom:1px solid var(--line)}tbody th{font-weight:400}
.sheet{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,320px),1fr));gap:.8rem;margin-top:1rem}
.sheet img{width:100%;height:auto;display:block}
@media(max-width:520px){body{padding:.8rem}svg text{font-size:19px}dl{grid-template-columns:1fr;gap:0}
dd{margin-bottom:.5rem}.lens{max-height:44vh}}
"""


def document(title: str, body: str) -> str:
    """The page of that title and body, both HTML."""
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<title>{title}: pnpkit</title><link rel="icon" href="data:,"><style>{STYLE}</style></head><body>
<main>{body}</main></body></html>
"""


def write(path: Path, text: str, overwrite: bool = True) -> None:
    """Write the page, whole or not at all."""
    write_whole(path, text.encode(errors="replace"), overwrite)  # a name need not be UTF-8


def eight_bit_image(pixels: np.ndarray) -> Image.Image:
    """An image of 8 bits, of floats on the 0..1 scale or of integers of any depth."""
    scale = np.iinfo(pixels.dtype).max if pixels.dtype.kind in "ui" else 1.0
    return Image.fromarray(np.round(255 * np.clip(pixels / scale, 0, 1)).astype(np.uint8))


def uri(pixels: np.ndarray) -> str:
    """The picture as a data URI, at most ``LARGEST`` pixels wide and high."""
    image, buffer = eight_bit_image(pixels), BytesIO()
    image.thumbnail((LARGEST, LARGEST))
    image.save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def listed(facts: dict[str, Any]) -> str:
    """The facts as a list of names and values, in HTML."""
    rows = (f"<dt>{html.escape(str(k))}</dt><dd>{html.escape(str(v))}</dd>" for k, v in facts.items())
    return f"<dl>{''.join(rows)}</dl>"


def folded(title: str, body: str) -> str:
    """A part of the page under a title, folded away; both are HTML."""
    return f"<details><summary>{title}</summary>{body}</details>"
