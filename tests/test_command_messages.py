"""What the command line says: flags for arguments, nothing that a terminal obeys, and one line for every error."""

from __future__ import annotations

import click
import pytest
import torch

from pnpkit.command import messages
from pnpkit.command.cli import program
from pnpkit.errors import InputError
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
