"""The likeliest blur where the answer is "not sure": restored apart, as NAME-candidate, and how to ask for it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pnpkit.command.places import CANDIDATE, Places

if TYPE_CHECKING:
    from pnpkit.kernels import Kernel


def place_of(places: Places, own: bool) -> Path:
    """Beside the output: named after it where a name was given, else (``own``) after the input."""
    output = places.output
    stem = output.stem.removesuffix("-deblurred") if own else output.stem
    return output.with_name(f"{stem}-{CANDIDATE}{output.suffix}")


def asked_by(candidate: Kernel) -> str:
    """The flag that asks for the blur: its parameters, or its form where it has none."""
    return f"--kernel {'free' if candidate.form == 'free-form' else candidate.form}"


def tried(candidate: Kernel, place: Path | None, stays: bool = False) -> str:
    """What to do about a candidate, which was restored to ``place``; ``stays``: unless something is there already."""
    how = asked_by(candidate)
    if place is None or stays:
        there = f" ({place} exists already and stays)" if stays else ""
        return f"If it looks blurred to you, try the likeliest blur: {how}{there}."
    return f"The likeliest blur was tried, too, and is in {place}: if that looks better, add {how}."
