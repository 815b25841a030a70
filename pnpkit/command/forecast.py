"""How long a restoration will take, before it starts: a few steps on a crop, scaled to the picture and a usual run."""

from __future__ import annotations

import itertools
import math
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pnpkit.command.tasks import Deblur, Task
from pnpkit.errors import PnpError
from pnpkit.restoration.defaults import ROUGH
from pnpkit.restoration.settings import ITERATING, Settings

if TYPE_CHECKING:
    from pnpkit.images.picture import Picture
    from pnpkit.kernels import Kernel


SIDE = 160  # pixels: of the crop


LARGE = 100_000  # pixels: a smaller picture is done before a probe would tell


PROBED = 3  # steps on the crop; the first one is slower than the others


# Evaluations until a run ends at ``defaults.ROUGH``: of a run in one pass, and of the two passes of a guided denoiser;
# and how many more for each factor of ten that its tolerance is smaller.
ONE_PASS, TWO_PASSES, DECADE = 7.0, (4.0, 5.0), 4.0


GUIDED = 1.5  # time of an evaluation with a guide, in units of one without (1.3 to 1.5 at 0.3 megapixels)


BEGINNING = 1.5  # what comes before the first evaluation, in units of one


NAMED, FREE = 1.5, 6.0  # seconds of the search for a blur, named and of any form, where an evaluation takes REFERENCE


REFERENCE = 9e-6  # seconds per pixel and evaluation, of the machine that NAMED and FREE were measured on


SEARCHED = 0.8  # share of pictures for which a free form is searched


@dataclass(frozen=True)
class Forecast:
    """Seconds that each phase is expected to take, by its name, and those of a single step of the first pass."""

    phases: dict[str, float]
    step: float

    @property
    def total(self) -> float:
        """Seconds of all phases."""
        return sum(self.phases.values())


def forecast(task: Task, settings: Settings, picture: Picture, found: Kernel | None = None) -> Forecast | None:
    """What the restoration of this picture is expected to take; None where that is not foreseen.

    A few steps on a crop from the middle tell the time of one, with a blur of its own where that is to be estimated.
    Nothing is foreseen for small pictures, the denoiser alone and quick runs, which are over before a probe pays, nor
    where the crop cannot be restored or settles at once, as a constant one does.

    Args:
        found: the blur of a part of the picture, where one was looked for: that of the whole is taken to be alike.
    """
    rows, columns = picture.pixels.shape[:2]
    if task.name not in ITERATING or settings.quick or rows * columns < LARGE:
        return None
    try:
        seconds = seconds_a_step(task, settings, picture)
    except PnpError:  # a kernel larger than the crop, for instance: the restoration itself will tell
        return None
    if seconds is None:
        return None
    here = seconds / middle(picture).pixels[..., :1].size
    step = here * rows * columns * (task.factor**2 if task.name == "upscale" else 1)
    if task.name == "upscale":
        step /= task.factor**2  # the crop is enlarged, too
    more = 0.0 if settings.tol is None else DECADE * math.log10(ROUGH / max(settings.tol, 1e-12))
    phases = {"noise": 0.3 * here / REFERENCE * rows * columns / 1e6}
    if isinstance(task, Deblur) and task.blind:
        named = {"auto": NAMED + SEARCHED * FREE, "free": FREE}.get(task.kernel, NAMED)
        phases["blur"] = named * here / REFERENCE
    if has_two_passes(settings) and guides(found):
        first, second = TWO_PASSES
        phases |= {"restoring": step * (BEGINNING + first), "second pass": step * max(second + more, 1.0) * GUIDED}
    else:
        phases["restoring"] = step * (BEGINNING + min(max(ONE_PASS + more, 1.0), settings.max_steps))
    return Forecast(phases, step)


def guides(found: Kernel | None) -> bool:
    """Whether a second pass is likely, by the blur that was found in a part of the picture.

    A free form makes none. A doubtful named blur may: the whole picture may be surer of it.
    """
    from pnpkit.restoration.blur_kernel import FREE_FORM

    return found is None or (found.weights.size > 1 and found.form != FREE_FORM)


def has_two_passes(settings: Settings) -> bool:
    """Whether the denoiser is a guided one, which restores in two passes."""
    from pnpkit.registry import open_denoiser

    return open_denoiser(settings.denoiser).looks()[1] is not None


def middle(picture: Picture) -> Picture:
    """The crop that is probed: at most ``SIDE`` pixels a side, from the middle."""
    rows, columns = picture.pixels.shape[:2]
    down, right = (rows - min(rows, SIDE)) // 2, (columns - min(columns, SIDE)) // 2
    part = (slice(down, down + SIDE), slice(right, right + SIDE))
    holes = None if picture.holes is None else picture.holes[part]
    return replace(picture, pixels=picture.pixels[part], holes=holes, alpha=None)


def seconds_a_step(task: Task, settings: Settings, picture: Picture) -> float | None:
    """The least time between two of ``PROBED`` evaluations on the crop; None where it settles in the first."""
    crop, times = middle(picture), list[float]()
    if crop.holes is not None:
        holes = crop.holes.copy()
        holes[:2], holes[2:4] = True, False  # something to fill in, and something known
        crop = replace(crop, holes=holes)
    if isinstance(task, Deblur) and task.blind:
        task = replace(task, kernel="disk:2")

    def note(_: Any) -> None:
        times.append(time.perf_counter())

    task.restore(crop, replace(settings, noise_level=0.01, strength=None, tol=0.0, max_steps=PROBED), note)
    return min((later - earlier for earlier, later in itertools.pairwise(times)), default=None)
