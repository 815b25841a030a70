"""What the command line says: flags for arguments, nothing that a terminal obeys, and one line for every error."""

from __future__ import annotations

import click
import numpy as np
import pytest
import torch

from pnpkit.command import messages
from pnpkit.command.cli import program
from pnpkit.errors import InputError
from pnpkit.images import files
from pnpkit.images.picture import Picture
from pnpkit.machine.memory import choose_device


def test_arguments_become_flags_in_one_place() -> None:
    assert messages.in_flags("give `kernel` or `max_memory`") == "give --kernel or --max-memory"
    assert messages.in_flags("`method=picard`, `device=cpu`") == "--method picard, --device cpu"
    for plain in ("`pnpkit denoisers`", "a kernel", "`T x`", "tau `Sigma`"):
        assert messages.in_flags(plain) == plain


def test_a_message_of_the_library_reaches_the_terminal_with_its_flag(monkeypatch, cli, tmp_path) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match="use `device=cpu`"):
        choose_device("cuda")
    from pnpkit.images import files
    from pnpkit.images.picture import Picture

    files.write(tmp_path / "a.png", Picture(torch.rand(8, 8).numpy()))
    code, _, error = cli("denoise", tmp_path / "a.png", "--device", "cuda")
    assert code == 2 and "use --device cpu" in error and "`" not in error


def test_flags_that_messages_name_exist() -> None:
    flags = {flag for command in program.commands.values() for param in command.params for flag in param.opts}
    for text in ("`kernel`", "`overwrite`", "`white`", "`device=cpu`", "`method=picard`", "`max_memory`"):
        assert messages.in_flags(text).split()[0] in flags


def test_control_characters_do_not_reach_the_terminal(capsys) -> None:  # type: ignore[no-untyped-def]
    messages.say("a\x1b[31mred\x07\r\u202e\udcff.png\nnext line")
    assert capsys.readouterr().out == "a\\x1b[31mred\\x07\\r\\u202e\\udcff.png\nnext line\n"
    messages.say("Übung 写真 → ∘", error=True)
    assert capsys.readouterr().err == "Übung 写真 → ∘\n"


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        MemoryError("Unable to allocate 7.00 GiB for an array"),
        torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:114] DefaultCPUAllocator: can't allocate memory: you tried ..."),
        OSError(12, "Cannot allocate memory"),
    ],
)
def test_memory_that_runs_out_is_told_with_what_to_do(error: Exception) -> None:
    assert "memory ran out" in messages.sentence(error) and "`max_memory`" in messages.sentence(error)


def test_every_error_is_one_line() -> None:
    for error, words in (
        (InputError("a\nb"), "a b"),
        (OSError(28, "No space left on device", "/x/y.png"), "/x/y.png: No space left on device"),
        (OSError(28, "No space left on device"), "No space left on device"),
        (click.BadParameter("not\nso"), "not so"),
        (TypeError("odd\n thing"), "TypeError: odd thing"),
        (ZeroDivisionError(), "ZeroDivisionError"),
    ):
        text = messages.sentence(error)
        assert "\n" not in text and words in text


@pytest.mark.parametrize(
    "line, words",
    [
        ("upscale p.png --factor 1.5", "expected a whole number from 2 to 8, got '1.5'"),
        ("deblur p.png --max-steps 0", "expected a whole number of at least 1, got '0'"),
        ("deblur p.txt", "p.txt: expected a picture, got one that ends with .txt: name the result"),
        ("deblur p.png --kernel k.jpg", "JPEG changes the values of a kernel, save it as PNG or TIFF"),
        ("deblur p.png --region 30,30,9,9", "--region 30,30,9,9: expected one inside of the picture"),
        ("deblur p.png --kernel box:3 --noise-level 5", "5 of 255 is 0.0196"),
        ("compare p.png --kernel box:3 --noise-level 5", "5 of 255 is 0.0196"),
        ("estimate-kernel p.png --noise-level 5", "5 of 255 is 0.0196"),
    ],
)
def test_what_is_often_typed_wrong_is_answered_in_the_words_of_the_user(cli, tmp_path, line, words) -> None:  # type: ignore[no-untyped-def]
    files.write(tmp_path / "p.png", Picture(np.full((32, 32), 0.5)))
    for name in ("p.txt", "k.jpg"):
        (tmp_path / name).write_bytes((tmp_path / "p.png").read_bytes())
    code, out, error = cli(*(str(tmp_path / word) if word.startswith(("p.", "k.")) else word for word in line.split()))
    assert code == 2 and words in error and not out and len(error.splitlines()) == 1
