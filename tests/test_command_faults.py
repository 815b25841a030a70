"""What machines and people do to a run: memory and disks that run out, signals, two at one file, odd names."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from test_command_cli import bomb

import pnpkit as pk
from pnpkit import kernels, registry
from pnpkit.command import tasks
from pnpkit.errors import InputError
from pnpkit.images import files
from pnpkit.images.picture import Picture
from pnpkit.machine import files as machine_files

QUICK = ("--denoiser", "identity", "--quiet")


def save(path: Path, shape: tuple[int, ...] = (20, 24), seed: int = 0) -> Path:
    path.parent.mkdir(exist_ok=True)
    files.write(path, Picture(np.random.default_rng(seed).random(shape)))
    return path


@pytest.fixture
def three(tmp_path: Path) -> list[Path]:
    return [save(tmp_path / "in" / f"{name}.png", seed=i) for i, name in enumerate("abc")]


FAULTS = {
    "a fault of pnpkit": (TypeError("odd"), "TypeError: odd"),
    "numpy": (MemoryError("Unable to allocate 7 GiB"), "memory ran out: give a smaller --max-memory"),
    "torch": (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate"), "memory ran out"),
    "cuda": (torch.cuda.OutOfMemoryError("CUDA out of memory."), "memory ran out"),
    "a system call": (OSError(5, "Input/output error"), "Input/output error"),
    "bad input": (InputError("this one"), "this one"),
    "a recursion": (RecursionError("maximum recursion depth exceeded"), "RecursionError"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_trouble_of_one_file_is_its_line_and_the_rest_goes_on(  # type: ignore[no-untyped-def]
    cli, three: list[Path], fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    error, words = FAULTS[fault]
    usual = tasks.Denoise.restore
    wrong = files.read(three[1]).pixels

    def restore(self, picture, settings, callback):  # type: ignore[no-untyped-def]
        if np.array_equal(picture.pixels, wrong):
            raise error
        return usual(self, picture, settings, callback)

    monkeypatch.setattr(tasks.Denoise, "restore", restore)
    out = three[0].parent.parent / "out"
    code, _, said = cli("denoise", three[0].parent, "-o", out, *QUICK)
    assert code == 1 and sorted(p.name for p in out.iterdir()) == ["a.png", "c.png"]
    first, last = said.splitlines()
    assert words in first and "b.png" in first and "1 of 3 failed" in last
    code, _, said = cli("denoise", three[1], "-o", out / "b.png", *QUICK)
    assert code in (1, 2) and len(said.splitlines()) == 1 and words in said and not (out / "b.png").exists()


def test_memory_that_runs_out_in_reading_is_no_damage(  # type: ignore[no-untyped-def]
    cli, three: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def decode(path: Path, head: bytes, most: int) -> None:
        raise MemoryError

    monkeypatch.setitem(files.FORMATS, "PNG", replace(files.FORMATS["PNG"], decode=decode))
    code, _, said = cli("denoise", three[0], *QUICK)
    assert code == 1 and "memory ran out" in said and "damaged" not in said


SLOW = """
import signal, sys, time
from pnpkit.command import cli
from pnpkit.machine.files import replacing

@cli.program.command()
def slow():
    with replacing({target!r}) as file:
        file.write(b"half")
        file.flush()
        print("begun", flush=True)
        time.sleep(60)

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # so does a run under nohup
sys.argv = ["pnpkit", "slow"]
cli.main()
"""


def writing(target: Path) -> subprocess.Popen[str]:
    """A process that is in the middle of writing ``target``."""
    code = SLOW.format(target=str(target))
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "begun\n"
    return process


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_leaves_nothing_half_written(tmp_path: Path, number: int) -> None:
    process = writing(tmp_path / "a.png")
    assert [p.suffix for p in tmp_path.iterdir()] == [".part"]
    process.send_signal(number)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 128 + number and said.strip() == "pnpkit: stopped; nothing is half written"
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_run_left_is_removed_by_the_next_and_a_living_one_is_left_alone(tmp_path: Path) -> None:
    target, other = tmp_path / "a.png", tmp_path / "b.png"
    killed = writing(target)
    killed.kill()
    killed.communicate()
    assert len(list(tmp_path.iterdir())) == 1
    machine_files.write_whole(other, b"other")
    assert len(list(tmp_path.glob("*.part"))) == 1, "it belongs to another target"
    machine_files.write_whole(target, b"whole")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.png", "b.png"]

    living = writing(target)
    machine_files.write_whole(target, b"again")
    assert len(list(tmp_path.glob("*.part"))) == 1 and target.read_bytes() == b"again"
    living.terminate()
    living.communicate()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.png", "b.png"]


@pytest.mark.parametrize("links", [True, False])
def test_of_many_writers_that_must_not_overwrite_exactly_one_wins(
    tmp_path: Path, links: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(source: object, target: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    if not links:  # as on FAT
        monkeypatch.setattr(os, "link", refuse)
    target, barrier, won = tmp_path / "a", threading.Barrier(8), []

    def write(number: int) -> None:
        barrier.wait()
        try:
            machine_files.write_whole(target, bytes([number]) * 100_000, overwrite=False)
        except FileExistsError:
            return
        won.append(number)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1 and target.read_bytes() == bytes(won) * 100_000
    assert list(tmp_path.iterdir()) == [target]


def test_an_output_that_appears_during_the_work_is_not_replaced(  # type: ignore[no-untyped-def]
    cli, three: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, usual = three[0].with_name("out.png"), tasks.Denoise.restore

    def restore(self, picture, settings, callback):  # type: ignore[no-untyped-def]
        out.write_bytes(b"of another process")
        return usual(self, picture, settings, callback)

    monkeypatch.setattr(tasks.Denoise, "restore", restore)
    code, _, said = cli("denoise", three[0], "-o", out, *QUICK)
    assert code == 2 and "exists already" in said and "--overwrite" in said
    assert out.read_bytes() == b"of another process"
    assert cli("denoise", three[0], "-o", out, "--overwrite", *QUICK)[0] == 0


@pytest.mark.parametrize("what", ["o.png", "r.json", "in.html", "a.gif"])
def test_a_full_disk_names_the_file(cli, tmp_path: Path, what: str, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    source = save(tmp_path / "in.png")
    begin = machine_files.begin
    written = []

    class Full:
        def __init__(self, file):  # type: ignore[no-untyped-def]
            self.file = file

        def __enter__(self) -> Full:
            return self

        def __exit__(self, *_: object) -> None:
            self.file.close()

        def write(self, data: bytes) -> int:
            raise OSError(28, "No space left on device")

    def full(folder: Path, prefix: str):  # type: ignore[no-untyped-def]
        place, file = begin(folder, prefix)
        written.append(prefix)
        return (place, Full(file)) if prefix == key else (place, file)

    key = f".pnpkit-{hashlib.sha256(what.encode()).hexdigest()[:12]}-"
    monkeypatch.setattr(machine_files, "begin", full)
    code, _, said = cli(
        "deblur", source, "--kernel", "box:3", "--max-steps", 1, "-o", tmp_path / "o.png", "--json",
        tmp_path / "r.json", "--report", tmp_path / "pages", "--gif", tmp_path / "a.gif", *QUICK,
    )  # fmt: skip
    assert key in written and code == 2 and len(said.splitlines()) == 1
    assert "No space left on device" in said and what in said
    assert not list(tmp_path.rglob("*.part"))


def test_a_name_that_is_too_long_is_refused_before_the_work(  # type: ignore[no-untyped-def]
    cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks.Denoise, "restore", lambda *_: pytest.fail("it was computed"))
    long = save(tmp_path / f"{'x' * 246}.png")
    short = save(tmp_path / "a.png")
    for arguments in (
        (long,),
        (short, "--json", tmp_path / f"{'j' * 260}.json"),
        (long, "-o", tmp_path / "o.png", "--report", tmp_path / f"{'d' * 260}"),
        (short, "-o", tmp_path / f"{'ü' * 130}.png"),
    ):
        code, _, said = cli("denoise", *arguments, *QUICK)
        assert code == 2 and len(said.splitlines()) == 1 and "Traceback" not in said, arguments
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("name", ["\x1b[31mred.png", "a\rb.png", "bell\x07.png", "line\nline.png"])
def test_names_do_not_command_the_terminal(cli, tmp_path: Path, name: str) -> None:  # type: ignore[no-untyped-def]
    for path in (save(tmp_path / name), tmp_path / f"no-{name}"):
        code, out, said = cli("denoise", path, "--denoiser", "identity")
        assert code == (0 if path.exists() else 2)
        assert all(c.isprintable() or c == "\n" for c in out + said)
    assert cli("denoise", f"--{name}")[0] == 2


def test_names_that_are_none_are_refused_by_every_command(cli, tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.chdir(tmp_path)
    for command in (
        ("estimate-kernel",),
        ("blur", "--kernel", "box:3"),
        ("denoise",),
        ("inpaint", "--mask", ""),
    ):
        for name in ("", "."):
            code, _, said = cli(command[0], name, *command[1:])
            assert code == 2 and len(said.splitlines()) == 1, (command, name)
    assert list(tmp_path.iterdir()) == []


def test_a_bomb_is_no_kernel(tmp_path: Path) -> None:
    (tmp_path / "k.png").write_bytes(bomb())
    assert kernels.estimated(str(tmp_path / "k.png")) is None
    with pytest.raises(InputError, match="60000 x 60000"):
        kernels.parse(str(tmp_path / "k.png"))


def test_the_json_repeats_the_run(cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.chdir(tmp_path)
    source = save(tmp_path / "a b.png", (24, 26, 3))
    kernels.save(tmp_path / "k.png", kernels.box(3))
    words = ["deblur", "a b.png", "--kernel", "k.png", "--denoiser", "euler-fast", "--max-steps", 2, "--seed", 7]
    assert cli(*words, "-o", "one.png", "--json", "one.json", "--device", "cpu", "--quiet")[0] == 0
    found = json.loads((tmp_path / "one.json").read_text())
    program, *again = shlex.split(found["command"])
    assert program == "pnpkit" and found["seed"] == 7 and found["device"] == "cpu" and found["threads"] == 1
    assert found["denoiser"] == {"name": "euler-fast", "sha256": registry.denoisers()["euler-fast"].sha256}
    assert found["files"] == {
        name: hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() for name in ("a b.png", "k.png")
    }
    assert {"pnpkit", "python", "torch", "deepinv", "numpy", "scipy", "pillow", "tifffile"} <= set(found["versions"])
    first = (tmp_path / "one.png").read_bytes()
    assert cli(*again, "--overwrite")[0] == 0 and (tmp_path / "one.png").read_bytes() == first
    assert json.loads((tmp_path / "one.json").read_text())["residuals"] == found["residuals"] and source.exists()


def test_a_folder_run_goes_on_where_it_stopped(cli, three: list[Path]) -> None:  # type: ignore[no-untyped-def]
    out = three[0].parent.parent / "out"
    save(out / "b.png", (5, 5))
    before = (out / "b.png").read_bytes()
    code, text, said = cli("denoise", three[0].parent, "-o", out, "--denoiser", "identity", "--skip-existing")
    assert code == 0 and said == "" and "b.png: skipped" in text and (out / "b.png").read_bytes() == before
    assert sorted(p.name for p in out.iterdir()) == ["a.png", "b.png", "c.png"]
    code, text, said = cli("denoise", *three, "-o", out, "--denoiser", "identity", "--skip-existing", "--quiet")
    assert code == 0 and said == text == ""
    assert cli("denoise", three[0], "-o", out, "--skip-existing", *QUICK)[0] == 0
    code, _, said = cli("denoise", three[0].parent, "-o", out, "--skip-existing", "--overwrite")
    assert code == 2 and "contradict" in said


@pytest.mark.parametrize("mode", ["1", "P", "L", "RGB", "CMYK", "YCbCr", "HSV", "I;16"])
def test_pillow_images_are_taken_for_what_they_show(mode: str) -> None:
    shown = np.random.default_rng(0).integers(0, 255, (12, 14, 3), np.uint8)
    given = Image.fromarray(shown)
    image = Image.fromarray(shown[..., 0].astype(np.uint16) * 257) if mode == "I;16" else given.convert(mode)
    as_it_is = mode in ("L", "RGB", "I;16")
    expected = np.asarray(image if as_it_is else image.convert("L" if mode == "1" else "RGB"))
    for call in (
        lambda x: pk.denoise(x, 0.1, denoiser="identity"),
        lambda x: pk.deblur(x, "box:1", denoiser="identity", noise_level=0.1, max_steps=1),
        lambda x: pk.inpaint(x, np.arange(168).reshape(12, 14) == 3, denoiser="identity", noise_level=0.1, max_steps=1),
    ):
        found = np.asarray(call(image).image)
        assert found.dtype == expected.dtype and found.shape == expected.shape
        known = np.arange(168).reshape(12, 14) != 3
        np.testing.assert_array_equal(found[known], expected[known])
    np.testing.assert_array_equal(pk.simulate(image, "box:3"), pk.simulate(expected, "box:3"))


def test_pillow_images_with_transparent_colours_are_refused() -> None:
    image = Image.new("P", (8, 8))
    image.info["transparency"] = 0
    for wrong in (image, Image.new("RGBA", (8, 8))):
        with pytest.raises(InputError, match="expected"):
            pk.denoise(wrong, 0.1, denoiser="identity")


def test_a_mask_that_marks_nothing_is_refused_or_said(cli, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    source, black = save(tmp_path / "a.png"), np.zeros((20, 24))
    opaque = np.zeros((20, 24), np.uint8)
    opaque[4:8] = 255
    for number, (alpha, words) in enumerate(((None, "mask is empty"), (opaque, "black wherever it is opaque"))):
        mask = tmp_path / f"mask-{number}.png"
        files.write(mask, Picture(black, alpha))
        code, _, said = cli("inpaint", source, "--mask", mask, "-o", tmp_path / "o.png", *QUICK)
        assert code == 2 and words in said and "any colour but black" in said and not (tmp_path / "o.png").exists()
    run = pk.inpaint(np.random.default_rng(0).random((8, 8)), np.zeros((8, 8)), denoiser="identity", max_steps=1)
    assert "marks no pixel" in run.kernel_note
