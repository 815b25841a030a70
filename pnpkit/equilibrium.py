r"""Training a guided denoiser through the map that it deblurs with.

x_1 is where deblurring with the first look ends, x_2 where some evaluations of T_g lead from there, with the guide
g = x_1 and the hint prox_{tau f}(x_1). The loss is that of one more, T_g(x_2), with x_2 held: the gradient of a fixed
point without the factor (id - J)^-1, Jacobian-free backpropagation (Fung et al., AAAI 36, 2022; with it Gilton, Ongie &
Willett, IEEE TCI 7, 2021).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from deepinv.physics.generator import MotionBlurGenerator
from scipy import ndimage
from torch import Tensor, nn

from pnpkit import distributed, kernels
from pnpkit.certificates import nothing
from pnpkit.fidelity import LeastSquares
from pnpkit.iterations import Anderson
from pnpkit.maps import Map
from pnpkit.networks import GuidedEuler, Network
from pnpkit.networks.guided import Given, SecondLook
from pnpkit.operators import blur
from pnpkit.precision import rough_denoisers
from pnpkit.solver import solve
from pnpkit.splittings import CONTINUATION, continuation
from pnpkit.strength import FREE_FORM_ERROR, KERNEL_ERROR, by_rule, hint_for, inside

LIMITS = (0.0, 1.0)
SIZE = 29  # pixels a side of the largest shake
FLOOR = 1e-6  # of a mean squared error, below which a decibel is not worth more
ESTIMATED, MEASURED = 1.0, 0.3  # how wrong kernels are, see ``mistaken``
QUIET = (0.3 / 255, 4 / 255)  # noise where the kernel is wrong: more would hide that


@dataclass(frozen=True)
class ThroughDeblurring:
    """The loss in dB: of deblurring, and ``share`` times that of denoising, which keeps the denoiser one.

    Every batch has a blur and a noise level of its own: shakes, Gaussians, boxes, straight motions and disks; noise
    uniform in ``noise`` (0..1 scale); periodic. In a share of the batches the map is given a wrong kernel, as measured
    or estimated ones are, so that the second look learns what such a kernel leaves in its guide.

    Attributes:
        estimated, measured: shares of the batches whose kernel is as wrong as estimates or as measurements are.
        denoised: pixels a side of what is denoised, the corner of each patch.
        first, second: evaluations of the map with the first look, and with the second before the one that learns.
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
            batch: clean (B, 3, H, W), H, W >= SIZE + 4, noisy, and the noise levels (B,) of ``noisy``.
            generator: of the blur and of the noise on top of it.
        """
        assert isinstance(network, GuidedEuler), "only a guided network has a second look to train"
        clean, noisy, level = batch
        case, where = torch.rand(2, generator=generator).tolist()
        error = ESTIMATED if case < self.estimated else MEASURED if case < self.estimated + self.measured else 0.0
        low, high = QUIET if error else self.noise
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
            """What ``deblur`` would iterate with it, with its rules for these data."""
            return continuation(fidelity, at(denoiser), tau, sigma, LIMITS)

        with torch.no_grad():
            guide = solve(map_of(network.first), y, iteration=Anderson(), tol=0, max_steps=self.first).x
        hint = hint_for(guide, taken_for, network, fidelity)
        look = SecondLook(network, nothing(network.name, "in training"))
        with torch.no_grad():
            x = solve(map_of(Given(look, guide, hint)), guide, iteration=Anderson(), tol=0, max_steps=self.second).x
        corner = (..., slice(self.denoised), slice(self.denoised))
        with torch.autocast(clean.device.type, torch.bfloat16, enabled=self.half):
            denoised = network(noisy[corner], level)
        loss = decibels(map_of(Given(look, guide, hint))(x), clean)
        return loss + self.share * decibels(denoised.float(), clean[corner])


def decibels(x: Tensor, clean: Tensor) -> Tensor:
    """Mean over the batch of 10 log10 of the mean squared error."""
    return 10 * torch.log10((x - clean).square().mean(dim=(1, 2, 3)) + FLOOR).mean()


def random_kernel(generator: torch.Generator) -> np.ndarray:
    """A shake in every second case, else a Gaussian, a box, a straight motion or a disk."""
    kind, size, angle, soft = torch.rand(4, generator=generator).tolist()
    if kind < 0.5:
        shakes = MotionBlurGenerator((SIZE, SIZE), rng=generator)
        shake = shakes.step(1, sigma=0.25 + 0.5 * size, l=0.2 + 0.5 * angle)["filter"][0, 0].numpy()
        return kernels.normalise(ndimage.gaussian_filter(shake.astype(np.float64), 0.3 + 0.4 * soft))
    if kind < 0.7:
        return kernels.gaussian(0.7 + 2.3 * size)
    if kind < 0.85:
        return kernels.box(5 + 2 * int(5 * size))
    if kind < 0.95:
        return kernels.motion(5 + 16 * size, 180 * angle)
    return kernels.disk(1.5 + 4.5 * size)


def mistaken(kernel: np.ndarray, error: float, generator: torch.Generator) -> np.ndarray:
    """``kernel`` as an estimate of it could be: unevenly weighted, smeared, its weak parts lost, and moved back to the
    centre that it had.

    ``error`` 1 differs by 0.09 to 1.04 of the norm (of 250 draws 5 and 95 %; median 0.41; estimates of sixteen real
    shakes: 0.3 to 0.8); 0.3 by 0.02 to 0.38 (median 0.09).
    """
    uneven, smear, weak = (error * torch.rand(3, generator=generator)).tolist()
    field = ndimage.gaussian_filter(torch.randn(kernel.shape, generator=generator).numpy(), 1.5, mode="wrap")
    weighted = np.pad(kernel * np.exp(0.6 * uneven * field / field.std()), 2)
    wide = ndimage.gaussian_filter(weighted, 0.9 * smear)
    kept = np.where(wide < 0.15 * weak * wide.max(), 0, wide)
    shift = np.subtract(ndimage.center_of_mass(np.pad(kernel, 2)), ndimage.center_of_mass(kept))
    return kernels.normalise(np.maximum(ndimage.shift(kept, shift, order=1), 0))
