"""The options that commands of the command line share, and the values that they take."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import click


class Level(click.ParamType):
    """A finite number, of at least zero unless ``signed``, the word auto (None), or one of some other words."""

    def __init__(
        self, auto: bool = True, words: tuple[str, ...] = (), scale: str = " on the 0..1 scale", signed: bool = False
    ):
        self.auto, self.words, self.scale, self.signed = auto, words, scale, signed
        self.name = "|".join((*("auto",) * auto, *words, "NUMBER"))

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


LINEAR = click.option("--linear", is_flag=True, help="Work in linear light (sRGB curve); levels are then of light.")


WHITE = click.option(
    "--white",
    type=Level(scale=" in the units of the file", signed=True),
    default="auto",
    metavar="VALUE",
    help="What counts as 1, in the units of the file; brighter pixels stay. auto: the largest.",
)


def image_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options that every command from image to image has."""
    options = [
        click.option("-o", "--output", "out", metavar="OUT", help="Output file, or a folder, which is made."),
        click.option("--overwrite", is_flag=True, help="Replace an existing output."),
        click.option("--quiet", is_flag=True, help="Print nothing but errors."),
        click.option(
            "--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True, help="Seed of all randomness."
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def restoring_options(denoiser: str) -> Callable[..., Any]:
    """Options of commands that restore, with this denoiser unless told otherwise."""
    options = [
        click.option("--noise-level", type=Level(), default="auto", help="Noise, 0..1 scale; auto estimates it."),
        click.option(
            "--denoiser",
            default=denoiser,
            show_default=True,
            help="A name from `pnpkit denoisers`, or deepinv:NAME, which fetches its weights.",
        ),
        click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda."),
        click.option(
            "--max-memory", type=Level(scale=""), default="auto", metavar="GIB", help="auto: half of the machine's."
        ),
        LINEAR,
        WHITE,
        click.option("--reference", metavar="IMAGE", help="The sharp picture, to report PSNR."),
        click.option("--report", metavar="DIR", help="Write a page: before and after, residuals, proof, settings."),
        click.option("--json", "json_file", metavar="FILE", help="Write status, certificate and figures."),
    ]

    def add(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            command = option(command)
        return command

    return add


def iterating_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options of commands that iterate to a fixed point."""
    options = [
        click.option(
            "--strength",
            type=Level(words=("sure",)),
            default="auto",
            help="Sigma of the denoiser, 0..1 scale; auto follows the noise, sure is chosen by this picture's risk.",
        ),
        click.option(
            "--precision",
            default="auto",
            show_default=True,
            help="auto, float32, float64, or bfloat16: early steps in that, then float32.",
        ),
        click.option("--gif", metavar="FILE", help="Write the iterates as an animation."),
        click.option(
            "--splitting",
            default="auto",
            show_default=True,
            help="continuation, half-quadratic or forward-backward; auto: the first for a blur, else the last.",
        ),
        click.option(
            "--tau", type=Level(scale=""), default="auto", help="Step size, > 0; forward-backward needs it in (0, 2/L)."
        ),
        click.option("--method", default="anderson", show_default=True, help="anderson, picard, km, halpern or fista."),
        click.option(
            "--tol",
            type=Level(auto=False, scale=""),
            default="1e-4",
            show_default=True,
            help="Relative residual to stop at.",
        ),
        click.option("--max-steps", type=click.IntRange(min=1), default=500, show_default=True),
    ]
    for option in reversed(options):
        command = option(command)
    return command
