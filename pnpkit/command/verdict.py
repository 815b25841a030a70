"""The verdict on a restoration, in one to three plain sentences: what was found, what was done, what to try next.

Every word follows from a value of the restoration; no text is read to find it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pnpkit.restoration.defaults import DOUBTFUL
from pnpkit.restoration.settings import Settings

if TYPE_CHECKING:
    from pnpkit.command.tasks import Task
    from pnpkit.images.picture import Picture
    from pnpkit.kernels import Kernel
    from pnpkit.restoration.result import Restoration


SURE = 0.9  # confidence from which an estimate is called sure


UNSEEN = 0.5 / 255  # root mean square change, as a share of a picture's range, that nobody sees


NOISE = ((1 / 255, "hardly any noise"), (4 / 255, "a little noise"), (12 / 255, "clear noise"))  # levels below which


FORMS = {"gaussian": "a soft blur", "motion": "a straight motion", "disk": "a lens out of focus", "box": "a box"}


@dataclass(frozen=True)
class Verdict:
    """Sentences: what was found in the picture, what was done to it, what to look at or try next, and what the output
    holds where it is not the whole picture; the last two may be empty."""

    found: str
    done: str
    advice: str = ""
    part: str = ""

    @property
    def sentences(self) -> tuple[str, ...]:
        """The sentences that are not empty, in their order."""
        return tuple(filter(None, (self.found, self.done, self.advice, self.part)))


def verdict(task: Task, settings: Settings, picture: Picture, run: Restoration) -> Verdict:
    """The verdict on a run of the task.

    Args:
        settings: as asked for. picture: the input.
    """
    found = found_words(task, picture, run, noise_words(run, picture, settings.noise_level is not None))
    failure = failed(run, settings)
    if failure is not None:
        return Verdict(found, *failure)
    return Verdict(found, done_words(task, settings, picture, run), advice(task, settings, picture, run))


def found_words(task: Task, picture: Picture, run: Restoration, noise: str) -> str:
    """What was found in the picture."""
    if task.name == "deblur":
        return f"{blur_words(task, run)}, and there is {noise}."
    if task.name == "inpaint":
        return f"{holes_words(picture)}; elsewhere there is {noise}."
    if task.name == "upscale":
        return f"{size_words(picture, task.factor)}, and there is {noise}."
    return f"There is {noise}."


def noise_words(run: Restoration, picture: Picture, given: bool) -> str:
    """How noisy, in words of the picture's own range, and in the units of its file."""
    share = run.noise_level / run.span
    words = next((words for level, words in NOISE if share < level), "strong noise")
    amount = f"{run.noise_level * (picture.high - picture.low):.3g}"
    if picture.low == 0 and picture.dtype.kind == "u":
        amount += f" of {picture.high:g}"
    said = ", as you said" if given else ""
    return f"{words} ({amount}{' in linear light' if run.linear else ''}{said})"


def blur_words(task: Task, run: Restoration) -> str:
    """The blur, and how sure that is."""
    found = run.blur
    if found is None or found.confidence is None:
        return f"The blur is the one you gave ({task.reads[0]})"
    sure = sure_words(found.confidence)
    if found.family == "sharp" and found.doubts:
        return "The picture is too small or too flat to tell a blur"
    if found.family == "sharp":
        return f"No blur was found ({sure})"
    rows, columns = found.weights.shape
    form = FORMS.get(found.family, f"a shake along a path of its own, within {columns} x {rows} pixels")
    spec = f"{found.form}, " if found.family in FORMS else ""
    return f"The blur looks like {form} ({spec}estimated, {sure})"


def sure_words(confidence: float) -> str:
    """A confidence in words and as a number."""
    words = "sure" if confidence >= SURE else "fairly sure" if confidence >= DOUBTFUL else "not sure"
    return f"{words}: {confidence:.2f}"


def holes_words(picture: Picture) -> str:
    """How much was missing."""
    assert picture.holes is not None, "inpaint reads its picture with a mask"
    return f"{int(picture.holes.sum())} of {picture.holes.size} pixels were missing"


def size_words(picture: Picture, factor: int) -> str:
    """The size before and after."""
    rows, columns = picture.pixels.shape[:2]
    return f"The picture had {columns} x {rows} pixels and has {factor * columns} x {factor * rows} now"


def change(picture: Picture, run: Restoration) -> float:
    """Root mean square difference of input and result, as a share of the picture's range."""
    import numpy as np

    difference = np.asarray(run.image, np.float64) - picture.pixels
    return float(np.sqrt(np.mean(np.square(difference)))) / run.span


def done_words(task: Task, settings: Settings, picture: Picture, run: Restoration) -> str:
    """What was done, where nothing failed: also when that is nothing, or was asked for in part."""
    if run.amount == 0:
        return "Nothing was done, as --amount is 0."
    done = all_done(task, settings, picture, run)
    if run.amount == 1:
        return done
    return f"{done} Of that change the result has {100 * run.amount:.3g} % (--amount {run.amount:g})."


def all_done(task: Task, settings: Settings, picture: Picture, run: Restoration) -> str:
    """What was done, of a restoration whose amount is 1."""
    from pnpkit.solvers.result import Status

    stopped = run.status is Status.STEP_LIMIT
    settled = f"; it was stopped after {run.steps} steps, before it had settled" if stopped else ""
    if task.name == "inpaint":
        return f"They were filled in{settled}, and all else is as it was."
    if task.name == "upscale":
        return f"Fine detail was restored as far as the picture tells of it{settled}."
    if run.kernel is not None and run.kernel.size > 1:
        if settings.quick and stopped:
            return (
                f"Blur and noise were removed quickly, in {run.steps} step{'s' * (run.steps > 1)}: it has not settled."
            )
        passes = ", in two passes" if run.guide_steps else ""
        return f"Blur and noise were removed{passes}{settled}."
    if change(picture, run) < UNSEEN:
        return "Nothing was done: the picture is as it came, except for differences that nobody sees."
    if run.noise_level > run.strength * (1 + 1e-6):
        return f"Noise was removed, but it is stronger than this denoiser knows, so some is left{settled}."
    return f"{'Noise' if task.name == 'denoise' else 'Only noise'} was removed{settled}."


def failed(run: Restoration, settings: Settings) -> tuple[str, str] | None:
    """What happened and what to do, where the run failed."""
    from pnpkit.solvers.result import Status

    certified = "--denoiser euler, whose convergence is proven"
    return {
        Status.FALSIFIED: (
            "It was stopped: the run contradicts its own guarantee, so do not rely on the result.",
            f"Try {'--precision float64' if run.guarantee.lack and settings.precision != 'float64' else certified}, "
            "and please report it with what --json writes.",
        ),
        Status.DIVERGED: (
            "It was stopped, because it got worse from step to step; the result is the picture before that.",
            f"Try {certified}.",
        ),
        Status.NOT_FINITE: (
            "It was stopped, because NaN or infinity appeared; the result is the last good picture.",
            f"Try {certified}, or --device cpu.",
        ),
    }.get(run.status)


def advice(task: Task, settings: Settings, picture: Picture, run: Restoration) -> str:
    """What to look at or to try next; the most important first, one sentence."""
    from pnpkit.solvers.result import Status

    found = run.blur
    if task.name == "inpaint" and picture.holes is not None and 2 * picture.holes.sum() > picture.holes.size:
        return "That is more than half of the picture: a mask must be black where the picture is good."
    if found is not None and found.family == "sharp":
        if found.confidence is not None and found.confidence >= SURE:
            return ""
        return "If it looks blurred to you, name the blur: --kernel motion, disk, gaussian or free; its size is found."
    if found is not None and doubtful(found):
        return "Look at the edges: if they are doubled or ringed, the blur was another; give --kernel if you know it."
    if run.status is Status.STEP_LIMIT and settings.quick:
        return "Without --quick it takes longer and gets better."
    if run.status is Status.STEP_LIMIT:
        return f"It may still get better: allow it --max-steps {2 * settings.max_steps}."
    return f"Look at the kernel, too: {'; '.join(found.doubts)}." if found is not None and found.doubts else ""


def doubtful(found: Kernel) -> bool:
    """Whether an estimate of a blur may well be wrong."""
    return found.confidence is not None and (found.confidence < DOUBTFUL or found.family not in FORMS)


def assurance(run: Restoration) -> str:
    """What is guaranteed, in a word or two, and where to read why."""
    if not run.guarantee:
        return "nothing is guaranteed (--proof says why)"
    theorem = run.guarantee.theorem
    what = "stability" if run.guarantee.existence is None else "convergence"
    if theorem is not None and theorem.claim:
        what = "a falling objective"
    return f"{what} proven (--proof, --explain)"


def duration(seconds: float) -> str:
    """A time as a person says it: 0.4 s, 12 s, 3 min 20 s, 1 h 5 min."""
    if seconds < 59.5:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if minutes < 10 else f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"
