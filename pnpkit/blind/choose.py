r"""Sharp, parametric or free-form? The kernel whose residual spectrum is whitest.

Dividing the measured spectrum by what a kernel K and a usual photograph behind it predict leaves noise, white, when K
is right; what is left is ``parametric.fit``'s misfit (Whittle 1953). A free form has many more parameters than a named
blur, so it must leave less by ``MARGIN``, and less than no blur by ``EVIDENCE``: a wrong kernel ruins a sharp picture.
Both on frequencies up to ``TOLD``.
"""

from __future__ import annotations

import numpy as np

from pnpkit.blind.general import SMALLEST, estimate_general
from pnpkit.blind.parametric import (
    KernelEstimate,
    below,
    estimate_parametric,
    fit,
    hardly_blurred,
    luminance_of,
    measure,
)

MARGIN = 1.0  # over a named blur, in log likelihood, as the misfits are
EVIDENCE = 10.0  # over no blur at all: shakes that were seen gained 12 to 51, sharp pictures up to 5 (lab book)
TOLD = 0.35  # cycles per pixel: a JPEG empties what is higher, and a shake shows below
TRUSTED = 0.5  # confidence in a named blur above which no free form is searched: it would take its name's place badly


def estimate_kernel(image: np.ndarray, noise_level: float) -> KernelEstimate:
    """The blur of a picture that nobody measured: none, a named one, or a free form. Deterministic.

    Args:
        image: (H, W) or (H, W, C), finite floats on the 0..1 scale.
        noise_level: standard deviation of the white noise in each channel.

    Returns:
        ``spec`` is ``sharp`` (kernel 1 x 1), a named blur, or ``free-form``; the confidence of the last is the
        agreement of several searches. ``candidates`` are as those of ``estimate_parametric``.

    Raises:
        InputError: an image of another shape or not finite; a noise level that is negative or not finite.
    """
    named = estimate_parametric(image, noise_level)
    if hardly_blurred(named.spec):
        candidates = (("sharp", 0.0), *(pair for pair in named.candidates if pair[0] != "sharp"))
        named = KernelEstimate(np.ones((1, 1)), "sharp", named.confidence, candidates)
    luminance, noise = luminance_of(image, noise_level)
    if named.confidence > TRUSTED or min(luminance.shape) < SMALLEST or np.ptp(luminance) == 0:
        return named
    spectrum = below(measure(luminance, noise), TOLD)
    free = estimate_general(luminance)
    left = fit(spectrum, free.kernel)[0]
    over_named, over_none = (fit(spectrum, kernel)[0] - left for kernel in (named.kernel, np.ones((1, 1))))
    gain = min(over_named - MARGIN, over_none - EVIDENCE)
    if gain <= 0:
        return KernelEstimate(named.kernel, named.spec, named.confidence, (*named.candidates, ("free-form", gain)))
    others = tuple((spec, score - gain) for spec, score in named.candidates)
    return KernelEstimate(free.kernel, "free-form", free.agreement, (("free-form", 0.0), *others))
