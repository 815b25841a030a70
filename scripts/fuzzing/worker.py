"""A process that tries inputs: it reads ``kind first count`` from stdin and answers with one line of JSON per input.

An input ends in one of six ways. ok; refused: by a ``PnpError``, or exit 2 with one line; untrue: a promise is broken;
crash: any other exception; hang: more than ten seconds of processor time; memory: it runs out, or grows by half a GiB.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

import pnpkit as pk
from fuzzing import calls, cards, doors, files, problems
from fuzzing.cases import Case, Hang, Refused, Untrue

KINDS: dict[str, Callable[[Case], None]] = {
    "images": files.images,
    "kernels": files.kernels,
    "cards": cards.cards,
    "weights": cards.weights,
    "commands": calls.commands,
    "arrays": calls.arrays,
    "problems": problems.problems,
}
PATIENCE = 10.0  # seconds of processor time for one input
GROWTH, ROOM = 512 * 2**20, 3 * 2**30  # bytes: what an input may take, and what it can take at all
OUT_OF_MEMORY = ("can't allocate memory", "not enough memory", "Unable to allocate", "bad_alloc", "Cannot allocate")


def hang(*_: object) -> None:
    raise Hang


def peak() -> int:
    """The largest resident size since it was last forgotten, in bytes."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))


def forget_peak() -> None:
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def begun(kind: str, seed: int, place: Path) -> Case:
    """The case, in its folder, with the seeds of others set, too."""
    os.chdir(place)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    return Case(kind, seed, place)


def attempt(kind: str, seed: int, place: Path) -> dict[str, Any]:
    """Try one input in an empty folder; what came of it."""
    case = begun(kind, seed, place)
    forget_peak()
    before, outcome = peak(), "ok"
    error: BaseException | None = None
    signal.setitimer(signal.ITIMER_PROF, PATIENCE)
    try:
        KINDS[kind](case)
    except (pk.PnpError, Refused):
        outcome = "refused"
    except Hang as caught:
        outcome, error = "hang", caught
    except Untrue as caught:
        outcome, error = "untrue", caught
    except BaseException as caught:
        lacking = isinstance(caught, MemoryError) or any(words in str(caught) for words in OUT_OF_MEMORY)
        outcome, error = "memory" if lacking else "crash", caught
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    answer: dict[str, Any] = {"outcome": outcome}
    grown = peak() - before
    if grown > GROWTH and outcome in ("ok", "refused"):
        answer = {"outcome": "memory", "exception": "", "message": f"{grown / 2**20:.0f} MiB", "line": "", "last": ""}
        answer["line"] = case.notes[0] if case.notes else ""
    elif error is not None:
        line, last = doors.origin(error)
        line = error.promise if isinstance(error, Untrue) else line
        message = " ".join(str(error).split())[:300]
        answer |= {"exception": type(error).__name__, "message": message, "line": line, "last": last}
    if len(answer) > 1:
        answer["note"] = "; ".join(case.notes)[:600]
    return answer


def prepare() -> None:
    """Load what is loaded once, then limit what may be taken."""
    for name in calls.DENOISERS:
        if name not in ("euler-guided", "dncnn"):
            calls.network(name)
    limit()


def limit() -> None:
    """From here on this process has one thread, and an end to its memory and to its patience."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    signal.signal(signal.SIGPROF, hang)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with open("/proc/self/status") as status:
        size = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmSize"))
    resource.setrlimit(resource.RLIMIT_AS, (size + ROOM, resource.RLIM_INFINITY))


def emptied(place: Path) -> Path:
    """The folder, with nothing in it."""
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    return place


def serve() -> None:
    """Answer until stdin ends."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    prepare()
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as folder:
        for request in sys.stdin:
            kind, first, count = request.split()
            for seed in range(int(first), int(first) + int(count)):
                started = time.process_time()
                answer = attempt(kind, seed, emptied(Path(folder) / "here"))
                answer["seconds"] = round(time.process_time() - started, 4)
                answers.write(json.dumps(answer) + "\n")


def one(kind: str, seed: int) -> None:
    """Try one input here, under the same limits, and print all there is to say; its files stay."""
    limit()
    place = Path(tempfile.mkdtemp(prefix=f"{kind}-{seed}-"))
    case = begun(kind, seed, place)
    signal.setitimer(signal.ITIMER_PROF, PATIENCE)
    try:
        KINDS[kind](case)
        print("ok")
    except (pk.PnpError, Refused) as error:
        print("refused:", error)
    except (Exception, Hang):
        traceback.print_exc()
    signal.setitimer(signal.ITIMER_PROF, 0)
    print("; ".join(case.notes), f"\nin {place}: {sorted(path.name for path in place.iterdir())}")
