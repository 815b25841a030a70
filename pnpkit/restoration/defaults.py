"""Every policy number of the restoration tasks, and the default denoisers."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pnpkit.images.picture import Picture


# The default denoiser of each task: a guided one where a second look gains (docs/lab-book.md).
DENOISERS = {"deblur": "euler-guided", "denoise": "euler-fast", "inpaint": "euler-fast", "upscale": "euler-guided"}


STAR = 100.0  # a star may become so many times as high as a blur has left it


def limits_of(picture: Picture) -> tuple[float, float]:
    """The box for the estimate: what the type holds; a float file may hold values beyond its darkest and brightest, and
    of a star that was blurred by far."""
    import numpy as np

    if picture.dtype.kind == "u":
        return (0.0, float(np.iinfo(picture.dtype).max) / picture.high)
    brightest = float(picture.pixels.max())
    darkest = (
        0.0 if picture.low >= 0 else -1.0
    )  # where no value is negative nothing is darker than the darkest: no rings
    return (darkest, 2.0 if brightest <= 1 else STAR * brightest)


NOISIEST = 40 / 255  # noise above this share of a picture's span stretches the span: the denoisers know up to 50 / 255


# Least strengths: without noise the data ask for none, and what is missing would stay as it was guessed.
FILLING, SHARPENING = 10 / 255, 2 / 255


COMPRESSED = 1.5  # the level that restores JPEGs best, times their error, and shows their blurs (lab book)


GUIDE = 1e-3  # relative residual at which a first restoration is good enough for a guide


DOUBTFUL = 0.5  # confidence of an estimated kernel below which the user is warned, and no guide is made with it


FREE_FORM_STRENGTH = 2 / 255  # least strength of forward-backward splitting with a free form


SMALLEST_STRENGTH = 0.1 / 255  # also for pictures without noise: something must regularise


# Errors of a kernel act like noise that no estimate sees; measured on real blurs (docs/lab-book.md).
KERNEL_ERROR, FREE_FORM_ERROR = 2 / 255, 4.5 / 255  # given or of a known form, and estimated as a free form
