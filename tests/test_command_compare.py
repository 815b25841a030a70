"""Several methods on one picture: one kernel, one table, one picture, one page; names that are none are refused."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from scipy.ndimage import convolve

import pnpkit as pk
from pnpkit import kernels
from pnpkit.command import comparison
from pnpkit.errors import InputError
from pnpkit.images import files
from pnpkit.images.picture import Picture
from pnpkit.restoration.compare import Row

SHARP = skimage.data.chelsea()[60:140, 100:190].mean(-1).astype(np.float32) / 255
BLURRED = convolve(SHARP, kernels.parse("disk:2"), mode="reflect")


def test_rows_hold_what_each_method_did() -> None:
    found = pk.compare(BLURRED, "disk:2", ["wavelet", "richardson-lucy", "identity"], SHARP, noise_level=0.002)
    assert [row.name for row in found.rows] == ["wavelet", "richardson-lucy", "identity"]
    wavelet, lucy, _ = found.rows
    assert wavelet.psnr > found.psnr_input + 1 and lucy.psnr > found.psnr_input + 1
    assert "proven" in wavelet.guarantee and wavelet.run is not None and wavelet.steps == wavelet.run.steps
    assert lucy.guarantee.startswith("none") and lucy.steps == 30 and lucy.run is None
    assert all(row.image.shape == BLURRED.shape and row.image.dtype == BLURRED.dtype for row in found.rows)
    lines = str(found).splitlines()
    assert len(lines) == 5 and lines[0].split()[:2] == ["method", "PSNR"] and f"{wavelet.psnr:.2f}" in lines[2]
    np.testing.assert_array_equal(found.kernel, kernels.parse("disk:2"))


def test_integers_colours_and_estimates_go_in() -> None:
    colour = np.repeat(np.round(255 * BLURRED).astype(np.uint8)[..., None], 3, axis=2)
    estimate = pk.estimate_kernel(colour)
    found = pk.compare(colour, estimate, ["identity", "wiener"], max_steps=2)
    assert all(row.image.dtype == np.uint8 and row.psnr is None for row in found.rows)
    assert found.psnr_input is None and "PSNR" not in str(found) and "ESTIMATED" in found.kernel_note


@pytest.mark.parametrize(
    ("names", "reference", "message"),
    [
        (["wavelett"], None, "did you mean 'wavelet'"),
        (["richardson"], None, "richardson-lucy"),
        ([], None, "a list of names"),
        ("wavelet", None, "a list of names"),
        (["identity"], SHARP[1:], "not the same frame"),
    ],
)
def test_what_cannot_be_compared_is_refused(names: list[str], reference: np.ndarray | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        pk.compare(BLURRED, "disk:2", names, reference)


def test_the_command_writes_table_picture_and_page(cli, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    files.write(tmp_path / "a.png", Picture(BLURRED))
    files.write(tmp_path / "sharp.png", Picture(SHARP))
    words = ("compare", tmp_path / "a.png", "--with", "wavelet,richardson-lucy", "--kernel", "disk:2")
    more = ("--reference", tmp_path / "sharp.png", "--report", tmp_path / "pages", "--json", tmp_path / "r.json")
    code, text, error = cli(*words, *more)
    assert code == 0 and error == "" and "richardson-lucy" in text and "a-compared.png" in text
    rows = json.loads((tmp_path / "r.json").read_text())["rows"]
    assert [row["name"] for row in rows] == ["wavelet", "richardson-lucy"] and rows[0]["psnr"] > 20
    assert files.read(tmp_path / "a-compared.png").pixels.ndim == 3
    page = (tmp_path / "pages" / "a.html").read_text()
    assert page.count("<figure>") == 4 and f"{rows[1]['psnr']:.2f}" in page and "http:" not in page
    code, _, error = cli(*words)
    assert code == 2 and "--overwrite" in error
    code, _, error = cli("compare", tmp_path / "a.png", "--with", "wavelt", "--overwrite")
    assert code == 2 and "did you mean 'wavelet'" in error and len(error.splitlines()) == 1


def test_json_has_no_infinity_where_a_picture_is_its_reference() -> None:
    row = Row("identity", SHARP, math.inf, 0.1, 1, "none", True)
    found = comparison.fields("a.png", pk.Comparison((row,), np.ones((1, 1)), "", math.inf))
    assert found["psnr_input"] is None and found["rows"][0]["psnr"] is None
