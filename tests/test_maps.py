"""No map claims more than an adversarial search can break."""

from __future__ import annotations

import catalogue
import pytest
import torch
from torch import Tensor

from pnpkit.maps import Map


def worst_ratios(map: Map, pairs: int = 8, rounds: int = 15) -> tuple[float, float]:
    """Largest ||Tx-Ty||/||x-y|| found, and the least averagedness that no pair contradicts.

    Pairs at distances from 1e-3 to 1, pushed apart by gradient ascent on the ratio.
    """
    x = catalogue.image(pairs, 3, *catalogue.SIZE) * 1.5 - 0.25
    scales = torch.logspace(-3, 0, pairs, dtype=x.dtype).view(-1, 1, 1, 1)
    y = x + torch.randn(x.shape, generator=catalogue.generator(1), dtype=x.dtype) * scales
    lipschitz, alpha = 0.0, 0.0
    for _ in range(rounds):
        y = y.detach().requires_grad_()
        image, difference = map(x) - map(y), x - y
        square = difference.square().sum((1, 2, 3))
        ratio = image.square().sum((1, 2, 3)) / square
        gap = (difference - image).square().sum((1, 2, 3)) / square
        lipschitz = max(lipschitz, float(ratio.detach().max().sqrt()))
        moved = (gap > 1e-14).detach()
        if bool(moved.any()):  # ratio <= 1 - (1 - alpha)/alpha gap, solved for alpha
            needed = gap / (gap + 1 - ratio)
            needed = torch.where(1 - ratio > -gap, needed, torch.inf).detach()
            alpha = max(alpha, float(needed[moved].max()))
        (gradient,) = torch.autograd.grad(ratio.sum(), y)
        length = gradient.square().sum((1, 2, 3), keepdim=True).sqrt().clamp_min(1e-30)
        y = y + 0.3 * square.detach().sqrt().view(-1, 1, 1, 1) * gradient / length
    return lipschitz, alpha


@pytest.mark.parametrize("name", catalogue.MAPS)
def test_certificate_survives_adversarial_pairs(name: str) -> None:
    map = catalogue.MAPS[name]()
    if not map.certificate.nonexpansive:
        assert name.startswith(("dncnn", "gradient-step", "guided")) and map.certificate.averagedness is None
        return
    lipschitz, alpha = worst_ratios(map)
    assert lipschitz <= map.certificate.lipschitz + 1e-9
    assert map.certificate.averagedness is not None
    assert alpha <= max(map.certificate.averagedness, 1e-9) + 1e-6


def test_the_search_finds_expansion_where_there_is_some() -> None:
    grow = Map(lambda x: 1.2 * x.clamp_min(0.3), catalogue.MAPS["box"]().certificate)
    lipschitz, alpha = worst_ratios(grow)
    assert lipschitz > 1.15 and alpha > 1


def test_composition_relaxation_and_scaling_compute_what_they_say() -> None:
    x = catalogue.image()
    double = Map(lambda x: 2 * x, catalogue.MAPS["box"]().certificate)
    shift = Map(lambda x: x + 1, catalogue.MAPS["box"]().certificate)
    same: list[tuple[Tensor, Tensor]] = [
        ((double @ shift)(x), 2 * (x + 1)),
        (double.relax(0.25)(x), 1.25 * x),
        (shift.scale(4.0)(x), x + 0.25),
    ]
    for got, expected in same:
        torch.testing.assert_close(got, expected)
