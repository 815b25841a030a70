"""Compare with published results by the protocol of Hurault et al. (ICLR 2022) on CBSD10: quality, guarantee, seconds.

    python scripts/published_table.py --data PATH/bsds500 --kernels PATH/kernels
        [--names euler-guided euler euler-fast dncnn ridge:minimum] [--noises 2.55 7.65 12.75] [--fast] [--list]

There are ten whole pictures, ten kernels and three levels of noise, as in ``deblurring_table``. The table reports
results only; settings must be chosen on other pictures. The whole table takes hours. So the score of every run is
appended to runs/published/scores.jsonl as soon as it is known, and the same command continues where it was stopped.
Scores of other weights are not counted. --list says what is left to do. --fast checks the script on the centres, 128 x
128, of two other pictures of val with two kernels; its results are kept in runs/published-fast and never written to
docs.

NAME uses continuation, as ``pnpkit deblur`` does; NAME:SPLITTING uses another splitting; ridge:minimum minimises
f + R / tau. A result lies in the box [0, 1], which is part of its map. Published figures are not clipped. So the last
map is iterated further from this result, in the box [-1, 2]; ``unclipped`` is the PSNR of its end. Seconds are
processor seconds on --threads threads, for the result in [0, 1].
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import numpy as np
import torch
from deblurring_page import KERNELS, NOISES, sha256_of
from deblurring_table import blurs_in, degrade, denoiser
from process import put_back
from published_page import write
from tqdm import tqdm

from pnpkit.fidelities.least_squares import LeastSquares
from pnpkit.images import pixels
from pnpkit.images.metrics import psnr
from pnpkit.operators.blur import blur
from pnpkit.restoration import baselines
from pnpkit.restoration.plan import by_rule, penalised_by
from pnpkit.solvers.iterations import Fista
from pnpkit.solvers.result import Result
from pnpkit.solvers.splittings import CONTINUATION, FORWARD_BACKWARD, SPLITTINGS
from pnpkit.solvers.stages import Stage, solve_in_stages

CBSD10 = ("3096", "12084", "14037", "16077", "19021", "21077", "24077", "33039", "101085", "101087")
NAMES = ("euler-guided", "euler", "euler-fast", "dncnn", "ridge:minimum")
BOX, WIDE, MINIMUM = (0.0, 1.0), (-1.0, 2.0), "minimum"
FEW = ("levin09_1", "box 9")  # the kernels of --fast
KEY = ("picture", "kernel", "noise", "name", "sha256")  # what a score is of


@dataclass(frozen=True)
class Case:
    """One run: a picture, a kernel, a level of noise (of 255) and a method."""

    picture: str
    kernel: str
    noise: float
    name: str

    def key(self) -> tuple[Any, ...]:
        """Return the values of ``KEY``."""
        return (self.picture, self.kernel, self.noise, self.name, sha256_of(self.name))


def scores(path: Path) -> dict[tuple[Any, ...], dict[str, Any]]:
    """Return the stored scores by their keys, without a line that was cut off by a crash."""
    found = {}
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue
        found[tuple(row[part] for part in KEY)] = row
    return found


def keep(path: Path, row: dict[str, Any]) -> None:
    """Append one score, at the beginning of a line in any case."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torn = path.exists() and path.stat().st_size > 0 and not path.read_bytes().endswith(b"\n")
    with path.open("a") as file:
        file.write("\n" * torn + json.dumps(row) + "\n")


def stages_of(name: str, fidelity: LeastSquares, level: float, limits: tuple[float, float]) -> list[Stage]:
    """Return the stages of a method, with the box ``limits``."""
    head, _, tail = name.rpartition(":")
    network = denoiser(head if tail in (*SPLITTINGS, MINIMUM) else name)
    if tail == MINIMUM:
        tau, sigma = by_rule(FORWARD_BACKWARD, level, network, fidelity)
        map = penalised_by(fidelity, network, sigma, tau, limits)
        if map is None:
            raise SystemExit(f"{head} has no penalty that could be minimised")
        return [Stage(lambda _: map, 1e-5, Fista())]
    return baselines.stages_by_rule(
        network, tail if tail in SPLITTINGS else CONTINUATION, fidelity, level, limits=limits
    )


def kind_of(run: Result, guided: bool) -> str:
    """Return the kind of guarantee with which a run ended."""
    if not run.guarantee:
        return "none"
    if run.objective:
        return "global minimum"
    return "fixed point, given a guide" if guided else "fixed point, from any start"


def restored(case: Case, clean: np.ndarray, kernel: np.ndarray, steps: int, watched: int) -> dict[str, Any]:
    """Return the score of one run."""
    y = pixels.to_tensor(degrade(clean, kernel, case.noise))
    fidelity = LeastSquares(blur(kernel, "circular", clean.shape[:2]), y)
    stages, open_stages = (stages_of(case.name, fidelity, case.noise / 255, limits) for limits in (BOX, WIDE))
    proven = stages[0].map(None).certificate.averaged
    most = steps if proven else watched
    started = time.process_time()
    first = solve_in_stages(stages[:1], y, max_steps=most) if len(stages) > 1 else None
    x, taken = (y, 0) if first is None else (first.x, first.steps)
    last = Stage(lambda _: stages[-1].map(first), stages[-1].tol, stages[-1].iteration)
    run = solve_in_stages([last], x, max_steps=max(1, most - taken))
    seconds = time.process_time() - started
    wide = Stage(lambda _: open_stages[-1].map(first), last.tol, last.iteration)
    unclipped = solve_in_stages([wide], run.x, max_steps=most)
    return {
        **dict(zip(KEY, case.key(), strict=True)),
        "psnr": psnr(pixels.from_tensor(run.x), clean),
        "unclipped": plain_psnr(pixels.from_tensor(unclipped.x), clean),
        "seconds": seconds,
        "steps": taken + run.steps,
        "residual": run.residuals[-1],
        "kind": kind_of(run, first is not None),
        "threads": torch.get_num_threads(),
    }


def plain_psnr(x: np.ndarray, clean: np.ndarray) -> float:
    """Return the PSNR (dB) of values without clipping."""
    return float(-10 * np.log10(np.mean((np.asarray(x, np.float64) - clean) ** 2)))


def opened(args: argparse.Namespace) -> dict[str, np.ndarray]:
    """Return the pictures on the 0..1 scale by name: CBSD10, or with --fast the centres of two others."""
    folder = args.data / "val"
    names = CBSD10
    if args.fast:
        names = tuple(path.stem for path in sorted(folder.glob("*.jpg")) if path.stem not in CBSD10)[:2]
    absent = [name for name in names if not (folder / f"{name}.jpg").is_file()]
    if absent or not names:
        raise SystemExit(f"{folder} lacks {', '.join(absent) or 'pictures'}: see data/bsds500/README.md")
    found = {name: imageio.imread(folder / f"{name}.jpg") / 255 for name in names}
    return {name: centre(picture) for name, picture in found.items()} if args.fast else found


def centre(picture: np.ndarray, side: int = 128) -> np.ndarray:
    """Return the middle of a picture."""
    top, left = (max(0, (n - side) // 2) for n in picture.shape[:2])
    return picture[top : top + side, left : left + side]


def cases(args: argparse.Namespace, pictures: Sequence[str]) -> Iterator[Case]:
    """Yield all runs, the shortest part of a table first: method by method, noise by noise."""
    kernels = [label for label in blurs_in(args.kernels) if label in FEW or not args.fast]
    for name in args.names:
        for noise in args.noises:
            for picture in pictures:
                yield from (Case(picture, kernel, noise, name) for kernel in kernels)


@put_back()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--kernels", type=Path, required=True)
    parser.add_argument("--names", nargs="+", default=list(NAMES))
    parser.add_argument("--noises", type=float, nargs="+", choices=NOISES, default=list(NOISES))
    parser.add_argument("--steps", type=int, default=500, help="evaluations at most")
    parser.add_argument("--watched", type=int, default=20, help="of what has no proof")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=Path("runs"), help="for published/scores.jsonl")
    parser.add_argument("--fast", action="store_true", help="a check on other pictures")
    parser.add_argument("--list", action="store_true", help="say what is left to do, and do nothing")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    pictures, blurs = opened(args), blurs_in(args.kernels)
    path = args.folder / ("published-fast" if args.fast else "published") / "scores.jsonl"
    known, wanted = scores(path), list(cases(args, list(pictures)))
    left = [case for case in wanted if case.key() not in known]
    print(f"{len(wanted) - len(left)} of {len(wanted)} runs are in {path}, {len(left)} are left")
    if args.list:
        return
    for case in tqdm(left, unit="run"):
        keep(path, restored(case, pictures[case.picture], blurs[case.kernel], args.steps, args.watched))
    known = scores(path)
    rows = [known[case.key()] for case in wanted]
    command = "python scripts/published_table.py --data PATH/bsds500 --kernels PATH/kernels --names "
    command += " ".join(args.names) + " --fast" * args.fast
    if args.noises != list(NOISES):
        command += " --noises " + " ".join(f"{noise:g}" for noise in args.noises)
    write(rows, command, path.parent if args.fast else None, len(pictures) * (len(FEW) if args.fast else KERNELS))


if __name__ == "__main__":
    main()
