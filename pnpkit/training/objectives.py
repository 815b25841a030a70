r"""Training objectives: denoising, and deblurring through the map in which a guided denoiser is used.

Some evaluations with the first pass give x_1. From there some evaluations of T_g give x_2, with the guide g = x_1 and
the hint prox_{tau f}(x_1). The loss is that of T_g(x_2), with x_2 held constant. This is Jacobian-free backpropagation
(Fung et al., AAAI 36, 2022). It is the gradient of a fixed point without the factor (id - J)^-1, which Gilton, Ongie &
Willett (IEEE TCI 7, 2021) keep.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pnpkit.errors import InputError
from pnpkit.fidelities.least_squares import LeastSquares
from pnpkit.machine import distributed
from pnpkit.maps import Map
from pnpkit.networks.base import Network
from pnpkit.networks.guided import Given
from pnpkit.networks.half_precision import rough_denoisers
from pnpkit.operators.blur import blur
from pnpkit.restoration.defaults import FREE_FORM_ERROR, KERNEL_ERROR
from pnpkit.restoration.plan import by_rule, hint_for, inside
from pnpkit.solvers.iterations import Anderson
from pnpkit.solvers.loop import solve
from pnpkit.solvers.splittings import CONTINUATION, continuation
from pnpkit.training.config import TrainingConfig
from pnpkit.training.random_kernels import ESTIMATED, MEASURED, mistaken, random_kernel

LIMITS = (0.0, 1.0)


FLOOR = 1e-6  # added to a mean squared error, so that errors below it gain no decibels


LOW_NOISE = (0.3 / 255, 4 / 255)  # noise levels for batches with a wrong kernel: more noise would hide the error


@dataclass(frozen=True)
class ThroughDeblurring:
    """The loss in dB of deblurring plus ``share`` times that of denoising, so that the network still denoises.

    Each batch has its own periodic blur (a shake, Gaussian, box, straight motion or disk) and its own noise level,
    uniform in ``noise`` (0..1 scale). In some batches the map gets a wrong kernel, with errors like those of
    measurements or estimates. So the second pass learns what such a kernel leaves in its guide.

    Attributes:
        estimated, measured: shares of the batches whose kernel has errors like those of estimates or of measurements.
        denoised: side in pixels of the corner of each patch that is denoised.
        first: number of evaluations of the map with the first pass.
        second: number of evaluations with the second pass, before the evaluation that learns.
        half: multiply in bfloat16.
    """

    noise: tuple[float, float] = (1.5 / 255, 15 / 255)
    share: float = 0.3
    estimated: float = 0.1
    measured: float = 0.15
    denoised: int = 64
    first: int = 6
    second: int = 3
    half: bool = True

    def __call__(self, network: nn.Module, batch: list[Tensor], generator: torch.Generator) -> Tensor:
        """
        Args:
            network: the guided network.
            batch: clean (B, 3, H, W) with H, W >= SIZE + 4, noisy, and the noise levels (B,) of ``noisy``.
            generator: draws the blur and its noise.
        """
        assert isinstance(network, Network)
        opening, second = network.looks(certified=False)
        if second is None:
            raise InputError(f"only a network with a second pass can be trained so, and {network.name} has none")
        clean, noisy, level = batch
        case, where = torch.rand(2, generator=generator).tolist()
        error = ESTIMATED if case < self.estimated else MEASURED if case < self.estimated + self.measured else 0.0
        low, high = LOW_NOISE if error else self.noise
        noise = low + (high - low) * where
        kernel = random_kernel(generator)
        believed = mistaken(kernel, error, generator)
        taken_for = max(noise, FREE_FORM_ERROR if error == ESTIMATED else KERNEL_ERROR)
        size = (clean.shape[-2], clean.shape[-1])
        whole = torch.randn((len(clean) * distributed.world(), *clean.shape[1:]), generator=generator)
        y = blur(kernel, "circular", size, device=clean.device).A(clean) + noise * distributed.share(whole).to(clean)
        operator = blur(believed, "circular", size, device=clean.device)
        fidelity = LeastSquares(operator, y)
        tau, sigma = by_rule(CONTINUATION, taken_for, network, fidelity)
        at = rough_denoisers if self.half else inside

        def map_of(denoiser: Network) -> Map:
            """Return the map that ``deblur`` iterates with this denoiser, by its rules for these data."""
            return continuation(fidelity, at(denoiser), tau, sigma, LIMITS)

        with torch.no_grad():
            guide = solve(map_of(opening), y, iteration=Anderson(), tol=0, max_steps=self.first).x
        hint = hint_for(guide, taken_for, network, fidelity)
        with torch.no_grad():
            x = solve(map_of(Given(second, guide, hint)), guide, iteration=Anderson(), tol=0, max_steps=self.second).x
        corner = (..., slice(self.denoised), slice(self.denoised))
        with torch.autocast(clean.device.type, torch.bfloat16, enabled=self.half):
            denoised = network(noisy[corner], level)
        loss = decibels(map_of(Given(second, guide, hint))(x), clean)
        return loss + self.share * decibels(denoised.float(), clean[corner])


def decibels(x: Tensor, clean: Tensor) -> Tensor:
    """Return the mean over the batch of 10 log10 of the mean squared error."""
    return 10 * torch.log10((x - clean).square().mean(dim=(1, 2, 3)) + FLOOR).mean()


Objective = Callable[[nn.Module, list[Tensor], torch.Generator], Tensor]


def denoising(config: TrainingConfig, half: bool) -> Objective:
    """Return the loss of denoising: the squared error of each sample, divided by (sigma + 1/255)^``level_power``."""

    def loss(network: nn.Module, batch: list[Tensor], generator: torch.Generator) -> Tensor:
        clean, noisy, level = batch
        with torch.autocast(clean.device.type, torch.bfloat16, enabled=half):
            output = network(noisy, level)
        error = (output.float() - clean).square().mean(dim=(1, 2, 3))
        return (error / (level + 1 / 255) ** config.level_power).mean()

    return loss
