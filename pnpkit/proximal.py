"""Proximal maps: each firmly nonexpansive, with the proof attached."""

from __future__ import annotations

from pnpkit.certificates import Certificate, Side
from pnpkit.errors import InputError
from pnpkit.maps import Map


def box(low: float, high: float) -> Map:
    """Projection onto {x: low <= x <= high}: firmly nonexpansive, with a bounded range."""
    if not low <= high:
        raise InputError(f"a box needs low <= high, got low = {low:g}, high = {high:g}")
    method = "orthogonal projection onto a closed convex set"
    certificate = Certificate(f"proj[{low:g}, {high:g}]", 1.0, 0.5, Side.PROVEN, method, bounded=True)
    return Map(lambda x: x.clamp(low, high), certificate)
