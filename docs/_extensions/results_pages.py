"""Pages of results out of what the scripts store: docs/results/NAME.md gets a title, and the command and date of
NAME.json; the index lists every record. Nothing of these pages is typed by hand."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

LIST = "% every record"


def dress(app: Any, name: str, source: list[str]) -> None:
    """The page as it is read."""
    source[0] = together(source[0])
    if not name.startswith("results/"):
        return
    place = Path(app.srcdir) / "results"
    short = name.removeprefix("results/")
    if short == "index":
        source[0] = source[0].replace(LIST, listed(place))
    elif not source[0].lstrip().startswith("# "):
        source[0] = f"# {title(short)}\n\n{source[0]}\n{provenance(place / f'{short}.json')}"


def together(text: str) -> str:
    """In the rows of tables figures such as 31.24 / 27.75 stay on one line."""
    rows = text.split("\n")
    return "\n".join(re.sub(r"(?<=\d) / (?=\d)", "\u00a0/\u00a0", row) if row[:1] == "|" else row for row in rows)


def title(name: str) -> str:
    """The heading of a table that has none."""
    return name.replace("-", " ").capitalize()


def provenance(path: Path) -> str:
    """Command, date and machine of a record."""
    if not path.exists():
        return ""
    record = json.loads(path.read_text())
    return (
        f"\n---\n\nMade by\n\n```sh\n{record['command']}\n```\n\n"
        f"on {record['date']} ({record.get('machine', 'machine not stored')}). "
        f"All numbers: [{path.name}]({path.name}).\n"
    )


def listed(place: Path) -> str:
    """A table of all records: what, command, date."""
    rows = ["| table | made by | date | numbers |", "| --- | --- | --- | --- |"]
    for path in sorted(place.glob("*.json")):
        record = json.loads(path.read_text())
        page = f"[{title(path.stem)}]({path.stem}.md)" if path.with_suffix(".md").exists() else title(path.stem)
        rows.append(f"| {page} | `{record['command']}` | {record['date']} | [{path.name}]({path.name}) |")
    return "\n".join(rows)


def setup(app: Any) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("source-read", dress)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
