"""The likeliest blur where the answer is "not sure": restored apart, as NAME-candidate, and how to ask for it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pnpkit.command.places import CANDIDATE, Places

if TYPE_CHECKING:
    from pnpkit.kernels import Kernel


def place_of(places: Places, own: bool) -> Path:
    """The file of the candidate's result: OUTPUT-candidate.

    ``own``: the output has the name that it gets by itself, NAME-deblurred; then NAME-candidate.
    """
    output = places.output
    stem = output.stem.removesuffix("-deblurred") if own else output.stem
    return output.with_name(f"{stem}-{CANDIDATE}{output.suffix}")


def asked_by(candidate: Kernel) -> str:
    """The flag that asks for the blur: its parameters, or its form where it has none."""
    return f"--kernel {'free' if candidate.form == 'free-form' else candidate.form}"


def tried(candidate: Kernel, place: Path | None, stays: bool = False) -> str:
    """What to do about a candidate.

    Args:
        place: where it was restored to; None: it was not. stays: a file was there already, and nothing was written.
    """
    how = asked_by(candidate)
    if place is None or stays:
        there = f" ({place} exists already and stays)" if stays else ""
        return f"If it looks blurred to you, try the likeliest blur: {how}{there}."
    return f"The likeliest blur was tried, too, and is in {place}: if that looks better, add {how}."
