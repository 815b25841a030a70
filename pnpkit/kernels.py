"""Blur kernels: make them, read them, check them, write them.

A kernel is a float64 ndarray (h, w), non-negative, with sum 1 and odd sizes, its centre at (h // 2, w // 2). An even
size n has its centre at n // 2 as well, so one zero row or column at the end makes it odd without moving the centre.
"""

from __future__ import annotations

import difflib
import io
import itertools
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pnpkit.errors import InputError
from pnpkit.machine.files import write_whole

MAX_SIZE = 501  # pixels along an axis: far above any blur worth undoing, so that a typo does not eat the memory


FORMS = "gaussian:SIGMA, motion:LENGTH,ANGLE, disk:RADIUS, box:SIZE, or a file (.npy .png .tif .tiff .bmp)"


IMAGE_SUFFIXES = (".png", ".tif", ".tiff", ".bmp")


SAVE_SUFFIXES = (".npy", ".png")


SHIFTED, BACKGROUND = 1.0, 0.01  # of a measured kernel: px off its middle, and the rim's least share of the peak


FLAT = 0.9  # least share of the peak, from which on a kernel is a box


REVERSED = ("MINISWHITE", "PALETTE")  # colours of TIFF in which a number is not an amount of light


ESTIMATE = "pnpkit estimate"  # the key of the text in a PNG that says how an estimated kernel came about


def gaussian(sigma: float) -> np.ndarray:
    """k(p) proportional to exp(-|p|^2 / (2 sigma^2)), cut off at |p_i| <= ceil(4 sigma).

    Args:
        sigma: standard deviation in pixels, 0 < sigma <= 62.5.

    Raises:
        InputError: sigma outside of its range.
    """
    largest = MAX_SIZE // 2 / 4
    if not 0 < sigma <= largest:
        raise InputError(f"a Gaussian blur needs 0 < sigma <= {largest:g} pixels, got {sigma:g}")
    p = np.arange(-math.ceil(4 * sigma), math.ceil(4 * sigma) + 1)
    with np.errstate(over="ignore"):  # a tiny sigma is the identity: exp(-inf) = 0 beside the centre
        profile = np.exp(-0.5 * (p / sigma) ** 2)
    return normalise(np.outer(profile, profile))


def motion(length: float, angle: float) -> np.ndarray:
    """k(p) proportional to max(0, 1 - dist(p, segment)): a straight, uniform motion, anti-aliased over one pixel.

    The segment is centred and reaches from the middle of the first to the middle of the last pixel, so it is
    length - 1 long. For odd lengths along an axis the kernel is ``length`` equal numbers.

    Args:
        length: pixels that a point is smeared over, 1 <= length <= 501.
        angle: degrees, counter-clockwise as seen on the screen: 0 is horizontal, 90 vertical. Modulo 180.

    Raises:
        InputError: a length outside of its range or an angle that is not finite.
    """
    if not 1 <= length <= MAX_SIZE:
        raise InputError(f"a motion blur needs 1 <= length <= {MAX_SIZE} pixels, got {length:g}")
    if not math.isfinite(angle):
        raise InputError(f"a motion blur needs a finite angle in degrees, got {angle:g}")
    half = (length - 1) / 2
    direction = np.array([-math.sin(math.radians(angle)), math.cos(math.radians(angle))])  # rows grow downwards
    # The rounding keeps sin(180 degrees) = 1e-16 from opening another row.
    rows, columns = np.ceil(np.round(half * np.abs(direction), 9)).astype(int)
    y, x = np.mgrid[-rows : rows + 1, -columns : columns + 1]
    nearest = np.clip(y * direction[0] + x * direction[1], -half, half)
    distance = np.hypot(y - nearest * direction[0], x - nearest * direction[1])
    return normalise(np.maximum(0, 1 - distance))


def disk(radius: float) -> np.ndarray:
    """k(p) proportional to the area that pixel p shares with {|p| <= radius}: an ideal lens out of focus.

    The area is counted on 16 x 16 points a pixel.

    Args:
        radius: pixels, 0 < radius <= 250.5; up to 0.5 the disk lies in one pixel and the kernel is 1 x 1.

    Raises:
        InputError: a radius outside of its range.
    """
    if not 0 < radius <= MAX_SIZE / 2:
        raise InputError(f"a disk blur needs 0 < radius <= {MAX_SIZE / 2:g} pixels, got {radius:g}")
    if radius <= 0.5:
        return np.ones((1, 1))
    reach = math.ceil(radius - 0.5)
    p = np.arange(-reach, reach + 1)
    points = (np.arange(16) - 7.5) / 16
    area = np.zeros((len(p), len(p)))
    for dy in points:
        for dx in points:
            area += (p[:, None] + dy) ** 2 + (p[None, :] + dx) ** 2 <= radius**2
    return normalise(area)


def box(size: int) -> np.ndarray:
    """k(p) = 1 / size^2 on size x size pixels; an even size is padded to an odd one.

    Args:
        size: whole pixels, 1 <= size <= 501.

    Raises:
        InputError: a size outside of its range, or not a whole number.
    """
    if not 1 <= size <= MAX_SIZE or size != int(size):
        raise InputError(f"a box blur needs a whole size, 1 <= size <= {MAX_SIZE} pixels, got {size:g}")
    return normalise(np.ones((int(size), int(size))))


FAMILIES: dict[str, tuple[Callable[..., np.ndarray], str]] = {
    "gaussian": (gaussian, "SIGMA"),
    "motion": (motion, "LENGTH,ANGLE"),
    "disk": (disk, "RADIUS"),
    "box": (box, "SIZE"),
}


@dataclass(frozen=True, eq=False)
class Kernel:
    """A blur kernel and what is known of it; false where there are doubts. Its text is the origin, then the doubts.

    Attributes:
        weights: (h, w) float64 as ``normalise`` gives it. ``np.asarray`` of the kernel is this.
        origin: where it comes from, in words.
        confidence: of an estimate, 0..1; None for a kernel that was given.
        form: of an estimate: ``sharp``, a family with its parameters, or ``free-form``.
        doubts: what may be wrong with it, one sentence each.
    """

    weights: np.ndarray
    origin: str
    confidence: float | None = None
    form: str = ""
    doubts: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return not self.doubts

    @property
    def family(self) -> str:
        """``form`` without its parameters: gaussian, motion, disk, free-form or sharp; empty for one that was given."""
        return self.form.partition(":")[0]

    def __str__(self) -> str:
        return "; ".join((self.origin, *self.doubts))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.weights, dtype) if copy or dtype is not None else self.weights


def normalise(array: np.ndarray) -> np.ndarray:
    """k / sum(k), padded with zeros at the end to odd sizes.

    Args:
        array: (h, w), (h, w, 1) or (1, h, w), at most 501 x 501; real, finite, non-negative, not all zero.

    Returns:
        float64 (h', w') with odd sizes, non-negative, sum 1, centre at (h' // 2, w' // 2).

    Raises:
        InputError: an array that is not so.
    """
    kernel = np.asarray(array)
    if kernel.dtype.kind not in "buif":
        raise InputError(f"a kernel holds real numbers, got dtype {kernel.dtype}")
    if kernel.ndim == 3 and 1 in (kernel.shape[0], kernel.shape[2]):
        kernel = kernel[0] if kernel.shape[0] == 1 else kernel[..., 0]
    if kernel.ndim != 2 or kernel.size == 0:
        raise InputError(f"a kernel is a 2-D array of at least 1x1 pixels, one plane, got shape {kernel.shape}")
    if max(kernel.shape) > MAX_SIZE:
        raise InputError(f"a kernel has at most {MAX_SIZE}x{MAX_SIZE} pixels, got {kernel.shape[0]}x{kernel.shape[1]}")
    kernel = kernel.astype(np.float64)
    if not np.isfinite(kernel).all():
        raise InputError("a kernel is finite, got NaN or infinity")
    if kernel.min() < 0:
        raise InputError(f"a kernel is non-negative, got {kernel.min():g}: set what noise left below 0 to 0")
    if kernel.max() == 0:
        raise InputError("a kernel has a positive sum, got zeros only")
    kernel = np.pad(kernel, [(0, 1 - size % 2) for size in kernel.shape])
    kernel = kernel / kernel.max()  # first, so that no sum overflows
    return kernel / kernel.sum()


def doubts(kernel: np.ndarray) -> str:
    """What may be wrong with a measured kernel, as a sentence: its place, or a background; empty where nothing is.

    A shake is where it is; but a point source that was cut out anew has its centre of mass at (h // 2, w // 2).
    """
    from scipy.ndimage import center_of_mass

    down, right = (at - size // 2 for at, size in zip(center_of_mass(kernel), kernel.shape, strict=True))
    found = []
    if max(abs(down), abs(right)) >= SHIFTED:
        found.append(
            f"its centre of mass is {down:+.1f} px down, {right:+.1f} px right of its middle, which moves the result"
        )
    rim = np.ones(kernel.shape, dtype=bool)
    rim[1:-1, 1:-1] = False
    flat = kernel.min() >= FLAT * kernel.max()  # a box: its rim is as bright as its middle
    if min(kernel.shape) >= 5 and not flat and kernel[rim].min() >= BACKGROUND * kernel.max():
        share = float(kernel[rim].sum())
        found.append(f"{share:.0%} of it lies on its rim, which is nowhere dark: if that is a background, subtract it")
    return "; ".join(found)


def reduced(kernel: np.ndarray, factor: float) -> np.ndarray:
    """The kernel of the same blur in a picture that is 1/factor as large: each weight goes to where d / factor lies.

    It is shared out between the four pixels around that place, in proportion to their nearness; d is the distance from
    the middle.

    Args:
        kernel: (h, w), odd sides. factor: >= 1.
    """
    reach = [math.ceil((size // 2) / factor) for size in kernel.shape]
    rows, columns = ((np.arange(size) - size // 2) / factor + r for size, r in zip(kernel.shape, reach, strict=True))
    out = np.zeros([2 * r + 1 for r in reach])
    for (down, row_share), (right, column_share) in itertools.product(_sides(rows), _sides(columns)):
        weights = kernel * row_share[:, None] * column_share[None, :]
        np.add.at(out, np.ix_(np.minimum(down, len(out) - 1), np.minimum(right, out.shape[1] - 1)), weights)
    return out / out.sum()


def _sides(places: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """The pixels before and after each place, and their shares."""
    before = np.floor(places).astype(int)
    return [(before, 1 - (places - before)), (before + 1, places - before)]


def parse(spec: str) -> np.ndarray:
    """The kernel that a command-line word names.

    Args:
        spec: ``gaussian:SIGMA``, ``motion:LENGTH,ANGLE``, ``disk:RADIUS``, ``box:SIZE`` or the path of a file.
            Lengths are in pixels, angles in degrees.

    Raises:
        InputError: a word of another form, a parameter out of range, a file that is no kernel.
    """
    family, colon, parameters = spec.partition(":")
    if spec == "auto":
        raise InputError("kernel 'auto' is estimated from the image by its caller; here a kernel is expected: " + FORMS)
    if family in FAMILIES and (colon or not os.path.exists(spec)):
        return _make(spec, family, parameters)
    wordy = colon and family.isalpha() and len(family) > 1  # 'gausian:2.5', but not 'C:kernel.png'
    if spec and (os.path.exists(spec) or (Path(spec).suffix and not wordy)):
        return load(spec)
    near = difflib.get_close_matches(family.lower(), FAMILIES, n=1)
    hint = f"did you mean '{near[0]}:{FAMILIES[near[0]][1]}'? " if near else ""
    raise InputError(f"kernel '{spec}' is neither a known blur nor a file: {hint}expected {FORMS}")


def _make(spec: str, family: str, parameters: str) -> np.ndarray:
    """The kernel of a family, from the text behind its colon."""
    make, names = FAMILIES[family]
    words = parameters.split(",")
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        numbers = []
    if len(numbers) != names.count(",") + 1:
        raise InputError(
            f"kernel '{spec}' does not have the form {family}:{names} (numbers, e.g. '{_example(family)}')"
        )
    try:
        return make(*numbers)
    except InputError as error:
        raise InputError(f"kernel '{spec}': {error} ({family}:{names})") from None


def _example(family: str) -> str:
    return {"gaussian": "gaussian:1.6", "motion": "motion:15,30", "disk": "disk:3.5", "box": "box:9"}[family]


def load(path: str | os.PathLike[str]) -> np.ndarray:
    """A kernel from a file, divided by its sum.

    Args:
        path: ``.npy`` (never unpickled) or a grey image ``.png .tif .tiff .bmp`` of any depth. A colour image passes
            if its channels are equal and an alpha channel if it is opaque.

    Raises:
        InputError: naming the path, if the file is missing, empty, of another kind, or no kernel.
    """
    path = Path(path)
    if not os.path.isfile(path):
        raise InputError(f"kernel file '{path}' does not exist (or is no file); expected {FORMS}")
    suffix = path.suffix.lower()
    if suffix != ".npy" and suffix not in IMAGE_SUFFIXES:
        raise InputError(f"kernel file '{path}' is not one of .npy {' '.join(IMAGE_SUFFIXES)}")
    try:
        if path.stat().st_size == 0:
            raise InputError("the file is empty")
        return normalise(_read_array(path) if suffix == ".npy" else _read_image(path))
    except (InputError, OSError) as error:
        raise InputError(f"kernel file '{path}': {error}") from None


def _read_array(path: Path) -> np.ndarray:
    try:
        with path.open("rb") as file:  # numpy leaves open what it cannot read
            array = np.load(file, allow_pickle=False)
    except OSError:
        raise
    except Exception as error:  # a header can claim anything
        raise InputError(f"not a .npy file of plain numbers ({' '.join(str(error).split())})") from None
    if not isinstance(array, np.ndarray):
        raise InputError("an archive of arrays, expected one array")
    return array


def _read_image(path: Path) -> np.ndarray:
    """The grey values of an image, (h, w)."""
    from pnpkit.images import files  # here, because most kernels come without a file

    try:
        stored, codec = files.decode(path, MAX_SIZE**2)
    except InputError as error:
        raise InputError(f"not a readable image ({str(error).removeprefix(f'{path}: ')})") from None
    if codec.lossy:
        raise InputError("the image was saved with loss, expected exact values: save it as PNG or TIFF")
    if stored.kind in REVERSED:
        raise InputError(f"a TIFF of the kind {stored.kind}, expected grey with 0 for black: convert it")
    image = stored.samples
    if image.ndim == 3 and image.shape[-1] in (2, 4):
        alpha = image[..., -1]
        if (alpha != (np.iinfo(alpha.dtype).max if alpha.dtype.kind in "ui" else 1)).any():
            raise InputError("the image is transparent in places, expected an opaque grey image")
        image = image[..., :-1]
    if image.ndim == 3 and image.shape[-1] == 3:
        if (image != image[..., :1]).any():
            raise InputError("the image is coloured, expected a grey one: one kernel for all channels")
    return image[..., 0] if image.ndim == 3 else image


def estimated(spec: str) -> tuple[str, float] | None:
    """The form and the confidence of a kernel that ``save`` wrote as an estimate; None for any other word or file."""
    from pnpkit.images.formats import png

    form, _, confidence = png.text(Path(spec), ESTIMATE).rpartition(" ")
    try:
        return (form, min(1.0, max(0.0, float(confidence)))) if form else None
    except ValueError:  # another text under that key
        return None


def save(
    path: str | os.PathLike[str],
    kernel: np.ndarray,
    estimate: tuple[str, float] | None = None,
    overwrite: bool = True,
) -> None:
    """Write a kernel: ``.npy`` exactly, ``.png`` as 16 bits scaled to its maximum (half a level of rounding).

    The file appears complete or not at all: it is written beside its place and then renamed.

    Args:
        path: ends with ``.npy`` or ``.png``; an existing file is replaced, unless ``overwrite`` is false.
        kernel: whatever ``normalise`` accepts.
        estimate: form and confidence, where it was not measured; a PNG keeps them, for ``estimated``.

    Raises:
        InputError: another suffix, an array that is no kernel, a place that cannot be written.
    """
    path, kernel = Path(path), normalise(kernel)
    suffix = path.suffix.lower()
    if suffix not in SAVE_SUFFIXES:
        raise InputError(f"a kernel is written as {' or '.join(SAVE_SUFFIXES)}, got '{path}'")
    content = _npy_bytes(kernel) if suffix == ".npy" else _png_bytes(kernel, estimate)
    try:
        write_whole(path, content, overwrite)
    except OSError as error:
        raise InputError(f"cannot write the kernel to '{path}': {error.strerror}") from None


def _npy_bytes(kernel: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, kernel, allow_pickle=False)
    return buffer.getvalue()


def _png_bytes(kernel: np.ndarray, estimate: tuple[str, float] | None) -> bytes:
    from PIL import Image, PngImagePlugin

    buffer, text = io.BytesIO(), PngImagePlugin.PngInfo()
    if estimate is not None:
        text.add_text(ESTIMATE, f"{estimate[0]} {estimate[1]:.4f}")
    Image.fromarray(np.round(65535 * kernel / kernel.max()).astype(np.uint16)).save(buffer, "PNG", pnginfo=text)
    return buffer.getvalue()
