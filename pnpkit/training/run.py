"""The state of a training run: weights, their average, the optimiser, the random generator and the time."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save

from pnpkit.machine.files import write_whole
from pnpkit.networks.base import Network
from pnpkit.training.config import TrainingConfig
from pnpkit.training.muon import Muon
from pnpkit.training.steering import parameter_groups, refresh_norms, release_norms, steer_norms, steerings

CHECKPOINT = "checkpoint.safetensors"  # file in the folder of a run


class Run:
    """The whole state of a training run: weights, their average, the optimiser's moments, the generator, the time."""

    def __init__(self, network: Network, config: TrainingConfig, start: str = ""):
        self.network, self.config, self.start = network, config, start
        steer_norms(network)
        self.average = {name: p.detach().clone() for name, p in network.named_parameters()}
        self.optimizer = Muon(parameter_groups(network, config), lr=config.learning_rate)
        self.generator = torch.Generator().manual_seed(config.seed)
        self.randomness = self.generator.get_state()  # the state before the next batch is drawn
        self.step, self.seconds = 0, 0.0

    @property
    def progress(self) -> float:
        if self.config.steps:
            return self.step / self.config.steps
        return self.seconds / (3600 * self.config.hours)

    def learning_rate(self) -> float:
        warm = min(1.0, (self.step + 1) / self.config.warmup)
        return self.config.learning_rate * warm * (0.5 + 0.5 * math.cos(math.pi * min(1.0, self.progress)))

    @torch.no_grad()
    def update_average(self) -> None:
        decay = min(self.config.ema, (1 + self.step) / (10 + self.step))
        for name, parameter in self.network.named_parameters():
            self.average[name].lerp_(parameter, 1 - decay)

    def save(self, path: Path) -> None:
        """Write a checkpoint. An existing file is replaced completely or not at all."""
        tensors = {"generator": self.randomness}
        for name, parameter in self.network.named_parameters():
            tensors[f"network.{name}"] = parameter.detach()
            tensors[f"average.{name}"] = self.average[name]
            for key, value in self.optimizer.state[parameter].items():
                tensors[f"adam.{name}.{key}"] = value
        for index, steering in enumerate(steerings(self.network)):
            if steering.right is not None:
                tensors[f"steering.{index}"] = steering.right
        meta = {
            "step": self.step,
            "seconds": self.seconds,
            "config": asdict(self.config),
            "arguments": asdict(self.network.config),
            "start": self.start,
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, save({k: v.contiguous() for k, v in tensors.items()}, {"run": json.dumps(meta)}))

    @torch.no_grad()
    def load(self, path: Path) -> None:
        with safe_open(path, "pt") as file:
            meta = json.loads(file.metadata()["run"])
            self.step, self.seconds, self.start = meta["step"], meta["seconds"], meta["start"]
            self.randomness = file.get_tensor("generator")
            names = set(file.keys())
            device = next(self.network.parameters()).device
            for index, steering in enumerate(steerings(self.network)):
                if f"steering.{index}" in names:
                    steering.right = file.get_tensor(f"steering.{index}").to(device)
            for name, parameter in self.network.named_parameters():
                parameter.copy_(file.get_tensor(f"network.{name}"))
                self.average[name].copy_(file.get_tensor(f"average.{name}"))
                for key, place in (("step", "cpu"), ("exp_avg", device), ("exp_avg_sq", device)):
                    if f"adam.{name}.{key}" in names:
                        self.optimizer.state[parameter][key] = file.get_tensor(f"adam.{name}.{key}").to(place)


def finish(run: Run) -> None:
    """End a run: the network keeps the averaged weights, its kernels become plain weights, its layers are secured."""
    averaged(run).__enter__()
    release_norms(run.network)
    run.network.secure()


class averaged:
    """Give the network its averaged weights and evaluation mode inside the block.

    Afterwards weights, averages and estimates of the norms are as before, bit by bit.
    """

    def __init__(self, run: Run):
        self.run = run
        self.stood = [(steering.right, steering.peak, steering.pair) for steering in steerings(run.network)]

    @torch.no_grad()
    def swap(self) -> None:
        for name, parameter in self.run.network.named_parameters():
            kept = parameter.clone()
            parameter.copy_(self.run.average[name])
            self.run.average[name].copy_(kept)

    def __enter__(self) -> None:
        self.swap()
        refresh_norms(self.run.network)
        self.run.network.eval()

    def __exit__(self, *_: object) -> None:
        self.swap()
        for steering, stood in zip(steerings(self.run.network), self.stood, strict=True):
            steering.right, steering.peak, steering.pair = stood
        self.run.network.train()
