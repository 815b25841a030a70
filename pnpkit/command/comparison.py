"""``pnpkit compare``: several methods on one picture, as a table, one picture and one page."""

from __future__ import annotations

import html
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pnpkit.command import document, record
from pnpkit.command.messages import in_flags
from pnpkit.command.places import Places, check_name, check_places, destination, file_key
from pnpkit.command.progress import Progress
from pnpkit.command.reference import sharp
from pnpkit.command.summary import finite, write_json
from pnpkit.command.tasks import check_light, check_noise_level
from pnpkit.images import files
from pnpkit.images.picture import Picture
from pnpkit.restoration.settings import Settings, settings_of

if TYPE_CHECKING:
    from pnpkit.command.options import Options
    from pnpkit.restoration.compare import Comparison


PANEL, LABEL, GAP = 360, 26, 8  # pixels: largest side of a panel, height of its label, and what is between panels


ACROSS = 3  # panels in a row


@dataclass(frozen=True)
class Asked:
    """What is compared: the names, the kernel's word, and the boundary."""

    names: tuple[str, ...]
    kernel: str
    boundary: str


def compare(source: str, asked: Asked, settings: Settings, options: Options, places: Places) -> str:
    """Compare, write the picture and what the options ask for, and return the table.

    Args:
        places: see ``places_of``.
    """
    from pnpkit.restoration.compare import check_names
    from pnpkit.restoration.compare import compare as run
    from pnpkit.restoration.scale import limits_of

    reads = record.existing((source, asked.kernel, options.reference))
    check_places(places, options, frozenset(map(file_key, reads)))
    check_names(asked.names)
    picture = files.read(source, white=options.white, black=options.black)
    check_light(picture, settings.linear)
    check_noise_level(picture, settings.noise_level)
    reference = None if options.reference is None else sharp(options.reference, picture)

    given = {entry.name: getattr(settings, entry.name) for entry in settings_of("deblur")}
    given |= {"compression": picture.compression, "limits": limits_of(picture)}
    del given["denoiser"]
    with Progress(not options.quiet, source) as progress:
        given |= {"progress": progress.enter, "callback": progress.step}
        found = run(picture.pixels, asked.kernel, asked.names, boundary=asked.boundary, **given)
    found = scored(found, picture, reference)
    panels = [("as it came", picture.pixels), *((row.name, np.asarray(row.image)) for row in found.rows)]
    panels += [] if reference is None else [("reference", reference[0])]
    drawn = montage(panels)
    files.write(places.output, Picture(np.asarray(drawn, np.float32) / 255), options.overwrite)
    if places.json is not None:
        write_json(places.json, fields(source, found), options.overwrite)
    if places.page is not None:
        document.write(places.page, page_of(source, found, panels), options.overwrite)
    return found.table()


def scored(
    found: Comparison, picture: Picture, reference: tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]] | None
) -> Comparison:
    """The comparison with the PSNR of each method, in the units of the reference's file; see ``reference.sharp``."""
    from pnpkit.images.metrics import psnr

    if reference is None:
        return found
    scene, onto = reference
    rows = tuple(replace(row, psnr=psnr(onto(np.asarray(row.image)), scene)) for row in found.rows)
    return replace(found, rows=rows, psnr_input=psnr(onto(picture.pixels), scene))


def places_of(source: str, options: Options) -> Places:
    """The places of a comparison: its picture, NAME-compared.png beside the input, and what the options ask for."""
    check_name(source, "the input")
    places = Places.of(source, "compared", options)
    return Places(source, destination(source, options.out, "compared", ".png"), places.json, places.page)


def montage(panels: list[tuple[str, np.ndarray]]) -> Image.Image:
    """The pictures side by side, ``ACROSS`` in a row, each under its name."""
    shown = [(name, picture_of(pixels)) for name, pixels in panels]
    width = max(image.width for _, image in shown)
    height = max(image.height for _, image in shown) + LABEL
    across = min(ACROSS, len(shown))
    rows = -(-len(shown) // across)
    sheet = Image.new("RGB", (across * (width + GAP) - GAP, rows * (height + GAP) - GAP), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(16)
    for number, (name, image) in enumerate(shown):
        left, top = (number % across) * (width + GAP), (number // across) * (height + GAP)
        draw.text((left + 2, top + 3), name, "black", font=font)
        sheet.paste(image, (left, top + LABEL))
    return sheet


def picture_of(pixels: np.ndarray) -> Image.Image:
    """The image of a panel: in colour, at most ``PANEL`` pixels wide and high."""
    image = document.eight_bit_image(pixels).convert("RGB")
    image.thumbnail((PANEL, PANEL), Image.Resampling.LANCZOS)
    return image


def fields(source: str, found: Comparison) -> dict[str, Any]:
    """The comparison for --json."""
    rows = [
        {
            "name": row.name,
            "psnr": None if row.psnr is None else finite([row.psnr])[0],
            "seconds": row.seconds,
            "steps": row.steps,
            "settled": row.settled,
            "guarantee": row.guarantee,
            "proof": None if row.run is None else row.run.guarantee.to_json(),
        }
        for row in found.rows
    ]
    before = None if found.psnr_input is None else finite([found.psnr_input])[0]
    return {"image": source, "kernel": in_flags(found.kernel_note), "psnr_input": before, "rows": rows}


def page_of(source: str, found: Comparison, panels: list[tuple[str, np.ndarray]]) -> str:
    """One page: the table, then every picture at its own size."""
    known = found.psnr_input is not None
    names = ("method", *(["PSNR, dB"] if known else []), "s", "steps", "guarantee")
    head = "".join(f"<th scope=col>{name}</th>" for name in names)
    rows = ""
    if known:
        rows = f"<tr><th scope=row>as it came</th><td>{found.psnr_input:.2f}</td><td></td><td></td><td></td></tr>"
    for row in found.rows:
        score = [] if row.psnr is None else [f"{row.psnr:.2f}"]
        cells = (*score, f"{row.seconds:.1f}", str(row.steps), row.guarantee)
        rows += f"<tr><th scope=row>{html.escape(row.name)}</th>"
        rows += f"{''.join(f'<td>{html.escape(cell)}</td>' for cell in cells)}</tr>"
    shown = ""
    for name, pixels in panels:
        words = html.escape(name)
        shown += f'<figure><figcaption>{words}</figcaption><img alt="{words}" src="{document.uri(pixels)}"></figure>'
    title = f"{html.escape(Path(source).name)}: {len(found.rows)} methods"
    body = f"<h1>{title}</h1><div class=wide><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    note = f"<p class=soft>{html.escape(in_flags(found.kernel_note))}</p>" if found.kernel_note else ""
    return document.document(title, f'{body}{note}<div class="sheet">{shown}</div>')
