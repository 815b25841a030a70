"""Where a restoration is, and how long it will still take: a line on a terminal, elsewhere a line now and then."""

from __future__ import annotations

import math
import shutil
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pnpkit.command.forecast import GUIDED, ONE_PASS, TWO_PASSES, Forecast
from pnpkit.command.messages import say
from pnpkit.command.verdict import duration
from pnpkit.machine.phases import Phase

if TYPE_CHECKING:
    from pnpkit.solvers.result import Step


ORDER = ("reading", "noise", "blur", "restoring", "second pass")  # the phases in their order


EVERY = 30.0  # seconds between two lines where there is no terminal


TICK = 0.5  # seconds between two looks at the clock


FITTED = 6  # last residuals that the slope is taken of


TRUSTED = 4.0  # residuals after which the measured slope counts as much as the usual number of steps


@dataclass
class Course:
    """What has happened until now, and what is expected. It reads the clock and prints nothing.

    Attributes:
        now: the clock, in seconds. forecast: of the whole; None where none was made.
        phase: the present one. twice: whether a second pass follows the first.
        tol: the residual that the phase ends at.
        steps: time and residual of each step of the phase.
        began: when all of it began. opened: when the phase began. since: when its present part did.
    """

    now: Callable[[], float] = time.perf_counter
    forecast: Forecast | None = None
    phase: Phase = Phase("reading")
    twice: bool = False
    tol: float = 0.0
    steps: list[tuple[float, float]] = field(default_factory=list)
    began: float = 0.0
    since: float = 0.0
    opened: float = 0.0

    def __post_init__(self) -> None:
        self.began = self.since = self.opened = self.now()

    def enter(self, phase: Phase) -> None:
        """Note that a phase, or a further part of the present one, begins; a phase that is over does not come again."""
        if phase.name in ORDER and self.phase.name in ORDER[ORDER.index(phase.name) + 1 :]:
            return
        if phase.name == "restoring":
            self.twice = phase.parts > 1
        if phase.name != self.phase.name:
            self.opened, self.steps = self.now(), []
        self.phase, self.since = phase, self.now()

    def step(self, step: Step) -> None:
        """Note the end of an evaluation."""
        self.tol = step.tol
        self.steps.append((self.now(), max(step.residual)))

    @property
    def elapsed(self) -> float:
        """Seconds since the beginning."""
        return self.now() - self.began

    def left(self) -> float | None:
        """Seconds that are still expected of all phases; None while nothing is known of them."""
        here = self.left_here()
        if here is None or (self.forecast is None and not self.steps):  # nothing is known of what follows
            return None
        later = ORDER[ORDER.index(self.phase.name) + 1 :] if self.phase.name in ORDER else ()
        known = self.forecast.phases if self.forecast else {}
        pace = self.pace()
        if self.phase.name == "restoring" and not self.twice:  # whatever was foreseen before the blur was known
            return here
        if self.phase.name == "restoring" and pace is not None:  # measured, where it is
            return here + TWO_PASSES[1] * GUIDED * pace
        return here + sum(known.get(name, 0.0) for name in later)

    def left_here(self) -> float | None:
        """Seconds that are still expected of this phase; None while nothing is known of them."""
        pace, spent = self.pace(), self.now() - self.opened
        if pace is not None:
            left, since = self.steps_left(), self.now() - self.steps[-1][0]
            return None if left is None else max(left * pace - min(since, pace), 0.0)
        expected = None if self.forecast is None else self.forecast.phases.get(self.phase.name, 0.0)
        if self.phase.parts > 1 and self.phase.name == "blur" and self.phase.part > 1:
            each = (self.since - self.opened) / (self.phase.part - 1)
            return max(each * (self.phase.parts - self.phase.part + 1) - (self.now() - self.since), 0.0)
        return None if expected is None else max(expected - spent, 0.1 * expected)

    def pace(self) -> float | None:
        """Mean seconds of a step of this phase; None before its second step."""
        if len(self.steps) < 2:
            return None
        return (self.steps[-1][0] - self.steps[0][0]) / (len(self.steps) - 1)

    def steps_left(self) -> float | None:
        """Steps until the tolerance: the usual number at first, and ever more what the residuals tell.

        None if a run takes longer than usual and its residuals do not tell, as without a tolerance.
        """
        usual = TWO_PASSES[1] if self.phase.name == "second pass" else TWO_PASSES[0] if self.twice else ONE_PASS
        expected = max(usual - len(self.steps), 1.0)
        told = steps_to(self.tol, [residual for _, residual in self.steps])
        if told is None:
            return expected if len(self.steps) <= 2 * usual else None
        weight = len(self.steps) / (len(self.steps) + TRUSTED)
        return weight * told + (1 - weight) * expected

    def share(self) -> float | None:
        """The share of the whole time that is over, 0..1; None while that is not known."""
        left = self.left()
        return None if left is None else self.elapsed / max(self.elapsed + left, 1e-9)

    def words(self) -> str:
        """One line: the phase, the step, and the time left."""
        text = str(self.phase)
        if self.steps:
            text += f", step {len(self.steps)}"
        left, share = self.left(), self.share()
        if left is None or share is None:
            return f"{text}, {duration(self.elapsed)} so far"
        return f"{text}: {100 * share:.0f} %, about {roughly(left)} left"


def steps_to(tol: float, residuals: Sequence[float]) -> float | None:
    """log(r / tol) / slope: steps until residuals that fall geometrically reach ``tol``; None where they tell nothing.

    The slope is the least squares fit to the logarithms of the last ``FITTED``.
    """
    logs = [math.log(r) for r in residuals[-FITTED:] if 0 < r < math.inf]
    if len(logs) < 3 or tol <= 0:
        return None
    middle, mean = (len(logs) - 1) / 2, sum(logs) / len(logs)
    slope = sum((i - middle) * (value - mean) for i, value in enumerate(logs))
    slope /= sum((i - middle) ** 2 for i in range(len(logs)))
    if slope >= -1e-3:
        return None
    return max((logs[-1] - math.log(tol)) / -slope, 0.0)


def roughly(seconds: float) -> str:
    """In words as exact as such an estimate is: to 5 s, above two minutes to 30 s, above ten to minutes."""
    unit = 1 if seconds < 10 else 5 if seconds < 120 else 30 if seconds < 600 else 60
    whole = unit * max(1, round(seconds / unit))
    return f"{whole} s" if whole < 60 else duration(whole)


class Progress:
    """Shows a ``Course`` on stderr while a block runs, if ``shown``.

    On a terminal it is one line that is replaced, elsewhere a new line every ``EVERY`` seconds at most.
    """

    def __init__(self, shown: bool, name: str = ""):
        self.shown, self.name, self.course = shown, name, Course()
        self.terminal = shown and sys.stderr.isatty()
        self.said, self.over = self.course.now(), threading.Event()
        self.ticker: threading.Thread | None = None
        self.bar: Any = None

    def __enter__(self) -> Progress:
        if self.terminal:
            from tqdm import tqdm

            width = shutil.get_terminal_size((100, 24)).columns or 100  # some terminals say 0, of their rows, too
            form, size = "{desc} {bar:20}", {"ncols": width - 1, "nrows": 24}
            self.bar = tqdm(total=100, leave=False, bar_format=form, file=sys.stderr, **size)
        if self.shown:
            self.ticker = threading.Thread(target=self.tick, daemon=True)
            self.ticker.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        if self.ticker is not None:
            self.ticker.join()
        if self.bar is not None:
            self.bar.close()

    def tick(self) -> None:
        """Show the clock until the block is over."""
        while not self.over.wait(TICK):
            self.show()

    def show(self) -> None:
        """Show the present line, where one is due."""
        if self.bar is not None:
            self.bar.n = 100 * (self.course.share() or 0.0)
            self.bar.set_description_str(self.course.words())
        elif self.shown and self.course.now() - self.said >= EVERY:
            self.said = self.course.now()
            say(f"{self.name}: {self.course.words()}" if self.name else self.course.words(), error=True)

    def foresee(self, forecast: Forecast | None) -> None:
        """Say how long all of it will take, where that is longer than ``EVERY``."""
        self.course.forecast = forecast
        if forecast is not None and forecast.total > EVERY and self.shown and self.bar is None:
            say(f"{self.name}: this takes about {roughly(forecast.total)}", error=True)

    def enter(self, phase: Phase) -> None:
        """Note that a phase begins."""
        self.course.enter(phase)

    def step(self, step: Step) -> None:
        """Note the end of an evaluation."""
        self.course.step(step)
