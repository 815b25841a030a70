"""The help: commands by use, each with an example that is a command; levels and formats in the user's words."""

from __future__ import annotations

import shlex
from pathlib import Path

import click
import numpy as np
import pytest

from pnpkit.command.cli import program
from pnpkit.errors import InputError
from pnpkit.images import files
from pnpkit.images.picture import Picture
from pnpkit.restoration.settings import check_level, in_units


def test_the_most_used_commands_come_first(cli) -> None:  # type: ignore[no-untyped-def]
    code, text, _ = cli("--help")
    places = [text.index(f"\n  {name} ") for name in ("deblur", "denoise", "inpaint", "upscale", "compare", "certify")]
    assert code == 0 and places == sorted(places)
    assert "_PNPKIT_COMPLETE=bash_source" in text and "..." not in text.split("Commands:")[1], "no sentence is cut off"


SINGLE = [name for name, command in program.commands.items() if not isinstance(command, click.Group)]


@pytest.mark.parametrize("name", SINGLE)
def test_every_command_has_an_example_that_it_understands(name: str, cli) -> None:  # type: ignore[no-untyped-def]
    code, text, _ = cli(name, "--help")
    example = " ".join(text.split("Example:\n")[1].split()).replace("- ", "-")
    words = shlex.split(example)
    assert code == 0 and words[:2] == ["pnpkit", name]
    context = click.Context(program.commands[name])
    program.commands[name].parse_args(context, words[2:])
    assert "x>=" not in text and "<=x" not in text, "ranges are told where they are broken"


def test_completion_knows_the_commands_and_their_flags(monkeypatch: pytest.MonkeyPatch, capsys) -> None:  # type: ignore[no-untyped-def]
    from click.shell_completion import BashComplete

    complete = BashComplete(program, {}, "pnpkit", "_PNPKIT_COMPLETE")
    assert "deblur" in {item.value for item in complete.get_completions([], "de")}
    assert "--preview" in {item.value for item in complete.get_completions(["deblur"], "--pre")}


def test_a_level_of_255_is_told_on_the_scale(cli, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match="25 of 255 is 0.098"):
        check_level("noise level", 25)
    assert in_units(0.5) == "" and in_units(1000.0) == ": 1000 of 65535 is 0.0153" and in_units(1e6) == ""
    files.write(tmp_path / "a.png", Picture(np.zeros((8, 8), np.float32)))
    code, _, error = cli("denoise", tmp_path / "a.png", "--noise-level", "25", "--denoiser", "identity")
    assert code == 2 and "25 of 255 is 0.098" in error and len(error.splitlines()) == 1


def test_a_camera_raw_file_is_told_what_to_do(cli, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "a.jpg").write_bytes(b"FUJIFILMCCD-RAW 0201" + bytes(100))
    code, _, error = cli("denoise", tmp_path / "a.jpg")
    assert code == 2 and "camera raw" in error and "convert" in error and len(error.splitlines()) == 1
