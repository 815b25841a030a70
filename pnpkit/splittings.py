"""Splittings: a problem in, a Map out, with the certificate composed from its parts."""

from __future__ import annotations

from pnpkit import proximal
from pnpkit.fidelity import LeastSquares
from pnpkit.maps import Map


def forward_backward(
    fidelity: LeastSquares,
    backward: Map,
    tau: float | None = None,
    limits: tuple[float, float] | None = None,
) -> Map:
    r"""T = [proj_box] ∘ backward ∘ (id - tau grad f): proximal gradient, or Plug-and-Play with a denoiser.

    Args:
        fidelity: f, which refuses a tau outside (0, 2/L).
        backward: a proximal map or a denoiser at a fixed strength, ``D.at(sigma)``.
        tau: default 1.9 / L.
        limits: (low, high) of a final box projection. It keeps the averagedness below 1 and, by bounding the range,
            turns "a fixed point is assumed" into "a fixed point exists" (Browder 1965).
    """
    step = backward @ fidelity.gradient_step(tau)
    return step if limits is None else proximal.box(*limits) @ step
