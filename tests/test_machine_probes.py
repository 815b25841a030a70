"""Probes of the machine answer, count what they say they count, and leave the network as it was."""

from __future__ import annotations

import catalogue
import pytest
import torch

from pnpkit.machine import probes
from pnpkit.networks.architectures import build


def test_the_precision_probe_answers() -> None:
    assert probes.prefers_bfloat16("cpu") in (True, False)


def test_every_convolution_is_seen() -> None:
    network = catalogue.euler(blocks=3)
    x = catalogue.image(2, 3, 12, 12).float()
    with probes.Convolutions() as seen:
        out = network(x, 0.1)
    assert len(seen.found) == 6, "each step goes there and back"
    assert all(shape[0] == 2 and shape[2:] == (12, 12) and padding == 1 for shape, _, padding in seen.found)
    assert torch.equal(out, network(x, 0.1))


@pytest.mark.parametrize("half", [False, True])
def test_the_limit_of_the_convolutions(half: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "seconds_of", lambda work, repeat: (work(), 0.5)[1])
    network = build("dncnn", {"depth": 3, "channels": 8})
    before = [p.clone() for p in network.parameters()]
    assert probes.convolution_limit(network, 4, 16, "cpu", half) == 8
    assert all(torch.equal(p, q) and p.grad is None for p, q in zip(network.parameters(), before, strict=True))
    assert probes.convolution_limit(build("identity", {}), 4, 16, "cpu", half) == 0


def test_seconds_are_the_least_of_several(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter([0.0, 9.0, 10.0, 13.0, 20.0, 22.0])
    monkeypatch.setattr(probes.time, "perf_counter", lambda: next(ticks))
    assert probes.seconds_of(lambda: torch.zeros(1), repeat=2) == 2
