"""Kinds ``commands`` and ``arrays``: random command lines over tiny files, and the functions of the library."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import torch

import pnpkit as pk
from fuzzing import files, mutations, pictures
from fuzzing.cases import Case, hold
from fuzzing.endings import DONE, checked

DENOISERS = {"identity": 60, "wavelet": 18, "tv": 0.3, "ridge": 1, "euler-fast": 1, "euler-guided": 0.3, "dncnn": 0.1}
LEVELS = ("0", "0.01", "0.05", "0.1", "auto"), ("1", "-1", "nan", "inf", "1e9", "1e-9", "x", "", "sure", "0.3")


def folder(case: Case) -> None:
    """Tiny files of every sort, by fixed names, in the folder that the command runs in."""
    tame = Case("folder", case.seed % 5, case.place)
    (case.place / "a.png").write_bytes(pictures.encoded(pictures.image(tame, ("L",)).resize((8, 9)), "PNG"))
    (case.place / "b.png").write_bytes(pictures.encoded(pictures.image(tame, ("RGB",)).resize((12, 7)), "PNG"))
    (case.place / "c.jpg").write_bytes(pictures.jpeg_file(tame))
    kind = tame.random.choice(("uint8", "uint16", "float32", "float64"))
    tifffile.imwrite(case.place / "d.tif", pictures.levels(tame, 8, 9).astype(kind), photometric="minisblack")
    (case.place / "alpha.png").write_bytes(pictures.encoded(pictures.image(tame, ("RGBA",)).resize((8, 9)), "PNG"))
    (case.place / "mask.png").write_bytes(pictures.encoded(pictures.image(tame, ("1",)).resize((8, 9)), "PNG"))
    np.save(case.place / "k.npy", np.ones((3, 3)))
    (case.place / "k.png").write_bytes(pictures.encoded(pictures.image(tame, ("L",)).resize((3, 3)), "PNG"))
    (case.place / "empty.png").write_bytes(b"")
    (case.place / "many").mkdir()
    for name in ("x.png", "y.png"):
        (case.place / "many" / name).write_bytes((case.place / "a.png").read_bytes())


def output(case: Case) -> str:
    odd = ("out", "out.gif", "new/", "many", "a.png", "", "no/out.png", "\x1b[31m.png", "x" * 255, "-", "/dev/null")
    good = ("out.png", "out.png", "out.png", "out.tif", "out.bmp", "out.jpg", "out.webp", "é ü.png")
    return str(case.pick(good, odd))


def options(case: Case, steps: bool) -> dict[str, Callable[[], str | None]]:
    """Options of the restoring commands, each with what makes a value; None for a flag."""
    pick = case.pick
    found: dict[str, Callable[[], str | None]] = {
        "--noise-level": lambda: pick(*LEVELS),
        "--strength": lambda: pick(*LEVELS),
        "--device": lambda: pick(("cpu", "auto"), ("cuda", "tpu", "")),
        "--max-memory": lambda: pick(("1", "0.001", "1e-9", "auto"), ("0", "-1", "1e9", "nan")),
        "--linear": lambda: None,
        "--white": lambda: pick(("255", "100", "auto"), ("1", "0", "-5", "1e9", "nan", "1e-9")),
        "--reference": lambda: pick(("a.png", "d.tif"), ("b.png", "none.png", "many", "", "out.png")),
        "--report": lambda: pick(("page", "many"), ("a.png", "", "no/page", "é")),
        "--json": lambda: pick(("r.json",), ("a.png", "no/r.json", "", "-", "many", "x" * 255)),
        "--precision": lambda: pick(("float32", "float64", "auto"), ("bfloat16", "half")),
        "--seed": lambda: pick(("0", "1", str(2**63 - 1)), ("-1", str(2**63), "x")),
        "--overwrite": lambda: None,
        "--quiet": lambda: None,
    }
    if case.chance(0.03):
        found["--nonsense"] = lambda: None
    if steps:
        found |= {
            "--gif": lambda: pick(("i.gif",), ("a.png", "no/i.gif", "", "x.GIF")),
            "--splitting": lambda: pick(("continuation", "half-quadratic", "forward-backward", "auto"), ("x",)),
            "--tau": lambda: pick(("1", "0.5", "1.9", "30", "auto"), ("1e9", "1e-9", "1e38", "0", "-1", "nan")),
            "--method": lambda: pick(("anderson", "picard", "km", "halpern", "fista"), ("x",)),
            "--tol": lambda: pick(("1e-4", "1e-2", "0"), ("-1", "nan", "inf", "x")),
            "--max-steps": lambda: pick(("1", "2", "3"), ("0", "-1", "1.5", "x")),
        }
    return found


def commands(case: Case) -> None:
    """A random command line."""
    folder(case)
    inputs = (
        "a.png",
        "b.png",
        "c.jpg",
        "d.tif",
        "alpha.png",
        "empty.png",
        "none.png",
        "many",
        "",
        ".",
        "k.npy",
        "a.png",
    )
    name = case.weighted(
        {"deblur": 6, "denoise": 4, "inpaint": 3, "upscale": 3, "blur": 3, "estimate-kernel": 1, "other": 1}
    )
    if name == "other":
        other(case)
        return
    usual = 0.8  # of the inputs that are pictures
    first = case.random.choice(inputs[:5]) if case.chance(usual) else case.random.choice(inputs)
    words = [name, first]
    if case.chance(0.1):
        words.append(case.random.choice(inputs))
    kernel = case.random.choice(("box:3", "gaussian:0.7", "motion:3,45", "k.npy", "k.png"))
    if case.chance(0.15):
        kernel = case.random.choice(("auto", "box:99", "box", "disk:nan", "none.npy", "many", "", "a.png", "d.tif"))
    if name in ("deblur", "blur"):
        words += ["--kernel", kernel]
        if case.chance(0.4):
            words += ["--boundary", case.pick(("unknown", "circular", "zero"), ("mirror", ""))]
    if name == "inpaint":
        words += ["--mask", "mask.png" if case.chance(0.7) else case.random.choice(inputs)]
    if name == "upscale" and case.chance(0.6):
        words += ["--factor", case.pick(("2", "3", "8"), ("1", "9", "x"))]
    iterates = name in ("deblur", "inpaint", "upscale")
    chosen = options(case, iterates)
    if name in ("blur", "estimate-kernel"):
        chosen = {key: chosen[key] for key in ("--noise-level", "--linear", "--seed", "--overwrite", "--quiet")}
        if name == "blur":
            chosen["--noise-level"] = lambda: case.pick(LEVELS[0][:-1], LEVELS[1])
    else:
        denoiser = (
            case.weighted(DENOISERS) if case.chance(0.97) else case.random.choice(("x", "", "deepinv:None", "../"))
        )
        words += ["--denoiser", denoiser]
    for key in case.random.sample(tuple(chosen), min(len(chosen), case.random.choice((0, 1, 1, 2, 3, 4)))):
        value = chosen[key]()
        words += [key] if value is None else [key, value]
    if iterates and "--max-steps" not in words:
        words += ["--max-steps", "2"]
    if case.chance(0.9):
        words += ["-o", "out.png" if case.chance(0.5) else output(case)]
    run(case, words)


def other(case: Case) -> None:
    """Commands about denoisers, and no commands."""
    words = case.random.choice(
        (
            ["denoisers"],
            ["denoisers", "--json"],
            ["certify", case.random.choice(("identity", "wavelet", "tv", "x", "", "../identity", "deepinv:None"))],
            ["certify", "wavelet", "--json"],
            ["audit", "identity", "--rounds", case.random.choice(("1", "0", "x"))],
            ["--version"],
            ["deblur", "--help"],
            [case.random.choice(mutations.TEXTS).replace("\0", "") or "x"],
            ["denoisers", "extra"],
            ["deblur"],
        )
    )
    run(case, words)


def run(case: Case, words: list[str]) -> None:
    """The command; what it wrote as JSON agrees with itself."""
    case.note("pnpkit", json.dumps(words))
    ending = checked(case, *words)
    if ending.code == DONE and "--json" in words and words[0] in ("deblur", "inpaint", "upscale", "denoise"):
        record = json.loads((case.place / words[words.index("--json") + 1]).read_text())
        tol = float(words[words.index("--tol") + 1]) if "--tol" in words else 1e-4
        steps = record["residuals"]
        hold("--json counts as many residuals as steps", len(steps) in (0, record["steps"]), f"{len(steps)}")
        if record["status"] == "converged":
            hold("--json: converged is below the tolerance", (steps[-1] or 0.0) <= tol, str(steps[-1]))
        if record["status"] == "step_limit":
            hold("--json: a step limit is above the tolerance", steps[-1] is None or steps[-1] > tol, str(steps[-1]))


@lru_cache
def network(name: str) -> Any:
    return pk.load_denoiser(name)


def odd_image(case: Case) -> Any:
    """A picture in memory of any type, shape and range; mostly one that can be restored."""
    tame = case.chance(0.75)
    sizes = (
        case.random.choice(((9, 8), (16, 16), (7, 11, 3), (12, 12, 3)))
        if tame
        else case.random.choice(
            (
                (1, 1),
                (1, 9),
                (0, 5),
                (5, 5, 1),
                (5, 5, 4),
                (5, 5, 2),
                (5,),
                (),
                (2, 5, 5, 3),
                (2, 2),
                (3, 3, 3),
                (4, 1, 3),
            )
        )
    )
    values = case.numbers.random(sizes)
    odd = ("int32", "int64", "bool", "complex64", "object", ">f4", "longdouble", "U4", "uint32", "int8")
    kind = case.pick(("uint8", "uint16", "float32", "float64", "float16"), odd, 1.0 if tame else 0.6)
    full = {"uint8": 255, "uint16": 65535, "int32": 255, "uint32": 255, "int64": 255, "int8": 100}.get(kind, 1)
    scale = case.random.choice((1, 1, 1, 0.01, 5, 1e-30, 255, 1e30, 0)) if not tame or case.chance(0.15) else 1
    shift = case.random.choice((0, -0.5, 0.5, 3)) if case.chance(0.1) else 0
    with np.errstate(all="ignore"):
        image = np.asarray((values * scale + shift) * full).astype(kind)
    if image.size and image.dtype.kind == "f" and case.chance(0.05):
        image.flat[case.random.randrange(image.size)] = case.random.choice((np.nan, np.inf, -np.inf))
    case.note(kind, sizes, f"scale {scale}, shift {shift}")
    if case.chance(0.05):
        return case.random.choice((image.tolist(), np.asfortranarray(image), image.T, np.ma.MaskedArray(image), None))
    numbers = ("float32", "float64") if tame else ("uint8", "float32", "float64", "float16", "bool", "int64")
    if case.chance(0.4) and kind in numbers:
        planes = np.moveaxis(image, -1, 0) if image.ndim == 3 else image[None] if image.ndim == 2 else image
        tensor = torch.from_numpy(np.ascontiguousarray(planes).copy())
        batch = case.random.choice((1, 1, 2, 0))
        tensor = tensor if case.chance(0.1) else tensor.expand(batch, *tensor.shape).clone()
        case.note("tensor", tuple(tensor.shape), tensor.dtype)
        return tensor
    return image


def settings(case: Case, steps: bool) -> dict[str, Any]:
    """Arguments of a restoration."""
    pick = case.pick
    denoiser: Any = network(case.weighted(DENOISERS))
    if case.chance(0.04):
        denoiser = pick(("identity",), ("x", None, 3, torch.nn.Identity(), lambda x, sigma: x), 0.3)
    levels, odd = (0, 0.05, 0.1, 0.19, None, 1e-9), (1, 2, -1, math.nan, math.inf, "auto", "sure", "x", True)
    found: dict[str, Any] = {"denoiser": denoiser}
    boxes = ((0, 1), (-1, 2), (0, 1e4), (-math.inf, math.inf)), ((1, 0), (0,), None, "ab", (0, math.nan))
    table: dict[str, Callable[[], Any]] = {
        "noise_level": lambda: pick(levels, odd),
        "strength": lambda: pick((*levels, "auto"), odd),
        "device": lambda: pick(("cpu", None, "auto", torch.device("cpu")), ("cuda", 3)),
        "max_memory": lambda: pick((1, 1e-9, None, math.inf), (0, -1, "x", math.nan)),
        "precision": lambda: pick(("float32", "float64", "auto"), ("bfloat16", "x", None)),
        "limits": lambda: pick(*boxes),
        "linear": lambda: pick((True, False), (1, "x", None)),
        "compression": lambda: pick((0.0, 0.01), (1.0, -1, math.nan, "x")),
    }
    if steps:
        splittings = ("continuation", "half-quadratic", "forward-backward", "auto")
        table |= {
            "splitting": lambda: pick(splittings, ("x", None)),
            "tau": lambda: pick((1, 0.5, 1.9, 30, None), (1e9, 1e-9, 1e38, 0, -1, math.nan, "x")),
            "method": lambda: pick(("anderson", "picard", "km", "halpern", "fista"), ("x", None)),
            "tol": lambda: pick((1e-4, 1e-2, 0), (-1, math.nan, math.inf, "x", None)),
            "callback": lambda: pick((None, lambda step: None), (3,)),
        }
        found["max_steps"] = pick((1, 2, 3), (0, -1, 1.5, "x", math.nan, math.inf), 0.93)
    for key in case.random.sample(tuple(table), case.random.choice((0, 0, 1, 1, 2, 3))):
        found[key] = table[key]()
    case.note({key: value.name if hasattr(value, "name") else value for key, value in found.items()})
    return found


def arrays(case: Case) -> None:
    """A function of the library, with a picture and arguments of any sort."""
    name = case.weighted({"deblur": 4, "denoise": 4, "inpaint": 3, "upscale": 3, "simulate": 2})
    case.note(name)
    image = odd_image(case)
    if name == "simulate":
        if isinstance(image, torch.Tensor):
            image = image.numpy()
        level = case.pick((0.0, 0.1), (-1, math.nan, "x"))
        boundary = case.pick(("unknown", "circular", "zero"), ("x", None))
        kernel = odd_kernel(case)
        out = pk.simulate(image, kernel, level, boundary=boundary, seed=case.random.choice((0, 1, 2**62)))
        hold("simulate gives finite float64", out.dtype == np.float64 and bool(np.isfinite(out).all()), str(out.dtype))
        return
    chosen, factor = settings(case, name != "denoise"), 1
    if name == "deblur":
        boundary = case.random.choice(("unknown", "circular", "zero")) if case.chance(0.9) else "x"
        result = pk.deblur(image, odd_kernel(case), boundary=boundary, **chosen)
    elif name == "denoise":
        result = pk.denoise(image, chosen.pop("noise_level", None), **chosen)
    elif name == "inpaint":
        result = pk.inpaint(image, odd_mask(case, image), **chosen)
    else:
        given = case.pick((2, 2, 3, 8), (1, 9, 2.5, "x", None, 2.0))
        case.note("factor", given)
        result, factor = pk.upscale(image, given, **chosen), int(given)
    denoiser = chosen.get("denoiser", "")
    guided = "guided" in str(getattr(denoiser, "name", denoiser))
    tol = chosen.get("tol")
    answer(name, image, result, 1e-4 if tol is None else tol, factor, guided)


def odd_kernel(case: Case) -> Any:
    """A word, an array or something else."""
    if case.chance(0.7):
        kernel: Any = case.random.choice(("box:3", "gaussian:0.7", "motion:3,45", np.ones((3, 3)), torch.ones(1, 3)))
    else:
        kernel = case.random.choice(
            ("auto", "box:99", "x", "", None, 3, b"box:3", Path("none.npy"), files.odd_array(case))
        )
    case.note(
        "kernel", kernel if isinstance(kernel, (str, bytes, Path)) else f"{type(kernel).__name__} {np.shape(kernel)}"
    )
    return kernel


def odd_mask(case: Case, image: Any) -> Any:
    """Of the size of the image, mostly; of any type."""
    sizes = tuple(np.shape(image))
    sizes = sizes[-2:] if isinstance(image, torch.Tensor) else sizes[:2]
    if case.chance(0.1):
        sizes = case.random.choice(((3, 3), (), (5,), (*sizes, 3), (1, *sizes)))
    mask: Any = case.numbers.random(sizes) < case.pick((0.3, 0.3, 0.8, 0.0), (1.1,))
    kind = case.random.choice(
        ("bool", "bool", "uint8", "float32", "int64", "complex64", "object", "U3", "tensor", "list")
    )
    case.note("mask", kind, sizes)
    if kind == "tensor":
        return torch.from_numpy(np.ascontiguousarray(mask).copy())
    return mask.tolist() if kind == "list" else np.asarray(mask).astype(kind)


def answer(name: str, image: Any, result: Any, tol: Any, factor: int, guided: bool) -> None:
    """What a restoration keeps to: type and size of the picture, and an ending that its residuals bear out.

    Args:
        guided: whether there may be a second pass. If no step is left for it, the run is at its limit, too.
    """
    out = result.image
    hold(
        "a picture comes back as its own type", type(out) is type(image) or isinstance(out, np.ndarray), str(type(out))
    )
    hold(
        "a picture comes back in its own numbers",
        out.dtype == np.asarray(image).dtype if isinstance(out, np.ndarray) else out.dtype == image.dtype,
        f"{out.dtype}",
    )
    sizes = np.shape(image)
    if isinstance(image, torch.Tensor):
        wanted = (*sizes[:2], factor * sizes[2], factor * sizes[3])
    else:
        wanted = (factor * sizes[0], factor * sizes[1], *sizes[2:])
    hold("a picture comes back in its size", tuple(out.shape) == wanted, f"{tuple(out.shape)}, not {wanted}")
    finite = torch.isfinite(out).all() if isinstance(out, torch.Tensor) else np.isfinite(out).all()
    hold("a picture comes back finite", bool(finite), result.status.name)
    status, residuals = result.status, result.residuals
    hold("no certified map is falsified", status is not pk.Status.FALSIFIED, f"{name}, residuals {residuals[-2:]}")
    hold("as many residuals as steps", len(residuals) in (0, result.steps), f"{len(residuals)}, {result.steps}")
    if status is pk.Status.CONVERGED:
        hold("converged is below the tolerance", residuals[-1] <= tol, f"{residuals[-1]} {tol}")
    if status is pk.Status.STEP_LIMIT:
        above = not residuals[-1] <= tol or (guided and not result.guide_steps)
        hold("a step limit is above the tolerance, or without its second pass", above, f"{residuals[-1]} {tol}")
