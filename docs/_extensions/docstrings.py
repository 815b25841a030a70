"""Docstrings are plain text with formulas: ||A x - y||, x*, y_k. What Sphinx would take for markup is escaped; literals
in double backquotes stay. And a page for every room of the package, written before the pages are read."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

LITERAL = re.compile(r"(``.+?``)", re.S)
PARAGRAPHS = re.compile(r"(\n\s*\n)")
BEFORE, BEHIND = re.compile(r"[^\s'\"(\[{<\-/:]$"), re.compile(r"[^\s'\")\]}>\-/:.,;!?]")
MARKUP = re.compile(r"([|*`]|(?<=\w)_(?!\w))")


def escaped(text: str) -> str:
    """The text with markup outside of literals escaped. Paragraphs with an example (``>>>``) stay as they are."""
    return "".join(block if ">>>" in block else escaped_words(block) for block in PARAGRAPHS.split(text))


def escaped_words(block: str) -> str:
    """One paragraph. A literal that words touch gets the empty space that markup needs."""
    parts = LITERAL.split(block)
    for index, part in enumerate(parts):
        if index % 2 == 0:
            parts[index] = MARKUP.sub(r"\\\1", part)
            if index and BEHIND.match(part):
                parts[index] = r"\ " + parts[index]
            if BEFORE.search(part) and index + 1 < len(parts):
                parts[index] += r"\ "
    return "".join(parts)


def process(app: Any, what: str, name: str, thing: object, options: Any, lines: list[str]) -> None:
    """Escape a docstring in place, before its sections are read."""
    if name.startswith("pnpkit"):
        lines[:] = escaped("\n".join(lines)).split("\n")


def rooms(app: Any) -> None:
    """reference/rooms/ROOM.rst with all documented names of its modules."""
    package = Path(app.srcdir).parent / "pnpkit"
    place = Path(app.srcdir) / "reference" / "rooms"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    found: dict[str, list[str]] = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        if parts[-1] == "__main__" or len(parts) == 2 and parts[-1] == "__init__" or "_denoisers" in parts:
            continue
        module = ".".join(parts).removesuffix(".__init__")
        if module == "pnpkit.errors":  # all of it is on the page of errors
            continue
        found.setdefault(module.split(".")[1], []).append(module)
    for room, modules in found.items():
        title = f"pnpkit.{room}"
        lines = [title, "=" * len(title), ""]
        for module in modules:
            if module != title:
                lines += [module.removeprefix(f"{title}."), "-" * len(module), ""]
            lines += [f".. automodule:: {module}", "   :members:", "   :show-inheritance:", "   :no-index:", ""]
        (place / f"{room}.rst").write_text("\n".join(lines))


def setup(app: Any) -> dict[str, bool]:
    """Called by Sphinx. The priority is below that of napoleon, which reads the sections."""
    app.connect("autodoc-process-docstring", process, priority=400)
    app.connect("builder-inited", rooms, priority=100)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
