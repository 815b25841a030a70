"""The one training loop: Gaussian denoising with the noise level drawn per sample, resumable at any step."""

from __future__ import annotations

import csv
import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import parametrize

from pnpkit import distributed
from pnpkit.errors import InputError
from pnpkit.files import write_whole
from pnpkit.layers.activations import Clip, LevelTable, clip
from pnpkit.layers.gradient_flow import GradientFlowConv2d
from pnpkit.layers.mirrored import MirroredFlowConv2d, orbit
from pnpkit.layers.muon import Muon
from pnpkit.layers.norms import UnitNorm
from pnpkit.layers.windows import Windows
from pnpkit.metrics import psnr
from pnpkit.networks import Euler, GuidedEuler, Network
from pnpkit.pixels import from_tensor

VALIDATION_LEVELS = (5, 15, 25, 50)  # out of 255
FEATURES = 16  # channels in and out from which a kernel maps features to features


@dataclass(frozen=True)
class TrainingConfig:
    """The protocol; the same for every network.

    ``hours`` of running time (or ``steps``, when positive) set the length of the cosine schedule; the time of
    interrupted runs counts. Levels are top * u^``level_skew``, u uniform in [0, 1]: below 1, strong noise comes more
    often. The loss is the mean squared error of each sample divided by (sigma + 1/255)^``level_power``; 1.2 makes a
    decibel weigh about the same at every level.
    """

    hours: float = 1.0
    steps: int = 0
    batch: int = 16
    patch: int = 64
    learning_rate: float = 5e-4
    table_rate: float = 20.0  # thresholds and steps learn this much faster
    kernel_rate: float = 0.0  # where positive: kernels from features to features learn by Muon, this much faster
    warmup: int = 200
    gradient_limit: float = 0.1
    ema: float = 0.999
    top: float = 50 / 255
    level_power: float = 1.2
    level_skew: float = 1.0
    seed: int = 0
    checkpoint_minutes: float = 5.0


class Batches:
    """Random crops, flips and transposes of pictures held in memory as bytes, with noise on top."""

    def __init__(self, pictures: list[np.ndarray], config: TrainingConfig, generator: torch.Generator):
        small = [p.shape for p in pictures if min(p.shape[:2]) < config.patch]
        if small or not pictures:
            raise InputError(f"training needs pictures of at least {config.patch} pixels a side, got {small or 'none'}")
        self.pictures = [torch.from_numpy(np.ascontiguousarray(p)).permute(2, 0, 1) for p in pictures]
        self.config, self.generator = config, generator

    def integer(self, high: int) -> int:
        return int(torch.randint(high, (), generator=self.generator))

    def crop(self) -> Tensor:
        picture, size = self.pictures[self.integer(len(self.pictures))], self.config.patch
        top = self.integer(picture.shape[1] - size + 1)
        left = self.integer(picture.shape[2] - size + 1)
        patch = picture[:, top : top + size, left : left + size]
        if self.integer(2):
            patch = patch.transpose(1, 2)
        return patch.flip([axis for axis in (1, 2) if self.integer(2)])

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Endless (clean, noisy, levels)."""
        while True:
            clean = torch.stack([self.crop() for _ in range(self.config.batch)]).float() / 255
            level = torch.rand(self.config.batch, generator=self.generator) ** self.config.level_skew * self.config.top
            noise = torch.randn(clean.shape, generator=self.generator)
            yield clean, clean + level[:, None, None, None] * noise, level


def parameter_groups(network: nn.Module, config: TrainingConfig) -> list[dict]:
    """Tables, step sizes and windows apart from the kernels: they learn faster. Kernels for Muon, if it is wanted."""
    fast: list[Tensor] = []
    for module in network.modules():
        if isinstance(module, LevelTable):
            fast.append(module.values)
        if isinstance(module, GradientFlowConv2d):
            fast.append(module.raw_step)
        if isinstance(module, Windows):
            fast.append(module.angle)
    identities = {id(p) for p in fast}
    slow = [p for p in network.parameters() if id(p) not in identities and p.requires_grad]
    inner = [p for p in slow if config.kernel_rate and p.ndim == 4 and min(p.shape[:2]) >= FEATURES]
    identities = {id(p) for p in inner}
    mirrored = [module for module in network.modules() if isinstance(module, MirroredFlowConv2d)]
    images = {id(p) for module in mirrored for p in module.parameters()}
    plain, orbits = ([p for p in inner if (id(p) in images) is wanted] for wanted in (False, True))
    groups = [
        {"params": [p for p in slow if id(p) not in identities], "scale": 1.0},
        {"params": fast, "scale": config.table_rate},
        {"params": plain, "scale": config.kernel_rate, "orthogonal": True},
        {"params": orbits, "scale": config.kernel_rate, "orthogonal": True, "spread": orbit},
    ]
    return [group for group in groups if group["params"]]


def steer_norms(network: nn.Module) -> None:
    """Give every gradient-flow kernel unit norm, by an estimate, throughout training; the proof is made at export."""
    for module in network.modules():
        if isinstance(module, GradientFlowConv2d) and module.kernel.requires_grad:
            parametrize.register_parametrization(module, "kernel", UnitNorm(filters=module.spread))


def release_norms(network: nn.Module) -> None:
    """Make the steered kernels plain weights again."""
    for module in network.modules():
        if isinstance(module, GradientFlowConv2d) and parametrize.is_parametrized(module):
            parametrize.remove_parametrizations(module, "kernel")


def refresh_norms(network: nn.Module, iterations: int = 20) -> None:
    """Estimate again, after weights were replaced."""
    for module in network.modules():
        if isinstance(module, parametrize.ParametrizationList):
            assert isinstance(module[0], UnitNorm) and isinstance(module.original, Tensor)
            module[0].refresh(module.original, iterations)


def steerings(network: nn.Module) -> list[UnitNorm]:
    """The parametrizations that hold kernels at unit norm, in the order of the layers."""
    return [module for module in network.modules() if isinstance(module, UnitNorm)]


def psnr_on(network: nn.Module, pictures: list[np.ndarray], level: float, size: int = 192) -> float:
    """Mean PSNR (dB) on centre crops with seeded noise, clipped to 0..1: the curve, not the final table."""
    scores = []
    for index, picture in enumerate(pictures):
        rows, columns = ((n - min(n, size)) // 2 for n in picture.shape[:2])
        crop = picture[rows : rows + size, columns : columns + size].astype(np.float32) / 255
        noise = np.random.default_rng(index).standard_normal(crop.shape).astype(np.float32)
        noisy = torch.from_numpy(crop + level * noise).permute(2, 0, 1)[None]
        device = next(network.parameters()).device
        with torch.no_grad():
            out = network(noisy.to(device), torch.full((1,), level, device=device))
        scores.append(psnr(from_tensor(out), crop))
    return float(np.mean(scores))


def compile_activations(network: nn.Module) -> None:
    """One fused kernel for clip and its gradient: about twice the training speed on a CPU."""
    fused = torch.compile(clip, dynamic=False)
    for module in network.modules():
        if isinstance(module, Clip):
            module.kernel = fused


class Run:
    """Everything that a training run remembers: weights, their average, Adam's moments, randomness, time."""

    def __init__(self, network: Network, config: TrainingConfig, start: str = ""):
        self.network, self.config, self.start = network, config, start
        steer_norms(network)
        self.average = {name: p.detach().clone() for name, p in network.named_parameters()}
        self.optimizer = Muon(parameter_groups(network, config), lr=config.learning_rate)
        self.generator = torch.Generator().manual_seed(config.seed)
        self.randomness = self.generator.get_state()  # before the next batch, though that may be drawn ahead
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
        """Atomic: a checkpoint is whole or it is the one before."""
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


Objective = Callable[[nn.Module, list[Tensor], torch.Generator], Tensor]


def denoising(config: TrainingConfig, half: bool) -> Objective:
    """The mean squared error of each sample, divided by (sigma + 1/255)^``level_power``."""

    def loss(network: nn.Module, batch: list[Tensor], generator: torch.Generator) -> Tensor:
        clean, noisy, level = batch
        with torch.autocast(clean.device.type, torch.bfloat16, enabled=half):
            output = network(noisy, level)
        error = (output.float() - clean).square().mean(dim=(1, 2, 3))
        return (error / (level + 1 / 255) ** config.level_power).mean()

    return loss


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
    """Runs until the schedule ends, writing ``checkpoint.safetensors`` and ``training.csv`` into ``folder``.

    Inside ``distributed.together`` every process draws the same batch and works on its share of it: the run is, up to
    rounding, that of one process. Rank 0 keeps the time and writes.

    Args:
        half: multiply in bfloat16 (autocast); the running image stays in float32.
        compiled: compile the whole network (needs a C++ compiler, or Triton on a GPU).
        limit: patches a second that the convolutions alone would allow, for the curve; see ``hardware``.
        on_step: called after every step with the run and the loss, for progress bars.
        objective: the loss of (network, (clean, noisy, levels), source of randomness); None is that of denoising. Any
            other gets the network itself, never compiled.
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
        batch = to_device(next(batches), device)  # while a GPU is still busy with this one
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
                run.save(folder / "checkpoint.safetensors")
            last_save, losses, clock = run.seconds, [], time.perf_counter()


def prepare(network: nn.Module, compiled: bool) -> nn.Module:
    """What is called in training in place of the network: its compiled form, its replica among others."""
    model = network
    if compiled:
        for steering in steerings(network):
            steering.forward = torch.compiler.disable(steering.forward)  # type: ignore[method-assign]  # complex, small
        model = torch.compile(network)  # type: ignore[assignment]
    return DistributedDataParallel(model) if distributed.world() > 1 else model


def share_gradients(network: nn.Module) -> None:
    """Every process gets the mean over the processes; for a replica torch does that itself."""
    if distributed.world() > 1:
        for parameter in network.parameters():
            if parameter.grad is not None:
                parameter.grad = distributed.total(parameter.grad / distributed.world())


def to_device(batch: tuple[Tensor, Tensor, Tensor], device: str) -> list[Tensor]:
    """This process's share of the batch; on its way to a GPU it holds nothing up."""
    shares = [distributed.share(t) for t in batch]
    if torch.device(device).type != "cuda":
        return shares
    return [t.pin_memory().to(device, non_blocking=True) for t in shares]


def agreed(loss: Tensor, norm: Tensor, elapsed: float) -> list[float]:
    """Loss and gradient norm, means over the processes, and the seconds by the clock of rank 0.

    The one place in a step where the device is waited for.
    """
    first, count = distributed.rank() == 0, distributed.world()
    numbers = torch.stack([loss.detach() / count, norm.detach() / count, loss.new_tensor(elapsed * first)])
    return distributed.total(numbers).tolist()


def record(
    run: Run, losses: list[float], validation: list[np.ndarray], folder: Path, since: float, limit: float = 0.0
) -> None:
    """One line of the curve: the averaged weights, measured in float32 by rank 0."""
    with averaged(run):  # by every process: it touches what steers the norms
        if distributed.rank() > 0:
            return
        scores = {f"psnr_{s}": round(psnr_on(run.network, validation, s / 255), 3) for s in VALIDATION_LEVELS}
    row = {
        "step": run.step,
        "seconds": round(run.seconds, 1),
        "learning_rate": f"{run.learning_rate():.3e}",
        "loss": f"{float(np.mean(losses)):.6f}",
        "patches_per_second": round(len(losses) * run.config.batch / (run.seconds - since), 1),
        "convolutions_alone": round(limit, 1),
        **scores,
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "training.csv"
    columns = list(row)
    if path.exists():  # a curve that was begun keeps its columns
        with path.open(newline="") as file:
            columns = next(csv.reader(file))
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        if file.tell() == 0:
            writer.writeheader()
        writer.writerow(row)


def finish(run: Run) -> None:
    """End a run: the network keeps the averaged weights, its kernels are plain, its steps are proven averaged."""
    averaged(run).__enter__()
    release_norms(run.network)
    if isinstance(run.network, Euler):
        run.network.secure()
    if isinstance(run.network, GuidedEuler):
        run.network.second.secure()


class averaged:
    """Inside the block the network carries its averaged weights, in evaluation mode."""

    def __init__(self, run: Run):
        self.run = run

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
        refresh_norms(self.run.network)
        self.run.network.train()
