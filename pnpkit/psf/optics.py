"""The point-spread function of a microscope, computed from its optics by psfmodels."""

from __future__ import annotations

import math

import numpy as np

from pnpkit import kernels
from pnpkit.errors import InputError
from pnpkit.psf.spread import Spread, trimmed

MODELS = ("scalar", "vectorial")
MOST = kernels.MAX_SIZE


def optics(
    na: float,
    wavelength: float,
    index: float,
    pixel: float,
    z_step: float | None = None,
    *,
    sample_index: float | None = None,
    depth: float = 0.0,
    model: str = "vectorial",
    excitation: float | None = None,
    pinhole: float = 1.0,
    size: int | None = None,
    planes: int | None = None,
) -> Spread:
    """Compute the image of a point by Gibson & Lanni's scalar integral, or by the vectorial integral of Aguet et al.

    Args:
        na: numerical aperture.
        wavelength: wavelength of the emission, in nm.
        index: refractive index of the immersion medium.
        pixel: size of a pixel in the sample, in µm.
        z_step: distance of slices in the sample, in µm. None computes the plane in focus only, (h, w).
        sample_index: refractive index of the mounting medium; None uses ``index``.
        depth: depth of the point below the cover glass, in µm.
        model: one of MODELS.
        excitation: wavelength of the excitation, in nm. If given, the microscope is confocal.
        pinhole: diameter of the pinhole of a confocal microscope, in Airy units.
        size, planes: samples across and along the axis. None uses as many as hold 99.9 % of the light of a larger grid.

    Raises:
        InputError: a number is out of range, or psfmodels is not installed.
    """
    check(na, wavelength, index, pixel, z_step, model)
    try:
        import psfmodels
    except ImportError:
        raise InputError("optics need the extra 'psf' (psfmodels): pip install 'pnpkit[psf]'") from None
    light = wavelength / 1000
    across = _odd(size or 2 * math.ceil(8 * 0.61 * light / na / pixel) + 1)
    along = 1
    if z_step is not None:
        depth_of_field = 2 * index * light / na**2
        along = _odd(planes or 2 * math.ceil(4 * depth_of_field / z_step) + 1)
    if max(across, along) > MOST:
        raise InputError(f"at most {MOST} samples along an axis, got {along} x {across}: give `size` and `planes`")
    z = (np.arange(along) - along // 2) * (z_step or 1.0)
    common = dict(
        dxy=pixel, pz=depth, NA=na, ns=sample_index or index, ni=index, ni0=index, tg=170, tg0=170, model=model
    )
    if depth == 0:
        common["ns"] = index  # at depth 0 no ray passes through the mounting medium
    emitted = np.asarray(
        psfmodels.make_psf(z=z + depth if depth else z, nx=across, wvl=light, normalize=False, **common)
    )
    notes = [f"{model} model, NA {na:g}, {wavelength:g} nm, index {index:g}, cover glass of 170 µm as designed"]
    if depth:
        notes.append(f"a point {depth:g} µm deep in a medium of index {sample_index or index:g}")
    if excitation is not None:
        excited = np.asarray(psfmodels.make_psf(z=z, nx=across, wvl=excitation / 1000, normalize=False, **common))
        emitted = excited * _through_pinhole(emitted, pinhole * 1.22 * light / na / 2 / pixel)
        notes.append(f"confocal: excited at {excitation:g} nm, pinhole of {pinhole:g} Airy units")
    values = kernels.normalise(np.maximum(emitted, 0))
    if size is None and planes is None:
        values = trimmed(values)
    if z_step is None:
        return Spread(values if values.ndim == 2 else values[0], (pixel, pixel), "µm", tuple(notes))
    return Spread(values, (z_step, pixel, pixel), "µm", tuple(notes))


def check(na: float, wavelength: float, index: float, pixel: float, z_step: float | None, model: str) -> None:
    """Raise if a number is out of range, or if the samples are too coarse for the light."""
    if not 0 < na < index:
        raise InputError(f"a numerical aperture lies between 0 and the index of the immersion, {index:g}, got {na:g}")
    if not 100 <= wavelength <= 5000:
        raise InputError(f"a wavelength is in nm, 100 to 5000, got {wavelength:g}")
    if not (pixel > 0 and (z_step is None or z_step > 0)):
        raise InputError(f"pixel and z step are in µm, above 0, got {pixel:g} and {z_step}")
    if model not in MODELS:
        raise InputError(f"a model is {' or '.join(MODELS)}, got '{model}'")


def _odd(n: int) -> int:
    return n + (n + 1) % 2


def _through_pinhole(emitted: np.ndarray, radius: float) -> np.ndarray:
    """Convolve the emission with a pinhole whose radius is given in pixels."""
    from scipy.signal import fftconvolve

    if radius <= 0.5:
        return emitted
    disk = kernels.disk(radius)
    return np.maximum(np.stack([fftconvolve(plane, disk, mode="same") for plane in emitted]), 0)
