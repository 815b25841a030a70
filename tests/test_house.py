"""The shape of the house: imports go downwards, files stay small, importing loads nothing heavy."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import pnpkit

PACKAGE = Path(pnpkit.__file__).parent
RANKS = {
    "errors": 0,
    "files": 0,
    "distributed": 0,
    "startup": 0,
    "certificates": 1,
    "maps": 1,
    "kernels": 1,
    "wavelets": 1,
    "light": 1,
    "jpeg": 1,
    "total_variation": 1,
    "hardware": 1,
    "conjugate_gradients": 1,
    "layers": 2,
    "operators": 2,
    "proximal": 2,
    "fidelity": 3,
    "networks": 3,
    "pixels": 1,
    "images": 3,
    "metrics": 3,
    "noise": 3,
    "registry": 4,
    "ecosystem": 4,
    "splittings": 4,
    "iterations": 4,
    "diagnostics": 3,
    "checks": 3,
    "solver": 4,
    "precision": 4,
    "algorithms": 5,
    "blind": 5,
    "settings": 5,
    "problem": 5,
    "strength": 4,
    "restore": 5,
    "completion": 5,
    "training": 5,
    "equilibrium": 5,
    "robust": 5,
    "sympnet": 5,
    "structure": 5,
    "gradients": 5,
    "report": 6,
    "outcome": 6,
    "jobs": 6,
    "options": 6,
    "cli": 6,
    "__main__": 7,
}
FILES = sorted(PACKAGE.rglob("*.py"))


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_go_downwards_or_stay_in_the_rank(path: Path) -> None:
    if room(path) == "__init__":
        return
    rank = RANKS[room(path)]
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module == "pnpkit":
            names = [alias.name for alias in node.names if alias.name != "__version__"]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("pnpkit."):
            names = [str(node.module).split(".")[1]]
        for name in names:
            assert RANKS[name] <= rank, f"{path.name} (rank {rank}) imports {name} (rank {RANKS[name]})"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_files_stay_readable(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= 420
    assert text.startswith(('"""', 'r"""')), "a module begins with what it is for"
    assert "print(" not in text, "only the command line prints, through click"


def test_every_public_name_exists_and_has_a_docstring() -> None:
    for name in pnpkit.__all__:
        value = getattr(pnpkit, name)
        assert name == "__version__" or value.__doc__
    with pytest.raises(AttributeError, match="no attribute 'deblurr'"):
        _ = pnpkit.deblurr  # type: ignore[attr-defined]


@pytest.mark.parametrize("what", ["import pnpkit", "import pnpkit.cli"])
def test_importing_loads_nothing_heavy(what: str) -> None:
    code = f"{what}; import sys; print([m for m in ('torch', 'deepinv', 'skimage', 'scipy') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


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
        "docs",
    }
    assert {name for name in tops if not name.startswith(".")} <= given
    assert not [line for line in found.stdout.splitlines() if line.endswith((".whl", ".pyc", ".pt", ".pkl"))]
