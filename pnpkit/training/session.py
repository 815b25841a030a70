"""A complete training, from settings to end: the code shared by ``pnpkit train`` and ``scripts/train_denoiser.py``."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open

from pnpkit import registry
from pnpkit.errors import InputError
from pnpkit.machine import distributed, probes
from pnpkit.networks.architectures import build
from pnpkit.networks.base import Network
from pnpkit.training import growth, loop, objectives, steering
from pnpkit.training.config import TrainingConfig
from pnpkit.training.run import CHECKPOINT, Run, finish


@dataclass(frozen=True)
class Plan:
    """The settings of a training.

    Attributes:
        architecture, arguments: the network, see ``networks.architectures.build``.
        folder: where checkpoint and curve are written.
        config: the protocol.
        start: a denoiser or the folder of a run whose weights are used at the start; empty for random weights.
        objective: denoising, or deblurring for the second pass of a guided network.
        resume: continue from the checkpoint in the folder.
        precision: auto, bfloat16 or float32.
        compiled: "", activations or network.
    """

    architecture: str
    folder: Path
    config: TrainingConfig = TrainingConfig()
    arguments: dict[str, Any] = field(default_factory=dict)
    start: str = ""
    objective: str = "denoising"
    resume: bool = False
    precision: str = "auto"
    compiled: str = ""

    @property
    def checkpoint(self) -> Path:
        """The file that holds the state of the run."""
        return self.folder / CHECKPOINT

    def check(self) -> None:
        """Raise ``InputError`` if a run would be overwritten, if there is none to resume, or for numbers of the
        protocol with which nothing could be learnt."""
        self.config.check()
        if self.resume and not self.checkpoint.exists():
            raise InputError(f"{self.checkpoint}: expected the checkpoint of an earlier run, there is none")
        if not self.resume and self.checkpoint.exists():
            raise InputError(f"{self.checkpoint} exists: go on with `resume` or choose another `folder`")
        if self.objective == "deblurring" and self.architecture != "guided":
            raise InputError("the objective deblurring trains the second pass of a guided network")


@dataclass(frozen=True)
class Session:
    """A run that is ready to start, on a single process or on this process's share.

    Attributes:
        run: the network and its state.
        device: where it runs.
        half: whether convolutions multiply in bfloat16.
        limit: patches per second that the convolutions alone would allow, over all processes.
    """

    plan: Plan
    run: Run
    device: str
    half: bool
    limit: float

    def train(
        self, pictures: list[np.ndarray], validation: list[np.ndarray], on_step: Callable[[Run, float], None]
    ) -> None:
        """Train to the end of the schedule; see ``loop.train``."""
        objective = objectives.ThroughDeblurring(half=self.half) if self.plan.objective == "deblurring" else None
        loop.train(
            self.run, pictures, validation, self.plan.folder,
            device=self.device, half=self.half, compiled=self.plan.compiled == "network", limit=self.limit,
            on_step=on_step, objective=objective,
        )  # fmt: skip


def prepare(plan: Plan, device: str) -> Session:
    """Build the network with its initial weights, and measure the speed of the device.

    Raises:
        InputError: ``Plan.check`` fails, or the start does not fit the network.
    """
    plan.check()
    network = build(plan.architecture, {"top": plan.config.top, **plan.arguments}).to(device)
    half = plan.precision == "bfloat16" or (plan.precision == "auto" and probes.prefers_bfloat16(device))
    half = distributed.gather(half)[0]
    share = max(1, plan.config.batch // distributed.world())
    limit = sum(distributed.gather(probes.convolution_limit(network, share, plan.config.patch, device, half)))
    origin = begin(network, plan, device) if plan.start else ""
    if plan.compiled == "activations":
        steering.compile_activations(network)
    run = Run(network, plan.config, origin)
    if plan.resume:
        run.load(plan.checkpoint)
    return Session(plan, run, device, half, limit)


def begin(network: Network, plan: Plan, device: str) -> str:
    """Give the network the weights of the start. Returns a description of the start, for the card."""
    if (Path(plan.start) / CHECKPOINT).is_file():
        source, meta = averaged(plan.architecture, Path(plan.start), unfinished=True)
        growth.warm_start(network, source.network.to(device))
        return f"the run {plan.start} at step {meta['step']}"
    growth.warm_start(network, registry.load_denoiser(plan.start, device=device))
    return f"{plan.start}, sha256 {registry.card_of(plan.start).sha256}"


def averaged(architecture: str, folder: Path, unfinished: bool) -> tuple[Run, dict[str, Any]]:
    """Return a run whose network has its averaged weights and is secured, and the metadata of its checkpoint.

    Raises:
        InputError: the schedule has not ended, and ``unfinished`` is False.
    """
    checkpoint = folder / CHECKPOINT
    with safe_open(checkpoint, "pt") as file:
        meta = json.loads(file.metadata()["run"])
    config = TrainingConfig(**meta["config"])
    run = Run(build(architecture, meta["arguments"]), config)
    run.load(checkpoint)
    if run.progress < 1 and not unfinished:
        raise InputError(
            f"{checkpoint} is {run.progress:.0%} of its schedule: go on with `resume`, or take it as it is with "
            "`unfinished`"
        )
    finish(run)
    return run, meta
