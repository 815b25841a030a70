"""The compression error of a JPEG.

Each coefficient of 8 x 8 pixels was rounded to a multiple of the step in its table (ITU-T T.81).
"""

from __future__ import annotations

import numpy as np
from PIL.JpegImagePlugin import JpegImageFile
from scipy import fft

BLOCK = 8  # side of a block in pixels


UNIT = 4 * BLOCK  # in pixels: at most four blocks per side of the finest plane share one block of the coarsest


LARGEST = 1024  # in pixels: of a larger picture only the middle with this side is used


CLASSES = 8  # number of equal classes of blocks, from the smoothest to the most detailed


# Weights of the mean square errors of Y, Cb and Cr in the mean square error of R, G and B (JFIF 1.02).
SHARES = (1.0, (0.344136**2 + 1.772**2) / 3, (1.402**2 + 0.714136**2) / 3)


def compression_error(image: JpegImageFile) -> float:
    """Estimate the root mean square error of a JPEG's pixels, on the 0..1 scale.

    The estimate uses the tables and the remaining coefficients. A coefficient that was kept has a rounding error of
    step / sqrt(12), rms. One that became 0 has an error of its own size. This is estimated from the share of zeros at
    its frequency, under the assumption that the coefficients have a Laplace distribution (Lam & Goodman 2000). The
    estimate is 0.75 to 0.93 times the true error on six photographs of quality 50 to 90. Subsampling of chroma is not
    counted.

    Args:
        image: an image opened by Pillow and loaded; grey or YCbCr.

    Returns:
        The error; 0.0 for other colours, and for pictures with a side below 32 pixels.
    """
    if image.mode not in ("L", "RGB") or image.info.get("adobe_transform") == 0 or min(image.size) < UNIT:
        return 0.0
    left, top = (max(0, size - LARGEST) // 2 // UNIT * UNIT for size in image.size)
    middle = image.crop((left, top, min(left + LARGEST, image.width), min(top + LARGEST, image.height)))
    planes = (middle if image.mode == "L" else middle.convert("YCbCr")).split()
    finest = [max(layer[axis] for layer in image.layer) for axis in (1, 2)]
    total = 0.0
    for plane, share, (_, across, down, table) in zip(planes, SHARES, image.layer, strict=False):
        stored = plane.reduce((finest[0] // across, finest[1] // down))
        steps = np.reshape(image.quantization[table], (BLOCK, BLOCK))
        total += share * float(lost(np.asarray(stored, np.float64) - 128, steps).mean())
    return total**0.5 / 255


def lost(plane: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Return the mean square errors, (8, 8), of the coefficients of a plane (H, W) whose first block is at its corner.

    Blocks of a photograph are smooth or detailed. So they are sorted by the number of coefficients they kept, and each
    eighth of them has its own Laplace scales.
    """
    rows, columns = (size // BLOCK for size in plane.shape)
    blocks = plane[: rows * BLOCK, : columns * BLOCK].reshape(rows, BLOCK, columns, BLOCK)
    became_0 = np.abs(fft.dctn(blocks, axes=(1, 3), norm="ortho")) < steps[:, None, :] / 2
    became_0 = became_0.swapaxes(1, 2).reshape(-1, BLOCK, BLOCK)
    order = np.argsort(-became_0.sum((1, 2)), kind="stable")
    shares = [
        (len(members) / len(order), became_0[members].mean(0))
        for members in np.array_split(order, min(CLASSES, len(order)))
    ]
    return sum((share * laplace_error(zeros, steps) for share, zeros in shares), np.zeros((BLOCK, BLOCK)))


def laplace_error(zeros: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Return the mean square error of Laplace distributed numbers that were rounded to multiples of ``steps``.

    P(|c| < step / 2) = 1 - exp(-t), where t = step / (2 b) and b is the scale of the distribution. So ``zeros``, the
    share that became 0, gives t. The other numbers have an error of about step^2 / 12.
    """
    t = -np.log1p(-np.clip(zeros, 1e-9, 1 - 1e-9))
    tail = np.exp(-t)
    square = (steps / (2 * t)) ** 2 * (2 - tail * (t * t + 2 * t + 2)) / (1 - tail)  # of the numbers that became 0
    return np.where(zeros < 1, zeros * square + (1 - zeros) * steps**2 / 12, 0.0)  # if all did, nothing was there
