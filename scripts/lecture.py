"""Reproduce the experiments of the lecture, every figure and every number, with one command each.

    python scripts/lecture.py all --jobs 2 --data PATH ...  # everything, two studies at a time
    python scripts/lecture.py robust --data PATH ...        # item 6 on its data sets: see evaluate_classifiers.py
    python scripts/lecture.py sympnet-kepler                # one study
    python scripts/lecture.py all --fast                    # a few seconds each, into runs/lecture; needs no data
    python scripts/lecture.py page                          # the results page again, from the stored records

Writes PNG, GIF, CSV and JSON to docs/lecture, and the pages RESULTS.md and robust.md there anew from all JSON.
"""

from __future__ import annotations

import argparse
import io
import json
import multiprocessing
import os
import platform
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import matplotlib
import torch

matplotlib.use("Agg")
import evaluate_classifiers  # noqa: E402  (the backend is chosen first)
import matplotlib.pyplot as plt  # noqa: E402
from lecture_studies import flows, gradients, restoration, structures, sympnets  # noqa: E402
from lecture_studies.sheet import Sheet, comma_separated, markdown  # noqa: E402
from process import put_back  # noqa: E402
from results import today, write_results  # noqa: E402

from pnpkit.machine.files import write_whole

ROOT = Path(__file__).parent.parent
STYLE = Path(__file__).parent / "lecture.mplstyle"
STUDIES: dict[str, Callable[[bool, int], Sheet]] = {
    "planar-flow": flows.planar_study,
    "circle": flows.circle_study,
    "gradient-flow": flows.portrait_study,
    "wasserstein": flows.critic_study,
    "mass": structures.mass_study,
    "advection": structures.advection_study,
    "hamiltonian": structures.energy_study,
    "sphere": structures.sphere_study,
    **{f"sympnet-{name}": sympnets.study_of(name) for name in sympnets.SETTINGS},
    **{f"gradients-{layers}": gradients.depth_study(layers) for layers in (12, 64, 256)},
    "gradients-explosion": gradients.explosion_study,
    "proximal": restoration.proximal_study,
    "denoising": restoration.denoising_study,
    "repetition": restoration.repetition_study,
    "deblurring": restoration.deblurring_study,
}

CLASSIFIERS = {  # item 6: for every data set, what evaluate_classifiers.py is asked for
    "robust-fashion-mnist": "--names fashion-certified fashion-plain --spare-after 1000",
    "robust-cifar10": "--names cifar10-certified --attacked 1000 --spare-after 1000",
    "robust-mnist": "--names mnist-certified mnist-accurate mnist-plain --spare-after 1000 --plain 1000",
}

ITEMS = {
    1: "a ResNet as Euler steps",
    2: "norm preservation: a simple comparison",
    3: "1-Lipschitz gradient flow and its Euler map",
    4: "gradient-flow layers",
    5: "Wasserstein-1 by duality",
    6: "robust classification",
    7: "structure worth preserving: mass, norm, energy, constraint",
    8: "SympNets",
    9: "gradient stability of Hamiltonian networks",
    10: "proximal gradient, ridge, projected gradient, ISTA",
    11: "the Euler denoiser and DnCNN",
    12: "a denoiser applied again and again",
    13: "ill-posedness",
    14: "Plug-and-Play deblurring with a guarantee",
    15: "averaged operators",
}


def write(name: str, sheet: Sheet, folder: Path, command: str, seed: int, seconds: float) -> None:
    """Write the figures and tables of one study, and its record."""
    folder.mkdir(parents=True, exist_ok=True)
    pictures = []
    for label, figure in sheet.figures.items():
        png = io.BytesIO()
        figure.savefig(png, format="png")
        plt.close(figure)
        pictures.append(f"{name}-{label}.png")
        write_whole(folder / pictures[-1], png.getvalue())
    for label, data in sheet.animations.items():
        pictures.append(f"{name}-{label}.gif")
        write_whole(folder / pictures[-1], data)
    for label, table in sheet.tables.items():
        write_whole(folder / f"{name}-{label}.csv", comma_separated(table))
    record = {
        "command": command,
        "seed": seed,
        "seeds": sheet.seeds,
        "date": today(),
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}",
        "seconds": round(seconds, 1),
        "title": sheet.title,
        "rows": list(sheet.rows),
        "setting": sheet.setting,
        "verdicts": [vars(v) for v in sheet.verdicts],
        "table": list(sheet.table),
        "tables": [f"{name}-{label}.csv" for label in sheet.tables],
        "pictures": pictures,
        "remarks": sheet.remarks,
    }
    write_results(name, record, folder=folder)


def section(name: str, record: dict[str, Any]) -> str:
    """Return the section of one study on the results page."""
    met = {True: "yes", False: "**missed**", None: "-"}
    verdicts = [
        {"what": v["what"], "authors": v["authors"], "ours": v["ours"], "met": met[v["met"]]}
        for v in record["verdicts"]
    ]
    parts = [
        f"## {record['title']}",
        f"Item{'s' * (len(record['rows']) > 1)} {', '.join(map(str, record['rows']))} of the lecture. "
        + record["setting"],
        markdown(verdicts),
        *(f"![{record['title']}]({picture})" for picture in record["pictures"]),
        markdown(record["table"]),
        "\n".join(f"- {remark}" for remark in record["remarks"]),
        f"Made by `{record['command']}` (seed {record['seed']}, {record['date']}, {record['seconds']} s on "
        + f"{record['machine']}). Numbers: "
        + ", ".join(f"[{t}]({t})" for t in [f"{name}.json", *record["tables"]])
        + ".",
    ]
    return "\n\n".join(part for part in parts if part)


def overview(records: dict[str, dict[str, Any]]) -> str:
    """Return a table of the lecture's items, their studies, and how many of their figures were met."""
    rows = []
    for item, title in ITEMS.items():
        shown = {name: record for name, record in records.items() if item in record["rows"]}
        verdicts = [v for record in shown.values() for v in record["verdicts"] if v["met"] is not None]
        missed = [v["what"] for v in verdicts if not v["met"]]
        links = [f"[{name}]({record['pictures'][0]})" for name, record in shown.items()]
        rows.append(
            {
                "item": item,
                "what": title,
                "studies and their first picture": ", ".join(links) or "[robust.md](robust.md)",
                "figures met": f"{len(verdicts) - len(missed)} of {len(verdicts)}" if shown else "on its page",
                "missed": "; ".join(missed),
            }
        )
    return markdown(rows)


def page(folder: Path) -> str:
    """Return the results page made from the records in the folder, in the order of ``STUDIES``."""
    records = {n: json.loads((folder / f"{n}.json").read_text()) for n in STUDIES if (folder / f"{n}.json").exists()}
    fewest = min((record["seeds"] for record in records.values() if record["seeds"] > 1), default=1)
    head = (
        "# The lecture's experiments, made again\n\n"
        'The lecture is D. Murari, "Neural Networks as Dynamical Systems". This page is made by '
        "`python scripts/lecture.py`; nothing here is typed by hand.\n\nStudies that train networks train at least "
        f"{fewest} of each kind, from different seeds. Their results are given as median (smallest .. largest). The "
        "authors' numbers are those of their paper or lecture;\nwhere the page says so, they come from their code run "
        "again. Times were measured on a shared machine. Item 6, robust classification, has [its own page](robust.md)."
    )
    return "\n\n".join([head, overview(records), *(section(n, record) for n, record in records.items())]) + "\n"


@put_back()
def perform(name: str, fast: bool, seed: int, folder: Path, threads: int, data: list[Path]) -> float:
    """Run one study and write its files; return the seconds that it took."""
    torch.set_num_threads(threads)
    started = time.perf_counter()
    if name not in STUDIES:
        what = ["--fast"] if fast else ["--data", *map(str, data), *CLASSIFIERS[name].split()]
        evaluate_classifiers.main([*what, "--threads", str(threads), "--out", str(folder)])
        return time.perf_counter() - started
    command = f"python scripts/lecture.py {name}{' --fast' if fast else ''} --seed {seed}"
    with plt.style.context(STYLE):
        torch.manual_seed(seed)
        sheet = STUDIES[name](fast, seed)
        write(name, sheet, folder, command, seed, time.perf_counter() - started)
    return time.perf_counter() - started


def chosen(words: list[str], fast: bool, data: list[Path]) -> list[str]:
    """Return the studies that the command line names, long ones first, so that the last job has no long wait."""
    classifiers = ["robust-synthetic"] if fast else [name for name in CLASSIFIERS if data]
    everything = "all" in words
    return [
        *(classifiers if everything or "robust" in words else []),
        *(name for name in STUDIES if everything or name in words),
    ]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    known = os.environ.get("PNPKIT_CLASSIFY")
    parser.add_argument("studies", nargs="+", choices=("all", "page", "robust", *STUDIES), metavar="STUDY",
                        help=f"all, page, or of: robust, {', '.join(STUDIES)}")  # fmt: skip
    parser.add_argument("--fast", action="store_true", help="tiny settings, results to runs/lecture")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1, help="studies at a time, each in a process (default: 1)")
    parser.add_argument("--data", type=Path, nargs="+", default=[Path(known)] if known else [],
                        help="for item 6: where mnist.npz, fashion-mnist/ and cifar10.npz are")  # fmt: skip
    parser.add_argument("--out", type=Path, help="default: docs/lecture, or runs/lecture with --fast")
    args = parser.parse_args(arguments)
    folder = args.out or ROOT / ("runs" if args.fast else "docs") / "lecture"
    if args.jobs < 1:
        parser.error(f"--jobs must be at least 1, got {args.jobs}")
    studies = chosen(args.studies, args.fast, args.data)
    if {"all", "robust"} & set(args.studies) and not args.fast:
        if args.data:
            for name in CLASSIFIERS:  # now, not after an hour
                evaluate_classifiers.place_of(name.removeprefix("robust-"), args.data)
        elif "robust" in args.studies:
            parser.error("robust needs --data PATH ... (or PNPKIT_CLASSIFY): where the data sets are")
        else:
            print("item 6 is left out: --data PATH ... says where its data sets are", flush=True)
    jobs = min(args.jobs, max(len(studies), 1))
    settings = (args.fast, args.seed, folder, max(1, torch.get_num_threads() // jobs), args.data)
    if jobs == 1:
        for name in studies:
            print(f"{name}: {perform(name, *settings):.1f} s -> {folder}", flush=True)
    else:
        with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:
            names = {pool.submit(perform, name, *settings): name for name in studies}
            for done in as_completed(names):
                if done.exception() is not None:
                    pool.shutdown(cancel_futures=True)
                    raise SystemExit(f"{names[done]} failed: {done.exception()!r}") from done.exception()
                print(f"{names[done]}: {done.result():.1f} s -> {folder}", flush=True)
    write_whole(folder / "RESULTS.md", page(folder).encode())
    if any(folder.glob("robust-*.json")):
        write_whole(folder / "robust.md", evaluate_classifiers.table(folder).encode())


if __name__ == "__main__":
    main()
