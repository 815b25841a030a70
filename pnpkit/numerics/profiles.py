"""Profiles of point-spread functions as functions of the distance from the centre."""

from __future__ import annotations

import math

import numpy as np

AIRY_ZERO = 3.8317059702075125  # the first zero of J_1


def moffat(squared: np.ndarray, fwhm: float, beta: float) -> np.ndarray:
    """(1 + r^2 / alpha^2)^-beta with alpha = fwhm / (2 sqrt(2^(1/beta) - 1)); ``squared`` is r^2."""
    return (1 + squared / moffat_alpha(fwhm, beta) ** 2) ** -beta


def moffat_alpha(fwhm: float, beta: float) -> float:
    """Return the core radius alpha of a Moffat profile."""
    return fwhm / (2 * math.sqrt(2 ** (1 / beta) - 1))


def moffat_reach(fwhm: float, beta: float, outside: float) -> float:
    """Return the radius R beyond which the share ``outside`` of the light lies.

    (1 + R^2 / alpha^2)^(1 - beta) = outside.
    """
    return moffat_alpha(fwhm, beta) * math.sqrt(outside ** (1 / (1 - beta)) - 1)


def airy(squared: np.ndarray, radius: float) -> np.ndarray:
    """(2 J_1(v) / v)^2 with v = 3.8317 r / radius: an ideal round aperture.

    ``squared`` is r^2, and ``radius`` is the radius of the first dark ring.
    """
    from scipy.special import j1

    v = AIRY_ZERO * np.sqrt(squared) / radius
    small = v < 1e-6
    v = np.where(small, 1.0, v)
    return np.where(small, 1.0, (2 * j1(v) / v) ** 2)
