"""Break central lines of the package, one at a time, and record which test notices.

    python scripts/mutations.py [--check] [--only NAME ...]

Each mutation replaces one piece of text in a temporary copy of the package and runs the tests of that room on it, until
the first one fails. The script ends with an error if a piece of text is missing or occurs twice, because the table must
agree with the code, and also if a test fails on the unchanged package. --check only looks for the texts; --only runs
the mutations with these names and writes nothing. Writes docs/results/mutations.{json,md}.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from results import stamp, write_results
from tqdm import tqdm

ROOT = Path(__file__).parent.parent
LIMIT = 1800  # seconds for one test file on the package as it is
HANGS = 3  # a mutation hangs where its tests take this many times what they take on the package as it is, and a minute


@dataclass(frozen=True)
class Mutation:
    """A line of ``pnpkit/`` before and after the change, and the test files of ``tests/`` that should notice it."""

    name: str
    file: str
    before: str
    after: str
    tests: tuple[str, ...]


MUTATIONS = (
    # norm bounds
    Mutation(
        "convolution without the slack of its grid",
        "numerics/norms.py",
        "return scale * math.sqrt(square) / math.cos(math.pi * (size - 1) / 2 / grid) ** 2",
        "return scale * math.sqrt(square) * 0.999",
        ("test_layers.py", "test_numerics_norms.py"),
    ),
    Mutation(
        "norm of a matrix too small",
        "numerics/norms.py",
        "return norm * (1 + max(matrix.shape) * 2.0**-50)",
        "return norm * 0.999",
        ("test_layers_dense.py", "test_numerics_norms.py", "test_operators_dense.py"),
    ),
    Mutation(
        "Schur test too small",
        "operators/norms.py",
        "value = math.sqrt(squares) * (1 + 1e3 * torch.finfo(ones.dtype).eps)",
        "value = 0.9 * math.sqrt(squares)",
        ("test_operators.py", "test_operators_dense.py"),
    ),
    Mutation(
        "aliases of a downsampling forgotten",
        "operators/norms.py",
        "return math.sqrt(min(square, peak / slack)) * (1 + 1e-12)",
        "return math.sqrt(min(square, peak / slack) / 2)",
        ("test_operators.py", "test_operators_dense.py"),
    ),
    Mutation(
        "a part that was only measured counts as proven",
        "operators/norms.py",
        "side = Side.PROVEN if all(bound.side is Side.PROVEN for bound in bounds) else Side.MEASURED",
        "side = Side.PROVEN",
        ("test_operators.py",),
    ),
    # fast paths
    Mutation(
        "a decomposition is believed without a check",
        "operators/integrity.py",
        "and decomposition_gap(operator, example) <= NEARLY",
        "and decomposition_gap(operator, example) < float('inf')",
        ("test_operators_dense.py",),
    ),
    Mutation(
        "a volume takes the way of pictures",
        "operators/normal_equations.py",
        " or operator.filter.ndim != 4 or example.ndim != 4",
        "",
        ("test_operators_dense.py",),
    ),
    # tolerances of proximal maps
    Mutation(
        "conjugate gradients stop early",
        "operators/normal_equations.py",
        "goal = rounding.clamp_min(TOLERANCE * math.sqrt(right[0].numel()))",
        "goal = rounding.clamp_min(100 * TOLERANCE * math.sqrt(right[0].numel()))",
        ("test_operators_normal.py", "test_operators_dense.py"),
    ),
    Mutation(
        "total variation stops early",
        "numerics/total_variation.py",
        "goal = 0.5 * tolerance**2 * z.numel()",
        "goal = 50 * tolerance**2 * z.numel()",
        ("test_proximal.py",),
    ),
    # composition of proofs
    Mutation(
        "averagedness of a composition is that of its worst part",
        "certificates.py",
        "return total / (1 + total)",
        "return max(alphas)",
        ("test_certificates.py", "test_maps.py"),
    ),
    Mutation(
        "a composition forgets what is not proven",
        "certificates.py",
        "    if unproven:\n        return replace(",
        "    if False:\n        return replace(",
        ("test_certificates.py", "test_maps.py"),
    ),
    Mutation(
        "averagedness of a gradient step halved",
        "fidelities/base.py",
        "averagedness = tau * self.L / 2",
        "averagedness = tau * self.L / 4",
        ("test_fidelities.py", "test_maps.py"),
    ),
    Mutation(
        "steps up to 4/L",
        "fidelities/base.py",
        "if not 0 < tau < largest:",
        "if not 0 < tau < 2 * largest:",
        ("test_fidelities.py",),
    ),
    Mutation(
        "an operator that changed goes on",
        "fidelities/data.py",
        "if not unchanged(self._state, self.operator):",
        "if not unchanged(self._state, self.operator) and False:",
        ("test_fidelities.py",),
    ),
    # safeguard and watch
    Mutation(
        "Anderson without its safeguard",
        "solvers/iterations.py",
        "accept = torch.isfinite(error) & (error <= allowed)",
        "accept = torch.isfinite(error)",
        ("test_algorithms.py", "test_solvers_loop.py"),
    ),
    Mutation(
        "a rise of the residual is not noticed",
        "solvers/watch.py",
        "if gap > allowed * (1 + RISE_LIMIT) + 2 * rounding:",
        "if False:",
        ("test_solvers_watch.py", "test_solvers_loop.py"),
    ),
    # scaling and clipping
    Mutation(
        "the scale of a picture is not undone",
        "restoration/picture.py",
        "x = scale.outward(z)",
        "x = z",
        ("test_restoration_equivariance.py",),
    ),
    Mutation(
        "a box without its upper side",
        "proximal.py",
        "lambda z: ordered(z).clamp(low, high)",
        "lambda z: ordered(z).clamp_min(low)",
        ("test_proximal.py",),
    ),
    Mutation(
        "integers wrap around where they ought to be clipped",
        "images/pixels.py",
        "return np.rint(np.clip(low + span, bounds.min, bounds.max)).astype(dtype)",
        "return np.rint(low + span).astype(np.int64).astype(dtype)",
        ("test_images_arrays.py", "test_images.py"),
    ),
    # writing
    Mutation(
        "a file that must not be replaced is replaced",
        "machine/files.py",
        "                if overwrite:\n",
        "                if True:\n",
        ("test_command_faults.py", "test_registry.py"),
    ),
    Mutation(
        "what was half written stays",
        "machine/files.py",
        "            temporary.unlink(missing_ok=True)\n    except OSError",
        "            pass\n    except OSError",
        ("test_command_faults.py", "test_images.py", "test_command_places.py"),
    ),
)


def text_of(mutation: Mutation, root: Path = ROOT) -> str:
    """The file of a mutation.

    Raises:
        SystemExit: the text that it replaces does not stand there once.
    """
    text = (root / "pnpkit" / mutation.file).read_text()
    found = text.count(mutation.before)
    if found != 1:
        raise SystemExit(f"{mutation.name}: expected its text once in pnpkit/{mutation.file}, found it {found} times")
    return text


@contextmanager
def copied() -> Iterator[Path]:
    """Make a folder with a copy of the package and its tests, and links to the rest of the checkout."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        for part in ("pnpkit", "tests"):
            shutil.copytree(ROOT / part, root / part, ignore=shutil.ignore_patterns("__pycache__"))
        for path in ROOT.iterdir():
            if path.name not in ("pnpkit", "tests") and not path.name.startswith("."):
                (root / path.name).symlink_to(path)
        yield root


def failing(root: Path, tests: tuple[str, ...], limit: float) -> str:
    """Return the first test that fails in the copy, "hangs" beyond ``limit`` seconds, or "" if all pass."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"]
    environment = {**os.environ, "PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1"}
    places = [str(root / "tests" / test) for test in tests]
    try:
        done = subprocess.run(
            [*command, *places], cwd=root, env=environment, capture_output=True, text=True, timeout=limit
        )
    except subprocess.TimeoutExpired:
        return "hangs"
    if done.returncode == 0:
        return ""
    found = re.search(r"^(?:FAILED|ERROR) tests/(\S+)", done.stdout, re.MULTILINE)
    return found.group(1) if found else f"pytest ended with {done.returncode}"


def noticed_by(mutation: Mutation, seconds: dict[str, float]) -> str:
    """Return the first test that notices a mutation, or "" if none does; ``seconds`` is from :func:`sound`."""
    limit = 60 + HANGS * sum(seconds[test] for test in mutation.tests)
    with copied() as root:
        text = text_of(mutation, root)
        (root / "pnpkit" / mutation.file).write_text(text.replace(mutation.before, mutation.after))
        return failing(root, mutation.tests, limit)


def sound(mutations: list[Mutation]) -> dict[str, float]:
    """The seconds of each of their test files on the package as it is, where all must pass.

    Raises:
        SystemExit: a test fails or hangs on the package as it is.
    """
    seconds = {}
    with copied() as root:
        for test in tqdm(sorted({test for mutation in mutations for test in mutation.tests}), "as it is"):
            start = time.perf_counter()
            if broken := failing(root, (test,), LIMIT):
                raise SystemExit(f"{test}: {broken} on the package as it is: mutations tell nothing before it passes")
            seconds[test] = time.perf_counter() - start
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="only look for the texts")
    parser.add_argument("--only", nargs="+", default=[], choices=[mutation.name for mutation in MUTATIONS])
    args = parser.parse_args()
    for mutation in MUTATIONS:
        text_of(mutation)
    if args.check:
        return
    chosen = [mutation for mutation in MUTATIONS if not args.only or mutation.name in args.only]
    seconds = sound(chosen)
    found = {mutation.name: noticed_by(mutation, seconds) for mutation in tqdm(chosen, "broken")}
    lines = [
        f"A test notices {sum(map(bool, found.values()))} of {len(found)} broken lines.",
        "",
        "| what is broken | file | first test that fails |",
        "| --- | --- | --- |",
        *(f"| {m.name} | {m.file} | {found[m.name] or 'none'} |" for m in chosen),
    ]
    if not args.only:
        rows = [
            {"name": m.name, "file": m.file, "before": m.before, "after": m.after, "noticed_by": found[m.name]}
            for m in chosen
        ]
        write_results("mutations", {**stamp("python scripts/mutations.py"), "mutations": rows}, lines)
    print("\n".join(lines))
    if not all(found.values()):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
