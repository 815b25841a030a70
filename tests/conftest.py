"""Tests run on one thread: the tensors are small, and more threads only get in each other's way."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest
import torch

from pnpkit.command.cli import main

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def the_processor_as_it_was() -> Iterator[None]:
    """A script that a test ran may have set the threads, or denormals to zero: neither outlives the test."""
    yield
    torch.set_num_threads(1)
    torch.set_flush_denormal(False)


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
