r"""The choice between no blur, a named blur and a free form: the kernel whose residual spectrum is whitest.

For the right kernel K, the measured spectrum divided by the one that K and a typical photograph predict is white noise.
``blind.parametric.misfit`` says how far from white it is (Whittle 1953). A wrong kernel ruins a sharp picture, so a
named blur must have a smaller misfit than no blur, by ``NAMED``. The evidence for a free form is

    E = misfit(no blur) - misfit(K) + SPARSER (log s(no blur) / s(K) - USUAL),

s the sparsity of ``general.sparsity``: the picture behind a blur has fewer, stronger edges. A free form is taken from
``EVIDENCE`` on, if its misfit is smaller than that of a named blur by ``MARGIN``. Below that, down to ``POSSIBLE`` or
where the spectrum says no blur with little confidence, it is not sure, and the likeliest blur is the rival of that
answer. All misfits are of frequencies up to ``TOLD``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from pnpkit.blind.coarser import WIDE, doubled, halved, is_large
from pnpkit.blind.crops import telling
from pnpkit.blind.general import LARGEST, estimate_general, sparsity
from pnpkit.blind.parametric import (
    KernelEstimate,
    below,
    estimate_parametric,
    hardly_blurred,
    luminance_of,
    measure,
    misfit,
    says_nothing,
)
from pnpkit.errors import InputError
from pnpkit.kernels import ESTIMATED
from pnpkit.machine.phases import Listener, Phase, nobody

MARGIN = 1.0  # log likelihood: least gain of a free form over a named blur


# Log likelihood: least gain of a named blur over none. Gaussians from 0.8, disks and motions gained 4 to 70, sharp
# pictures lost 1 to 5.
NAMED = 3.0


SPARSER, USUAL = 10.0, 0.3  # weight of sparser edges in E, and how much sparser a free form makes sharp pictures, too


UNSURE = 0.49  # largest confidence in no blur where one is possible


EVIDENCE, POSSIBLE = 2.0, -4.0  # least E of a free form that is taken, and of one that is possible (lab book)


TOLD = 0.35  # cycles per pixel: a JPEG removes what is higher, and a shake is visible below


TRUSTED = 0.5  # confidence above which a named blur needs no search of a free form, and one found at half size is taken


HALVINGS = 2  # how often a picture is halved for a blur larger than those that are tried


CERTAIN = 0.95  # confidence in no blur above which none is searched either


DOUBTED = 0.05  # confidence of a named blur below which it is not taken: it is the rival of no blur


def estimate(
    image: np.ndarray,
    noise_level: float,
    form: str = "auto",
    told: Listener = nobody,
    trust: np.ndarray | None = None,
) -> KernelEstimate:
    """The blur of a picture, where ``form`` says what is known of it.

    Args:
        image, noise_level, told, trust: as those of ``likeliest_kernel``.
        form: ``auto``: nothing, ``likeliest_kernel``; ``gaussian``, ``motion``, ``disk``: the likeliest of that family,
            whose parameters are found; ``free``: a free form. There is a blur, then, so ``sharp`` is only the answer
            for a picture that is too small or constant.

    Raises:
        InputError: another form, and what ``likeliest_kernel`` refuses.
    """
    if form == "auto":
        return likeliest_kernel(image, noise_level, told, trust)
    if form not in ESTIMATED:
        raise InputError(f"expected a form of blur, one of {', '.join(ESTIMATED)}, got {form!r}")

    def at_one_size(image: np.ndarray, noise_level: float, told: Listener, trust: np.ndarray | None) -> KernelEstimate:
        told(Phase("blur"))
        if form != "free":
            return estimate_parametric(image, noise_level, (form,), trust)
        luminance, noise, trust = luminance_of(image, noise_level, trust)
        if says_nothing(luminance, trust):
            return KernelEstimate(np.ones((1, 1)), "sharp", 0.0, (("sharp", 0.0),))
        spectrum = below(measure(luminance, noise, trust), TOLD)
        free = estimate_general(luminance, told=told, misfit=lambda kernel: misfit(spectrum, kernel)[0], trust=trust)
        return KernelEstimate(free.kernel, "free-form", free.agreement, (("free-form", 0.0),))

    return at_sizes(at_one_size, HALVINGS, image, noise_level, trust, told)


def likeliest_kernel(
    image: np.ndarray, noise_level: float, told: Listener = nobody, trust: np.ndarray | None = None
) -> KernelEstimate:
    """The likeliest blur of a picture: none, a named one, or a free form. Deterministic.

    A picture that is large enough is looked at in half of its size, too, and so on (``blind.coarser``). A larger blur
    that is found there with confidence is the answer if it has more evidence at full size; where none was found at full
    size, if it is larger than those that were tried.

    Args:
        image: (H, W) or (H, W, C), finite floats on the 0..1 scale.
        noise_level: standard deviation of the noise in each channel, where it varies its root mean square.
        told: hears of the phases: blur, for named ones, then for each size of a free form.
        trust: (H, W), 0 where a pixel says nothing; see ``blind.trust``. None is 1 everywhere.

    Returns:
        ``spec`` is ``sharp`` (kernel 1 x 1), a named blur, or ``free-form``, whose confidence is the agreement of
        several searches. ``candidates`` are those of ``estimate_parametric`` and, where one was searched, the free form
        with its gain over what it must exceed. The likeliest is first, whether or not it is taken. ``rival`` is the
        likeliest blur where none is taken and that is not sure; the confidence is then below one half.

    Raises:
        InputError: the image has another shape or is not finite; the noise level is negative or not finite.
    """
    return at_sizes(likeliest_at_one_size, HALVINGS, image, noise_level, trust, told)


AtOneSize = Callable[[np.ndarray, float, Listener, "np.ndarray | None"], KernelEstimate]  # image, noise, told, trust


def at_sizes(
    at_one_size: AtOneSize,
    halvings: int,
    image: np.ndarray,
    noise_level: float,
    trust: np.ndarray | None,
    told: Listener,
) -> KernelEstimate:
    """What ``at_one_size`` finds in the picture, or a larger blur in at most so many halvings of it."""
    found = at_one_size(image, noise_level, told, trust)
    if not (halvings and is_large(image)):
        return found
    larger = doubled(at_sizes(at_one_size, halvings - 1, *halved(image, noise_level, trust), told))
    size = max(larger.kernel.shape)
    if larger.spec == "sharp" or size <= max(found.kernel.shape) or larger.confidence <= TRUSTED:
        return found
    if found.spec == "sharp":  # what fills the spectrum at full size tells against any blur
        return larger if size > WIDE else found
    luminance, noise, trust = luminance_of(image, noise_level, trust)
    better = evidence(luminance, noise, larger.kernel, trust) > evidence(luminance, noise, found.kernel, trust)
    return larger if better else found


def evidence(luminance: np.ndarray, noise: float, kernel: np.ndarray, trust: np.ndarray | None) -> float:
    """E of a kernel, in units of log likelihood: see above. Of no blur it is -SPARSER USUAL."""
    spectrum, part, one = below(measure(luminance, noise, trust), TOLD), telling(luminance, LARGEST), np.ones((1, 1))
    y, trust = luminance[part], None if trust is None else trust[part]
    sparser = math.log(sparsity(y, one, trust) / max(sparsity(y, kernel, trust), 1e-12))
    return weighed(misfit(spectrum, one)[0] - misfit(spectrum, kernel)[0], sparser)


def weighed(less: float, sparser: float) -> float:
    """E, from how much less the misfit is than that of no blur, and the logarithm of how much sparser the picture."""
    return less + SPARSER * (sparser - USUAL)


def likeliest_at_one_size(
    image: np.ndarray, noise_level: float, told: Listener, trust: np.ndarray | None
) -> KernelEstimate:
    """The likeliest of the blurs that are tried at one size: arguments and result as of ``likeliest_kernel``."""
    told(Phase("blur"))
    named = estimate_parametric(image, noise_level, trust=trust)
    luminance, noise, trust = luminance_of(image, noise_level, trust)
    if says_nothing(luminance, trust):
        return named
    spectrum = below(measure(luminance, noise, trust), TOLD)
    none = misfit(spectrum, np.ones((1, 1)))[0]
    gain = none - misfit(spectrum, named.kernel)[0]
    blurred = not hardly_blurred(named.spec) and gain >= NAMED
    if blurred and named.confidence > TRUSTED:
        return named
    if hardly_blurred(named.spec) and named.confidence > CERTAIN:
        return _as_sharp(named, named.confidence)
    free = estimate_general(luminance, told=told, misfit=lambda kernel: misfit(spectrum, kernel)[0], trust=trust)
    less = none - misfit(spectrum, free.kernel)[0]
    over = weighed(less, free.sparser) - EVIDENCE
    over = min(over, less - gain - MARGIN) if blurred else over
    if over > 0:
        others = tuple((spec, score - over) for spec, score in named.candidates)
        return KernelEstimate(free.kernel, "free-form", free.agreement, (("free-form", 0.0), *others))
    candidates = tuple(sorted((*named.candidates, ("free-form", over)), key=lambda pair: -pair[1]))
    if blurred and named.confidence > DOUBTED:
        return replace(named, candidates=candidates)
    rival = KernelEstimate(free.kernel, "free-form", free.agreement, (("free-form", 0.0),))
    confidence = named.confidence if hardly_blurred(named.spec) else 1 - named.confidence
    if not hardly_blurred(named.spec) and gain > max(0.0, less):
        rival, over = replace(named, rival=None), gain - NAMED
    if not blurred and over <= POSSIBLE - EVIDENCE and confidence > UNSURE:
        return replace(_as_sharp(named, confidence), candidates=candidates)
    confidence = min(confidence, UNSURE * min(1.0, max(0.0, over / (POSSIBLE - EVIDENCE))))
    return KernelEstimate(np.ones((1, 1)), "sharp", confidence, candidates, rival)


def _as_sharp(named: KernelEstimate, confidence: float) -> KernelEstimate:
    """No blur, instead of one that is hardly there or that only missing detail speaks for."""
    return KernelEstimate(np.ones((1, 1)), "sharp", confidence, named.candidates)
