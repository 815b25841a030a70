"""The course of a run: phases, the share that is done, the time left; one line on a terminal, elsewhere at times."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from pnpkit.command import progress, tasks
from pnpkit.command.forecast import Forecast, forecast, guides
from pnpkit.images.picture import Picture
from pnpkit.kernels import Kernel
from pnpkit.machine.phases import Phase
from pnpkit.registry import open_denoiser
from pnpkit.restoration import deblur, denoise
from pnpkit.restoration.defaults import GUIDE
from pnpkit.restoration.settings import Settings
from pnpkit.solvers.result import Step


class Clock:
    """A time that is set by hand."""

    def __init__(self) -> None:
        self.time = 100.0

    def __call__(self) -> float:
        return self.time


def step(residual: float, tol: float = 1e-4) -> Step:
    return Step(1, torch.zeros(1, 1, 2, 2), (residual,), tol)


@pytest.fixture
def course() -> tuple[progress.Course, Clock]:
    clock = Clock()
    phases = {"noise": 1.0, "blur": 10.0, "restoring": 20.0, "second pass": 40.0}
    return progress.Course(clock, Forecast(phases, 3.0)), clock


def test_a_second_pass_that_will_not_be_is_not_waited_for(course: tuple[progress.Course, Clock]) -> None:
    """It was foreseen before the blur turned out to be of a free form."""
    run, clock = course
    run.enter(Phase("blur"))
    clock.time += 10
    run.enter(Phase("restoring"))
    assert run.left() == pytest.approx(20)


def test_the_time_left_falls_from_the_forecast_to_nothing(course: tuple[progress.Course, Clock]) -> None:
    run, clock = course
    run.enter(Phase("noise"))
    assert run.left() == pytest.approx(71)
    clock.time += 1
    run.enter(Phase("blur"))
    clock.time += 5
    assert run.left() == pytest.approx(65)
    run.enter(Phase("blur", 1, 4))
    clock.time += 5
    run.enter(Phase("blur", 2, 4))
    assert run.left_here() == pytest.approx(3 * 10), "the parts that are done tell of those to come"
    run.enter(Phase("noise"))
    assert str(run.phase) == "blur, 2 of 4", "what is over does not come again"
    run.enter(Phase("restoring", parts=2))
    clock.time += 4
    assert run.left() == pytest.approx(16 + 40)
    shares = [run.share()]
    for k in range(5):
        clock.time += 2
        run.step(step(10.0 ** (-0.5 * k), tol=1e-2))  # that of a first pass
        shares.append(run.share())
    assert None not in shares and shares == sorted(shares), "the share never falls in a steady run"
    second = run.left() - run.left_here()  # type: ignore[operator]
    assert second == pytest.approx(progress.TWO_PASSES[1] * progress.GUIDED * 2), "a step with a guide takes longer"
    run.enter(Phase("second pass"))
    assert run.left() == pytest.approx(40), "a phase begins with its own steps"


def test_residuals_that_fall_steadily_tell_the_steps_that_are_left() -> None:
    falling = [0.5**k for k in range(10)]
    assert progress.steps_to(0.5**12, falling) == pytest.approx(3)
    assert progress.steps_to(0.5**5, falling) == 0
    for nothing in ([1.0, 0.5], [0.1] * 9, [0.1 * 1.1**k for k in range(9)], [0.0] * 9):
        assert progress.steps_to(1e-4, nothing) is None
    assert progress.steps_to(0.0, falling) is None


def test_the_steps_left_are_the_usual_ones_at_first_and_the_measured_ones_later(
    course: tuple[progress.Course, Clock],
) -> None:
    run, clock = course
    run.enter(Phase("restoring"))
    assert run.steps_left() == progress.ONE_PASS
    for k in range(40):
        clock.time += 3
        run.step(step(10.0 ** (-0.05 * k)))
    assert run.steps_left() == pytest.approx((4 - 0.05 * 39) / 0.05, rel=0.2) and run.pace() == pytest.approx(3)


def test_without_a_forecast_the_line_tells_the_time_so_far() -> None:
    clock = Clock()
    run = progress.Course(clock)
    run.enter(Phase("noise"))
    clock.time += 12
    assert run.words() == "noise, 12 s so far"
    run.enter(Phase("blur", 2, 4))
    assert run.words() == "blur, 2 of 4, 12 s so far" and run.share() is None


def test_off_a_terminal_a_line_comes_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    shown, clock = progress.Progress(True, "a.png"), Clock()
    shown.course.now, shown.said = clock, clock.time
    shown.foresee(Forecast({"restoring": 100.0}, 10.0))
    assert capsys.readouterr().err == "a.png: this takes about 1 min 40 s\n"
    shown.foresee(Forecast({"restoring": 5.0}, 1.0))
    for _ in range(100):
        clock.time += 1
        shown.show()
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3 and all(line.startswith("a.png: reading") for line in lines)
    silent = progress.Progress(False)
    silent.course.now = clock
    with silent:
        silent.foresee(Forecast({"restoring": 100.0}, 10.0))
        clock.time += 1000
        silent.show()
    assert capsys.readouterr().err == ""


def test_a_terminal_sees_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setattr(progress, "TICK", 0.01)
    with progress.Progress(True, "a.png") as shown:
        shown.enter(Phase("blur", 2, 4))
        shown.show()
    error = capsys.readouterr().err
    assert "blur, 2 of 4" in error and "\n" not in error.strip("\r\n ")


def test_the_phases_are_told_in_their_order_and_the_steps_name_theirs() -> None:
    image = np.random.default_rng(0).random((64, 64)).astype(np.float32)
    phases, steps = list[Phase](), list[Step]()
    deblur.deblur(
        image,
        "disk:1.5",
        denoiser="euler-guided",
        max_steps=60,
        tol=3e-3,
        progress=phases.append,
        callback=steps.append,
    )
    assert [phase.name for phase in phases] == ["noise", "restoring", "second pass"]
    assert {step.phase for step in steps} == {"restoring", "second pass"} and steps[0].phase == "restoring"
    assert [step.number for step in steps] == list(range(1, len(steps) + 1)) and {step.tol for step in steps} == {
        GUIDE,
        3e-3,
    }
    told = list[Phase]()
    denoise.denoise(image, 0.1, denoiser="identity", progress=told.append)
    assert told == [Phase("denoising")]


def test_the_search_for_a_blur_tells_which_size_it_tries() -> None:
    from pnpkit.blind.general import estimate_general

    told = list[Phase]()
    estimate_general(np.random.default_rng(0).random((64, 64)), (5, 7), told.append)
    assert [str(phase) for phase in told] == ["blur, 1 of 2", "blur, 2 of 2"]


def test_a_forecast_is_made_of_large_pictures_alone() -> None:
    settings = Settings(open_denoiser("identity"))
    task = tasks.Deblur("auto", "unknown")
    assert forecast(task, settings, Picture(np.zeros((64, 64), np.float32))) is None
    assert forecast(tasks.Denoise(), settings, Picture(np.zeros((400, 400), np.float32))) is None
    assert forecast(task, Settings("identity"), Picture(np.zeros((400, 400), np.float32))) is None, "it settles at once"
    image = np.random.default_rng(0).random((400, 300)).astype(np.float32)
    found = forecast(task, settings, Picture(image))
    assert found is not None and list(found.phases) == ["noise", "blur", "restoring"]
    assert found.phases["restoring"] == pytest.approx((progress.ONE_PASS + 1.5) * found.step) and found.total > 0
    assert forecast(tasks.Deblur("box:301", "unknown"), settings, Picture(image)) is None, "the run itself refuses it"
    twice = Settings(open_denoiser("euler-guided"))
    assert "second pass" in (forecast(task, twice, Picture(image)) or found).phases
    named, free = (Kernel(np.ones((3, 3)) / 9, "", 0.9, form) for form in ("disk:1", "free-form"))
    assert guides(None) and guides(named) and not guides(free), "a free form guides no second pass"
    assert not guides(Kernel(np.ones((1, 1)), "", 0.9, "sharp"))


def test_quiet_is_quiet(cli, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    from pnpkit.images import files

    files.write(tmp_path / "a.png", Picture(np.random.default_rng(0).random((24, 24))))
    assert cli("denoise", tmp_path / "a.png", "--denoiser", "identity", "--quiet") == (0, "", "")


def test_without_a_tolerance_no_end_is_foretold(course: tuple[progress.Course, Clock]) -> None:
    run, clock = course
    run.enter(Phase("restoring"))
    for k in range(int(2 * progress.ONE_PASS) + 1):
        clock.time += 2
        run.step(step(0.5**k, tol=0.0))
    assert run.left() is None and "so far" in run.words() and "left" not in run.words()
