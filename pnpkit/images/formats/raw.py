"""Camera raw files, developed to linear light by rawpy (LibRaw). Other readers show only their thumbnail."""

from __future__ import annotations

from pathlib import Path

from pnpkit.errors import InputError, one_line
from pnpkit.images.formats.codec import Codec
from pnpkit.images.picture import Stored, check_header

# Fuji, Olympus, Panasonic, Minolta, Sigma. Canon's CR2 and CR3 have their mark some bytes later. DNG, NEF and ARW are
# TIFFs that hold the data of a sensor.
_MAGICS = (b"FUJIFILMCCD-RAW", b"IIRO", b"IIRS", b"MMOR", b"IIU\0", b"\0MRM", b"FOVb")


EXTENSIONS = (".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2", ".pef", ".srw")


def is_raw(head: bytes) -> bool:
    """Whether a file begins like a camera's raw file that is no TIFF."""
    return head.startswith(_MAGICS) or head[4:11] == b"ftypcrx" or head[8:11] == b"CR\x02"


def decode(path: Path, head: bytes, most: int) -> Stored:
    """Develop the data of the sensor: white balance of the camera, sRGB primaries, linear light, 16 bits, upright.

    Raises:
        InputError: the library is missing or cannot develop the file. The message says what else to do.
    """
    try:
        import rawpy
    except ImportError:
        raise refusal(path, "install the extra (pip install 'pnpkit[raw]'), or ") from None
    try:
        with rawpy.imread(str(path)) as camera:
            check_header(path, camera.sizes.width, camera.sizes.height, most)
            samples = camera.postprocess(
                output_bps=16,
                gamma=(1, 1),
                no_auto_bright=True,
                use_camera_wb=True,
                output_color=rawpy.ColorSpace.sRGB,
            )
    except rawpy.LibRawError as error:
        text = one_line(error) or type(error).__name__
        raise refusal(path, f"which LibRaw could not do ({text.removeprefix('b').strip(chr(39))}); ") from error
    return Stored(samples, kind="RAW", notes=("developed to linear light with the white balance of the camera",))


def refusal(path: Path, advice: str) -> InputError:
    """Return the error for a camera raw file that cannot be developed here."""
    return InputError(
        f"{path}: expected an image, got a camera raw file, whose pixels are still to be developed: {advice}"
        "convert it to a 16-bit TIFF (with darktable, RawTherapee or dcraw) and give that"
    )


CODEC = Codec((), decode)  # recognised by bytes that are not at the start of the file
