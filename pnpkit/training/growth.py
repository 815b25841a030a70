"""Networks made from trained ones: deeper, wider, or without the layers that change almost nothing."""

from __future__ import annotations

import math
from dataclasses import replace

import torch

from pnpkit.errors import InputError, one_line
from pnpkit.layers.activations import Clip, LevelTable
from pnpkit.layers.gradient_flow import GradientFlowConv2d
from pnpkit.networks.base import Network
from pnpkit.networks.euler import Euler
from pnpkit.networks.guided import GuidedEuler

# Parts of a guidance network that the source may lack. They start without effect.
ADDED = ("guidance.coarse.", "guidance.centres.", "guidance.masks.")

NEW_STEP = 0.01  # thresholds, in units of sigma, at which a new layer is near the identity


NEW_FILTERS = (0.1, 0.04)  # initial norm and thresholds of new filters; trained ones have 0.5 and 0.02 to 0.6


@torch.no_grad()
def warm_start(network: Network, source: Network, small: float = NEW_STEP) -> None:
    """Initialise ``network`` with the weights of ``source``; an Euler network initialises both passes of a guided one.

    The layers of an Euler network are copied in order, spread evenly, to layers of the same kind with at least as many
    filters. New layers start near the identity, with thresholds of ``small`` sigma. (When they started with a small tau
    instead, tau only fell in training.) New filters start small. A guided network also copies from one without
    ``coarse``, ``centres`` or ``masks``; these parts start without effect.

    Raises:
        InputError: there is no place for a layer of the source, or the source has another lift or another shape.
    """
    if isinstance(network, GuidedEuler) and isinstance(source, Euler):
        warm_start(network.first, source, small)
        warm_start(network.second, source, small)
        return
    if not (isinstance(network, Euler) and isinstance(source, Euler)):
        state = source.state_dict()
        if isinstance(network, GuidedEuler) and isinstance(source, GuidedEuler):
            state = {key: value for key, value in network.state_dict().items() if key.startswith(ADDED)} | state
        try:
            network.load_state_dict(state)
        except RuntimeError as error:
            raise InputError(f"the source has another shape: {one_line(error)}") from None
        return
    if (network.windows is None) != (source.windows is None):
        raise InputError("the source has another lift: one of the two has overlapping windows")
    left, steps = source.steps(), network.steps()
    for number, block in enumerate(steps):
        due = number * len(source.steps()) // len(steps) + len(left) >= len(source.steps())
        alike = [old for old in left if _can_become(old, block)] if due else []
        if alike:
            _take(block, alike[0])
            left.remove(alike[0])
        elif isinstance(block.activation, Clip):
            for table in _tables(block):
                table.values.fill_(math.log(small))
    if network.windows is not None and source.windows is not None:
        network.windows.load_state_dict(source.windows.state_dict())
    if len(source.frames) == len(network.frames):
        network.frames.load_state_dict(source.frames.state_dict())
    if left:
        raise InputError(f"the network has no place for {len(left)} steps of the source: each needs one of its kind")


def _can_become(old: GradientFlowConv2d, block: GradientFlowConv2d) -> bool:
    a, b = old.kernel.shape, block.kernel.shape
    return old.scale == block.scale and old.spread == block.spread and a[1:] == b[1:] and a[0] <= b[0]


def _take(block: GradientFlowConv2d, old: GradientFlowConv2d) -> None:
    """Copy filters, thresholds and tau of ``old``. Further filters keep their directions and become small."""
    count = len(old.kernel)
    norm, threshold = NEW_FILTERS
    if count < len(block.kernel):
        block.kernel.mul_(norm / block.kernel[count:].flatten(1).norm(dim=1).mean())
        for table in _tables(block) if isinstance(block.activation, Clip) else ():
            table.values.fill_(math.log(threshold))
    block.kernel[:count] = old.kernel
    block.raw_step.copy_(old.raw_step)
    for table, before in zip(_tables(block), _tables(old), strict=True):
        table.values[:, :count] = before.values


def _tables(block: GradientFlowConv2d) -> list[LevelTable]:
    return [module for module in block.modules() if isinstance(module, LevelTable)]


@torch.no_grad()
def along(first: Network, second: Network, times: float) -> Euler:
    """Extrapolate a run that continued another: the weights are first + times (second - first), then secured.

    Raises:
        InputError: the two are not Euler networks of one shape.
    """
    if not (isinstance(first, Euler) and isinstance(second, Euler)):
        raise InputError("the line between two networks is for Euler networks")
    if first.config != second.config:
        raise InputError("the two networks have other shapes")
    network, start = Euler(first.config), first.state_dict()
    network.load_state_dict({key: start[key].lerp(end, times) for key, end in second.state_dict().items()})
    network.secure()
    return network


@torch.no_grad()
def without_small_steps(network: Network, least: float) -> Euler:
    """Return the Euler network without the layers whose tau is below ``least``.

    Such layers change almost nothing and cost as much as the others.

    Raises:
        InputError: the network is not an Euler network, or it has several scales.
    """
    if not isinstance(network, Euler):
        raise InputError("steps can be left out of an Euler network")
    if len(set(network.config.scales)) > 1:
        raise InputError("steps can only be left out if all work at the same scale")
    kept = [block for block in network.steps() if float(block.step) >= least]
    smaller = Euler(replace(network.config, blocks=len(kept)))
    for block, old in zip(smaller.steps(), kept, strict=True):
        block.load_state_dict(old.state_dict())
    smaller.frames.load_state_dict(network.frames.state_dict())
    if smaller.windows is not None and network.windows is not None:
        smaller.windows.load_state_dict(network.windows.state_dict())
    return smaller
