"""Find the tables, figures, audits and scores that are stale after new weights, and make them again.

    python scripts/refresh.py --list                                   # in seconds: fresh, stale, unknown
    python scripts/refresh.py --run --data PATH [--only figures ...] [--unknown] [--keep-going]

Each stored record (docs/results/*.json, docs/lecture/*.json, the cards) holds the command that made it and, per
denoiser, the sha256 of the weights it was made with. If a hash differs from that on the card, the record is stale.
Older records without a hash are stale if they are older than the weights, and otherwise "unknown"; --unknown makes
these again too. --run calls the commands in the order of ``ARTEFACTS``, with PATH (which holds bsds500, kernels and
levin) for PATH. It writes the hashes into the records and copies the tables that the README shares with docs/results.
The sentences of the README must be checked by a person: the records that changed are listed at the end.
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pnpkit import registry
from pnpkit.machine.files import write_whole

ROOT = Path(__file__).parent.parent
FRESH, STALE, UNKNOWN, MISSING = "fresh", "stale", "unknown", "missing"
TABLES = ("denoising", "speed")  # pages of docs/results whose tables the README repeats
Record = dict[str, Any]


@dataclass(frozen=True)
class Artefact:
    """Something that was made with weights.

    Attributes:
        name: of the record; record: its file, below the root. weights: the denoisers that it was made with.
        command: makes it; empty: the one that the record tells. part: the key of the record that belongs to it, where
            it is a part of one.
        hours: about, on two cores; told, and not used.
    """

    name: str
    record: str
    weights: tuple[str, ...]
    command: str = ""
    part: str = ""
    hours: float = 0.1


def of_cards(names: list[str]) -> Iterator[Artefact]:
    """Yield the audits and scores, which are stored on the cards."""
    for name in names:
        audit = f"python scripts/audit_denoisers.py --rounds 12 --seed 0 --names {name}"
        yield Artefact(f"audit of {name}", f"denoisers/{name}/card.json", (name,), audit, "audit")
    for name in names:
        scores = f"python scripts/evaluate_denoisers.py --data PATH/bsds500 --names {name}"
        yield Artefact(f"scores of {name}", f"denoisers/{name}/card.json", (name,), scores, "scores", 0.3)


def of_tables() -> Iterator[Artefact]:
    """Yield the rows of the deblurring tables, by method, without methods that need no weights."""
    for track, methods in TRACKS.items():
        for method in methods:
            command = (
                "python scripts/deblurring_table.py --data PATH/bsds500 --kernels PATH/kernels --pictures 10 --add "
                f"--track {track} --noises 2.55 7.65 12.75 --names {method} --steps 300 --watched 20"
            )
            head = method.partition(":")[0]
            record = f"docs/results/deblurring-{track}.json"
            yield Artefact(f"{method} on {track}", record, (head,), command, method, 8.0 if track == "whole" else 1.0)


TRACKS = {
    "crop128": ("euler", "euler-fast", "euler-fast:half-quadratic", "wavelet", "dncnn", "euler-guided"),
    "whole": ("euler-fast", "euler-guided", "dncnn"),
}
SINGLE = (
    Artefact("figures", "docs/results/deblurring.json", ("dncnn", "euler-fast")),
    Artefact("everyday", "docs/results/everyday.json", ("euler-fast", "euler-guided")),
    Artefact("guide", "docs/results/guide.json", ("dncnn", "euler-guided")),
    Artefact("borders", "docs/results/borders.json", ("euler-fast",)),
    Artefact("sharp", "docs/results/sharp.json", ("euler-guided",), hours=0.3),
    Artefact("compressed", "docs/results/compressed.json", ("euler-fast",), hours=0.5),
    Artefact("levin", "docs/results/levin.json", ("euler-guided",), hours=1.0),
    Artefact("solvers", "docs/results/solvers.json", ("euler-fast",), hours=0.3),
    Artefact("prox cost", "docs/results/prox-cost.json", (), hours=0.1),
    Artefact("speed", "docs/results/speed.json", ("wavelet", "euler-fast", "euler", "dncnn"), hours=0.3),
    Artefact("scaling", "docs/results/scaling.json", ("wavelet",), hours=0.5),
    Artefact("lecture deblurring", "docs/lecture/deblurring.json", ("euler", "wavelet", "dncnn")),
    Artefact("lecture denoising", "docs/lecture/denoising.json", ("euler", "euler-lecture", "wavelet", "dncnn")),
    Artefact("lecture repetition", "docs/lecture/repetition.json", ("euler", "euler-lecture", "wavelet", "dncnn")),
    Artefact("published", "docs/results/published.json", (), hours=20.0),
)


def artefacts() -> list[Artefact]:
    """Return all artefacts in the order of making them: first those on the cards, which the others read."""
    return [*of_cards(list(registry.denoisers())), *of_tables(), *SINGLE]


def read(path: Path) -> Record | None:
    """Read a record; None if there is none."""
    return json.loads(path.read_text()) if path.exists() else None


def made_with(artefact: Artefact, record: Record) -> Mapping[str, str | None]:
    """Return the hashes in a record, by denoiser; empty if it holds none."""
    if artefact.part in ("audit", "scores"):
        found = record[artefact.part].get("sha256")
        return {artefact.weights[0]: found} if found else {}
    if artefact.part:  # rows of a table: the hash of each level of noise, or that of all
        rows = record.get("added", {}).get(artefact.part, {})
        hashes = {how.get("sha256") for how in rows.values()} or {record.get("sha256", {}).get(artefact.part)}
        known = hashes - {None}
        return {artefact.weights[0]: known.pop() if len(hashes) == 1 else "several"} if known else {}
    return record.get("weights") or record.get("sha256") or {}


def date_of(artefact: Artefact, record: Record) -> str:
    """Return when the artefact was made, in ISO 8601; empty if this is not stored."""
    if artefact.part in ("audit", "scores"):
        return str(record[artefact.part].get("date", ""))
    dates = [how.get("date", "") for how in record.get("added", {}).get(artefact.part, {}).values()]
    return min(dates) if dates else str(record.get("date", ""))


@dataclass(frozen=True)
class Finding:
    """An artefact, whether it is stale, and why."""

    artefact: Artefact
    state: str
    why: str = ""
    record: Record = field(default_factory=dict, repr=False)


def look(artefact: Artefact, root: Path, cards: Mapping[str, registry.Card]) -> Finding:
    """Check whether the artefact was made with the weights that are shipped now."""
    record = read(root / artefact.record)
    if record is None or (artefact.part in ("audit", "scores") and not record[artefact.part].get("date")):
        return Finding(artefact, MISSING, "never made")
    known = made_with(artefact, record)
    names = artefact.weights or tuple(name.partition(":")[0] for name in known)
    hashes = {name.partition(":")[0]: value for name, value in known.items()}
    doubts = []
    for name in names:
        if name not in cards:
            return Finding(artefact, STALE, f"{name} is no longer shipped", record)
        now, made = cards[name].sha256, hashes.get(name)
        if made and made != now:
            return Finding(artefact, STALE, f"{name} was {made[:8]}, is {now[:8]}", record)
        born = str(cards[name].training.get("date", ""))
        if not made and date_of(artefact, record) < born:
            return Finding(artefact, STALE, f"made {date_of(artefact, record)}, {name} is of {born}", record)
        if not made and born:
            doubts.append(name)
    return Finding(artefact, UNKNOWN if doubts else FRESH, f"no hash of {', '.join(doubts)}" * bool(doubts), record)


def command_of(finding: Finding) -> str:
    """Return the command that makes the artefact; empty if it is not known."""
    return finding.artefact.command or str(finding.record.get("command", ""))


def arguments(command: str, data: Path) -> list[str]:
    """Return the words of a command, with this Python and these data."""
    words = shlex.split(command)
    words = [re.sub(r"^PATH(?=/|$)", str(data), word) for word in words]
    return [sys.executable, *words[1:]] if words[:1] == ["python"] else words


def remember(finding: Finding, root: Path, cards: Mapping[str, registry.Card]) -> None:
    """Write the present hashes into a record without hashes; the scripts of cards and tables write their own."""
    artefact = finding.artefact
    record = read(root / artefact.record)
    if record is None or artefact.part or not artefact.weights:
        return
    record["weights"] = {name: cards[name].sha256 for name in artefact.weights}
    write_whole(root / artefact.record, (json.dumps(record, indent=1) + "\n").encode())


def tables_of(text: str) -> list[list[str]]:
    """Return the tables of a page: successive lines that begin with a bar."""
    found: list[list[str]] = [[]]
    for line in text.splitlines():
        if line.startswith("|"):
            found[-1].append(line)
        elif found[-1]:
            found.append([])
    return [table for table in found if table]


def pasted(readme: str, page: str) -> str:
    """Return the README with each table that the page has under the same heading line replaced by it."""
    for table in tables_of(page):
        for old in tables_of(readme):
            if old[:2] == table[:2]:
                readme = readme.replace("\n".join(old), "\n".join(table))
    return readme


def paste(root: Path) -> bool:
    """Copy the tables of ``TABLES`` into the README, and return whether this changed it."""
    readme = root / "README.md"
    before = text = readme.read_text()
    for name in TABLES:
        page = root / "docs" / "results" / f"{name}.md"
        text = pasted(text, page.read_text()) if page.exists() else text
    if text != before:
        write_whole(readme, text.encode())
    return text != before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--list", action="store_true", help="say what is stale (the default)")
    what.add_argument("--run", action="store_true", help="make again what is stale")
    parser.add_argument("--data", type=Path, help="the folder that holds bsds500, kernels and levin")
    parser.add_argument("--only", nargs="+", default=[], help="parts of names")
    parser.add_argument("--unknown", action="store_true", help="also what tells no hash")
    parser.add_argument("--keep-going", action="store_true", help="go on after a command that failed")
    parser.add_argument("--root", type=Path, default=ROOT, help=argparse.SUPPRESS)
    args = parser.parse_args()
    cards, root = registry.denoisers(), args.root
    wanted = [a for a in artefacts() if not args.only or any(part in a.name for part in args.only)]
    found = [look(artefact, root, cards) for artefact in wanted]
    if not args.run:
        for finding in found:
            hours = f"about {finding.artefact.hours:g} h" if finding.state != FRESH else ""
            print(f"{finding.state:8s} {finding.artefact.name:32s} {finding.why or hours}")
        counts = {state: sum(f.state == state for f in found) for state in (FRESH, STALE, UNKNOWN, MISSING)}
        print(", ".join(f"{count} {state}" for state, count in counts.items()))
        return
    if args.data is None:
        parser.error("--run needs --data PATH, the folder that holds bsds500, kernels and levin")
    due = [f for f in found if f.state == STALE or (args.unknown and f.state in (UNKNOWN, MISSING))]
    failed = [f.artefact.name for f in due if not run(f, root, args.data.resolve(), cards, args.keep_going)]
    changed = paste(root)
    print(f"{len(due) - len(failed)} of {len(due)} made again{': failed ' * bool(failed)}{', '.join(failed)}")
    print("README.md: its tables were " + ("replaced" if changed else "as they are stored"))
    if due:
        print("read again, where they are told in words: README.md, docs/lab-book, CHANGELOG.md")
    sys.exit(1 if failed else 0)


def run(finding: Finding, root: Path, data: Path, cards: Mapping[str, registry.Card], keep_going: bool) -> bool:
    """Make one artefact again, and return whether this succeeded."""
    command = command_of(finding)
    if not command:
        print(f"{finding.artefact.name}: no command is known", flush=True)
        return False
    print(f"== {finding.artefact.name}: {command}", flush=True)
    code = subprocess.run(arguments(command, data), cwd=root, check=False).returncode
    if code and not keep_going:
        raise SystemExit(f"{finding.artefact.name}: exit {code}; --keep-going passes over it")
    if not code:
        remember(finding, root, cards)
    return not code


if __name__ == "__main__":
    main()
