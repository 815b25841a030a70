r"""The choice between no blur, a named blur and a free form: the kernel whose residual spectrum is whitest.

For the right kernel K, the measured spectrum divided by the one that K and a typical photograph predict is white noise.
``blind.parametric.misfit`` says how far from white it is (Whittle 1953). A wrong kernel ruins a sharp picture, so a
named blur must have a smaller misfit than no blur, by ``NAMED``. A free form has many more parameters: its misfit must
be smaller than that of the named blur by ``MARGIN``, and than that of no blur by ``EVIDENCE``. All misfits are of
frequencies up to ``TOLD``.
"""

from __future__ import annotations

import numpy as np

from pnpkit.blind.general import SMALLEST, estimate_general
from pnpkit.blind.parametric import (
    KernelEstimate,
    below,
    estimate_parametric,
    hardly_blurred,
    luminance_of,
    measure,
    misfit,
)
from pnpkit.errors import InputError
from pnpkit.kernels import ESTIMATED
from pnpkit.machine.phases import Listener, Phase, nobody

MARGIN = 1.0  # less misfit than a named blur, in units of log likelihood


NAMED = 3.0  # less than no blur: Gaussians from 0.8, disks, motions gained 4 to 70, sharp pictures lost 1 to 5


EVIDENCE = 10.0  # less than no blur: detected shakes gained 12 to 51, sharp pictures up to 5 (lab book)


TOLD = 0.35  # cycles per pixel: a JPEG removes what is higher, and a shake is visible below


TRUSTED = 0.5  # confidence in a named blur above which no free form is searched: it would be a worse estimate


def estimate(image: np.ndarray, noise_level: float, form: str = "auto", told: Listener = nobody) -> KernelEstimate:
    """The blur of a picture, where ``form`` says what is known of it.

    Args:
        image, noise_level, told: as those of ``likeliest_kernel``.
        form: ``auto``: nothing, ``likeliest_kernel``; ``gaussian``, ``motion``, ``disk``: the likeliest of that family,
            whose parameters are found; ``free``: a free form. There is a blur, then, so ``sharp`` is only the answer
            for a picture that is too small or constant.

    Raises:
        InputError: another form, and what ``likeliest_kernel`` refuses.
    """
    if form == "auto":
        return likeliest_kernel(image, noise_level, told)
    if form not in ESTIMATED:
        raise InputError(f"expected a form of blur, one of {', '.join(ESTIMATED)}, got {form!r}")
    told(Phase("blur"))
    if form != "free":
        return estimate_parametric(image, noise_level, (form,))
    luminance, _ = luminance_of(image, noise_level)
    if min(luminance.shape) < SMALLEST or np.ptp(luminance) == 0:
        return KernelEstimate(np.ones((1, 1)), "sharp", 0.0, (("sharp", 0.0),))
    free = estimate_general(luminance, told=told)
    return KernelEstimate(free.kernel, "free-form", free.agreement, (("free-form", 0.0),))


def likeliest_kernel(image: np.ndarray, noise_level: float, told: Listener = nobody) -> KernelEstimate:
    """The likeliest blur of a picture: none, a named one, or a free form. Deterministic.

    Args:
        image: (H, W) or (H, W, C), finite floats on the 0..1 scale.
        noise_level: standard deviation of the white noise in each channel.
        told: hears of the phases: blur, for named ones, then for each size of a free form.

    Returns:
        ``spec`` is ``sharp`` (kernel 1 x 1), a named blur, or ``free-form``, whose confidence is the agreement of
        several searches. ``candidates`` are those of ``estimate_parametric`` and, where one was searched, the free form
        with its gain over what it must exceed. The likeliest is first, whether or not it is taken.

    Raises:
        InputError: the image has another shape or is not finite; the noise level is negative or not finite.
    """
    told(Phase("blur"))
    named = estimate_parametric(image, noise_level)
    luminance, noise = luminance_of(image, noise_level)
    if min(luminance.shape) < SMALLEST or np.ptp(luminance) == 0:
        return named
    spectrum = below(measure(luminance, noise), TOLD)
    gain = misfit(spectrum, np.ones((1, 1)))[0] - misfit(spectrum, named.kernel)[0]
    trusted = named.confidence > TRUSTED
    if hardly_blurred(named.spec):
        named = _as_sharp(named, named.confidence)
    elif gain < NAMED:
        named, trusted = _as_sharp(named, 1 - named.confidence), False
    if trusted:
        return named
    free = estimate_general(luminance, told=told)
    left = misfit(spectrum, free.kernel)[0]
    over_named, over_none = (misfit(spectrum, kernel)[0] - left for kernel in (named.kernel, np.ones((1, 1))))
    gain = min(over_named - MARGIN, over_none - EVIDENCE)
    if gain <= 0:
        candidates = sorted((*named.candidates, ("free-form", gain)), key=lambda pair: -pair[1])
        return KernelEstimate(named.kernel, named.spec, named.confidence, tuple(candidates))
    others = tuple((spec, score - gain) for spec, score in named.candidates)
    return KernelEstimate(free.kernel, "free-form", free.agreement, (("free-form", 0.0), *others))


def _as_sharp(named: KernelEstimate, confidence: float) -> KernelEstimate:
    """No blur, instead of one that is hardly there or that only missing detail speaks for."""
    return KernelEstimate(np.ones((1, 1)), "sharp", confidence, named.candidates)
