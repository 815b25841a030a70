"""The settings of a restoration, each declared once: name, type, default, help, unit and group.

The tasks take them as keywords, the command line derives its flags from them, and the docstring of ``Settings`` lists
them. This module needs no torch: what must be checked with it is in ``restoration.checks``.
"""

from __future__ import annotations

import difflib
import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, fields, replace
from typing import TYPE_CHECKING, Any, TypedDict

from pnpkit.errors import InputError
from pnpkit.machine.phases import Phase
from pnpkit.restoration.defaults import DENOISERS, QUICK, QUICK_STEPS
from pnpkit.restoration.option import REQUIRED, declared, option_of

if TYPE_CHECKING:
    from pnpkit.networks.base import Network
    from pnpkit.solvers.result import Step


PRECISIONS = ("auto", "float32", "bfloat16", "float64")


RULES = ("auto", "sure")


GAUSSIAN, POISSON, POISSON_GAUSSIAN = "gaussian", "poisson", "poisson-gaussian"
NOISES = ("auto", GAUSSIAN, POISSON, POISSON_GAUSSIAN)


ITERATING = ("deblur", "inpaint", "upscale")  # tasks that look for a fixed point; denoise applies the denoiser once


PICTURE = "units of the picture"  # what they are stands in the docstring of ``Settings``


@dataclass(frozen=True)
class Settings:
    """How to restore: keyword arguments of ``deblur``, ``inpaint``, ``upscale`` and, where it says so, ``denoise``.

    Levels (of noise, strength, compression) and limits are in the units of the picture. For arrays and tensors of
    floats these are their own, whatever the range. For integers they are fractions of the largest value of the type:
    0.02 of a uint8 picture is 5.1. On the command line they are on the scale of ``images.files.read``: fractions for
    uint8 and uint16; floats within 0..1 as they are; for others the least value is 0, and the largest, or a given
    white, is 1.
    """

    denoiser: str | Network = declared(
        REQUIRED,
        "A name from `pnpkit denoisers`, a folder of your own, or deepinv:NAME, which downloads its weights.",
        detail="Or a pnpkit network, a deepinv denoiser, or a function D(x, sigma) of images (B, 3, H, W) and a number."
        " Each task has its own default, see ``restoration.defaults.DENOISERS``. A guided "
        "denoiser restores, and then restores again, guided by the first result. It makes only one pass if there is no "
        "blur, or if the blur was estimated as a free form or with little confidence: what a wrong kernel leaves would "
        "pass for structure (docs/lab-book). With ``dncnn`` nothing is guaranteed.",
        kind="word",
        group="quality",
    )
    noise_level: float | None = declared(
        None,
        "Standard deviation of the noise; auto estimates it.",
        kind="number",
        unit=PICTURE,
        group="input",
    )
    strength: float | str | None = declared(
        None,
        "Sigma that the denoiser is told: larger is smoother; auto follows the noise",
        iterating_help=", sure is chosen for this picture by Stein's unbiased risk",
        detail="By the rules of ``restoration.plan.strength_for`` and ``restoration.sure.by_sure``; the latter takes "
        "two to four times as long.",
        kind="number",
        unit=PICTURE,
        iterating_words=("sure",),
        group="quality",
    )
    noise: str = declared(
        "auto",
        "gaussian, poisson or poisson-gaussian; auto: gaussian, unless the noise grows with brightness beyond doubt.",
        detail="poisson: y = gain * counts + offset; the variance grows with y, so bright pixels count less. "
        "Variances are taken at a smoothed picture first, then at the first restoration. poisson-gaussian adds read "
        "noise. To give a gain, an offset or a read noise asks for this model. What is not given is estimated from the "
        "picture, but offset and read noise are 0 if a gain is given. See ``pnpkit.noise``.",
        kind="word",
        group="input",
    )
    gain: float | None = declared(
        None,
        "Units of the data per photon or electron, > 0; auto: estimated if the noise is that of counts.",
        detail="Like ``offset``, ``read_noise`` and ``saturation`` in the units of the data: of integers and of files "
        "the numbers that they hold, while noise level and strength of integers are fractions of the type's largest.",
        kind="number",
        unit="units of the data",
        group="input",
    )
    offset: float | None = declared(
        None,
        "Reading without light; auto: 0 if a gain is given, else estimated.",
        kind="number",
        unit="units of the data",
        signed=True,
        group="input",
    )
    read_noise: float | None = declared(
        None,
        "Standard deviation of the noise without light; auto: 0 if a gain is given, else estimated.",
        kind="number",
        unit="units of the data",
        group="input",
    )
    saturation: float | str = declared(
        "auto",
        "Reading at which pixels saturate; such a pixel says only 'at least so bright'. off: take every reading as it "
        "is; auto: look for a plateau at the top of a blurred picture.",
        detail="``deblur`` looks for a plateau, and whether what is around it asks for more light than the ceiling, as "
        "around lamps (``restoration.lamps``): a white sky stays as it is. ``inpaint`` and "
        "``upscale`` use a value that is given, ``denoise`` "
        "takes no value. Pixels beside them are unknown, and the estimate may be brighter than the ceiling; the "
        "result is cut back to what the type, or ``limits``, can hold.",
        kind="number",
        unit="units of the data",
        words=("auto", "off"),
        group="input",
    )
    amount: float = declared(
        1.0,
        "How far to go from the input, 0, to the restoration, 1.",
        detail="The result is (1 - amount) y + amount x, by its map's ``mixed``: for each amount the fixed point of a "
        "map with the same certificate. Exaggerated changes become weaker, and noise and blur come back, by the same "
        "share. Missing pixels of y are taken from nearby ones; to upscale, y is enlarged by bicubic splines.",
        kind="number",
        group="quality",
    )
    quick: bool = declared(
        False,
        "For slightly soft pictures: one step with the wavelet denoiser, in seconds a megapixel; not proven to have "
        "settled.",
        detail="``defaults.QUICK_STEPS`` evaluations of T, whose half for the data is in closed form, and no second "
        "pass; a denoiser other than the default is kept. What is proven about such a run is that no step moves two "
        "pictures apart. Its residual meets no tolerance, and the run says so.",
        kind="switch",
        group="quality",
        iterating=True,
        only="deblur",
    )
    resolution: float | None = declared(
        None,
        "Width of a point in the result, in pixels (FWHM), 0 to 16; auto: 1.5 in a field of stars, else 0.",
        detail="A star between two pixels cannot be shown one pixel wide: a run that tries makes rings and changes the "
        "flux. So points in the result keep this width, and only the rest of the kernel is undone, see "
        "``kernels.narrowed``. 0 undoes the kernel as it is.",
        kind="number",
        group="quality",
        iterating=True,
        only="deblur",
    )
    weights_are: str = declared(
        "auto",
        "What the weights are: relative, inverse-variance, variance or standard-deviation; auto: what their name says, "
        "else relative.",
        detail="What ``weights`` hold. Relative ones are inverse variances up to a factor, which follows from the "
        "noise of the picture, or from ``noise_level``. The others are in the units of the data and state the noise "
        "themselves. Arrays have no name, so for them auto is relative. 0 and NaN always mark unknown pixels.",
        kind="word",
        group="input",
    )
    splitting: str = declared(
        "auto",
        "continuation, half-quadratic or forward-backward; auto: continuation for a blur, else forward-backward.",
        detail="How T meets the data: by prox_{tau f} at a small and a large penalty in turn, at one penalty, or by "
        "id - tau grad f. ``auto`` takes what restores best (docs/lab-book), but forward-backward for fista, and "
        "``descent`` (``solvers.descent``) for a denoiser with a potential, as ``gradient-step``.",
        kind="word",
        iterating=True,
    )
    tau: float | None = declared(
        None,
        "Step size or penalty, > 0; forward-backward needs it in (0, 2/L); auto follows the noise.",
        detail="By the rule of ``restoration.plan.step_for``.",
        kind="number",
        iterating=True,
    )
    method: str = declared(
        "anderson",
        "Iteration: anderson (accelerated, and keeps the proof), picard, km, halpern or fista.",
        detail="See ``solvers.iterations``. ``fista`` with ``ridge`` minimises f + R / tau, see "
        "``restoration.plan.penalised_by``.",
        kind="word",
        iterating=True,
    )
    tol: float | None = declared(
        None,
        "Relative residual at which to stop; auto: 1e-4, and 1e-3 for more than 0.1 megapixels.",
        detail="Stop when ||x - T x|| <= tol ||x||, for a tau below 1/L when it is <= tol tau L ||x||. For pictures of "
        "more than 0.1 megapixels, what lies beyond the frame is not counted, except with ``quick``. For the cost of "
        "the larger tolerance see ``restoration.defaults.tolerance``.",
        kind="number",
        group="quality",
        iterating=True,
    )
    max_steps: int = declared(
        500, "Steps (evaluations of the map) after which to stop.", kind="count", group="quality", iterating=True
    )
    device: str | None = declared(
        None,
        "auto, cpu or cuda; auto: the GPU if there is one.",
        kind="word",
    )
    max_memory: float | None = declared(
        None,
        "Memory that the run may take; auto: half of the machine's. The network works on tiles if needed.",
        kind="number",
        unit="GiB",
    )
    precision: str = declared(
        "auto",
        "Arithmetic: auto, float32, float64",
        iterating_help=", or bfloat16 for the early steps and float32 for the last",
        detail="Certificate and last residual are about the last steps alone. auto keeps the picture's type and, where "
        "steps are iterated, probes whether bfloat16 pays here.",
        kind="word",
    )
    limits: tuple[float, float] | None = declared(
        None,
        "The range that the estimate is kept in; the projection onto it is part of T.",
        detail="None: what the type of integers holds; 0..1 for floats that look like a photograph on that scale; else "
        "beyond the data as ``restoration.scale.box_of`` says. ``denoise`` cuts nothing.",
        unit=PICTURE,
    )
    cache: str | None = declared(
        None,
        "Folder that keeps the guide, the end of the run and an estimated kernel; the next run begins there.",
        detail="The key is the content that they follow from, see ``restoration.kept``. The proof holds from any "
        "start, and the residual is measured anew. With another ``amount`` or a larger tolerance, a run takes one or "
        "two evaluations. For a volume larger than the memory, the folder holds all arrays until the end.",
        kind="folder",
        iterating=True,
    )
    callback: Callable[[Step], None] | None = declared(
        None, "Called with a ``Step`` after every evaluation of the map.", iterating=True
    )
    progress: Callable[[Phase], None] | None = declared(
        None, "Called with a ``Phase`` as each begins: noise, blur, restoring, second pass, denoising."
    )
    linear: bool = declared(
        False,
        "Work in linear light: undo the sRGB curve before, apply it after; levels are then of linear light.",
        detail="Blur and noise happen in light, and files hold about its 1/2.4th power. Noise level, strength, limits "
        "and the callback's iterates are of linear light.",
        kind="switch",
        group="input",
    )
    compression: float = declared(
        0.0,
        "Root mean square error that lossy compression left, as ``images.files.read`` tells it of a JPEG.",
        detail="The estimated noise level is at least 1.5 times that: compression hides noise behind its own error.",
        unit=PICTURE,
    )


class ReadingKeywords(TypedDict, total=False):
    """The keywords of ``estimate_kernel``, for type checkers: what is known of the readings."""

    limits: tuple[float, float] | None
    linear: bool
    compression: float
    noise: str
    gain: float | None
    offset: float | None
    read_noise: float | None
    saturation: float | str
    weights_are: str


class DenoisingKeywords(ReadingKeywords, total=False):
    """The keywords of ``denoise``, for type checkers: the fields of ``Settings`` that need no iteration.

    Its noise level is an argument of its own, which may stand second.
    """

    denoiser: str | Network
    strength: float | str | None
    device: str | None
    max_memory: float | None
    precision: str
    progress: Callable[[Phase], None] | None
    amount: float


class SettingsKeywords(DenoisingKeywords, total=False):
    """The keywords of ``deblur``, ``inpaint`` and ``upscale``, for type checkers: the fields of ``Settings``."""

    noise_level: float | None
    quick: bool
    resolution: float | None
    splitting: str
    tau: float | None
    method: str
    tol: float | None
    max_steps: int
    cache: str | None
    callback: Callable[[Step], None] | None


def settings_of(task: str) -> list[Field[Any]]:
    """The fields of ``Settings`` that a task takes."""
    return [
        entry
        for entry in fields(Settings)
        if (task in ITERATING or not option_of(entry).iterating) and option_of(entry).only in ("", task)
    ]


def collect(task: Callable[..., Any], given: Mapping[str, Any]) -> Settings:
    """The settings of a call ``task(..., **given)``.

    Raises:
        TypeError: a keyword that is no setting of the task; the message holds the nearest name.
    """
    name = task.__name__
    known = [entry.name for entry in settings_of(name)]
    for word in given:
        if word not in known:
            own = [p.name for p in inspect.signature(task).parameters.values() if p.kind is not p.VAR_KEYWORD]
            near = difflib.get_close_matches(word, own + known, n=1)
            hint = f": did you mean '{near[0]}'?" if near else ""
            raise TypeError(f"{name}() got an unexpected keyword argument '{word}'{hint} (see pnpkit.Settings)")
    return hurried(Settings(**{"denoiser": DENOISERS[name], **given}))


def hurried(settings: Settings) -> Settings:
    """The settings of a quick run, where one is asked for: few steps, and a cheap denoiser in place of the default."""
    if not settings.quick:
        return settings
    denoiser = QUICK if settings.denoiser == DENOISERS["deblur"] else settings.denoiser
    return replace(settings, denoiser=denoiser, max_steps=min(settings.max_steps, QUICK_STEPS))


def check_level(what: str, value: float | str, top: float = 1.0) -> float:
    """A level in the units of the picture: a number in [0, top]."""
    if isinstance(value, str):
        raise InputError(f"{what} must be a number here, got '{value}'")
    try:
        level = float(value)
    except (TypeError, ValueError):
        raise InputError(f"{what} must be a number, got {value!r}") from None
    if level == math.inf:
        raise InputError(f"{what} must be a finite number >= 0, in the units of the picture, got inf")
    if not 0 <= level <= top:
        raise InputError(f"{what} must be in [0, {top:.4g}], in the units of the picture, got {value}{in_units(level)}")
    return level


def in_units(level: float) -> str:
    """What a level above 1 would be on the 0..1 scale, were it one of 255 or of 65535."""
    top = next((top for top in (255, 65535) if 1 < level <= top), None)
    return "" if top is None else f": {level:g} of {top} is {level / top:.3g}"


def listed() -> str:
    """Every setting with its default, unit and help: the list in the docstring of ``Settings``."""
    lines = []
    for entry in fields(Settings):
        about = option_of(entry)
        unit = f" [{about.unit}]" if about.unit else ""
        only = "" if about.iterating else " Also of ``denoise``."
        text = f"{about.help}{about.iterating_help}"
        text += ("" if text.endswith(".") else ".") + f" {about.detail}" * bool(about.detail)
        default = "" if entry.name == "denoiser" else f" = {entry.default!r}"
        lines.append(f"    {entry.name}{default}{unit}: {text}{only}")
    return "\n".join(lines)


Settings.__doc__ = f"{Settings.__doc__}\n\nAttributes:\n{listed()}\n"
