"""The shape of the house: imports go downwards, files stay small, importing loads nothing heavy."""

from __future__ import annotations

import ast
import re
import resource
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import pnpkit

PACKAGE = Path(pnpkit.__file__).parent
RANKS = [  # a room imports rooms of lower ranks and its own modules, never a neighbour
    {"errors"},
    {"certificates", "numerics", "machine"},
    {"images"},
    {"maps", "cards", "kernels", "operators", "layers", "noise"},
    {"fidelities", "proximal", "psf", "dynamics", "robust", "sympnet", "gradients", "structure"},
    {"networks", "solvers"},
    {"interop", "registry", "blind"},
    {"algorithms", "laws", "restoration"},
    {"training"},
    {"command", "plugins"},
    {"__main__"},
]
STUDIES = {"robust", "sympnet", "gradients", "structure"}  # siblings that share `dynamics`
RANK = {room: rank for rank, rooms in enumerate(RANKS) for room in rooms}
FILES = sorted(PACKAGE.rglob("*.py"))


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    """The modules of the package that a file imports, anywhere in it: "solvers.loop"."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "pnpkit":
            base = str(node.module).removeprefix("pnpkit").lstrip(".")
            for alias in node.names:
                name = f"{base}.{alias.name}".strip(".")
                place = PACKAGE / name.replace(".", "/")
                found.add(name if place.is_dir() or place.with_suffix(".py").exists() else base)
        if isinstance(node, ast.Import):
            found |= {a.name.removeprefix("pnpkit.") for a in node.names if a.name.startswith("pnpkit.")}
    return found - {""}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_room_imports_only_rooms_of_lower_ranks(path: Path) -> None:
    here = room(path)
    if here == "__init__":
        return
    for name in imported(path):
        other = name.split(".")[0]
        lower = RANK[other] < RANK[here] or (other == "dynamics" and here in STUDIES)
        assert other == here or lower, f"{path.name} ({here}, rank {RANK[here]}) imports {name} (rank {RANK[other]})"


def test_every_room_has_a_rank_and_no_circle_runs_through_the_modules() -> None:
    assert {room(path) for path in FILES} - {"__init__"} <= set(RANK)
    graph = {}
    for path in FILES:
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        graph[name.removesuffix(".__init__")] = imported(path)
    list(TopologicalSorter(graph).static_order())  # raises CycleError


def test_contributing_lists_every_room_with_its_rank() -> None:
    text = (Path(__file__).parent.parent / "CONTRIBUTING.md").read_text()
    listed = {name: int(rank) for rank, name in re.findall(r"^\| (\d) \| `(\w+)` \|", text, re.M)}
    assert listed == {name: rank for name, rank in RANK.items() if name != "__main__"}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_files_stay_readable(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= 420
    assert text.startswith(('"""', 'r"""')), "a module begins with what it is for"
    assert "print(" not in text, "only the command line prints, through click"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_below_the_command_line_messages_name_arguments(path: Path) -> None:
    """`max_steps`, never --max-steps: who calls the library has no flags."""
    if room(path) in ("command", "__main__"):
        return
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            assert not re.search(r"(^|[^-])--[a-z]", node.value), node.value


def test_every_public_name_exists_and_has_a_docstring() -> None:
    for name in pnpkit.__all__:
        value = getattr(pnpkit, name)
        assert name == "__version__" or value.__doc__
    with pytest.raises(AttributeError, match="no attribute 'deblurr'"):
        _ = pnpkit.deblurr  # type: ignore[attr-defined]


@pytest.mark.parametrize("what", ["import pnpkit", "import pnpkit.command.cli"])
def test_importing_loads_nothing_heavy(what: str) -> None:
    code = f"{what}; import sys; print([m for m in ('torch', 'deepinv', 'skimage', 'scipy') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


@pytest.mark.parametrize("words, limit", [(["-c", "import pnpkit"], 0.2), (["-m", "pnpkit", "--help"], 1.0)])
def test_the_first_word_comes_at_once(words: list[str], limit: float) -> None:
    """Processor time beyond that of an empty program, the least of three runs."""

    def seconds(arguments: list[str]) -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *arguments], capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    empty = min(seconds(["-c", ""]) for _ in range(3))
    assert min(seconds(words) for _ in range(3)) - empty < limit


def test_only_what_belongs_there_stands_at_the_top() -> None:
    """What is tracked, where this is a checkout: a download that slipped into a commit stays in it for ever."""
    root = PACKAGE.parent
    found = subprocess.run(["git", "ls-files"], cwd=root, capture_output=True, text=True, check=False)
    if found.returncode or not (root / ".git").exists():
        pytest.skip("not a checkout")
    tops = {line.split("/")[0] for line in found.stdout.splitlines()}
    given = {
        "pyproject.toml",
        "README.md",
        "pnpkit",
        "denoisers",
        "scripts",
        "tests",
        "data",
        "LICENSE",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "CITATION.cff",
        "docs",
    }
    assert {name for name in tops if not name.startswith(".")} <= given
    assert not [line for line in found.stdout.splitlines() if line.endswith((".whl", ".pyc", ".pt", ".pkl"))]


def test_no_room_asks_which_network_it_holds() -> None:
    """Networks answer by methods with a default; only growth, which makes one out of another, looks at their class."""
    classes, bases = {"Cut", "Tiled", "Shared"}, re.compile(r"^class (\w+)\((?:Network|Cut)\):", re.M)
    for path in (PACKAGE / "networks").glob("*.py"):
        classes |= set(bases.findall(path.read_text()))
    assert {"Euler", "GuidedEuler", "SecondPass", "Given", "Ridge", "DnCNN", "Tiled"} <= classes
    others = [path for path in FILES if room(path) != "networks" and path.name != "growth.py"]
    for path in [*others, *(PACKAGE.parent / "scripts").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "isinstance":
                asked = {n.id for n in ast.walk(node.args[1]) if isinstance(n, ast.Name)}
                asked |= {n.attr for n in ast.walk(node.args[1]) if isinstance(n, ast.Attribute)}
                assert not asked & classes, f"{path.name}, line {node.lineno}"


def test_no_test_looks_for_words_in_a_guarantee() -> None:
    """It is a value: `bool`, `lack`, `existence`, `start`, `before`. Its text is the business of test_guarantee."""
    for path in Path(__file__).parent.glob("test_*.py"):
        if path.stem.endswith("guarantee"):
            continue
        for claim in (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Assert)):
            for node in ast.walk(claim.test):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "str":
                    asked = {part.attr for part in ast.walk(node) if isinstance(part, ast.Attribute)}
                    assert "guarantee" not in asked, f"{path.name}, line {node.lineno}"


def test_test_files_begin_with_the_name_of_a_room() -> None:
    """test_solvers_watch.py stands beside test_solvers_loop.py; what has no room is of house, docs or scripts."""
    heads = {*RANK, "house", "docs", "scripts"}
    for path in Path(__file__).parent.glob("test_*.py"):
        name = path.stem.removeprefix("test_")
        assert any(name == head or name.startswith(f"{head}_") for head in heads), path.name


def test_a_name_has_one_meaning() -> None:
    """What once had several is defined once at most: the learned ridge, the record of a step, the flag --quiet."""
    found: dict[str, list[str]] = {}
    once = {"fit", "ridge", "look", "image", "step", "error", "ROUGH", "QUIET", "TrainingConfig", "FitConfig", "Step"}
    for path in FILES:
        for node in ast.parse(path.read_text()).body:
            names = [node.name] if isinstance(node, (ast.FunctionDef, ast.ClassDef)) else []
            if isinstance(node, ast.Assign):
                names = [target.id for target in node.targets if isinstance(target, ast.Name)]
            for name in once.intersection(names):
                found.setdefault(name, []).append(path.name)
    assert all(len(places) == 1 for places in found.values()), found
