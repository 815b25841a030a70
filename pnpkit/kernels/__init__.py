"""Blur kernels: functions that make, read, check and write them.

A kernel is a float64 ndarray (h, w), non-negative, with sum 1 and odd sizes; its centre is at (h // 2, w // 2). An
array of even size n has its centre at n // 2 as well, so one zero row or column at the end makes the size odd without
moving the centre. The point-spread function of a microscope is a kernel with slices, (d, h, w).
"""

from __future__ import annotations

import difflib
import os
from pathlib import Path

import numpy as np

from pnpkit.errors import InputError
from pnpkit.kernels.families import ESTIMATED as ESTIMATED
from pnpkit.kernels.families import FAMILIES as FAMILIES
from pnpkit.kernels.families import MAX_SIZE as MAX_SIZE
from pnpkit.kernels.families import airy as airy
from pnpkit.kernels.families import box as box
from pnpkit.kernels.families import disk as disk
from pnpkit.kernels.families import gaussian as gaussian
from pnpkit.kernels.families import moffat as moffat
from pnpkit.kernels.families import motion as motion
from pnpkit.kernels.families import normalise as normalise
from pnpkit.kernels.files import ESTIMATE as ESTIMATE
from pnpkit.kernels.files import FORMS as FORMS
from pnpkit.kernels.files import SAVE_SUFFIXES as SAVE_SUFFIXES
from pnpkit.kernels.files import estimated as estimated
from pnpkit.kernels.files import load as load
from pnpkit.kernels.files import save as save
from pnpkit.kernels.measured import doubts as doubts
from pnpkit.kernels.scaling import reduced as reduced
from pnpkit.kernels.value import Kernel as Kernel


def is_estimated(kernel: object) -> bool:
    """Whether the argument asks for a kernel estimated from the picture: ``auto``, or the name of a form."""
    return isinstance(kernel, str) and kernel in ESTIMATED


def parse(spec: str) -> np.ndarray:
    """Return the kernel that a specification names.

    Args:
        spec: ``gaussian:SIGMA``, ``motion:LENGTH,ANGLE``, ``disk:RADIUS``, ``box:SIZE`` or the path of a file.
            Lengths are in pixels, angles in degrees.

    Raises:
        InputError: the specification has another form, a parameter is out of range, or a file holds no kernel.
    """
    family, colon, parameters = spec.partition(":")
    if spec in ("auto", "free"):
        raise InputError(
            f"kernel '{spec}' is estimated from the image by its caller; here a kernel is expected: " + FORMS
        )
    if family in FAMILIES and (colon or not os.path.exists(spec)):
        return _make(spec, family, parameters)
    wordy = colon and family.isalpha() and len(family) > 1  # 'gausian:2.5', but not 'C:kernel.png'
    if spec and (os.path.exists(spec) or (Path(spec).suffix and not wordy)):
        return load(spec)
    near = difflib.get_close_matches(family.lower(), FAMILIES, n=1)
    hint = f"did you mean '{near[0]}:{FAMILIES[near[0]][1]}'? " if near else ""
    raise InputError(f"kernel '{spec}' is neither a known blur nor a file: {hint}expected {FORMS}")


def _make(spec: str, family: str, parameters: str) -> np.ndarray:
    """Make the kernel of a family from the parameters after the colon."""
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


_EXAMPLES = {"gaussian": "1.6", "motion": "15,30", "disk": "3.5", "box": "9", "moffat": "2.8,3.5", "airy": "2.5"}


def _example(family: str) -> str:
    return f"{family}:{_EXAMPLES[family]}"
