r"""A Gaussian, a straight motion or a disk (lens out of focus), estimated from the spectrum of one picture.

Photographs have similar spectra, power laws. A blur multiplies the spectrum, and white noise adds to it:

    S(f) = |K(f)|^2 P(f) + nu^2,    log P(f) = b_0 + b_1 log(f / 0.1) + b_2 cos 2t + b_3 cos 4t + b_4 sin 2t

with the frequency in polar coordinates (f cycles per pixel, t its angle). For each blur K of a grid, b is fitted to the
measured spectrum. The blur that implies the most typical photograph wins. It is an estimate, for uniform blurs of these
three families only: a picture of a fence can look like a motion, and a blur of another kind like any of them or none.

Sources: Whittle 1953 (fitting spectra), Welch 1967 (measuring them), Field 1987 (the power law).
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
from scipy import fft, optimize, special

from pnpkit import kernels
from pnpkit.blind.crops import telling
from pnpkit.blind.trust import without
from pnpkit.errors import InputError

Blur = tuple[str, tuple[float, ...]]  # family and parameters, e.g. ("motion", (15.0, 30.0)); ("sharp", ()) is none


NAMES = ("sharp", "gaussian", "disk", "motion")  # families, of which sharp is none


# The blurs that are tried: standard deviations of Gaussians, lengths of motions, radii of disks, in pixels.
SIGMAS = np.geomspace(0.3, 6, 24)
LENGTHS = (3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 21, 23, 26, 29, 32, 35, 38, 41)
RADII = np.geomspace(1.25, 16, 24)


HARDLY = 0.65  # pixels: sharp pictures with fine texture look like narrower Gaussians, so these count as no blur


SEEN = 0.5  # blocks of which less is known than this share of the best one's are left out


BLOCK = 128  # pixels: the side of the blocks whose periodograms are averaged


SMALLEST = 32  # pixels: the spectrum of a smaller picture has too few frequencies to tell a blur


LARGEST = 1024  # pixels: of a larger picture the most telling part is used


LOWEST_CYCLES = 3.5  # per block: the window smears lower frequencies


QUANTISATION = 0.001  # 8 bits round with a standard deviation of 1 / (255 sqrt(12))


# Mean and spread of b over 100 sharp photographs (half of BSDS500 train), and the spread of what b does not explain in
# them. The brightness b_0 is practically free.
TYPICAL = np.array([-3.01, -2.66, -0.06, 0.27, 0.0])
SPREAD = np.array([3.0, 0.47, 0.36, 0.23, 0.20])
TEXTURE = 0.4


# Neighbouring frequencies share their texture. If each counts on its own, they outweigh the prior of photographs, and a
# third of the sharp training pictures is called blurred. If fifty count as one, none of this happens.
SHARED = 50


# Texture left by a blur of the right family on training pictures; a blur of no family leaves about 0.55.
USUAL_TEXTURE = 0.35


@dataclass(frozen=True, eq=False)
class KernelEstimate:
    """An estimated blur, and how far to trust it.

    Attributes:
        kernel: (h, w) float64 with odd sizes and sum 1, as made by ``pnpkit.kernels``.
        spec: ``gaussian:SIGMA``, ``motion:LENGTH,ANGLE`` or ``disk:RADIUS``, from which ``kernels.parse`` makes
            ``kernel``; ``free-form``; or ``sharp`` when no blur explains the picture better than none does (the kernel
            is then 1 x 1).
        confidence: 0..1. The posterior probability of all blurs like this one (same family, parameter within 25 %,
            angle within 12 degrees). It is lowered if the model explains the spectrum badly, as for other blurs.
        candidates: the best of each family as (spec, log posterior minus that of the likeliest), best first.
        rival: the likeliest blur where ``spec`` is ``sharp`` and that is not sure.
    """

    kernel: np.ndarray
    spec: str
    confidence: float
    candidates: tuple[tuple[str, float], ...]
    rival: KernelEstimate | None = None

    def __repr__(self) -> str:
        rows, columns = self.kernel.shape
        rival = "" if self.rival is None else f", perhaps {self.rival.spec}"
        return f"<KernelEstimate {self.spec} of {rows} x {columns}: confidence {self.confidence:.2f}{rival}>"


def estimate_parametric(
    image: np.ndarray, noise_level: float, families: tuple[str, ...] = NAMES, trust: np.ndarray | None = None
) -> KernelEstimate:
    """The most probable of: no blur, a Gaussian, a straight motion, a disk; or of some of them.

    Tried: sigma 0.3 to 6, lengths 3 to 41 at any angle, radii 1.25 to 16.

    The four have equal prior probability, and so have the blurs of a family's grid; otherwise the larger families would
    always win. A local search then refines the best blur of the grid. Deterministic; a second or two at any size.

    Args:
        image: (H, W) or (H, W, C), finite floats on the 0..1 scale. If a side is below 32 pixels or the image is
            constant, the answer is ``sharp`` with confidence 0. Below 128, the longest blurs are not tried.
        noise_level: standard deviation of the white noise in each channel, on the same scale.
        families: those that are tried, of NAMES; the confidence is that among them.
        trust: (H, W), 0 where a pixel says nothing; see ``blind.trust``. None: all say something.

    Raises:
        InputError: an image of another shape or not finite; a noise level that is negative or not finite.
    """
    luminance, noise, trust = luminance_of(image, noise_level, trust)
    if says_nothing(luminance, trust):
        return KernelEstimate(np.ones((1, 1)), "sharp", 0.0, (("sharp", 0.0),))
    spectrum = measure(luminance, noise, trust)
    blurs = [blur for blur in grid(spectrum.block) if blur[0] in families]
    family_size = Counter(family for family, _ in blurs)
    log_prior = np.array([-math.log(family_size[family]) for family, _ in blurs])
    log_posterior = log_prior - np.array([misfit(spectrum, make(blur))[0] for blur in blurs])
    order = np.argsort(-log_posterior)
    winner = _refine(spectrum, blurs[order[0]])

    posterior = np.exp(log_posterior - log_posterior.max())
    like = np.array([_alike(blur, winner) for blur in blurs])
    texture = max(misfit(spectrum, make(winner))[1], USUAL_TEXTURE)
    confidence = posterior[like].sum() / posterior.sum() * (USUAL_TEXTURE / texture) ** 4

    candidates = {winner[0]: (_spec(winner), 0.0)}
    for i in order:
        candidates.setdefault(blurs[i][0], (_spec(blurs[i]), float(log_posterior[i] - log_posterior.max())))
    return KernelEstimate(make(winner), _spec(winner), float(confidence), tuple(candidates.values()))


def says_nothing(luminance: np.ndarray, trust: np.ndarray | None) -> bool:
    """Whether a picture is too small or too flat to tell a blur, or all of it is unknown."""
    unknown = trust is not None and not (trust > 0).any()
    return min(luminance.shape) < SMALLEST or float(np.ptp(luminance)) == 0 or unknown


def luminance_of(
    image: np.ndarray, noise_level: float, trust: np.ndarray | None = None
) -> tuple[np.ndarray, float, np.ndarray | None]:
    """The mean of the channels, (H, W), of at most 1024 x 1024 telling pixels, what has no trust filled smoothly; its
    noise level; and the trust in these pixels."""
    image = np.asarray(image, dtype=np.float64)
    if image.ndim not in (2, 3) or image.size == 0:
        raise InputError(f"expected an image (H, W) or (H, W, C), got shape {image.shape}")
    if not np.isfinite(image).all():
        raise InputError("expected a finite image, got NaN or infinity")
    if not 0 <= noise_level < math.inf:
        raise InputError(f"a noise level is finite and at least 0, got {noise_level:g}")
    channels = np.atleast_3d(image)
    if max(image.shape[:2]) > LARGEST:
        part = telling(channels.mean(-1), LARGEST)
        channels, trust = channels[part], None if trust is None else trust[part]
    if (channels == channels[..., :1]).all():  # grey: averaging equal channels removes no noise
        return without(channels[..., 0], trust), noise_level, trust
    return without(channels.mean(-1), trust), noise_level / math.sqrt(channels.shape[-1]), trust


def grid(block: int) -> list[Blur]:
    """The blurs to try. They are shorter than a third of a block, as far as its window resolves frequencies."""
    blurs: list[Blur] = [("sharp", ())]
    blurs += [("gaussian", (float(sigma),)) for sigma in SIGMAS if 6 * sigma < block / 3]
    blurs += [("disk", (float(radius),)) for radius in RADII if 2 * radius < block / 3]
    for length in LENGTHS:
        step = 5 * math.ceil(12 / length)  # degrees; the ends of a short segment hardly move
        if length < block / 3:
            blurs += [("motion", (float(length), float(angle))) for angle in range(0, 180, step)]
    return blurs


def make(blur: Blur) -> np.ndarray:
    """The kernel of a blur; 1 x 1 for none."""
    family, parameters = blur
    return np.ones((1, 1)) if family == "sharp" else kernels.FAMILIES[family][0](*parameters)


@dataclass(frozen=True, eq=False)
class Spectrum:
    """The measured spectrum at N frequencies of one half plane, and what its model needs.

    Attributes:
        block: side of the blocks, pixels.
        used: (block, block // 2 + 1) booleans, the frequencies of ``rfft2`` that are used.
        log_power: (N,), log of the averaged periodogram; white noise has the power nu^2 at each frequency.
        chance: mean square of log_power about the logarithm of the true spectrum.
        design: (N, 5), the columns that b multiplies.
        noise_power: nu^2.
        window_correlation: (block, block), of the window with itself; it describes how the window smooths a spectrum.
    """

    block: int
    used: np.ndarray
    log_power: np.ndarray
    chance: float
    design: np.ndarray
    noise_power: float
    window_correlation: np.ndarray


def measure(luminance: np.ndarray, noise: float, trust: np.ndarray | None = None) -> Spectrum:
    """Mean of |rfft2(w u)|^2 over blocks u that overlap by half, w a Hann window with ||w|| = 1 (Welch).

    Where nothing is known, the picture is smooth. So a block of which the share s of w^2 is known has s times the power
    of a whole one: the sum of the powers is divided by the sum of the shares.

    A mean of m independent periodograms is S(f) times a Gamma(m) / m variable. Its logarithm has mode 0, which a robust
    fit finds, and mean square trigamma(m) + (digamma(m) - log m)^2.
    """
    block = min(BLOCK, *luminance.shape) // 2 * 2
    hann = np.hanning(block + 1)[:-1]
    window = np.outer(hann, hann)
    window /= np.linalg.norm(window)
    rows, columns = (_starts(size, block) for size in luminance.shape)
    known = np.ones(luminance.shape) if trust is None else (trust > 0).astype(float)
    places = [np.s_[i : i + block, j : j + block] for i in rows for j in columns]
    shares = np.array([np.sum(known[place] * window**2) for place in places])
    kept = shares >= SEEN * shares.max()
    power = np.zeros((block, block // 2 + 1))
    for place in itertools.compress(places, kept):
        piece = luminance[place]
        centred = piece - np.sum(piece * window**2)
        power += np.abs(fft.rfft2(window * centred)) ** 2 / shares[kept].sum()

    fy, fx = np.meshgrid(fft.fftfreq(block), fft.rfftfreq(block), indexing="ij")
    f, t = np.hypot(fy, fx), np.arctan2(fy, fx)
    used = (f > LOWEST_CYCLES / block) & (f <= 0.5) & ((fx > 0) | (fy > 0))
    used &= np.indices(f.shape).sum(0) % 2 == 0  # every other one: the window makes neighbours nearly equal
    f, t = f[used], t[used]
    design = np.stack([np.ones_like(f), np.log(f / 0.1), np.cos(2 * t), np.cos(4 * t), np.sin(2 * t)], axis=1)

    wide = fft.ifft2(np.abs(fft.fft2(window, (2 * block, 2 * block))) ** 2).real
    lags = fft.fftfreq(block, 1 / block).astype(int)
    across, along = _independent_blocks(rows, wide[:, 0]), _independent_blocks(columns, wide[0])
    m = max(1.0, across * along * float((kept * shares).mean()))
    chance = float(special.polygamma(1, m) + (special.digamma(m) - math.log(m)) ** 2)
    noise_power = max(noise, QUANTISATION) ** 2
    return Spectrum(block, used, np.log(power[used] + 1e-12), chance, design, noise_power, wide[np.ix_(lags, lags)])


def below(spectrum: Spectrum, highest: float) -> Spectrum:
    """The spectrum at frequencies up to ``highest``, in cycles per pixel (length of (fy, fx))."""
    f = np.hypot(fft.fftfreq(spectrum.block)[:, None], fft.rfftfreq(spectrum.block)[None, :])
    kept, used = (f <= highest)[spectrum.used], spectrum.used & (f <= highest)
    return replace(spectrum, used=used, log_power=spectrum.log_power[kept], design=spectrum.design[kept])


def _starts(size: int, block: int) -> np.ndarray:
    """The first pixels of blocks along an axis that cover it and overlap by at least half."""
    return np.linspace(0, size - block, math.ceil(2 * (size - block) / block) + 1).round().astype(int)


def _independent_blocks(starts: np.ndarray, correlation: np.ndarray) -> float:
    """n^2 / sum_ij c(s_i - s_j)^2: the number of independent blocks that n overlapping ones are worth."""
    shifts = np.abs(starts[:, None] - starts[None, :])
    overlap = shifts < len(correlation) // 2
    return len(starts) ** 2 / float(np.sum(correlation[shifts[overlap]] ** 2))


def response(spectrum: Spectrum, kernel: np.ndarray) -> np.ndarray:
    """|K(f)|^2 smoothed by the window, (N,): the transform of (k * k)(lag) (w * w)(lag), * being correlation."""
    power = np.abs(fft.fft2(kernel, (spectrum.block, spectrum.block))) ** 2
    seen = fft.rfft2(fft.ifft2(power).real * spectrum.window_correlation).real
    return np.maximum(seen[spectrum.used], 1e-12)


def misfit(spectrum: Spectrum, kernel: np.ndarray) -> tuple[float, float]:
    r"""min_b sum_f rho(r_f / TEXTURE) / SHARED + 1/2 sum_i ((b_i - TYPICAL_i) / SPREAD_i)^2, r = log power - log S(b).

    rho(q) = 5/2 log(1 + q^2 / 4) belongs to Student's t with 4 degrees of freedom: straight edges make lines in a
    spectrum that no b explains. Solved by Gauss-Newton with the weights of rho, from b = TYPICAL. The scale is that of
    texture only, since chance averages out over SHARED frequencies and texture does not.

    Returns:
        The minimum, up to a constant the negative log posterior of the blur; and the texture there, the root mean
        square of r without the share of chance.
    """
    X, gain = spectrum.design, response(spectrum, kernel)
    low = X[:, 1] < X[:, 1].min() + math.log(2)  # brightness from the lowest octave, where blur and noise matter least
    b = TYPICAL.copy()
    b[0] = np.median(spectrum.log_power[low] - X[low, 1:] @ b[1:])
    best = (math.inf, math.inf)
    for _ in range(5):
        signal = gain * np.exp(X @ b)
        r = spectrum.log_power - np.log(signal + spectrum.noise_power)
        q2 = (r / TEXTURE) ** 2
        unusual = (b - TYPICAL) / SPREAD
        value = 2.5 * np.log1p(q2 / 4).sum() / SHARED + 0.5 * unusual @ unusual
        best = min(best, (float(value), math.sqrt(max(0.0, float(np.mean(r**2)) - spectrum.chance))))
        J = X * (signal / (signal + spectrum.noise_power))[:, None]
        weight = 1.25 / (1 + q2 / 4) / (TEXTURE**2 * SHARED)
        hessian = J.T @ (J * weight[:, None]) + np.diag(SPREAD**-2)
        step = np.linalg.solve(hessian, J.T @ (weight * r) - unusual / SPREAD)
        b = b + np.clip(step, -1.5, 1.5)  # a step from far away overshoots
        if np.abs(step).max() < 0.01:
            break
    return best


def _refine(spectrum: Spectrum, blur: Blur) -> Blur:
    """The best blur near one of the grid, rounded to the digits of a spec."""
    family, start = blur
    if family == "sharp":
        return blur
    spacing = (0.1 * start[0], 5.0)[: len(start)]
    share = {"gaussian": 9, "motion": 2, "disk": 3}[family]  # the kernel stays within the block
    least = {"gaussian": 0.2, "motion": 1.0, "disk": 0.6}[family]
    bounds = ((least, spectrum.block / share), (-30.0, 210.0))[: len(start)]
    simplex = np.array(start) + np.vstack([np.zeros(len(start)), np.diag(spacing)])
    found = optimize.minimize(
        lambda p: misfit(spectrum, make((family, tuple(p))))[0],
        start,
        method="Nelder-Mead",
        bounds=bounds,
        options={"initial_simplex": simplex, "maxfev": 60, "xatol": 0.01, "fatol": 0.001},
    ).x
    if family != "motion":
        return family, (round(float(found[0]), 2),)
    return family, (round(float(found[0]), 1), float(round(found[1]) % 180))


def _spec(blur: Blur) -> str:
    """The spec of a blur, such as gaussian:1.6."""
    family, parameters = blur
    return family if family == "sharp" else f"{family}:{','.join(f'{p:.4g}' for p in parameters)}"


def _alike(blur: Blur, other: Blur) -> bool:
    """Whether two blurs are practically the same: parameter within 25 %, angle within 12 degrees."""
    if _is_sharp(blur) or _is_sharp(other):
        return _is_sharp(blur) and _is_sharp(other)
    if blur[0] != other[0] or abs(blur[1][0] - other[1][0]) > 0.25 * other[1][0]:
        return False
    return blur[0] != "motion" or abs((blur[1][1] - other[1][1] + 90) % 180 - 90) <= 12


def _is_sharp(blur: Blur) -> bool:
    """Whether a blur is none, or a Gaussian narrower than ``HARDLY``."""
    return blur[0] == "sharp" or (blur[0] == "gaussian" and blur[1][0] < HARDLY)


def hardly_blurred(spec: str) -> bool:
    """Whether a spec names no blur, or a Gaussian too narrow to see."""
    family, _, parameters = spec.partition(":")
    return _is_sharp((family, tuple(float(p) for p in parameters.split(",") if p)))
