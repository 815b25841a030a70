"""What deblurring, inpainting and enlarging share: a problem, and the one way from it to a Restoration."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from deepinv.physics import LinearPhysics
from torch import Tensor

from pnpkit import images, light
from pnpkit.certificates import Certificate
from pnpkit.errors import InputError
from pnpkit.fidelity import LeastSquares
from pnpkit.iterations import Anderson, Iteration, history
from pnpkit.maps import Map
from pnpkit.networks.base import Network
from pnpkit.networks.guided import Given, GuidedEuler
from pnpkit.networks.ridge import Ridge
from pnpkit.networks.tiles import Shared, within_memory
from pnpkit.noise import estimate_noise
from pnpkit.pixels import check_scale
from pnpkit.precision import convert, decide, rough_denoisers, solve_from
from pnpkit.settings import Settings, allowed, check_level, choose_device
from pnpkit.solver import Result, Status, continued, numbered_from
from pnpkit.splittings import CONTINUATION, FORWARD_BACKWARD, SPLITTINGS, penalised
from pnpkit.strength import SMALLEST_STRENGTH, SURE, MapAt, by_sure, hint_for, inside, step_for, wanted

COMPRESSED = 1.5  # the level that restores JPEGs best, times their error, and shows their blurs (lab book)
GUIDE = 1e-3  # relative residual at which a first restoration is good enough for a guide
SHORT = "to fit into memory Anderson's method looks back {0.depth} steps only"
Back = Callable[[Tensor], np.ndarray | Tensor]


@dataclass(frozen=True)
class Restoration:
    """A restored picture and why to trust it.

    Attributes:
        image: same type, shape and scale as the input.
        status: how the run ended, a sentence.
        steps, residuals: evaluations of the map, and its relative fixed-point residual at each.
        certificate: what is proven about the map that was iterated.
        guarantee: the convergence theorem that covers the run, or that there is none.
        noise_level, strength: given or estimated, 0..1 scale; strength is the sigma of the denoiser, ``strength_note``
            how it was found.
        kernel: the blur kernel used, None for denoising. kernel_note: where it comes from.
        splitting, tau: what T was built by, and its step or penalty; empty and None for denoising.
        L: the bound on ||A||^2, which limits the tau of forward-backward splitting to (0, 2/L); None for denoising.
        seconds: wall time of everything.
        linear: the light that noise level and strength are measured in: linear, or as stored.
        bounds: what the theorem bounds each of ``residuals`` by, inf before it applies; empty where it gives no rate.
        guide_steps: how many of ``steps`` made the guide of a second look; 0 where there was one look.
        objective: per picture, f + R / tau at the result where that was minimised (``fista`` with ``ridge``).
    """

    image: np.ndarray | Tensor
    status: Status
    steps: int
    residuals: tuple[float, ...]
    certificate: Certificate
    guarantee: str
    noise_level: float
    strength: float
    kernel: np.ndarray | None
    kernel_note: str
    tau: float | None
    L: float | None
    seconds: float
    linear: bool = False
    strength_note: str = "given"
    objective: tuple[float, ...] = ()
    splitting: str = ""
    bounds: tuple[float, ...] = ()
    guide_steps: int = 0

    @property
    def step_note(self) -> str:
        """The splitting, tau, and where tau must lie, in words; nothing for denoising."""
        if self.tau is None or self.L is None:
            return ""
        if self.splitting == FORWARD_BACKWARD:
            return f"{self.splitting} splitting, tau {self.tau:.4g} in (0, 2/L), L {self.L:.6g}"
        how = " by continuation" if self.splitting == CONTINUATION else ""
        return f"half-quadratic splitting{how} with tau {self.tau:.4g}, for which any tau > 0 will do"


@dataclass(frozen=True)
class Plan:
    """What the rules say: the splitting, its tau, a strength inside the denoiser's range, the level of the noise that
    they followed, and a sentence on the strength."""

    splitting: str
    tau: float
    strength: float
    level: float
    note: str


@dataclass(frozen=True)
class Problem:
    """y = A x + noise, and what is known before the run.

    Attributes:
        operator, y: A, and the measurement (B, C, H, W).
        guess: the first iterate, brought into the box by the run.
        picture: from the fixed point to the image of the Restoration.
        noise_level: 0..1 scale. error: the level of the noise that an inexact A acts like;
            splittings other than forward-backward go by the larger. least: the least strength of the problem, unless
            one is given.
        splitting: the usual one. note, kernel: of the Restoration.
        looks: how many a guided denoiser has at most, 1 or 2.
    """

    operator: LinearPhysics
    y: Tensor
    guess: Tensor
    picture: Back
    noise_level: float
    note: str
    kernel: np.ndarray | None = None
    splitting: str = FORWARD_BACKWARD
    error: float = 0.0
    least: float = 0.0
    looks: int = 2


class Bench:
    """A picture and its settings, opened and checked; ``restore`` runs a problem made from them.

    Attributes:
        y: the picture, (B, C, H, W) on the device. back: from such a tensor to the type that came.
    """

    def __init__(self, image: np.ndarray | Tensor, settings: Settings):
        self.started, self.settings = time.perf_counter(), settings
        self.iteration, self.network = settings.tools()
        y, self.back = open_image(image, settings.device, settings.linear, settings.precision, settings.limits)
        self.y = convert(y, settings.precision)

    def noise_level(self, picture: Tensor, known: np.ndarray | None = None) -> float:
        """Given, or estimated from the picture, where it is known."""
        settings = self.settings
        return noise_level_of(picture, settings.noise_level, settings.compression, settings.linear, known)

    def restore(self, problem: Problem) -> Restoration:
        """A fixed point of T = proj ∘ D_strength ∘ G, G the data's half of the splitting.

        A guided denoiser makes two: with its first look, to ``GUIDE`` or tol, and guided by that one.
        """
        settings, fidelity = self.settings, LeastSquares(problem.operator, problem.y)
        first, second = looks_of(self.network)
        second = second if problem.looks > 1 else None
        iteration, first = self.fit(problem, first)
        later, second = (iteration, None) if second is None else self.fit(problem, second)
        plan = self.plan(problem, first, fidelity)
        sigma, note, start = self.strength(
            problem, fidelity, plan, self.maps(first, plan), problem.guess.clamp(*settings.limits)
        )
        tol = settings.tol if second is None else max(settings.tol, GUIDE)
        run = self.run(iteration, first, fidelity, plan, sigma, start, tol)
        if second is not None and run.status is Status.CONVERGED and run.steps == settings.max_steps:
            run = replace(run, status=Status.STEP_LIMIT)  # there is none left for the second look
        guide_steps = 0
        if second is not None and run.status is Status.CONVERGED:
            guide_steps = run.steps
            hint = hint_for(run.x, max(plan.level, problem.error), first, fidelity)
            again = self.run(later, Given(second, run.x, hint), fidelity, plan, sigma, run.x, settings.tol, run.steps)
            words = f"from step {run.steps + 1} on: {again.guarantee}; the steps before made the guide"
            run = continued(again, run.residuals_per_image, words, run.seconds + again.seconds)
        return Restoration(
            image=problem.picture(run.x),
            status=run.status,
            steps=run.steps,
            residuals=run.residuals,
            certificate=run.certificate,
            guarantee=run.guarantee,
            noise_level=problem.noise_level,
            strength=sigma,
            kernel=problem.kernel,
            kernel_note=problem.note + ("" if later == self.iteration else f"; {SHORT.format(later)}"),
            tau=plan.tau,
            L=fidelity.L,
            seconds=time.perf_counter() - self.started,
            linear=settings.linear,
            strength_note=note,
            objective=run.objective,
            splitting=plan.splitting,
            bounds=run.bounds,
            guide_steps=guide_steps,
        )

    def fit(self, problem: Problem, network: Network) -> tuple[Iteration, Network]:
        """The iteration and the network as they fit into the memory that is allowed."""
        memory, itemsize = allowed(self.settings.max_memory), problem.y.element_size()
        return fit(self.iteration, network, problem.guess.shape, memory, itemsize)

    def maps(self, network: Network, plan: Plan) -> MapAt:
        """(f, sigma) -> the map with this network."""
        settings = self.settings

        def map_at(data: LeastSquares, sigma: float) -> Map:
            if settings.method == "fista" and isinstance(network, Ridge):
                return penalised_ridge(data, network, sigma, plan.tau, settings.limits)
            return SPLITTINGS[plan.splitting](data, inside(network), plan.tau, sigma, settings.limits)

        return map_at

    def run(
        self,
        iteration: Iteration,
        network: Network,
        fidelity: LeastSquares,
        plan: Plan,
        sigma: float,
        start: Tensor,
        tol: float,
        done: int = 0,
    ) -> Result:
        """To a fixed point of the map with this network, ``done`` steps after the beginning of the restoration."""
        settings, rough = self.settings, None
        if settings.method != "fista" and decide(settings.precision, network, start) == "bfloat16":
            split = SPLITTINGS[plan.splitting]
            rough = split(fidelity, rough_denoisers(network), plan.tau, sigma, settings.limits)
        return solve_from(
            rough,
            self.maps(network, plan)(fidelity, sigma),
            start,
            iteration=iteration,
            tol=tol,
            max_steps=settings.max_steps - done,
            callback=numbered_from(done, settings.callback),
            done=done,
        )

    def plan(self, problem: Problem, network: Network, fidelity: LeastSquares) -> Plan:
        """What is set, and by the rules what is not."""
        settings, splitting = self.settings, self.settings.splitting
        if splitting == "auto":  # fista has no other than forward-backward
            splitting = FORWARD_BACKWARD if settings.method == "fista" else problem.splitting
        level, cause = problem.noise_level, "the noise"
        if splitting != FORWARD_BACKWARD and problem.error > level:
            level, cause = problem.error, f"what is wrong with the kernel, taken for noise of {problem.error:.4f}"
        tau = step_for(splitting, level, network, fidelity) if settings.tau is None else float(settings.tau)
        rule = wanted(level, tau, network, splitting)
        least = max(problem.least, SMALLEST_STRENGTH)
        note = f"--strength auto follows {cause}"
        if rule < least:
            note = f"--strength auto: the least that there must be, {cause} asks for less"
        if rule > network.top:
            note = f"--strength auto: the most that {network.name} has, {cause} asks for {rule:.4f}"
        return Plan(splitting, tau, min(max(rule, least), network.top), level, note)

    def strength(
        self, problem: Problem, fidelity: LeastSquares, plan: Plan, map_at: MapAt, start: Tensor
    ) -> tuple[float, str, Tensor]:
        """The sigma of the denoiser, where it comes from, and where the run starts."""
        given, top = self.settings.strength, self.network.top
        if not (given is None or isinstance(given, str)):
            return check_level("strength", given, top), "given", start
        if given != "sure":
            return plan.strength, plan.note, start
        how = SURE[plan.splitting]
        found = by_sure(fidelity, map_at, start, problem.noise_level, plan.strength, top, how)
        times = found.strength / plan.strength
        words = f"--strength sure: {times:.2f} times auto, after {found.evaluations} evaluations"
        return max(problem.least, found.strength), words, found.start


def looks_of(network: Network) -> tuple[Network, Network | None]:
    """The denoiser of a run, and of a guided one what takes that run's result for its guide."""
    if isinstance(network, Shared):
        first, second = looks_of(network.network)
        return Shared(first), None if second is None else Shared(second)
    return network.looks() if isinstance(network, GuidedEuler) else (network, None)


def penalised_ridge(
    fidelity: LeastSquares, network: Ridge, sigma: float, tau: float, limits: tuple[float, float]
) -> Map:
    """Minimises f + R / tau over the box: without the box that is the fixed point of forward-backward splitting with
    D_sigma = prox_R.

    Its steps are tau L times shorter, L that of the sum: the same picture needs a smaller tolerance.
    """
    rows, columns = fidelity.start().shape[-2:]
    return penalised(fidelity, network.regulariser(sigma, (rows, columns), 1 / tau), limits)


def open_image(
    image: np.ndarray | Tensor,
    device: str | None,
    linear: bool = False,
    precision: str = "auto",
    limits: tuple[float, float] = (0.0, 1.0),
) -> tuple[Tensor, Back]:
    """The picture as a (B, C, H, W) tensor on the device, and the way back to the type (and light) that came.

    Arrays become float32, and float64 where that is the precision: many libraries make float64 of everything.
    Values far outside of 0..1 are refused, unless ``limits`` admit them.
    """
    if linear:
        stored, restored = open_image(image, device, False, precision, limits)
        return light.decode(stored), lambda x: restored(light.encode(x))
    place = choose_device(device)
    if isinstance(image, Tensor):
        image = image.detach()
        if image.ndim != 4 or image.shape[1] not in (1, 3) or not image.is_floating_point() or image.numel() == 0:
            raise InputError(f"expected a float tensor (B, 1 or 3, H, W), got {image.dtype} {tuple(image.shape)}")
        if image.dtype not in (torch.float32, torch.float64):
            raise InputError(f"expected a tensor of float32 or float64, got {image.dtype}: convert it")
        if not bool(torch.isfinite(image).all()):
            raise InputError("the image holds NaN or infinity")
        check_scale("a tensor", float(image.min()), float(image.max()), limits)
        return image.to(place), lambda x: x.to(image)
    pixels, restore = images.as_float(np.asanyarray(image), limits)
    dtype = torch.float64 if precision == "float64" else torch.float32
    return images.to_tensor(pixels, dtype).to(place), lambda x: restore(images.from_tensor(x.cpu()))


def fit(
    iteration: Iteration, network: Network, shape: tuple[int, ...], memory: float, itemsize: int
) -> tuple[Iteration, Network]:
    """Both as they fit into so many bytes: the network in tiles, Anderson's method with less of its past.

    Raises:
        InputError: not even so; the iteration that needs the least is picard.
    """
    try:
        return iteration, within_memory(network, shape, memory, history(iteration), itemsize)
    except InputError as error:
        if not isinstance(iteration, Anderson):
            raise
        if iteration.depth == 1:
            raise InputError(f"{error}; --method picard needs the least") from None
        return fit(replace(iteration, depth=iteration.depth - 1), network, shape, memory, itemsize)


def noise_level_of(
    y: Tensor, given: float | None, compression: float, linear: bool, known: np.ndarray | None = None
) -> float:
    """As given, or the mean of the estimates over the batch, but at least ``COMPRESSED`` times what compression lost:
    its error is no white noise, yet it is what a restoration must not enlarge. Of linear light, where y is."""
    lost = COMPRESSED * check_level("compression", compression)
    if given is not None:
        return check_level("noise level", given)
    if linear and lost:
        lost = float((light.decode(light.encode(y) + lost) - y).square().mean().sqrt())
    estimates = [estimate_noise(images.from_tensor(x[None].cpu().double()), known) for x in y]
    return max(float(np.mean(estimates)), lost)
