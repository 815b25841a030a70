"""The exceptions of pnpkit. Each message says in one line what was expected, what came and what to do."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Iterable


class PnpError(Exception):
    """Root of every error that pnpkit raises on purpose."""


def one_line(error: object) -> str:
    """Return the text of a foreign exception or a long message on one line."""
    return " ".join(str(error).split())


class InexactWarning(UserWarning):
    """An inner solver did not reach the accuracy that a certificate names as its premise."""

    @classmethod
    def tell(cls, what: str, max_steps: int) -> None:
        """Issue the warning at the code that called the solver."""
        text = (
            f"{what} ended after {max_steps} steps, before its goal: what a certificate says of its error does not hold"
        )
        warnings.warn(text, cls, stacklevel=3)


class InputError(PnpError, ValueError):
    """An argument or a file that cannot be used. The command line prints it and exits with 2."""


class UnknownName(InputError):
    """A name that is not in a registry. The message gives the nearest name and all names.

    Example:
        >>> str(UnknownName("denoiser", "eulr", ("euler", "wavelet")))
        "unknown denoiser 'eulr': did you mean 'euler'? available: euler, wavelet"
    """

    def __init__(self, what: str, name: object, names: Iterable[str]):
        known = sorted(names)
        near = difflib.get_close_matches(str(name), known, n=1)
        hint = f"did you mean '{near[0]}'? " if near else ""
        super().__init__(f"unknown {what} '{name}': {hint}available: {', '.join(known) or 'none'}")


class StepSizeError(InputError):
    """A step size outside the interval in which convergence is proven."""


class CardError(PnpError):
    """A denoiser's folder does not hold what its card says."""


class LawBroken(PnpError, AssertionError):
    """An operator does not obey a law that it must obey."""
