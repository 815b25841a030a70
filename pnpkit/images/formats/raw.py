"""Camera raw files: told what they are and what to do, as what is shown of them elsewhere is a thumbnail."""

from __future__ import annotations

from pathlib import Path

from pnpkit.errors import InputError

# Fuji, Olympus, Panasonic, Minolta, Sigma; Canon's CR3 has its word four bytes later.
_MAGICS = (b"FUJIFILMCCD-RAW", b"IIRO", b"IIRS", b"MMOR", b"IIU\0", b"\0MRM", b"FOVb")


def is_raw(head: bytes) -> bool:
    """Whether a file of no known format begins as a camera's raw file does."""
    return head.startswith(_MAGICS) or head[4:11] == b"ftypcrx"


def refusal(path: Path) -> InputError:
    """The error for a camera raw file."""
    return InputError(
        f"{path}: expected an image, got a camera raw file, whose pixels are still to be developed: "
        "convert it to a 16-bit TIFF (with darktable, RawTherapee or dcraw) and give that"
    )
