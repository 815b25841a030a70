"""Validate blind deblurring on pictures of many kinds, half of them held out: PSNR with and without the true kernel.

    python scripts/blind_validation.py chosen --data PATH [--denoiser sparse] [--max-steps 16] [--jobs N]
    python scripts/blind_validation.py held-out --data PATH

PATH holds bsds500 (train and test), kernels and instruments. A picture is of the held-out half if the last byte of the
sha256 of its name is odd; the constants of `pnpkit.blind` were chosen on the others (docs/lab-book). Shakes: the eight
of Levin et al., paths of deepinv's generator, and both with heavy tails (a fifth of the light in a Moffat halo). Noise
of 1 to 2.5 of 255, rounded to 8 bits; every third picture is a JPEG of quality 80 to 95, every fourth is in colour.
Every third picture is also given sharp. With either kernel, pictures are restored by a rough deconvolution with sparse
gradients (Krishnan & Fergus 2009), which takes a tenth of a second, or by a denoiser, which takes minutes and scores
higher.

Scores are computed as in levin.py: on the luminance, with borders of 15 pixels dropped and the best shift in quarter
pixels. The error ratio is ||x_blind - x||^2 / ||x_given - x||^2; a restoration succeeds if it is at most 3. "Not sure"
means that the picture was left as it was; the most likely blur is the candidate, and its ratio is given as well. A
sharp picture counts as harmed from a loss of 0.5 dB on. Seconds are processor seconds. Writes
docs/results/blind-HALF.{json,md} after every picture.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import json
import multiprocessing
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import skimage.data
import torch
from deepinv.physics.generator import MotionBlurGenerator
from levin import SUCCESS, aligned_psnr
from PIL import Image, ImageDraw, ImageFont
from results import RESULTS, stamp, write_results
from scipy import signal

from pnpkit import kernels
from pnpkit.blind import latent
from pnpkit.images import files
from pnpkit.images.metrics import psnr
from pnpkit.images.noise import estimate_noise
from pnpkit.images.picture import Picture
from pnpkit.restoration import blur_kernel, deblur
from pnpkit.restoration.defaults import KERNEL_ERROR

SIDE = 216  # pixels: of the blurred pictures
HARMED = 0.5  # dB
COLUMNS = ("kind", "shake", "blurred", "given", "blind", "ratio")
NOISES, QUALITIES = (1.0, 2.0, 2.5), (95, 90, 80)

# Kind: pictures, and where their crop lies (shares of the rows and columns that are left over).
PICTURES: dict[str, tuple[str, ...]] = {
    "face": (
        "test/14092 .3 .5", "test/302022 .1 .5", "test/368037 .5 .5", "test/388006 .3 .5", "train/189003 .5 .2",
        "train/198023 .2 .5", "train/302003 .4 .5", "train/260081 .3 .5", "test/14085 .5 .2", "skimage/astronaut 0 .4",
        "train/198054 .3 .5", "train/365025 .4 .5",
    ),
    "sky": (
        "test/3063 .5 .5", "train/135069 .5 .6", "train/178054 .5 .5", "train/299091 .5 .5", "test/257098 .5 .5",
        "train/55067 .5 .5", "train/176039 .5 .5", "skimage/moon .5 .5",
    ),
    "document": (
        "page/serif 0 0", "page/sans 0 0", "page/table 0 0", "page/large 0 0", "skimage/page 0 0", "page/dark 0 0",
        "page/mono 0 0", "train/56028 .5 .5",
    ),
    "night": (
        "night/chen7-sharp .5 .5", "night/hu10-sharp .5 .5", "night/pan3-sharp .5 .5", "train/238011 .5 .5",
        "test/384089 .5 .5", "train/59078 .5 .5", "train/42078 .5 .4", "train/285036 .5 .5",
    ),
    "texture": (
        "test/87015 .5 .5", "train/8143 .5 .5", "train/35091 .5 .5", "test/208078 .5 .5", "skimage/grass .5 .5",
        "skimage/gravel .5 .5", "skimage/brick .5 .5", "train/95006 .5 .5",
    ),
    "scene": (
        "test/223060 .5 .5", "test/48017 .5 .5", "train/24004 .3 .5", "test/78098 .5 .5", "train/227040 .5 .5",
        "test/175083 .5 .5", "standards/butterfly 0 0", "standards/starfish 0 0", "skimage/coffee .5 .5",
        "skimage/camera .2 .5", "train/35010 .5 .5", "test/181021 .2 .5",
    ),
}  # fmt: skip
WORDS = "The quick brown fox jumps over the lazy dog. 0123456789 Pay 1,250.00 by Friday. "


@dataclass(frozen=True)
class Case:
    """What is restored: ``sharp`` and ``blurred`` of equal size, (H, W) or (H, W, 3); ``kernel`` is None of a picture
    that is sharp; ``compression`` is the error of a JPEG, as `files.read` finds it."""

    name: str
    kind: str
    shake: str
    sharp: np.ndarray
    blurred: np.ndarray
    kernel: np.ndarray | None
    compression: float = 0.0

    @property
    def title(self) -> str:
        """Return the picture and its shake as a title."""
        return f"{self.name} {self.shake}"


def held_out(name: str) -> bool:
    """Whether the picture belongs to the half on which nothing is chosen."""
    return hashlib.sha256(name.encode()).digest()[-1] % 2 == 1


def page(style: str) -> np.ndarray:
    """Draw a page of text, (360, 360)."""
    size = {"serif": 15, "sans": 19, "table": 14, "large": 44, "dark": 22, "mono": 12}[style]
    ink, paper = (235, 25) if style == "dark" else (20, 245)
    sheet = Image.new("L", (1080, 1080), paper)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(3 * size)
    for line in range(360 // (size + 6)):
        text = (WORDS * 3)[7 * line % len(WORDS) :]
        draw.text((18, 3 * line * (size + 6)), text, fill=ink, font=font)
        if style == "table":
            draw.line((0, 3 * line * (size + 6), 1080, 3 * line * (size + 6)), fill=90, width=3)
    return np.asarray(sheet.resize((360, 360), Image.Resampling.BOX)) / 255


def scene(data: Path, name: str) -> np.ndarray:
    """Return a sharp picture, (H, W) or (H, W, 3), 0..1."""
    source, _, stem = name.partition("/")
    if source == "page":
        return page(stem)
    if source == "skimage":
        return np.asarray(getattr(skimage.data, stem)()) / 255
    folder = {"night": "instruments/night", "standards": "instruments/standards/set3c"}.get(source, f"bsds500/{source}")
    suffix = ".jpg" if folder.startswith("bsds500") else ".png"
    return files.read(data / folder / f"{stem}{suffix}").pixels


def shake(data: Path, number: int) -> tuple[str, np.ndarray]:
    """Return the shake of this number, in turn: measured, generated, measured with a tail, generated with one."""
    if number % 2 == 0:
        which = 1 + (number // 2) % 8
        name, path = f"levin {which}", np.load(data / "kernels" / f"levin09_{which}.npy")
    else:
        size, length = ((21, 0.5), (27, 0.3), (31, 0.8))[number // 2 % 3]
        generator = MotionBlurGenerator((size, size), rng=torch.Generator().manual_seed(number), l=length, sigma=0.35)
        name, path = f"generated {number}", generator.step()["filter"][0, 0].double().numpy()
    if number % 4 < 2:
        return name, kernels.normalise(path)
    halo = kernels.moffat(3, 2)
    middle = len(halo) // 2
    tail = halo[middle - 12 : middle + 13, middle - 12 : middle + 13]
    whole = 0.2 * signal.convolve2d(np.pad(path, 2), tail / tail.sum())
    whole[14:-14, 14:-14] += 0.8 * path
    return f"{name} with a tail", kernels.normalise(np.maximum(whole, 0))


def cases(data: Path, half: bool) -> Iterator[Case]:
    """Those of the half that is held out, or of the other one, the kinds in turn; a picture is shaken once, and every
    third is also given as it is."""
    listed = list(enumerate((kind, *text.split()) for kind, texts in PICTURES.items() for text in texts))
    by_kind = [[entry for entry in listed if entry[1][0] == kind] for kind in PICTURES]
    for entry in filter(None, chain(*zip_longest(*by_kind))):
        number, (kind, name, down, right) = entry
        if held_out(name) != half:
            continue
        pixels = scene(data, name)
        colour = pixels.ndim == 3 and number % 4 == 0
        pixels = pixels if colour or pixels.ndim == 2 else pixels.mean(-1)
        quality = QUALITIES[number // 3 % 3] if number % 3 == 0 else 0
        rng = np.random.default_rng(number)
        for what, kernel in ((shake(data, number)), ("none", np.ones((1, 1))))[: 2 if number % 3 == 1 else 1]:
            reach = [size // 2 for size in kernel.shape]
            rows, columns = (min(SIDE, n - 2 * r) + 2 * r for n, r in zip(pixels.shape, reach, strict=False))
            top, left = int(float(down) * (pixels.shape[0] - rows)), int(float(right) * (pixels.shape[1] - columns))
            crop = pixels[top : top + rows, left : left + columns]
            planes = np.atleast_3d(crop)
            blurred = np.stack(
                [signal.fftconvolve(planes[..., c], kernel, "valid") for c in range(planes.shape[-1])], -1
            )
            inner = crop[reach[0] : rows - reach[0], reach[1] : columns - reach[1]]
            noisy = blurred.reshape(inner.shape) + NOISES[number % 3] / 255 * rng.standard_normal(inner.shape)
            read = stored(noisy, quality)
            form = f"jpeg {quality}" if quality else "png"
            yield Case(
                name, f"{kind}{', colour' if colour else ''}, {form}, noise {NOISES[number % 3]:g}", what, inner,
                read.pixels, None if kernel.size == 1 else kernel, read.compression,
            )  # fmt: skip


def stored(pixels: np.ndarray, quality: int) -> Picture:
    """Write a picture in 8 bits, as PNG or as JPEG, and read it again."""
    image = Image.fromarray((255 * pixels.clip(0, 1)).round().astype(np.uint8))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / ("a.jpg" if quality else "a.png")
        options: dict[str, Any] = {"quality": quality} if quality else {}
        image.save(path, **options)
        return files.read(path)


def grey(pixels: np.ndarray) -> np.ndarray:
    """Return the luminance, (H, W)."""
    return pixels if pixels.ndim == 2 else pixels.mean(-1)


def sparse(y: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """The picture behind the kernel by sparse gradients, their weight the variance of noise and kernel over 0.02^0.8,
    the scale of gradients; y itself where there is no blur."""
    if kernel.size == 1:
        return y
    weight = (estimate_noise(y) ** 2 + KERNEL_ERROR**2) / 0.02**latent.EXPONENT
    whole = latent.periodic(y.astype(np.float32), 2 * max(kernel.shape) + 3)
    return latent.sparse_gradients(whole, kernel, weight)[: y.shape[0], : y.shape[1]]


def one(case: Case, denoiser: str, steps: int) -> tuple[str, dict[str, Any]]:
    """The title of a case, and what became of it: PSNR (dB), ratios, what was said of the blur, and processor seconds
    of the blind run."""
    sharp = grey(case.sharp)

    def score(image: np.ndarray) -> float:
        return psnr(grey(image), sharp) if case.kernel is None else aligned_psnr(grey(image), sharp)

    def restored(kernel: Any) -> np.ndarray:
        if denoiser == "sparse":
            return sparse(grey(case.blurred), np.asarray(kernel))
        given: dict[str, Any] = {"denoiser": denoiser, "max_steps": steps, "tol": 1e-3, "compression": case.compression}
        return np.asarray(deblur.deblur(case.blurred, kernel, **given).image)

    started = time.process_time()
    blur: Any = blur_kernel.kernel_of(blur_kernel.estimate_kernel(case.blurred, compression=case.compression))
    seconds = time.process_time() - started
    row: dict[str, Any] = {"kind": case.kind, "shake": case.shake, "found": blur.form}
    row |= {"confidence": round(blur.confidence, 3), "seconds": round(seconds, 1)}
    blind = score(restored(blur))
    row |= {"blurred": round(score(case.blurred), 2), "blind": round(blind, 2)}
    if case.kernel is None:
        return case.title, row
    given = score(restored(case.kernel))
    row |= {"given": round(given, 2), "ratio": round(10 ** ((given - blind) / 10), 2)}
    if blur.candidate is not None:
        tried = score(restored(blur.candidate))
        row |= {"candidate": blur.candidate.form, "candidate ratio": round(10 ** ((given - tried) / 10), 2)}
    return case.title, row


def summary(rows: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Summarise success and means of the shaken pictures, harm of the sharp ones, and seconds of all."""
    shaken = [row for row in rows.values() if "given" in row]
    sharp = [row for row in rows.values() if "given" not in row]
    found: dict[str, Any] = {"shaken": len(shaken), "sharp": len(sharp)}
    if shaken:
        found["success"] = round(float(np.mean([row["ratio"] <= SUCCESS for row in shaken])), 3)
        found |= {key: round(float(np.mean([row[key] for row in shaken])), 2) for key in ("blurred", "given", "blind")}
        found["called sharp"] = sum(row["found"] == "sharp" and "candidate" not in row for row in shaken)
        found["not sure"] = sum("candidate" in row for row in shaken)
        found["candidate succeeds"] = sum(row.get("candidate ratio", SUCCESS + 1) <= SUCCESS for row in shaken)
    if sharp:
        lost = [row["blurred"] - row["blind"] for row in sharp]
        found |= {"harmed": sum(value >= HARMED for value in lost), "largest loss": round(max(lost), 2)}
    return found | {"seconds": round(float(np.mean([row["seconds"] for row in rows.values()])), 1)}


def table(rows: dict[str, dict[str, Any]], command: str) -> list[str]:
    """Return the rows as Markdown, below a line with the summary."""
    lines = [
        f"PSNR in dB. Success is the share of shaken pictures with an error ratio of at most {SUCCESS:g}; seconds are "
        f"means per picture. {'; '.join(f'{key} {value}' for key, value in summary(rows).items())}. `{command}`",
        "",
        f"| picture | {' | '.join(COLUMNS)} | found |",
        "| --- " * (len(COLUMNS) + 2) + "|",
    ]
    for name, row in rows.items():
        tried = f"; candidate {row['candidate']}: {row['candidate ratio']}" if "candidate" in row else ""
        cells = [name.partition(" ")[0], *(row.get(key, "") for key in COLUMNS)]
        lines.append(f"| {' | '.join(map(str, cells))} | {row['found']} ({row['confidence']:.2f}){tried} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("half", choices=("chosen", "held-out"))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--denoiser", default="sparse", help="sparse, or a denoiser of pnpkit")
    parser.add_argument("--max-steps", type=int, default=16)
    parser.add_argument("--count", type=int, default=1000, help="at most so many cases")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--resume", action="store_true", help="keep the cases that are stored already")
    args = parser.parse_args()
    command = f"python scripts/blind_validation.py {args.half} --data PATH"
    command += f" --denoiser {args.denoiser} --max-steps {args.max_steps}"
    place, rows = RESULTS / f"blind-{args.half}.json", dict[str, dict[str, Any]]()
    if args.resume and place.exists():
        record = json.loads(place.read_text())
        if record["command"] != command:
            parser.error(f"the stored cases were made by: {record['command']}")
        rows = record["pictures"]
    of_half = list(cases(args.data, args.half == "held-out"))[: args.count]
    todo = [case for case in of_half if case.title not in rows]
    with multiprocessing.get_context("fork").Pool(args.jobs, os.setsid) as pool:
        work = functools.partial(one, denoiser=args.denoiser, steps=args.max_steps)
        for title, row in pool.imap_unordered(work, todo):
            rows[title] = row
            print(title, row, flush=True)
            rows = {case.title: rows[case.title] for case in of_half if case.title in rows}
            record = {**stamp(command, "the picture's number"), "summary": summary(rows), "pictures": rows}
            write_results(f"blind-{args.half}", record, table(rows, command))


if __name__ == "__main__":
    main()
