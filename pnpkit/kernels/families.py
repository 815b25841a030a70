"""Families of blur kernels, and the normalisation that every kernel goes through."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from pnpkit.errors import InputError
from pnpkit.numerics import profiles

MAX_SIZE = 501  # pixels along an axis: far above any blur worth removing, so that a typo does not use up the memory


TAIL, REACH = 1e-3, 12  # a Moffat profile ends where a share TAIL of its light lies outside, at REACH FWHM at most


ESTIMATED = ("auto", "gaussian", "motion", "disk", "free")  # words for a blur to be estimated: any, or of one form


RINGS = 8  # an Airy pattern is cut off at this many radii of the first dark ring: 2 % of its light lie outside


def gaussian(sigma: float) -> np.ndarray:
    """k(p) proportional to exp(-|p|^2 / (2 sigma^2)), cut off at |p_i| <= ceil(4 sigma).

    Args:
        sigma: standard deviation in pixels, 0 < sigma <= 62.5.

    Raises:
        InputError: sigma is out of range.
    """
    largest = MAX_SIZE // 2 / 4
    if not 0 < sigma <= largest:
        raise InputError(f"a Gaussian blur needs 0 < sigma <= {largest:g} pixels, got {sigma:g}")
    p = np.arange(-math.ceil(4 * sigma), math.ceil(4 * sigma) + 1)
    with np.errstate(over="ignore"):  # a tiny sigma gives the identity: exp(-inf) = 0 away from the centre
        profile = np.exp(-0.5 * (p / sigma) ** 2)
    return normalise(np.outer(profile, profile))


def motion(length: float, angle: float) -> np.ndarray:
    """k(p) proportional to max(0, 1 - dist(p, segment)): a straight, uniform motion, anti-aliased over one pixel.

    The segment is centred and reaches from the middle of the first pixel to the middle of the last, so its length is
    length - 1. For an odd length along an axis the kernel consists of ``length`` equal numbers.

    Args:
        length: number of pixels that a point is smeared over, 1 <= length <= 501.
        angle: in degrees, counter-clockwise as seen on the screen: 0 is horizontal, 90 vertical. Modulo 180.

    Raises:
        InputError: the length is out of range, or the angle is not finite.
    """
    if not 1 <= length <= MAX_SIZE:
        raise InputError(f"a motion blur needs 1 <= length <= {MAX_SIZE} pixels, got {length:g}")
    if not math.isfinite(angle):
        raise InputError(f"a motion blur needs a finite angle in degrees, got {angle:g}")
    half = (length - 1) / 2
    direction = np.array([-math.sin(math.radians(angle)), math.cos(math.radians(angle))])  # rows grow downwards
    # The rounding prevents sin(180 degrees) = 1e-16 from adding another row.
    rows, columns = np.ceil(np.round(half * np.abs(direction), 9)).astype(int)
    y, x = np.mgrid[-rows : rows + 1, -columns : columns + 1]
    nearest = np.clip(y * direction[0] + x * direction[1], -half, half)
    distance = np.hypot(y - nearest * direction[0], x - nearest * direction[1])
    return normalise(np.maximum(0, 1 - distance))


def disk(radius: float) -> np.ndarray:
    """k(p) proportional to the area that pixel p shares with {|p| <= radius}: an ideal lens out of focus.

    The area is counted on 16 x 16 points per pixel.

    Args:
        radius: in pixels, 0 < radius <= 250.5. Up to 0.5 the disk lies in one pixel and the kernel is 1 x 1.

    Raises:
        InputError: the radius is out of range.
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
    """k(p) = 1 / size^2 on size x size pixels. An even size is padded to an odd one.

    Args:
        size: whole pixels, 1 <= size <= 501.

    Raises:
        InputError: the size is out of range or not a whole number.
    """
    if not 1 <= size <= MAX_SIZE or size != int(size):
        raise InputError(f"a box blur needs a whole size, 1 <= size <= {MAX_SIZE} pixels, got {size:g}")
    return normalise(np.ones((int(size), int(size))))


def moffat(fwhm: float, beta: float) -> np.ndarray:
    """k(p) proportional to (1 + |p|^2 / alpha^2)^-beta, alpha = fwhm / (2 sqrt(2^(1/beta) - 1)): a star by seeing.

    The profile is sampled at the middle of each pixel, as stars are fitted. It is cut off where 0.1 % of the light lies
    outside, at 12 FWHM at most.

    Args:
        fwhm: full width at half the maximum in pixels, 0 < fwhm <= 62.5.
        beta: 1 < beta <= 100. Seeing gives 2.5 to 4.5. The larger beta is, the closer the profile is to a Gaussian.

    Raises:
        InputError: a number is out of range.

    Source: Moffat, Astronomy & Astrophysics 3 (1969) 455.
    """
    if not 0 < fwhm <= MAX_SIZE / 8 or not 1 < beta <= 100:
        raise InputError(f"a Moffat blur needs 0 < FWHM <= {MAX_SIZE / 8:g}, 1 < BETA <= 100, got {fwhm:g}, {beta:g}")
    far = profiles.moffat_reach(fwhm, beta, TAIL)
    reach = min(math.ceil(min(far, REACH * fwhm)), MAX_SIZE // 2)
    p = np.arange(-reach, reach + 1.0)
    return normalise(profiles.moffat(p[:, None] ** 2 + p**2, fwhm, beta))


def airy(radius: float) -> np.ndarray:
    """k(p) proportional to (2 J_1(v) / v)^2, v = 3.8317 |p| / radius: an ideal round aperture, in focus.

    The pattern is averaged over 5 x 5 points per pixel and cut off at 8 radii, where 2 % of the light lie outside.

    Args:
        radius: radius of the first dark ring, 1.22 wavelength / aperture, in pixels, 0 < radius <= 31.25.

    Raises:
        InputError: the radius is out of range.
    """
    largest = MAX_SIZE // 2 / RINGS
    if not 0 < radius <= largest:
        raise InputError(f"an Airy pattern needs 0 < radius <= {largest:g} pixels, got {radius:g}")
    reach = math.ceil(RINGS * radius)
    p, points = np.arange(-reach, reach + 1.0), (np.arange(5) - 2) / 5
    parts = [profiles.airy((p[:, None] + dy) ** 2 + (p + dx) ** 2, radius) for dy in points for dx in points]
    return normalise(np.sum(parts, axis=0))


FAMILIES: dict[str, tuple[Callable[..., np.ndarray], str]] = {
    "gaussian": (gaussian, "SIGMA"),
    "motion": (motion, "LENGTH,ANGLE"),
    "disk": (disk, "RADIUS"),
    "box": (box, "SIZE"),
    "moffat": (moffat, "FWHM,BETA"),
    "airy": (airy, "RADIUS"),
}


def normalise(array: np.ndarray) -> np.ndarray:
    """k / sum(k), padded with zeros at the end to odd sizes.

    Args:
        array: (h, w), (h, w, 1), (1, h, w) or (1, 1, h, w), or with several slices (d, h, w), at most 501 along each
            axis; real, finite, non-negative, not all zero.

    Returns:
        float64 (h', w') or (d', h', w') with odd sizes, non-negative, sum 1, centre at half the sizes.

    Raises:
        InputError: the array violates one of these conditions.
    """
    kernel = np.asarray(array)
    if kernel.dtype.kind not in "buif":
        raise InputError(f"a kernel holds real numbers, got dtype {kernel.dtype}")
    if kernel.ndim == 4 and kernel.shape[:2] == (1, 1):  # the shape that deepinv uses
        kernel = kernel[0, 0]
    if kernel.ndim == 3 and 1 in (kernel.shape[0], kernel.shape[2]):
        kernel = kernel[0] if kernel.shape[0] == 1 else kernel[..., 0]
    if kernel.ndim not in (2, 3) or kernel.size == 0:
        raise InputError(
            f"a kernel is a 2-D array of at least 1x1 pixels, or 3-D for a volume, got shape {kernel.shape}"
        )
    if max(kernel.shape) > MAX_SIZE:
        raise InputError(
            f"a kernel has at most {MAX_SIZE}x{MAX_SIZE} pixels, or slices, got {'x'.join(map(str, kernel.shape))}"
        )
    kernel = kernel.astype(np.float64)
    if not np.isfinite(kernel).all():
        raise InputError("a kernel is finite, got NaN or infinity")
    if kernel.min() < 0:
        raise InputError(f"a kernel is non-negative, got {kernel.min():g}: set values below 0, left by noise, to 0")
    if kernel.max() == 0:
        raise InputError("a kernel has a positive sum, got zeros only")
    kernel = np.pad(kernel, [(0, 1 - size % 2) for size in kernel.shape])
    kernel = kernel / kernel.max()  # done first, so that no sum overflows
    return kernel / kernel.sum()
