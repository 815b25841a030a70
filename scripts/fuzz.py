"""Look for faults with random inputs of seven kinds. Each input can be made again from its kind and seed.

    python scripts/fuzz.py --minutes 85
    python scripts/fuzz.py --count 100 --kinds cards weights --resume
    python scripts/fuzz.py --plan cards=200 problems=50
    python scripts/fuzz.py --one cards 17
    python scripts/fuzz.py --again

images, kernels, cards and weights are damaged files; commands are random command lines; arrays go to the functions of
the library; problems are small linear problems whose result is computed again independently. An input may be accepted,
or refused in one line. It must not cause a crash (any exception that is no ``PnpError``), a hang (over ten seconds of
processor time), the use of half a GiB, or an untrue answer. The worker is a separate process, so that the end of an
interpreter is counted too. Writes docs/results/fuzz.{json,md}. --resume continues from these files; --again tries their
faults again on the present code and notes the outcome. Exit code 1: faults were found, or are still there.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import selectors
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
KINDS = ("images", "kernels", "cards", "weights", "commands", "arrays", "problems")
OUTCOMES = ("ok", "refused", "untrue", "crash", "hang", "memory")
LIMIT = 25.0  # seconds of processor time without an answer: the worker is ended
SILENCE = 300.0  # seconds of any time
BATCH = 25  # inputs of a kind in turn
KEPT = 60.0  # seconds between two writings of the record
FRESH = 4000  # inputs, then a new worker


class Worker:
    """The process that tries inputs, with its answers."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        assert self.process.stdin is not None and self.process.stdout is not None
        self.requests, self.answers = self.process.stdin, self.process.stdout
        os.set_blocking(self.answers.fileno(), False)
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.answers, selectors.EVENT_READ)
        self.text, self.done = b"", 0

    def ask(self, kind: str, first: int, count: int) -> None:
        self.requests.write(f"{kind} {first} {count}\n".encode())
        self.requests.flush()

    def answer(self) -> dict[str, Any] | None:
        """Return the next answer; None if the process has ended, a hang if it had to be ended."""
        started, used = time.monotonic(), self.used()
        while b"\n" not in self.text:
            if self.selector.select(timeout=5):
                part = self.answers.read()
                if part == b"":
                    return None
                self.text += part or b""
            elif self.done and (self.used() - used > LIMIT or time.monotonic() - started > SILENCE):
                self.end(signal.SIGKILL)
                return {"outcome": "hang", "exception": "no answer", "line": "", "message": "", "seconds": LIMIT}
        line, _, self.text = self.text.partition(b"\n")
        self.done += 1
        found: dict[str, Any] = json.loads(line)
        return found

    def used(self) -> float:
        """Return seconds of processor time."""
        try:
            words = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return 0.0
        return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")

    def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Return the exit code of the process, which is ended if necessary."""
        self.requests.close()
        try:
            return self.process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            self.process.send_signal(how)
            return self.process.wait()


class Tally:
    """Counts by kind, and failures grouped by exception and line."""

    def __init__(self, record: dict[str, Any] | None, seed: int):
        self.kinds: dict[str, dict[str, Any]] = record["kinds"] if record else {}
        self.failures: list[dict[str, Any]] = record["failures"] if record else []
        self.seed = seed

    def of(self, kind: str) -> dict[str, Any]:
        fresh = {"count": 0, **dict.fromkeys(OUTCOMES, 0), "seconds": 0.0, "next": self.seed}
        return self.kinds.setdefault(kind, fresh)

    def add(self, kind: str, seed: int, answer: dict[str, Any]) -> None:
        row = self.of(kind)
        row["count"] += 1
        row["next"] = seed + 1
        row["seconds"] = round(row["seconds"] + answer.get("seconds", 0.0), 3)
        row[answer["outcome"]] += 1
        if answer["outcome"] in ("ok", "refused"):
            return
        marks = {"kind": kind, "outcome": answer["outcome"], "exception": answer["exception"], "line": answer["line"]}
        for known in self.failures:
            if all(known[key] == value for key, value in marks.items()):
                known["count"] += 1
                return
        self.failures.append(
            marks | {"seed": seed, "count": 1, **{k: answer.get(k, "") for k in ("message", "last", "note")}}
        )

    def lines(self) -> list[str]:
        """Return the counts as a table."""
        rows = [f"{'':10s}" + "".join(f"{name:>9s}" for name in ("count", *OUTCOMES, "ms each"))]
        for kind, row in self.kinds.items():
            mean = 1000 * row["seconds"] / max(1, row["count"])
            rows.append(f"{kind:10s}" + "".join(f"{row[name]:9d}" for name in ("count", *OUTCOMES)) + f"{mean:9.1f}")
        return rows


def batch(worker: Worker, tally: Tally, kind: str, count: int) -> Worker:
    """Try the next inputs of a kind, and return the worker to continue with."""
    first = tally.of(kind)["next"]
    worker.ask(kind, first, count)
    for seed in range(first, first + count):
        answer = worker.answer()
        if answer is None or answer["exception" if "exception" in answer else "outcome"] == "no answer":
            code = worker.end()
            gone = {"outcome": "crash", "exception": f"interpreter ended: {code}", "line": "", "message": ""}
            tally.add(kind, seed, answer or gone)
            return Worker()
        tally.add(kind, seed, answer)
    if worker.done >= FRESH:
        worker.end()
        return Worker()
    return worker


def again(path: Path) -> list[dict[str, Any]]:
    """Try each fault of a record again with its first seed, and return those that are still there."""
    record: dict[str, Any] = json.loads(path.read_text())
    worker = Worker()
    for failure in record["failures"]:
        worker.ask(failure["kind"], failure["seed"], 1)
        answer = worker.answer()
        failure["again"] = answer["outcome"] if answer else "crash"
        if answer is None or answer.get("exception") == "no answer":
            worker.end()
            worker = Worker()
    worker.end()
    record["again"] = datetime.date.today().isoformat()
    keep(path, record)
    return [failure for failure in record["failures"] if failure["again"] not in ("ok", "refused")]


def keep(path: Path, record: dict[str, Any]) -> None:
    """Write the record and its table, whole or not at all."""
    rows = [*record["kinds"].items(), ("all", total(record["kinds"]))]
    lines = [
        f"`{record['command']}`, first seed {record['seed']}, {record['date']}, {record['machine']}",
        "",
        "| inputs | count | " + " | ".join(OUTCOMES) + " |",
        "| --- |" + " ---: |" * (1 + len(OUTCOMES)),
        *(f"| {kind} | " + " | ".join(str(row[name]) for name in ("count", *OUTCOMES)) + " |" for kind, row in rows),
    ]
    if record["failures"]:
        lines += ["", "| fault | first seed | times | tried again |", "| --- | --- | ---: | --- |"]
    for found in record["failures"]:
        what = " ".join(part for part in (found["outcome"], found["exception"], found["line"]) if part)
        what = what.replace("|", "\\|")
        lines.append(f"| {what} | {found['kind']} {found['seed']} | {found['count']} | {found.get('again', '-')} |")
    for place, text in ((path, json.dumps(record, indent=1)), (path.with_suffix(".md"), "\n".join(lines))):
        part = place.with_name(place.name + ".part")
        part.write_text(text + "\n")
        part.replace(place)


def total(kinds: dict[str, dict[str, Any]]) -> dict[str, int]:
    """Return the sums over all kinds."""
    return {name: sum(row[name] for row in kinds.values()) for name in ("count", *OUTCOMES)}


def write(path: Path, tally: Tally, seed: int) -> None:
    """Write the record: command, seed, date, machine, counts, failures."""
    record = {
        "command": "python scripts/fuzz.py " + shlex.join(word for word in sys.argv[1:] if word != "--resume"),
        "seed": seed,
        "date": datetime.date.today().isoformat(),
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
        "kinds": tally.kinds,
        "failures": tally.failures,
    }
    keep(path, record)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Look for faults by random inputs.")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--count", type=int, default=0, help="inputs per kind; 0: until the time is over")
    parser.add_argument("--plan", nargs="+", metavar="KIND=COUNT", default=[], help="another count for each kind")
    parser.add_argument("--minutes", type=float, default=0.0, help="wall time; 0: until the count is reached")
    parser.add_argument("--seed", type=int, default=0, help="the first seed of each kind")
    parser.add_argument("--resume", action="store_true", help="go on from the counts and seeds of --out")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "results" / "fuzz.json")
    parser.add_argument("--one", nargs=2, metavar=("KIND", "SEED"), help="try one input and show what happens")
    parser.add_argument("--again", action="store_true", help="try the faults of --out again")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.plan = {kind: int(count) for kind, _, count in (word.partition("=") for word in options.plan)}
    options.kinds = list(options.plan or options.kinds)
    if not (options.count or options.minutes or options.plan or options.one or options.again or options.worker):
        parser.error("give --count, --plan, --minutes, --one or --again")
    if not set(options.kinds) <= set(KINDS):
        parser.error(f"kinds are {', '.join(KINDS)}")
    return options


def main() -> None:
    options = arguments()
    if options.worker or options.one:
        from fuzzing import worker as tries

        return tries.one(options.one[0], int(options.one[1])) if options.one else tries.serve()
    if options.again:
        faults = again(options.out)
        print("\n".join(f"{found['kind']} {found['seed']}: {found['again']}" for found in faults) or "none is left")
        sys.exit(1 if faults else 0)
    record = json.loads(options.out.read_text()) if options.resume and options.out.exists() else None
    tally, worker = Tally(record, options.seed), Worker()
    counts = options.plan or dict.fromkeys(options.kinds, options.count)
    started, goal = time.monotonic(), {kind: tally.of(kind)["count"] + count for kind, count in counts.items()}
    waiting, written = list(options.kinds), started
    while waiting and not (options.minutes and time.monotonic() - started > 60 * options.minutes):
        kind = min(waiting, key=lambda kind: tally.of(kind)["count"])
        left = goal[kind] - tally.of(kind)["count"] if counts[kind] else BATCH
        if left > 0:
            worker = batch(worker, tally, kind, min(BATCH, left))
            if time.monotonic() - written > KEPT:
                write(options.out, tally, options.seed)
                written = time.monotonic()
        else:
            waiting.remove(kind)
    worker.end()
    write(options.out, tally, options.seed)
    print("\n".join(tally.lines()))
    for failure in tally.failures:
        print("{kind} {seed} ({count} times) {outcome}: {exception} {line} | {message}".format(**failure))
    sys.exit(1 if tally.failures else 0)


if __name__ == "__main__":
    main()
