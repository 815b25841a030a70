"""The plug-in of napari: the work without Qt, the manifest, and the panels off any screen."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pnpkit.errors import InputError
from pnpkit.plugins.napari import work
from pnpkit.plugins.napari.work import Pixels, kernel_from, restored

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of what napari calls
PICTURE = np.random.default_rng(0).random((16, 18))
VOLUME = np.random.default_rng(1).random((4, 12, 14))
PSF = np.ones((3, 3, 3)) / 27
QUICK = {"denoiser": "identity", "noise_level": 0.1}


def never() -> bool:
    return False


def test_layers_are_pictures_volumes_and_stacks() -> None:
    assert Pixels(PICTURE).axes() is None and Pixels(np.dstack([PICTURE] * 3), rgb=True).axes() is None
    assert Pixels(VOLUME).axes() == "ZYX" and Pixels(VOLUME[None]).axes() == "CZYX"
    assert Pixels(VOLUME[None, None]).axes() == "TCZYX" and Pixels(VOLUME).axes(" CYX ") == "CYX"


def test_the_work_is_that_of_the_library_and_tells_how_far_it_is() -> None:
    import pnpkit as pk

    heard: list[tuple[str, float]] = []
    settings = {**QUICK, "kernel": PSF, "max_steps": 3, "axes": ""}
    values, message = restored("deblur", Pixels(VOLUME, "cells"), settings, lambda *told: heard.append(told), never)
    exact = pk.deblur(VOLUME, PSF, axes="ZYX", max_steps=3, **QUICK)
    np.testing.assert_array_equal(values, np.asarray(exact.image))
    shares = [share for text, share in heard if text.startswith("step")]
    assert len(shares) >= 1 and all(-1 <= share <= 1 for share in shares) and "noise level 0.1" in message
    values, _ = restored("denoise", Pixels(PICTURE), {**QUICK, "axes": ""}, lambda *told: None, never)
    np.testing.assert_allclose(values, PICTURE, atol=1e-6)


def test_the_work_stops_when_it_is_told_to() -> None:
    steps: list[str] = []
    settings = {**QUICK, "kernel": "gaussian:1", "max_steps": 500, "tol": 1e-12, "axes": ""}
    with pytest.raises(work.Cancelled):
        restored("deblur", Pixels(PICTURE), settings, lambda text, _: steps.append(text), lambda: len(steps) > 4)
    assert len(steps) == 5


def test_what_cannot_be_is_said_in_one_line() -> None:
    assert kernel_from(" box:3 ", None) == "box:3" and kernel_from("box:3", Pixels(PSF)) is PSF
    colours = Pixels(np.dstack([PICTURE] * 3), "photo", rgb=True)
    for action, words in (
        (lambda: kernel_from(" ", None), "expected the layer of a point-spread function"),
        (lambda: kernel_from("", colours), "the layer photo has others"),
        (lambda: work.estimated("stars", Pixels(VOLUME, "cells")), "cells has more axes"),
        (lambda: work.estimated("moons", Pixels(PICTURE)), "beads, stars, got 'moons'"),
    ):
        with pytest.raises(InputError, match=words) as error:
            action()
        assert "\n" not in str(error.value)


def test_a_point_spread_function_of_beads() -> None:
    stack, grid = np.full((21, 60, 60), 10.0), np.indices((21, 60, 60))
    for z, y, x in ((10, 15, 15), (10, 15, 44), (10, 44, 30)):
        distance = sum(((axis - at) / s) ** 2 for axis, at, s in zip(grid, (z, y, x), (2, 1.5, 1.5), strict=True))
        stack += 200 * np.exp(-distance / 2)
    values, message = work.estimated("beads", Pixels(stack, scale=(0.3, 0.1, 0.1), unit="micrometer"))
    assert values.ndim == 3 and values.sum() == pytest.approx(1) and "micrometer" in message


def test_the_manifest_names_what_is_there() -> None:
    manifests = pytest.importorskip("npe2")
    path = Path(work.__file__).parent / "napari.yaml"
    found = manifests.PluginManifest.from_file(path)
    text = (Path(work.__file__).parent / "panels.py").read_text()
    commands = {command.id: command.python_name for command in found.contributions.commands or ()}
    assert {widget.command for widget in found.contributions.widgets or ()} == set(commands) != set()
    for name in commands.values():
        module, _, panel = str(name).partition(":")
        assert module == "pnpkit.plugins.napari.panels" and f"class {panel}(" in text
    assert (
        'pnpkit = "pnpkit.plugins.napari:napari.yaml"' in (Path(__file__).parent.parent / "pyproject.toml").read_text()
    )


@pytest.fixture
def panels() -> Iterator[Any]:
    pytest.importorskip("napari")
    pytest.importorskip("qtpy.QtWidgets")
    from qtpy.QtWidgets import QApplication

    app = QApplication.instance() or QApplication([])
    from pnpkit.plugins.napari import panels

    yield panels
    app.processEvents()


def until(happened: Callable[[], bool], seconds: float = 60) -> None:
    from qtpy.QtWidgets import QApplication

    end = time.monotonic() + seconds
    while not happened() and time.monotonic() < end:
        QApplication.processEvents()
        time.sleep(0.01)
    assert happened()


def viewer_with(panels: Any, panel: Any, values: np.ndarray, **about: Any) -> tuple[Any, Any, Any]:
    from napari.components import ViewerModel

    viewer = ViewerModel()
    layer = viewer.add_image(values, **about)
    made = panel(viewer)
    made.layer.choices = [layer]
    made.layer.value = layer
    return viewer, layer, made


def test_a_panel_adds_a_layer_with_the_same_scale(panels: Any) -> None:
    about = {"name": "cells", "scale": (0.3, 0.1, 0.1), "translate": (1, 2, 3), "units": ("um", "um", "um")}
    viewer, layer, panel = viewer_with(panels, panels.Deblur, VOLUME, **about)
    panel.kernel.value, panel.denoiser.value, panel.level.value, panel.steps.value = "box:3", "identity", 0.1, 2
    panel.begin.native.click()
    assert panel.cancel.enabled and not panel.begin.enabled
    until(lambda: len(viewer.layers) == 2)
    made = viewer.layers[1]
    assert made.name == "cells deblurred" and made.data.shape == VOLUME.shape
    np.testing.assert_allclose(made.scale, layer.scale)
    np.testing.assert_allclose(made.translate, layer.translate)
    assert made.units == layer.units and "noise level 0.1" in made.metadata["pnpkit"]
    assert panel.begin.enabled and not panel.cancel.enabled


def test_a_panel_can_be_cancelled_and_says_what_is_wrong(panels: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []

    def endless(task: str, pixels: Pixels, settings: Any, told: Any, cancelled: Callable[[], bool]) -> None:
        while not cancelled():
            told("step 1", 0.25)
            time.sleep(0.01)
        raise work.Cancelled

    monkeypatch.setattr(panels, "show_error", said.append)
    viewer, _, panel = viewer_with(panels, panels.Deblur, PICTURE)
    with monkeypatch.context() as patch:
        patch.setattr(work, "restored", endless)
        panel.begin.native.click()
        until(lambda: panel.message.value == "step 1" and panel.bar.value == 25)
        panel.cancel.native.click()
        until(lambda: panel.message.value == "cancelled")
    assert len(viewer.layers) == 1 and panel.begin.enabled and said == []
    panel.kernel.value = "nonsense:1"
    panel.begin.native.click()
    until(lambda: bool(said))
    assert "nonsense" in said[0] and "\n" not in said[0] and len(viewer.layers) == 1


def test_whatever_ends_the_work_frees_the_panel(panels: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []

    def broken(*_: Any) -> None:
        raise ZeroDivisionError("of something")

    monkeypatch.setattr(panels, "show_error", said.append)
    monkeypatch.setattr(work, "restored", broken)
    _, _, panel = viewer_with(panels, panels.Denoise, PICTURE)
    panel.begin.native.click()
    until(lambda: bool(said))
    assert said == ["ZeroDivisionError: of something"] and panel.begin.enabled and not panel.cancel.enabled


def test_the_other_panels(panels: Any) -> None:
    viewer, _, panel = viewer_with(panels, panels.Denoise, np.dstack([PICTURE] * 3), name="photo", rgb=True)
    panel.denoiser.value, panel.level.value = "identity", 0.1
    panel.begin.native.click()
    until(lambda: len(viewer.layers) == 2)
    assert viewer.layers[1].rgb and viewer.layers[1].name == "photo denoised"
    viewer, _, panel = viewer_with(panels, panels.EstimatePsf, PICTURE, name="field", scale=(0.5, 0.5))
    panel.source.value = "blur of the picture"
    panel.begin.native.click()
    until(lambda: len(viewer.layers) == 2)
    made = viewer.layers[1]
    assert made.name == "field PSF" and tuple(made.scale) == (0.5, 0.5) and float(made.data.sum()) == pytest.approx(1)
