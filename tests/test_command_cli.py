"""The command line as a user meets it: the main job, and one clear line for everything that cannot be done."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from click.testing import CliRunner

from pnpkit.command.cli import program
from pnpkit.images import files
from pnpkit.images.picture import Picture

FOLDER = Path(__file__).parent.parent / "data" / "images"


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A small sharp picture."""
    crop = files.read(FOLDER / "cat.png").pixels[60:124, 100:180]
    files.write(tmp_path / "sharp.png", Picture(crop))
    return tmp_path / "sharp.png"


@pytest.fixture
def blurred(small: Path, cli) -> Path:  # type: ignore[no-untyped-def]
    path = small.with_name("blurred.png")
    code, out, _ = cli("blur", small, "--kernel", "motion:5,30", "--noise-level", "0.01", "-o", path)
    assert code == 0 and "blurred by motion:5,30" in out
    return path


@pytest.mark.parametrize("denoiser", ["euler", "dncnn"])
def test_main_job(cli, small: Path, blurred: Path, denoiser: str) -> None:  # type: ignore[no-untyped-def]
    out, report = small.with_name("out.png"), small.with_name("r.json")
    code, text, error = cli(
        "deblur", blurred, "--kernel", "motion:5,30", "--denoiser", denoiser, "--reference", small,
        "-o", out, "--json", report, "--max-steps", 30,
    )  # fmt: skip
    assert code == 0
    assert all(line.startswith(f"{blurred}: ") for line in error.splitlines()), "at most progress, on a slow machine"
    data = json.loads(report.read_text())
    fields = {
        "status",
        "steps",
        "residual",
        "tau",
        "L",
        "noise_level",
        "strength",
        "certificate",
        "seconds",
        "versions",
    }
    assert fields <= set(data) and {"lipschitz", "averagedness", "side", "method", "text"} <= set(data["certificate"])
    assert data["psnr"] > data["psnr_input"] + 2 and f"{data['psnr']:.2f} dB" in text
    assert files.read(out).pixels.shape == files.read(blurred).pixels.shape
    if denoiser == "euler":
        assert data["certificate"]["side"] == "proven" and data["certificate"]["averagedness"] < 1
        assert data["proof"]["existence"] == "bounded" and "convergence proven" in text
    else:
        assert data["certificate"]["averagedness"] is None and "nothing is guaranteed" in text


def test_denoise_and_default_output_name(cli, small: Path) -> None:  # type: ignore[no-untyped-def]
    summary = small.with_name("summary.json")
    code, text, _ = cli("denoise", small, "--noise-level", "0.05", "--json", summary)
    assert code == 0 and small.with_name("sharp-denoised.png").exists() and "stability proven" in text
    found = json.loads(summary.read_text())
    assert found["status"] == "applied" and "distances never grow" in found["guarantee"] and "steps" not in text


def test_the_reference_is_compared_by_the_values_in_the_files(cli, small: Path) -> None:  # type: ignore[no-untyped-def]
    stored = np.rint(255 * files.read(small).pixels).astype(np.float32)
    tifffile.imwrite(small.with_name("float.tif"), stored, photometric="rgb")
    for name, other in (("sharp.png", "float.tif"), ("float.tif", "sharp.png")):
        out, summary = small.with_name(f"out-{name}"), small.with_name("summary.json")
        source, reference = small.with_name(name), small.with_name(other)
        words = ("--denoiser", "identity", "--reference", reference, "--json", summary, "-o", out, "--overwrite")
        assert cli("denoise", source, *words)[0] == 0

        def refuse(word: str) -> None:
            raise AssertionError(f"{word} is no JSON")

        found = json.loads(summary.read_text(), parse_constant=refuse)
        assert found["psnr"] is None or found["psnr"] > 100, "equal files: infinite, or what rounding leaves"


def test_noise_may_leave_the_scale_of_a_float_file(cli, small: Path) -> None:  # type: ignore[no-untyped-def]
    sharp = files.read(small).pixels.astype(np.float32)
    noisy = sharp + 0.05 * np.random.default_rng(0).standard_normal(sharp.shape).astype(np.float32)
    assert noisy.min() < 0 or noisy.max() > 1
    tifffile.imwrite(small.with_name("noisy.tif"), noisy, photometric="rgb")
    code, text, _ = cli("denoise", small.with_name("noisy.tif"), "--denoiser", "identity", "--reference", small)
    assert code == 0 and "PSNR 26." in text


def test_the_middle_of_alpha_goes_with_the_valid_part(cli, small: Path) -> None:  # type: ignore[no-untyped-def]
    picture = files.read(small)
    alpha = np.zeros(picture.pixels.shape[:2], np.uint8)
    alpha[28:36, 36:44] = 255
    files.write(small.with_name("alpha.png"), replace(picture, alpha=alpha))
    out = small.with_name("out.png")
    assert cli("blur", small.with_name("alpha.png"), "--kernel", "box:11", "-o", out)[0] == 0
    np.testing.assert_array_equal(files.read(out).alpha, alpha[5:-5, 5:-5])


def test_where_no_blur_can_be_told_it_says_so(cli, small: Path) -> None:  # type: ignore[no-untyped-def]
    tiny = small.with_name("tiny.png")
    files.write(tiny, Picture(files.read(small).pixels[:20, :20]))
    code, text, _ = cli("deblur", tiny, "--max-steps", 1)
    assert code == 0 and "too small or too flat to tell a blur" in text


def test_kernel_auto_says_that_it_is_an_estimate(cli, blurred: Path) -> None:  # type: ignore[no-untyped-def]
    code, text, _ = cli("deblur", blurred, "--max-steps", 1)
    assert code == 0 and "estimated, " in text and "noise (" in text


@pytest.mark.parametrize("kind", ["grey", "alpha", "uint16", "float"])
def test_depth_alpha_and_grey_are_kept(cli, tmp_path: Path, kind: str) -> None:  # type: ignore[no-untyped-def]
    pixels = files.read(FOLDER / "cat.png").pixels[40:72, 40:80]
    picture = {
        "grey": Picture(pixels.mean(-1)),
        "alpha": Picture(pixels, alpha=np.arange(32 * 40, dtype=np.uint8).reshape(32, 40) % 251),
        "uint16": Picture(pixels, dtype=np.dtype(np.uint16), high=65535.0),
        "float": Picture(pixels.astype(np.float32), dtype=np.dtype(np.float32), high=1.0),
    }[kind]
    end = ".tif" if kind == "float" else ".png"
    source, out = tmp_path / f"in{end}", tmp_path / f"out{end}"
    files.write(source, picture)
    code, _, error = cli("deblur", source, "--kernel", "gaussian:1", "-o", out, "--max-steps", 2, "--quiet")
    assert code == 0 and error == ""
    before, after = files.read(source), files.read(out)
    assert after.dtype == before.dtype and after.pixels.shape == before.pixels.shape
    if before.alpha is not None:
        assert after.alpha is not None
        np.testing.assert_array_equal(after.alpha, before.alpha)


def test_several_images_one_bad(cli, small: Path, blurred: Path) -> None:  # type: ignore[no-untyped-def]
    out = small.parent / "out"
    bad = small.with_name("bad.png")
    bad.write_bytes(b"not an image")
    arguments = ("--kernel", "gaussian:1", "--max-steps", 1, "-o", out, "--quiet")
    code, _, error = cli("deblur", bad, blurred, *arguments)
    assert code == 1 and (out / "blurred.png").exists() and "1 of 2 failed" in error and "bad.png" in error


def test_lists_and_certificates(cli) -> None:  # type: ignore[no-untyped-def]
    code, text, _ = cli("denoisers")
    assert code == 0 and "euler" in text and "averaged" in text and "nothing is guaranteed" in text
    code, text, _ = cli("denoisers", "--json")
    assert set(json.loads(text)) >= {"euler", "dncnn"}
    code, text, _ = cli("certify", "euler", "--json")
    data = json.loads(text)
    assert data["lipschitz"] <= 1 and data["averagedness"] < 1 and data["side"] == "proven"
    code, text, _ = cli("certify", "dncnn")
    assert code == 0 and "nothing is guaranteed" in text


def test_help_and_version_are_quick_and_do_not_need_torch() -> None:
    for arguments in (["--help"], ["--version"], ["deblur", "--help"]):
        started = time.perf_counter()
        code = f"import sys; sys.argv = ['pnpkit', *{arguments}]\nfrom pnpkit.command.cli import main\n"
        code += "try: main()\nfinally: "
        code += "print('torch' in sys.modules, file=sys.stderr)"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.returncode == 0 and done.stdout and done.stderr.strip() == "False"
        assert time.perf_counter() - started < 3  # 0.1 s on an idle machine
    assert CliRunner().invoke(program, []).output.startswith("Usage")


BAD: dict[str, tuple[list[str], str]] = {
    "missing file": (["deblur", "absent.png"], "absent.png"),
    "empty file": (["deblur", "empty.png"], "empty.png"),
    "truncated file": (["deblur", "truncated.png"], "truncated.png"),
    "not an image": (["deblur", "text.png"], "text.png"),
    "bomb": (["deblur", "bomb.png"], "bomb.png"),
    "missing kernel": (["deblur", "sharp.png", "--kernel", "absent.npy"], "absent.npy"),
    "kernel not 2-D": (["deblur", "sharp.png", "--kernel", "line.npy"], "line.npy"),
    "kernel NaN": (["deblur", "sharp.png", "--kernel", "nan.npy"], "nan.npy"),
    "kernel zero sum": (["deblur", "sharp.png", "--kernel", "zero.npy"], "zero.npy"),
    "kernel negative": (["deblur", "sharp.png", "--kernel", "negative.npy"], "negative.npy"),
    "kernel pickled": (["deblur", "sharp.png", "--kernel", "pickled.npy"], "pickled.npy"),
    "kernel too large": (["deblur", "sharp.png", "--kernel", "box:99"], "larger than the image"),
    "kernel malformed": (["deblur", "sharp.png", "--kernel", "motion:9"], "motion"),
    "kernel misspelt": (["deblur", "sharp.png", "--kernel", "gausian:2"], "gaussian"),
    "unknown denoiser": (["deblur", "sharp.png", "--denoiser", "eulr"], "did you mean 'euler'"),
    "unknown boundary": (["deblur", "sharp.png", "--kernel", "box:3", "--boundary", "circula"], "circular"),
    "unknown device": (["deblur", "sharp.png", "--kernel", "box:3", "--device", "cudaa"], "cuda"),
    "unknown option": (["deblur", "sharp.png", "--kernell", "box:3"], "--kernel"),
    "unknown command": (["debluur", "sharp.png"], "deblur"),
    "negative number": (["deblur", "sharp.png", "--noise-level", "-1"], "noise-level"),
    "NaN number": (["deblur", "sharp.png", "--strength", "nan"], "strength"),
    "wordy number": (["deblur", "sharp.png", "--tol", "small"], "tol"),
    "wordy steps": (["deblur", "sharp.png", "--max-steps", "many"], "max-steps"),
    "no steps": (["deblur", "sharp.png", "--max-steps", "0"], "max-steps"),
    "strength out of range": (["deblur", "sharp.png", "--kernel", "box:3", "--strength", "0.5"], "strength"),
    "output folder absent": (["deblur", "sharp.png", "-o", "nowhere/out.png"], "nowhere"),
    "several into a file": (["deblur", "sharp.png", "there.png", "-o", "out.png"], "folder"),
    "folder that cannot be": (["deblur", "sharp.png", "-o", "nowhere/out/"], "nowhere"),
    "bfloat16 without convolutions": (
        ["deblur", "sharp.png", "--kernel", "box:3", "--denoiser", "tv", "--precision", "bfloat16"],
        "tv has none",
    ),
    "denoise by its risk": (["denoise", "sharp.png", "--strength", "sure"], "strength"),
    "unknown output type": (["deblur", "sharp.png", "-o", "out.xyz"], ".xyz"),
    "output is the input": (["deblur", "sharp.png", "-o", "./sharp.png", "--overwrite"], "output is the input"),
    "output exists": (["deblur", "sharp.png", "-o", "there.png"], "--overwrite"),
    "reference of another size": (
        ["deblur", "sharp.png", "--kernel", "box:3", "--reference", "there.png"],
        "reference",
    ),
    "json folder absent": (["deblur", "sharp.png", "--kernel", "box:3", "--json", "nowhere/r.json"], "nowhere"),
    "json is the input": (["deblur", "sharp.png", "--kernel", "box:3", "--json", "sharp.png"], "sharp.png"),
    "json without a name": (["denoise", "sharp.png", "--json", ""], "--json"),
    "report without a name": (["denoise", "sharp.png", "--report", ""], "--report"),
    "reference without a name": (["denoise", "sharp.png", "--reference", ""], "--reference"),
    "seed too large": (["deblur", "sharp.png", "--kernel", "box:3", "--seed", "99999999999999999999"], "seed"),
    "no image": (["deblur"], "IMAGE"),
    "no such denoiser": (["certify", "eulerr"], "did you mean 'euler'"),
    "blur without kernel": (["blur", "sharp.png"], "--kernel"),
    "blur auto": (["blur", "sharp.png", "--kernel", "auto"], "auto"),
}


def test_one_image_into_a_new_folder(cli, small: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    code, _, error = cli("denoise", small, "--denoiser", "identity", "-o", f"{tmp_path}/made/", "--quiet")
    assert code == 0 and error == ""
    assert (tmp_path / "made" / small.name).exists()


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_exit_2(cli, small: Path, case: str, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    folder = small.parent
    monkeypatch.chdir(folder)
    (folder / "empty.png").touch()
    (folder / "truncated.png").write_bytes(small.read_bytes()[:300])
    (folder / "text.png").write_text("hello")
    (folder / "bomb.png").write_bytes(bomb())
    files.write(folder / "there.png", Picture(np.zeros((5, 5))))
    for name, array in {
        "line": np.ones(3),
        "nan": np.full((3, 3), np.nan),
        "zero": np.zeros((3, 3)),
        "negative": -np.eye(3),
    }.items():
        np.save(folder / f"{name}.npy", array)
    np.save(folder / "pickled.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    arguments, word = BAD[case]
    code, out, error = cli(*arguments)
    assert code == 2 and out == ""
    assert len(error.strip().splitlines()) == 1 and word in error and "Traceback" not in error
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def bomb() -> bytes:
    """A PNG header that claims 60,000 x 60,000 pixels."""
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def test_divergence_exits_with_3(cli, blurred: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    import torch

    from pnpkit.networks.euler import Euler

    monkeypatch.setattr(Euler, "denoise", lambda self, x, level: x * torch.nan)
    code, _, error = cli("deblur", blurred, "--kernel", "motion:5,30", "--quiet")
    assert code == 3 and "NaN or infinity" in error
    assert np.isfinite(files.read(blurred.with_name("blurred-deblurred.png")).pixels).all()
