"""What a restoration returns: the picture, the run that made it, and the plan that the run followed."""

from __future__ import annotations

import os
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from pnpkit.certificates import Certificate
from pnpkit.errors import InputError
from pnpkit.images import files, stacks
from pnpkit.images.picture import Picture
from pnpkit.images.pixels import as_float, from_tensor
from pnpkit.kernels import Kernel
from pnpkit.restoration import explain
from pnpkit.restoration.data import Data
from pnpkit.restoration.guide import Departure
from pnpkit.restoration.plan import GUIDING, Plan
from pnpkit.solvers.guarantee import Guarantee
from pnpkit.solvers.result import Result, Status


@dataclass(frozen=True)
class Application:
    """One application of a denoiser, x = D(y, sigma): what denoising has in place of a run and a plan.

    Attributes:
        status: APPLIED, or NOT_FINITE where the output held NaN or infinity.
        certificate: what is proven about D. guarantee: what follows for x.
        strength: sigma, on the picture's own scale. note: where it comes from.
    """

    status: Status
    certificate: Certificate
    guarantee: Guarantee
    strength: float
    note: str


@dataclass(frozen=True, eq=False, repr=False)
class Restoration:
    """A restored picture and why to trust it. ``np.asarray`` gives its pixels, a notebook shows it.

    Attributes:
        image: same type, shape and scale as the input.
        run: the solver's ``Result``; for denoising an ``Application``.
        plan: splitting, tau, L and strength of the run; None for denoising.
        noise_level: given or estimated, in the units of the picture (see ``Settings``).
        seconds: wall time of everything.
        blur: the blur kernel that was used and where it comes from; None where there is none.
        notes: what was filled in or enlarged, and what memory allowed.
        linear: whether noise level and strength are of linear light, or of the picture as stored.
        span: how many units of the picture the scale 0..1 of the run is; ``plan`` and ``run`` are in units
            of it.
        data: what was taken of the data: noise model, scale, box, unknown and saturated pixels, flux.
        guide: of a guide that was given, how far the result left it and what the data say of both; else None.
        amount: how far the result goes from the picture that came, 0, to what the run ended at, 1.
        axes: those of a stack or volume, "ZYX" for instance; "" for pictures.
        each: of a batch or stack, the results of its pictures; all else is then that of the one that fared worst.
    """

    image: np.ndarray | Tensor
    run: Result | Application
    plan: Plan | None
    noise_level: float
    seconds: float
    blur: Kernel | None = None
    notes: tuple[str, ...] = ()
    linear: bool = False
    span: float = 1.0
    data: Data | None = None
    guide: Departure | None = None
    amount: float = 1.0
    axes: str = ""
    each: tuple[Restoration, ...] = ()

    @property
    def kernel(self) -> np.ndarray | None:
        """The weights of the blur kernel (h, w), with sum 1; None where there is none."""
        return None if self.blur is None else self.blur.weights

    @property
    def kernel_note(self) -> str:
        """Where the kernel comes from and what speaks against it, or what was filled in or enlarged; in words."""
        origin = "" if self.blur is None else str(self.blur)
        return "; ".join(filter(None, (origin, *self.notes)))

    @property
    def status(self) -> Status:
        """How the run ended; its value is a sentence of advice."""
        return self.run.status

    @property
    def certificate(self) -> Certificate:
        """What is proven about the map that was iterated, or applied."""
        return self.run.certificate

    @property
    def guarantee(self) -> Guarantee:
        """The theorem that covers the run, or why none does; true where one does."""
        return self.run.guarantee

    @property
    def steps(self) -> int:
        """Evaluations of the map; 1 for denoising."""
        return self.run.steps if isinstance(self.run, Result) else 1

    @property
    def guide_steps(self) -> int:
        """How many of ``steps`` made the guide of a second pass; 0 where there was one pass."""
        return sum(stage.steps for stage in self.guarantee.before if stage.role == GUIDING)

    @property
    def residuals(self) -> tuple[float, ...]:
        """Relative fixed-point residual of every evaluation; empty for denoising."""
        return self.run.residuals if isinstance(self.run, Result) else ()

    @property
    def cropped(self) -> bool:
        """Whether ``residuals`` are of the pixels in the frame, where the estimate reaches beyond it."""
        return isinstance(self.run, Result) and self.run.cropped

    @property
    def bounds(self) -> tuple[float, ...]:
        """What the theorem bounds each of ``residuals`` by, inf before it applies; empty where it gives no rate."""
        return self.run.bounds if isinstance(self.run, Result) else ()

    @property
    def objective(self) -> tuple[float, ...]:
        """Per picture, f + R / tau at the result where that was minimised (``fista`` with ``ridge``)."""
        return self.run.objective if isinstance(self.run, Result) else ()

    @property
    def strength(self) -> float:
        """Sigma of the denoiser, in the units of ``noise_level``."""
        return self._strength.strength * self.span

    @property
    def strength_note(self) -> str:
        """How the strength was found."""
        return self._strength.note

    @property
    def _strength(self) -> Plan | Application:
        if self.plan is not None:
            return self.plan
        assert isinstance(self.run, Application), "only denoising has no plan"
        return self.run

    @property
    def splitting(self) -> str:
        """The splitting that T was built by; empty for denoising."""
        return "" if self.plan is None else self.plan.splitting

    @property
    def tau(self) -> float | None:
        """Step or penalty of the splitting; None for denoising."""
        return None if self.plan is None else self.plan.tau

    @property
    def L(self) -> float | None:
        """The bound on ||A||^2, which limits the tau of forward-backward splitting to (0, 2/L); None for denoising."""
        return None if self.plan is None else self.plan.L

    @property
    def step_note(self) -> str:
        """The splitting, tau, and where tau must lie, in words; nothing for denoising."""
        return "" if self.plan is None else self.plan.step_note

    def explain(self) -> str:
        """Half a page in plain words: what was solved, why it can be trusted, what was assumed, how it ended."""
        return explain.in_words(self)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the picture; the ending of ``path`` is the format. Integers keep their depth, floats become 8 bits.

        Raises:
            InputError: a batch of several pictures, or a path that cannot be written to.
        """
        if self.axes:
            return stacks.write(path, stacks.Stack(np.asarray(self), self.axes))
        pixels = self._pixels()
        integers = pixels.dtype.kind in "iu"
        high = float(np.iinfo(pixels.dtype).max) if integers else 255.0
        dtype = pixels.dtype if integers else np.dtype(np.uint8)
        files.write(path, Picture(as_float(pixels)[0], dtype=dtype, high=high))

    def _pixels(self) -> np.ndarray:
        """The picture as an array, (H, W) or (H, W, 3).

        Raises:
            InputError: a batch of several pictures.
        """
        if not isinstance(self.image, Tensor):
            pixels = np.asarray(self.image)
            return pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels
        if len(self.image) != 1:
            raise InputError(f"expected one picture, got a batch of {len(self.image)}: take one of them out of `image`")
        return from_tensor(self.image.detach().cpu())

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        array = self.image.detach().cpu().numpy() if isinstance(self.image, Tensor) else np.asarray(self.image)
        return array.astype(dtype, copy=bool(copy)) if dtype is not None or copy else array

    def _repr_png_(self) -> bytes | None:
        """The picture for a notebook, 8 bits; None for a batch or stack."""
        if self.axes or (isinstance(self.image, Tensor) and len(self.image) != 1):
            return None
        pixels = self._pixels()
        scale = np.iinfo(pixels.dtype).max if pixels.dtype.kind in "iu" else 1.0
        buffer = BytesIO()
        Image.fromarray(np.round(255 * np.clip(pixels / scale, 0, 1)).astype(np.uint8)).save(buffer, "PNG")
        return buffer.getvalue()

    def __repr__(self) -> str:
        size = "x".join(str(side) for side in self.image.shape)
        ended = self.status.value.split(":")[0]
        steps = f" in {self.steps} steps" if self.residuals else ""
        proven = "proven" if self.guarantee else "nothing is guaranteed"
        return f"<Restoration {size}: {ended}{steps}, noise {self.noise_level:.3g}, {proven}; .explain() tells more>"


def worst_of(runs: list[Restoration]) -> Restoration:
    """The run that ended worst, by the order of ``Status``; of several that ended so, the one with most steps."""
    order = list(Status)
    return max(runs, key=lambda run: (order.index(run.status), run.steps))
