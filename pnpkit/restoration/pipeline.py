"""The one way from a problem to a Restoration, for deblurring, inpainting and enlarging: plan, stages, result."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from torch import Tensor

from pnpkit import certificates
from pnpkit.certificates import Side
from pnpkit.fidelities.constrained import Constrained
from pnpkit.fidelities.data import DataTerm
from pnpkit.machine.memory import allowed
from pnpkit.machine.phases import Phase
from pnpkit.maps import Map, identity
from pnpkit.networks.base import Network
from pnpkit.networks.half_precision import decide, rough_denoisers
from pnpkit.restoration.data import data_of
from pnpkit.restoration.defaults import GUIDE, SMALLEST_STRENGTH, tolerance
from pnpkit.restoration.guide import departure
from pnpkit.restoration.kept import BEGAN_WITH, End, Ended, Kept, keep_run, kept_run, key_of, place, weights_key
from pnpkit.restoration.picture import Opened
from pnpkit.restoration.plan import (
    GUIDING,
    SHORT,
    Plan,
    affordable,
    descending,
    hint_for,
    inside,
    penalised_by,
    step_for,
    wanted,
)
from pnpkit.restoration.problem import Problem
from pnpkit.restoration.readings import Readings, smoothed
from pnpkit.restoration.result import Restoration
from pnpkit.restoration.settings import Settings, check_level
from pnpkit.restoration.sure import SURE, by_sure
from pnpkit.solvers.descent import DESCENT
from pnpkit.solvers.guarantee import Guarantee, Theorem
from pnpkit.solvers.iterations import Iteration, Picard
from pnpkit.solvers.result import Result, Status
from pnpkit.solvers.splittings import CONTINUATION, FORWARD_BACKWARD, HALF_QUADRATIC, SPLITTINGS, At
from pnpkit.solvers.stages import Stage, solve_in_stages

ROUGH_TOL = 2e-3  # residual at which the rough map has done its part; its own floor is lower, about 6e-4


PATIENCE = 5  # rough steps without a new smallest residual before they are given up


# The theorem of a run of a fixed number of steps.
FEW = "no step moves two pictures apart; that the steps have settled is not proven"


CHEAP = "what came before, in bfloat16, proves nothing and only chose where it starts"  # of the guarantee


FIRST, SECOND = Phase("restoring"), Phase("second pass")


Networks = Callable[[Ended | None], Network]  # from the last result that converged to the denoiser of a stage


Fidelities = Callable[[Ended | None], DataTerm]  # likewise to the data term of a stage


def restore(problem: Problem, opened: Opened) -> Restoration:
    """A fixed point of T = proj ∘ D_strength ∘ G, G the data's half of the splitting.

    A guided denoiser makes two maps: its first pass runs to the residual ``GUIDE``, or tol where that is larger, and
    what it gives is the guide of the second. With a guide that is given the second is the only one.
    """
    settings, readings = opened.settings, opened.readings

    def data_term(v: Tensor) -> DataTerm:
        return readings.fidelity(problem.operator, problem.y, v)

    fidelity = data_term(smoothed(problem.y, readings.known))
    memory = allowed(settings.max_memory)

    def afforded(network: Network) -> tuple[Iteration, Network]:
        return affordable(opened.iteration, network, problem.guess.shape, memory, problem.y.element_size())

    first, second = opened.network.looks()
    iteration, first = afforded(first)
    twice = second is not None and not settings.quick and (problem.passes > 1 or problem.guide is not None)
    later, second = afforded(second) if second is not None and twice else (iteration, None)
    plan = plan_for(problem, settings, first, fidelity)
    if second is not None and problem.guide is not None:  # the only pass, with the guide as it came
        hint = hint_for(problem.guess, max(plan.level, problem.kernel_error), first, fidelity)
        iteration, first, second = later, second.given(problem.guess, hint), None
    plan, start = with_strength(plan, problem, settings, fidelity, first, opened.network.top, readings)
    tol = plan.tol if second is None else max(plan.tol, GUIDE)

    def boxed(f: DataTerm) -> DataTerm:
        proximal = plan.splitting in (HALF_QUADRATIC, CONTINUATION)
        proven = f.side is Side.PROVEN and math.isfinite(f.L)
        return Constrained(f, box(settings), problem.floor) if problem.boxed and proximal and proven else f

    fidelity = boxed(fidelity)

    @cache
    def refined(run: Ended | None) -> DataTerm:
        """f with the variances at the result of the first pass, where tau may be any number."""
        if run is None or not readings.follows or plan.splitting == FORWARD_BACKWARD:
            return fidelity
        return boxed(data_term(problem.operator.A(run.x)))

    def halves(run: Ended | None) -> Halves:
        return Halves(refined(run), plan, settings, readings)

    path = cached(problem, opened, plan, first if second is None else second)
    known = None if path is None else kept_run(path, start, second is not None)
    start, made = (start if known is None else known.end), list[Ended]()
    if plan.splitting == DESCENT:
        map, iteration = descending(fidelity, first, plan.strength, plan.tau)
        later = opened.iteration  # nothing was shortened
        stages = [Stage(lambda _: map, tol, iteration)]
    else:
        stages = stages_of(lambda _: first, halves, is_rough(first, settings, start), iteration, tol, GUIDING)
    if second is not None:
        guided = guided_by(second, first, refined, max(plan.level, problem.kernel_error))

        def announced(run: Ended | None) -> Network:
            opened.told(SECOND)
            made.extend(() if run is None else (run,))
            return guided(run)

        kept = None if known is None or known.guide is None else End(known.guide)  # then there is no first pass
        again = stages_of(
            lambda run: announced(kept or run),
            lambda run: halves(kept or run),
            is_rough(second, settings, start),
            later,
            plan.tol,
        )
        stages = ([] if kept else stages) + [replace(stage, phase=SECOND.name) for stage in again]
    amount = float(settings.amount)
    plain = problem.guess if problem.plain is None else problem.plain
    if amount == 0:
        second, stages, start = None, [Stage(lambda _: identity().mixed(0.0, plain), tol, Picard())], plain
    opened.told(FIRST if second is None else replace(FIRST, parts=2))
    run = solve_in_stages(stages, start, max_steps=settings.max_steps, callback=settings.callback, shown=problem.shown)
    run = few_steps(run) if settings.quick else run
    if path is not None and amount > 0 and run.status is Status.CONVERGED and (known is None or run.steps > 1):
        keep_run(path, Kept(made[0].x if second is not None else None, run.x))
    shortened = "" if later == opened.iteration else SHORT.format(later)
    return finished(problem, opened, plan, run, plain, (shortened, "" if known is None else BEGAN_WITH.format(path)))


def finished(
    problem: Problem, opened: Opened, plan: Plan, run: Result, plain: Tensor, notes: tuple[str, ...]
) -> Restoration:
    """The ``Restoration`` of a run, with as much of it as ``amount`` says and the rest of ``plain``."""
    settings, span = opened.settings, opened.scale.span
    amount = float(settings.amount)
    guide = departure(problem, run.x, span, opened.readings.known)
    run = mixed(run, plain, amount)
    image = problem.picture(run.x)
    return Restoration(
        image=image,
        run=run,
        plan=plan,
        noise_level=problem.noise_level * span,
        seconds=time.perf_counter() - opened.started,
        blur=problem.kernel,
        notes=(problem.note, *notes),
        linear=settings.linear,
        span=span,
        data=data_of(opened, image),
        guide=guide,
        amount=amount,
    )


def cached(problem: Problem, opened: Opened, plan: Plan, network: Network) -> Path | None:
    """The file of the cache for guide and end of this run; None without a cache.

    Its name follows from all that these follow from, but not from tolerance and limit of steps.
    """
    settings = opened.settings
    if settings.cache is None:
        return None
    data = problem.operator.A_adjoint(problem.y)
    masks = [mask for mask in (opened.readings.known, opened.readings.above) if mask is not None]
    if opened.readings.weighted:
        masks.append(opened.readings.model.variance(problem.y))
    guide = () if problem.guide is None else (problem.guide,)
    weights = weights_key(network.state_dict())
    told = (replace(plan, tol=0.0), settings.limits, settings.method, settings.linear, weights)
    return place(settings.cache, key_of(problem.y, data, *masks, *guide, network.name, *told), "run")


def box(settings: Settings) -> tuple[float, float]:
    """The limits of the estimate, on the scale of the run."""
    assert settings.limits is not None, "picture.opened sets them"
    return settings.limits


def few_steps(run: Result) -> Result:
    """The run of a fixed number of steps, with the guarantee that holds at its end.

    Its own theorem speaks of the limit. Of the end it is known that no step moves two pictures apart. A run that met
    its tolerance keeps its theorem.
    """
    if run.status is not Status.STEP_LIMIT or not run.guarantee or not run.certificate.nonexpansive:
        return run
    hypothesis = f"{run.steps} of them, Lipschitz constant <= {run.certificate.lipschitz:.6g}"
    theorem = Theorem(f"{FEW}, since the last residual is {run.residuals[-1]:.2g}", hypothesis)
    return replace(run, guarantee=Guarantee(theorem, None, run.guarantee.premises), bounds=())


def mixed(run: Result, plain: Tensor, amount: float) -> Result:
    """The run with amount x + (1 - amount) plain in place of its x.

    Its certificate is that of the map with this fixed point, ``Map.mixed``; residuals and bounds stay.
    """
    if amount in (0, 1):
        return run
    name = f"mixed({run.certificate.name}, {amount:.6g})"
    return replace(run, x=plain + amount * (run.x - plain), certificate=certificates.mix(run.certificate, amount, name))


def guided_by(second: Network, first: Network, fidelity: Fidelities, level: float) -> Networks:
    """A function that makes the guided denoiser of the result of the first pass; of each result once."""

    @cache
    def guided(run: Ended | None) -> Network:
        assert run is not None, "the first pass comes first"
        return second.given(run.x, hint_for(run.x, level, first, fidelity(run)))

    return guided


@dataclass(frozen=True)
class Halves:
    """All that a map T is made of but the denoiser: data term, plan, settings of method and box, readings."""

    fidelity: DataTerm
    plan: Plan
    settings: Settings
    readings: Readings

    def with_denoiser(self, at: At) -> Map:
        """T with the denoiser sigma -> D(., sigma)."""
        splitting, plan = SPLITTINGS[self.plan.splitting], self.plan
        return self.readings.with_premises(splitting(self.fidelity, at, plan.tau, plan.strength, box(self.settings)))

    def exact(self, network: Network) -> Map:
        """T with this network; for ``fista`` with ``ridge`` gradient steps on the ridge's own penalty."""
        if self.settings.method == "fista":
            map = penalised_by(self.fidelity, network, self.plan.strength, self.plan.tau, box(self.settings))
            if map is not None:
                return self.readings.with_premises(map)
        return self.with_denoiser(inside(network))


def stages_of(
    network: Networks,
    halves: Callable[[Ended | None], Halves],
    rough: bool,
    iteration: Iteration,
    tol: float,
    role: str = "",
) -> list[Stage]:
    """The stages of a pass: T with the network, and before it, where ``rough``, T with its products in bfloat16."""
    last = Stage(lambda run: halves(run).exact(network(run)), tol, iteration, role, phase=FIRST.name)
    if not rough:
        return [last]

    def rounded(run: Ended | None) -> Map:
        return halves(run).with_denoiser(rough_denoisers(network(run)))

    return [Stage(rounded, max(tol, ROUGH_TOL), iteration, CHEAP, PATIENCE, ", in float32", FIRST.name), last]


def is_rough(network: Network, settings: Settings, start: Tensor) -> bool:
    """Whether a stage in bfloat16 comes first: it is asked for, or a probe finds that it pays. Not with fista, whose
    theorem does not hold from any start."""
    return settings.method != "fista" and decide(settings.precision, network, start) == "bfloat16"


def plan_for(problem: Problem, settings: Settings, network: Network, fidelity: DataTerm) -> Plan:
    """The plan: what the settings give, and by the rules what they leave open."""
    splitting = settings.splitting
    if splitting == "auto":  # fista has no other than forward-backward
        descends = settings.method != "fista" and network.energy_at(0.0) is not None
        splitting = FORWARD_BACKWARD if settings.method == "fista" else DESCENT if descends else problem.splitting
    level, cause = problem.noise_level, "the noise"
    if splitting != FORWARD_BACKWARD and problem.kernel_error > level:
        level, cause = (
            problem.kernel_error,
            f"what is wrong with the kernel, taken for noise of {problem.kernel_error:.4f}",
        )
    tau = step_for(splitting, level, network, fidelity) if settings.tau is None else float(settings.tau)
    rule = problem.stronger * wanted(level, tau, network, splitting)
    least = max(problem.least, SMALLEST_STRENGTH)
    note = f"auto: it follows {cause}"
    if rule < least:
        note = f"auto: the least that there must be, {cause} asks for less"
    if rule > network.top:
        note = f"auto: the most that {network.name} has, {cause} asks for {rule:.4f}"
    flat = problem.guess.ndim == 4  # of volumes the exact one
    tol = tolerance(math.prod(problem.guess.shape[2:]) if flat else 0) if settings.tol is None else float(settings.tol)
    return Plan(splitting, tau, fidelity.L, min(max(rule, least), network.top), level, note, tol)


def with_strength(
    plan: Plan,
    problem: Problem,
    settings: Settings,
    fidelity: DataTerm,
    network: Network,
    top: float,
    readings: Readings,
) -> tuple[Plan, Tensor]:
    """The plan with the strength that is given or searched for, and where the run starts."""
    given, start = settings.strength, problem.guess.clamp(*box(settings))
    if not (given is None or isinstance(given, str)):
        return replace(plan, strength=check_level("strength", given, top), note="given"), start
    if given != "sure":
        return plan, start

    def map_at(data: DataTerm, sigma: float) -> Map:
        return Halves(data, replace(plan, strength=sigma), settings, readings).exact(network)

    how = SURE[plan.splitting]
    found = by_sure(fidelity, map_at, start, problem.noise_level, plan.strength, top, how)
    times = found.strength / plan.strength
    words = f"sure: {times:.2f} times auto, after {found.evaluations} evaluations"
    return replace(plan, strength=max(problem.least, found.strength), note=words), found.start
