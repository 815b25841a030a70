"""Kinds ``images`` and ``kernels``: files with something wrong in them, words and arrays that should be a kernel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from fuzzing import doors, mutations, pictures
from fuzzing.cases import Case, Refused, hold
from fuzzing.endings import checked

LARGEST = 501  # pixels of a kernel along an axis


def images(case: Case) -> None:
    """A picture file through a command that reads and writes; what was written is read again."""
    end, data = pictures.file(case)
    if case.chance(0.88):
        data = mutations.mutated(case, data)
    if case.chance(0.08):
        end = case.random.choice((*pictures.FILES, ".tiff", ".jpeg", ".PNG", "", ".txt"))
    source = case.place / f"in{end}"
    source.write_bytes(data)
    usual = end if end in pictures.WRITTEN else ".png"
    usual = usual if case.chance(0.7) else case.random.choice(pictures.WRITTEN)
    out = case.place / f"out{usual if case.chance(0.95) else case.random.choice(tuple(pictures.FILES))}"
    words = case.weighted(
        {
            ("blur", "--kernel", "box:1", "--boundary", "circular"): 6,
            ("blur", "--kernel", "box:3", "--boundary", "zero", "--noise-level", "0.1"): 2,
            ("blur", "--kernel", "gaussian:0.5", "--linear"): 1,
            ("denoise", "--denoiser", "identity"): 3,
            ("denoise", "--denoiser", "identity", "--white", "100"): 1,
            ("denoise", "--denoiser", "wavelet", "--noise-level", "0.1"): 0.3,
            ("inpaint", "--denoiser", "identity", "--max-steps", "1", "--mask", str(source)): 1,
            ("estimate-kernel",): 0.5,
        }
    )
    if words[0] == "estimate-kernel":
        out = out.with_suffix(".png")
    case.note(words, source.name, "->", out.name)
    try:
        checked(case, words[0], str(source), *words[1:], "-o", str(out))
    finally:
        case.note(f"{len(data)} bytes")
    if out.exists() and words[0] != "estimate-kernel" and case.chance(0.3):
        again = case.place / f"again{out.suffix}"
        try:
            stacks = words[0] == "denoise"  # reads and writes them, too
            reading = ("--denoiser", "identity") if stacks else ("--kernel", "box:1")
            checked(case, "denoise" if stacks else "blur", str(out), *reading, "-o", str(again))
        except Refused as error:
            hold("what a command wrote, it reads again", False, str(error))


def kernels(case: Case) -> None:
    """A word, a file or an array; what comes back is a kernel."""
    way = case.weighted({word: 4, kernel_file: 4, array: 3})
    kernel = way(case)
    held = kernel.dtype == np.float64 and kernel.ndim in (2, 3)
    hold("a kernel is float64, of a picture or of a volume", held, f"{kernel.dtype} {kernel.shape}")
    sides = all(side % 2 and side <= LARGEST for side in kernel.shape)
    hold("the sides of a kernel are odd, 501 at most", sides, str(kernel.shape))
    hold("a kernel is finite and not below 0", bool(np.isfinite(kernel).all() and (kernel >= 0).all()))
    hold("a kernel sums to 1", abs(float(kernel.sum()) - 1) < 1e-9, str(kernel.sum()))
    if case.chance(0.2) and kernel.ndim == 2:
        path = case.place / f"kept{case.random.choice(('.npy', '.png'))}"
        form = case.random.choice((None, ("disk:3", 0.4), ("free-form", 2.0)))
        doors.kernels.save(path, kernel, form)
        back = doors.kernels.parse(str(path))
        far = float(np.abs(back - kernel).max()) if back.shape == kernel.shape else np.inf
        # Half a level of 16 bits for each weight, and all of them move the sum that is divided by.
        most = float(kernel.max()) * kernel.size / 2 / 65535 if path.suffix == ".png" else 1e-9
        hold("a kernel that was written is read back", far <= most, f"{far:.3g} from it, {path.suffix}")


def word(case: Case) -> np.ndarray:
    """A specification, or something near one."""
    numbers = (
        "1",
        "3",
        "2.5",
        "0",
        "-1",
        "1e-300",
        "1e300",
        "nan",
        "inf",
        "501",
        "502",
        "62.5",
        "0x3",
        "1_0",
        "",
        " 3",
    )
    family = case.random.choice(("gaussian", "motion", "disk", "box", "auto", "Gaussian", "gausian", "", "C", "\0"))
    count = case.random.choice((0, 1, 1, 1, 2, 2, 3))
    spec = (
        family
        + case.random.choice((":", ":", ":", "", "::", ","))
        + ",".join(case.random.choice(numbers) for _ in range(count))
    )
    if case.chance(0.1):
        spec = case.random.choice((".", "..", "/", "/dev/null", "a.png", "a" * 5000, "é:3", str(case.place), "\0.png"))
    case.note(repr(spec[:80]))
    doors.kernels.estimated(spec)
    return doors.kernels.parse(spec)


def kernel_file(case: Case) -> np.ndarray:
    """A file of a kind that may hold a kernel."""
    end, data = pictures.file(case, (".png", ".tif", ".bmp", ".npy"))
    if case.chance(0.75):
        data = mutations.mutated(case, data)
    if case.chance(0.08):
        end = case.random.choice((".npy", ".png", ".tiff", ".bmp", ".txt", ""))
    path = Path(case.place / f"kernel{end}")
    path.write_bytes(data)
    doors.kernels.estimated(str(path))
    return doors.kernels.parse(str(path))


def array(case: Case) -> np.ndarray:
    """An array of any type."""
    kernel = odd_array(case)
    case.note(getattr(kernel, "dtype", type(kernel)), np.shape(kernel))
    return doors.kernels.normalise(kernel)


def odd_array(case: Case) -> Any:
    """Of any type and shape, with any values."""
    sizes = case.random.choice(
        (
            (3, 3),
            (5, 3),
            (2, 4),
            (1, 1),
            (7, 7),
            (3, 3, 1),
            (1, 3, 3),
            (3, 3, 3),
            (0, 3),
            (),
            (4,),
            (502, 1),
            (1, 1, 1, 1),
        )
    )
    values = case.numbers.random(sizes) * case.random.choice((1, 1, 255, 1e-310, 1e300, -1, 0))
    if values.size and case.chance(0.2):
        values.flat[0] = case.random.choice((np.nan, np.inf, -1e-9, 1e308))
    types = ("float64", "float32", "float16", "longdouble", "int64", "uint8", "bool", "complex64", "object", "U5", "S3")
    kind = case.random.choice((*types, "datetime64[s]", ">f4", "masked", "list"))
    with np.errstate(all="ignore"):
        if kind == "masked":
            return np.ma.MaskedArray(values, mask=np.asarray(values) > 0.5)
        if kind == "list":
            return values.tolist()
        return values.astype(kind) if kind != "datetime64[s]" else np.zeros(sizes, kind)
