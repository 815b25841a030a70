"""The panels of napari: a layer in, a layer out, with the same scale; the work is done beside, and can be cancelled."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from magicgui.widgets import ComboBox, Container, FloatSpinBox, Label, LineEdit, ProgressBar, PushButton, create_widget
from napari.layers import Image
from napari.qt.threading import create_worker
from napari.utils.notifications import show_error
from napari.viewer import Viewer
from qtpy.QtCore import QObject, Signal

from pnpkit.errors import PnpError
from pnpkit.plugins.napari import work
from pnpkit.restoration.defaults import DENOISERS
from pnpkit.restoration.settings import NOISES

Result = tuple[np.ndarray, str]  # of the work: the pixels, and what is to be said of them


class Voice(QObject):
    """Takes what the work tells from its thread to that of the panel."""

    told = Signal(str, float)


class Panel(Container):
    """A panel with a layer, a button that begins and one that cancels, and a bar of the progress."""

    word = ""  # that is added to the name of the layer

    def __init__(self, viewer: Viewer):
        self.viewer, self.stopped, self.worker = viewer, threading.Event(), None
        self.layer = create_widget(annotation=Image, label="layer")
        self.begin = PushButton(text=type(self).__name__)
        self.cancel = PushButton(text="Cancel", enabled=False)
        self.bar = ProgressBar(min=0, max=100, visible=False)
        self.message = Label(value="")
        self.voice = Voice()
        self.voice.told.connect(self.show_progress)
        self.begin.clicked.connect(self.start)
        self.cancel.clicked.connect(self.stopped.set)
        super().__init__(widgets=[self.layer, *self.settings(), self.begin, self.cancel, self.bar, self.message])

    def settings(self) -> list[Any]:
        """The widgets of what is asked for."""
        raise NotImplementedError

    def job(self, pixels: work.Pixels) -> Callable[[], Result]:
        """The work on the pixels of the layer, to be called in a thread of its own."""
        raise NotImplementedError

    def show(self, layer: Image, values: np.ndarray, message: str) -> None:
        """Add the result as a layer like the one that it was made of."""
        same = {"scale": layer.scale, "translate": layer.translate, "colormap": layer.colormap, "rgb": layer.rgb}
        if layer.rgb:
            del same["colormap"]
        else:
            same["contrast_limits"] = layer.contrast_limits
        units = getattr(layer, "units", None)
        same |= {} if units is None else {"units": units}
        self.viewer.add_image(values, name=f"{layer.name} {self.word}", metadata={"pnpkit": message}, **same)

    def start(self) -> None:
        """Begin the work; what cannot be done is said."""
        layer = self.layer.value
        try:
            if layer is None:
                raise PnpError("expected a layer of an image: open one first")
            job = self.job(pixels_of(layer))
        except PnpError as error:
            return self.fail(error)
        self.stopped.clear()
        self.begin.enabled, self.cancel.enabled, self.bar.visible = False, True, True
        self.show_progress("begins", -1.0)
        worker = create_worker(attempt, job, _start_thread=False)
        worker.returned.connect(lambda found: self.end(layer, *found))
        self.worker = worker
        worker.start()

    def end(self, layer: Image, found: Result | None, error: Exception | None) -> None:
        """Show the result, or what went wrong."""
        self.begin.enabled, self.cancel.enabled, self.bar.visible = True, False, False
        self.worker = None
        if isinstance(error, work.Cancelled):
            self.message.value = "cancelled"
        elif error is not None:
            self.fail(error)
        elif found is not None:
            self.show(layer, *found)
            self.message.value = found[1]

    def fail(self, error: Exception) -> None:
        """Say what went wrong."""
        known = isinstance(error, (PnpError, MemoryError, ImportError)) and str(error)
        self.message.value = str(error) if known else f"{type(error).__name__}: {error}"
        show_error(self.message.value)

    def show_progress(self, text: str, share: float) -> None:
        """What is being done, and how much of it is done."""
        self.message.value = text
        self.bar.value = max(0, min(100, round(100 * share)))


def attempt(job: Callable[[], Result]) -> tuple[Result | None, Exception | None]:
    """The result of a job, or whatever ended it: a worker that fails never returns, and the panel would wait for it."""
    try:
        return job(), None
    except Exception as error:
        return None, error


def pixels_of(layer: Image) -> work.Pixels:
    """The pixels of a layer at its largest resolution, and their scale."""
    values = np.asarray(layer.data[0] if layer.multiscale else layer.data)
    units = getattr(layer, "units", None)
    unit = "" if units is None else str(units[-1])
    scale = tuple(float(step) for step in layer.scale)
    return work.Pixels(values, layer.name, scale, "" if unit == "pixel" else unit, bool(layer.rgb))


class Restoring(Panel):
    """What deblurring and denoising have in common."""

    def common(self, task: str) -> list[Any]:
        """Denoiser, noise and axes."""
        from pnpkit.registry import denoisers

        self.denoiser = ComboBox(label="denoiser", choices=list(denoisers()), value=DENOISERS[task])
        self.noise = ComboBox(label="noise", choices=list(NOISES), value="auto")
        self.level = FloatSpinBox(label="noise level, 0: auto", value=0.0, min=0.0, max=1e9, step=0.001)
        self.gain = FloatSpinBox(label="gain, 0: auto", value=0.0, min=0.0, max=1e9, step=0.1)
        self.axes = LineEdit(label="axes", value="", tooltip="letters of TCZYX; empty: YX, ZYX, CZYX or TCZYX")
        return [self.denoiser, self.noise, self.level, self.gain, self.axes]

    def chosen(self) -> dict[str, Any]:
        """The keywords of the task."""
        return {
            "denoiser": self.denoiser.value,
            "noise": self.noise.value,
            "noise_level": self.level.value or None,
            "gain": self.gain.value or None,
            "axes": self.axes.value,
        }

    def run(self, task: str, pixels: work.Pixels, settings: dict[str, Any]) -> Callable[[], Result]:
        """The work."""
        return lambda: work.restored(task, pixels, settings, self.voice.told.emit, self.stopped.is_set)


class Deblur(Restoring):
    """Remove blur: the kernel is another layer, or words such as gaussian:1.5, or estimated."""

    word = "deblurred"

    def settings(self) -> list[Any]:
        """The kernel beside the common ones."""
        self.psf = create_widget(annotation=Image | None, label="PSF layer")
        self.kernel = LineEdit(label="or kernel", value="auto", tooltip="gaussian:1.5, moffat:2.8,3.5, a file, auto")
        self.steps = create_widget(annotation=int, label="most steps", value=500, options={"min": 1, "max": 100_000})
        return [self.psf, self.kernel, *self.common("deblur"), self.steps]

    def job(self, pixels: work.Pixels) -> Callable[[], Result]:
        """The deblurring; a volume where the point-spread function has slices, else slice by slice."""
        layer = None if self.psf.value is None else pixels_of(self.psf.value)
        kernel = work.kernel_from(self.kernel.value, layer)
        return self.run("deblur", pixels, self.chosen() | {"kernel": kernel, "max_steps": self.steps.value})


class Denoise(Restoring):
    """Remove noise, slice by slice."""

    word = "denoised"

    def settings(self) -> list[Any]:
        """The common ones."""
        return self.common("denoise")

    def job(self, pixels: work.Pixels) -> Callable[[], Result]:
        """The denoising."""
        return self.run("denoise", pixels, self.chosen())


class EstimatePsf(Panel):
    """A point-spread function from beads, stars or the blur of the picture itself."""

    word = "PSF"

    def settings(self) -> list[Any]:
        """Where it comes from."""
        self.source = ComboBox(label="from", choices=list(work.SOURCES), value="beads")
        return [self.source]

    def job(self, pixels: work.Pixels) -> Callable[[], Result]:
        """The estimate."""
        source = self.source.value
        return lambda: work.estimated(source, pixels)

    def show(self, layer: Image, values: np.ndarray, message: str) -> None:
        """A small layer of its own, with the scale of the other."""
        scale = layer.scale[-values.ndim :]
        self.viewer.add_image(values, name=f"{layer.name} {self.word}", scale=scale, metadata={"pnpkit": message})
