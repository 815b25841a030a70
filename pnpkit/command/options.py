"""The flags of the restoring commands: those of the settings derived from their declaration, the others given here."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, fields
from typing import Any, TypeVar

import click

from pnpkit.command.part import Region, RegionType
from pnpkit.restoration.defaults import DENOISERS
from pnpkit.restoration.option import option_of
from pnpkit.restoration.settings import ITERATING, PICTURE, Settings, settings_of

Command = TypeVar("Command", bound=Callable[..., Any])


GROUPS = ("input", "blur", "quality", "output", "expert")  # headings of the help, in this order


UNITS = {PICTURE: "0 is black, 1 is white", "units of the data": "units of the file"}  # as the help says them


class Level(click.ParamType):
    """A finite number, of at least zero unless ``signed``, the word auto (None), or one of some other words."""

    def __init__(
        self,
        auto: bool = True,
        words: tuple[str, ...] = (),
        scale: str = " in units of the picture",
        signed: bool = False,
    ):
        self.auto, self.words, self.scale, self.signed = auto, words, scale, signed
        self.name = "|".join((*("auto",) * auto, *words, "NUMBER"))

    def get_metavar(self, *_: Any, **__: Any) -> str:
        """What can be typed, for the help."""
        return self.name

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float | str | None:
        if value is None or (self.auto and value == "auto"):
            return None
        if value in self.words:
            return str(value)
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not (math.isfinite(number) and (self.signed or number >= 0)):
            words = "".join(f"'{word}' or " for word in (*("auto",) * self.auto, *self.words))
            sign = "" if self.signed else " >= 0"
            self.fail(f"expected {words}a number{sign}{self.scale}, got '{value}'", param, ctx)
        return number


class Whole(click.IntRange):
    """A whole number from ``low``, up to ``high`` where there is one, and at most what 64 bits hold."""

    name = "number"

    def __init__(self, low: int, high: int | None = None):
        super().__init__(low, 2**63 - 1 if high is None else high)
        self.words = f"of at least {low}" if high is None else f"from {low} to {high}"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            return int(super().convert(value, param, ctx))
        except click.BadParameter:
            self.fail(f"expected a whole number {self.words}, got '{value}'", param, ctx)


class Flag(click.Option):
    """An option that stands under a heading of the help."""

    def __init__(self, *names: Any, group: str = "expert", **more: Any):
        super().__init__(*names, **more)
        self.group = group

    def get_help_extra(self, ctx: click.Context) -> Any:
        """The default, without the range: a number outside of it is told so."""
        extra = super().get_help_extra(ctx)
        extra.pop("range", None)
        return extra


class Commands(click.Group):
    """The commands in the order of their definition: the most used first."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, line in (
            ("Example", "pnpkit deblur photo.jpg --preview"),
            ("Completion", 'eval "$(_PNPKIT_COMPLETE=bash_source pnpkit)"'),
        ):
            with formatter.section(title):
                formatter.write_text(line)
        formatter.write_paragraph()
        formatter.write_text("The completion line is for ~/.bashrc; zsh and fish have zsh_source and fish_source.")


class Grouped(click.Command):
    """A command whose help has headings, and an example at its end."""

    def __init__(self, *names: Any, example: str = "", **more: Any):
        super().__init__(*names, **more)
        self.example = example

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for group in GROUPS:
            options = [p for p in self.get_params(ctx) if isinstance(p, click.Option) and group_of(p) == group]
            rows = [record for option in options if (record := option.get_help_record(ctx))]
            if rows:
                with formatter.section(group.capitalize()):
                    formatter.write_dl(rows)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        if self.example:
            with formatter.section("Example"):
                formatter.write_text(self.example)


def group_of(param: click.Parameter) -> str:
    """The heading of a parameter; ``--help`` stands with the output."""
    return param.group if isinstance(param, Flag) else "output"


def flag(*names: str, group: str, **more: Any) -> Callable[[Command], Command]:
    """A decorator that adds an option under a heading."""
    return click.option(*names, cls=Flag, group=group, **more)


@dataclass(frozen=True)
class Options:
    """What a restoring command is asked for around the restoration itself.

    Attributes:
        out: file or folder for the results; None: beside the input. overwrite: replace what exists. skip_existing:
            pass over inputs whose result exists.
        quiet: print nothing but errors. seed: of torch's generator.
        white, black: what counts as 1 and as 0, in the units of the file; None: the largest value, and 0 or the least.
        preview: restore roughly, a telling part or a smaller picture. region: restore that alone.
        proof, explain: say the derivation, and half a page in plain words, too.
        floats: write float32 in the units of the file, whatever type came.
        reference: the sharp picture. report: folder for a page. json_file, gif: files to write.
    """

    out: str | None = None
    overwrite: bool = False
    skip_existing: bool = False
    quiet: bool = False
    preview: bool = False
    region: Region | None = None
    proof: bool = False
    explain: bool = False
    seed: int = 0
    white: float | None = None
    black: float | None = None
    floats: bool = False
    reference: str | None = None
    report: str | None = None
    json_file: str | None = None
    gif: str | None = None


WHITE = flag(
    "--white",
    group="input",
    type=Level(scale=" in the units of the file", signed=True),
    default="auto",
    metavar="VALUE",
    help="Value of the file that counts as 1; brighter pixels stay. auto: the largest of 8 or 16 bits, 1 for floats "
    "within 0..1, else the largest value.",
)
BLACK = flag(
    "--black",
    group="input",
    type=Level(scale=" in the units of the file", signed=True),
    default="auto",
    metavar="VALUE",
    help="Value of the file that counts as 0; darker pixels stay. auto: 0 for 8 or 16 bits and for floats within 0..1, "
    "else the least value.",
)
OUT = flag("-o", "--output", "out", group="output", metavar="OUT",
           help="Output file, or folder/, which is made if needed; default: NAME-... beside the input.")  # fmt: skip
OVERWRITE = flag("--overwrite", group="output", is_flag=True, help="Replace an existing output.")
SKIP = flag("--skip-existing", group="output", is_flag=True, help="Skip inputs whose output exists.")
QUIET = flag("--quiet", group="output", is_flag=True, help="Print nothing but errors.")
PREVIEW = flag(
    "--preview",
    group="quality",
    is_flag=True,
    help="Write a rough result in seconds, NAME-preview.png: a telling part before and after, or all of a small one.",
)
REGION = flag("--region", group="input", type=RegionType(), metavar="X,Y,W,H",
              help="Restore and write only these pixels; X counts from the left, Y from the top.")  # fmt: skip
PROOF = flag("--proof", group="output", is_flag=True, help="Also print the derivation of the guarantee.")
EXPLAIN = flag("--explain", group="output", is_flag=True, help="Also print half a page in plain words.")
REFERENCE = flag("--reference", group="input", metavar="IMAGE", help="The sharp original, to print the PSNR.")
MASK = flag(
    "--mask", group="input", metavar="MASK", help="An image of the same size, not black where a pixel is unknown."
)
GUIDE = flag(
    "--guide",
    group="input",
    metavar="IMAGE",
    help="A picture of the result's size, made by any program, that guides a guided denoiser; the proof holds.",
)
WEIGHTS = flag(
    "--weights",
    group="input",
    metavar="FILE",
    help="A map of how much each pixel counts, such as field.fits[WHT]; [WHT] alone is that extension of the input.",
)
FLOAT = flag(
    "--float",
    "floats",
    group="output",
    is_flag=True,
    help="Write float32 in the units of the file, instead of the file's own type.",
)
REPORT = flag(
    "--report",
    group="output",
    metavar="NAME",
    help="Write a page with before, after, residuals and proof: NAME.html, or into a folder NAME.",
)
JSON = flag(
    "--json",
    "json_file",
    group="output",
    metavar="FILE",
    help="Write all figures, and what is needed to repeat the run.",
)
GIF = flag("--gif", group="output", metavar="FILE", help="Write the iterates as an animation.")
SEED = flag(
    "--seed",
    group="expert",
    type=Whole(0),
    default=0,
    show_default=True,
    metavar="N",
    help="Seed of all randomness.",
)
WRITING = (OUT, OVERWRITE, QUIET, SEED)  # what every command from image to image has


def together(*options: Callable[[Any], Any]) -> Callable[[Command], Command]:
    """One decorator out of several."""

    def add(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return add


def restoring(task: str) -> Callable[[Command], Command]:
    """All options of a command that restores: those of the files, and a flag for each setting of the task."""
    derived = [setting_flag(entry, task) for entry in settings_of(task) if option_of(entry).kind != "none"]
    shown = (GIF,) if task in ITERATING else ()
    around = (
        PREVIEW,
        REGION,
        WHITE,
        BLACK,
        REFERENCE,
        OUT,
        OVERWRITE,
        SKIP,
        FLOAT,
        QUIET,
        EXPLAIN,
        PROOF,
        REPORT,
        JSON,
    )
    return together(*derived, *around, *shown, SEED)


def setting_flags(task: str, *names: str) -> Callable[[Command], Command]:
    """The flags of some settings of a task."""
    return together(*(setting_flag(entry, task) for entry in settings_of(task) if entry.name in names))


def setting_flag(entry: Field[Any], task: str) -> Callable[[Any], Any]:
    """The flag of a field of ``Settings``: its name, type, default, heading and help."""
    about, default = option_of(entry), DENOISERS[task] if entry.name == "denoiser" else entry.default
    iterates = task in ITERATING
    unit = f" ({UNITS.get(about.unit, about.unit)})" if about.unit else ""
    text = f"{about.help}{about.iterating_help if iterates else ''}"
    more: dict[str, Any] = {"group": about.group, "help": text.removesuffix(".") + unit + "."}
    auto = default is None
    if about.kind == "switch":
        more["is_flag"] = True
    elif about.kind == "number":
        words = about.words + (about.iterating_words if iterates else ())
        scale = f" in {about.unit}" if about.unit else ""
        more["type"] = Level(auto, words, scale, about.signed)
    elif about.kind == "count":
        more |= {"type": Whole(1), "metavar": "N"}
    elif about.kind == "word":
        more["metavar"] = "NAME"
    elif about.kind == "folder":
        more |= {"metavar": "DIR", "default": None}
    if about.kind not in ("switch", "folder"):
        more |= {"default": "auto" if auto else str(default), "show_default": True}
    return flag(f"--{entry.name.replace('_', '-')}", **more)


def settings_from(task: str, given: Mapping[str, Any]) -> Settings:
    """The settings among the values of a command's flags."""
    names = {entry.name for entry in settings_of(task) if option_of(entry).kind != "none"}
    return Settings(**{"denoiser": DENOISERS[task], **{name: given[name] for name in names & given.keys()}})


def options_from(given: Mapping[str, Any]) -> Options:
    """What is not a setting among the values of a command's flags."""
    names = {entry.name for entry in fields(Options)}
    return Options(**{name: given[name] for name in names & given.keys()})
