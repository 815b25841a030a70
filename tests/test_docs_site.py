"""The site: public names are in the reference, snippets run, commands exist, links lead somewhere."""

from __future__ import annotations

import re
import runpy
import shlex
import subprocess
from pathlib import Path

import click
import matplotlib
import pytest
from sybil import Sybil
from sybil.parsers.myst import PythonCodeBlockParser

import pnpkit
from pnpkit.command.cli import program
from pnpkit.command.summary import fields

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
WRITTEN = sorted(path for path in DOCS.rglob("*.md") if not {"_build", "gallery", "rooms"} & set(path.parts))
PAGES = [*WRITTEN, ROOT / "README.md"]


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_every_public_name_is_in_the_reference() -> None:
    pages = "\n".join(path.read_text() for path in (DOCS / "reference").glob("*.md"))
    known = set(re.findall(r"^\.\. auto\w+:: pnpkit\.(\w+)$", pages, re.M))
    assert set(pnpkit.__all__) - known - {"__version__"} == set()


def test_no_page_of_the_site_and_no_other_product_is_committed() -> None:
    found = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if found.returncode or not (ROOT / ".git").exists():
        pytest.skip("not a checkout")
    products = re.compile(r"^docs/(_build|gallery|reference/rooms)/|\.(html|pdf|doctree|inv)$|^(dist|build)/")
    assert [line for line in found.stdout.splitlines() if products.search(line)] == []


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_links_and_pictures_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\((?!http|mailto|#)([^)#\s]+)", path.read_text()):
        assert (path.parent / target).exists(), target


def snippets(path: Path) -> bool:
    return "```python" in path.read_text()


@pytest.mark.parametrize("path", [path for path in WRITTEN if snippets(path)], ids=name_of)
def test_the_python_of_a_page_runs(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    document = Sybil(parsers=[PythonCodeBlockParser()]).parse(path)
    for example in document.examples():
        example.evaluate()


def commands(text: str) -> list[str]:
    """The lines of shell blocks that call pnpkit."""
    lines = "\n".join(re.findall(r"```sh\n(.*?)```", text, re.S)).replace("\\\n", " ").splitlines()
    calls = [match[1] for line in lines for match in re.finditer(r"(?:^|&& )\s*pnpkit ([^#|&]*)", line)]
    return [call for call in calls if call.split()]


@pytest.mark.parametrize("path", [path for path in PAGES if commands(path.read_text())], ids=name_of)
def test_the_commands_of_a_page_exist_with_these_options(path: Path) -> None:
    for call in commands(path.read_text()):
        name, *arguments = shlex.split(call)
        if name == "--version":
            continue
        assert name in program.commands, call
        command = program.commands[name]
        if isinstance(command, click.Group):
            name, *arguments = arguments
            command = command.commands[name]
        try:
            command.make_context(name, arguments)
        except click.exceptions.Exit:  # of --help
            pass


@pytest.mark.parametrize("path", sorted((DOCS / "examples").glob("*.py")), ids=lambda path: path.stem)
def test_the_example_of_the_gallery_runs(path: Path) -> None:
    matplotlib.use("Agg")
    from matplotlib import pyplot

    assert len(path.read_text().splitlines()) <= 60, "an example is one screen"
    runpy.run_path(str(path))
    assert pyplot.get_fignums()
    pyplot.close("all")


def test_the_page_on_json_has_every_field() -> None:
    page = (DOCS / "reference" / "json.md").read_text()
    named = set(re.findall(r"`(\w+)`", page))
    source = Path(fields.__code__.co_filename).read_text()
    written = set(re.findall(r'^        "(\w+)": ', source, re.M))
    assert len(written) >= 15 and written <= named, written - named


def test_the_citation_has_the_version() -> None:
    assert f"version: {pnpkit.__version__}" in (ROOT / "CITATION.cff").read_text()
