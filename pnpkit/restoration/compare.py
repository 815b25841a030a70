"""Several methods on one blurred picture: what each gives, in what time, and what is guaranteed of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from pnpkit import kernels
from pnpkit.errors import InputError, UnknownName
from pnpkit.images.metrics import psnr
from pnpkit.images.pixels import as_array, as_float
from pnpkit.machine.phases import Phase, nobody
from pnpkit.registry import denoisers, open_denoiser
from pnpkit.restoration import baselines
from pnpkit.restoration.blur_kernel import Given, estimate_kernel, given_kernel
from pnpkit.restoration.deblur import deblur
from pnpkit.restoration.result import Restoration
from pnpkit.restoration.settings import ReadingKeywords, SettingsKeywords
from pnpkit.solvers.guarantee import Existence

if TYPE_CHECKING:
    from typing_extensions import Unpack


SWEEPS = 30  # of Richardson-Lucy: with more it makes grain out of noise


BASELINES: dict[str, tuple[Callable[[np.ndarray, np.ndarray], np.ndarray], int, str]] = {
    "richardson-lucy": (
        lambda y, kernel: baselines.richardson_lucy_sweeps(y, kernel, SWEEPS),
        SWEEPS,
        "none; stopped early, or it makes grain of the noise",
    ),
    "wiener": (baselines.unsupervised_wiener_filter, 1, "none; a filter, applied once"),
}


LIMIT = 100  # evaluations: methods without a theorem need not arrive


@dataclass(frozen=True, eq=False)
class Row:
    """What one method did.

    Attributes:
        name: of the method. image: of the type and scale of the input. psnr: dB, None without a reference.
        seconds: wall time. steps: evaluations, or sweeps. guarantee: its kind, in words.
        settled: whether it ended at its tolerance. run: the restoration; None of a method from elsewhere.
    """

    name: str
    image: np.ndarray | Tensor
    psnr: float | None
    seconds: float
    steps: int
    guarantee: str
    settled: bool
    run: Restoration | None = None


@dataclass(frozen=True, eq=False)
class Comparison:
    """The rows, in the order that was asked for, the kernel, and the PSNR of the input, None without a reference."""

    rows: tuple[Row, ...]
    kernel: np.ndarray
    kernel_note: str
    psnr_input: float | None = None

    def table(self) -> str:
        """Aligned columns: method, PSNR where there is a reference, seconds, steps, guarantee."""
        known = self.psnr_input is not None
        head = ["method", *(["PSNR"] if known else []), "seconds", "steps", "guarantee"]
        lines = [head]
        for row in self.rows:
            score = [] if row.psnr is None else [f"{row.psnr:.2f}"]
            lines.append([row.name, *score, f"{row.seconds:.1f}", str(row.steps), row.guarantee])
        if known:
            lines.insert(1, ["input", f"{self.psnr_input:.2f}", "", "", ""])
        widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
        last = len(head) - 1
        rows = (
            "  ".join(
                cell if i == last else cell.ljust(width) if i == 0 else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(line, widths, strict=True))
            )
            for line in lines
        )
        return "\n".join(row.rstrip() for row in rows)

    __str__ = table


def compare(
    image: np.ndarray | Tensor,
    kernel: Given = "auto",
    names: Sequence[str] = ("euler-guided", "wavelet", "richardson-lucy"),
    reference: np.ndarray | Tensor | None = None,
    *,
    boundary: str = "unknown",
    **settings: Unpack[SettingsKeywords],
) -> Comparison:
    """Deblur one picture by several methods, with one kernel.

    Args:
        image, kernel, boundary, settings: as those of ``deblur``; the kernel is estimated once. ``max_steps`` is
            ``LIMIT`` unless it is given.
        names: of denoisers, or of ``BASELINES``, which take arrays only.
        reference: the sharp picture, of the shape, type and scale of the image.

    Raises:
        InputError: no name, an unknown one, a reference of another shape; and what ``deblur`` refuses.
    """
    told = settings.get("progress") or nobody
    check_names(names)
    if reference is not None and np.shape(reference) != np.shape(image):
        raise InputError(f"the reference is {np.shape(reference)}, the image {np.shape(image)}: not the same frame")
    if isinstance(kernel, str) and kernels.is_estimated(kernel):
        of_readings = ("noise_level", *ReadingKeywords.__annotations__)
        known = {key: settings[key] for key in of_readings if key in settings}  # type: ignore[literal-required]
        kernel = estimate_kernel(image, kernel=kernel, **known)  # type: ignore[arg-type]
    common: dict[str, Any] = {"max_steps": LIMIT, **settings, "boundary": boundary}
    rows, note, used = [], "", np.ones((1, 1))
    for number, name in enumerate(names):
        told(Phase(name, number + 1, len(names)))
        if name in BASELINES:
            used = given_kernel(kernel).weights
            row = by_baseline(name, image, used)
        else:
            run = deblur(image, kernel, **{**common, "denoiser": name, "progress": None})
            assert run.kernel is not None
            row, used, note = by_run(name, run), run.kernel, run.kernel_note
        rows.append(row if reference is None else replace(row, psnr=score(row.image, reference)))
    return Comparison(tuple(rows), used, note, None if reference is None else score(image, reference))


def check_names(names: Sequence[str]) -> None:
    """Raise unless there are names, and each is a denoiser's or a baseline's."""
    if isinstance(names, str) or not names:
        raise InputError(f"expected a list of names of methods, got {names!r}")
    for name in names:
        if name in BASELINES:
            continue
        try:
            open_denoiser(name)
        except UnknownName:
            raise UnknownName("method", name, (*denoisers(), *BASELINES)) from None


def by_run(name: str, run: Restoration) -> Row:
    """The row of a restoration."""
    return Row(name, run.image, None, run.seconds, run.steps, guarantee_words(run), run.status.name == "CONVERGED", run)


def by_baseline(name: str, image: np.ndarray | Tensor, kernel: np.ndarray) -> Row:
    """The row of a method from elsewhere.

    Raises:
        InputError: a tensor.
    """
    if isinstance(image, Tensor):
        raise InputError(f"{name} takes an array (H, W) or (H, W, 3), got a tensor: convert it")
    method, steps, guarantee = BASELINES[name]
    started = time.perf_counter()
    pixels, restored = as_float(as_array(image))
    planes = pixels[..., None] if pixels.ndim == 2 else pixels
    found = baselines.mirrored(lambda y: method(y, kernel), planes, kernel).astype(pixels.dtype)
    result = restored(found[..., 0] if pixels.ndim == 2 else found)
    return Row(name, result, None, time.perf_counter() - started, steps, guarantee, True)


def guarantee_words(run: Restoration) -> str:
    """What is guaranteed of a run, in words for the table."""
    if not run.guarantee:
        return "none"
    if run.guarantee.theorem is not None and run.guarantee.theorem.claim:
        return "a falling objective proven"
    unique = " to the only answer" if run.guarantee.existence is Existence.UNIQUE else ""
    what = "of its second pass, for the guide of its first" if run.guide_steps else ""
    stopped = "" if run.status.name == "CONVERGED" else " (it was stopped before)"
    return f"convergence{unique} proven{', ' * bool(what)}{what}{stopped}"


def score(image: np.ndarray | Tensor, reference: np.ndarray | Tensor) -> float:
    """PSNR in dB, integers as fractions of what their type holds."""
    return psnr(values_of(image), values_of(reference))


def values_of(image: np.ndarray | Tensor) -> np.ndarray:
    """The values as an array, integers as fractions of what their type holds."""
    return image.detach().cpu().numpy() if isinstance(image, Tensor) else as_float(np.asarray(image))[0]
