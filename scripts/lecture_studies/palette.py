"""One colour and one line style for each method, in every panel and every figure of the lecture.

Networks without structure are orange (an MLP, which stands beside a ResNet, is grey), structured ones are blue or
violet, and what lies between the two is green. Line styles differ too, so that a figure can be read in grey.
"""

from __future__ import annotations

from typing import TypedDict

from pnpkit.errors import UnknownName

BLUE, SKY, GREEN, VIOLET, ORANGE, GREY, BLACK, GOLD = (
    *("#0b3c5d", "#1c8adb", "#5f8f3e", "#7a4fa3"),
    *("#d9480f", "#888888", "#111111", "#c2a000"),
)


class Look(TypedDict):
    """Keyword arguments of ``Axes.plot``."""

    color: str
    linestyle: str


LOOKS: dict[str, tuple[str, str]] = {
    # row 7 and row 2: what is preserved by construction, asked for, put back afterwards, or not at all
    "structured": (BLUE, "-"),
    "normalised": (BLUE, "-"),
    "projected afterwards": (GREEN, "-."),
    "penalised": (GREEN, "-."),
    "plain": (ORANGE, "--"),
    # rows 8 and 9
    "LA-SympNet": (BLUE, "-"),
    "G-SympNet": (SKY, "--"),
    "G-SympNet, reversible": (GREEN, "-."),
    "G-SympNet, paper's start": (GOLD, ":"),
    "HNN, midpoint rule": (VIOLET, ":"),
    "H1": (SKY, "-."),
    "H2": (VIOLET, "-"),
    "H2, h = T/N": (VIOLET, ":"),
    "ResNet": (ORANGE, "--"),
    "ResNet, h = T/N": (ORANGE, ":"),
    "MLP": (GREY, "-"),
    "MLP, orthogonal start": (GREY, "-."),
    # row 3
    "exact flow": (BLUE, "-"),
    "Euler map": (ORANGE, "--"),
    # row 10
    "ISTA": (BLUE, "-"),
    "FISTA": (ORANGE, "--"),
    # rows 11 to 15
    "euler": (BLUE, "-"),
    "euler, Halpern": (SKY, "--"),
    "wavelet": (GREEN, "-."),
    "ridge": (VIOLET, ":"),
    "dncnn": (ORANGE, "--"),
}


def look(method: str) -> Look:
    """Return the style of a method; for an unknown one the message lists all methods."""
    if method not in LOOKS:
        raise UnknownName("method", method, LOOKS)
    color, linestyle = LOOKS[method]
    return {"color": color, "linestyle": linestyle}
