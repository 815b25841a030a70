"""The plan of a run: splitting, step or penalty, and strength of the denoiser, by closed rules."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pnpkit.errors import InputError
from pnpkit.fidelities.data import DataTerm
from pnpkit.maps import Map
from pnpkit.networks.base import Network
from pnpkit.networks.tiles import within_memory
from pnpkit.networks.volumes import volume_within_memory
from pnpkit.restoration.defaults import SMALLEST_STRENGTH
from pnpkit.solvers.descent import DESCENT, Descent, Objective
from pnpkit.solvers.iterations import Iteration
from pnpkit.solvers.splittings import CONTINUATION, FORWARD_BACKWARD, At, penalised

DESCENDING = 4.0  # tau of descent: its penalty is g / tau (docs/lab-book)


# The note on an iteration whose past was cut.
SHORT = "to fit into memory Anderson's method looks back {0.depth} steps only"


GUIDING = "the steps before made the guide"  # what the first pass of a guided denoiser is for


@dataclass(frozen=True)
class Plan:
    """What a run follows, given or by the rules.

    Attributes:
        splitting: how T meets the data. tau: its step or penalty.
        L: the bound on ||A||^2, which limits the tau of forward-backward splitting to (0, 2/L).
        strength: sigma of the denoiser, inside its range, on the picture's own scale. note: how it was found.
        level: the noise level that the rules followed. tol: the relative residual that it stops at.
    """

    splitting: str
    tau: float
    L: float
    strength: float
    level: float
    note: str
    tol: float

    @property
    def step_note(self) -> str:
        """The splitting, tau, and where tau must lie, in words."""
        if self.splitting == DESCENT:
            return f"descent on f + g / tau with backtracking from tau {self.tau:.4g}, for which any tau > 0 will do"
        if self.splitting == FORWARD_BACKWARD:
            return f"{self.splitting} splitting, tau {self.tau:.4g} in (0, 2/L), L {self.L:.6g}"
        how = " by continuation" if self.splitting == CONTINUATION else ""
        return f"half-quadratic splitting{how} with tau {self.tau:.4g}, for which any tau > 0 will do"


def penalised_by(
    fidelity: DataTerm, network: Network, sigma: float, tau: float, limits: tuple[float, float]
) -> Map | None:
    """The map that minimises f + R / tau over the box, R the penalty of the network; None where it has none.

    Without the box the minimum is the fixed point of forward-backward splitting with D_sigma = prox_R.

    Its steps are tau L times shorter, L that of the sum: the same picture needs a smaller tolerance.
    """
    rows, columns = fidelity.start().shape[-2:]
    regulariser = network.regulariser(sigma, (rows, columns), 1 / tau)
    return None if regulariser is None else penalised(fidelity, regulariser, limits)


def descending(fidelity: DataTerm, network: Network, sigma: float, tau: float) -> tuple[Map, Descent]:
    """T = prox_{tau f} ∘ D_sigma and the descent on f + g / tau, for a network with a potential g."""
    potential = network.energy_at(sigma)
    if potential is None:
        raise InputError(f"splitting descent needs a denoiser with a potential, and {network.name} has none")
    objective = Objective(fidelity, potential, tau)
    return objective.map(f"{network.name}(., {sigma:.4g})"), Descent(objective)


def affordable(
    iteration: Iteration, network: Network, shape: tuple[int, ...], memory: float, itemsize: int
) -> tuple[Iteration, Network]:
    """The iteration and the network for a run in ``memory`` bytes: in tiles, and with a shorter past, where needed.

    Raises:
        InputError: the smallest memory is still too large. Picard's iteration needs the least.
    """
    try:
        return iteration, fitting(network, shape, memory, iteration.copies, itemsize)
    except InputError as error:
        lighter = iteration.lighter()
        if lighter is not None:
            return affordable(lighter, network, shape, memory, itemsize)
        if iteration.copies > 1:
            raise InputError(f"{error}; `method=picard` needs the least") from None
        raise


def fitting(network: Network, shape: tuple[int, ...], memory: float, history: int, itemsize: int) -> Network:
    """The network for pictures or volumes of that shape, in tiles where the memory needs them.

    Raises:
        InputError: even tiles do not fit.
    """
    if len(shape) == 4:
        return within_memory(network, shape, memory, history, itemsize)
    return volume_within_memory(network, shape, memory, history, itemsize)


def penalty_for(level: float, denoiser: Network) -> float:
    """The tau of half-quadratic splitting for noise of that level: the one whose strength is ``working``, in 1..1000.

    Where noise is strong, tau = 1 and more strength; above 1000 float32 would lose what is gained.
    """
    return min(max((denoiser.rule.working / (denoiser.rule.coupling * max(level, 1e-9))) ** 2, 1.0), 1000.0)


def step_for(splitting: str, level: float, denoiser: Network, fidelity: DataTerm) -> float:
    """The rule for tau: 1.9 / L in forward-backward splitting, ``DESCENDING`` in descent, else ``penalty_for``."""
    if splitting == DESCENT:
        return DESCENDING
    return fidelity.default_step_size() if splitting == FORWARD_BACKWARD else penalty_for(level, denoiser)


def strength_for(level: float, tau: float, denoiser: Network, splitting: str = FORWARD_BACKWARD) -> float:
    """The rule of ``strength="auto"``, inside the range of the denoiser: what its ``rule`` says for
    forward-backward splitting, ``coupling`` sqrt(tau) level for the others."""
    return float(min(max(wanted(level, tau, denoiser, splitting), SMALLEST_STRENGTH), denoiser.top))


def wanted(level: float, tau: float, denoiser: Network, splitting: str) -> float:
    """The strength of the rule, before it is cut to the range of the denoiser."""
    if splitting == FORWARD_BACKWARD:
        return denoiser.rule.forward(level, tau)
    return denoiser.rule.coupling * math.sqrt(tau) * level


@torch.no_grad()
def hint_for(guide: Tensor, noise_level: float, network: Network, fidelity: DataTerm) -> Tensor:
    """The data-consistent guide prox_{tau f}(guide). tau is that of continuation for every splitting, since the guided
    networks were trained so."""
    return fidelity.prox(step_for(CONTINUATION, noise_level, network, fidelity))(guide)


def by_rule(splitting: str, level: float, denoiser: Network, fidelity: DataTerm) -> tuple[float, float]:
    """tau and sigma by the rules, for noise of standard deviation ``level``."""
    tau = step_for(splitting, level, denoiser, fidelity)
    return tau, strength_for(level, tau, denoiser, splitting)


def inside(denoiser: Network) -> At:
    """sigma -> the denoiser at that strength, or at the largest that it has."""
    return lambda sigma: denoiser.at(min(sigma, denoiser.top))
