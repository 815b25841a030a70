r"""Training of small networks: one loop for an ensemble of seeds, and Gauss-Newton steps for the last digits.

The members of an ensemble are stacked and evaluated by ``torch.func.vmap``. Small networks cost mostly overhead, so ten
seeds take little longer than one. Each member has its own batches and is independent of the others.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev, stack_module_state, vmap

from pnpkit.errors import InputError

CHUNK = 500  # samples whose Jacobian rows are computed at once


Model = Callable[..., Tensor]


Loss = Callable[..., Tensor]


Watch = Callable[[int, Tensor], None]


Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True)
class EnsembleTraining:
    """Adam with one cycle of learning rates: from ``rate / 25`` up to ``rate`` in the first 30 %, then down to zero.

    Attributes:
        steps: number of optimiser steps, at least 2.
        batch: number of samples per step; 0 uses all samples.
        rate: the largest learning rate.
        decay: weight decay (an L2 penalty on the parameters, decoupled from Adam's scaling).
        seed: seed of the batches.
    """

    steps: int = 2000
    batch: int = 128
    rate: float = 1e-2
    decay: float = 0.0
    seed: int = 0


def mean_square(model: Model, *batch: Tensor) -> Tensor:
    """mean (model(inputs) - target)^2. The last tensor of the batch is the target."""
    return (model(*batch[:-1]) - batch[-1]).square().mean()


def ensemble(count: int, seed: int, make: Callable[[], Network]) -> list[Network]:
    """Make ``count`` networks in float64. The parameters of the k-th are drawn with seed 1000 ``seed`` + k."""
    made = []
    for member in range(count):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1000 * seed + member)
            made.append(make().double())
    return made


def train_ensemble(
    models: Sequence[nn.Module],
    data: Sequence[Tensor],
    config: EnsembleTraining,
    loss: Loss = mean_square,
    watch: Watch | None = None,
) -> Tensor:
    """Train every model on ``data`` in place, and return the losses of the batches, (steps, models).

    Args:
        models: of one architecture, with different parameters.
        data: tensors (N, ...), shared by all models.
        loss: loss(model, *batch) -> scalar; ``model`` is called like the module.
        watch: called as watch(step, losses) after every step.
    """
    if config.steps < 2 or not models:
        raise InputError(f"expected at least one model and two steps, got {len(models)} and {config.steps}")
    parameters, buffers = stack_module_state(list(models))
    skeleton = copy.deepcopy(models[0]).to("meta")
    generator = torch.Generator().manual_seed(config.seed)
    count, device = len(data[0]), data[0].device

    def member(p: dict[str, Tensor], b: dict[str, Tensor], *batch: Tensor) -> Tensor:
        return loss(lambda *inputs: functional_call(skeleton, (p, b), inputs), *batch)

    everyone = vmap(member)
    optimiser = torch.optim.AdamW(list(parameters.values()), lr=config.rate, weight_decay=config.decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, config.rate, config.steps)
    losses = []
    for step in range(config.steps):
        size = min(config.batch, count) if config.batch else count
        draw = torch.stack([torch.randperm(count, generator=generator)[:size] for _ in models]).to(device)
        each = everyone(parameters, buffers, *(tensor[draw] for tensor in data))
        optimiser.zero_grad(set_to_none=True)
        each.sum().backward()
        optimiser.step()
        schedule.step()
        losses.append(each.detach())
        if watch is not None:
            watch(step, losses[-1])
    with torch.no_grad():
        for name, stacked in parameters.items():
            for model, value in zip(models, stacked, strict=True):
                model.get_parameter(name).copy_(value)
    return torch.stack(losses)


def levenberg_marquardt(model: nn.Module, data: Sequence[Tensor], steps: int, damping: float = 1e-3) -> float:
    r"""Run damped Gauss-Newton steps on r(theta) = model(inputs) - target, in place. Returns the mean square of r.

        theta+ = theta - (J^T J + lam diag(J^T J))^{-1} J^T r

    lam falls after a step that lowers ||r||. Other steps are rejected, and lam rises (Marquardt 1963). The Jacobian is
    dense, for up to about a thousand parameters. All of ``data`` is used, tensors (N, n); the last one is the target.
    """
    names = [name for name, _ in model.named_parameters()]
    shapes = [p.shape for p in model.parameters()]
    theta = torch.cat([p.detach().flatten() for p in model.parameters()])

    def residual(flat: Tensor, *sample: Tensor) -> Tensor:
        pieces = flat.split([shape.numel() for shape in shapes])
        values = {n: piece.view(shape) for n, piece, shape in zip(names, pieces, shapes, strict=True)}
        return functional_call(model, values, sample[:-1]) - sample[-1]

    rows = vmap(jacrev(residual), in_dims=(None, *[0] * len(data)), chunk_size=CHUNK)

    error = residual(theta, *data).detach().flatten()
    for _ in range(steps):
        jacobian = rows(theta, *data).detach().reshape(len(error), -1)
        normal, slope = jacobian.mT @ jacobian, jacobian.mT @ error
        scale = normal.diagonal().clamp_min(1e-12 * float(normal.diagonal().max()))
        better = False
        while not better and damping < 1e6:
            step = torch.linalg.solve(normal + torch.diag(damping * scale), slope)
            trial = residual(theta - step, *data).detach().flatten()
            better = bool(trial.square().sum() < error.square().sum())
            damping = max(damping / 5, 1e-14) if better else damping * 4
        if not better:
            break  # no damping helps: a stationary point up to rounding
        theta, error = theta - step, trial
    with torch.no_grad():
        for p, piece in zip(model.parameters(), theta.split([s.numel() for s in shapes]), strict=True):
            p.copy_(piece.view(p.shape))
    return float(error.square().mean())
