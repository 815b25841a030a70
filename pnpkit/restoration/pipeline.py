"""What deblurring, inpainting and enlarging share: a problem, and the one way from it to a Restoration."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
from torch import Tensor

from pnpkit.fidelity import LeastSquares
from pnpkit.machine.memory import allowed
from pnpkit.maps import Map
from pnpkit.networks.base import Network
from pnpkit.networks.guided import Given
from pnpkit.networks.half_precision import decide, rough_denoisers
from pnpkit.networks.ridge import Ridge
from pnpkit.networks.tiles import looks_of
from pnpkit.restoration.defaults import GUIDE, SMALLEST_STRENGTH
from pnpkit.restoration.picture import convert, noise_level_of, open_image
from pnpkit.restoration.plan import SHORT, Plan, fit, hint_for, inside, penalised_ridge, step_for, wanted
from pnpkit.restoration.problem import Problem
from pnpkit.restoration.result import Restoration
from pnpkit.restoration.settings import Settings, check_level
from pnpkit.restoration.sure import SURE, MapAt, by_sure
from pnpkit.solvers.iterations import Iteration
from pnpkit.solvers.result import Result, Status
from pnpkit.solvers.splittings import FORWARD_BACKWARD, SPLITTINGS
from pnpkit.solvers.stages import continued, numbered_from, solve_from


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
