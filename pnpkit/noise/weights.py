"""Weight maps of readings: weights, variances or standard deviations, as astronomical surveys provide them."""

from __future__ import annotations

import re

import numpy as np

from pnpkit.errors import InputError, UnknownName

RELATIVE, INVERSE, VARIANCE, DEVIATION = "relative", "inverse-variance", "variance", "standard-deviation"
KINDS = ("auto", RELATIVE, INVERSE, VARIANCE, DEVIATION)


NAMES = {  # the kind that the name of a FITS extension, or the last word of a file's name, stands for
    RELATIVE: ("WHT", "WEIGHT", "WEIGHTS", "WGT", "EXP", "EXPOSURE"),
    INVERSE: ("IVAR", "INVVAR", "IVM"),
    VARIANCE: ("VAR", "VARIANCE"),
    DEVIATION: ("ERR", "ERROR", "RMS", "SIGMA", "STD", "STDDEV", "STDEV", "UNC", "UNCERT", "NOISE"),
}


def kind_of(kind: str, *names: str) -> str:
    """Return the kind of a map. ``auto`` takes it from the first of ``names`` that tells, otherwise ``relative``.

    Raises:
        UnknownName: there is no such kind.

    Example:
        >>> kind_of("auto", "RMS"), kind_of("auto", "", "field_drz.wht"), kind_of("variance", "WHT")
        ('standard-deviation', 'relative', 'variance')
    """
    if not isinstance(kind, str) or kind not in KINDS:
        raise UnknownName("kind of weights", kind, KINDS)
    if kind != "auto":
        return kind
    for name in names:
        word = (re.findall(r"[A-Za-z]+", name) or [""])[-1].upper()
        for found, words in NAMES.items():
            if word in words:
                return found
    return RELATIVE


def inverse_variances(values: np.ndarray, kind: str) -> np.ndarray:
    """Return 1 / variance of every reading, float64; for relative weights up to a factor. Unknown readings get 0.

    Args:
        values: the map.
        kind: RELATIVE, INVERSE, VARIANCE or DEVIATION. A reading is unknown if its value is NaN, its weight is 0, or
            its variance is infinite or 0. No reading has a variance of 0; maps mark unknown readings by it.

    Raises:
        InputError: the values are not real numbers, one is negative, a weight is infinite, or no reading is known.
    """
    if values.dtype.kind not in "biuf":
        raise InputError(f"weights are real numbers, one for each reading, got {values.dtype}")
    numbers = np.where(np.isnan(values), 0.0, values).astype(np.float64)
    if (numbers < 0).any():
        count, least = int(np.count_nonzero(numbers < 0)), float(numbers.min())
        raise InputError(f"weights of every kind are >= 0, got {count} negative ones, the least {least:.6g}")
    if kind in (VARIANCE, DEVIATION):
        spread = numbers if kind == VARIANCE else np.square(numbers)
        numbers = np.divide(1.0, spread, out=np.zeros_like(spread), where=spread > 0)
    if not np.isfinite(numbers).all():
        raise InputError(f"weights are finite numbers, got {int(np.isinf(numbers).sum())} infinite ones among them")
    if not (numbers > 0).any():
        raise InputError("every weight is 0 or NaN, so no reading is known; a reading that counts has a weight > 0")
    return numbers
