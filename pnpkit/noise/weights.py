"""Maps that say how much every reading is worth: weights, variances or standard deviations, as surveys give them."""

from __future__ import annotations

import re

import numpy as np

from pnpkit.errors import InputError, UnknownName

RELATIVE, INVERSE, VARIANCE, DEVIATION = "relative", "inverse-variance", "variance", "standard-deviation"
KINDS = ("auto", RELATIVE, INVERSE, VARIANCE, DEVIATION)


NAMES = {  # what the extension of a FITS, or the last word of a file's name, says by itself
    RELATIVE: ("WHT", "WEIGHT", "WEIGHTS", "WGT", "EXP", "EXPOSURE"),
    INVERSE: ("IVAR", "INVVAR", "IVM"),
    VARIANCE: ("VAR", "VARIANCE"),
    DEVIATION: ("ERR", "ERROR", "RMS", "SIGMA", "STD", "STDDEV", "STDEV", "UNC", "UNCERT", "NOISE"),
}


def kind_of(kind: str, *names: str) -> str:
    """The kind of a map: as it is said, or for auto what the first telling one of its names says, else relative.

    Raises:
        UnknownName: a kind that is none.

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
    """1 / variance of every reading, float64; of relative weights up to a factor. 0 where nothing is known of it.

    Args:
        values: of the kind RELATIVE, INVERSE, VARIANCE or DEVIATION. NaN is unknown, and so is a weight of 0, an
            infinite variance, and a variance of 0, by which maps mark what they know nothing of: no reading has it.

    Raises:
        InputError: no real numbers, a negative one, an infinite weight, or nothing known of any reading.
    """
    if values.dtype.kind not in "biuf":
        raise InputError(f"weights are real numbers, one for each reading, got {values.dtype}")
    numbers = np.where(np.isnan(values), 0.0, values).astype(np.float64)
    if (numbers < 0).any():
        count, least = int(np.count_nonzero(numbers < 0)), float(numbers.min())
        raise InputError(f"weights are >= 0, whatever they are, got {count} negative ones, the least {least:.6g}")
    if kind in (VARIANCE, DEVIATION):
        spread = numbers if kind == VARIANCE else np.square(numbers)
        numbers = np.divide(1.0, spread, out=np.zeros_like(spread), where=spread > 0)
    if not np.isfinite(numbers).all():
        raise InputError(f"weights are finite numbers, got {int(np.isinf(numbers).sum())} infinite ones among them")
    if not (numbers > 0).any():
        raise InputError("every weight is 0 or NaN: nothing is known of any reading; a reading that counts is > 0")
    return numbers
