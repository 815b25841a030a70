"""Tiny picture files of every kind that the package reads, and of some that it does not."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import png
import tifffile
from PIL import Image

from fuzzing.cases import Case

SIDE = 16  # the largest
WRITTEN = (".png", ".tif", ".tiff", ".jpg", ".webp", ".bmp")  # extensions that results can have


def shape(case: Case) -> tuple[int, int]:
    """Rows and columns."""
    return case.random.randint(1, SIDE), case.random.randint(1, SIDE)


def levels(case: Case, *sizes: int) -> np.ndarray:
    """Values of 8 bits: noise, a ramp, or one value."""
    what = case.random.randrange(4)
    if what == 0:
        return np.full(sizes, case.random.choice((0, 1, 128, 255)), np.uint8)
    if what == 1:
        return np.linspace(0, 255, int(np.prod(sizes))).reshape(sizes).astype(np.uint8)
    return case.numbers.integers(0, 256, sizes, dtype=np.uint8)


def image(case: Case, modes: tuple[str, ...]) -> Image.Image:
    """A picture of Pillow in one of the modes."""
    mode = case.random.choice(modes)
    case.note("mode", mode)
    base = Image.fromarray(levels(case, *shape(case), 3))
    if mode == "I;16":
        return Image.fromarray(levels(case, *shape(case)).astype(np.uint16) * 257)
    if mode == "PA":
        return base.convert("P")
    return base.convert(mode)


def encoded(picture: Image.Image, form: str, **options: Any) -> bytes:
    """The bytes of a file."""
    buffer = io.BytesIO()
    picture.save(buffer, form, **options)
    return buffer.getvalue()


def exif(case: Case) -> bytes:
    """EXIF with an orientation, a text and a density."""
    tags = Image.Exif()
    tags[0x0112] = case.random.choice((1, 2, 3, 5, 6, 8, 0, 9, 255))
    tags[271] = case.random.choice(("maker", "ü", ""))
    return tags.tobytes()


def extras(case: Case) -> dict[str, Any]:
    """What may lie beside the pixels."""
    found: dict[str, Any] = {}
    if case.chance(0.3):
        found["exif"] = exif(case)
    if case.chance(0.2):
        found["icc_profile"] = case.random.choice((b"", b"icc", b"\0" * 200))
    if case.chance(0.3):
        found["dpi"] = case.random.choice(((72, 72), (300, 0.1), (65535, 1), (1e6, 1e6)))
    return found


def png_file(case: Case) -> bytes:
    if case.chance(0.3):
        height, width = shape(case)
        depth = case.random.choice((1, 2, 4, 8, 16))
        grey, alpha = case.chance(0.5), depth >= 8 and case.chance(0.4)
        planes = (1 if grey else 3) + alpha
        depth = depth if grey or depth >= 8 else 8
        rows = case.numbers.integers(0, 2**depth, (height, width * planes)).tolist()
        seen = None if alpha or case.chance(0.5) else (int(rows[0][0]) if grey else tuple(map(int, rows[0][:3])))
        buffer = io.BytesIO()
        writer = png.Writer(
            width, height, greyscale=grey, alpha=alpha, bitdepth=depth, interlace=case.chance(0.3), transparent=seen
        )
        writer.write(buffer, rows)
        case.note(f"PNG of {depth} bits, {planes} planes, transparent {seen}")
        return buffer.getvalue()
    picture = image(case, ("1", "L", "LA", "RGB", "RGBA", "P", "I;16"))
    return encoded(picture, "PNG", **extras(case))


def jpeg_file(case: Case) -> bytes:
    options = extras(case)
    picture = image(case, ("L", "RGB", "CMYK"))
    return encoded(picture, "JPEG", quality=case.random.randint(1, 100), progressive=case.chance(0.3), **options)


def tiff_file(case: Case) -> bytes:
    """By tifffile in all types and layouts, by Pillow with its compressions."""
    if case.chance(0.2):
        how = case.random.choice((None, "tiff_lzw", "packbits", "group4", "tiff_deflate", "jpeg"))
        modes = ("1",) if how == "group4" else ("L", "RGB") if how == "jpeg" else ("1", "L", "RGB", "RGBA", "P", "CMYK")
        case.note(how)
        return encoded(image(case, modes), "TIFF", compression=how)
    good = ("uint8", "uint8", "uint16", "float16", "float32", "float64", "bool")
    kind = case.pick(good, ("int16", "uint32", "int64", "complex64"))
    sizes = case.pick(((), (1,), (3,)), ((2,), (4,), (5,)))
    values = levels(case, *shape(case), *sizes).astype(kind)
    if values.dtype.kind == "f":
        values = odd_floats(case, values)
    options: dict[str, Any] = {"byteorder": case.random.choice("<>"), "bigtiff": case.chance(0.1)}
    planes = sizes[:1] in ((3,), (4,), (5,))
    options["photometric"] = "rgb" if planes else case.pick(("minisblack",), ("miniswhite",), 0.8)
    if sizes[:1] in ((2,), (4,)) and case.chance(0.7):
        options["extrasamples"] = ("unassalpha",)
    if case.chance(0.2) and values.ndim == 3:
        values, options["planarconfig"] = np.ascontiguousarray(values.transpose(2, 0, 1)), "separate"
    if case.chance(0.3):
        options["compression"] = "zlib"
    if case.chance(0.2):
        options["tile"] = (16, 16)
    if case.chance(0.3):
        options["iccprofile"] = case.random.choice((b"icc", b"\0" * 64))
    if case.chance(0.3):
        options["resolution"] = case.random.choice(((72, 72), (0, 1), (1e9, 1e-9)))
    if case.chance(0.3):
        code = case.random.choice((274, 270, 306, 33432, 34675, 700))
        form = case.random.choice(("H", "I", "s", "B", "d"))
        options["extratags"] = [(code, form, 1 if form != "s" else 0, "text" if form == "s" else 6, True)]
    case.note(kind, values.shape, {key: entry for key, entry in options.items() if key != "iccprofile"})
    buffer = io.BytesIO()
    try:
        tifffile.imwrite(buffer, values, **options)
    except Exception:  # a layout that tifffile does not write
        buffer = io.BytesIO()
        tifffile.imwrite(buffer, levels(case, *shape(case)), photometric="minisblack")
    return buffer.getvalue()


def odd_floats(case: Case, values: np.ndarray) -> np.ndarray:
    """On some scale, with some values that are far off."""
    scale, shift = case.random.choice((1 / 255, 1, 1e-3, 1e-30, 1e4, 1e30)), case.random.choice((0, 0, -1, 100))
    with np.errstate(all="ignore"):
        out = (values.astype(np.float64) * scale + shift).astype(values.dtype)
    if out.size and case.chance(0.25):
        out.flat[case.random.randrange(out.size)] = case.random.choice((np.nan, np.inf, -np.inf, 6e4, -6e4))
    return np.asarray(out)


def bmp_file(case: Case) -> bytes:
    return encoded(image(case, ("1", "L", "P", "RGB", "RGBA")), "BMP")


def webp_file(case: Case) -> bytes:
    if case.chance(0.2):
        frames = [image(case, ("RGB",)).resize((8, 8)) for _ in range(2)]
        return encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:])
    return encoded(image(case, ("RGB", "RGBA", "L")), "WEBP", lossless=case.chance(0.5), **extras(case))


def gif_file(case: Case) -> bytes:
    return encoded(image(case, ("L", "P", "1")), "GIF")


def pnm_file(case: Case) -> bytes:
    return encoded(image(case, ("1", "L", "RGB")), "PPM")


def npy_file(case: Case) -> bytes:
    buffer = io.BytesIO()
    kind = case.random.choice(("uint8", "float32", "float64", "complex128", "bool", "int64", ">u2", "float16", "U3"))
    sizes = case.random.choice((shape(case), (0, 3), (1, *shape(case)), (), (3,), (2, 3, 4)))
    np.save(buffer, levels(case, *sizes).astype(kind), allow_pickle=False)
    case.note("npy", kind, sizes)
    return buffer.getvalue()


FILES: dict[str, tuple[Callable[[Case], bytes], float]] = {
    ".png": (png_file, 6),
    ".jpg": (jpeg_file, 4),
    ".tif": (tiff_file, 8),
    ".bmp": (bmp_file, 2),
    ".webp": (webp_file, 2),
    ".gif": (gif_file, 1),
    ".pnm": (pnm_file, 0.5),
    ".npy": (npy_file, 0.5),
}


def file(case: Case, suffixes: tuple[str, ...] = ()) -> tuple[str, bytes]:
    """An extension and the bytes of a whole file of that kind."""
    table = {end: weight for end, (_, weight) in FILES.items() if not suffixes or end in suffixes}
    end = case.weighted(table)
    case.note(end)
    return end, FILES[end][0](case)
