"""Every policy number of the restoration tasks, and the default denoisers."""

from __future__ import annotations

# The default denoiser of each task: a guided one where a second pass gains (docs/lab-book).
DENOISERS = {"deblur": "euler-guided", "denoise": "euler-fast", "inpaint": "euler-fast", "upscale": "euler-guided"}


QUICK, QUICK_STEPS = "wavelet", 1  # denoiser and evaluations of a quick run


DIRECTIONS = "slices"  # how the denoiser looks at a volume, see ``networks.volumes``


# Full width at half the maximum, in pixels, of a star in the result: with 1.2 its light is off by 1 to 3 %, with 0 by 6
# to 8 % (docs/lab-book). At most so wide, and how far a kernel may be off what a point of that width and k make of it.
POINT, WIDEST_POINT, POINT_MISFIT = 1.5, 16.0, 0.03


# How the note on a run begins whose points have a width: what it undoes is the rest of the kernel that is named.
POINTS_STAY = "points stay"


STARRY = 1.5  # times the strength of photographs: the sky is calmer, stars lose no light (docs/lab-book)


POINT_ERROR = 0.01  # of a star's light: what its point-spread function is off by (docs/lab-book)


STAR = 100.0  # the restored peak of a star may be up to 100 times that of the blurred one


NOISIEST = 40 / 255  # noise above this share of a picture's span stretches the span: the denoisers know up to 50 / 255


# Least strengths of inpaint and upscale: at strength 0 what is missing would stay as it was guessed.
FILLING, SHARPENING = 10 / 255, 2 / 255


COMPRESSED = 1.5  # least noise level of a JPEG, in units of its compression error (docs/lab-book)


# Relative residual at which a first restoration is good enough for a guide. 1e-3 takes 6 to 8 steps, 3e-3 takes 5 and
# 1e-2 takes 3 or 4; with the last a box blur loses up to 0.13 dB in the end (docs/lab-book).
GUIDE = 3e-3


SMALL, EXACT, ROUGH = 100_000, 1e-4, 1e-3


def tolerance(pixels: int) -> float:
    """The relative residual that a run stops at, where none is given: ``EXACT`` up to ``SMALL`` pixels, then ``ROUGH``.

    Measured on a crop of 128 x 128 pixels (docs/lab-book): the second pass takes 5 or 6 steps to 1e-3 and 8 to 11 to
    1e-4, for 0.01 dB more to 0.03 less. Where pictures are larger than ``SMALL`` the residual of a deblurring is that
    of the frame: what lies beyond it takes many steps, for 0.02 to 0.1 dB.
    """
    return EXACT if pixels <= SMALL else ROUGH


DOUBTFUL = 0.5  # confidence of an estimated kernel below which the user is warned, and no guide is made with it


FREE_FORM_STRENGTH = 2 / 255  # least strength of forward-backward splitting with a free form


SMALLEST_STRENGTH = 0.1 / 255  # of any run: without noise, too, something must regularise


# Level of the noise that an inexact kernel acts like, measured on real blurs (docs/lab-book): of a kernel that was
# given or has a known form, and of an estimated free form.
KERNEL_ERROR, FREE_FORM_ERROR = 2 / 255, 4.5 / 255


# Of the variances of readings: the local means they are taken of first, in pixels.
SMOOTHING = 2.0


# Of saturated pixels: noise above this share of the range makes equal readings a ceiling; pixels around them of which
# nothing is known; readings so many noise levels below the ceiling belong to it; the share of a channel that must be
# left for the others to be taken for saturated; the edge of a saturated part, as a share of its depth.
NOISY, MARGIN, SLACK, LEFT, EDGE = 0.5 / 255, 1, 3.0, 0.1, 0.3


# The box reaches so many times the ceiling's height: of lamps, and of what needs no more to be explained, such as
# lighted signs and walls (docs/lab-book).
LAMP, DIM = 64.0, 1.5


BESIDE_LAMPS = 2  # pixels around saturated and unknown ones that are left out, too, where a blur is estimated
