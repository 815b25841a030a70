"""Each setting is declared once: keywords, flags, help, docstring and types follow the fields of ``Settings``."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields, make_dataclass
from typing import get_type_hints

import click
import numpy as np
import pytest

import pnpkit as pk
from pnpkit.command import options
from pnpkit.command.cli import program
from pnpkit.networks.base import Network
from pnpkit.restoration import settings
from pnpkit.restoration.defaults import DENOISERS
from pnpkit.solvers.result import Step

TASKS: dict[str, Callable[..., pk.Restoration]] = {
    "deblur": pk.deblur,
    "denoise": pk.denoise,
    "inpaint": pk.inpaint,
    "upscale": pk.upscale,
}
IMAGE = np.random.default_rng(0).random((12, 12))


def call(task: str, **keywords: object) -> pk.Restoration:
    own: tuple = {"deblur": ("box:3",), "inpaint": (IMAGE > 0.9,)}.get(task, ())
    return TASKS[task](IMAGE, *own, **keywords)


def test_what_type_checkers_see_is_what_is_declared() -> None:
    names = {"Network": Network, "Step": Step, "Callable": Callable}
    declared = get_type_hints(settings.Settings, None, names)
    assert get_type_hints(settings.SettingsKeywords, None, names) == declared
    once = {entry.name: declared[entry.name] for entry in settings.settings_of("denoise")}
    own = {"noise_level": once.pop("noise_level")}  # which denoise takes as an argument of its own
    assert get_type_hints(settings.DenoisingKeywords, None, names) == once
    assert own["noise_level"] == get_type_hints(pk.denoise, None, {**names, "Unpack": dict})["noise_level"]


@pytest.mark.parametrize("task", TASKS)
def test_an_unknown_keyword_is_a_type_error_with_the_nearest_name(task: str) -> None:
    for wrong, near in (("strenght", "strength"), ("imaje", "image"), ("denoizer", "denoiser")):
        with pytest.raises(TypeError, match=f"'{wrong}': did you mean '{near}'"):
            call(task, **{wrong: 1})
    with pytest.raises(TypeError, match="unexpected keyword argument 'foo'"):
        call(task, foo=1)


def test_denoising_takes_no_settings_of_an_iteration() -> None:
    for entry in fields(settings.Settings):
        if settings.option_of(entry).iterating:
            with pytest.raises(TypeError, match=entry.name):
                call("denoise", **{entry.name: entry.default})


@pytest.mark.parametrize("task", TASKS)
def test_every_flag_has_the_default_of_the_function_and_a_heading(task: str) -> None:
    command = program.commands[task]
    flags = {param.name: param for param in command.params if isinstance(param, click.Option)}
    context = click.Context(command)
    for entry in settings.settings_of(task):
        about = settings.option_of(entry)
        assert (entry.name in flags) == (about.kind != "none"), entry.name
        if entry.name in flags:
            found = flags[entry.name]
            default = DENOISERS[task] if entry.name == "denoiser" else entry.default
            assert found.type_cast_value(context, found.get_default(context)) == (
                default if default is not None or about.kind != "word" else "auto"
            )
            assert isinstance(found, options.Flag) and found.group in options.GROUPS
            assert about.help.rstrip(".") in str(found.help)


@pytest.mark.parametrize("task", TASKS)
def test_command_and_function_have_one_default_denoiser(task: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = settings.collect(TASKS[task], {})
    assert seen.denoiser == DENOISERS[task] == options.settings_from(task, {}).denoiser


@pytest.mark.parametrize("task", TASKS)
def test_the_help_is_grouped_and_ends_with_an_example(task: str, cli) -> None:  # type: ignore[no-untyped-def]
    code, text, _ = cli(task, "--help")
    assert code == 0
    places = [text.index(f"\n{group.capitalize()}:\n") for group in options.GROUPS if group != "blur"]
    assert places == sorted(places) and f"pnpkit {task} " in text[text.index("Example:") :]


def test_the_docstring_lists_every_setting() -> None:
    text = inspect.getdoc(pk.Settings) or ""
    for entry in fields(settings.Settings):
        assert f"\n    {entry.name}" in text and settings.option_of(entry).help.rstrip(".") in text


def test_the_declaration_needs_no_torch() -> None:
    code = (
        "import pnpkit.restoration.settings, sys; print([m for m in ('torch', 'numpy', 'deepinv') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_an_option_is_added_by_one_field_and_its_use(monkeypatch: pytest.MonkeyPatch) -> None:
    """One more field of the declaration: the functions take it, the commands have its flag, and its use sees it."""
    field = settings.declared(2.0, "How often to look.", kind="number", unit="times", group="quality", iterating=True)
    more = make_dataclass("Settings", [("looks", float, field)], bases=(settings.Settings,), frozen=True)
    monkeypatch.setattr(settings, "Settings", more)
    monkeypatch.setattr(options, "Settings", more)

    seen = []
    from pnpkit.restoration import deblur  # its use: one line where the settings are read

    def use(task: Callable[..., pk.Restoration], given: dict[str, object]) -> None:
        seen.append(settings.collect(task, given).looks)  # type: ignore[attr-defined]
        pytest.fail("far enough")

    monkeypatch.setattr(deblur, "collect", use)
    for keywords, expected in (({"looks": 3.0}, 3.0), ({}, 2.0)):
        with pytest.raises(pytest.fail.Exception):
            pk.deblur(IMAGE, "box:3", **keywords)
        assert seen.pop() == expected
    with pytest.raises(TypeError, match="did you mean 'looks'"):
        pk.deblur(IMAGE, "box:3", look=3)

    @click.command(cls=options.Grouped)
    @options.restoring("deblur")
    def command(**given: object) -> float:
        return options.settings_from("deblur", given).looks  # type: ignore[attr-defined]

    assert command.main(["--looks", "5"], standalone_mode=False) == 5.0
    assert command.main([], standalone_mode=False) == 2.0
    assert "How often to look (times)." in command.get_help(click.Context(command))


@pytest.mark.parametrize("level", [float("inf"), float("nan"), -0.1])
@pytest.mark.parametrize("given", [{}, {"strength": 0.1}])
def test_a_noise_level_is_finite_whatever_else_is_given(level: float, given: dict[str, float]) -> None:
    with pytest.raises(pk.PnpError, match="noise level must be"):
        pk.denoise(IMAGE, noise_level=level, denoiser="wavelet", **given)
