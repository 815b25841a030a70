"""Tests run on one thread: the tensors are small, and more threads only get in each other's way."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import process
import pytest
import torch

from pnpkit.command.cli import main

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def the_process_as_it_was() -> Iterator[None]:
    """Threads, flush-to-zero and the default dtype belong to the process: what runs in it must put them back."""
    before = process.settings()
    yield
    after = process.settings()
    if after != before:
        torch.set_num_threads(before.threads)
        torch.set_flush_denormal(before.flushes)
        torch.set_default_dtype(before.dtype)
        pytest.fail(f"left the process with {after}, found it with {before}")


def run(
    *arguments: object, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> tuple[int, str, str]:
    """The exit code, stdout and stderr of the real entry point."""
    monkeypatch.setattr(sys, "argv", ["pnpkit", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        main()
    out = capsys.readouterr()
    assert isinstance(stop.value.code, int)
    return stop.value.code, out.out, out.err


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):  # type: ignore[no-untyped-def]
    return lambda *arguments: run(*arguments, monkeypatch=monkeypatch, capsys=capsys)
