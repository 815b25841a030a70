"""Measure Gaussian denoising on the val split of BSDS500: PSNR and SSIM by noise level, for every denoiser.

    python scripts/evaluate_denoisers.py --data PATH/bsds500 [--names euler dncnn] [--pictures 100 [--store]]

67 of the 68 pictures of CBSD68, on which others report, are part of that split; their mean is computed as well.

Pictures are in colour, and the noise, from numpy.random.default_rng(index of the picture), is not clipped. Outputs are
clipped to 0..1; all is in float32. Writes docs/results/denoising.{json,md} and the scores on each card. Scores of fewer
pictures are written only with --store; table and card then say how many.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import numpy as np
import torch
from process import put_back
from results import RESULTS, today, write_results
from tqdm import tqdm

from pnpkit import registry
from pnpkit.images import pixels
from pnpkit.images.metrics import psnr, ssim

LEVELS = (5, 15, 25, 50)
CBSD68 = ("101085", "351093", {"102061", "156065"})  # first and last name; one of those in between does not belong
KNOWN = 67  # pictures of val that are


def in_cbsd68(name: str) -> bool:
    """Whether a picture of val is known to be one of the 68."""
    first, last, doubtful = CBSD68
    return first <= name <= last and name not in doubtful


def evaluate(name: str, pictures: dict[str, np.ndarray], level: int) -> dict[str, float]:
    """Return mean PSNR (dB), SSIM and seconds per picture at one level (out of 255); PSNR also on CBSD68."""
    network = registry.load_denoiser(name) if name != "noisy" else None
    scores = []
    for index, picture in enumerate(tqdm(pictures.values(), desc=f"{name} {level}", leave=False)):
        clean = picture.astype(np.float64) / 255
        noisy = clean + level / 255 * np.random.default_rng(index).standard_normal(clean.shape)
        started = time.perf_counter()
        if network is not None:
            with torch.no_grad():
                out = pixels.from_tensor(network(pixels.to_tensor(noisy), level / 255))
        else:
            out = noisy
        scores.append((psnr(out, clean), ssim(out, clean), time.perf_counter() - started))
    means = np.mean(scores, 0).tolist()
    found = {"psnr": round(means[0], 3), "ssim": round(means[1], 4), "seconds": round(means[2], 3)}
    part = [score[0] for title, score in zip(pictures, scores, strict=True) if in_cbsd68(title)]
    return found | ({"cbsd68": round(float(np.mean(part)), 3)} if len(part) == KNOWN else {})


def table(results: dict[str, dict[str, Any]]) -> str:
    """Return a Markdown table of PSNR / SSIM by level, and of what is proven."""
    cards = registry.denoisers()
    lines = [
        "PSNR (dB) / SSIM on the val split of BSDS500, by denoiser and noise level (of 255). The last columns are "
        "seconds per picture at sigma 25, and what is proven about the denoiser.",
        "",
        "| denoiser | " + " | ".join(f"sigma {level}" for level in LEVELS) + " | s per picture | proven |",
        "| --- |" + " --- |" * (len(LEVELS) + 2),
    ]
    for name, levels in results.items():
        cells = [f"{levels[str(s)]['psnr']:.2f} / {levels[str(s)]['ssim']:.3f}" for s in LEVELS]
        certificate = cards[name].certificate if name in cards else None
        claim = "-" if certificate is None else "nothing"
        if certificate is not None and certificate.averagedness is not None:
            alpha = certificate.averagedness
            claim = "1-Lipschitz, " + (f"{alpha:.4f}-averaged" if alpha > 1e-4 else "averaged with any constant")
        if certificate is not None and certificate.parts and not certificate.nonexpansive:
            claim = f"nothing; with a guide 1-Lipschitz, {certificate.parts[1].averagedness:.4f}-averaged"
        label = f"{name} (first {levels['pictures']} pictures)" if "pictures" in levels else name
        seconds = "" if name == "noisy" else f"{levels['25']['seconds']:.2f}"
        lines.append(f"| {label} | " + " | ".join(cells) + f" | {seconds} | {claim} |")
    return "\n".join(lines) + "\n"


def on_cbsd68(results: dict[str, dict[str, Any]]) -> str:
    """Return a Markdown table of PSNR by level on CBSD68, for the denoisers that were measured there."""
    lines = [
        f"PSNR (dB) on {KNOWN} of the 68 pictures of CBSD68:",
        "",
        "| denoiser | " + " | ".join(f"sigma {level}" for level in LEVELS) + " |",
        "| --- |" + " --- |" * len(LEVELS),
    ]
    for name, levels in results.items():
        if all("cbsd68" in levels[str(s)] for s in LEVELS):
            lines.append(f"| {name} | " + " | ".join(f"{levels[str(s)]['cbsd68']:.2f}" for s in LEVELS) + " |")
    return "\n".join(lines) + "\n"


@put_back()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("PNPKIT_BSDS500"))
    parser.add_argument("--names", nargs="*", default=["noisy", *registry.denoisers()])
    parser.add_argument("--pictures", type=int, default=100)
    parser.add_argument("--store", action="store_true", help="write results of fewer than 100 pictures, too")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    if args.data is None:
        parser.error("--data PATH (or PNPKIT_BSDS500) must name the folder of BSDS500")
    torch.set_num_threads(args.threads)
    paths = sorted(Path(args.data, "val").glob("*.jpg"))[: args.pictures]
    if not paths:
        parser.error(f"no pictures in {args.data}/val")
    pictures = {path.stem: imageio.imread(path) for path in paths}

    measured: dict[str, dict[str, Any]] = {}
    some = {} if len(pictures) == 100 else {"pictures": len(pictures)}
    for name in args.names:
        measured[name] = {str(s): evaluate(name, pictures, s) for s in LEVELS} | some
        print(name, measured[name], flush=True)
    store = RESULTS / "denoising.json"
    known = json.loads(store.read_text())["results"] if store.exists() else {}
    results = dict(sorted((known | measured).items()))
    record = {
        "results": results,
        "command": "python scripts/evaluate_denoisers.py --data PATH/bsds500",
        "protocol": "BSDS500 val, colour, numpy.random.default_rng(index), noise not clipped, output clipped, float32",
        "pictures": 100,
        "date": today(),
        "machine": f"{platform.processor() or platform.machine()}, {args.threads} threads, torch {torch.__version__}",
    }
    text = table(results) + "\n" + on_cbsd68(results)
    print(text)
    if len(pictures) == 100 or args.store:
        write_results("denoising", record, text.splitlines())
        for name in set(args.names) & set(registry.denoisers()):
            command = f"{record['command']} --names {name}" + (f" --pictures {len(pictures)} --store" if some else "")
            how = {"command": command, "date": record["date"], "sha256": registry.card_of(name).sha256}
            registry.set_scores(name, results[name] | how)


if __name__ == "__main__":
    main()
