"""What the command line writes, and where it never does: inputs stay whole, no result takes another's place."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch

from pnpkit import denoise, inpaint
from pnpkit.command.estimate_kernel import kernel_place
from pnpkit.command.masks import read_mask
from pnpkit.errors import InputError
from pnpkit.images import files
from pnpkit.images.picture import Picture
from pnpkit.restoration.kept import check_folder

PLAIN = ("--denoiser", "wavelet", "--quiet", "--overwrite")


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """Two pictures of one name in two folders."""
    random = np.random.default_rng(0)
    paths = tmp_path / "one" / "a.png", tmp_path / "two" / "a.png"
    for path in paths:
        path.parent.mkdir()
        files.write(path, Picture(random.random((24, 32, 3))))
    return paths


def test_no_result_takes_the_place_of_an_input_or_of_another_result(cli, pair: tuple[Path, Path]) -> None:  # type: ignore[no-untyped-def]
    first, second = pair
    before = second.read_bytes()
    code, _, error = cli("denoise", first, second, "-o", second.parent, *PLAIN)
    assert code == 2 and "would both be written to" in error and second.read_bytes() == before
    code, _, error = cli("denoise", first, "-o", second, "--reference", second, *PLAIN)
    assert code == 2 and "is a file that is read" in error and second.read_bytes() == before
    code, _, error = cli("inpaint", first, "--mask", second, "-o", second, *PLAIN)
    assert code == 2 and "is a file that is read" in error and second.read_bytes() == before
    linked = first.with_name("linked.png")
    linked.hardlink_to(second)
    code, _, error = cli("deblur", first, "--kernel", second, "-o", linked, *PLAIN)
    assert code == 2 and "is a file that is read" in error and second.read_bytes() == before
    code, _, error = cli("compare", first, "--reference", second, "-o", second, "--quiet", "--overwrite")
    assert code == 2 and "is a file that is read" in error and second.read_bytes() == before
    code, _, error = cli("blur", first, "--kernel", second, "-o", second, "--quiet", "--overwrite")
    assert code == 2 and "inputs stay untouched" in error and second.read_bytes() == before
    code, _, error = cli("estimate-kernel", first, "--mask", second, "-o", second, "--quiet", "--overwrite")
    assert code == 2 and "what is not the input" in error and second.read_bytes() == before


def test_what_is_written_beside_the_result_has_a_place_of_its_own(cli, pair: tuple[Path, Path]) -> None:  # type: ignore[no-untyped-def]
    first, _ = pair
    out = first.with_name("out.png")
    code, _, error = cli("denoise", first, "-o", out, "--json", out, *PLAIN)
    assert code == 2 and "both the output and --json" in error and not out.exists()
    first.with_name("r.json").mkdir()
    code, _, error = cli("denoise", first, "-o", out, "--json", first.with_name("r.json"), *PLAIN)
    assert code == 2 and not out.exists() and error.count("\n") == 1


def test_names_that_stand_for_nothing(cli, pair: tuple[Path, Path]) -> None:  # type: ignore[no-untyped-def]
    code, _, error = cli("denoise", "", *PLAIN)
    assert code == 2 and "empty name" in error
    first, _ = pair
    first.with_name("._a.png").write_bytes(b"not a picture")
    first.with_name("folder.png").mkdir()
    results = first.parent.parent / "results"
    code, _, error = cli("denoise", first.parent, "-o", f"{results}/", *PLAIN)
    assert code == 0 and [p.name for p in results.iterdir()] == ["a.png"]


def test_a_format_that_cannot_hold_the_picture_is_refused_before_the_work(cli, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    deep = tmp_path / "deep.png"
    files.write(deep, Picture(np.random.default_rng(0).random((20, 20)), dtype=np.dtype(np.uint16), high=65535.0))
    code, _, error = cli("deblur", deep, "--kernel", "box:3", "-o", tmp_path / "x.jpg", "--denoiser", "not there")
    assert code == 2 and "cannot hold uint16" in error


def test_floats_are_compared_in_the_units_of_the_file(cli, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    scene = np.random.default_rng(0).random((24, 24)) * 4000 + 1000
    for name, values in (("scene.tif", scene), ("half.tif", 0.5 * (scene + scene.mean()))):
        files.write(tmp_path / name, Picture(values, dtype=np.dtype(np.float32), low=0.0, high=1.0))
    code, out, _ = cli(
        "denoise", tmp_path / "half.tif", "--denoiser", "identity", "--reference", tmp_path / "scene.tif",
        "-o", tmp_path / "out.tif",
    )  # fmt: skip
    error = np.mean((0.5 * (scene - scene.mean())) ** 2) / np.ptp(scene) ** 2
    assert code == 0 and f"PSNR {-10 * np.log10(error):.2f} ->" in out


def test_half_precision_stays_finite(tmp_path: Path) -> None:
    path = tmp_path / "half.tif"
    picture = Picture(np.array([[0.0, 1.0], [2.0, -1.5]]), dtype=np.dtype(np.float16), low=0.0, high=6e4)
    files.write(path, picture)
    back = files.read(path)
    assert np.isfinite(back.low) and back.high == np.finfo(np.float16).max


def test_of_a_mask_with_alpha_only_what_is_painted_counts(cli, pair: tuple[Path, Path], tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    first, _ = pair
    hole = np.zeros((24, 32), bool)
    hole[8:12, 10:20] = True
    layer = Picture(np.ones((24, 32, 3)), np.where(hole, 255, 0).astype(np.uint8))
    files.write(tmp_path / "layer.png", layer)
    code, _, _ = cli("inpaint", first, "--mask", tmp_path / "layer.png", "-o", tmp_path / "out.png", *PLAIN)
    before, after = (files.read(path).pixels for path in (first, tmp_path / "out.png"))
    assert code == 0 and np.array_equal(before[~hole], after[~hole]) and not np.allclose(before[hole], after[hole])


def test_floats_that_were_stretched_say_so(tmp_path: Path) -> None:
    path = tmp_path / "counts.tif"
    files.write(path, Picture(np.array([[0.0, 1.0]]), dtype=np.dtype(np.float32), low=100.0, high=900.0))
    assert "from 100 to 900" in files.read(path).notes[0]


def test_filling_keeps_known_numbers_to_the_last_digit() -> None:
    image = np.random.default_rng(0).random((16, 20))
    missing = np.zeros(image.shape, bool)
    missing[4:7, 5:9] = True
    found = inpaint(image, missing, denoiser="wavelet", max_steps=5).image
    assert found.dtype == np.float64 and np.array_equal(found[~missing], image[~missing])


def test_tensors_of_another_type_are_refused_and_of_another_scale_kept() -> None:
    x = torch.rand(1, 3, 16, 16)
    for wrong in (x.half(), x.bfloat16()):
        with pytest.raises(InputError, match="expected a tensor"):
            denoise(wrong, denoiser="identity")
    for kept in (x, 255 * x):
        found = torch.as_tensor(denoise(kept, denoiser="identity", device=torch.device("cpu")).image)
        torch.testing.assert_close(found, kept, rtol=1e-6, atol=0)


def test_a_slash_makes_a_folder_for_every_command(cli, pair: tuple[Path, Path], tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    first, _ = pair
    for number, command in enumerate((("blur", "--kernel", "box:3"), ("estimate-kernel",))):
        folder = tmp_path / f"new{number}"
        code, _, error = cli(command[0], first, *command[1:], "-o", f"{folder}/", "--quiet")
        assert code == 0, error
        assert [p.suffix for p in folder.iterdir()] == [".png"]


def test_a_float_mask_marks_by_its_own_values(tmp_path: Path) -> None:
    for values, marked in (
        ([[-1.0, 0.0]], [[True, False]]),
        ([[-0.1, 0.0, 0.6]], [[True, False, True]]),
        ([[7.0, 7.0]], [[True, True]]),
    ):
        path = tmp_path / "mask.tif"
        tifffile.imwrite(path, np.array(values, np.float32))
        assert read_mask(str(path)).tolist() == marked


@pytest.mark.parametrize(
    "command, wrong, message",
    [
        ("deblur", ("--denoiser", "eulr"), "did you mean 'euler"),
        ("deblur", ("--kernel", "box:0"), "box"),
        ("deblur", ("--boundary", "round"), "unknown boundary"),
        ("deblur", ("--strength", "0.9"), "strength must be in"),
        ("deblur", ("--tau", "0"), "tau must be a positive number"),
        ("deblur", ("--precision", "float8"), "unknown precision"),
        ("denoise", ("--strength", "0.9"), "strength must be in"),
        ("denoise", ("--denoiser", "dncnn", "--precision", "bfloat16"), "denoising is one step"),
        ("upscale", ("--method", "magic"), "unknown method"),
    ],
)
def test_options_that_suit_no_file_are_refused_once_and_leave_nothing(cli, pair, command, wrong, message) -> None:  # type: ignore[no-untyped-def]
    results = pair[0].parent.parent / "results"
    usual = ("--denoiser", "wavelet", *(("--kernel", "box:3") if command == "deblur" else ()))
    code, _, error = cli(command, pair[0], pair[1].with_name("b.png"), "-o", f"{results}/", *usual, *wrong)
    assert code == 2 and error.count("\n") == 1 and message in error and not results.exists()


def test_a_folder_run_again_leaves_earlier_results_alone(cli, pair: tuple[Path, Path]) -> None:  # type: ignore[no-untyped-def]
    folder = pair[0].parent
    files.write(folder / "b-denoised.png", Picture(np.random.default_rng(1).random((20, 20))))  # a name like it
    expected = {"a.png", "a-denoised.png", "b-denoised.png", "b-denoised-denoised.png"}
    for _ in range(2):
        code, _, error = cli("denoise", folder, *PLAIN)
        assert code == 0 and error == "" and {p.name for p in folder.iterdir()} == expected
    code, text, _ = cli("denoise", folder, "--denoiser", "wavelet", "--overwrite")
    assert code == 0 and "2 earlier results (*-denoised.*) are left alone" in text
    out = folder.parent / "elsewhere"
    code, _, _ = cli("denoise", folder, "-o", f"{out}/", *PLAIN)
    assert code == 0 and {p.name for p in out.iterdir()} == expected, "there, every picture is restored"


def test_a_missing_input_is_what_is_complained_about(cli, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    for command in (("denoise",), ("deblur", "--kernel", "box:3"), ("blur", "--kernel", "box:3")):
        code, _, error = cli(command[0], tmp_path / "photo", *command[1:])
        assert code == 2 and "nothing there" in error and "extension" not in error


def test_float64_arrays_keep_their_digits_where_that_is_asked_for() -> None:
    y = np.random.default_rng(0).random((16, 16))
    mask = np.zeros((16, 16), bool)
    mask[4:6, 4:6] = True
    double, single = (
        inpaint(y, mask, denoiser="wavelet", precision=p, tol=1e-9, max_steps=60) for p in ("float64", "float32")
    )
    again = inpaint(y + 1e-9, mask, denoiser="wavelet", precision="float64", tol=1e-9, max_steps=60)
    assert 0 < np.abs(again.image - double.image)[mask].max() < 1e-8, "float32 would not see a change of 1e-9"
    assert np.abs(single.image - double.image).max() < 1e-4


def test_a_simulated_noise_has_a_level_on_the_scale(cli, pair: tuple[Path, Path]) -> None:  # type: ignore[no-untyped-def]
    code, _, error = cli("blur", pair[0], "--kernel", "box:3", "--noise-level", "25", "-o", pair[0].with_name("x.png"))
    assert code == 2 and "noise level must be in [0, 1]" in error


def test_a_folder_of_one_picture_gives_a_folder(cli, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "in").mkdir()
    files.write(tmp_path / "in" / "a.png", Picture(np.random.default_rng(0).random((20, 20))))
    assert cli("denoise", tmp_path / "in", "-o", tmp_path / "out", *PLAIN)[0] == 0
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["a.png"]


def test_of_several_files_the_one_that_fails_is_named(cli, pair: tuple[Path, Path]) -> None:  # type: ignore[no-untyped-def]
    tiny = pair[0].with_name("tiny.png")
    files.write(tiny, Picture(np.zeros((3, 3))))
    command = ("--kernel", "box:5", "--denoiser", "identity", "--max-steps", 2, "--quiet")
    code, _, error = cli("deblur", pair[0], tiny, "-o", f"{pair[0].parent / 'out'}/", *command)
    assert code == 1 and f"{tiny}: the kernel (5x5) is larger" in error


def test_a_mask_that_is_not_there_is_missed_once(cli, pair: tuple[Path, Path]) -> None:  # type: ignore[no-untyped-def]
    code, _, error = cli("inpaint", pair[0].parent, "--mask", "nope.png", "-o", f"{pair[0].parent.parent / 'out'}/")
    assert code == 2 and error.count("nothing there") == 1 and not (pair[0].parent.parent / "out").exists()


def test_a_refused_command_leaves_no_folder(cli, pair: tuple[Path, Path], tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    first, second = pair
    bad = tmp_path / "bad.tif"
    bad.write_bytes(b"II*\0rubbish")
    pages, out = tmp_path / "pages", tmp_path / "new"
    for inputs in ((bad,), (first, second), (bad, bad.with_name("missing.tif"))):
        code, _, error = cli("denoise", *inputs, "--report", pages, "-o", f"{out}/", *PLAIN)
        assert code in (1, 2) and error and not out.exists() and not pages.exists(), inputs
    for command in (("blur", "--kernel", "box:3"), ("estimate-kernel",)):
        code, _, error = cli(command[0], bad, *command[1:], "-o", f"{out}/")
        assert code == 2 and not out.exists(), command
    code, _, error = cli("denoise", first, "--report", pages, "-o", f"{out}/", *PLAIN)
    assert code == 0 and [len(list(folder.iterdir())) for folder in (pages, out)] == [1, 1], error


def test_a_jpeg_is_no_mask_and_most_of_a_picture_is_remarked_on(cli, pair: tuple[Path, Path], tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    first, _ = pair
    lines = np.zeros((24, 32))
    lines[:, 8:10] = 1
    for name in ("mask.jpg", "mask.png"):
        files.write(tmp_path / name, Picture(lines))
    arguments = ("--denoiser", "wavelet", "--max-steps", "2", "--overwrite", "-o", tmp_path / "out.png")
    code, _, error = cli("inpaint", first, "--mask", tmp_path / "mask.jpg", *arguments)
    assert code == 2 and "without loss" in error and not (tmp_path / "out.png").exists()
    code, out, error = cli("inpaint", first, "--mask", tmp_path / "mask.png", *arguments)
    assert code == 0 and "48 of 768 pixels" in out and "more than half" not in out, error
    files.write(tmp_path / "mask.png", Picture(1 - lines))
    code, out, _ = cli("inpaint", first, "--mask", tmp_path / "mask.png", *arguments)
    assert code == 0 and "more than half of the picture" in out


def test_a_minus_is_no_name(cli, pair: tuple[Path, Path]) -> None:  # type: ignore[no-untyped-def]
    code, _, error = cli("denoise", pair[0], "--json", "-", "--denoiser", "wavelet")
    assert code == 2 and "--json -: expected a name" in error and not Path("-").exists()


def test_a_reference_in_other_units_is_refused(cli, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    scene = np.random.default_rng(0).random((24, 24))
    for name, high in (("one.tif", 1.0), ("counts.tif", 60000.0)):
        files.write(tmp_path / name, Picture(scene, dtype=np.dtype(np.float32), low=0.0, high=high))
    code, _, error = cli("denoise", tmp_path / "one.tif", "--reference", tmp_path / "counts.tif", *PLAIN)
    assert code == 2 and "not the same units" in error


def test_a_folder_that_may_not_be_written_to_is_refused_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "photo.png").write_bytes(b"\x89PNG")
    monkeypatch.setattr(os, "access", lambda *_, **__: False)
    with pytest.raises(InputError, match="expected a folder that may be written to"):
        kernel_place(str(tmp_path / "photo.png"), None, False)
    for folder in (tmp_path, tmp_path / "new" / "inner"):
        with pytest.raises(InputError, match=f"`cache` {folder}: expected .* {tmp_path} may not"):
            check_folder(folder)
    assert not (tmp_path / "new").exists()
