"""The one training loop: Gaussian denoising with the noise level drawn per sample, resumable at any step."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from pnpkit.errors import InputError
from pnpkit.machine import distributed
from pnpkit.training.batches import Batches
from pnpkit.training.curve import record
from pnpkit.training.objectives import Objective, denoising
from pnpkit.training.processes import agreed, share_gradients, to_device
from pnpkit.training.run import CHECKPOINT, Run
from pnpkit.training.steering import steerings


def train(
    run: Run,
    pictures: list[np.ndarray],
    validation: list[np.ndarray],
    folder: Path,
    *,
    device: str = "cpu",
    half: bool = True,
    compiled: bool = False,
    limit: float = 0.0,
    on_step: Callable[[Run, float], None] = lambda run, loss: None,
    objective: Objective | None = None,
) -> None:
    """Train until the schedule ends, and write ``checkpoint.safetensors`` and ``training.csv`` to ``folder``.

    Inside ``distributed.together`` every process draws the same batch and computes its share of it. The run equals that
    of one process up to rounding. Rank 0 keeps the time and writes the files.

    Args:
        half: multiply in bfloat16 (autocast); the running image stays in float32.
        compiled: compile the whole network (needs a C++ compiler, or Triton on a GPU).
        limit: patches per second that the convolutions alone would allow, for the curve; see ``machine.probes``.
        on_step: called after every step with the run and the loss, for progress bars.
        objective: the loss of (network, (clean, noisy, levels), generator); None is the loss of denoising. A given
            objective gets the network itself, which is then not compiled.
    """
    network, config = run.network, run.config
    model = prepare(network, compiled) if objective is None else network
    run.generator.set_state(run.randomness)
    objective = denoising(config, half) if objective is None else objective
    batches = iter(Batches(pictures, config, run.generator))
    batch = to_device(next(batches), device)
    last_save, clock = run.seconds, time.perf_counter()
    losses: list[float] = []
    while run.progress < 1:
        for group in run.optimizer.param_groups:
            group["lr"] = run.learning_rate() * group["scale"]
        loss = objective(model, batch, run.generator)
        run.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if model is network:
            share_gradients(network)
        norm = nn.utils.clip_grad_norm_(network.parameters(), config.gradient_limit)
        run.optimizer.step()
        run.update_average()
        run.randomness = run.generator.get_state()
        batch = to_device(next(batches), device)  # prepared while a GPU still computes this step
        elapsed, clock = time.perf_counter() - clock, time.perf_counter()
        mean, size, seconds = agreed(loss, norm, elapsed)
        if not math.isfinite(size):
            raise InputError(f"training diverged at step {run.step}: resume from the checkpoint with a smaller rate")
        run.step += 1
        run.seconds += seconds
        losses.append(mean)
        on_step(run, mean)
        if run.seconds - last_save > 60 * config.checkpoint_minutes or run.progress >= 1:
            record(run, losses, validation, folder, last_save, limit)
            if distributed.rank() == 0:
                run.save(folder / CHECKPOINT)
            last_save, losses, clock = run.seconds, [], time.perf_counter()


def prepare(network: nn.Module, compiled: bool) -> nn.Module:
    """Prepare the network for training: compile it if asked, and make a replica if several processes train it."""
    model = network
    if compiled:
        for steering in steerings(network):
            steering.forward = torch.compiler.disable(steering.forward)  # type: ignore[method-assign]  # complex numbers, little time
        model = torch.compile(network)  # type: ignore[assignment]
    return DistributedDataParallel(model) if distributed.world() > 1 else model
